"""Convolution kernels by kind: how sharp a series is, as vendors write it.

Convolution Kernel (0018,1210) is a name of the vendor's own (PS3.3 C.8.2.1). Which are soft
and which are for bone is in `kernels.toml`, as patterns with their sources. A kernel that
nothing there fits is unlisted, which says nothing against it.
"""

from __future__ import annotations

import fnmatch
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files


class KernelKind(StrEnum):
    """A kind of kernel, the softest first; what is not known is no worse than medium."""

    SOFT = "soft"
    MEDIUM = "medium"
    UNLISTED = "unlisted"
    BONE = "bone"

    @property
    def sharpness(self) -> int:
        """Its place in that order."""
        return tuple(KernelKind).index(self)


@dataclass(frozen=True, slots=True)
class KernelPattern:
    """Kernels of one kind, as one vendor writes them.

    manufacturers: patterns for Manufacturer, of which one has to fit.
    """

    kind: KernelKind
    pattern: str
    manufacturers: tuple[str, ...] = ("*",)

    def fits(self, kernel: str, manufacturer: str) -> bool:
        """True if it is about this kernel; a manufacturer that is not named may be any."""
        is_vendor = not manufacturer.strip() or any(
            is_like(manufacturer, each) for each in self.manufacturers
        )
        return is_vendor and is_like(kernel, self.pattern)


def kernel_kind(
    kernel: str, manufacturer: str, soft: Sequence[str] = (), bone: Sequence[str] = ()
) -> KernelKind:
    """The kind of a kernel.

    Args:
        kernel: Convolution Kernel; of several values, parted by backslashes, the first that
            is known decides: others are strengths of iterative reconstruction.
        manufacturer: of the scanner; where it is empty, any may be meant.
        soft: patterns of a site's own that come before the table.
        bone: likewise.
    """
    own = [KernelPattern(KernelKind.SOFT, pattern) for pattern in soft]
    own += [KernelPattern(KernelKind.BONE, pattern) for pattern in bone]
    for value in kernel.split("\\"):
        for each in (*own, *shipped_patterns()):
            if each.fits(value, manufacturer):
                return each.kind
    return KernelKind.UNLISTED


@cache
def shipped_patterns() -> tuple[KernelPattern, ...]:
    """The patterns of `kernels.toml`, in the order of the file."""
    text = files("dicom_node.series").joinpath("kernels.toml").read_text(encoding="utf-8")
    return tuple(
        KernelPattern(kind, pattern, tuple(vendor["manufacturers"]))
        for vendor in tomllib.loads(text)["vendors"]
        for kind in (KernelKind.SOFT, KernelKind.MEDIUM, KernelKind.BONE)
        for pattern in vendor.get(kind.value, ())
    )


def is_like(text: str, pattern: str) -> bool:
    """True if a pattern fits all of a text: `*` any text, `?` any character.

    Neither case nor the width of letters makes a difference (Unicode NFKC), nor do spaces at
    the ends, which pad values (PS3.5 6.2).
    """
    # A bracket is a bracket: DICOM's wildcards are two (PS3.4 C.2.2.2.4).
    literal = _plain(pattern).replace("[", "[[]")
    return fnmatch.fnmatchcase(_plain(text), literal)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
