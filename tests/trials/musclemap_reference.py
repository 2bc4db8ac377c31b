"""Record what MONAI makes of a small CT, as MuscleMap's program uses it.

    VENV/bin/python tests/trials/musclemap_reference.py

VENV has monai 1.6.1, nibabel and torch. Written is `reference.npz` beside the unit tests: the
weights of a small network, and for each case some of the logits on the image's grid.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.inferers import SliceInferer
from monai.networks.layers import Norm
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Spacingd,
    SpatialPadd,
)

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from support.musclemap_image import CASES, RECORDED, SPACING_MM, small_ct  # noqa: E402

CLASSES, CHANNELS, STRIDES, WINDOW, OVERLAP = 8, (4, 6, 8), (2, 2), 32, 0.6


def main() -> None:
    """Make the network, run the cases, and write the file."""
    torch.manual_seed(4)
    network = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=CLASSES,
        channels=CHANNELS,
        strides=STRIDES,
        num_res_units=1,
        act="LeakyReLU",
        norm=Norm.INSTANCE,
    ).eval()
    kept = {f"weights/{name}": one.numpy() for name, one in network.state_dict().items()}
    for name, (chunk, kind, smaller) in CASES.items():
        kept[f"logits/{name}"] = answer(network, chunk, kind, smaller=smaller)
    np.savez_compressed(TESTS / "unit" / "models" / "musclemap" / "reference.npz", **kept)


def answer(network: UNet, chunk: int, kind: str, *, smaller: bool) -> Any:
    """Logits float32 `[slice, class, row, column]`, thinned."""
    hu = small_ct(kind)
    slice_mm, row_mm, column_mm = SPACING_MM
    affine = np.diag([-column_mm, -row_mm, slice_mm, 1.0])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.nii.gz"
        nib.save(nib.Nifti1Image(np.ascontiguousarray(hu.transpose(2, 1, 0)), affine), whole)
        image = nib.load(whole)
        for start in range(0, len(hu), chunk):
            path = whole
            if chunk < len(hu):  # as mm_util writes a part
                path = Path(folder) / f"{start}.nii"
                part = np.asarray(image.dataobj[..., start : start + chunk], dtype=np.float32)
                nib.save(nib.Nifti1Image(part, image.affine, image.header.copy()), path)
            found.append(logits_of(path, network, smaller=smaller))
    logits = np.concatenate(found, axis=-1).transpose(3, 0, 2, 1)  # class, x, y, slice
    return logits[:, :, ::RECORDED, ::RECORDED]


def logits_of(path: Path, network: UNet, *, smaller: bool) -> Any:
    """Of one file, `[class, x, y, slice]`, brought back to its own axes."""
    before = Compose(
        [
            LoadImaged(keys=["image"], image_only=False),
            EnsureChannelFirstd(keys=["image"]),
            Orientationd(keys=["image"], axcodes="RAS"),
            Spacingd(keys=["image"], pixdim=(1, 1, -1), mode="bilinear"),
            NormalizeIntensityd(keys=["image"], nonzero=True),
            CropForegroundd(
                keys=["image"], source_key="image", margin=20, allow_smaller=smaller
            ),
            SpatialPadd(keys=["image"], spatial_size=(WINDOW, WINDOW, 1), method="end"),
            EnsureTyped(keys=["image"]),
        ]
    )
    after = Invertd(keys="pred", transform=before, orig_keys="image", nearest_interp=False)
    inferer = SliceInferer(
        roi_size=(WINDOW, WINDOW),
        sw_batch_size=1,
        spatial_dim=2,
        mode="gaussian",
        overlap=OVERLAP,
    )
    data = before({"image": str(path)})
    with torch.inference_mode():
        answered = inferer(data["image"].unsqueeze(0).float(), network)
    return after({"pred": answered[0], "image": data["image"]})["pred"].numpy()


if __name__ == "__main__":
    main()
