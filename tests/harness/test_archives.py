"""Four real archives, asked and emptied by ours: what each does is in `docs/archives.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.archive_probes import RANGE, Probe, documented
from support.namespace import Namespace
from support.real_archives import STARTS, RealArchive, capping_orthanc, running

from dicom_node.peers.archives import Level, Query
from dicom_node.peers.find import find

# tiny_pacs declares a character set in letters of its own, of which the library warns.
pytestmark = pytest.mark.filterwarnings("ignore:Incorrect value for Specific Character Set")


@pytest.fixture(scope="module", params=list(STARTS))
def archive(
    request: pytest.FixtureRequest,
    namespace: Namespace,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RealArchive]:
    """Each of the archives."""
    with running(STARTS[request.param], namespace, tmp_path_factory.mktemp("a")) as started:
        yield started


def test_each_archive_does_what_the_table_says(archive: RealArchive, tmp_path: Path) -> None:
    """Versions may be renewed by themselves; what the archives do may not."""
    written = {name.split()[0]: column for name, column in documented().items()}

    assert Probe(archive, tmp_path).results() == written[archive.name]


def test_an_orthanc_that_limits_its_answers_says_so(
    namespace: Namespace, tmp_path: Path
) -> None:
    """`LimitFindResults` 2, and three studies: it ends as if it had been cancelled."""
    with running(capping_orthanc, namespace, tmp_path / "capping") as started:
        probe = Probe(started, tmp_path)
        (answer,) = find(probe.archive.peer, [Query(Level.STUDY, RANGE)])

    assert len(answer.listed) == 2
    assert answer.words == "cut off by the archive after 2 answers (0xFE00)"
