"""What this process has counted during a test, as a process that counts from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.monitoring.metrics import BUNDLE, CALLING_AE, METRICS, SCANNER, Metric


@contextmanager
def counting_anew() -> Iterator[None]:
    """Count from nothing until the end of the block, and leave others' counts as they were."""
    before = {name: metric.copied() for name, metric in METRICS.items()}
    forget()
    try:
        yield
    finally:
        forget()
        for name, series in before.items():
            METRICS[name].series.update(series)


def forget() -> None:
    """Know what a new process knows."""
    for metric in METRICS.values():
        metric.series.clear()
    for label in (CALLING_AE, SCANNER, BUNDLE):
        label._seen.clear()


def counts(metric: Metric) -> dict[tuple[str, ...], float]:
    """What was counted of each series, or how many values were noted; without the zeros."""
    return {key: numbers[0] for key, numbers in metric.copied().items() if numbers[0]}
