"""Claims about a reload: what counts as a change, what refuses it, and who is handed what."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dicom_node.monitoring.audit import AuditEvent
from dicom_node.node import reloading as module
from dicom_node.node.reload import (
    FOLDER,
    NEEDS_RESTART,
    ReloadAnswer,
    changed_keys,
    last_answer,
    restart_keys,
    settings_digest,
)
from dicom_node.node.reloading import NO_FILE, Reloading
from dicom_node.settings.loading import load_config, parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.reference import sections_reference, settings_reference

PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
OTHER = {**PACS, "name": "other"}


def parse(**table: Any) -> NodeConfig:
    return parse_config(table, source="a", folder=Path("/etc/msk"))


@dataclass(slots=True)
class Role:
    """A role that takes settings, or says why it does not; or never says anything."""

    name: str = "work"
    owes: int = 0
    says: str | None = ""
    given: list[NodeConfig] = field(default_factory=list)

    def hand(self, config: NodeConfig) -> None:
        """Take settings."""
        self.given.append(config)

    def reply(self, digest: str) -> str | None:
        """Say what it says."""
        assert digest == settings_digest(self.given[0])
        return self.says


@dataclass(slots=True)
class Scene:
    """A supervisor's reloading, of one file and one role."""

    path: Path
    role: Role
    reloading: Reloading
    counted: list[NodeConfig]
    told: list[AuditEvent]

    def reload(self, text: str, steps: int = 2) -> ReloadAnswer:
        """Write the file, have it read, and see the answer."""
        self.path.write_text(text)
        self.reloading.ask()
        for _ in range(steps):
            self.reloading.step()
        found = last_answer(self.path.parent / "spool")
        assert found is not None
        return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    path, role = tmp_path / "node.toml", Role()
    path.write_text('[node]\nspool = "spool"\n')
    (tmp_path / "spool").mkdir()
    told: list[AuditEvent] = []

    class Trail:
        def record(self, event: AuditEvent) -> None:
            told.append(event)

    monkeypatch.setattr(module, "open_trail", lambda _config, _source: Trail())
    counted: list[NodeConfig] = []
    config = load_config(path)
    reloading = Reloading(path, config, lambda: [role], counted.append)
    return Scene(path, role, reloading, counted, told)


BASE = '[node]\nspool = "spool"\n'
TLS = """
[[destinations]]
name = "a"
ae_title = "A"
host = "h"
port = 1
[destinations.tls]
ca = "none.pem"
"""
GOOD = f"{BASE}[retention]\nimages_d = 30\n"


def test_a_good_file_is_handed_over_and_counts(scene: Scene) -> None:
    found = scene.reload(GOOD)

    assert found == ReloadAnswer(is_taken=True, changed=("retention.images_d",))
    assert scene.role.given == scene.counted == [load_config(scene.path)]
    assert "retention.images_d" in scene.told[0].words


def test_a_role_that_does_not_take_it_gets_the_former_settings_back(scene: Scene) -> None:
    former = scene.reloading.config
    scene.role.says = "it cannot"
    found = scene.reload(GOOD)

    assert found.reasons == ("work: it cannot",)
    assert scene.role.given[1:] == [former]
    assert scene.counted == []
    assert scene.reloading.config == former


def test_a_role_that_is_frozen_makes_the_reload_fail(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TAKE_WITHIN_S", -1.0)
    scene.role.says = None

    assert scene.reload(GOOD).reasons == ("work: it does not answer",)


def test_a_role_that_still_owes_an_answer_is_handed_nothing(scene: Scene) -> None:
    """Its pipe would fill up, and the supervisor wait for it."""
    scene.role.owes = 1

    assert "has not answered the last time" in scene.reload(GOOD).reasons[0]
    assert scene.role.given == []


def test_a_role_that_has_not_said_anything_yet_is_waited_for(scene: Scene) -> None:
    scene.role.says = None
    scene.path.write_text(GOOD)
    scene.reloading.ask()
    for _ in range(3):
        scene.reloading.step()
    assert last_answer(scene.path.parent / "spool") is None

    scene.role.says = ""
    scene.reloading.step()
    assert scene.counted != []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[node", "not valid TOML"),
        (f"{BASE}[retention]\nimages_d = -1\n", "retention.images_d"),
        ('[node]\nspool = "other"\n', "node.spool: the node has to be started again"),
        (f"{BASE}[audit]\n", "audit.file: the node has to be started again"),
        (
            f"{BASE}{TLS}",
            "none.pem: cannot be read",
        ),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing(
    scene: Scene, text: str, reason: str
) -> None:
    found = scene.reload(text)

    assert not found.is_taken
    assert reason in "\n".join(found.reasons)
    assert scene.role.given == scene.counted == []


def test_without_a_file_there_is_nothing_to_read_again(scene: Scene) -> None:
    scene.reloading.path = None

    assert scene.reload(GOOD).reasons == (NO_FILE,)


def test_what_nobody_can_read_as_a_request_is_passed_over(scene: Scene) -> None:
    folder = scene.path.parent / "spool" / FOLDER
    folder.mkdir()
    (folder / "x.request").write_text("{")
    (folder / "y.request").write_text(json.dumps({"by": "ann"}))
    scene.reloading.step()
    scene.reloading.step()

    assert [event.user for event in scene.told] == ["ann"]


def test_a_changed_key_is_named_by_its_table_and_never_with_its_value() -> None:
    before = parse(destinations=[PACS, OTHER], delivery={"hold_after": 4})
    after = parse(destinations=[PACS, {**OTHER, "port": 4711}], delivery={"hold_after": 5})

    assert changed_keys(before, after) == ("delivery.hold_after", "destinations[other].port")
    assert changed_keys(before, before) == ()


def test_the_order_of_tables_is_a_change() -> None:
    """The first route that fits decides, and the first pipeline."""
    assert changed_keys(
        parse(destinations=[PACS, OTHER]), parse(destinations=[OTHER, PACS])
    ) == ("destinations",)


def test_a_key_needs_a_restart_as_a_whole_and_not_by_its_beginning() -> None:
    changed = (
        "node.port",
        "receive.tls.ca",
        "audit.file",
        "node.calling_ae_titles",
        "web.port",
    )

    assert restart_keys(changed) == ("node.port", "receive.tls.ca", "audit.file")


def test_every_key_that_needs_a_restart_is_one_and_is_documented() -> None:
    known = {each.key for each in (*settings_reference(), *sections_reference())}
    page = (Path(__file__).parents[3] / "docs" / "reload.md").read_text()

    assert set(NEEDS_RESTART) <= known
    for key in NEEDS_RESTART:
        assert f"`{key}`" in page or f"`{key.partition('.')[2]}`" in page or f"[{key}]" in page
