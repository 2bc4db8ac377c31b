"""Claims about images that come again: the newest copy of an image is the image.

Everything comes in by a real port. A patient is corrected by sending the images again with
other words in their headers, under the same UIDs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from support.cases import source_datasets
from support.ct import SERIES_UID
from support.pacs import Pacs
from support.small_node import result_pacs
from support.spooled import purge
from support.whole_node import WholeNode, whole_node

from dicom_node.persistence.rows import SeriesState

NEW = {"PatientName": "Sato^Hanako", "PatientID": "MSK0002", "PatientBirthDate": "19600101"}


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def node(tmp_path: Path, pacs: Pacs) -> Iterator[WholeNode]:
    with whole_node(tmp_path, pacs.port, analysis={"attempts": 1}) as node:
        yield node


def patients(node: WholeNode, revision: int) -> set[str]:
    """The patients under whom the results of a revision are filed."""
    return {node.result(kind, revision).PatientID for kind in node.kinds(revision)}


def states(node: WholeNode) -> list[SeriesState]:
    return [row.state for row in node.rows]


def test_all_images_again_with_a_corrected_patient_open_a_revision_for_that_patient(
    node: WholeNode, capfd: pytest.CaptureFixture[str]
) -> None:
    node.send(source_datasets())
    node.come_to_rest()
    node.send(source_datasets(**NEW), "corrected")
    node.come_to_rest()
    log = capfd.readouterr().out

    assert states(node) == [SeriesState.REPORTED] * 2
    assert (patients(node, 1), patients(node, 2)) == ({"MSK0001"}, {"MSK0002"})
    report = node.result("SR", 2)
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    replaced = series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert replaced == node.result("SR", 1).SOPInstanceUID
    (alarm,) = [line for line in log.splitlines() if "series.patient_changed" in line]
    assert SERIES_UID in alarm
    assert "earlier results were filed under the one before" in node.rows[1].reason
    for secret in ("Sato", "MSK0002", "Yamada", "MSK0001"):
        assert secret not in log
        assert secret not in node.rows[1].reason


def test_what_was_sent_for_the_patient_before_stays(node: WholeNode, pacs: Pacs) -> None:
    node.send(source_datasets())
    node.come_to_rest()
    before = [row.path for row in node.workflow.ledger.results(SERIES_UID, 1)]
    node.send(source_datasets(**NEW), "corrected")
    node.come_to_rest()

    assert all(Path(path).exists() for path in before)
    assert len(node.workflow.ledger.results(SERIES_UID, 1)) == len(before)


def test_half_of_a_correction_answers_nobody_and_is_an_alarm_until_the_rest_comes(
    node: WholeNode,
) -> None:
    corrected = source_datasets(**NEW)
    node.send(source_datasets())
    node.come_to_rest()
    node.send(corrected[:5], "corrected")
    node.come_to_rest()
    half = states(node)
    (told,) = node.status.incoming
    node.send(corrected[5:], "rest")
    node.come_to_rest()

    assert half == [SeriesState.REPORTED]
    assert told.reason.startswith("ALARM: ")
    assert "2 different patients" in told.reason
    assert states(node) == [SeriesState.REPORTED] * 2
    assert patients(node, 2) == {"MSK0002"}
    assert node.status.incoming == ()


def test_late_slices_of_a_corrected_patient_wait_for_the_others(node: WholeNode) -> None:
    corrected = source_datasets(**NEW)
    node.send(source_datasets()[:11])
    node.come_to_rest()
    node.send(corrected[11:], "late")
    node.come_to_rest()
    late = len(node.rows)
    node.send(corrected[:11], "rest")
    node.come_to_rest()

    assert late == 1
    assert [row.instances for row in node.rows] == [11, 12]
    assert patients(node, 2) == {"MSK0002"}


def test_a_series_that_was_refused_as_two_patients_is_looked_at_again_when_it_is_one(
    node: WholeNode,
) -> None:
    corrected = source_datasets(**NEW)
    node.send([*source_datasets()[:6], *corrected[6:]])
    node.come_to_rest()
    node.send(corrected[:6], "corrected")
    node.come_to_rest()

    assert [row.code for row in node.rows] == ["mixed-patient", ""]
    assert patients(node, 2) == {"MSK0002"}


def test_a_correction_before_the_series_was_handed_over_is_the_series(node: WholeNode) -> None:
    node.send(source_datasets())
    node.send(source_datasets(**NEW), "corrected")
    node.come_to_rest()

    assert states(node) == [SeriesState.REPORTED]
    assert patients(node, 1) == {"MSK0002"}


def test_a_correction_that_is_taken_back_opens_a_revision_too(node: WholeNode) -> None:
    """The bytes that come last were there first."""
    for folder, change in (("first", {}), ("corrected", NEW), ("back", {})):
        node.send(source_datasets(**change), folder)
        node.come_to_rest()

    assert [patients(node, row.revision) for row in node.rows] == [
        {"MSK0001"},
        {"MSK0002"},
        {"MSK0001"},
    ]


def test_a_correction_that_is_taken_back_by_halves_is_looked_into_when_all_of_it_came(
    node: WholeNode,
) -> None:
    """No file of it is new: it waited for ever, and `status` said that it was arriving."""
    for folder, change in (("first", {}), ("corrected", NEW)):
        node.send(source_datasets(**change), folder)
        node.come_to_rest()
    node.send(source_datasets()[:5], "half")
    node.come_to_rest()
    (told,) = node.status.incoming
    node.send(source_datasets()[5:], "rest")
    node.come_to_rest()

    assert told.reason.startswith("ALARM: ")
    assert [patients(node, row.revision) for row in node.rows] == [
        {"MSK0001"},
        {"MSK0002"},
        {"MSK0001"},
    ]
    assert node.status.incoming == ()


def test_half_of_a_correction_that_is_taken_back_is_no_alarm_any_more(node: WholeNode) -> None:
    node.send(source_datasets())
    node.come_to_rest()
    node.send(source_datasets(**NEW)[:5], "half")
    node.come_to_rest()
    node.send(source_datasets()[:5], "back")
    node.come_to_rest()

    assert states(node) == [SeriesState.REPORTED]
    assert node.status.incoming == ()


def test_a_correction_after_the_images_were_purged_is_known_for_one(node: WholeNode) -> None:
    node.send(source_datasets())
    node.come_to_rest()
    purge(node.receiver.spool, SERIES_UID)
    node.send(source_datasets(**NEW), "corrected")
    node.come_to_rest()

    assert [patients(node, row.revision) for row in node.rows] == [{"MSK0001"}, {"MSK0002"}]


def encoded(images: Sequence[Dataset]) -> list[Dataset]:
    """As an archive sends them that compresses what it keeps."""
    for image in images:
        image.compress(RLELossless, generate_instance_uid=False)
        image.InstitutionName = "Archive"
    return list(images)


@pytest.mark.parametrize(
    "again",
    [
        source_datasets(),
        source_datasets(InstitutionName="Archive"),
        source_datasets(AccessionNumber=None, PatientSex=""),
        source_datasets(PatientName="YAMADA^TAROU=山田^太郎=やまだ^たろう"),
        encoded(source_datasets()),
    ],
    ids=["as it was", "an institution", "less words", "capitals", "compressed"],
)
def test_the_same_images_of_the_same_patient_are_nothing_new(
    again: list[Dataset], node: WholeNode
) -> None:
    node.send(source_datasets())
    node.come_to_rest()
    node.send(again, "again")
    node.come_to_rest()

    assert len(node.rows) == 1
    assert node.status.incoming == ()


def test_other_pixels_under_the_same_uid_are_refused_by_name(node: WholeNode) -> None:
    images = source_datasets()
    node.send(images)
    node.come_to_rest()
    images[3].PixelData = bytes(len(images[3].PixelData))
    node.send(images[3:4], "other")
    node.come_to_rest()

    assert [row.code for row in node.rows] == ["", "duplicate-slice"]
