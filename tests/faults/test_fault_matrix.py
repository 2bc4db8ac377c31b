"""The fault matrix: every fault at every moment of a series' way, on a real node.

`make faults` runs all cells and writes the table in `docs/reliability.md`; without
`--all-faults`, those of `USUAL` are run: what has its test elsewhere, and the locked
database, which takes as long as SQLite waits for a lock, is left to the long form.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import save
from support.fault_scenes import Scene
from support.fault_table import ending, table, write_table, written_table
from support.faults import FAULTS, is_held, prepare, refusals, release_by_hand
from support.installed_node import free_port, install, mounted_disk
from support.small_node import result_pacs, write_small_bundle
from support.stopping import stop

BY_NAME = {fault.name: fault for fault in FAULTS}
ALL_CELLS = [(fault.name, moment) for fault in FAULTS for moment in fault.moments]
USUAL = [
    ("kill -9 of the node", "publishing"),
    ("kill -9 of the child that segments", "segmenting"),
    ("disk full", "publishing"),
    ("spool read-only", "waiting"),
    ("database gone", "delivering"),
    ("archive refusing", "delivering"),
    ("archive dropping mid-object", "delivering"),
    ("commitment never", "confirming"),
    ("clock two days ahead", "receiving"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All cells where they are asked for."""
    if "moment" in metafunc.fixturenames:
        cells = ALL_CELLS if metafunc.config.getoption("--all-faults") else USUAL
        metafunc.parametrize(
            ("name", "moment"), cells, ids=[" / ".join(cell) for cell in cells]
        )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture
def scene(name: str, tmp_path: Path, bundle: Path) -> Iterator[Scene]:
    """A node that has not been started, and an archive that takes and commits to everything."""
    fault = BY_NAME[name]
    pacs = result_pacs(reports="same", port=free_port())
    with mounted_disk(tmp_path / "disk") as is_disk:
        if fault.needs == "disk" and not is_disk:
            stop("not root: no disk can be mounted")
        sender = save(source_datasets(), tmp_path / "series")
        scene = Scene(install(tmp_path, pacs.port, bundle, fault.settings), pacs, sender)
        pacs.statuses = refusals(scene)
        scene.archive_up()
        prepare(scene, fault)
        yield scene
        scene.open_gates()
        scene.let_go()
        scene.node.kill()
        scene.archive_down()


def test_a_series_ends_once_whatever_happens(
    scene: Scene, name: str, moment: str, request: pytest.FixtureRequest
) -> None:
    fault = BY_NAME[name]
    scene.reach(moment)
    with fault.strike(scene):
        scene.go_on(moment, reports=not fault.instead)
        if moment in fault.told:
            scene.wait_until(lambda: scene.tells(fault.told[moment]), "it is told")
            scene.noticed = True
        else:
            scene.wait_until_noticed(fault.lasts_s)
    if fault.for_ever:
        assert not scene.is_confirmed()
    else:
        if is_held(scene):
            assert release_by_hand(scene) > 0
        scene.finish(moment)
        scene.assert_ended_once()
    request.config.cache.set(key_of(name, moment), ending(fault, moment))


def test_the_table_in_the_docs_has_every_cell(request: pytest.FixtureRequest) -> None:
    """Runs last, and writes the table only when every cell has ended as it has to."""
    if request.config.getoption("--all-faults"):
        ended = [request.config.cache.get(key_of(*cell), None) for cell in ALL_CELLS]
        assert [cell for cell, how in zip(ALL_CELLS, ended, strict=True) if how is None] == []
        write_table()

    assert written_table() == table(), "stale (make faults)"


def key_of(name: str, moment: str) -> str:
    """Where pytest's cache keeps how a cell ended, for a run in several goes."""
    return f"faults/{name.replace(' ', '-')}/{moment}"
