"""The command for schedules: `requery`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.commands.console import ConfigOption, stdout

if TYPE_CHECKING:
    from dicom_node.persistence.archive_rows import ArchiveSeriesRow
    from dicom_node.settings.node import NodeConfig


class Action(StrEnum):
    """What to do with schedules."""

    RUN = "run"
    STATUS = "status"
    LIST = "list"
    PAUSE = "pause"
    RESUME = "resume"
    AGAIN = "again"


class ListedState(StrEnum):
    """The state of series that are listed; see docs/requery.md."""

    FOUND = "found"
    HAD = "had"
    WANTED = "wanted"
    FETCHED = "fetched"
    INCOMPLETE = "incomplete"
    REFUSED = "refused"
    FAILED = "failed"


ActionArgument = Annotated[
    Action,
    typer.Argument(
        help="run SCHEDULE: now. status: where each stands. list SCHEDULE: its series. "
        "pause, resume [ARCHIVE]: that archive, or all. again SCHEDULE: what was given up."
    ),
]


def requery(
    action: ActionArgument,
    name: Annotated[str | None, typer.Argument(help="A schedule, or an archive.")] = None,
    config: ConfigOption = None,
    state: Annotated[
        ListedState | None,
        typer.Option(
            help="list: only the series in this state. again: refused, for what its headers "
            "were against instead of what was given up."
        ),
    ] = None,
) -> None:
    """Ask archives now, see what they were asked, pause them; a running node follows."""
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    if action in (Action.RUN, Action.LIST, Action.AGAIN) and name is None:
        raise typer.BadParameter(f"which schedule? msk-node requery {action.value} SCHEDULE")
    match action:
        case Action.RUN:
            _run(settings, name or "")
        case Action.STATUS:
            _status(settings)
        case Action.LIST:
            _list(settings, name or "", state)
        case Action.PAUSE | Action.RESUME:
            _pause(settings, name, paused=action is Action.PAUSE)
        case Action.AGAIN:
            _again(settings, name or "", state)


def _run(settings: NodeConfig, name: str) -> None:
    from dicom_node.archive.by_hand import archive_ledger, run_now, schedule_named

    schedule = schedule_named(settings, name)
    with archive_ledger(settings) as ledger:
        run = run_now(settings, ledger, schedule)
    words = f"run {run} of {name} begins" if run else f"{name} is still listing its last run"
    stdout.print(words, highlight=False)


def _status(settings: NodeConfig) -> None:
    from datetime import UTC, datetime

    from dicom_node.archive.by_hand import archive_ledger
    from dicom_node.archive.overview import overview
    from dicom_node.commands.status_tables import needing_a_look, schedules

    with archive_ledger(settings, only_read=True) as ledger:
        found = overview(settings, ledger, datetime.now(UTC))
    stdout.print(schedules(found))
    if named := [each for one in found for each in one.named]:
        stdout.print(needing_a_look(named))


def _list(settings: NodeConfig, name: str, state: ListedState | None) -> None:
    from dicom_node.archive.by_hand import archive_ledger, schedule_named
    from dicom_node.persistence.archive_rows import ArchiveState

    schedule = schedule_named(settings, name)
    states = tuple(ArchiveState) if state is None else (ArchiveState(state.value),)
    with archive_ledger(settings, only_read=True) as ledger:
        rows = ledger.series(schedule.name, states=states)
        answers = ledger.known_to_node([row.series_instance_uid for row in rows])
    for row in rows:
        answer = answers.get(row.series_instance_uid)
        words = _line(row, answer.state if answer is not None else "")
        stdout.print(words, highlight=False)


def _line(row: ArchiveSeriesRow, answer: str) -> str:
    """A series as a line: state, what became of it, images, UID, reason."""
    counted = "?" if row.listed is None else str(row.listed)
    words = (row.state, answer or "-", f"{row.instances}/{counted}", row.series_instance_uid)
    return "  ".join([*words, row.reason]).rstrip()


def _pause(settings: NodeConfig, name: str | None, *, paused: bool) -> None:
    from dicom_node.archive.by_hand import archive_ledger, check_archive, pause
    from dicom_node.persistence.archive_rows import EVERY_ARCHIVE

    if name is not None:
        check_archive(settings, name)
    with archive_ledger(settings) as ledger:
        pause(ledger, name, paused=paused)
        all_are = any(each.archive == EVERY_ARCHIVE for each in ledger.pauses())
    did = "paused" if paused else "goes on" if name else "go on"
    if name and not paused and all_are:
        did = "goes on when all do: `msk-node requery resume`"
    stdout.print(f"{name or 'all archives'} {did}", highlight=False)


def _again(settings: NodeConfig, name: str, state: ListedState | None) -> None:
    if state not in (None, ListedState.REFUSED):
        raise typer.BadParameter("again takes no state but refused")
    from dicom_node.archive.by_hand import again, archive_ledger, schedule_named

    schedule = schedule_named(settings, name)
    with archive_ledger(settings) as ledger:
        count = again(ledger, schedule, refused=state is ListedState.REFUSED)
    stdout.print(f"{count} series are wanted again", highlight=False)
