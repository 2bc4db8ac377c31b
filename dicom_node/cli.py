"""The command line: `msk-node COMMAND`. Each command is a thin edge over one function.

Exit codes, the same for every command:

    0  done
    1  something unexpected; the traceback says what
    2  wrong usage
    3  the configuration, a recipe or a bundle cannot be used
    4  the input was refused; the reason is printed and kept beside the results
    5  a peer cannot be reached
    6  a peer refused something
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from dicom_node.errors import (
    ConfigurationError,
    NodeError,
    PeerRefusedError,
    PeerUnreachableError,
    SeriesError,
)
from inference.errors import InferenceError

if TYPE_CHECKING:
    from dicom_node.config import NodeConfig
    from dicom_node.ways import Way

EXIT_UNUSABLE: Final = 3
EXIT_REFUSED: Final = 4
EXIT_UNREACHABLE: Final = 5
EXIT_PEER_REFUSED: Final = 6

app = typer.Typer(
    name="msk-node",
    help="Segment hip-to-knee CT with uncertainty; answer as DICOM SEG and SR.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
_out = Console()
_err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="node.toml; the embedded defaults without it."),
]


class ServedRole(StrEnum):
    """What `serve` does of a node's work."""

    RECEIVE = "receive"
    WORK = "work"
    ALL = "all"


RoleOption = Annotated[
    ServedRole, typer.Option(help="Receive series, work on them, or both on this machine.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BundleOption = Annotated[str, typer.Option(help="Name of a shipped model bundle, or a folder.")]


def main() -> None:
    """Run the command line and turn known errors into messages and exit codes."""
    try:
        app()
    except (NodeError, InferenceError) as error:
        _err.print(f"[bold red]{type(error).__name__}[/]: {error}", highlight=False)
        sys.exit(_exit_code(error))


def _exit_code(error: NodeError | InferenceError) -> int:
    match error:
        case SeriesError():
            return EXIT_REFUSED
        case PeerUnreachableError():
            return EXIT_UNREACHABLE
        case PeerRefusedError():
            return EXIT_PEER_REFUSED
        case ConfigurationError() | InferenceError():
            return EXIT_UNUSABLE
        case _:
            return 1


@app.callback()
def _quietly() -> None:
    """Log only warnings, and to standard error; `serve` then logs as its settings say."""
    from dicom_node.config import Logging
    from dicom_node.logs import configure_logging

    configure_logging(Logging(level="warning"))


@app.command()
def serve(config: ConfigOption = None, role: RoleOption = ServedRole.ALL) -> None:
    """Run the node: receive, segment, deliver, until it is told to stop."""
    from dicom_node.config import load_config
    from dicom_node.serve import ANALYSIS_COMMAND, ROLE_NAMES
    from dicom_node.serve import serve as run

    played = ROLE_NAMES if role is ServedRole.ALL else (role.value,)
    run(load_config(config), ANALYSIS_COMMAND, played)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check a configuration with all it points to, and print what the node would do."""
    from dicom_node.config import describe, load_config
    from dicom_node.surroundings import check_surroundings

    settings = load_config(config)
    check_surroundings(settings)
    for line in describe(settings):
        _out.print(line, highlight=False)
    _warn_of_certificates(settings)


@app.command()
def status(config: ConfigOption = None) -> None:
    """Show series, deliveries and what is held, with the reason."""
    from dicom_node.config import load_config
    from dicom_node.status import node_status, render

    settings = load_config(config)
    _out.print(render(node_status(settings)))
    _warn_of_certificates(settings)


@app.command()
def release(
    config: ConfigOption = None,
    destination: Annotated[
        str | None, typer.Option(help="Only what is held for this destination.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Only the results of this Series Instance UID.")
    ] = None,
) -> None:
    """Let held deliveries go on; a running node takes them up within seconds."""
    from dicom_node.release import release_held

    count = release_held(config, destination=destination, series_instance_uid=series)
    _out.print(f"{count} held objects released", highlight=False)


@app.command()
def segment(  # noqa: PLR0913 - a command line has as many options as it has
    source: Annotated[
        Path, typer.Argument(help="Folder of DICOM, or a NIfTI or MetaImage file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
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
) -> None:
    """Segment a scan into a folder: labels, uncertainty, report, QC picture; SEG and SR."""
    from dicom_node.case_folder import segment_to_folder
    from inference.bundle import load_bundle

    with _slices_done("segmenting") as progress:
        results = segment_to_folder(
            source,
            out,
            bundle=load_bundle(bundle),
            device=device,
            samples=samples,
            height_m=height_m,
            progress=progress,
        )
    for result in results:
        _out.print(f"{result.verdict}: {result.folder}", highlight=False)
        for line in result.words:
            _out.print(f"  {line}", highlight=False)
    if results and all(result.refused for result in results):
        raise typer.Exit(EXIT_REFUSED)


PeerArgument = Annotated[
    str,
    typer.Argument(
        metavar="AETITLE@HOST:PORT|NAME",
        help="A peer, or with --config the name of a destination, with its TLS.",
    ),
]
CallingOption = Annotated[
    str | None,
    typer.Option(
        "--calling", help="Our own AE title; MSKNODE, or a destination's, without it."
    ),
]
PeerConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="node.toml that names the destination."),
]


@app.command()
def echo(
    peer: PeerArgument, calling: CallingOption = None, config: PeerConfigOption = None
) -> None:
    """Ask a peer whether it is there (C-ECHO; QIDO-RS for a destination by DICOMweb)."""
    _way(peer, calling, config).answers()
    _out.print(f"{peer} answers", highlight=False)


@app.command()
def send(
    peer: PeerArgument,
    sources: Annotated[list[Path], typer.Argument(help="DICOM files or folders.")],
    calling: CallingOption = None,
    config: PeerConfigOption = None,
) -> None:
    """Send DICOM files to a peer (C-STORE, STOW-RS), and say what became of each."""
    paths = [file for source in sources for file in _files_of(source)]
    with _slices_done("sending") as progress:
        outcomes = _way(peer, calling, config).send(paths, progress)
    refused = [outcome for outcome in outcomes if not outcome.stored]
    for outcome in refused:
        words = ": ".join(part for part in (outcome.reason, outcome.comment) if part)
        _err.print(f"{outcome.path}: {words}", highlight=False)
    _out.print(f"{len(outcomes) - len(refused)} of {len(outcomes)} stored", highlight=False)
    if refused:
        raise typer.Exit(EXIT_PEER_REFUSED)


@app.command()
def train(  # noqa: PLR0913 - a command line has as many options as it has
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for checkpoints, curves and the bundle.")
    ],
    data: Annotated[
        Path, typer.Option(help="Folder that the recipe's data paths start from.")
    ] = Path(),
    device: DeviceOption = "auto",
    fold: Annotated[
        int | None, typer.Option(min=0, help="The fold held out, instead of the recipe's.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps cases made ready, for several runs; in --out."),
    ] = None,
    prepare: Annotated[  # noqa: FBT002 - typer's way to say a flag
        bool, typer.Option("--prepare", help="Only make the cases ready, in the cache.")
    ] = False,
    minutes: Annotated[
        float,
        typer.Option(
            min=0,
            help="Of training, at most; as many iterations as fit.",
            show_default=False,
        ),
    ] = math.inf,
    tensorboard: Annotated[  # noqa: FBT002 - likewise
        bool, typer.Option("--tensorboard", help="Write TensorBoard's files, too.")
    ] = False,
) -> None:
    """Train a model bundle by a recipe; started again, it goes on where it was."""
    from dicom_node.training_cases import training_cases
    from inference.training.train import prepare_cases
    from inference.training.train import train as run

    if prepare:
        count = prepare_cases(recipe, out, data=data, cache=cache, list_cases=training_cases)
        _out.print(f"{count} cases ready", highlight=False)
        return
    folder = run(
        recipe,
        out,
        data=data,
        device=device,
        fold=fold,
        cache=cache,
        list_cases=training_cases,
        limit_s=60 * minutes,
        tensorboard=tensorboard,
    )
    _out.print(f"bundle written to {folder}", highlight=False)


@app.command("import-keras")
def import_keras(  # noqa: PLR0913 - a file of weights leaves this much to be told
    file: Annotated[Path, typer.Argument(help="Keras weights or model (HDF5).")],
    layers: Annotated[int, typer.Option(min=2, max=8, help="Encoder levels: 5 or 6.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    name: Annotated[str | None, typer.Option(help="Of the bundle; that of its folder.")] = None,
    version: Annotated[str, typer.Option(help="Of the bundle.")] = "1",
    labels: Annotated[
        Path | None,
        typer.Option(help="Text file: what each output channel is, one a line."),
    ] = None,
    window_hu: Annotated[
        tuple[float, float], typer.Option(help="Hounsfield units that the training clipped to.")
    ] = (-150.0, 350.0),
    window_values: Annotated[
        tuple[float, float], typer.Option(help="What the training scaled these two to.")
    ] = (0.0, 255.0),
    pixel_mm: Annotated[
        float | None,
        typer.Option(min=0.1, max=10, help="Pixel size of the training, if it had only one."),
    ] = None,
    body_only: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--body-only", help="Cut air off; the study fed whole slices.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Monte Carlo samples.")] = 10,
) -> None:
    """Make a model bundle, not calibrated, of weights that Keras wrote."""
    from inference.preprocessing import PixelGrid, Window
    from inference.training.keras_import import import_bundle, read_labels

    try:
        window = Window(*window_hu, *window_values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    bundle = import_bundle(
        file,
        out,
        layers=layers,
        name=name or out.resolve().name,
        version=version,
        window=window,
        grid=PixelGrid(pixel_mm, body_only),
        samples=samples,
        labels=read_labels(labels) if labels else None,
    )
    _out.print(f"bundle written to {bundle.folder}, not calibrated", highlight=False)
    if labels is None:
        _out.print("the order of its labels is presumed: look at a segmentation first")


class Scan(StrEnum):
    """How the phantom is scanned."""

    DEFAULT = "default"
    SMALL = "small"
    STUDY = "study"


@app.command()
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
) -> None:
    """Write the analytic phantom as a CT series, with its label map and known answers."""
    from dicom_node.labelled_cases import write_segments
    from dicom_node.phantom_series import write_known_answers, write_phantom_series
    from dicom_node.series import read_series
    from inference.phantom import (
        DEFAULT_PHANTOM,
        SMALL_PHANTOM,
        STUDY_PHANTOM,
        TWELVE_BIT_HU,
        BodySpec,
        Implant,
        with_lower_legs,
    )
    from inference.phantom import phantom as rendered

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
    paths = write_phantom_series(out / "series", spec)
    write_known_answers(out / "known.json", spec)
    write_segments(out / "labels.nii.gz", read_series(paths), rendered(spec).segments)
    _out.print(f"{len(paths)} slices in {out / 'series'}, answers in {out / 'known.json'}")


@app.command()
def evaluate(  # noqa: PLR0913 - a command line has as many options as it has
    cases: Annotated[
        Path, typer.Argument(help="cases.toml, cases.csv, or a folder of labelled cases.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")],
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="Model bundle (name or folder); given twice, two are compared."),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of ready results of `segment`, one folder for each case."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label table (TOML or JSON) of the label maps.")
    ] = None,
    samples: Annotated[
        str, typer.Option(help="Numbers of samples to try, as 1,5,10,15,20 (Table 9).")
    ] = "",
    device: DeviceOption = "auto",
) -> None:
    """Evaluate bundles on labelled cases: the study's tables and figures as one report."""
    from dicom_node.evaluate import evaluate as run
    from dicom_node.evaluate import numbers_of, request_of
    from inference.bundle import load_bundle

    names = bundle or ([] if results else ["compact"])
    with _slices_done("segmenting") as progress:
        request = request_of(
            cases,
            bundles=[load_bundle(name) for name in names],
            results=results or [],
            samples=numbers_of(samples),
            table=labels,
            device=device,
            progress=progress,
            command=shlex.join(["msk-node", *sys.argv[1:]]),
        )
        report = run(request, out, say=lambda line: _err.print(line, highlight=False))
    _out.print(f"report written to {report}", highlight=False)


@app.command()
def calibrate(  # noqa: PLR0913 - a command line has as many options as it has
    bundle: Annotated[str, typer.Argument(help="Folder of the model bundle; it is written.")],
    cases: Annotated[
        Path, typer.Argument(help="cases.toml, cases.csv, or a folder of labelled cases.")
    ],
    data_set: Annotated[str, typer.Option(help="What the cases are, in words.")],
    version: Annotated[
        str, typer.Option(help="Version of the bundle from now on; default: its own.")
    ] = "",
    labels: Annotated[
        Path | None, typer.Option(help="Label table (TOML or JSON) of the label maps.")
    ] = None,
    hold_out_every: Annotated[
        int, typer.Option(min=0, help="Try the gate on each n-th case instead; 0: on none.")
    ] = 4,
    device: DeviceOption = "auto",
) -> None:
    """Fit the quality gate's limits to labelled cases that the network has not seen."""
    from dicom_node.calibrate import calibrate as run
    from inference.bundle import load_bundle

    fitted = run(
        load_bundle(bundle),
        cases,
        data_set,
        version=version,
        table=labels,
        hold_out_every=hold_out_every,
        device=device,
        say=lambda line: _err.print(line, highlight=False),
    )
    for line in fitted.left_out:
        _err.print(f"left out: {line}", highlight=False)
    _out.print(f"limits written into {fitted.bundle.folder}", highlight=False)
    if fitted.held_out is not None:
        _out.print_json(data=asdict(fitted.held_out))


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for everything the demo makes.")
    ] = Path("demo-out"),
) -> None:
    """Show the main job on the phantom: series in by C-STORE, SEG and SR out."""
    from dicom_node.demo import run_demo

    raise typer.Exit(run_demo(out))


def _warn_of_certificates(settings: NodeConfig) -> None:
    """Say which certificates and keys need to be looked at."""
    from datetime import UTC, datetime

    from dicom_node import tls

    now = datetime.now(UTC)
    for line in (*tls.problems(settings, now), *tls.concerns(settings, now)):
        _err.print(f"[bold yellow]Warning[/]: {escape(line)}", highlight=False)


_PEER = re.compile(r"(?P<ae>[^@\\]{1,16})@(?P<host>[^:]+):(?P<port>\d{1,5})")


def _way(text: str, calling: str | None, config: Path | None = None) -> Way:
    """The way to what the command line names: a destination, or `AETITLE@HOST:PORT`."""
    from dicom_node.config import load_config
    from dicom_node.peers import Peer
    from dicom_node.ways import DicomWay, way_to

    settings = load_config(config) if config is not None else None
    destination = settings.destination(text) if settings is not None else None
    if settings is not None and destination is not None:
        way = way_to(settings, destination)
        if not isinstance(way, DicomWay) or calling is None:
            return way
        return DicomWay(replace(way.peer, calling_ae_title=calling))
    match = _PEER.fullmatch(text)
    if match is None:
        known = "" if settings is None else " and no destination of the configuration"
        raise typer.BadParameter(f"{text!r} is not AETITLE@HOST:PORT{known}")
    peer = Peer(
        name=match["ae"],
        ae_title=match["ae"],
        host=match["host"],
        port=int(match["port"]),
        calling_ae_title=calling or "MSKNODE",
    )
    return DicomWay(peer)


def _files_of(source: Path) -> list[Path]:
    """The files named by an argument: itself, or everything below a folder."""
    if not source.exists():
        raise typer.BadParameter(f"{source} does not exist")
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file())


@contextmanager
def _slices_done(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar fed with (done, total); quiet where the output is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, disable=not _err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
