"""What results need of the source to be filed and to refer to it is checked when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.corpus.sound import encoded, in_order, meta, put, raw_element, sound

from dicom_node.errors import UnidentifiedError
from dicom_node.series.reading import read_series
from dicom_node.series.study_header import read_studies

STUDY, SERIES = 0x0020000D, 0x0020000E
SOP_CLASS, INSTANCE = 0x00080016, 0x00080018
ANY, ONE = range(5), (2,)


def with_uid(tag: int, value: bytes | None, places: Sequence[int], folder: Path) -> list[Path]:
    """The sound series with these bytes for a UID, or without it, in some of its images."""
    return put(
        folder,
        [
            _file(dataset, tag, value) if index in places else _file(dataset, 0, None)
            for index, dataset in enumerate(sound())
        ],
    )


def _file(dataset: Dataset, tag: int, value: bytes | None) -> bytes:
    elements = encoded(dataset)
    elements.pop(tag, None)
    if tag and value is not None:
        elements[tag] = raw_element(tag, b"UI", value)
    return meta(dataset) + in_order(elements)


NO_UIDS = [
    None,
    b"",
    b"DOE^JANE",
    b"1." + b"2" * 64,
    b"1.2\\1.3 ",
    b"1..2",
    b"../../etc/passwd",
]


@pytest.mark.parametrize("value", NO_UIDS)
@pytest.mark.parametrize("tag", [STUDY, SERIES, SOP_CLASS, INSTANCE])
def test_images_without_a_uid_that_results_need_are_unidentified(
    tag: int, value: bytes | None, tmp_path: Path
) -> None:
    with pytest.raises(UnidentifiedError) as refused:
        read_series(with_uid(tag, value, ANY, tmp_path))

    assert refused.value.code == "unidentified"
    assert "DOE" not in str(refused.value)
    assert "passwd" not in str(refused.value)


@pytest.mark.parametrize("value", NO_UIDS)
@pytest.mark.parametrize("tag", [SERIES, SOP_CLASS, INSTANCE])
def test_one_such_image_among_others_refuses_the_series(
    tag: int, value: bytes | None, tmp_path: Path
) -> None:
    """Left out, it would be a gap, or a slice less at the end."""
    with pytest.raises(UnidentifiedError):
        read_series(with_uid(tag, value, ONE, tmp_path))


@pytest.mark.parametrize("value", NO_UIDS[2:])
def test_one_invalid_study_uid_among_others_is_not_taken_for_another_study(
    value: bytes, tmp_path: Path
) -> None:
    paths = with_uid(STUDY, value, ONE, tmp_path)

    with pytest.raises(UnidentifiedError, match="no UID in 1 of 5 images"):
        read_series(paths)
    assert len(read_studies(paths)) == 1


@pytest.mark.parametrize("value", [None, b""])
def test_an_image_that_leaves_out_the_study_of_the_others_is_noted(
    value: bytes | None, tmp_path: Path
) -> None:
    series = read_series(with_uid(STUDY, value, (0,), tmp_path))

    assert series.notes == ("1 of 5 images leave out the study that the others give",)
    assert series.header.StudyInstanceUID == sound()[0].StudyInstanceUID


@pytest.mark.parametrize("padding", [b"\0", b" ", b"  \0", b"\0\0"])
@pytest.mark.parametrize("tag", [STUDY, SERIES])
def test_padding_of_a_uid_means_nothing(tag: int, padding: bytes, tmp_path: Path) -> None:
    uid = str(sound()[0][tag].value)

    series = read_series(with_uid(tag, uid.encode() + padding, ONE, tmp_path))

    assert not series.notes
    assert series.header[tag].value == uid


def test_what_an_image_calls_its_study_names_no_study_unless_it_is_a_uid(
    tmp_path: Path,
) -> None:
    assert read_studies(with_uid(STUDY, b"DOE^JANE", ANY, tmp_path)) == ()
