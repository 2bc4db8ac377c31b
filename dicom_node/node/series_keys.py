"""What a series can be found by beside its UIDs: Accession Number and Patient ID, as digests.

They are written when a series is taken up, from the first of its headers that can be read, so
that it is found before it is analysed, and still after its images are gone. The database
alone tells neither: the digests are made under the spool's secret (`spool/digest_key.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from dicom_node.errors import SeriesError
from dicom_node.persistence.rows import KeyKind, SeriesKeyRow
from dicom_node.series.patient_identity import identity_of
from dicom_node.series.slice_headers import read_header
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.digest_key import DigestKey, digest_key

log = structlog.get_logger()


def keys_of(arrival: SeriesArrival, spool: Path) -> tuple[SeriesKeyRow, ...]:
    """The rows to find a series by; none where its headers say nothing, or without a secret."""
    stated = stated_values(arrival.paths)
    try:
        key = digest_key(spool)
    except OSError as error:
        # No reason not to analyse it; its UIDs find it.
        log.warning("series.without_keys", error=type(error).__name__)
        return ()
    return tuple(
        SeriesKeyRow(kind, key.find_key(kind, value), arrival.series_instance_uid)
        for kind, value in stated.items()
    )


def stated_values(paths: Iterable[Path]) -> Mapping[KeyKind, str]:
    """Accession Number and Patient ID in the first header that can be read, where not empty."""
    for path in paths:
        with contextlib.suppress(SeriesError, OSError):
            header = read_header(path)
            if header is not None:
                identity = identity_of(header)
                found = {
                    KeyKind.ACCESSION_NUMBER: identity.accession_number,
                    KeyKind.PATIENT_ID: identity.patient_id,
                }
                return {kind: value for kind, value in found.items() if value}
    return {}


def patient_keys(key: DigestKey, text: str) -> tuple[str, ...]:
    """What the table of results may know a patient by: the id alone, or `ID^^^ISSUER`."""
    patient_id, _, issuer = text.strip().partition("^^^")
    return tuple({key.patient_key("", text.strip()), key.patient_key(issuer, patient_id)})
