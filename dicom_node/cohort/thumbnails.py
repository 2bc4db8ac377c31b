"""Small copies of QC pages, inside the report: few, small, and of files that may be damaged."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import Final

from PIL import Image

MOST: Final = 24
WIDTH_PX, HEIGHT_PX = 420, 420
JPEG_QUALITY: Final = 72
MOST_PIXELS: Final = 40_000_000
MOST_BYTES: Final = 32 * 2**20


def thumbnail(path: Path) -> str:
    """A picture as a `data:` address; empty where there is none that can be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return ""
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    return ""
                small = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError):
        return ""
    small.thumbnail((WIDTH_PX, HEIGHT_PX))
    encoded = io.BytesIO()
    small.save(encoded, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
