"""Bad input: series of CT files that are broken, absurd or hostile, each with its refusal.

A case writes a folder of files and says how reading it must end: with the code of one
`SeriesError`, or with `READ` where the damage may be tolerated and the volume is still true.
Every case starts from the same sound series of five slices (`sound`), so that it is the one
damage that decides.
"""

from __future__ import annotations

from support.corpus.bare import bare
from support.corpus.compression import compression
from support.corpus.cut_off import truncated
from support.corpus.geometry import geometry
from support.corpus.lengths import lengths
from support.corpus.many_frames import frames
from support.corpus.names import names
from support.corpus.pixels import pixels
from support.corpus.sound import BadSeries
from support.corpus.stacks import stacks
from support.corpus.words import words


def bad_series() -> tuple[BadSeries, ...]:
    """The whole corpus."""
    groups = (
        truncated,
        lengths,
        geometry,
        pixels,
        names,
        compression,
        frames,
        stacks,
        words,
        bare,
    )
    return tuple(case for group in groups for case in group())
