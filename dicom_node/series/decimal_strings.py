"""Decimal strings (PS3.5 6.2, DS): at most 16 characters, whatever the source wrote.

Programs that print a float in full write 17 or more. Readers cut them off, or refuse the
file; shortened to the nearest that 16 characters can say they move a slice by less than a
millionth of a millimetre.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from pydicom.valuerep import format_number_as_ds

LONGEST: Final = 16

_WRITTEN: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def decimal_string(value: Any) -> str:
    """A number as a decimal string: as it is written, or the nearest of 16 characters.

    Args:
        value: a number, or the text of one.

    Raises:
        ValueError: it is no finite number.
    """
    written = str(value).strip()
    number = float(written)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    if len(written) <= LONGEST and _WRITTEN.fullmatch(written):
        return written
    return format_number_as_ds(number)
