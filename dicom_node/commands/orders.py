"""Commands by which a person orders something: `retry`, `cancel`, `hold`, `resend`, ...

All take the same filter. What they order stands in the ledger; a running node does it within
seconds, one that starts later does it then.
"""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.commands.console import HARMLESS, ConfigOption, counted, stdout

if TYPE_CHECKING:
    from dicom_node.node.orders import Planned
    from dicom_node.node.work_lists import WorkFilter
    from dicom_node.persistence.rows import OrderKind
    from dicom_node.settings.node import NodeConfig

StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", help="Only in this state, of the series or of a delivery."),
]
SeriesOption = Annotated[
    list[str] | None, typer.Option("--series", help="Only this Series Instance UID.")
]
StudyOption = Annotated[str, typer.Option("--study", help="Only of this Study Instance UID.")]
DestinationOption = Annotated[
    str, typer.Option("--destination", help="Only what goes to this destination.")
]
SinceOption = Annotated[
    str, typer.Option("--since", help="Only received then or later: 2026-11-30, or with 14:00.")
]
UntilOption = Annotated[
    str, typer.Option("--until", help="Only received before; a day alone is included.")
]
CodeOption = Annotated[str, typer.Option("--code", help="Only with this code, as not-axial.")]
SenderOption = Annotated[str, typer.Option("--sender", help="Only from this calling AE title.")]
VerdictOption = Annotated[str, typer.Option("--verdict", help="Only with this verdict.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be ordered, and order nothing.")
]
ToOption = Annotated[str, typer.Option("--to", help="The destination to send to.")]


def work_filter(  # noqa: PLR0913 - the options of a filter
    *,
    states: list[str] | None = None,
    series: list[str] | None = None,
    study: str = "",
    destination: str = "",
    since: str = "",
    until: str = "",
    code: str = "",
    sender: str = "",
    verdict: str = "",
) -> WorkFilter:
    """The filter that options stand for.

    Raises:
        BadParameter: there is no such state or time.
    """
    from dicom_node.node.work_lists import STATE_NAMES, WorkFilter

    for state in states or ():
        if state not in STATE_NAMES:
            known = ", ".join(STATE_NAMES)
            raise typer.BadParameter(f"there is no state {state!r}; there are: {known}")
    return WorkFilter(
        states=tuple(states or ()),
        series=tuple(series or ()),
        study=study,
        destination=destination,
        since=_moment(since),
        until=_moment(until, is_end=True),
        code=code,
        calling_ae_title=sender,
        verdict=verdict,
    )


def _moment(text: str, *, is_end: bool = False) -> datetime | None:
    """A moment by this machine's clock; a day as an end is included."""
    from datetime import timedelta

    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        words = f"{text!r} is no time: 2026-11-30, or 2026-11-30T14:00"
        raise typer.BadParameter(words) from None
    if is_end and len(text) <= len("2026-11-30"):
        moment += timedelta(days=1)
    return moment.astimezone() if moment.tzinfo is None else moment


def user_name() -> str:
    """Who gives a command, by the system; of somebody who took another's rights, both."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"user {os.getuid()}"
    before = os.environ.get("SUDO_USER", "")
    return f"{before} (as {name})" if before and before != name else name


def order(
    settings: NodeConfig,
    kind: OrderKind,
    chosen: WorkFilter,
    *,
    destination: str = "",
    dry_run: bool = False,
) -> None:
    """Order something for all that a filter means, or say what would be.

    Raises:
        BadParameter: the filter means all that there is.
        UnknownNameError: nothing that it means can be had, or there is no such destination.
    """
    from dicom_node.errors import UnknownNameError
    from dicom_node.monitoring.audit import open_trail
    from dicom_node.node.orders import enter, plan
    from dicom_node.persistence.ledger import existing_ledger

    if chosen.is_empty:
        raise typer.BadParameter("which series? name one, or a state, a time, a sender, ...")
    ledger = existing_ledger(settings.node.database_url)
    if ledger is None:
        raise UnknownNameError("no series has been taken up here: no node has run yet")
    try:
        planned = plan(settings, ledger, kind, chosen, destination=destination)
        possible = [each for each in planned if not each.objection]
        if dry_run:
            _show(planned)
            return
        if chosen.series and not planned:
            raise UnknownNameError(f"no series {chosen.series[0]!r} has been taken up here")
        if planned and not possible:
            raise UnknownNameError(_why_none(planned))
        rows = [each.row for each in possible]
        count = enter(settings, ledger, kind, rows, by=user_name(), destination=destination)
    finally:
        ledger.close()
        open_trail(settings, "orders").close()
    _tell(kind, count, len(planned) - count)


def _why_none(planned: tuple[Planned, ...]) -> str:
    """Why an order cannot be carried out for any of these series."""
    reasons = sorted({each.objection for each in planned})
    uid = planned[0].row.series_instance_uid
    which = f"series {uid}" if len(planned) == 1 else f"all {len(planned)} series"
    return f"{which}: {'; '.join(reasons)}"


def _tell(kind: OrderKind, count: int, passed_over: int) -> None:
    words = f"{kind.value} ordered for {count} series"
    if passed_over:
        words += f"; {passed_over} passed over (--dry-run says why)"
    stdout.print(words, highlight=False)


def _show(planned: tuple[Planned, ...]) -> None:
    """What would be ordered, and what not: a line each, and how many of each there are."""
    totals: Counter[str] = Counter()
    for each in planned:
        row, words = each.row, each.remark or "ordered"
        if each.objection:
            words = f"nothing: {each.objection}"
        totals[words] += 1
        received = row.received_at.astimezone().strftime("%Y-%m-%d %H:%M")
        about = f"{row.series_instance_uid} revision {row.revision} {row.state.value}"
        # Ten thousand lines: a table of them takes longer than all the rest.
        typer.echo(f"{about} received {received}: {words}".translate(HARMLESS))
    for words, count in totals.most_common():
        stdout.print(f"{count} series: {words}", highlight=False, soft_wrap=True)
    possible = sum(not each.objection for each in planned)
    stdout.print(f"{counted(possible, 'order')} would be given", highlight=False)


def _command(name: str, words: str) -> Callable[..., Any]:
    """The command for one kind of order."""

    def command(  # noqa: PLR0913 - the options of a filter
        config: ConfigOption = None,
        state: StateOption = None,
        series: SeriesOption = None,
        study: StudyOption = "",
        destination: DestinationOption = "",
        since: SinceOption = "",
        until: UntilOption = "",
        code: CodeOption = "",
        sender: SenderOption = "",
        verdict: VerdictOption = "",
        *,
        dry_run: DryRunOption = False,
    ) -> None:
        from dicom_node.persistence.rows import OrderKind
        from dicom_node.settings.loading import load_config

        chosen = work_filter(
            states=state,
            series=series,
            study=study,
            destination=destination,
            since=since,
            until=until,
            code=code,
            sender=sender,
            verdict=verdict,
        )
        settings, kind = load_config(config), OrderKind(name)
        only_there = destination if kind is OrderKind.HOLD else ""
        order(settings, kind, chosen, destination=only_there, dry_run=dry_run)

    command.__name__, command.__doc__ = name, words
    return command


retry = _command("retry", "Analyse again what was refused, failed or cancelled.")
cancel = _command("cancel", "End what waits or is being analysed; nobody is answered.")
hold = _command("hold", "Send nothing more of these series before they are released.")
reanalyse = _command(
    "reanalyse", "Analyse again with today's bundle and settings, as a new revision."
)


def resend(  # noqa: PLR0913 - the options of a filter
    to: ToOption,
    config: ConfigOption = None,
    state: StateOption = None,
    series: SeriesOption = None,
    study: StudyOption = "",
    destination: DestinationOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    code: CodeOption = "",
    sender: SenderOption = "",
    verdict: VerdictOption = "",
    *,
    dry_run: DryRunOption = False,
) -> None:
    """Send the same results to a destination once more, byte for byte."""
    from dicom_node.persistence.rows import OrderKind
    from dicom_node.settings.loading import load_config

    chosen = work_filter(
        states=state,
        series=series,
        study=study,
        destination=destination,
        since=since,
        until=until,
        code=code,
        sender=sender,
        verdict=verdict,
    )
    order(load_config(config), OrderKind.RESEND, chosen, destination=to, dry_run=dry_run)
