"""The original's side of the comparison; run by a Python that has nnunetv2, never by ours.

    python nnunet_original.py make FOLDER CASES.npz SPECS.json
    python nnunet_original.py predict JOBS.json

`make` writes a results folder as nnU-Net's own trainer writes it: its network, its checkpoint.
`predict` is `nnUNetPredictor` with its defaults, on the CPU, for a list of jobs: `results`,
`folds`, `images` and the folder `out` of the answers. Arrays are `[slice, row, column]`
as SimpleITK reads an axial series; NIfTI files are in between where a reader turns them.
"""

# ruff: noqa: N813, PLC0415, SIM112, T201 - imports of another environment, a script that prints

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

for _name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(_name, "/tmp/nnunet-of-a-trial")  # noqa: S108 - never written
os.environ["nnUNet_compile"] = "false"


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("folder", type=Path)
    make.add_argument("cases", type=Path)
    make.add_argument("specs", type=Path)
    predict = commands.add_parser("predict")
    predict.add_argument("jobs", type=Path)
    predict.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if given.command == "make":
        for spec in json.loads(given.specs.read_text()):
            _make(given.folder, given.cases, spec)
    else:
        torch.set_num_threads(given.threads)
        for job in json.loads(given.jobs.read_text()):
            images = [Path(image) for image in job["images"]]
            _predict(Path(job["results"]), images, Path(job["out"]), tuple(job["folds"]))


def _make(folder: Path, cases: Path, spec: dict[str, Any]) -> None:
    """Train each fold for a while, and write plans, data set and checkpoints."""
    results = folder / spec["name"]
    if (results / "plans.json").exists():
        return
    for fold in range(spec["folds"]):
        _train(results, cases, spec, fold)
    (results / "dataset.json").write_text(json.dumps(spec["dataset"], indent=1))
    (results / "plans.json").write_text(json.dumps(spec["plans"], indent=1))


def _train(results: Path, cases: Path, spec: dict[str, Any], fold: int) -> None:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Short(nnUNetTrainer):
        def configure_optimizers(self) -> Any:
            found = torch.optim.Adam(self.network.parameters(), lr=3e-3)
            return found, torch.optim.lr_scheduler.ConstantLR(found)

    nnUNetTrainer.print_to_log_file = lambda *_, **__: None
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module

    module.infer_dataset_class = lambda _: None
    module.nnUNet_results = module.nnUNet_preprocessed = _Unset()
    module.MetaLogger = _Silent
    Short.__name__ = spec.get("trainer", "nnUNetTrainer")
    torch.manual_seed(fold)
    rng = np.random.default_rng(fold)
    trainer = _trainer(Short, spec, fold)
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    if spec.get("mirror") is not None:
        trainer.inference_allowed_mirroring_axes = tuple(spec["mirror"]) or None
    data = _preprocessed(trainer, cases)
    patch = trainer.configuration_manager.patch_size
    until = time.monotonic() + spec["seconds"]
    loss, value = torch.nn.CrossEntropyLoss(), torch.zeros(())
    while time.monotonic() < until:
        image, labels = data[rng.integers(len(data))]
        x, y = _patch(image, labels, patch, rng)
        outputs = trainer.network(x)
        value = loss(outputs[0] if isinstance(outputs, list | tuple) else outputs, y)
        trainer.optimizer.zero_grad()
        value.backward()
        trainer.optimizer.step()
    _fade_skips(trainer.network, spec.get("skips", 1.0))
    target = results / f"fold_{fold}"
    target.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(str(target / "checkpoint_final.pth"))
    print(f"{spec['name']} fold {fold}: loss {value.item():.3f}", file=sys.stderr)


def _fade_skips(network: Any, share: float) -> None:
    """Make fine levels faint against coarse ones: without training, labels are regions so."""
    with torch.no_grad():
        for stage in network.decoder.stages:
            weight = stage.convs[0].conv.weight
            weight[:, weight.shape[1] // 2 :] *= share


class _Unset:
    def is_set(self) -> bool:
        return False


class _Silent:
    """In place of the original's logger, which writes files; its state is like the real one."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.losses = [np.float32(1.5), np.float64(0.25)]

    def update_config(self, *_: Any) -> None:
        pass

    def get_checkpoint(self) -> dict[str, Any]:
        return {"train_losses": self.losses, "mean_fg_dice": [np.float64(0.5)]}


def _trainer(kind: type, spec: dict[str, Any], fold: int) -> Any:
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module

    module.maybe_mkdir_p = lambda _: None
    module.join = lambda *parts: os.path.join(*(str(p) for p in parts if p is not None))  # noqa: PTH118
    plans = json.loads(json.dumps(spec["plans"])) | {"continue_training": False}
    return kind(
        plans=plans,
        configuration=spec["configuration"],
        fold=fold,
        dataset_json=spec["dataset"],
        device=torch.device("cpu"),
    )


def _preprocessed(trainer: Any, cases: Path) -> list[tuple[Any, Any]]:
    """The training cases as the original's preprocessing makes them."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    read = np.load(cases)
    flip = (slice(None), slice(None, None, -1), slice(None, None, -1))
    turned = trainer.plans_manager.plans["image_reader_writer"].endswith("WithReorient")
    found = []
    for number in range(int(read["count"])):
        hu, labels = read[f"hu{number}"].astype(np.float32), read[f"labels{number}"]
        if turned:
            hu, labels = hu[flip], labels[flip]
        image, truth, _ = DefaultPreprocessor(verbose=False).run_case_npy(
            hu[None],
            labels[None].astype(np.int8),
            {"spacing": [float(x) for x in read[f"spacing{number}"]]},
            trainer.plans_manager,
            trainer.configuration_manager,
            trainer.dataset_json,
        )
        found.append((image, np.maximum(truth, 0)))
    return found


def _patch(image: Any, labels: Any, patch: list[int], rng: Any) -> tuple[Any, Any]:
    """A random patch with background around where the image is smaller."""
    size = patch if len(patch) == 3 else [1, *patch]
    pads = [(0, 0), *((0, max(0, s - n)) for s, n in zip(size, image.shape[1:], strict=True))]
    image, labels = np.pad(image, pads), np.pad(labels, pads)
    starts = [int(rng.integers(n - s + 1)) for s, n in zip(size, image.shape[1:], strict=True)]
    cut = tuple(slice(a, a + s) for a, s in zip(starts, size, strict=True))
    x, y = image[(slice(None), *cut)], labels[(0, *cut)]
    if len(patch) == 2:
        x, y = x[:, 0], y[0]
    x = torch.from_numpy(np.ascontiguousarray(x)).float()[None]
    return x, torch.from_numpy(np.ascontiguousarray(y)).long()[None]


def _predict(results: Path, images: list[Path], out: Path, folds: tuple[int, ...]) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(results), folds)
    for image in images:
        read = np.load(image)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, core = time.monotonic(), time.process_time()
        labels = _labels(predictor, read)
        seconds, core = time.monotonic() - start, time.process_time() - core
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = {"labels": labels, "seconds": seconds, "before_kb": before, "peak_kb": peak}
        found["core_seconds"] = core
        np.savez_compressed(out / image.name, **found)


def _labels(predictor: Any, read: Any) -> Any:
    """Predict as a file is predicted; one that is turned by its reader is written first."""
    hu, spacing = read["hu"], [float(x) for x in read["spacing"]]
    name = predictor.plans_manager.plans["image_reader_writer"]
    if not name.endswith("WithReorient"):
        image = hu[None].astype(np.float32)
        return predictor.predict_single_npy_array(image, {"spacing": spacing})
    import tempfile

    import SimpleITK as sitk

    picture = sitk.GetImageFromArray(hu)
    picture.SetSpacing(spacing[::-1])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/case_0000.nii.gz"
        sitk.WriteImage(picture, path)
        predictor.predict_from_files_sequential([[path]], [f"{folder}/found"], False)
        return sitk.GetArrayFromImage(sitk.ReadImage(f"{folder}/found.nii.gz"))


if __name__ == "__main__":
    main()
