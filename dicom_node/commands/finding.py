"""Commands that look for series: `find` and `history`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicom_node.commands.console import ConfigOption, counted, stdout

if TYPE_CHECKING:
    from dicom_node.node.find import Found
    from dicom_node.node.history import RevisionHistory

JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for other programs.")]


def find(
    text: Annotated[
        str,
        typer.Argument(
            help="An Accession Number, a Patient ID, or a Study, Series or SOP Instance UID."
        ),
    ],
    config: ConfigOption = None,
    most: Annotated[int, typer.Option(min=1, help="So many at most, the latest.")] = 50,
    *,
    as_json: JsonOption = False,
) -> None:
    """Find series: what came, when, from whom, what became of it, and where it went."""
    from dicom_node.node.find import find as look_for
    from dicom_node.settings.loading import load_config

    found = look_for(load_config(config), text, most=most)
    if as_json:
        _print_json(found)
        return
    for each in found:
        _show(each)
    stdout.print(f"{counted(len(found), 'revision')} found", highlight=False)


def history(
    series: Annotated[str, typer.Argument(help="A Series Instance UID.")],
    config: ConfigOption = None,
    revision: Annotated[int | None, typer.Option(help="Only this revision.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show every event of a series with its time, and how long each hop took."""
    from dicom_node.errors import UnknownNameError
    from dicom_node.node.history import series_history
    from dicom_node.settings.loading import load_config

    found = series_history(load_config(config), series, revision)
    if not found.revisions:
        raise UnknownNameError(f"no series {series!r} has been taken up here")
    if as_json:
        _print_json(found)
        return
    for each in found.revisions:
        _show_revision(each)


def _show(found: Found) -> None:
    """One that was found, as some lines."""
    number = "" if found.revision is None else f", revision {found.revision}"
    stdout.print(f"{found.state}: series {found.series_instance_uid}{number}", highlight=False)
    lines = (
        ("found by", found.matched),
        ("study", found.study_instance_uid),
        ("from", found.calling_ae_title),
        ("received", _time(found.received_at)),
        ("changed", _time(found.changed_at)),
        ("reason", found.words),
        *(("sent to", words) for words in found.destinations),
    )
    for title, words in lines:
        if words:
            stdout.print(f"  {title:<9} {words}", highlight=False)


def _show_revision(history: RevisionHistory) -> None:
    """One revision, as two tables."""
    from dicom_node.persistence.rows import SeriesEvent

    row = history.row
    title = f"{row.series_instance_uid}, revision {row.revision}: {row.state}"
    events = Table("time", "after", "event", "destination", "what", title=title)
    for each in history.events:
        code = "" if each.row.kind is SeriesEvent.ORDERED else each.row.code
        words = ": ".join(filter(None, (code, each.row.reason)))
        events.add_row(
            _time(each.row.at),
            _seconds(each.after_s),
            each.row.kind.value,
            each.row.destination,
            words,
        )
    stdout.print(events)
    if history.words:
        stdout.print(history.words, highlight=False)
    hops = Table("from", "to", "destination", "took", title="How long each hop took")
    for hop in history.hops:
        hops.add_row(hop.begin, hop.end, hop.destination, _seconds(hop.seconds))
    if history.hops:
        stdout.print(hops)
    for order in history.orders:
        done = _time(order.done_at) or "not yet"
        words = f"{order.kind} by {order.ordered_by}: {order.outcome or 'waits'} ({done})"
        stdout.print(f"order: {words}", highlight=False)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _time(moment: datetime | None) -> str:
    """A moment by this machine's clock."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _print_json(value: object) -> None:
    """Print frozen values as JSON."""
    from dicom_node.node.plain_json import plain_values

    typer.echo(json.dumps(plain_values(value), indent=1))
