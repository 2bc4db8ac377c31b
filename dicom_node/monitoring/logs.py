"""The node's log: events as `noun.verb` with key=value, and never patient data.

Three fences keep patient data out, whoever writes the event: only keys of an allow-list
pass; an exception is logged as its type and the place in our own code where it passed,
with its message only where the message is one of our own; and of what libraries log only
the level and the place are kept, since their messages may quote elements of a data set.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dicom_node.errors import NodeError
from dicom_node.settings.node import Logging
from inference.errors import InferenceError

ALLOWED_KEYS: Final = frozenset(
    {
        # added by the processors below
        "event", "level", "timestamp", "dropped", "error", "where", "logger",
        # DICOM's identifiers that are pseudonyms, and its protocol
        "series_instance_uid", "study_instance_uid", "sop_instance_uid", "sop_class_uid",
        "transfer_syntax_uid", "status", "calling_ae", "called_ae", "peer", "host", "port",
        # the node's work
        "role", "pid", "exit_code", "signal", "job", "key", "attempt", "wait_s", "seconds",
        "revision", "destination", "state", "code", "reason", "kind", "verdict",
        # sizes
        "count", "instances", "received", "left_out", "megabytes", "bytes", "free_mb", "slices",
        "limit",
        # the analysis
        "bundle", "device", "samples", "done", "total",
        # archives that are asked
        "schedule", "archive", "run", "window", "watermark", "found", "had", "wanted",
        "fetched", "incomplete", "analysed", "refused", "failed", "windows_failed",
        "windows_cut",
        # where things are
        "path", "folder", "version", "attribute",
    }
)  # fmt: skip
"""Keys an event may carry; a key that is missing here is dropped and named in `dropped`."""

QUIET_LIBRARIES: Final = ("pynetdicom", "pydicom", "sqlalchemy", "dbos", "highdicom")
OWN_PACKAGES: Final = ("dicom_node", "inference", "sr_templates")


def configure_logging(settings: Logging, stream: TextIO | None = None) -> None:
    """Send the node's events, and what libraries warn of, to `stream` (standard error)."""
    stream = stream if stream is not None else sys.stderr
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            exceptions_without_values,
            only_allowed_keys,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        # A line with its end in one go: the roles of a node write into one file.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _LastingStream(stream))),
        cache_logger_on_first_use=False,
    )
    _fence_libraries()


class _LastingStream:
    """Where the log goes, for as long as it can: that it cannot be written ends nobody's work.

    A terminal that was closed and a reader that has gone do not come back: what would go
    there goes nowhere. A disk that is full takes what comes later.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or not."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Let what was written go out, if it can."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        """Let a stream whose other end has gone end nowhere, for us and for our children."""
        if getattr(error, "errno", None) in (errno.EPIPE, errno.EIO, errno.ENXIO):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def only_allowed_keys(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop keys that are not on the allow-list, and name them."""
    unknown = sorted(event.keys() - ALLOWED_KEYS)
    for key in unknown:
        del event[key]
    if unknown:
        event["dropped"] = ",".join(unknown)
    return event


def exceptions_without_values(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> EventDict:
    """Turn `exc_info` into the error's type and place, with our own messages only."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event.update(describe(error))
    return event


def describe(error: BaseException) -> dict[str, str]:
    """The facts of an exception that may be told: `error`, `where`, for our own `reason`."""
    words = {"error": type(error).__name__}
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if any(f"/{name}/" in frame.filename for name in OWN_PACKAGES)
    ]
    place = (own or list(frames))[-1:]
    for frame in place:
        words["where"] = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    if isinstance(error, NodeError | InferenceError):
        words["reason"] = str(error)
    elif isinstance(error, OSError) and error.strerror:
        words["reason"] = error.strerror
    return words


class _LibraryHandler(logging.Handler):
    """Tells that a library logged something, and where, but not its words.

    pynetdicom calls every refusal and every broken line an error. Those come out of `peers` and
    `receiving` as events with words; only what it has not expected itself, an exception, is
    told at its own level.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event for one record."""
        details: dict[str, Any] = {"where": f"{record.module}:{record.lineno}"}
        level = min(record.levelno, logging.ERROR)
        if record.exc_info and record.exc_info[1] is not None:
            details |= describe(record.exc_info[1])
        elif record.name.partition(".")[0] == "pynetdicom":
            level = logging.DEBUG
        structlog.get_logger().log(level, "library.logged", logger=record.name, **details)


def _fence_libraries() -> None:
    """Route the standard library's logging and warnings through the same fences."""
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(level=logging.WARNING)]
    for name in QUIET_LIBRARIES:
        library = logging.getLogger(name)
        library.handlers = [logging.NullHandler()]
        library.propagate = True
    # A failed connection comes back from `peers` as an error with words; twice is noise.
    logging.getLogger("pynetdicom.transport").setLevel(logging.CRITICAL)
