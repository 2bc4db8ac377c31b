"""`msk-node bundles`: the model bundles that are here, and what each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.commands.console import EXIT_UNUSABLE, ConfigOption, stdout

if TYPE_CHECKING:
    from inference.models.bundle_facts import BundleFacts

SHIPPED = "shipped"
CONFIGURED = "configured"
GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle at some place, and what it is; or why it cannot be used.

    places: why it is listed: `shipped`, `configured`, `given`.
    """

    name_or_folder: str
    places: tuple[str, ...]
    facts: BundleFacts | None
    problem: str = ""


def bundles(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER",
            help="Bundles, or folders with bundles in them.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List the model bundles: shipped, configured in node.toml, and in folders."""
    found = list(installed(config, folders or []))
    if as_json:
        import json

        typer.echo(json.dumps([_values(one) for one in found], indent=1))
    else:
        stdout.print("\n\n".join(_words(one) for one in found), highlight=False, soft_wrap=True)
    if any(one.facts is None for one in found):
        raise typer.Exit(EXIT_UNUSABLE)


def installed(config: Path | None, folders: list[Path]) -> Iterator[Found]:
    """Every bundle once, in the order shipped, configured, given.

    Raises:
        ConfigurationError: the settings cannot be used.
    """
    from dicom_node.settings.loading import load_config
    from inference.models.bundle_files import bundle_folder, shipped_bundles

    wanted: list[tuple[str, str]] = [(name, SHIPPED) for name in shipped_bundles()]
    if config is not None:
        wanted += [(name, CONFIGURED) for name in load_config(config).bundles]
    wanted += [(str(folder), GIVEN) for given in folders for folder in _within(given)]
    places: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for name, place in wanted:
        # A given path is a path: `./compact` beside the shipped bundle of that name.
        source: str | Path = Path(name) if place == GIVEN else name
        key = _place(source, bundle_folder)
        names.setdefault(key, name)
        known = places.setdefault(key, [])
        if place not in known:
            known.append(place)
    for key, known in places.items():
        yield _found(names[key], key, tuple(known))


def _place(source: str | Path, bundle_folder: Any) -> str:
    """The folder by which a bundle is told from others; its name where there is none."""
    from inference.errors import BundleError

    try:
        return str(Path(bundle_folder(source)).resolve())
    except BundleError:
        return str(source)


def _within(folder: Path) -> list[Path]:
    """A bundle itself, or the bundles in a folder; what is neither will say so."""
    from inference.models.bundle_files import DECLARATION_FILE

    if (folder / DECLARATION_FILE).exists() or not folder.is_dir():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{DECLARATION_FILE}")) or [folder]


def _found(name: str, folder: str, places: tuple[str, ...]) -> Found:
    from inference.errors import InferenceError
    from inference.models.bundle import load_bundle
    from inference.models.bundle_facts import facts_of

    try:
        return Found(name, places, facts_of(load_bundle(Path(folder))))
    except InferenceError as error:
        return Found(name, places, None, str(error))
    except OSError as error:
        return Found(name, places, None, f"{error.filename}: {error.strerror}")


def _values(found: Found) -> dict[str, Any]:
    """A bundle as JSON gives it."""
    facts = asdict(found.facts) if found.facts else None
    return {"bundle": found.name_or_folder, "places": found.places, "facts": facts} | (
        {"problem": found.problem} if found.problem else {}
    )


def _words(found: Found) -> str:
    """A bundle as a person reads it: one line, and what it is below."""
    places = ", ".join(found.places)
    facts = found.facts
    if facts is None:
        return f"{found.name_or_folder} ({places}): cannot be used\n  {found.problem}"
    rows = (
        ("kind", facts.kind),
        ("origin", facts.origin),
        ("provides", facts.structures_words),
        ("uncertainty", facts.doubt),
        ("calibrated", facts.calibration_words),
        ("licence", facts.licence),
        ("sha256", facts.sha256),
        ("folder", facts.folder),
    )
    lines = [f"  {name:<12} {value}" for name, value in rows if value]
    return "\n".join([f"{facts.name} {facts.version} ({places})", *lines])
