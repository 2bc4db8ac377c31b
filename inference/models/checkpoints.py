"""Checkpoints of torch, read without running anything that they name.

A checkpoint is a pickle, which can call whatever it names. torch's own restricted reader
(`weights_only`) makes tensors and plain values and refuses every other name. nnU-Net's hold a
few NumPy numbers besides; these names, and no others, are given stand-ins that make plain
numbers. A node never reads checkpoints: importers do, and write safetensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from inference.errors import CheckpointError

_NUMBERS: Final = frozenset("biuf")
"""Kinds of NumPy's numbers: truth values, whole numbers with and without sign, real ones."""


class _NumberKind:
    """Stands in for `numpy.dtype`: the kind of a number and its bytes, nothing else."""

    def __init__(self, code: str, align: object = None, copy: object = None) -> None:
        del align, copy
        if not isinstance(code, str) or code[:1] not in _NUMBERS or not code[1:].isdecimal():
            raise CheckpointError(f"a NumPy value of kind {code!r}, which is no number")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """The byte order, which NumPy adds after making one."""
        if len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise CheckpointError("a NumPy value without a byte order")
        self.order = state[1]


def _number(kind: _NumberKind, data: bytes) -> float | int | bool:
    """Stands in for `numpy.core.multiarray.scalar`: one plain number."""
    if not isinstance(kind, _NumberKind) or not isinstance(data, bytes):
        raise CheckpointError("a NumPy value that is no number")
    dtype = np.dtype(kind.order + kind.code)
    if len(data) != dtype.itemsize:
        raise CheckpointError(f"a NumPy number of {len(data)} bytes, not {dtype.itemsize}")
    value: float | int | bool = np.frombuffer(data, dtype)[0].item()
    return value


def _bytes(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, by which protocol 2 writes bytes as Latin-1 text."""
    if encoding != "latin1":
        raise CheckpointError(f"bytes written in {encoding!r}, not latin1")
    return text.encode("latin1")


_ALLOWED: Final = (
    (_NumberKind, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    (_bytes, "_codecs.encode"),
)
"""Names beyond torch's own, and what is called in their place."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The values of a checkpoint, on the CPU; nothing that it names is looked up or called.

    Args:
        path: a file of `torch.save`, in the form that torch writes since 1.6 (a ZIP archive).

    Raises:
        CheckpointError: not such a file, or it names something beyond tensors and plain
            values; the message says what.
    """
    with safe_globals(list(_ALLOWED)):
        try:
            _check_names(path)
            # Mapped: an optimiser's state, twice the network, is then never read.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except CheckpointError as error:
            words = str(error)
            known = words.startswith(str(path))
            raise CheckpointError(words if known else f"{path}: {words}") from None
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror or error}") from error
        except Exception as error:  # whatever a damaged or hostile file provokes
            raise CheckpointError(
                f"{path}: cannot be read as a checkpoint of torch: {_first_line(error)}"
            ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a table")
    return dict(content)


def single_precision(path: Path, name: str, tensor: Tensor) -> Tensor:
    """A tensor of weights as float32, with memory of its own.

    Raises:
        CheckpointError: it holds no real numbers, leaves some out (sparse), or has one that
            single precision has not.
    """
    if tensor.layout != torch.strided or not tensor.is_floating_point():
        kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
        raise CheckpointError(f"{path}: {name} is of {kind}, not of real numbers, each written")
    plain = tensor.detach().to(torch.float32, copy=True).contiguous()
    if not plain.isfinite().all():
        raise CheckpointError(f"{path}: {name} has values that are not finite")
    return plain


def check_different(paths: Iterable[Path]) -> None:
    """Refuse a file that is given twice, under whatever name.

    It would agree with itself, and its doubt would be too small.

    Raises:
        CheckpointError: two files are the same, byte for byte.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error
        if sha256 in seen:
            raise CheckpointError(
                f"{path}: is the same file as {seen[sha256]}; a network that stands twice "
                "agrees with itself, which measures no doubt: name it once"
            )
        seen[sha256] = path


def _check_names(path: Path) -> None:
    names = sorted(set(get_unsafe_globals_in_checkpoint(path)))
    if names:
        raise CheckpointError(
            f"{path}: names {', '.join(names[:5])}, which is neither tensor nor plain value; "
            "such a file can run code when it is opened and is refused. Have it written anew "
            "by whoever trained it, with weights and plain values alone"
        )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
