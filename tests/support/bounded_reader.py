"""Reads series under limits: `python bounded_reader.py`, a line of JSON in, a line out.

Each series is read in a process of its own, forked from one that has everything imported,
with its address space and its time limited by the system. The answer says how it ended
(`read`, the code of a refusal, or `died`), in what words, how many studies a refusal names,
and what it took.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import structlog

from dicom_node.errors import SeriesError
from dicom_node.series.reading import read_series
from dicom_node.series.study_header import read_studies

MEGABYTE = 1 << 20
MOST_WORDS = 5000  # so that an answer fits into a pipe


def used_address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """How reading one series ends."""
    paths = [Path(path) for path in question["paths"]]
    started = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        series = read_series(paths)
    except SeriesError as error:
        found: dict[str, Any] = {"ends": error.code, "words": str(error)}
        # What the refusal says of the images is read of the same files once more.
        found["studies"] = len(read_studies(paths))
    except BaseException as error:  # noqa: BLE001 - what is no refusal is what is looked for
        found = {"ends": "died", "words": f"{type(error).__name__}: {error}"}
    else:
        notes = [*series.notes, *(out.reason for out in series.left_out)]
        found = {
            "ends": "read",
            "words": "; ".join(notes),
            "slices": len(series.slices),
            "hu": [float(series.volume.hu.min()), float(series.volume.hu.max())],
        }
    found["words"] = found["words"][:MOST_WORDS]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found["megabytes"] = (after - before) / 1024
    found["seconds"] = time.process_time() - started
    return found


def in_a_child(question: dict[str, Any]) -> dict[str, Any]:
    """Fork, limit, read; a child that is killed is an answer too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        limit = used_address_space() + question["megabytes"] * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.alarm(question["seconds"])
        os.write(writing, json.dumps(answer(question)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    if said:
        return dict(json.loads(said))
    return {"ends": "died", "words": f"wait status {status}", "seconds": 0.0, "megabytes": 0.0}


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(in_a_child(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
