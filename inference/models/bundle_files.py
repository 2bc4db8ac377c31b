"""A bundle's folder and the hashes of its files, known without loading what a network needs.

A process that hands cases to others has to know which bundle that is, and that its files are
those that it declares; `bundle.py` reads what they say.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from inference.errors import BundleError

BUNDLE_FORMAT: Final = 1

DECLARATION_FILE: Final = "bundle.toml"
WEIGHTS_FILE: Final = "weights.safetensors"
CALIBRATION_FILE: Final = "calibration.toml"
MODEL_CARD_FILE: Final = "MODEL_CARD.md"

_PICKLE_STARTS: Final = (b"PK\x03\x04", b"\x80")
_PICKLE_SUFFIXES: Final = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")


def bundle_sha256(name_or_path: str | Path) -> str:
    """The future `Bundle.sha256` of a bundle whose files are those that it declares.

    Raises:
        BundleError: the folder, its declaration or a hash does not fit. Whether the files fit
            each other is for `load_bundle` to say.
    """
    folder = bundle_folder(name_or_path)
    path = folder / DECLARATION_FILE
    text = read_file(path)
    hashes = read_table(path, text, BUNDLE_FORMAT).get("sha256")
    if not isinstance(hashes, dict):
        raise BundleError(f"{path}: no table of sha256")
    checked_sha256(folder, WEIGHTS_FILE, hashes)
    if CALIBRATION_FILE in hashes:
        checked_sha256(folder, CALIBRATION_FILE, hashes)
    return hashlib.sha256(text).hexdigest()


def calibrated_on(name_or_path: str | Path) -> tuple[str, str]:
    """The data set that a bundle's limits were fitted on, and the date, as it declares them.

    Empty of a bundle without calibration.

    Raises:
        BundleError: the folder or a file cannot be read.
    """
    path = bundle_folder(name_or_path) / CALIBRATION_FILE
    if not path.is_file():
        return "", ""
    table = tomllib.loads(read_file(path).decode())
    return str(table.get("data_set", "")), str(table.get("fitted_on", ""))


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    shipped = Path(str(files("inference"))) / "bundles"
    return tuple(sorted(path.parent.name for path in shipped.glob(f"*/{DECLARATION_FILE}")))


def bundle_folder(name_or_path: str | Path) -> Path:
    """A plain word is a shipped bundle's name unless a folder is called so, too."""
    path = Path(name_or_path)
    shipped = Path(str(files("inference"))) / "bundles"
    if isinstance(name_or_path, str) and len(path.parts) == 1:
        named = shipped / name_or_path
        if (named / DECLARATION_FILE).is_file():
            return named
    if not path.is_dir():
        known = ", ".join(shipped_bundles()) or "none"
        raise BundleError(f"{name_or_path}: no such folder, nor a shipped bundle ({known})")
    return path


def read_table(path: Path, text: bytes, *formats: int) -> dict[str, Any]:
    """The values of a TOML file that states one of the formats that this version reads."""
    try:
        table = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleError(f"{path}: not TOML: {error}") from error
    found = table.get("format")
    if found not in formats:
        known = " and ".join(str(one) for one in sorted(formats))
        raise BundleError(f"{path}: format is {found}, this version reads {known}")
    return table


def checked_sha256(
    folder: Path, name: str, hashes: Mapping[str, Any], declaration: str = DECLARATION_FILE
) -> str:
    """The hash of a file, if it is the declared one."""
    declared = hashes.get(name)
    if declared is None:
        raise BundleError(f"{folder / declaration}: no sha256 of {name}")
    found = file_sha256(folder / name)
    if found != declared:
        raise BundleError(f"{folder / name}: sha256 is {found}, declared as {declared}")
    return found


def file_sha256(path: Path) -> str:
    """The hash of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error


def read_file(path: Path) -> bytes:
    """The bytes of a file of a bundle."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error


def check_no_pickle(weights: Path) -> None:
    """Say clearly that a pickle is not loaded, whatever it is called."""
    if not weights.exists():
        pickles = sorted(
            p.name for p in weights.parent.iterdir() if p.suffix in _PICKLE_SUFFIXES
        )
        found = f"; {pickles[0]} may be a pickle, which is never loaded" if pickles else ""
        raise BundleError(f"{weights}: missing{found}")
    with weights.open("rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLE_STARTS):
        # A safetensors file opens with the length of its JSON header, then "{".
        with weights.open("rb") as file:
            if file.read(9)[8:] != b"{":
                raise BundleError(f"{weights}: is a pickle, which is never loaded")
