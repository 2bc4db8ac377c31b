"""Checkpoints are read without running anything that they name."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from inference.errors import CheckpointError
from inference.models.checkpoints import read_checkpoint


class Calls:
    """Pickled as a call of a function of a module made for this test, which sets a flag."""

    def __init__(self, name: str, *values: object) -> None:
        self.name, self.values = name, values

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return getattr(sys.modules["stand_in"], self.name), self.values


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module whose function says that it was called."""
    module = ModuleType("stand_in")
    module.called = False

    def call(*_: object) -> None:
        module.called = True

    call.__module__, call.__qualname__ = "stand_in", "call"
    module.call = call
    monkeypatch.setitem(sys.modules, "stand_in", module)
    return module


def test_a_file_that_would_call_something_is_refused_by_its_name_and_calls_nothing(
    tmp_path: Path, stand_in: ModuleType
) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"network_weights": {}, "init_args": Calls("call")}, path)

    with pytest.raises(CheckpointError, match=r"checkpoint\.pth: names stand_in\.call"):
        read_checkpoint(path)

    assert not stand_in.called


def test_it_calls_nothing_beside_numbers_that_are_allowed_either(
    tmp_path: Path, stand_in: ModuleType
) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"loss": np.float64(1.0), "weights": torch.ones(2), "x": Calls("call")}, path)

    with pytest.raises(CheckpointError, match=r"names stand_in\.call"):
        read_checkpoint(path)

    assert not stand_in.called


def test_what_nnu_net_keeps_is_read_as_plain_values(tmp_path: Path) -> None:
    """Numbers of NumPy become Python's, whatever their width and byte order."""
    path = tmp_path / "checkpoint.pth"
    content = {
        "network_weights": {"a": torch.arange(3.0)},
        "logging": [np.float64(0.25), np.float32(1.5), np.int64(-7), np.bool_(True)],
        "swapped": np.float64(3.0).astype(">f8")[()],
        "init_args": {"device": torch.device("cuda", 0), "plans": {"spacing": [1.5, 0.7]}},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(content, path)

    read = read_checkpoint(path)

    assert read["logging"] == [0.25, 1.5, -7, True]
    assert [type(one) for one in read["logging"]] == [float, float, int, bool]
    assert read["swapped"] == 3.0
    assert read["inference_allowed_mirroring_axes"] == (0, 1, 2)
    assert read["network_weights"]["a"].tolist() == [0.0, 1.0, 2.0]


def test_an_array_of_numpy_is_more_than_a_number_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"a": np.arange(3)}, path)

    with pytest.raises(CheckpointError, match=r"numpy\..*_reconstruct"):
        read_checkpoint(path)


def test_a_value_of_numpy_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"a": np.str_("text")}, path)

    with pytest.raises(CheckpointError, match="which is no number"):
        read_checkpoint(path)


def test_what_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    plain, bare = tmp_path / "plain.pth", tmp_path / "bare.pth"
    plain.write_bytes(b"not a checkpoint")
    bare.write_bytes(pickle.dumps({"a": 1}))

    for path in (plain, bare):
        with pytest.raises(CheckpointError, match=f"{path.name}: cannot be read"):
            read_checkpoint(path)


def test_a_tensor_alone_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "tensor.pth"
    torch.save(torch.ones(2), path)

    with pytest.raises(CheckpointError, match="holds a Tensor, not a table"):
        read_checkpoint(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pth: No such file"):
        read_checkpoint(tmp_path / "none.pth")
