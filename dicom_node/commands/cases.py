"""Commands about single cases: `segment`, `phantom` and `demo`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.console import (
    EXIT_REFUSED,
    BundleOption,
    DeviceOption,
    slices_done,
    stdout,
)


def segment(  # noqa: PLR0913 - a command line has as many options as it has
    source: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of DICOM or of image files, or a NIfTI, MetaImage or NRRD file."
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    listing: Annotated[
        Path | None,
        typer.Option("--list", help="CSV (path, name, height_m) or text, a path a line."),
    ] = None,
    bundle: BundleOption = "compact",
    device: DeviceOption = "auto",
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Monte Carlo samples; the bundle's number without it."),
    ] = None,
    height_m: Annotated[
        float | None,
        typer.Option(min=0.5, max=2.5, help="Patient height, where the input has none."),
    ] = None,
    grader: Annotated[
        Path | None,
        typer.Option(help="Grades the hips: a grader's folder, or a table of grades (.csv)."),
    ] = None,
    again_failed: Annotated[
        bool, typer.Option("--again-failed", help="Try those again that failed before.")
    ] = False,
) -> None:
    """Segment scans into folders: labels, uncertainty, report, QC picture; SEG and SR.

    Of one scan the results come into the folder for results itself. Of many each gets a folder
    there, and cases.csv tells of all; the same command goes on where an earlier one ended.

    An unevenly spaced series must come as DICOM: other formats hold one spacing for all slices.
    """
    from dicom_node.commands import batch

    if (source is None) == (listing is None):
        raise typer.BadParameter("either a SOURCE or --list FILE is needed")
    if grader is not None:
        batch.check_grader(grader)
    found = batch.found_cases(source, listing, out, height_m)
    if found.one is not None:
        _segment_one(
            found.one,
            out,
            bundle=bundle,
            device=device,
            samples=samples,
            height_m=height_m,
            grader=grader,
        )
        raise typer.Exit(batch.EXIT_FAILED if found.unreadable else 0)
    settings = batch.settings_of(bundle, device, samples, grader)
    raise typer.Exit(batch.run(found, out, settings, again_failed=again_failed))


def _segment_one(  # noqa: PLR0913 - the command's options
    source: Path,
    out: Path,
    *,
    bundle: str,
    device: str,
    samples: int | None,
    height_m: float | None,
    grader: Path | None,
) -> None:
    """One scan, in this process, into the folder itself."""
    from dicom_node.case_files.result_folder import segment_to_folder
    from inference.grading.grades import open_grader
    from inference.models.bundle import load_bundle

    with slices_done("segmenting") as progress:
        results = segment_to_folder(
            source,
            out,
            bundle=load_bundle(bundle),
            device=device,
            samples=samples,
            height_m=height_m,
            grader=open_grader(grader) if grader else None,
            progress=progress,
        )
    for result in results:
        stdout.print(f"{result.verdict}: {result.folder}", highlight=False)
        for line in result.words:
            stdout.print(f"  {line}", highlight=False)
    if results and all(result.refused for result in results):
        raise typer.Exit(EXIT_REFUSED)


class Scan(StrEnum):
    """The scan protocol of the phantom."""

    DEFAULT = "default"
    SMALL = "small"
    STUDY = "study"


def phantom(  # noqa: PLR0913 - a command line has as many options as it has
    out: Annotated[Path, typer.Argument(help="Folder for series/, labels.nii.gz, known.json.")],
    scan: Annotated[
        Scan,
        typer.Option(help="5 mm slices; few and coarse; or 1, 6 and 2 mm as in the study."),
    ] = Scan.DEFAULT,
    body: Annotated[
        int, typer.Option(help="0: the reference body; other numbers, others.")
    ] = 0,
    *,
    legs: Annotated[
        bool, typer.Option("--legs", help="Scan the whole lower limbs, down to the soles.")
    ] = False,
    implant: Annotated[
        list[str] | None,
        typer.Option(
            help="hip, knee, nail, plate or screws, with its side, as hip-left; repeatable."
        ),
    ] = None,
    contrast_hu: Annotated[
        float, typer.Option(help="What a contrast agent adds in vessels and bladder.")
    ] = 0.0,
    patient_id: Annotated[
        str, typer.Option(help="Patient ID: every phantom is the same patient without it.")
    ] = "PHANTOM-0001",
    scanned: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="Study Date; 2024-04-15 without it."),
    ] = None,
) -> None:
    """Write the analytic phantom as a CT series, with its label map and known answers."""
    from dicom_node.case_files.labelled_cases import write_segments
    from dicom_node.case_files.phantom_series import (
        DEFAULT_HEADER,
        write_known_answers,
        write_phantom_series,
    )
    from dicom_node.series.reading import read_series
    from inference.phantom.body import BodySpec
    from inference.phantom.implants import Implant
    from inference.phantom.render import phantom as rendered
    from inference.phantom.spec import (
        DEFAULT_PHANTOM,
        SMALL_PHANTOM,
        STUDY_PHANTOM,
        TWELVE_BIT_HU,
        with_lower_legs,
    )

    scans = {
        Scan.DEFAULT: DEFAULT_PHANTOM,
        Scan.SMALL: SMALL_PHANTOM,
        Scan.STUDY: STUDY_PHANTOM,
    }
    person = BodySpec(variation=1.0, variation_seed=body) if body else BodySpec()
    try:
        implants = tuple(Implant.named(name) for name in implant or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    spec = replace(scans[scan], body=replace(person, implants=implants))
    spec = replace(spec, contrast_hu=contrast_hu)
    if implants:
        spec = replace(spec, maximum_hu=TWELVE_BIT_HU)
    spec = with_lower_legs(spec) if legs else spec
    header = replace(DEFAULT_HEADER, patient_id=patient_id)
    if scanned is not None:
        header = replace(header, scanned=datetime.combine(scanned, header.scanned.time()))
    paths = write_phantom_series(out / "series", spec, header)
    write_known_answers(out / "known.json", spec)
    write_segments(out / "labels.nii.gz", read_series(paths), rendered(spec).segments)
    stdout.print(f"{len(paths)} slices in {out / 'series'}, answers in {out / 'known.json'}")


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for everything the demo makes.")
    ] = Path("demo-out"),
) -> None:
    """Show the main job on the phantom: series in by C-STORE, SEG and SR out."""
    from dicom_node.commands.demo import run_demo

    raise typer.Exit(run_demo(out))
