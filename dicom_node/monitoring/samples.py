"""Metrics that are looked up when somebody asks for them, as values: a description, samples."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.monitoring.metrics import Key, MetricType


@dataclass(frozen=True, slots=True)
class Described:
    """A metric that is looked up: its name without the prefix, its HELP and its labels."""

    name: str
    words: str
    label_names: tuple[str, ...] = ()
    type: MetricType = MetricType.GAUGE

    def at(self, value: float, *labels: str) -> Sample:
        """A sample of it."""
        return Sample(self, labels, float(value))


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric that was looked up, for these values of its labels."""

    metric: Described
    key: Key
    value: float
