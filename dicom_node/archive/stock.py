"""What the spool holds of a series, and whether that is all of it: by geometry, not by words.

An archive's count says when more is to come; that a series is whole says its stack alone. The
stack of one that is cut off at an end has no gap: without a count none is whole by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from dicom_node.monitoring.logs import describe
from dicom_node.spool.arrivals import read_arrivals
from dicom_node.spool.completeness import what_is_missing
from dicom_node.spool.copies import images_of
from dicom_node.spool.spool import Spool

log = structlog.get_logger()

NOTHING: Final = "nothing of it is here"
UNREADABLE: Final = "its files cannot be read"


@dataclass(frozen=True, slots=True)
class Stock:
    """What is here of a series.

    sop_instance_uids: of its images that can be read.
    missing: why they are no gap-free stack, with positions; empty where they are one.
    """

    sop_instance_uids: frozenset[str] = frozenset()
    missing: str = NOTHING

    @property
    def instances(self) -> int:
        """How many images are here."""
        return len(self.sop_instance_uids)

    def is_whole(self, listed: int | None) -> bool:
        """True if they are a gap-free stack, of as many images as the archive counts.

        Never where it does not count: what comes in order has no gap before its end.
        """
        return not self.missing and listed is not None and self.instances >= listed


def stock_of(
    spool: Spool, series_instance_uid: str, *, errors_are_damage: bool = False
) -> Stock:
    """Look at what the spool holds of a series.

    errors_are_damage: whether a file that the disk does not give is lost, and wanted again.

    Raises:
        OSError: a file cannot be read just now.
    """
    entries = spool.entries(series_instance_uid)
    images = images_of(entries, errors_are_damage=errors_are_damage)
    if not images.chosen:
        return Stock()
    arrivals = read_arrivals(images.chosen)
    return Stock(
        frozenset(entry.sop_instance_uid for entry in images.chosen),
        arrivals.defect or what_is_missing(arrivals),
    )


def stock_or_why(spool: Spool, series_instance_uid: str) -> Stock:
    """The same where nobody can try again: of files that cannot be read, that and no images."""
    try:
        return stock_of(spool, series_instance_uid, errors_are_damage=True)
    except OSError as error:
        log.warning(
            "requery.unreadable", series_instance_uid=series_instance_uid, **describe(error)
        )
        return Stock(missing=f"{UNREADABLE}: {error.strerror}")
