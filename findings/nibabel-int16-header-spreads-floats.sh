#!/usr/bin/env bash
# nibabel: whole numbers read as float and saved with their own int16 header are whole no more.
#
# Expected: a part of an int16 image, saved with that image's header, comes back as it was: all
#   its numbers fit the header's type.
# Seen: the header's type is kept, and since the array is float it is scaled to fill all of
#   int16. HU come back up to half a step off (0.02 HU here), and 0 HU as a small number that
#   is not 0. Given as int16, the same numbers come back exactly.
# Versions: nibabel 5.4.2, numpy 2.4.6, Python 3.11.
# Matters: MuscleMap 1.4 saves chunks of slices like this and then takes mean and deviation of
#   what is not 0: a CT in one chunk leaves its water out, the same CT in two chunks does not.
# Date: 2026-11-30
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nibabel==5.4.2 numpy==2.4.6 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

cd "$folder"
timeout 100 "$folder/venv/bin/python" - <<'PY'
import sys

import nibabel as nib
import numpy as np

hu = np.arange(-1000, 2000, dtype=np.int16).reshape(10, 30, 10)
nib.save(nib.Nifti1Image(hu, np.eye(4)), "whole.nii")
image = nib.load("whole.nii")


def saved(part):
    """A part as it comes back when it is saved with the whole image's header."""
    nib.save(nib.Nifti1Image(part, image.affine, image.header.copy()), "part.nii")
    return np.array(nib.load("part.nii").dataobj)  # a copy: the file is written again


part = np.asarray(image.dataobj[..., :5])
as_int16, as_float = saved(part), saved(part.astype(np.float32))
off = np.abs(as_float - part).max()
print("nibabel", nib.__version__)
print("0 HU in the part, as int16 and as float:", (part == 0).sum(), (as_int16 == 0).sum(),
      (as_float == 0).sum())
print(f"largest difference as float: {off:.4f} HU")
if not np.array_equal(as_int16, part):
    sys.exit("CHANGED: int16 does not come back as it was")
if off == 0 or (as_float == 0).any():
    sys.exit("CHANGED: floats that are whole numbers come back as they were")
print("as stated")
PY
