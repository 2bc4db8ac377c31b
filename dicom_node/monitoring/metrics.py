"""What the node counts and times, each thing once: the metrics that its processes note.

A call site is one line, `INSTANCES_RECEIVED.labels(calling_ae=title).inc()`, and costs about
a microsecond: a number in memory. A thread writes the numbers to a file of the process
(`metrics_files.py`); whoever shows them (`node/exposition.py`) adds up those files. This
module loads nothing, for the receiver imports it.

What is to be read from the ledger, the disks or the heartbeats is not noted here, but looked
up when somebody asks (`node/metrics_of_ledger.py`, `node/metrics_of_health.py`).

A label whose values come from outside is bounded: so many different ones at most have series
of their own, and the rest is counted as `other`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

Key: TypeAlias = tuple[str, ...]
"""The values of a metric's labels, in the order of their names."""
Numbers: TypeAlias = list[float]
"""What is noted under one key: a value; or a count, a sum and, of a histogram, how many fell
into each bucket alone, the last one without an upper limit."""

OTHER: Final = "other"
MAX_TEXT: Final = 64


class MetricType(StrEnum):
    """The types of metrics, as Prometheus names them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class OpenLabel:
    """A label whose values come from outside, and how many of them have series of their own.

    Values that are known beforehand always have; of others the first `most`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: frozenset[str] = frozenset()
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def know(self, values: Collection[str]) -> None:
        """Let these values always have series of their own."""
        self._known = frozenset(map(printable, values))

    def of(self, value: str, *, admits: bool = False) -> str:
        """The value, if it has series of its own; else `other`.

        Args:
            value: as it came from outside.
            admits: give it a place if one is left.
        """
        text = printable(value)
        if text in self._known or text in self._seen:
            return text
        if not admits or not text:
            return OTHER
        with self._lock:
            if len(self._seen) >= self._most:
                return OTHER
            self._seen.add(text)
            return text


def printable(value: str) -> str:
    """A value from outside as one line of printable ASCII, and not too long."""
    return "".join(each if " " <= each <= "~" else "?" for each in value.strip())[:MAX_TEXT]


CALLING_AE: Final = OpenLabel(most=32)
"""Calling AE titles: those of the settings, and the first others that an image was kept of."""
SCANNER: Final = OpenLabel(most=48)
"""Manufacturer and model of scanners, as images state them."""
BUNDLE: Final = OpenLabel(most=8)
"""Bundles with their versions."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a process, with a series for each combination of its labels' values.

    name: without the prefix `msk_node_`.
    words: its HELP.
    labels: the names of its labels.
    buckets: the upper limits of a histogram's buckets, rising.
    opens: those of its labels whose values come from outside.
    admits: whether a new value of those may take a place by this metric.
    """

    name: str
    words: str
    type: MetricType
    label_names: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    opens: Mapping[str, OpenLabel] = field(default_factory=dict)
    admits: bool = False
    series: dict[Key, Numbers] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def width(self) -> int:
        """How many numbers a series has."""
        if self.type in (MetricType.COUNTER, MetricType.GAUGE):
            return 1
        return 2 if self.type is MetricType.SUMMARY else 3 + len(self.buckets)

    def labels(self, **values: str) -> Series:
        """The series with these values of all labels."""
        return Series(self, tuple(self._value(name, values[name]) for name in self.label_names))

    def inc(self, amount: float = 1.0) -> None:
        """Count, where there are no labels."""
        Series(self, ()).inc(amount)

    def set(self, value: float) -> None:
        """Set a gauge without labels."""
        Series(self, ()).set(value)

    def observe(self, value: float) -> None:
        """Note a value, where there are no labels."""
        Series(self, ()).observe(value)

    def copied(self) -> dict[Key, Numbers]:
        """All series, as they are at one moment."""
        with self.lock:
            return {key: list(numbers) for key, numbers in self.series.items()}

    def add(self, found: Mapping[Key, Sequence[float]]) -> None:
        """Add what was noted before, by this process or by the one before it."""
        with self.lock:
            for key, numbers in found.items():
                for place, number in enumerate(numbers):
                    self.numbers(key)[place] += number
        for name, label in self.opens.items():
            for key in found if self.admits else ():
                label.of(key[self.label_names.index(name)], admits=True)

    def _value(self, name: str, value: str) -> str:
        label = self.opens.get(name)
        return value if label is None else label.of(value, admits=self.admits)

    def numbers(self, key: Key) -> Numbers:
        """The numbers of one series, which begin at 0; who changes them holds `lock`."""
        numbers = self.series.get(key)
        if numbers is None:
            numbers = self.series[key] = [0.0] * self.width
        return numbers


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a metric."""

    metric: Metric
    key: Key

    def inc(self, amount: float = 1.0) -> None:
        """Count so many more."""
        with self.metric.lock:
            self.metric.numbers(self.key)[0] += amount

    def set(self, value: float) -> None:
        """Set a gauge."""
        with self.metric.lock:
            self.metric.numbers(self.key)[0] = value

    def observe(self, value: float) -> None:
        """Note a value; a clock that was set back makes no time negative."""
        value = max(value, 0.0)
        with self.metric.lock:
            numbers = self.metric.numbers(self.key)
            numbers[0] += 1
            numbers[1] += value
            if self.metric.type is MetricType.HISTOGRAM:
                numbers[2 + bisect_left(self.metric.buckets, value)] += 1


def _counter(
    name: str,
    words: str,
    *labels: str,
    opens: Mapping[str, OpenLabel] | None = None,
    admits: bool = False,
) -> Metric:
    return Metric(name, words, MetricType.COUNTER, labels, opens=opens or {}, admits=admits)


def _gauge(name: str, words: str, *labels: str) -> Metric:
    return Metric(name, words, MetricType.GAUGE, labels)


def _histogram(name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name, words, MetricType.HISTOGRAM, labels, buckets)


STORE_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
STEP_BUCKETS_S: Final = (
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
    7200.0, 14400.0, 43200.0, 86400.0,
)  # fmt: skip
"""From what a phantom takes to a destination that was down for a day."""

# --- receiving
INSTANCES_RECEIVED: Final = _counter(
    "received_instances_total",
    "Instances kept and answered with success, by calling AE title; a repeat counts too.",
    "calling_ae",
    opens={"calling_ae": CALLING_AE},
    admits=True,
)
BYTES_RECEIVED: Final = _counter(
    "received_bytes_total",
    "Bytes of the datasets of the instances that were kept, by calling AE title.",
    "calling_ae",
    opens={"calling_ae": CALLING_AE},
)
REPEATS_RECEIVED: Final = _counter(
    "repeated_instances_total",
    "Instances received that were there already, byte for byte, by calling AE title.",
    "calling_ae",
    opens={"calling_ae": CALLING_AE},
)
INSTANCES_REFUSED: Final = _counter(
    "refused_instances_total",
    "Instances that were sent and not kept, by reason.",
    "reason",
)
STORE_SECONDS: Final = _histogram(
    "instance_store_seconds",
    "Seconds from the last byte of an instance to the answer of its C-STORE.",
    STORE_BUCKETS_S,
)
ASSOCIATIONS_ACCEPTED: Final = _counter(
    "associations_accepted_total",
    "Associations accepted, by calling AE title.",
    "calling_ae",
    opens={"calling_ae": CALLING_AE},
)
ASSOCIATIONS_REJECTED: Final = _counter(
    "associations_rejected_total",
    "Associations rejected, by reason.",
    "reason",
)
ASSOCIATIONS_BROKEN: Final = _counter(
    "associations_broken_total",
    "Accepted associations that ended without a release, by calling AE title.",
    "calling_ae",
    opens={"calling_ae": CALLING_AE},
)
ASSOCIATIONS_OPEN: Final = _gauge(
    "associations_open", "Associations that senders have open just now."
)
ASSOCIATIONS_LIMIT: Final = _gauge(
    "associations_limit", "Associations that may be open at a time."
)

# --- working
STEP_SECONDS: Final = _histogram(
    "step_seconds",
    "Seconds that a step of a series took: receive (first to last image), wait (handed over to "
    "analysis begun), analysis (one attempt), publication, delivery (one attempt at one "
    "destination), confirmation (sent to confirmed).",
    STEP_BUCKETS_S,
    "step",
)
STORED_SECONDS: Final = _histogram(
    "last_image_to_stored_seconds",
    "Seconds from the last image of a series to its last result stored, by destination.",
    STEP_BUCKETS_S,
    "destination",
)
CONFIRMED_SECONDS: Final = _histogram(
    "last_image_to_confirmed_seconds",
    "Seconds from the last image of a series to its last result confirmed, by destination.",
    STEP_BUCKETS_S,
    "destination",
)
SERIES_ACCEPTED: Final = _counter(
    "series_accepted_total", "Revisions of series entered into the ledger."
)
SERIES_LEFT_OUT: Final = _counter(
    "series_left_out_total", "Series that rules left out, by code.", "code"
)
SERIES_ANSWERED: Final = _counter(
    "series_answered_total",
    "Series answered, by state, and by the code of a refusal or a failure.",
    "state",
    "code",
)
ANALYSES_LOST: Final = _counter(
    "analyses_lost_total", "Attempts at an analysis that died, were killed or ran out of time."
)
ANALYSIS_MEMORY: Final = _gauge(
    "analysis_peak_memory_bytes",
    "The most memory that an analysis has had since the worker started.",
)
CASES: Final = _counter(
    "cases_total",
    "Analysed series, by scanner (manufacturer and model), bundle and verdict.",
    "scanner",
    "bundle",
    "verdict",
    opens={"scanner": SCANNER, "bundle": BUNDLE},
    admits=True,
)
CASE_UNCERTAINTY: Final = Metric(
    "case_uncertainty",
    "Mean uncertainty of an analysed series, by scanner and bundle.",
    MetricType.SUMMARY,
    ("scanner", "bundle"),
    opens={"scanner": SCANNER, "bundle": BUNDLE},
)
STRUCTURE_UNCERTAINTY: Final = Metric(
    "structure_uncertainty",
    "Uncertainty of one structure of an analysed series, by structure, side and bundle.",
    MetricType.SUMMARY,
    ("structure", "side", "bundle"),
    opens={"bundle": BUNDLE},
)

# --- delivering
INSTANCES_SENT: Final = _counter(
    "sent_instances_total", "Result objects that a destination took.", "destination"
)
BYTES_SENT: Final = _counter(
    "sent_bytes_total", "Bytes of the files of result objects that were taken.", "destination"
)
DELIVERY_FAILURES: Final = _counter(
    "delivery_failures_total",
    "Result objects that a destination did not take at an attempt, by what mends it.",
    "destination",
    "remedy",
)
DELIVERIES_CHANGED: Final = _counter(
    "deliveries_changed_total",
    "Result objects that came to a state, by destination.",
    "destination",
    "state",
)

# --- every process
MEMORY: Final = _gauge("process_resident_memory_bytes", "Resident memory of a process.")
CPU: Final = _gauge(
    "process_cpu_seconds_total", "Processor time that a process has had since it started."
)
DESCRIPTORS: Final = _gauge("process_open_fds", "Open file descriptors of a process.")
STARTED: Final = _gauge(
    "process_start_time_seconds", "When a process started, in seconds since the epoch."
)

METRICS: Final[Mapping[str, Metric]] = {
    each.name: each for each in tuple(globals().values()) if isinstance(each, Metric)
}
"""Every metric that a process notes, by its name."""
