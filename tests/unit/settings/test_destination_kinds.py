"""Claims about kinds of destinations: a new one is declared once, and called in one place."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from dicom_node.errors import ConfigurationError, PeerLacksServiceError
from dicom_node.peers import transports
from dicom_node.peers.commitment import KeepReport
from dicom_node.peers.credentials import credential_problems
from dicom_node.peers.outcome import Progress, SendOutcome
from dicom_node.peers.transports import DicomTransport, WebTransport, transport_for
from dicom_node.settings import destinations
from dicom_node.settings.description import describe
from dicom_node.settings.destinations import Destination, DicomDestination, WebDestination
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig

PACS = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.9", "port": 104}
WEB = {"name": "cloud", "url": "https://archive.example/dicom-web"}
SHARE = {"name": "share", "folder": "out"}


class FolderDestination(Destination):
    """A folder that results are copied to: a third kind, as far as settings know it."""

    standard = "files"
    mark = "folder"
    query_service = "a look into the folder"

    folder: Path
    """The folder."""

    @property
    def address(self) -> str:
        """The folder."""
        return f"files in {self.folder}"

    @property
    def host_name(self) -> str:
        """None: a folder shows no certificate."""
        return ""


@dataclass(frozen=True)
class FolderWay:
    """The way to such a folder: a third transport."""

    name: str
    folder: Path

    def within(self, _timeout_s: float) -> Self:
        """The same: a folder lets nobody wait."""
        return self

    def verify(self) -> None:
        """A folder is there once it is made."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def send(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        requires: Mapping[Path, Collection[Path]] | None = None,
    ) -> tuple[SendOutcome, ...]:
        """Copy."""
        for path in paths:
            shutil.copy(path, self.folder)
        return tuple(SendOutcome(path, path.stem, 0) for path in paths)

    def list_instances(self, study: str, series: Iterable[str]) -> frozenset[str]:
        """What is there."""
        return frozenset(path.stem for path in self.folder.iterdir())

    def ask_to_commit(
        self, transaction_uid: str, instances: Sequence[tuple[str, str]], keep: KeepReport
    ) -> None:
        """A folder commits to nothing."""
        raise PeerLacksServiceError(f"{self.folder} commits to nothing")


@pytest.fixture
def third_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the two modules that a new kind is declared in would say."""
    monkeypatch.setattr(destinations, "KINDS", (*destinations.KINDS, FolderDestination))
    monkeypatch.setitem(
        transports.TRANSPORTS,
        FolderDestination,
        lambda _config, destination: FolderWay(destination.name, destination.folder),
    )


def parse(**table: Any) -> NodeConfig:
    return parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def problems(**table: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(**table)
    return str(caught.value).splitlines()


def test_every_kind_has_its_way() -> None:
    assert set(transports.TRANSPORTS) == set(destinations.KINDS)


def test_a_table_is_of_the_kind_whose_mark_it_bears() -> None:
    config = parse(destinations=[PACS, WEB])
    dicom, web = config.destinations

    assert (type(dicom), type(web)) == (DicomDestination, WebDestination)
    assert isinstance(transport_for(config, dicom), DicomTransport)
    assert isinstance(transport_for(config, web), WebTransport)


@pytest.mark.usefixtures("third_kind")
def test_a_third_kind_is_read_and_its_paths_are_rooted() -> None:
    config = parse(destinations=[PACS, SHARE], routes=[{"destinations": ["share"]}])
    (share,) = config.destinations_for("CT1", "MSKNODE")

    assert isinstance(share, FolderDestination)
    assert share.folder == Path("/etc/msk/out")
    assert NodeConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.usefixtures("third_kind")
def test_a_third_kind_s_problems_are_named_by_its_keys() -> None:
    found = problems(
        destinations=[PACS, {**SHARE, "port": 104}], senders=[{"count_at": "share"}]
    )

    assert found == [
        "node.toml: destinations[1].port: unknown key",
        "node.toml: senders[0].count_at: 'share' has no C-FIND, only files",
    ]


@pytest.mark.usefixtures("third_kind")
def test_the_check_describes_a_third_kind() -> None:
    config = parse(destinations=[{**SHARE, "confirm": "query"}])
    lines = [line for line in describe(config) if "share" in line]

    assert lines == [
        "destination share: files in /etc/msk/out",
        "destination share gets SEG, SR, QC image when not accepted",
        "destination share: what was sent is confirmed by a look into the folder",
    ]
    assert list(credential_problems(config)) == []


@pytest.mark.usefixtures("third_kind")
def test_results_find_their_way_to_a_third_kind(tmp_path: Path) -> None:
    source = tmp_path / "1.2.3.dcm"
    source.write_bytes(b"result")
    table = {"destinations": [{**SHARE, "folder": "shared"}]}
    config = parse_config(table, source="node.toml", folder=tmp_path)

    transport = transport_for(config, config.destinations[0])
    transport.verify()
    (outcome,) = transport.send([source])

    assert outcome.stored
    assert transport.list_instances("1.2", ["1.2.3"]) == {"1.2.3"}
    assert (tmp_path / "shared" / "1.2.3.dcm").read_bytes() == b"result"


def test_a_destination_that_reports_may_call_from_wherever_it_is_called() -> None:
    """A name that no sender may have (RFC 1123) is one that this machine resolves."""
    reporting = {**PACS, "host": "my_pacs", "confirm": "commitment"}
    config = parse(destinations=[PACS, reporting | {"name": "b"}], senders=[{"ae_title": "C"}])

    assert [(each.ae_title, each.hosts) for each in config.allowed_senders()] == [
        ("C", ()),
        ("PACS", ("my_pacs",)),
    ]


def test_only_a_dicom_node_is_told_who_calls() -> None:
    dicom, web = parse(destinations=[PACS, WEB]).destinations

    assert dicom.called_from("DESK").model_dump()["calling_ae_title"] == "DESK"
    assert web.called_from("DESK") == web


def test_names_that_are_none_are_problems_like_others() -> None:
    found = problems(
        destinations=[{**PACS, "name": ["pacs"]}, 5], senders=[{"count_at": ["pacs"]}]
    )
    no_table = "Input should be a valid dictionary or instance of DicomDestination"

    assert found == [
        "node.toml: senders[0].count_at: Input should be a valid string",
        "node.toml: destinations[0].name: Input should be a valid string",
        f"node.toml: destinations[1]: {no_table}",
    ]
