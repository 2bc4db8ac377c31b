"""The command that shows many cases at once, or one of them against many: `cohort`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dicom_node.commands.audited import note_export
from dicom_node.commands.console import ConfigOption, counted, room_for, stderr, stdout

if TYPE_CHECKING:
    from dicom_node.cohort.against_norms import Compared
    from dicom_node.cohort.cohort import Cohort
    from dicom_node.cohort.norms import Norms
    from dicom_node.cohort.page import About
    from dicom_node.cohort.pseudonyms import Pseudonyms
    from dicom_node.cohort.records import CaseRecord, Source

MOST_COMPARED: Final = 50
MOST_FAR: Final = 12


def cohort(  # noqa: PLR0913 - a command line has as many options as it has
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of `msk-node segment`; without any, the node's database.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    config: ConfigOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML file for the report.")
    ] = None,
    sides: Annotated[
        Path | None,
        typer.Option(help="CSV of affected sides or grades: case, affected_side, grade_R/_L."),
    ] = None,
    save_norms: Annotated[
        Path | None, typer.Option(help="JSON file for the norms of this cohort.")
    ] = None,
    norms: Annotated[
        Path | None,
        typer.Option(help="Norms that were saved: compare each case with them."),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            help="Only cases of this bundle: name, 'name version', or start of the weights'"
            " hash; repeatable."
        ),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(help="Only these Series Instance UIDs; repeatable."),
    ] = None,
    pseudonymise: Annotated[
        Path | None,
        typer.Option(
            help="Replace what leads to a person, under the key in this file; made if missing.",
            dir_okay=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "Cohort report",
) -> None:
    """Report on many cases as one HTML file; save their norms, or compare cases with norms."""
    from dicom_node.cohort.cohort import Cohort, of_bundles
    from dicom_node.cohort.norms import norms_of, read_norms, write_norms
    from dicom_node.cohort.page import About, write_page
    from dicom_node.commands.pseudonym_keys import pseudonyms_beside
    from dicom_node.errors import ConfigurationError

    if norms is not None and (save_norms is not None or sides is not None):
        raise typer.BadParameter(
            "goes with neither --save-norms nor --sides", param_hint="--norms"
        )
    if norms is None and out is None and save_norms is None:
        raise typer.BadParameter("--out, --save-norms or --norms is needed", param_hint="--out")
    reference = read_norms(norms) if norms else None
    pseudonyms = (
        pseudonyms_beside(pseudonymise, (out, save_norms, norms, sides))
        if pseudonymise
        else None
    )
    found = _read(folders or [], config, series or (), pseudonyms)
    given = Cohort.of(of_bundles(found.records, bundle or ()))
    for line in found.left_out:
        stderr.print(f"not read: {line}", highlight=False)
    if not given.records:
        where = ", ".join(str(one) for one in folders or []) or "the node's database"
        of = "of these series " if series else ""
        of += f"by {' or '.join(bundle)} " if bundle else ""
        raise ConfigurationError(f"no case {of}in {where}")
    about = About(
        datetime.now(UTC),
        title,
        "" if pseudonymise else shlex.join(["msk-node", *sys.argv[1:]]),
        found.left_out,
        pseudonymous=pseudonymise is not None,
    )
    if reference is not None:
        _compare(given, reference, out, about)
        return
    if out is not None:
        html = _report(given, sides, about, found)
        with room_for(out):
            write_page(out, html)
        note_export(config, out, len(given.records), "cohort")
        stdout.print(
            f"report of {counted(len(given.records), 'case')} in {out}", highlight=False
        )
    if save_norms is not None:
        saved = norms_of(given)
        with room_for(save_norms):
            write_norms(saved, save_norms)
        note_export(config, save_norms, len(given.records), "cohort")
        words = f"{counted(len(saved.norms), 'norm')} of {counted(saved.patients, 'patient')}"
        stdout.print(f"{words} in {save_norms}, {saved.withheld} withheld", highlight=False)


@dataclass(frozen=True, slots=True)
class _Read:
    """The cases, and what could not be read, a line each.

    behind: where the cases have pseudonyms, by their names what they stand for.
    """

    records: tuple[CaseRecord, ...]
    left_out: tuple[str, ...]
    pseudonyms: Pseudonyms | None = None
    behind: Mapping[str, Source] = field(default_factory=dict)


def _read(
    folders: Sequence[Path],
    config: Path | None,
    series: Sequence[str],
    pseudonyms: Pseudonyms | None,
) -> _Read:
    """The cases of folders or a node, by pseudonyms where there are some."""
    from dicom_node.cohort.pseudonyms import ToldApart
    from dicom_node.commands.kept_cases import KeptCases

    left_out: list[str] = []
    kept = KeptCases(
        folders,
        config,
        unreadable=lambda name, reason: left_out.append(f"{name}: {reason}"),
    )
    records = tuple(kept.records(series=series, pictures=pseudonyms is None))
    if pseudonyms is None:
        return _Read(records, tuple(left_out))
    told_apart = ToldApart()
    hidden = tuple(told_apart.one(_hidden(record, pseudonyms)) for record in records)
    unnamed = (f"{len(left_out)} cases, whose names are left out",) if left_out else ()
    behind = {
        one.source.name: record.source for one, record in zip(hidden, records, strict=True)
    }
    return _Read(hidden, unnamed, pseudonyms, behind)


def _hidden(record: CaseRecord, pseudonyms: Pseudonyms) -> CaseRecord:
    """The case without names; its day stays: a report tells no month of few cases."""
    hidden, source = pseudonyms.of_case(record), record.source
    when = replace(hidden.source, study_date=source.study_date, analysed_at=source.analysed_at)
    return replace(hidden, source=when)


def _report(given: Cohort, sides: Path | None, about: About, found: _Read) -> str:
    from dicom_node.cohort.report import cohort_html
    from dicom_node.cohort.sides_file import known_sides, read_sides

    known = known_sides(given.cases, read_sides(sides) if sides else None, found.behind)
    if found.pseudonyms is not None and known.unmatched:
        for name in known.unmatched:
            stderr.print(f"not in this cohort: {name}", highlight=False)
        codes = (found.pseudonyms.code("C", name) for name in known.unmatched)
        known = replace(known, unmatched=tuple(codes))
    return cohort_html(given, about, known)


def _compare(given: Cohort, norms: Norms, out: Path | None, about: About) -> None:
    """Say how each case lies to norms; nothing to compare in any of them is no success."""
    from dicom_node.cohort.against_norms import compare_case
    from dicom_node.cohort.case_page import norms_html
    from dicom_node.cohort.page import write_page
    from dicom_node.errors import ConfigurationError

    if len(given.records) > MOST_COMPARED:
        words = f"{len(given.records)} cases: {MOST_COMPARED} at most are compared at once"
        raise ConfigurationError(words)
    compared = [compare_case(case, norms) for case in given.records]
    if about.pseudonymous:  # the order of their days would tell something of these
        compared.sort(key=lambda one: one.case.source.name)
    for one in compared:
        for line in _lines(one):
            stdout.print(line, highlight=False)
    if out is not None:
        with room_for(out):
            write_page(out, norms_html(compared, norms, about))
        stdout.print(f"report in {out}", highlight=False)
    if all(one.refused for one in compared):
        raise ConfigurationError("no case can be compared with these norms")


def _lines(one: Compared) -> list[str]:
    """What is said of a case: how much is compared, and what lies farthest out."""
    from dicom_node.cohort.against_norms import FAR_Z
    from dicom_node.cohort.case_page import SHOWN

    name = one.case.source.name
    if one.refused:
        return [f"{name}: not compared: {one.refused}"]
    far = [score for score in one.scores if score.z is not None and abs(score.z) > FAR_Z]
    far.sort(key=lambda score: -abs(score.z or 0.0))
    words = f"{len(one.scores)} numbers compared, {len(far)} beyond {FAR_Z:g} SD"
    lines = [f"{name}: {words}"]
    lines += [
        f"  {score.segment.title}, {SHOWN[score.quantity]} {score.value:.4g}:"
        f" z {score.z:+.1f} of {score.group_words}"
        for score in far[:MOST_FAR]
    ]
    return lines
