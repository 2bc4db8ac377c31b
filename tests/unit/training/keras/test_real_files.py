"""Files as real Kerases wrote them, and other files that lie beside them.

`tests/trials/write_keras_files.py` wrote what the zips in `files/` hold, each by the Keras in
its name, with the logits that this Keras computed.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.real_keras import outcome, told

from inference.errors import KerasFileError
from inference.training.keras.archive import MOST_BYTES
from inference.training.keras.importing import import_network

FILES = Path(__file__).parent / "files"
WITHIN = 1e-5
TAKEN = {
    "keras-2.2.4": {
        "whole.h5": 0.25,
        "weights.h5": 0.5,
        "sampler_weights.h5": 0.5,
        "predictor.h5": 0.25,
    },
    "tf-1.13.1": {"whole.h5": 0.25, "weights.h5": 0.5},
    "keras-2.15.0": {"whole.h5": 0.25, "w.weights.h5": 0.5, "whole.keras": 0.25},
    "keras-3.15.1": {
        "whole.h5": 0.25,
        "w.weights.h5": 0.5,
        "whole.keras": 0.25,
        "predictor.keras": 0.25,
    },
}
"""Files of each Keras, and the share dropped that the import finds: a quarter was dropped."""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """The folder that one Keras wrote."""

    def unpack(name: str) -> Path:
        folder = tmp_path / name
        with zipfile.ZipFile(FILES / f"{name}.zip") as archive:
            archive.extractall(folder)
        return folder

    return unpack


@pytest.mark.parametrize(
    ("keras", "name"), [(keras, name) for keras, names in TAKEN.items() for name in names]
)
def test_a_real_files_parameters_and_logits_are_those_that_its_keras_had(
    keras: str, name: str, written: Callable[[str], Path]
) -> None:
    found = outcome(written(keras), name, name)

    assert found.refused == ""
    assert found.parameters == 0
    assert found.logits < WITHIN
    assert found.dropout == TAKEN[keras][name]


def test_the_files_are_of_the_kinds_that_were_refused_before(
    written: Callable[[str], Path],
) -> None:
    """A guard of the files: other padding, two classes of normalisation, registered ones."""

    def classes(keras: str) -> set[str]:
        with h5py.File(written(keras) / "whole.h5") as file:
            layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        return {layer["class_name"] for layer in layers}

    assert told(written("keras-2.2.4"))["tensorflow"] == "1.13.1"
    assert "Reflection2Padding2D" in classes("keras-2.2.4")
    assert "BatchNormalizationV1" in classes("tf-1.13.1")
    assert "Custom>ReflectionPadding2D" in classes("keras-2.15.0")


def other_member(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("assets/lambda.pkl", b"")


def member_twice(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")


def rewritten(path: Path, name: str, content: bytes | None) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    members |= {name: content} if content is not None else {}
    if content is None:
        del members[name]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, held in members.items():
            archive.writestr(one, held)


def no_description(path: Path) -> None:
    rewritten(path, "config.json", None)


def of_pytorch(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"never read")


def description_cut(path: Path) -> None:
    rewritten(path, "config.json", b'{"config": {"lay')


def description_of_nothing(path: Path) -> None:
    rewritten(path, "config.json", b"[1, 2]")


def description_too_large(path: Path) -> None:
    rewritten(path, "config.json", b" " * (MOST_BYTES["config.json"] + 1))


def weights_that_are_none(path: Path) -> None:
    rewritten(path, "model.weights.h5", b"weights")


def bytes_turned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40_000] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_member, "the archive holds 'assets/lambda.pkl', which no network of this"),
        (member_twice, "the archive holds config.json twice"),
        (no_description, "a zip, but no .keras archive: it has no config.json"),
        (of_pytorch, "a file of PyTorch, not of Keras"),
        (description_cut, "its config.json cannot be read"),
        (description_of_nothing, "its model_config cannot be read"),
        (description_too_large, "config.json has 16777217 bytes, more than the 16777216"),
        (weights_that_are_none, "damaged HDF5 file"),
        (bytes_turned, "damaged archive: Bad CRC-32"),
    ],
)
def test_an_archive_with_anything_else_is_refused(
    spoil: Callable[[Path], None], words: str, written: Callable[[str], Path]
) -> None:
    path = written("keras-3.15.1") / "whole.keras"
    spoil(path)

    with pytest.raises(KerasFileError, match=words):
        import_network(path)


def test_weights_unpacked_from_an_archive_by_hand_are_sent_back_to_it(
    written: Callable[[str], Path],
) -> None:
    folder = written("keras-3.15.1")
    with zipfile.ZipFile(folder / "whole.keras") as archive:
        archive.extractall(folder / "by hand")

    for path in (folder / "by hand", folder / "by hand" / "model.weights.h5"):
        with pytest.raises(KerasFileError, match="file itself, or pack both again"):
            import_network(path)


def saved_model(folder: Path) -> Path:
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


def its_protocol_buffer(folder: Path) -> Path:
    return saved_model(folder) / "saved_model.pb"


def checkpoint(folder: Path) -> Path:
    for name in ("w.index", "w.data-00000-of-00001"):
        (folder / name).write_bytes(b"\x00")
    (folder / "checkpoint").write_text('model_checkpoint_path: "w"\n')
    return folder


def pointer_of_git_lfs(folder: Path) -> Path:
    (folder / "model.hdf5").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    return folder / "model.hdf5"


def description_alone(folder: Path) -> Path:
    (folder / "model.json").write_text('{"class_name": "Functional"}')
    return folder / "model.json"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (saved_model, "a SavedModel, .*load_model.*, then save the whole model again"),
        (its_protocol_buffer, "a SavedModel, .*load_model"),
        (checkpoint, r"a TensorFlow checkpoint .*/w\"\), then save the whole model again"),
        (lambda folder: checkpoint(folder) / "w", r"checkpoint .*load_weights\(\"w\"\)"),
        (lambda folder: checkpoint(folder) / "w.index", r"load_weights\(\"w\"\)"),
        (lambda folder: checkpoint(folder) / "w.data-00000-of-00001", r"_weights\(\"w\"\)"),
        (lambda folder: checkpoint(folder) / "checkpoint", r"load_weights\(\"PREFIX\"\)"),
        (pointer_of_git_lfs, "Git LFS leaves .* `git lfs pull`"),
        (description_alone, "JSON, a description without weights: save the whole model"),
        (lambda folder: folder, "a folder, not a file"),
    ],
)
def test_another_form_is_named_with_the_way_out(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    with pytest.raises(KerasFileError, match=words):
        import_network(make(tmp_path))


def test_weights_in_several_files_are_named_by_list_and_by_shard(
    written: Callable[[str], Path],
) -> None:
    """Keras itself wrote these: the list, and more than one shard."""
    folder = written("keras-3.15.1")
    shards = sorted(folder.glob("shards_*.weights.h5"))
    assert len(shards) > 1

    for path in (folder / "shards.weights.json", *shards):
        with pytest.raises(KerasFileError, match=r"load_weights\(\"shards.weights.json\"\)"):
            import_network(path)


def test_a_shard_alone_is_named_by_its_name(written: Callable[[str], Path]) -> None:
    folder = written("keras-3.15.1")
    alone = folder / "elsewhere" / "shards_00000.weights.h5"
    alone.parent.mkdir()
    shutil.copy(folder / alone.name, alone)

    with pytest.raises(KerasFileError, match=r"layers with weights, .*one of several files"):
        import_network(alone)


def soft_link(file: h5py.File, at: str) -> None:
    file[at] = h5py.SoftLink("/elsewhere")


def external_link(file: h5py.File, at: str) -> None:
    file[at] = h5py.ExternalLink("other.h5", "/values")


def external_storage(file: h5py.File, at: str) -> None:
    shape = file["elsewhere"].shape
    file.create_dataset(at, shape, np.float32, external=[("other.bin", 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, at: str) -> None:
    layout = h5py.VirtualLayout(file["elsewhere"].shape, np.float32)
    layout[...] = h5py.VirtualSource("other.h5", "values", file["elsewhere"].shape)
    file.create_virtual_dataset(at, layout)


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (soft_link, "is a link, as Keras writes none"),
        (external_link, "is a link, as Keras writes none"),
        (external_storage, "keeps its values in another file, as Keras never does"),
        (virtual, "keeps its values in another file, as Keras never does"),
    ],
)
def test_values_outside_the_file_are_not_read(
    point: Callable[[h5py.File, str], None], words: str, written: Callable[[str], Path]
) -> None:
    """A file of weights must not show what else lies on the machine."""
    path = written("keras-2.2.4") / "whole.h5"
    bias = "model_weights/conv2d_1/conv2d_1/bias:0"
    with h5py.File(path, "a") as file:
        file["elsewhere"] = file[bias][()]
        del file[bias]
        point(file, bias)

    with pytest.raises(KerasFileError, match=words):
        import_network(path)
