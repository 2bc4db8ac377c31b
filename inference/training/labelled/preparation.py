"""Labelled cases made ready for training, once, as memory-mapped arrays on disk.

```
CACHE/<what they are made ready for, as a hash>/<case>/
    hu.npy        int16 [slice, row, column], on the pixels that the network is fed
    labels.npy    uint8, same shape, 0 to 22
    case.json     patient, fingerprint of the files, hashes of image and labels; written last
```
Reading DICOM and its like is left to whoever hands over the cases; a folder that is ready can
be taken to a machine that reads none of them. Runs of several folds share one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from inference.errors import InferenceError, TrainingError
from inference.models.bayesian_unet.network import Architecture
from inference.models.bayesian_unet.preprocessing import Frame, PixelGrid, frame_of
from inference.models.toml_values import value_of
from inference.volume import Volume

PREPARED_FORMAT: Final = 1

HU_FILE, LABELS_FILE, CASE_FILE = "hu.npy", "labels.npy", "case.json"

SLICES_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled case that has not been read yet.

    patient: cases of one patient are never on both sides of a cross-validation.
    fingerprint: of the files; another one means that the case must be prepared again.
    read: the CT and labels 0 to 22 on its grid, uint8 `[slice, row, column]`. What it raises
        is taken as the reason why the case cannot be used.
    """

    name: str
    patient: str
    fingerprint: str
    read: Callable[[], tuple[Volume, NDArray[np.uint8]]]


@dataclass(frozen=True, slots=True)
class Preparation:
    """Network and slices that cases are made ready for.

    slice_mm: distance between slices, which are interpolated; 0 keeps the scan's own.
    """

    architecture: Architecture
    grid: PixelGrid
    slice_mm: float

    @property
    def key(self) -> str:
        """Names a folder of cases that were made ready alike.

        Of the network it matters only what the sides must be multiples of.
        """
        sides = [self.architecture.layers, self.architecture.smallest_side]
        said = json.dumps([PREPARED_FORMAT, asdict(self.grid), float(self.slice_mm), sides])
        return hashlib.sha256(said.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaseFile:
    """case.json."""

    format: Annotated[int, Field(ge=PREPARED_FORMAT, le=PREPARED_FORMAT)]
    patient: str
    fingerprint: str
    image_sha256: str
    labels_sha256: str


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """A case that is ready.

    image_sha256: of the scan's own voxels: by it a case is known again, whatever its name.
    labels_sha256: likewise of its labels.
    """

    name: str
    patient: str
    folder: Path
    fingerprint: str
    image_sha256: str
    labels_sha256: str

    def hu(self) -> NDArray[np.int16]:
        """`[slice, row, column]`, mapped into memory, not read."""
        return self._mapped(HU_FILE)

    def labels(self) -> NDArray[np.uint8]:
        """`[slice, row, column]`, likewise."""
        return self._mapped(LABELS_FILE)

    def _mapped(self, name: str) -> NDArray[Any]:
        try:
            array: NDArray[Any] = np.load(self.folder / name, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise TrainingError(f"{self.folder / name}: {error}; delete the folder") from error
        return array


def prepare(
    cases: Iterable[Case],
    preparation: Preparation,
    cache: Path,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[PreparedCase, ...]:
    """Make cases ready, those that are not.

    Args:
        cases: in any order.
        preparation: what for.
        cache: folder that keeps them, for other runs too.
        say: told the name of a case that is being made ready.

    Raises:
        TrainingError: cases that cannot be used, each with its reason. The others are ready
            by then.
    """
    ready, reasons = [], []
    folder = cache / preparation.key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a run of another fold may be at it
        for case in sorted(cases, key=lambda case: case.name):
            try:
                ready.append(_made_ready(case, preparation, folder / case.name, say))
            except (InferenceError, ValueError) as error:
                reasons.append(f"{case.name}: {error}")
    if reasons:
        raise TrainingError("; ".join(reasons))
    return tuple(ready)


def _made_ready(
    case: Case, preparation: Preparation, folder: Path, say: Callable[[str], None]
) -> PreparedCase:
    found = _opened(folder)
    if found is not None and found.fingerprint == case.fingerprint:
        return found
    say(case.name)
    return _write(case, preparation, folder)


def ready_cases(preparation: Preparation, cache: Path) -> tuple[PreparedCase, ...]:
    """All cases that lie ready in a folder, for a machine that cannot read the files.

    Raises:
        TrainingError: there are none.
    """
    folder = cache / preparation.key
    inner = sorted(folder.iterdir()) if folder.is_dir() else []
    whole = (one for one in inner if not one.name.startswith("."))
    found = tuple(case for one in whole if (case := _opened(one)))
    if not found:
        raise TrainingError(
            f"{cache}: no case is ready there for this recipe; `msk-node train --prepare`"
            " makes them ready"
        )
    return found


def _case_file(folder: Path) -> _CaseFile | None:
    try:
        return value_of(_CaseFile, json.loads((folder / CASE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _opened(folder: Path) -> PreparedCase | None:
    said = _case_file(folder)
    return None if said is None else _prepared(folder, said)


def _prepared(folder: Path, said: _CaseFile) -> PreparedCase:
    return PreparedCase(
        name=folder.name,
        patient=said.patient,
        folder=folder,
        fingerprint=said.fingerprint,
        image_sha256=said.image_sha256,
        labels_sha256=said.labels_sha256,
    )


def _write(case: Case, preparation: Preparation, folder: Path) -> PreparedCase:
    """Beside an older one, which it then replaces."""
    volume, labels = case.read()
    if labels.shape != volume.hu.shape:
        raise TrainingError(f"image {volume.hu.shape} and labels {labels.shape}")
    fresh = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    _write_arrays(volume, labels, preparation, fresh)
    said = _CaseFile(
        format=PREPARED_FORMAT,
        patient=case.patient,
        fingerprint=case.fingerprint,
        image_sha256=_sha256(volume.hu),
        labels_sha256=_sha256(labels),
    )
    (fresh / CASE_FILE).write_text(json.dumps(asdict(said)), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return _prepared(folder, said)


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _write_arrays(
    volume: Volume, labels: NDArray[np.uint8], preparation: Preparation, folder: Path
) -> None:
    frame = frame_of(volume, preparation.grid, preparation.architecture)
    plan = slice_plan(volume.geometry.slice_offsets_mm, preparation.slice_mm)
    shape = (len(plan), *frame.size)
    open_array = np.lib.format.open_memmap
    hu_out = open_array(folder / HU_FILE, "w+", np.int16, shape)
    labels_out = open_array(folder / LABELS_FILE, "w+", np.uint8, shape)
    rows, columns = (_nearest(frame, axis) for axis in range(2))
    for start in range(0, len(plan), SLICES_AT_ONCE):
        part = plan[start : start + SLICES_AT_ONCE]
        to = slice(start, start + len(part))
        hu_out[to] = _on_frame(_blended(volume.hu, part), frame)
        nearest = [one.below if one.share_above <= 0.5 else one.below + 1 for one in part]
        inside = labels[nearest][:, rows.clip(0)][:, :, columns.clip(0)]
        labels_out[to] = inside * ((rows >= 0)[:, None] & (columns >= 0))
    hu_out.flush()
    labels_out.flush()


@dataclass(frozen=True, slots=True)
class Between:
    """A slice between two of the scan: the one below, and the share of the one above it."""

    below: int
    share_above: float


def slice_plan(offsets_mm: NDArray[np.float64], slice_mm: float) -> tuple[Between, ...]:
    """The slices that a scan is given: every `slice_mm` from its first; its own for 0.

    Args:
        offsets_mm: where the scan's slices lie, ascending.
        slice_mm: distance of the slices wanted.
    """
    if slice_mm == 0 or len(offsets_mm) == 1:
        return tuple(Between(k, 0.0) for k in range(len(offsets_mm)))
    span = float(offsets_mm[-1] - offsets_mm[0])
    wanted = offsets_mm[0] + np.arange(int(span / slice_mm + 1e-6) + 1) * slice_mm
    below = np.searchsorted(offsets_mm, wanted, side="right") - 1
    below = below.clip(0, len(offsets_mm) - 2)
    share = (wanted - offsets_mm[below]) / (offsets_mm[below + 1] - offsets_mm[below])
    # A rounding's breadth off a slice is that slice; else it would be blended for nothing.
    share = np.round(share.clip(0, 1), 6)
    return tuple(Between(int(k), float(s)) for k, s in zip(below, share, strict=True))


def _blended(hu: NDArray[Any], part: Sequence[Between]) -> NDArray[np.float32]:
    """Slices on straight lines between their neighbours, float32 `[slice, row, column]`."""
    slices = []
    for one in part:
        lower = hu[one.below].astype(np.float32)
        if one.share_above:
            lower += np.float32(one.share_above) * (hu[one.below + 1] - lower)
        slices.append(lower)
    return np.stack(slices)


def _on_frame(hu: NDArray[np.float32], frame: Frame) -> NDArray[np.int16]:
    on_pixels = frame.to_network(torch.from_numpy(hu))[:, 0]
    limits = np.iinfo(np.int16)
    whole = on_pixels.round().clamp(int(limits.min), int(limits.max))
    return np.asarray(whole.to(torch.int16).numpy())


def _nearest(frame: Frame, axis: int) -> NDArray[np.int64]:
    """(network,) the source pixel at the centre of each network pixel; -1 outside."""
    centres = (np.arange(frame.size[axis]) + 0.5) * frame.pixel[axis] + frame.start[axis]
    at = np.floor(centres + 1e-6).astype(np.int64)
    return np.where((at >= 0) & (at < frame.source[axis]), at, -1)
