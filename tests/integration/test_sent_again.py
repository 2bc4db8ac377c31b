"""Claims about a study that is routed once more, through the real port.

`docs/objects.md`: the same images, bundle and settings send nothing twice, another bundle or
other settings open a revision. Who wants another try of an analysis that failed sends again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import SERIES_UID
from support.pacs import Pacs
from support.small_node import result_pacs
from support.spooled import purge
from support.whole_node import whole_node

from dicom_node.persistence.rows import SeriesState


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


def test_the_same_study_after_a_restart_with_other_settings_is_a_revision(
    tmp_path: Path, pacs: Pacs
) -> None:
    for samples in (2, 3):
        with whole_node(tmp_path, pacs.port, analysis={"samples": samples}) as node:
            node.send(source_datasets(), f"sent {samples}")
            node.come_to_rest()
            revisions = [row.revision for row in node.rows]
            states = {row.state for row in node.rows}
            number = node.result("SR", revisions[-1]).SeriesDescription

    assert revisions == [1, 2]
    assert states == {SeriesState.REPORTED}
    assert "revision 2" in number
    assert len(pacs.received) == 4


def test_it_is_one_revision_however_often_it_comes_again(tmp_path: Path, pacs: Pacs) -> None:
    for turn, samples in enumerate((2, 3, 3)):
        with whole_node(tmp_path, pacs.port, analysis={"samples": samples}) as node:
            node.send(source_datasets(), f"turn {turn}")
            node.come_to_rest()
            node.send(source_datasets(), f"turn {turn} again")
            node.come_to_rest()
            revisions = [row.revision for row in node.rows]

    assert revisions == [1, 2]
    assert len(pacs.received) == 4


def test_a_part_of_a_study_again_asks_for_nothing(tmp_path: Path, pacs: Pacs) -> None:
    """A sender that lost an answer repeats an image; that is no wish for another analysis."""
    for samples in (2, 3):
        with whole_node(tmp_path, pacs.port, analysis={"samples": samples}) as node:
            node.send(source_datasets()[: 12 if samples == 2 else 7], f"sent {samples}")
            node.come_to_rest()
            revisions = [row.revision for row in node.rows]

    assert revisions == [1]


def test_a_purged_study_again_with_other_settings_is_a_revision(
    tmp_path: Path, pacs: Pacs
) -> None:
    for samples in (2, 3):
        with whole_node(tmp_path, pacs.port, analysis={"samples": samples}) as node:
            node.send(source_datasets(), f"sent {samples}")
            node.come_to_rest()
            purge(node.receiver.spool, SERIES_UID)
            states = [row.state for row in node.rows]

    assert states == [SeriesState.REPORTED] * 2


def test_an_analysis_that_failed_is_tried_again_when_the_series_is_sent_again(
    tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.whole_node.COMMAND", ("/bin/false",))
    with whole_node(tmp_path, pacs.port, analysis={"attempts": 1}) as node:
        node.send(source_datasets())
        node.come_to_rest()
    monkeypatch.undo()
    with whole_node(tmp_path, pacs.port, analysis={"attempts": 1}) as node:
        node.send(source_datasets(), "again")
        node.come_to_rest()
        states = [row.state for row in node.rows]

    assert states == [SeriesState.FAILED, SeriesState.REPORTED]


def test_a_study_that_is_sent_again_to_another_title_is_analysed_as_that_title_wants_it(
    tmp_path: Path, pacs: Pacs
) -> None:
    """One scan: reported to the usual title, refused to the strict one; each once."""
    pipelines = [{"called_ae_title": "STRICT", "partial": "refuse"}]
    with whole_node(tmp_path, pacs.port, "--partial", pipelines=pipelines) as node:
        for turn, called in enumerate(("MSKNODE", "STRICT", "MSKNODE", "STRICT")):
            node.send(source_datasets(), f"turn {turn}", called)
            node.come_to_rest()
        kinds = [node.kinds(row.revision) for row in node.rows]

    assert len(kinds) == 2
    assert {"SEG", "SR"} <= set(kinds[0])
    assert kinds[1] == ["KO", "SC"]
