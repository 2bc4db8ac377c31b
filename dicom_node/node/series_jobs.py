"""The jobs about one series, as values: what each carries, and the key that makes it one.

A key is derived from what its job is about, so that a job that is put twice is done once.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

from dicom_node.persistence.jobs import JobRequest, Payload
from dicom_node.persistence.rows import AWAITS_RULES, SeriesRow
from dicom_node.spool.arrivals import SeriesArrival

SECONDS_BEFORE_ANOTHER_ANALYSIS: Final = 10.0


def payload_of(arrival: SeriesArrival) -> dict[str, Any]:
    """A series as JSON."""
    return {**asdict(arrival), "paths": [str(path) for path in arrival.paths]}


def arrival_of_job(payload: Payload) -> SeriesArrival:
    """The series in a job's payload."""
    # A job that an older node put has not all of the fields.
    values = {
        each.name: payload[each.name] for each in fields(SeriesArrival) if each.name in payload
    }
    values["paths"] = tuple(map(Path, values["paths"]))
    for name in ("sop_instance_uids", "notes"):
        values[name] = tuple(values.get(name, ()))
    return SeriesArrival(**values)


def segment_job(payload: Payload, *, attempt: int) -> JobRequest:
    """An attempt to analyse a series; the first at once, the next a little later."""
    key = f"segment:{payload['series_instance_uid']}:{payload['revision']}:{attempt}"
    delay_s = 0.0 if attempt == 1 else SECONDS_BEFORE_ANOTHER_ANALYSIS
    return JobRequest("segment", key, {**payload, "attempt": attempt}, delay_s)


def first_job(arrival: SeriesArrival, row: SeriesRow) -> JobRequest:
    """The job that a series begins with: its analysis, unless rules are to be asked."""
    arrival = replace(arrival, revision=row.revision)
    if row.code == AWAITS_RULES:
        return select_job(arrival, f"{row.revision}:0")
    return segment_job(payload_of(arrival), attempt=1)


def select_job(arrival: SeriesArrival, name: str) -> JobRequest:
    """The question to the rules about a series."""
    key = f"select:{arrival.series_instance_uid}:{name}"
    return JobRequest("select", key, {**payload_of(arrival), "asked": name})


def select_later(payload: Payload, wait_s: float) -> JobRequest:
    """The same question again, when its study may be quiet."""
    waits = payload.get("waits", 0) + 1
    key = f"select:{payload['series_instance_uid']}:{payload['asked']}:{waits}"
    return JobRequest("select", key, {**payload, "waits": waits}, wait_s)


def segment_later(payload: Payload, first_s: float, most_s: float) -> JobRequest:
    """The same attempt again, later from time to time."""
    waits = payload.get("waits", 0) + 1
    again = segment_job({**payload, "waits": waits}, attempt=payload["attempt"])
    delay_s = min(first_s * 2.0 ** min(waits - 1, 16), most_s)
    return replace(again, key=f"{again.key}:{waits}", delay_s=delay_s)


def publish_job(payload: Payload, folder: Path, variant: str = "") -> JobRequest:
    """The publication of the analysis in a folder."""
    key = f"publish:{payload['series_instance_uid']}:{payload['revision']}{variant}"
    # An older node left its one analysis in the revision's own folder.
    name = "" if folder.name == str(payload["revision"]) else folder.name
    return JobRequest("publish", key, {**payload, "analysis": name})


def about_job(payload: Payload) -> dict[str, Any]:
    """The series that a job is about."""
    return {name: payload[name] for name in ("series_instance_uid", "revision")}
