"""The metrics of a node as Prometheus reads them: what was noted, and what is looked up.

Nothing here needs a process of the node to answer: a worker that is dead or frozen is when
somebody looks. A part that cannot be read leaves the others as they are, and is told of by
`msk_node_metrics_part_up`.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)

from dicom_node.monitoring.metrics import METRICS, Key, Metric, MetricType, Numbers
from dicom_node.monitoring.metrics_files import (
    Snapshot,
    added_up,
    metrics_folder,
    read_snapshots,
)
from dicom_node.monitoring.samples import Described, Sample
from dicom_node.node import metrics_of_health, metrics_of_ledger
from dicom_node.settings.node import NodeConfig

log = structlog.get_logger()

PREFIX: Final = "msk_node_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FRESH_S: Final = 5.0
"""What was looked up is told again for so long."""
SHARE_OF_TIME: Final = 0.05
"""Looking things up takes no more of the time than this: what takes long is told for longer."""
SILENT_S: Final = 120.0
"""The gauges of a process that has written nothing for so long are not told any more."""

BUILD: Final = Described(
    "build_info", "The version of the node and of Python; always 1.", ("version", "python")
)
WRITTEN: Final = Described(
    "metrics_written_timestamp_seconds",
    "When a process last wrote its metrics, in seconds since the epoch.",
    ("role", "node"),
)
PART_UP: Final = Described(
    "metrics_part_up", "1 where a part of these metrics could be read.", ("part",)
)
PART_SECONDS: Final = Described(
    "metrics_part_seconds", "Seconds that looking up a part of these metrics took.", ("part",)
)
OWN: Final = (BUILD, WRITTEN, PART_UP, PART_SECONDS)
DESCRIBED: Final = (*OWN, *metrics_of_health.DESCRIBED, *metrics_of_ledger.DESCRIBED)
"""Every metric that is looked up."""
OF_A_PROCESS: Final = ("role", "node")
"""The labels that gauges have besides their own: those of several processes do not add up."""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric as the table in docs/metrics.md tells of it."""

    name: str
    type: str
    label_names: tuple[str, ...]
    words: str


def metric_rows() -> tuple[MetricRow, ...]:
    """Every metric that a node exposes."""
    noted = (
        MetricRow(PREFIX + each.name, _type(each), _all_labels(each), each.words)
        for each in METRICS.values()
    )
    looked_up = (
        MetricRow(PREFIX + each.name, each.type.value, each.label_names, each.words)
        for each in DESCRIBED
    )
    return (*noted, *looked_up)


def _type(metric: Metric) -> str:
    """Its type; what a process counts for itself alone is noted as a gauge is."""
    is_counter = metric.name.endswith("_total")
    return MetricType.COUNTER.value if is_counter else metric.type.value


def _all_labels(metric: Metric) -> tuple[str, ...]:
    of_a_process = OF_A_PROCESS if metric.type is MetricType.GAUGE else ()
    return (*of_a_process, *metric.label_names)


Look = Callable[[NodeConfig, datetime], Iterable[Sample]]


@dataclass(slots=True)
class NodeMetrics:
    """The metrics of one node, looked up anew when what is known is old; from any thread."""

    config: NodeConfig
    parts: dict[str, Part] = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Know what is to be looked up."""
        self.parts = {
            "health": Part("health", metrics_of_health.health_samples),
            "ledger": Part("ledger", metrics_of_ledger.ledger_samples),
        }

    def text(self) -> bytes:
        """All metrics, in the text format."""
        with self.lock:
            samples = [
                BUILD.at(1, version("msk-node"), platform.python_version()),
                *(sample for part in self.parts.values() for sample in part.look(self.config)),
            ]
            snapshots = read_snapshots(metrics_folder(self.config))
            samples += [WRITTEN.at(each.written_s, each.role, each.node) for each in snapshots]
            return _text([*_noted(snapshots), *_looked_up(samples)])


@dataclass(slots=True)
class Part:
    """A part of what is looked up, remembered for a while."""

    name: str
    ask: Look
    samples: tuple[Sample, ...] = ()
    fresh_until_s: float = 0.0

    def look(self, config: NodeConfig) -> tuple[Sample, ...]:
        """What it says, or said a moment ago."""
        started_s = time.monotonic()
        if started_s < self.fresh_until_s:
            return self.samples
        found, is_up = self._ask(config)
        took_s = time.monotonic() - started_s
        self.samples = (
            *found,
            PART_UP.at(is_up, self.name),
            PART_SECONDS.at(took_s, self.name),
        )
        self.fresh_until_s = time.monotonic() + max(FRESH_S, took_s / SHARE_OF_TIME)
        return self.samples

    def _ask(self, config: NodeConfig) -> tuple[tuple[Sample, ...], bool]:
        try:
            return tuple(self.ask(config, datetime.now(UTC))), True
        except Exception:
            # Whatever it is, the rest is to be told: now more than ever.
            log.exception("metrics.unreadable", key=self.name)
            return (), False


def _noted(snapshots: Sequence[Snapshot]) -> Iterator[Family]:
    """What processes have noted."""
    for metric in METRICS.values():
        if metric.type is MetricType.GAUGE:
            yield _gauges(metric, snapshots)
        else:
            yield _family(metric, added_up(snapshots, metric.name))


def _gauges(metric: Metric, snapshots: Sequence[Snapshot]) -> Family:
    """A gauge of every process that is still heard of."""
    is_counter = _type(metric) == MetricType.COUNTER
    make = CounterMetricFamily if is_counter else GaugeMetricFamily
    family = make(PREFIX + metric.name, metric.words, labels=_all_labels(metric))
    for snapshot in snapshots:
        if time.time() - snapshot.written_s > SILENT_S:
            continue
        for key, (value,) in snapshot.series.get(metric.name, {}).items():
            family.add_metric((snapshot.role, snapshot.node, *key), value)
    return family


def _family(metric: Metric, series: dict[Key, Numbers]) -> Family:
    name, words, labels = PREFIX + metric.name, metric.words, metric.label_names
    match metric.type:
        case MetricType.HISTOGRAM:
            histogram = HistogramMetricFamily(name, words, labels=labels)
            for key, (_, total, *counts) in sorted(series.items()):
                histogram.add_metric(key, _cumulative(metric, counts), total)
            return histogram
        case MetricType.SUMMARY:
            summary = SummaryMetricFamily(name, words, labels=labels)
            for key, (count, total) in sorted(series.items()):
                summary.add_metric(key, int(count), total)
            return summary
        case _:
            counter = CounterMetricFamily(name, words, labels=labels)
            for key, (value,) in sorted(series.items()):
                counter.add_metric(key, value)
            return counter


def _cumulative(metric: Metric, counts: Sequence[float]) -> list[tuple[str, float]]:
    """The buckets of a histogram, each with all that is not above its limit."""
    limits = [*map(str, metric.buckets), "+Inf"]
    return [(limit, sum(counts[: n + 1])) for n, limit in enumerate(limits)]


def _looked_up(samples: Sequence[Sample]) -> Iterator[Family]:
    for metric in DESCRIBED:
        family = GaugeMetricFamily(
            PREFIX + metric.name, metric.words, labels=metric.label_names
        )
        values = {each.key: each.value for each in samples if each.metric is metric}
        for key, value in values.items():
            family.add_metric(key, value)
        yield family


def _text(families: Sequence[Family]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    return generate_latest(registry)


@dataclass(frozen=True, slots=True, eq=False)
class _Collected:
    families: Sequence[Family]

    def collect(self) -> Iterable[Family]:
        return self.families
