"""docs/states-and-errors.md: every state and step with what ends it, every error with its code.

States that nobody has described here are an error, so that the page cannot fall behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import ModuleType

from dicom_node import errors
from dicom_node.archive import query_jobs, retrieve_jobs
from dicom_node.commands import cli, console
from dicom_node.errors import NodeError, SeriesError
from dicom_node.node import refetch
from dicom_node.node.publication import NOT_HIP_TO_KNEE
from dicom_node.node.workflow import ANALYSIS_FAILED, NODE_FAILED, Workflow
from dicom_node.persistence import rows
from dicom_node.persistence.archive_rows import ArchiveState, WindowState
from dicom_node.persistence.rows import DeliveryState, KeyKind, OrderKind, SeriesState
from inference import errors as science
from inference.errors import InferenceError
from support.generated.markdown import table, wrapped

SERIES: Mapping[StrEnum, tuple[str, str]] = {
    SeriesState.RECEIVED: (
        "complete, and in the queue",
        "the rules take it or leave it out, then its analysis ends; one that fails at every try is answered",
    ),
    SeriesState.SEGMENTED: ("analysed; its objects are to be built", "they are built"),
    SeriesState.REPORTED: ("answered with a report", "nothing: an end"),
    SeriesState.REFUSED: ("cannot be analysed; answered with the reason", "nothing: an end"),
    SeriesState.FAILED: (
        "the analysis failed at every try; answered with the reason",
        "nothing: an end; the same series sent again is analysed again",
    ),
    SeriesState.LEFT_OUT: (
        "the rules did not take it; nothing was sent",
        "`msk-node release --series UID`",
    ),
    SeriesState.CANCELLED: (
        "a person ended it before it was answered; nothing was sent",
        "`msk-node retry --series UID`, as a new revision",
    ),
}
CODES: Mapping[str, str] = {
    rows.AWAITS_RULES: "received; the rules wait for the rest of the study (`completion.study_quiet_s`)",
    rows.RELEASED: "received; a person or a schedule wants what rules had left out",
    rows.AGAINST_RULES: "left out for what it is",
    rows.NOT_BEST: "left out for a better series of its study",
    rows.SUPERSEDED: "left out for the next revision, which came first",
    rows.CANCELLED_CODE: "cancelled by a person",
}
DELIVERIES: Mapping[StrEnum, tuple[str, str]] = {
    DeliveryState.WAITING: (
        "to be sent, or tried again",
        "the destination takes it; or it is held, where only a person can mend it",
    ),
    DeliveryState.SENT: (
        "the destination answered with success or a warning",
        'its confirmation, where `confirm` is not "no"',
    ),
    DeliveryState.CONFIRMED: ("the destination keeps it, or lists it", "nothing: an end"),
    DeliveryState.HELD: ("a person has to mend the reason", "`msk-node release`"),
    DeliveryState.REPLACED: ("another form of the same went instead", "nothing: an end"),
}
ARCHIVES: Mapping[StrEnum, str] = {
    ArchiveState.FOUND: "listed; its study's series are not all known yet",
    ArchiveState.HAD: "the node has it, or another schedule fetches it",
    ArchiveState.WANTED: "to be fetched",
    ArchiveState.FETCHED: "here, and whole by its geometry",
    ArchiveState.INCOMPLETE: "here, and not whole; it is asked for no more, until `requery again`",
    ArchiveState.REFUSED: "the rules do not take it; `requery again --state refused`",
    ArchiveState.FAILED: "nothing of it came; it is asked for no more, until `requery again`",
}
WINDOWS: Mapping[StrEnum, str] = {
    WindowState.WAITING: "to be listed",
    WindowState.LISTED: "listed, and whole",
    WindowState.SPLIT: "cut in two: the answer was not whole",
    WindowState.CUT: "not whole, and as small as can be",
    WindowState.FAILED: "the archive would not answer; the next run asks again",
}
STEPS: Mapping[str, str] = {
    "select": "ask the rules: take the series, leave it out, or wait for its study",
    "segment": "analyse it in a child process",
    "publish": "build the objects, keep them, name their destinations",
    "deliver": "one attempt at one destination, or one question whether it keeps what it took",
    refetch.KIND: "have archives give the images of a series once more, for an order",
    query_jobs.KIND: "list a window of dates of an archive",
    retrieve_jobs.KIND: "fetch the series of a study from an archive",
}
ORDERS: Mapping[StrEnum, str] = {
    OrderKind.RETRY: "what failed or waits is tried now",
    OrderKind.CANCEL: "what waits is given up",
    OrderKind.REANALYSE: "the series is analysed again, as a new revision",
    OrderKind.RESEND: "its objects are sent again",
    OrderKind.HOLD: "its deliveries are held",
    OrderKind.RELEASE: "held deliveries go on",
}
KEYS: Mapping[StrEnum, str] = {
    KeyKind.ACCESSION_NUMBER: "Accession Number, as a digest under the spool's secret",
    KeyKind.PATIENT_ID: "Patient ID, likewise",
}
OTHER_CODES: Mapping[str, str] = {
    NOT_HIP_TO_KNEE: 'the scan does not show hip to knee, and `partial = "refuse"`',
    ANALYSIS_FAILED: "the analysis failed at every try",
    NODE_FAILED: "the objects could not be built, at every try",
}
EXITS: Mapping[int, str] = {
    console.EXIT_USAGE: "wrong usage",
    console.EXIT_UNUSABLE: "cannot be used",
    console.EXIT_REFUSED: "input refused",
    console.EXIT_UNREACHABLE: "unreachable",
    console.EXIT_PEER_REFUSED: "peer refused",
    1: "unexpected",
}


def states() -> str:
    """The page."""
    return "\n".join(_page()).rstrip() + "\n"


def _page() -> Iterator[str]:
    yield "# States, steps and errors\n"
    yield wrapped(
        "Written from the program by `make docs`; a test fails when it is not current. What each command"
        " ends with is in [commands.md](commands.md), each event of the log in"
        " [log-events.md](log-events.md)."
    )
    yield "## States of a series\n"
    yield table(("state", "meaning", "what ends it"), _with_end(SeriesState, SERIES))
    yield table(("code of a series", "meaning"), [(f"`{k}`", v) for k, v in CODES.items()])
    yield "## States of a delivery\n"
    yield wrapped("Of each object at each destination ([delivery.md](delivery.md)).")
    yield table(("state", "meaning", "what ends it"), _with_end(DeliveryState, DELIVERIES))
    yield "## States of a series that an archive has\n"
    yield wrapped("Of each schedule ([requery.md](requery.md)).")
    yield table(("state", "meaning"), _plain(ArchiveState, ARCHIVES))
    yield table(("state of a window of dates", "meaning"), _plain(WindowState, WINDOWS))
    yield "## Steps of the queue\n"
    yield table(("step", "what it does"), [(f"`{k}`", STEPS[k]) for k in step_names()])
    yield "## Orders and keys\n"
    yield table(("order", "what it does"), _plain(OrderKind, ORDERS))
    yield table(("found by", "kept as"), _plain(KeyKind, KEYS))
    yield "## Refusals\n"
    yield wrapped(
        "Why a series was not analysed; the code is in `status`, in the table of results and in logs."
    )
    yield table(("code", "meaning"), _refusals())
    yield "## Errors\n"
    yield wrapped(
        "What commands print before a message, and `error` in the log. Those that time may mend are tried"
        " again by themselves."
    )
    yield table(("error", "meaning", "tried again", "exit code"), _errors())


def step_names() -> tuple[str, ...]:
    """The steps of the queue, from the code that does them."""
    own = Workflow.kinds.__get__(object.__new__(Workflow), Workflow)()
    return (*own, refetch.KIND, query_jobs.KIND, retrieve_jobs.KIND)


def _with_end(
    kind: type[StrEnum], words: Mapping[StrEnum, tuple[str, str]]
) -> list[tuple[str, str, str]]:
    return [(f"`{each}`", *words[each]) for each in kind]


def _plain(kind: type[StrEnum], words: Mapping[StrEnum, str]) -> list[tuple[str, str]]:
    return [(f"`{each}`", words[each]) for each in kind]


def _refusals() -> Iterator[tuple[str, str]]:
    for each in _classes(SeriesError):
        yield f"`{each.code}`", _meaning(each)
    for code, words in OTHER_CODES.items():
        yield f"`{code}`", words


def _errors() -> Iterator[tuple[str, str, str, str]]:
    for each in _classes(NodeError):
        code = cli._exit_code(each.__new__(each))
        retried = "yes" if each.retryable else "no"
        yield f"`{each.__name__}`", _meaning(each), retried, f"{code}, {EXITS[code]}"
    for each in _classes(InferenceError, science):
        code = cli._exit_code(each.__new__(each))
        yield f"`{each.__name__}`", _meaning(each), "no", f"{code}, {EXITS[code]}"


def _classes(base: type[Exception], errors: ModuleType = errors) -> Iterable[type]:
    """The classes of the tree below one, in the order of the file."""
    found = inspect.getmembers(
        errors, lambda each: inspect.isclass(each) and issubclass(each, base)
    )
    return sorted((each for _, each in found), key=lambda each: inspect.getsourcelines(each)[1])


def _meaning(error: type) -> str:
    return (inspect.getdoc(error) or "").partition("\n")[0]
