"""Stored pixel values to Hounsfield units, one slice at a time."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, JPEGLSTransferSyntaxes, RLELossless

from dicom_node.errors import LostRescaleError, MixedSeriesError, PixelDataError
from dicom_node.series.bounded_files import opened
from dicom_node.series.codestreams import check_claim
from dicom_node.series.slice_header import SliceHeader
from dicom_node.series.slice_headers import value_of

AIR_HU: Final = -1000
"""The value of a pixel outside the reconstructed circle."""

TISSUE_ABOVE_HU: Final = -200.0
TISSUE_APART_HU: Final = 300.0
"""Half of a slice's body lies within some 100 HU of another's, from the pelvis to the knee."""

WATER_OVER_AIR_HU: Final = 900
"""Values of a CT reach from air to tissue; those of less tell nothing of their unit."""

LIGHT_HU: Final = -50
"""Fat, lung and air are lighter."""

LIGHT_SHARE: Final = 1e-3
"""Of a body and the air around it far more voxels are light; of noise around zero fewer."""

AIR_LIMITS_HU: Final = (-1100, -900)
AIR_SHARE: Final = 0.01
"""Air around a body, and the least share of a scan's voxels that it has."""

MOST_HU: Final = np.iinfo(np.int16).max
"""No tissue is denser."""

TISSUE_HU: Final = (-500.0, 3500.0)
"""A padding value inside this range is believed only where it fills a corner."""

WORDS_LIMIT: Final = 300
"""Of what a decoder says so much is passed on."""

OFFSETS: Final[list[Any]] = ["ExtendedOffsetTable", "ExtendedOffsetTableLengths"]
"""The tables of where frames lie in encapsulated pixels (PS3.3 C.7.6.3.1.8)."""

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
"""Of pixels in fragments (PS3.5 A.4)."""

PIXEL_ELEMENT_BYTES: Final = 12
"""Tag, VR and length of Pixel Data where the VR is written (PS3.5 7.1.2)."""


def stored_values(
    path: Path, headers: Iterable[SliceHeader]
) -> Iterator[tuple[SliceHeader, NDArray[np.integer]]]:
    """Decode the wanted slices of one file, each as `[row, column]` stored values.

    Raises:
        PixelDataError: pixels missing, truncated, or not decodable.
    """
    wanted = sorted(headers, key=lambda header: header.frame_number or 0)
    uid = wanted[0].sop_instance_uid
    try:
        for header, (pixels, native) in zip(wanted, _decode(path, wanted), strict=True):
            stored = pixels.reshape(header.rows, header.columns)
            yield header, _own_bits(stored, header) if native else stored
    except BaseException as error:
        # Decoders of many makers stand behind this call; any failure means the same. Those
        # in Rust panic past Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        words = str(error)[:WORDS_LIMIT]
        if not isinstance(error, PixelDataError):
            words = f"{type(error).__name__}: {words}"
        raise PixelDataError(f"pixels of instance {uid} cannot be decoded: {words}") from error


def _decode(
    path: Path, wanted: Sequence[SliceHeader]
) -> Iterator[tuple[NDArray[np.integer], bool]]:
    """Raw frames of a file, with whether their unused bits may hold rubbish."""
    first = wanted[0]
    described = first.frames * first.rows * first.columns * first.bits_allocated // 8
    with warnings.catch_warnings(), opened(path, pixel_bytes=described) as (stream, meta):
        warnings.simplefilter("ignore")
        syntax = UID(str(meta.TransferSyntaxUID))
        offsets = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=OFFSETS)
        if syntax.is_encapsulated:
            _check_codestreams(stream, syntax, offsets, wanted)
        else:
            _check_length(stream, syntax, described, first.columns)
        native = not syntax.is_encapsulated or syntax == RLELossless
        indices = [(header.frame_number or 1) - 1 for header in wanted]
        # Of the decoders of JPEG-LS the library's first fills in what a damaged stream lacks.
        plugin = "pyjpegls" if syntax in JPEGLSTransferSyntaxes else ""
        for pixels in iter_pixels(stream, indices=indices, raw=True, decoding_plugin=plugin):
            yield pixels, native


def _check_length(stream: BinaryIO, syntax: UID, described: int, columns: int) -> None:
    """Native pixels are as many as the header describes; less than a row over is padding.

    More of them would be read with the wrong width or height, and look like a body.
    """
    head = stream.read(PIXEL_ELEMENT_BYTES)
    length = head[4:8] if syntax.is_implicit_VR else head[8:12]
    stated = int.from_bytes(length, "little" if syntax.is_little_endian else "big")
    if stated == UNDEFINED_LENGTH:
        raise PixelDataError(f"compressed pixels, but the transfer syntax is {syntax.name}")
    if stated < described:
        raise PixelDataError(f"{stated} bytes of pixels, fewer than the {described} described")
    if stated - described >= columns:
        raise PixelDataError(f"{stated} bytes of pixels, more than the {described} described")


def _check_codestreams(
    stream: BinaryIO, syntax: UID, offsets: Dataset, wanted: Sequence[SliceHeader]
) -> None:
    """Check that a decoder will make room only for what the header describes."""
    stream.seek(PIXEL_ELEMENT_BYTES, io.SEEK_CUR)
    table = [value_of(offsets, keyword) for keyword in OFFSETS]
    extended = (table[0], table[1]) if all(table) else None
    by_index = {(header.frame_number or 1) - 1: header for header in wanted}
    frames = generate_frames(
        stream, number_of_frames=wanted[0].frames, extended_offsets=extended
    )
    for index, frame in enumerate(islice(frames, max(by_index) + 1)):
        if (header := by_index.get(index)) is not None:
            check_claim(frame, syntax, header.rows, header.columns)


def _own_bits(pixels: NDArray[np.integer], header: SliceHeader) -> NDArray[np.integer]:
    """Drop what stands above Bits Stored (old overlays) and carry the sign up."""
    spare = header.bits_allocated - header.bits_stored
    if spare <= 0:
        return pixels
    return (pixels << spare) >> spare


def hounsfield(
    stored: NDArray[np.integer], header: SliceHeader
) -> tuple[NDArray[np.int16] | NDArray[np.float32], bool]:
    """Turn stored values into HU; also whether a padding value was ignored.

    int16 where that is exact, else float32. Padding becomes air, unless it lies among
    tissue values and no corner of the slice is padded: then some writer filled the element
    without meaning, and real tissue would be punched out.
    """
    padded = _padded(stored, header)
    meant = padded is not None and _meant(padded, header)
    if header.slope.is_integer() and header.intercept.is_integer():
        whole = stored.astype(np.int64) * int(header.slope) + int(header.intercept)
        if meant:
            whole[padded] = AIR_HU
        bounds = np.iinfo(np.int16)
        if whole.min() >= bounds.min and whole.max() <= bounds.max:
            return whole.astype(np.int16), padded is not None and not meant
    hu = (stored * np.float64(header.slope) + header.intercept).astype(np.float32)
    if meant:
        hu[padded] = AIR_HU
    return hu, padded is not None and not meant


def check_rescaled(
    hu: NDArray[np.int16] | NDArray[np.float32], slices: Sequence[SliceHeader]
) -> None:
    """Refuse stored values that nothing turned into Hounsfield units.

    Air is -1000 HU, fat about -100. Where the intercept was lost, air is 0 and water 1000, and
    no value is below 0 but padding, which was made air. Slices with one intercept are judged
    by themselves: some of a series may have lost theirs, and the air of the others hides it.

    Args:
        hu: [slice, row, column].
        slices: the headers of all of them.

    Raises:
        LostRescaleError: no value is that of anything lighter than water.
    """
    for intercept in sorted({each.intercept for each in slices if each.intercept >= 0}):
        images = [
            image for image, each in zip(hu, slices, strict=True) if each.intercept == intercept
        ]
        light = sum(int(((image > AIR_HU) & (image < LIGHT_HU)).sum()) for image in images)
        if light > LIGHT_SHARE * sum(image.size for image in images):
            continue
        lowest = min(
            float(image.min(where=image > AIR_HU, initial=MOST_HU)) for image in images
        )
        highest = max(float(image.max()) for image in images)
        if highest - lowest > WATER_OVER_AIR_HU:
            some = "" if len(images) == len(hu) else f" in {len(images)} of {len(hu)} images"
            raise LostRescaleError(
                "the rescale to Hounsfield units was lost: Rescale Intercept is"
                f" {intercept:g}{some}, and the values are {lowest:g} to {highest:g}, none of"
                " air or fat"
            )


def check_one_scale(
    hu: NDArray[np.int16] | NDArray[np.float32], slices: Sequence[SliceHeader]
) -> None:
    """Refuse slices whose rescales differ, and with them what soft tissue measures.

    Each slice may be stored in a way of its own; rescaled, the body has the same values.

    Args:
        hu: [slice, row, column].
        slices: the headers of all of them.

    Raises:
        MixedSeriesError: tissue is denser by `TISSUE_APART_HU` where the rescale is another.
    """
    images: dict[tuple[float, float], list[NDArray[np.float32]]] = {}
    for image, each in zip(hu, slices, strict=True):
        tissue = image[image > TISSUE_ABOVE_HU]
        if tissue.size:
            images.setdefault((each.slope, each.intercept), []).append(tissue)
    if len(images) < 2:
        return
    middles = {
        rescale: float(np.median(np.concatenate(each))) for rescale, each in images.items()
    }
    if max(middles.values()) - min(middles.values()) > TISSUE_APART_HU:
        low, high = min(middles, key=middles.__getitem__), max(middles, key=middles.__getitem__)
        raise MixedSeriesError(
            "different rescales in one series: with slope"
            f" {low[0]:g} and intercept {low[1]:g} tissue has {middles[low]:.0f} HU, with"
            f" {high[0]:g} and {high[1]:g} it has {middles[high]:.0f} HU"
        )


def check_air(hu: NDArray[np.int16] | NDArray[np.float32]) -> None:
    """Refuse values of no stated unit that do not show Hounsfield units: air around a body.

    Args:
        hu: [slice, row, column].

    Raises:
        LostRescaleError: no share of them is air.
    """
    low, high = AIR_LIMITS_HU
    air = sum(int(((image >= low) & (image <= high)).sum()) for image in hu)
    if air < AIR_SHARE * hu.size:
        raise LostRescaleError(
            "derived images that do not say in which unit they are (Rescale Type US), and none"
            f" of whose values are those of air: {float(hu.min()):g} to {float(hu.max()):g}"
        )


def fingerprint(header: SliceHeader) -> str:
    """A digest that tells two images apart: Hounsfield units, not their encoding or place."""
    _, stored = next(iter(stored_values(header.path, [header])))
    hu, _ = hounsfield(stored, header)
    return hashlib.sha256(np.ascontiguousarray(hu, dtype=np.float32).tobytes()).hexdigest()


def _padded(stored: NDArray[np.integer], header: SliceHeader) -> NDArray[np.bool_] | None:
    """`[row, column]` where padding stands, or None where there is none."""
    if header.padding is None:
        return None
    low, high = header.padding
    padded = (stored >= low) & (stored <= high)
    return padded if padded.any() else None


def _meant(padded: NDArray[np.bool_], header: SliceHeader) -> bool:
    value = header.padding[0] if header.padding else 0
    if not TISSUE_HU[0] < value * header.slope + header.intercept < TISSUE_HU[1]:
        return True
    return bool(padded[[0, 0, -1, -1], [0, -1, 0, -1]].any())
