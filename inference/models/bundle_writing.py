"""Writing model bundles and their calibrations, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference.errors import BundleError
from inference.models.bundle import CALIBRATION_FORMAT, DEFAULT_KIND, Bundle, load_bundle
from inference.models.bundle_files import (
    BUNDLE_FORMAT,
    CALIBRATION_FILE,
    DECLARATION_FILE,
    MODEL_CARD_FILE,
    WEIGHTS_FILE,
    file_sha256,
    read_file,
)
from inference.models.toml_text import as_table, as_toml
from inference.quality.calibration import Calibration


def write_bundle(  # noqa: PLR0913 - a bundle has this many parts
    folder: Path,
    *,
    own: Mapping[str, Any],
    save_weights: Callable[[Path], None],
    name: str,
    version: str,
    samples: int,
    training: Mapping[str, Any],
    model_card: str,
    calibration: Calibration | None = None,
    kind: str = DEFAULT_KIND,
) -> Bundle:
    """Write a bundle, in place of one that may be there, and read it back.

    All files are written beside `folder` and renamed at the end, so a crash leaves either
    the old bundle or the new one.

    Args:
        folder: where it shall stand; its parent is made where missing.
        own: the keys of bundle.toml that are the kind's own.
        save_weights: writes the safetensors file.
        name: what it is called, as a rule the folder's name.
        version: grows whenever weights, calibration or declaration change.
        samples: see `Bundle`.
        training: provenance: strings, numbers, dates, lists and tables of them.
        model_card: Markdown for people.
        calibration: thresholds, if there are any yet.
        kind: of network, one of `KINDS`.

    Raises:
        BundleError: what was to be written does not fit; nothing is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as fresh:
        save_weights(fresh / WEIGHTS_FILE)
        (fresh / MODEL_CARD_FILE).write_text(model_card, encoding="utf-8")
        hashes = {WEIGHTS_FILE: file_sha256(fresh / WEIGHTS_FILE)}
        if calibration is not None:
            text = as_toml({"format": CALIBRATION_FORMAT} | as_table(calibration))
            (fresh / CALIBRATION_FILE).write_text(text, encoding="utf-8")
            hashes[CALIBRATION_FILE] = file_sha256(fresh / CALIBRATION_FILE)
        declaration = {
            "format": BUNDLE_FORMAT,
            **({} if kind == DEFAULT_KIND else {"kind": kind}),
            "name": name,
            "version": version,
            "samples": samples,
            "sha256": hashes,
            **own,
            "training": training,
        }
        (fresh / DECLARATION_FILE).write_text(as_toml(declaration), encoding="utf-8")
        try:
            load_bundle(fresh)
        except BundleError as error:
            told = str(error).replace(f"{fresh}/", "")
            raise BundleError(f"{folder}: not written: {told}") from error
    return load_bundle(folder)


def check_replaceable(folder: Path) -> None:
    """Refuse a place where something stands that is no bundle: writing would take it away.

    Raises:
        BundleError: it does.
    """
    if folder.exists() and not (folder / DECLARATION_FILE).is_file():
        raise BundleError(f"{folder}: is there already and is no bundle; name another folder")


def write_calibration(bundle: Bundle, calibration: Calibration, version: str) -> Bundle:
    """Give a bundle new thresholds; the weights' file stays byte for byte."""
    declared = tomllib.loads(read_file(bundle.folder / DECLARATION_FILE).decode())
    with replacing(bundle.folder) as fresh:
        shutil.copytree(bundle.folder, fresh, dirs_exist_ok=True)
        text = as_toml({"format": CALIBRATION_FORMAT} | as_table(calibration))
        (fresh / CALIBRATION_FILE).write_text(text, encoding="utf-8")
        declared["version"] = version
        declared["sha256"][CALIBRATION_FILE] = file_sha256(fresh / CALIBRATION_FILE)
        (fresh / DECLARATION_FILE).write_text(as_toml(declared), encoding="utf-8")
        load_bundle(fresh)
    return load_bundle(bundle.folder)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `folder` when the block ends well."""
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh = work / "new"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(work / "old")
        fresh.rename(folder)
    finally:
        shutil.rmtree(work)
