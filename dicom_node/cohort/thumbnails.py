"""Small copies of QC pages, inside the report: few, small, and of files that may be damaged.

A folder of `msk-node segment` has them as PNG, a node as the Secondary Capture that it sent.
"""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import Final

from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import SeriesError
from dicom_node.series.bounded_files import read_whole

MOST: Final = 24
WIDTH_PX, HEIGHT_PX = 420, 420
JPEG_QUALITY: Final = 72
MOST_PIXELS: Final = 40_000_000
MOST_BYTES: Final = 32 * 2**20
DAMAGED: Final = (
    OSError,
    ValueError,
    SyntaxError,
    AttributeError,
    SeriesError,
    Warning,
    Image.DecompressionBombError,
)
"""What reading a damaged picture ends in."""


def thumbnail(path: Path) -> str:
    """A picture as a `data:` address; empty where there is none that can be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return ""
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if path.suffix == ".dcm":
                small = picture_of(path)
            else:
                with Image.open(path, formats=("PNG", "JPEG")) as picture:
                    if picture.width * picture.height > MOST_PIXELS:
                        return ""
                    small = picture.convert("RGB")
    except DAMAGED:
        return ""
    small.thumbnail((WIDTH_PX, HEIGHT_PX))
    encoded = io.BytesIO()
    small.save(encoded, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def picture_of(path: Path) -> Image.Image:
    """The picture in an object of ours (`results/secondary_capture.py`).

    Raises:
        One of `DAMAGED`: it is damaged, or another kind of image.
    """
    dataset = read_whole(path)
    layout = (dataset.PhotometricInterpretation, dataset.BitsAllocated)
    of_ours = dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    if layout != ("RGB", 8) or dataset.PlanarConfiguration != 0 or not of_ours:
        raise ValueError(f"not a picture of ours: {layout}")
    return Image.frombytes("RGB", (dataset.Columns, dataset.Rows), dataset.PixelData)
