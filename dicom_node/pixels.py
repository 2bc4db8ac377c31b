"""Stored pixel values to Hounsfield units, one slice at a time."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RLELossless

from dicom_node.errors import PixelDataError
from dicom_node.frames import SliceHeader

AIR_HU: Final = -1000
"""What a pixel outside the reconstructed circle counts as."""

TISSUE_HU: Final = (-500.0, 3500.0)
"""A padding value inside this range is believed only where it fills a corner."""


def stored_values(
    path: Path, headers: Iterable[SliceHeader]
) -> Iterator[tuple[SliceHeader, NDArray[np.integer]]]:
    """Decode the wanted slices of one file, each as `[row, column]` stored values.

    Raises:
        PixelDataError: pixels missing, truncated, or not decodable.
    """
    wanted = sorted(headers, key=lambda header: header.frame_number or 0)
    indices = [(header.frame_number or 1) - 1 for header in wanted]
    uid = wanted[0].sop_instance_uid
    try:
        for header, (pixels, native) in zip(wanted, _decode(path, indices), strict=True):
            stored = pixels.reshape(header.rows, header.columns)
            yield header, _own_bits(stored, header) if native else stored
    except Exception as error:
        # Decoders of many makers stand behind this call; any failure means the same.
        raise PixelDataError(
            f"pixels of instance {uid} cannot be decoded: {type(error).__name__}: {error}"
        ) from error


def _decode(path: Path, indices: list[int]) -> Iterator[tuple[NDArray[np.integer], bool]]:
    """Raw frames of a file, with whether their unused bits may hold rubbish."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        syntax = UID(str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID))
        deflated = syntax == DeflatedExplicitVRLittleEndian
        # A deflated file has no pixel offset to seek to: it is read whole.
        source = pydicom.dcmread(path) if deflated else path
        native = not syntax.is_encapsulated or syntax == RLELossless
        for pixels in iter_pixels(source, indices=indices, raw=True):
            yield pixels, native


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


def fingerprint(header: SliceHeader) -> str:
    """What tells two images apart: Hounsfield units and place, not how they are encoded."""
    _, stored = next(iter(stored_values(header.path, [header])))
    hu, _ = hounsfield(stored, header)
    digest = hashlib.sha256(np.ascontiguousarray(hu, dtype=np.float32).tobytes())
    digest.update(np.round(header.position_mm, 2).tobytes())
    return digest.hexdigest()


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
