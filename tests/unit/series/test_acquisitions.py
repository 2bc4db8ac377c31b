"""Passes that follow each other are one volume; scans that lie among each other are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from support.ct import ct_stack, enhanced_ct
from support.read_series import read

from dicom_node.errors import DuplicateSliceError, MixedSeriesError
from dicom_node.series.acquisitions import find_mixture, seam_slices

STEP_MM = 5.0
AXIAL = ["ORIGINAL", "PRIMARY", "AXIAL"]
BRIGHTER = np.full((6, 8), 80)


def plain(first: float, count: int, **elements: Any) -> list[Dataset]:
    """So many touching slices from this many steps on."""
    offsets = [STEP_MM * (first + index) for index in range(count)]
    return ct_stack(offsets, **{"SliceThickness": STEP_MM, **elements})


def each(datasets: list[Dataset], **values: Callable[[int], Any]) -> list[Dataset]:
    """The datasets with values of their index."""
    for index, dataset in enumerate(datasets):
        for keyword, value in values.items():
            setattr(dataset, keyword, value(index))
    return datasets


def unnumbered(datasets: list[Dataset]) -> list[Dataset]:
    for dataset in datasets:
        del dataset.InstanceNumber
    return datasets


def phases(keyword: str, one: Any, other: Any, first: float = 0.5, count: int = 12) -> Any:
    """A stack of twelve, and another from this many steps on."""
    early = unnumbered(plain(0, 12, **{keyword: one}))
    return [*early, *unnumbered(plain(first, count, hu=BRIGHTER, **{keyword: other}))]


@pytest.mark.parametrize(
    ("keyword", "one", "other"),
    [
        ("AcquisitionNumber", 1, 2),
        ("IrradiationEventUID", "1.2.3", "1.2.4"),
        ("TemporalPositionIdentifier", 1, 2),
        ("SeriesNumber", 3, 4),
        ("AcquisitionTime", "101010", "101050"),
        ("AcquisitionDateTime", "20240101101010", "20240101101050"),
        ("ContentTime", "101010", "101050"),
        ("TriggerTime", 300, 700),
        ("NominalPercentageOfCardiacPhase", 40, 75),
        ("KVP", 80, 140),
        ("ContrastBolusAgent", "NONE", "IOMERON 350"),
        ("ScanOptions", "HELICAL", "AXIAL"),
        ("SpiralPitchFactor", 0.8, 1.2),
        ("TotalCollimationWidth", 19.2, 38.4),
        ("StationName", "CT1", "CT2"),
        ("ManufacturerModelName", "A", "B"),
        ("SoftwareVersions", ["1", "2"], ["1", "3"]),
        ("PatientPosition", "HFS", "FFP"),
        ("SliceThickness", 5, 2),
        ("AcquisitionDate", "20240101", "20240102"),
        ("ContentDate", "20240101", "20240102"),
        ("SeriesDate", "20240101", "20240102"),
        ("SeriesTime", "101010", "101050"),
        ("AcquisitionDateTime", "20240101", "20240102"),
        ("FilterType", "BODY", "HEAD"),
        ("ReconstructionDiameter", 400, 500),
        ("MonoenergeticEnergyEquivalent", 40, 70),
        ("ImageType", [*AXIAL, "E1"], [*AXIAL, "E2"]),
    ],
)  # fmt: skip
def test_two_scans_half_a_step_apart_are_refused_whatever_tells_them_apart(
    keyword: str, one: Any, other: Any, tmp_path: Path
) -> None:
    with pytest.raises(MixedSeriesError, match="two acquisitions") as refused:
        read(phases(keyword, one, other), tmp_path)

    assert "12 slice(s) of one acquisition lie among 12 of another" in str(refused.value)
    assert "IOMERON" not in str(refused.value)


@pytest.mark.parametrize(
    "part",
    [(0.5, 12), (3.5, 4), (8.5, 4), (6.5, 8), (5.5, 1), (-2.5, 8)],
    ids=["all of it", "the middle", "the end", "beyond the end", "one slice", "the beginning"],
)
@pytest.mark.parametrize(
    "told_by",
    [("AcquisitionNumber", 1, 2), ("AcquisitionTime", "101010", "101050"), ("KVP", 80, 140)],
    ids=str,
)
def test_a_second_scan_of_any_part_is_refused(
    told_by: tuple[str, Any, Any], part: tuple[float, int], tmp_path: Path
) -> None:
    with pytest.raises(MixedSeriesError, match="two acquisitions"):
        read(phases(*told_by, *part), tmp_path)


def test_three_phases_are_refused(tmp_path: Path) -> None:
    three = [
        dataset
        for number in range(3)
        for dataset in plain(number / 3, 12, AcquisitionTime=f"1010{10 + 15 * number}")
    ]

    with pytest.raises(MixedSeriesError, match="Acquisition Time"):
        read(unnumbered(three), tmp_path)


def test_two_scans_whose_every_slice_has_its_own_time_are_refused(tmp_path: Path) -> None:
    early = each(plain(0, 12), AcquisitionTime=lambda index: f"1010{10 + index:02}.5")
    late = each(plain(0.5, 12), AcquisitionTime=lambda index: f"1010{40 + index:02}.5")

    with pytest.raises(MixedSeriesError, match="Acquisition Time"):
        read(unnumbered([*early, *late]), tmp_path)


def test_two_scans_whose_every_slice_has_its_own_number_are_refused(tmp_path: Path) -> None:
    early = each(plain(0, 12), AcquisitionNumber=lambda index: index + 1)
    late = each(plain(0.5, 12), AcquisitionNumber=lambda index: index + 13)

    with pytest.raises(MixedSeriesError, match="Acquisition Number"):
        read(unnumbered([*early, *late]), tmp_path)


@pytest.mark.parametrize("start", [1, 13], ids=["numbered from one", "numbered on"])
def test_two_stacks_that_only_their_numbering_tells_apart_are_refused(
    start: int, tmp_path: Path
) -> None:
    late = each(plain(0.5, 12, hu=BRIGHTER), InstanceNumber=lambda index: index + start)

    with pytest.raises(MixedSeriesError, match="Instance Number"):
        read([*plain(0, 12), *late], tmp_path)


def test_a_slice_of_another_acquisition_in_the_place_of_a_lost_one_is_refused(
    tmp_path: Path,
) -> None:
    datasets = plain(0, 12, AcquisitionNumber=1)
    datasets[5].AcquisitionNumber = 2

    with pytest.raises(MixedSeriesError, match="1 slice"):
        read(datasets, tmp_path)


def test_frames_of_two_acquisitions_are_refused(tmp_path: Path) -> None:
    """Frame Acquisition Number stands in the functional groups (PS3.3 C.7.6.16.2.2)."""
    slices = [*plain(0, 6), *plain(0.5, 6)]
    multi_frame = enhanced_ct(slices)
    for index, frame in enumerate(multi_frame.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.FrameAcquisitionNumber = 1 + index // 6
        frame.FrameContentSequence = DicomSequence([content])

    with pytest.raises(MixedSeriesError, match="Frame Acquisition Number"):
        read([multi_frame], tmp_path)


def test_two_scans_over_each_other_are_mixed_though_each_image_has_its_own_time(
    tmp_path: Path,
) -> None:
    early = plain(0, 12, AcquisitionNumber=1)
    late = plain(0, 12, AcquisitionNumber=2, hu=BRIGHTER)
    datasets = each([*early, *late], ContentTime=lambda index: f"1010{10 + index:02}")

    with pytest.raises(MixedSeriesError, match="two acquisitions"):
        read(datasets, tmp_path)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("AcquisitionNumber", [1, 2]),
        ("AcquisitionNumber", [2, 1]),
        ("AcquisitionTime", ["101010", "101110"]),
        ("AcquisitionTime", ["101110", "101010"]),
        ("KVP", [120, 100]),
        ("ScanOptions", ["HELICAL", "AXIAL"]),
    ],
)
def test_passes_that_follow_each_other_are_one_volume(
    keyword: str, values: list[Any], tmp_path: Path
) -> None:
    datasets = each(plain(0, 12), **{keyword: lambda index: values[index // 6]})

    series = read(datasets, tmp_path)

    assert len(series.slices) == 12
    assert (keyword == "KVP") == any("100, 120 kV" in note for note in series.notes)


def test_passes_with_and_without_contrast_are_told(tmp_path: Path) -> None:
    agents = ["NONE", "IOMERON 350"]
    datasets = each(plain(0, 12), ContrastBolusAgent=lambda index: agents[index // 6])

    assert read(datasets, tmp_path).notes == ("passes differ in Contrast/Bolus Agent",)


def test_passes_of_two_days_are_told(tmp_path: Path) -> None:
    datasets = each(
        plain(0, 12, AcquisitionTime="101010"),
        AcquisitionDate=lambda index: "20240101" if index < 6 else "20240103",
    )

    assert read(datasets, tmp_path).notes == ("passes were taken 48 h apart",)


@pytest.mark.parametrize("per_rotation", [1, 2, 4])
def test_a_scanner_may_number_each_rotation(per_rotation: int, tmp_path: Path) -> None:
    datasets = each(plain(0, 12), AcquisitionNumber=lambda index: 1 + index // per_rotation)

    assert len(read(datasets, tmp_path).slices) == 12


def test_a_pass_may_be_made_like_an_earlier_one(tmp_path: Path) -> None:
    """Pelvis and knees with 120 kV, the thighs between them with 100."""
    datasets = each(plain(0, 12), KVP=lambda index: 100 if 4 <= index < 8 else 120)

    assert len(read(datasets, tmp_path).slices) == 12


@pytest.mark.parametrize("overlap", [1, 2, 3])
@pytest.mark.parametrize("shift", [0.0, 0.5], ids=["at one place", "half a step off"])
@pytest.mark.parametrize(
    "told_by",
    [("AcquisitionNumber", 1, 2), ("AcquisitionTime", "101010", "101110")],
    ids=str,
)
def test_passes_may_overlap_where_they_meet(
    told_by: tuple[str, Any, Any], shift: float, overlap: int, tmp_path: Path
) -> None:
    """What the lower pass has already is left out, told, and no gap comes of it."""
    keyword, one, other = told_by
    # Which of two at one place comes first must not matter; their UIDs decide it.
    below = plain(0, 12, **{keyword: one})
    above = plain(12 - overlap + shift, 12, hu=BRIGHTER, **{keyword: other})

    series = read(each([*below, *above], InstanceNumber=lambda index: index + 1), tmp_path)

    doubled = overlap if shift == 0 else overlap - 1
    assert len(series.left_out) == doubled
    assert len(series.slices) == 24 - doubled
    told = f"passes overlap where they meet: {doubled} slice(s) left out"
    assert (told in series.notes) == (doubled > 0)


def test_what_some_images_do_not_state_tells_nothing_apart(tmp_path: Path) -> None:
    datasets = plain(0, 12, AcquisitionNumber=1, KVP=120, ContrastBolusAgent="IOMERON")
    for dataset in datasets[::2]:
        for keyword in ("AcquisitionNumber", "KVP", "ContrastBolusAgent", "ConvolutionKernel"):
            delattr(dataset, keyword)

    assert not read(datasets, tmp_path).notes


def test_one_value_written_in_two_ways_is_one_value(tmp_path: Path) -> None:
    datasets = each(plain(0, 12), KVP=lambda index: ["120", "120.0"][index % 2])

    assert not read(datasets, tmp_path).notes


def test_images_that_were_reconstructed_in_any_order_are_one_volume(tmp_path: Path) -> None:
    """Content Times of parallel reconstruction, a fifth of a second apart, in disorder."""
    shuffled = np.random.default_rng(3).permutation(12)
    datasets = each(plain(0, 12), ContentTime=lambda i: f"101010.{int(shuffled[i]) * 5:02}")

    assert len(read(datasets, tmp_path).slices) == 12


def test_files_that_were_written_in_any_order_are_one_volume(tmp_path: Path) -> None:
    """Converters that work in parallel give each file the second in which it was written."""
    written = each(plain(0, 24), SeriesTime=lambda index: f"1010{10 + 7 * index % 4:02}")

    assert read(written, tmp_path).volume.hu.shape[0] == 24


@pytest.mark.parametrize("gap_mm", [1.0, 3.0, 5.0], ids=str)
@pytest.mark.parametrize("upper", ["one time", "upwards"])
def test_passes_may_meet_where_the_first_of_them_began(
    gap_mm: float, upper: str, tmp_path: Path
) -> None:
    """The lower pass runs down from the place where the upper one begins, less than a step on.

    Its first slice is the earliest of all, between the rest of it and the upper pass.
    """
    lower = each(plain(0, 12), AcquisitionTime=lambda index: f"1010{40 - index:02}")
    first = 11 + gap_mm / STEP_MM
    above = each(
        plain(first, 12),
        AcquisitionTime=lambda index: f"1014{index if upper == 'upwards' else 30:02}",
    )

    assert read(unnumbered([*lower, *above]), tmp_path).volume.hu.shape[0] == 24


def test_thicknesses_that_rounding_made_are_one(tmp_path: Path) -> None:
    """Derived of positions with one decimal: 4.9 and 5.1 by turns."""
    rounded = each(plain(0, 12), SliceThickness=lambda index: 4.9 + 0.2 * (index % 2))

    assert read(rounded, tmp_path).volume.hu.shape[0] == 12


def test_a_scan_that_runs_over_midnight_is_no_day_long(tmp_path: Path) -> None:
    """Each slice has its time, all have the day on which the scan began."""
    late = each(
        plain(0, 12),
        AcquisitionDate=lambda index: "20240101",
        AcquisitionTime=lambda index: f"{['235950', '000010'][index // 6]}.{index:02}",
    )

    assert not any("h apart" in note for note in read(late, tmp_path).notes)


def test_shuffled_instance_numbers_tell_nothing(tmp_path: Path) -> None:
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(12)
        datasets = each(plain(0, 12), InstanceNumber=lambda i, s=shuffled: int(s[i]) + 1)

        assert len(read(datasets, tmp_path / str(seed)).slices) == 12


def test_a_copy_that_was_sent_later_is_no_second_acquisition(tmp_path: Path) -> None:
    copies = each(plain(0, 12, ContentTime="111010"), InstanceNumber=lambda index: index + 20)

    series = read([*plain(0, 12, ContentTime="101010"), *copies], tmp_path)

    assert len(series.slices) == 12
    assert len(series.left_out) == 12


def test_different_images_at_one_place_of_one_acquisition_stay_duplicates(
    tmp_path: Path,
) -> None:
    other = plain(4, 1, AcquisitionNumber=1, hu=BRIGHTER)
    other[0].InstanceNumber = 40

    with pytest.raises(DuplicateSliceError, match=r"at 20\.0 mm"):
        read([*plain(0, 12, AcquisitionNumber=1), *other], tmp_path)


def test_only_what_the_lower_pass_has_is_left_out_of_a_seam() -> None:
    """The upper pass's slice in a hole of the lower one belongs there."""
    offsets = np.array([0, 1, 2, 3, 4, 5, 7, 6, 8, 9, 10, 11, 12], dtype=float)
    stated = [{"AcquisitionNumber": "1"}] * 7 + [{"AcquisitionNumber": "2"}] * 6
    order = np.argsort(offsets)

    doubled = seam_slices(offsets[order], [stated[index] for index in order])

    assert not doubled.any()


def test_a_hostile_series_of_the_longest_kind_is_decided_at_once() -> None:
    """Blocks within blocks within blocks, 16,384 slices: bounded by count, not by luck."""
    count = 16384
    stated = [{"KVP": str(min(index, count - 1 - index) // 3)} for index in range(count)]

    assert find_mixture(np.arange(count) * 0.5, stated) is None


@pytest.mark.parametrize("lower_first", [True, False])
def test_a_seam_at_one_place_is_found_whichever_slice_comes_first(lower_first: bool) -> None:
    offsets = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    early, late = {"AcquisitionTime": "101010"}, {"AcquisitionTime": "101110"}
    shared = [early, late] if lower_first else [late, early]

    doubled = seam_slices(offsets, [*[early] * 4, *shared, *[late] * 4])

    assert np.flatnonzero(doubled).tolist() == [5 if lower_first else 4]
