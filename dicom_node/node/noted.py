"""What the worker notes of series for its metrics, where that is more than one number."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dicom_node.monitoring import metrics
from dicom_node.monitoring.metrics_files import harmless
from dicom_node.node.case_rows import Statement

WHOLE: Final = "whole"
"""The side of a structure that has none."""


@contextlib.contextmanager
def timed(step: str) -> Iterator[None]:
    """Note how long a step took, however it ended."""
    started_s = time.monotonic()
    try:
        yield
    finally:
        metrics.STEP_SECONDS.labels(step=step).observe(time.monotonic() - started_s)


@harmless
def note_received(paths: Sequence[Path]) -> None:
    """Note that a series is in the ledger, and how long its images took to come."""
    metrics.SERIES_ACCEPTED.inc()
    times_s = []
    for path in paths:
        with contextlib.suppress(OSError):
            times_s.append(path.stat().st_mtime)
    if times_s:
        metrics.STEP_SECONDS.labels(step="receive").observe(max(times_s) - min(times_s))


def note_children() -> None:
    """Note the most memory that a child of this process has had."""
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    metrics.ANALYSIS_MEMORY.set(peak_kb * 1024.0)


@harmless
def note_answer(state: str, code: str, statement: Statement) -> None:
    """Note what a series was answered with: its verdict, and how sure the model was."""
    metrics.SERIES_ANSWERED.labels(state=state, code=code).inc()
    case = statement.report.case
    if case is None:
        return
    scanner = statement.scan.scanner or "unknown"
    bundle = f"{case.model.name} {case.model.version}"
    metrics.CASES.labels(scanner=scanner, bundle=bundle, verdict=case.verdict.value).inc()
    if case.mean_uncertainty is not None:
        uncertainty = metrics.CASE_UNCERTAINTY.labels(scanner=scanner, bundle=bundle)
        uncertainty.observe(case.mean_uncertainty)
    for each in case.structures:
        if each.uncertainty is not None:
            side = each.side.value if each.side else WHOLE
            metrics.STRUCTURE_UNCERTAINTY.labels(
                structure=each.structure, side=side, bundle=bundle
            ).observe(each.uncertainty)
