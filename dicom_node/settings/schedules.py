"""The tables of schedules: which archive is asked when, and for which studies.

The hours of an archive are in its own table; these say when a run begins. Which series are
taken says a rule set (`settings/rules.py`).
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dicom_node.settings.rules import compared_attribute
from dicom_node.settings.values import Hours, Section, Weekdays


def _keyword(text: str) -> str:
    """An attribute by its keyword (PS3.6 6) that may be matched."""
    compared_attribute(text)
    if text in {"StudyDate", "StudyTime", "TimezoneOffsetFromUTC", "QueryRetrieveLevel"}:
        raise ValueError(f"{text} is asked for by the schedule itself")
    return text


Keyword = Annotated[str, AfterValidator(_keyword)]


class Schedule(Section):
    """A re-query: an archive is asked for the studies of some dates, again and again."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """How commands and the ledger call it."""
    archive: str
    """The name of the archive that is asked."""
    rules: str | None = None
    """The name of the rule set that says which series are taken; without it, every CT series
    of three images and more is."""
    at: str | None = Field(default=None, pattern=r"^([01]?\d|2[0-3]):[0-5]\d$")
    """When a run begins, by the archive's clock."""
    days: Weekdays = "Mon-Sun"
    """On which days of the week it does: `Mon-Fri` or `Sat,Sun`."""
    every_h: Hours | None = Field(default=None, ge=0.25, le=24 * 366)
    """Instead of `at`: how long after a run began the next one does."""
    since: date
    """The first study date that is wanted."""
    until: date | None = None
    """The last one; without it, yesterday, whenever a run begins."""
    look_back_d: int = Field(default=2, ge=0, le=3660)
    """How many days that were listed before are listed again, for what came late."""
    window: Literal["day", "week"] = "day"
    """How many study dates are asked for at a time, before answers make it fewer."""
    attempts: int = Field(default=5, ge=1, le=100)
    """How often what is missing of a series is asked for."""
    first_wait_s: float = Field(default=60.0, gt=0, le=86400)
    """The wait before it is asked for again; doubled after each further attempt."""
    max_wait_s: float = Field(default=3600.0, gt=0, le=7 * 86400)
    """The longest wait between two attempts, at a series or at a silent archive."""
    give_up_h: Hours = Field(default=168.0, le=24 * 366)
    """How long after it was first asked for a series that is not whole is given up."""
    at_archive: dict[Keyword, str] = Field(default_factory=dict)
    """More keys that the archive matches, as they are: `InstitutionName = "Main*"`."""

    @model_validator(mode="after")
    def _begins_somehow(self) -> Self:
        """One of two says when a run begins; with neither, `msk-node requery run` does."""
        if self.at is not None and self.every_h is not None:
            raise ValueError("at and every_h both say when a run begins; give one of them")
        if self.until is not None and self.until < self.since:
            raise ValueError(f"until is {self.until}, before since ({self.since})")
        return self
