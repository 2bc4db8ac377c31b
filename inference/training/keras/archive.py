"""A `.keras` archive: a zip with a model's description and its weights, read without Keras.

Keras 2.12 to 3.15 write three members: `config.json` (the layers and their settings),
`model.weights.h5` and `metadata.json` (the version). Nothing else belongs to a network of
this family, so nothing else is accepted; what is read is bounded, and no code in it is run
(a Lambda layer's is text to this module).
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from inference.errors import KerasFileError

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.weights.h5"
METADATA: Final = "metadata.json"

MOST_BYTES: Final = {CONFIG: 2**24, METADATA: 2**16, WEIGHTS: 2**30}
"""Unpacked, by member: the published 44 million parameters with an optimiser's two values for
each are 530 MB; a description takes 3 kB a layer."""

_STORED_OR_DEFLATED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 1


@dataclass(frozen=True, slots=True, eq=False)
class Unpacked:
    """An archive's content.

    weights: `model.weights.h5`, a temporary file that can be read and sought in.
    config: `config.json`, parsed.
    keras_version: by `metadata.json`; "" without it.
    """

    weights: IO[bytes]
    config: Any
    keras_version: str


def is_archive(path: Path) -> bool:
    """Whether a file begins as a zip does."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


@contextmanager
def unpacked(path: Path) -> Iterator[Unpacked]:
    """Unpack an archive's weights into a temporary file, gone afterwards.

    Raises:
        KerasFileError: a member is missing, unknown, doubled, encrypted, too large or damaged.
    """
    with tempfile.TemporaryFile() as weights:
        try:
            with zipfile.ZipFile(path) as archive:
                members = _members(path, archive)
                config = json.loads(archive.read(members[CONFIG]))
                version = _version(archive, members)
                with archive.open(members[WEIGHTS]) as packed:
                    shutil.copyfileobj(packed, weights, 2**20)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise KerasFileError(f"{path}: damaged archive: {error}") from error
        except (ValueError, RecursionError) as error:
            raise KerasFileError(f"{path}: its {CONFIG} cannot be read: {error}") from error
        weights.seek(0)
        yield Unpacked(weights, config, version)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members, once all are such as Keras writes."""
    members: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    names = [info.filename for info in infos]
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            torch = any(one.endswith("/data.pkl") for one in names)
            of = "a file of PyTorch, not of Keras" if torch else "a zip, but no .keras archive"
            raise KerasFileError(f"{path}: {of}: it has no {name}")
    for info in infos:
        if info.filename not in MOST_BYTES:
            raise KerasFileError(
                f"{path}: the archive holds {info.filename!r}, which no network of this "
                "family has"
            )
        if info.filename in members:
            raise KerasFileError(f"{path}: the archive holds {info.filename} twice")
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _STORED_OR_DEFLATED:
            raise KerasFileError(
                f"{path}: {info.filename} is encrypted or packed as Keras never does"
            )
        if info.file_size > MOST_BYTES[info.filename]:
            raise KerasFileError(
                f"{path}: {info.filename} has {info.file_size} bytes, more than the "
                f"{MOST_BYTES[info.filename]} that are read"
            )
        members[info.filename] = info
    return members


def _version(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> str:
    if METADATA not in members:
        return ""
    told = json.loads(archive.read(members[METADATA]))
    return str(told.get("keras_version", "")) if isinstance(told, dict) else ""
