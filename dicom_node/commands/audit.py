"""Commands for the audit trail: `audit list`, `audit export` and `audit verify`."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.commands.console import EXIT_REFUSED, ConfigOption, room_for, stderr, stdout

if TYPE_CHECKING:
    from dicom_node.node.audit_log import AuditFilter
    from dicom_node.settings.node import NodeConfig

app = typer.Typer(help="Read the audit trail, and see that nobody has changed it.")

SinceOption = Annotated[
    datetime | None, typer.Option(help="From this moment on, by this machine's clock.")
]
UntilOption = Annotated[datetime | None, typer.Option(help="Before this moment.")]
KindOption = Annotated[
    list[str] | None, typer.Option(help="This kind; may stand several times.")
]
UserOption = Annotated[str, typer.Option(help="This user, AE title or destination, or a part.")]
StudyOption = Annotated[str, typer.Option(help="This Study or Series Instance UID.")]
OutcomeOption = Annotated[
    list[str] | None, typer.Option(help="This outcome: 0 success, 4, 8 and 12 failures.")
]


@app.command("list")
def list_(  # noqa: PLR0913 - a filter has as many sides
    config: ConfigOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    user: UserOption = "",
    study: StudyOption = "",
    outcome: OutcomeOption = None,
    most: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
) -> None:
    """Show the latest messages, the last one first."""
    from dicom_node.node.audit_log import audit_page
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    wanted = _filter(since, until, kind, user, study, outcome)
    for each in audit_page(settings, wanted, most):
        who = " -> ".join(filter(None, (each.user or each.source, each.peer)))
        about = " ".join((*each.studies, each.words))
        at = each.at.astimezone().isoformat(sep=" ", timespec="seconds")
        failed = "" if each.outcome == "0" else f" FAILED ({each.outcome})"
        stdout.print(
            f"{each.number}  {at}  {each.kind}{failed}  {who}  {about}",
            highlight=False,
            soft_wrap=True,
        )
    _note_use(settings)


@app.command()
def export(  # noqa: PLR0913 - a filter has as many sides
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    config: ConfigOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    user: UserOption = "",
    study: StudyOption = "",
    outcome: OutcomeOption = None,
) -> None:
    """Write messages to a CSV file, the latest first."""
    from dicom_node.durable_files import whole_file
    from dicom_node.node.audit_log import audit_file, csv_lines, read_audit
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    audit_file(settings)
    wanted = _filter(since, until, kind, user, study, outcome)
    with (
        room_for(out),
        whole_file(out) as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        count = sum(file.write(line) > 0 for line in csv_lines(read_audit(settings, wanted)))
    stdout.print(f"{count - 1} messages in {out}", highlight=False)
    _note_use(settings)


@app.command()
def verify(config: ConfigOption = None) -> None:
    """Go through the whole trail: is every message there, and as it was written?"""
    from dicom_node.node.audit_log import verify_audit
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    found = verify_audit(settings)
    for line in found.notes:
        stderr.print(f"Note: {line}", highlight=False, soft_wrap=True)
    for line in found.problems:
        stderr.print(f"Broken: {line}", highlight=False, soft_wrap=True)
    _note_use(settings)
    if found.problems:
        raise typer.Exit(EXIT_REFUSED)
    words = f"{found.first} to {found.last}" if found.count else "none"
    stdout.print(
        f"{found.count} messages ({words}) in {found.files} files, each as it was written",
        highlight=False,
    )


def _filter(  # noqa: PLR0913 - a filter has as many sides
    since: datetime | None,
    until: datetime | None,
    kind: list[str] | None,
    user: str,
    study: str,
    outcome: list[str] | None,
) -> AuditFilter:
    """What is looked for.

    Raises:
        UnknownNameError: there is no such kind.
    """
    from dicom_node.errors import UnknownNameError
    from dicom_node.monitoring.audit import AuditKind
    from dicom_node.node.audit_log import AuditFilter

    for each in kind or ():
        if each not in set(AuditKind):
            words = ", ".join(repr(known.value) for known in AuditKind)
            raise UnknownNameError(f"there is no kind {each!r}; there are {words}")
    return AuditFilter(
        since=since and since.astimezone(UTC),
        until=until and until.astimezone(UTC),
        kinds=frozenset(kind or ()),
        user=user,
        study=study,
        outcomes=frozenset(outcome or ()),
    )


def _note_use(settings: NodeConfig) -> None:
    """Leave a message that the trail was read, where we may write it."""
    from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
    from dicom_node.node.audit_log import audit_file

    file = audit_file(settings)
    if not all(os.access(each, os.W_OK) for each in (file.path, file.head_path)):
        stderr.print("Note: the trail cannot be written, so that it was read is not in it")
        return
    event = AuditEvent(AuditKind.LOG_USED, user=getpass.getuser())
    trail = open_trail(settings, "audit")
    trail.record(event)
    trail.close()
