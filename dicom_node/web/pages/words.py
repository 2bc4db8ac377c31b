"""Moments, durations and states in words: the filters of the templates.

Moments are shown in the time zone of the machine that serves the pages, which the foot of
every page names; the element's `datetime` has them in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup, escape

STEPS_S: Final = ((86400, "d"), (3600, "h"), (60, "min"))
"""Units of a duration above the second."""

GOOD, BUSY, WARN, BAD, QUIET = "good", "busy", "warn", "bad", "quiet"
TONES: Final[Mapping[str, str]] = {
    "received": BUSY,
    "segmented": BUSY,
    "reported": GOOD,
    "refused": WARN,
    "failed": BAD,
    "left out": QUIET,
    "waiting": BUSY,
    "sent": GOOD,
    "confirmed": GOOD,
    "held": BAD,
    "replaced": QUIET,
    "accepted": GOOD,
    "inaccurate": WARN,
    "critical": BAD,
    "warning": WARN,
    "found": BUSY,
    "wanted": BUSY,
    "fetched": GOOD,
    "had": QUIET,
    "incomplete": WARN,
    "cancelled": QUIET,
}
"""How a state looks; beside its word, never instead of it."""


def duration(seconds: float) -> str:
    """A duration of two units at most: `3 h 12 min`, `4.2 s`, `350 ms`."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    units = [*STEPS_S, (1, "s")]
    first = next(at for at, (size, _) in enumerate(units) if whole >= size)
    (size, name), (less, of_less) = units[first : first + 2]
    count, rest = divmod(whole, size)
    return f"{count} {name} {rest // less} {of_less}" if rest // less else f"{count} {name}"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment was, or when it comes: `3 min ago`, `in 2 h`; `never`."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    whole = round(abs(seconds))
    words = f"{whole} s" if whole < 60 else duration(whole)
    return f"{words} ago" if seconds > 0 else f"in {words}"


def moment(value: datetime | None, *, seconds: bool = True) -> Markup:
    """A moment as an element: local for a person, UTC for a program."""
    if value is None:
        return Markup('<span class="none">never</span>')
    local = value.astimezone()
    shown = local.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    utc = value.astimezone(UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}">{}</time>').format(utc, shown)


def since(value: datetime | None, now: datetime) -> Markup:
    """How long ago a moment was, with the moment itself for who points at it."""
    if value is None:
        return Markup('<span class="none">never</span>')
    utc = value.astimezone(UTC).isoformat(timespec="seconds")
    exact = value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc, exact, ago(value, now)
    )


def zone_words() -> str:
    """The time zone of the pages, as text: `CET (UTC+01:00)`."""
    local = datetime.now().astimezone()
    offset = local.strftime("%z")
    utc = f"UTC{offset[:3]}:{offset[3:]}"
    name = local.tzname() or ""
    return utc if name.startswith(("UTC", "+", "-")) else f"{name} ({utc})"


def number(value: float | None) -> str:
    """A count with its thousands apart."""
    return "" if value is None else f"{value:,}".replace(",", "\u202f")


def figure(value: float | None, digits: int = 1) -> str:
    """A measured number; a dash where there is none."""
    return "\u2013" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 1) -> str:
    """A difference with its sign; one that rounds to nothing has none."""
    if value is None:
        return "\u2013"
    return f"{value:+.{digits}f}".replace("-", "\u2212") if round(value, digits) else "0"


def uncertainty(value: float | None) -> str:
    """An uncertainty as the QC page has it, in two digits: they differ by powers of ten."""
    return "\u2013" if value is None else f"{value:.1e}"


def counted(count: int, noun: str) -> str:
    """So many of something: `1 attempt`, `2 attempts`."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def coded(text: str) -> Markup:
    """A text in which what stands between backticks is code."""
    plain, *rest = text.split("`")
    pairs = zip(rest[::2], [*rest[1::2], ""], strict=False)
    return Markup("").join(
        [escape(plain), *(Markup("<code>{}</code>{}").format(*pair) for pair in pairs)]
    )


def tone(state: object) -> str:
    """How a state looks."""
    return TONES.get(str(getattr(state, "value", state)), QUIET)


def megabytes(value: float) -> str:
    """A size: `12.4 GB`, `870 MB`."""
    return (
        f"{value / 1024:,.1f} GB".replace(",", "\u202f") if value >= 1024 else f"{value:.0f} MB"
    )


def segment(value: object) -> str:
    """A value as one part of an address's path."""
    return quote(str(value), safe="")


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "ago": ago,
    "coded": coded,
    "counted": counted,
    "duration": duration,
    "figure": figure,
    "megabytes": megabytes,
    "moment": moment,
    "number": number,
    "segment": segment,
    "signed": signed,
    "since": since,
    "tone": tone,
    "uncertainty": uncertainty,
}
