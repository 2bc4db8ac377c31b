"""Datasets without preamble and file meta information: read, or called what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpus.bare import FORMS, compressed, written
from support.corpus.sound import file_of, put, sound

from dicom_node.errors import PixelDataError
from dicom_node.series import bounded_files
from dicom_node.series.bounded_files import (
    BARE_DATASET,
    BIG_ENDIAN_DATASET,
    NOT_DICOM,
    NotDicomError,
    read_meta,
    read_whole,
    why_not_dicom,
)
from dicom_node.series.reading import group_by_series, read_series


@pytest.mark.parametrize("form", FORMS)
def test_a_series_without_file_meta_information_is_read_as_with_it(
    form: str, tmp_path: Path
) -> None:
    stack = sound()

    whole = read_series(put(tmp_path / "whole", map(file_of, stack)))
    bare = read_series(put(tmp_path / "bare", map(FORMS[form], stack)))

    np.testing.assert_array_equal(bare.volume.hu, whole.volume.hu)
    assert bare.instances == whole.instances
    assert not bare.left_out
    assert bare.header.PatientName == whole.header.PatientName


def test_one_bare_file_among_others_is_one_of_their_series(tmp_path: Path) -> None:
    stack = sound()
    files = [file_of(one) for one in stack]
    files[4] = FORMS["implicit VR"](stack[4])
    paths = put(tmp_path, files)

    assert group_by_series(paths) == {stack[0].SeriesInstanceUID: tuple(paths)}
    assert len(read_series(paths).slices) == 5


def test_a_bare_file_in_big_endian_is_left_out_as_what_it_is(tmp_path: Path) -> None:
    stack = sound()
    files = [file_of(one) for one in stack]
    files[4] = written(stack[4], implicit=False, little=False)

    series = read_series(put(tmp_path, files))

    assert [out.reason for out in series.left_out] == [BIG_ENDIAN_DATASET]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no scan here", NOT_DICOM),
        (b"", NOT_DICOM),
        (b"\x08\0", NOT_DICOM),
        (b"\x08\0\x10\0\x0c\0\0\0ACR-NEMA 2.0", BARE_DATASET),
        (b"\x08\0\x16\0UI\x0a\0" + b"1.2.3.4.55", BARE_DATASET),
        (b"\x08\0\x16\0UI\xff\xff" + b"1.2.840.10008.5.1.4.1.1.2\0", BARE_DATASET),
    ],
)
def test_what_proves_nothing_is_not_read(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(NotDicomError):
        read_whole(path)
    assert why_not_dicom(path) == reason


def test_compressed_pixels_without_a_transfer_syntax_are_called_so(tmp_path: Path) -> None:
    with pytest.raises(PixelDataError, match="compressed pixels, but the transfer syntax is"):
        read_series(put(tmp_path, map(compressed, sound())))


def test_a_bare_file_has_no_meta_information_to_send_by(tmp_path: Path) -> None:
    (path,) = put(tmp_path, [FORMS["explicit VR"](sound()[0])])

    with pytest.raises(NotDicomError):
        read_meta(path)


def test_no_more_than_the_start_is_looked_at_for_a_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_files, "PROOF_BYTES", 40)
    (path,) = put(tmp_path, [FORMS["explicit VR"](sound()[0])])

    with pytest.raises(NotDicomError):
        read_whole(path)


@settings(max_examples=200, deadline=None)
@given(start=st.binary(max_size=300))
def test_any_bytes_prove_something_or_nothing(start: bytes) -> None:
    assert isinstance(bounded_files._proven_meta(b"\x08\0" + start), bytes)
