"""Files that Keras or its neighbours write and that are no weights to read: what each is.

A wrong file is most often the right model saved in another form. Each is told by its name or
first bytes, never by opening what it holds, and named with the way to a file that is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_SHARD: Final = re.compile(r"(?P<stem>.+)_\d{5}\.weights\.h5")
_CHECKPOINT: Final = re.compile(r"(?P<prefix>.*)\.(index|data-\d{5}-of-\d{5})")

WHOLE: Final = (
    'save the whole model again, model.save("model.h5") or model.save("model.keras"), '
    "and give that file"
)
_CHECKPOINT_WAY: Final = (
    "build the network with the program that trained it, "
    'model.load_weights("{prefix}"), then {whole}'
)
_SAVED_MODEL_WAY: Final = (
    'open it with the TensorFlow that wrote it (below 2.16, or the package "tf-keras"), '
    'tf.keras.models.load_model("{folder}", compile=False, custom_objects={{...}}) with the '
    "classes of the padding and the dropout, then {whole}; what Keras 3 exported cannot be "
    "opened again, only saved anew where the network was trained"
)
_SHARDS_WAY: Final = (
    'build the network in Keras, model.load_weights("{index}"), then {whole} '
    "(or save_weights without max_shard_size)"
)


def way_out(path: Path) -> str | None:
    """What a path is that holds no HDF5 and no archive, and what to do; None if unknown."""
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return _of_name(path) or _of_beginning(path)
    prefix = path.with_name(f"{path.name}.index").is_file()
    return _checkpoint(path.name) if prefix else None


def shard_words(path: Path) -> str | None:
    """What to do with one of several files of weights; None where the name says nothing."""
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return None
    index = f"{shard['stem']}.weights.json"
    return (
        f"its name is that of one of several files that Keras 3 shares weights out to "
        f"({index} lists them): {_SHARDS_WAY.format(index=index, whole=WHOLE)}"
    )


def is_one_of_several(path: Path) -> bool:
    """Whether other shards of the same weights lie beside a file."""
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return False
    return any(
        other.name != path.name
        and (match := _SHARD.fullmatch(other.name))
        and match["stem"] == shard["stem"]
        for other in path.resolve().parent.iterdir()
    )


def is_unpacked(path: Path) -> bool:
    """Whether a file of weights is a `.keras` archive's, its `config.json` beside it."""
    return path.name == "model.weights.h5" and path.with_name("config.json").is_file()


UNPACKED: Final = (
    "model.weights.h5 of an unpacked .keras archive, whose config.json lies beside it: give "
    "the .keras file itself, or pack both again "
    "(python -m zipfile -c model.keras config.json model.weights.h5); the share of dropout "
    "stands in config.json alone"
)


def _of_folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return _saved_model(path)
    if (path / "model.weights.h5").is_file() and (path / "config.json").is_file():
        return UNPACKED
    for one in sorted(path.glob("*.index")):
        return _checkpoint(f"{path.name}/{one.stem}")
    return "a folder, not a file"


def _of_name(path: Path) -> str | None:
    if checkpoint := _CHECKPOINT.fullmatch(path.name):
        return _checkpoint(checkpoint["prefix"])
    if path.suffix == ".pb":
        return _saved_model(path.resolve().parent)
    if path.name.endswith(".weights.json"):
        return (
            "the list of the several files that Keras 3 shares weights out to: "
            f"{_SHARDS_WAY.format(index=path.name, whole=WHOLE)}"
        )
    return None


def _of_beginning(path: Path) -> str | None:
    with path.open("rb") as file:
        beginning = file.read(256)
    if beginning.startswith(b"version https://git-lfs"):
        return (
            "the note that Git LFS leaves in place of a large file: `git lfs pull` in the "
            "folder that it was cloned to brings the file itself"
        )
    if b"model_checkpoint_path" in beginning:
        return _checkpoint("PREFIX")
    if beginning.lstrip().startswith(b"{"):
        return f"JSON, a description without weights: {WHOLE}"
    return None


def _saved_model(folder: Path) -> str:
    way = _SAVED_MODEL_WAY.format(folder=folder.name, whole=WHOLE)
    return f"a SavedModel, which holds a program of TensorFlow: {way}"


def _checkpoint(prefix: str) -> str:
    way = _CHECKPOINT_WAY.format(prefix=prefix, whole=WHOLE)
    return f"a TensorFlow checkpoint (PREFIX.index and PREFIX.data-...): {way}"
