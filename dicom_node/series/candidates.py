"""Series that may be taken, and what the selection rules say of them.

A candidate is judged twice with the same rules (`settings/rules.py`): by what an archive lists
of it, where much is not known, and by its headers once they are here. What is not known
decides nothing: such a rule is still open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StackFacts:
    """The geometry of a series whose headers have been read.

    refusal: the code of the `SeriesError` that it raises; empty where it can be analysed.
    length_mm: from the first slice to the last, along the normal.
    """

    slices: int
    slice_spacing_mm: float | None = None
    slice_thickness_mm: float | None = None
    length_mm: float | None = None
    is_axial: bool | None = None
    refusal: str = ""
    refusal_words: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One series, as far as it is known.

    values: attributes of study and series by keyword, as an archive lists them or a header
        has them; several values parted by backslashes. One that is not there is not known,
        one that is empty has no value.
    images: how many instances, if anyone says.
    stack: its geometry; None until its headers have been read.
    """

    study_instance_uid: str
    series_instance_uid: str
    values: Mapping[str, str] = field(default_factory=dict)
    images: int | None = None
    stack: StackFacts | None = None

    @property
    def frame_of_reference_uid(self) -> str:
        """Its frame of reference; empty where it is not known."""
        return self.values.get("FrameOfReferenceUID", "")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What rules say of a candidate.

    is_taken: None while something that decides is not known.
    reasons: every reason against it, or what is still open; words without patient data.
    """

    is_taken: bool | None
    reasons: tuple[str, ...] = ()
