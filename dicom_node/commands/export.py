"""The command that writes the table of results: `export`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.audited import note_export
from dicom_node.commands.console import ConfigOption, counted, room_for, stderr, stdout, titled


class TableForm(StrEnum):
    """The form of the tables."""

    CSV = "csv"
    PARQUET = "parquet"


class CaseState(StrEnum):
    """What became of a case."""

    REPORTED = "reported"
    REFUSED = "refused"
    FAILED = "failed"


MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
DAYS = ["%Y-%m-%d"]


def export(  # noqa: PLR0913 - a command line has as many options as it has
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="File for the structures; cases go into one beside it."
        ),
    ],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of `msk-node segment`; without any, the node's database.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    config: ConfigOption = None,
    form: Annotated[
        TableForm | None,
        typer.Option("--format", help="As the ending of --out says, if not given."),
    ] = None,
    pseudonymise: Annotated[
        Path | None,
        typer.Option(
            help="Replace what leads to a person, under the key in this file; made if missing.",
            dir_okay=False,
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, help="Analysed at that time (UTC) or later."),
    ] = None,
    studied_from: Annotated[
        datetime | None,
        typer.Option("--from", formats=DAYS, help="Study Date of that day or later."),
    ] = None,
    studied_to: Annotated[
        datetime | None,
        typer.Option("--to", formats=DAYS, help="Study Date of that day or earlier."),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="Name of the bundle, or name and version; repeatable."),
    ] = None,
    verdict: Annotated[
        list[str] | None, typer.Option(help="Verdict of the case; repeatable.")
    ] = None,
    sender: Annotated[
        list[str] | None, typer.Option(help="Calling AE title; repeatable.")
    ] = None,
    state: Annotated[
        list[CaseState] | None, typer.Option(help="What became of it; repeatable.")
    ] = None,
    *,
    all_revisions: Annotated[
        bool,
        typer.Option("--all-revisions", help="Revisions too that a later one has replaced."),
    ] = False,
    with_tests: Annotated[
        bool,
        typer.Option("--with-tests", help="Scans of test patients and phantoms too."),
    ] = False,
) -> None:
    """Write every case and structure as tables: CSV or Parquet, pseudonymised on request."""
    from dicom_node.cohort.selection import Selection
    from dicom_node.cohort.table import cases_beside, write_tables
    from dicom_node.cohort.table_files import Format
    from dicom_node.commands.kept_cases import KeptCases
    from dicom_node.commands.pseudonym_keys import pseudonyms_beside

    chosen = Format(form or _form_of(out))
    if studied_from and studied_to and studied_from > studied_to:
        raise typer.BadParameter("--from is a later day than --to", param_hint="--from")
    written_files = (out, cases_beside(out))
    pseudonyms = pseudonyms_beside(pseudonymise, written_files) if pseudonymise else None
    cases = KeptCases(folders or (), config)
    selection = Selection(
        since=since.replace(tzinfo=UTC) if since else None,
        first_day=studied_from.date() if studied_from else None,
        last_day=studied_to.date() if studied_to else None,
        bundles=frozenset(bundle or ()),
        verdicts=frozenset(map(_known_verdict, verdict or ())),
        senders=frozenset(sender or ()),
        states=frozenset(map(str, state or ())),
    )
    with room_for(out):
        written = write_tables(
            cases.records(since=selection.since, all_revisions=all_revisions, tests=with_tests),
            out,
            chosen,
            selection=selection,
            pseudonyms=pseudonyms,
        )
    note_export(config, out, written.cases, "export")
    stdout.print(
        f"{counted(written.structures, 'structure')} in {written.structures_file}",
        highlight=False,
    )
    stdout.print(f"{counted(written.cases, 'case')} in {written.cases_file}", highlight=False)
    if not written.cases:
        words = "the tables are empty: no case is there that fits all options"
        stderr.print(titled("Warning", "bold yellow", words))


def _form_of(out: Path) -> str:
    """The form that a file's ending stands for."""
    ending = out.suffix.lower().removeprefix(".")
    if ending not in list(TableForm):
        raise typer.BadParameter(
            f"{out.name} ends neither with .csv nor .parquet: give --format",
            param_hint="--out",
        )
    return ending


def _known_verdict(word: str) -> str:
    """A verdict that there is."""
    from inference.results import Verdict

    if word not in list(Verdict):
        raise typer.BadParameter(
            f"{word!r} is none of {', '.join(Verdict)}", param_hint="--verdict"
        )
    return word
