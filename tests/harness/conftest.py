"""The harness: one Orthanc in a loopback-only namespace for all tests of this folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.answers import RealSeries, as_own_series
from support.conformance import Findings
from support.namespace import Namespace, make_namespace, open_listeners
from support.orthanc import PLUGIN, Orthanc, start_orthanc
from support.stopping import stop
from support.validators import DSRDUMP, PIXELMED

PROGRAMS = ("ip", "ss", "Orthanc", "/usr/bin/dcmsend", "dcmqrscp", str(DSRDUMP), "java")
OUT = Path(__file__).parent / "out"


TABLE = "test_the_table_in_the_docs_is_what_this_run_found"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs real peers; what the others find is compared last."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.peer)
    items.sort(key=lambda item: item.name == TABLE)


@pytest.fixture(scope="session")
def harness_programs() -> None:
    """Skip where the harness cannot run, and say why; in CI that is a failure."""
    missing = [one for one in PROGRAMS if shutil.which(one) is None]
    missing += [str(one) for one in (PLUGIN, PIXELMED) if not one.exists()]
    reasons = [f"not installed: {' '.join(missing)} (make harness-packages)"] if missing else []
    if os.geteuid() != 0:
        reasons.append("not root: no network namespace can be made")
    if reasons:
        stop("; ".join(reasons))


@pytest.fixture(scope="session")
def namespace(harness_programs: None) -> Iterator[Namespace]:
    """A network namespace of this run's own."""
    namespace = make_namespace(f"msk-harness-{os.getpid()}")
    yield namespace
    namespace.remove()


@pytest.fixture(scope="session")
def running_orthanc(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    """The one Orthanc of the run; refused if it can be reached from outside."""
    orthanc = start_orthanc(namespace, tmp_path_factory.mktemp("orthanc"))
    try:
        reachable = open_listeners([orthanc.process.pid])
        if reachable:
            pytest.fail(f"the harness's own listener is open to the network: {reachable}")
        yield orthanc
    finally:
        orthanc.stop()


@pytest.fixture(autouse=True)
def _inside(namespace: Namespace) -> Iterator[None]:
    """Run every test of this folder inside the namespace."""
    with namespace.inside():
        yield


@pytest.fixture
def orthanc(running_orthanc: Orthanc, _inside: None) -> Iterator[Orthanc]:
    """The Orthanc of the run, emptied after each test."""
    yield running_orthanc
    running_orthanc.release()
    running_orthanc.empty()


@pytest.fixture(scope="session")
def findings() -> Findings:
    """What the programs said in this run."""
    return Findings()


@pytest.fixture(scope="session")
def out() -> Path:
    """Where tests leave what a person should look at."""
    OUT.mkdir(exist_ok=True)
    return OUT


@pytest.fixture(params=["vhf_knee_5mm", "vhf_pelvis_slab"])
def partial_series(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path: Path
) -> RealSeries:
    """Each of the real partial series, under UIDs of its own."""
    folder = shared_data / "ct" / request.param
    return RealSeries(request.param, as_own_series(folder, tmp_path / request.param))
