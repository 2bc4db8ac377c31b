"""When frames of reference tell spaces apart, and which of them results state."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cases import CONTEXT, small_case, source_datasets
from support.ct import FRAME_OF_REFERENCE_UID, ct_stack, enhanced_ct, save
from support.read_series import read

from dicom_node.errors import MixedSeriesError
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.series.reading import read_series


def test_a_frame_of_reference_that_some_images_leave_out_is_that_of_the_others(
    tmp_path: Path,
) -> None:
    datasets = ct_stack()
    del datasets[0].FrameOfReferenceUID
    datasets[3].FrameOfReferenceUID = ""

    series = read(datasets, tmp_path)

    assert series.header.FrameOfReferenceUID == FRAME_OF_REFERENCE_UID
    assert series.notes == (
        "2 of 5 images leave out the Frame of Reference UID that the others give",
    )


def test_a_frame_of_reference_for_each_image_is_read_with_a_note(tmp_path: Path) -> None:
    """A public chest series has them; results state that of the lowest slice."""
    datasets = ct_stack()
    for number, dataset in enumerate(datasets):
        dataset.FrameOfReferenceUID = f"1.2.3.{number}"

    series = read(datasets, tmp_path)

    assert series.header.FrameOfReferenceUID == "1.2.3.0"
    (note,) = series.notes
    assert note.startswith("5 Frame of Reference UIDs, no two slices share one")


def test_a_copy_of_an_image_does_not_share_its_frame_of_reference(tmp_path: Path) -> None:
    datasets = ct_stack()
    for number, dataset in enumerate(datasets):
        dataset.FrameOfReferenceUID = f"1.2.3.{number}"

    assert len(read([*datasets, datasets[1]], tmp_path).slices) == 5


@pytest.mark.parametrize("others", [(4,), (3, 4), (1, 3), (0,)])
def test_two_frames_of_reference_that_slices_share_are_two_spaces(
    others: tuple[int, ...], tmp_path: Path
) -> None:
    datasets = ct_stack()
    for index in others:
        datasets[index].FrameOfReferenceUID = "1.2.3"

    with pytest.raises(MixedSeriesError, match="2 frames of reference"):
        read(datasets, tmp_path)


def test_two_multi_frame_images_with_a_frame_of_reference_each_are_two_spaces(
    tmp_path: Path,
) -> None:
    datasets = ct_stack((0.0, 2.0, 4.0)), ct_stack((6.0, 8.0, 10.0))
    images = [enhanced_ct(stack) for stack in datasets]
    images[1].FrameOfReferenceUID = "1.2.3"

    with pytest.raises(MixedSeriesError, match="2 frames of reference"):
        read_series(save(images, tmp_path))


@pytest.mark.parametrize("value", [None, "", "DOE^JANE", "1." + "2" * 64])
@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
def test_without_a_valid_one_results_state_one_of_their_own(
    value: str | None, tmp_path: Path
) -> None:
    series = read(ct_stack(FrameOfReferenceUID=value), tmp_path)

    assert series.header.FrameOfReferenceUID == ""
    assert len(series.notes) == 1
    assert "DOE" not in series.notes[0]


def test_every_object_with_positions_states_the_same_one(tmp_path: Path) -> None:
    datasets = source_datasets()
    for number, dataset in enumerate(datasets):
        dataset.FrameOfReferenceUID = f"1.2.3.{number}"
    series = read_series(save(datasets, tmp_path))
    placed = {
        ResultKind.SEG,
        ResultKind.SEG_LABELMAP,
        ResultKind.PM,
        ResultKind.SC_DENSITY_SLICES,
    }

    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, placed)

    assert {one.dataset.FrameOfReferenceUID for one in objects} == {"1.2.3.0"}
    assert len(objects) == len(placed)
