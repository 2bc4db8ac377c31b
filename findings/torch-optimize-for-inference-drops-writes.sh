#!/usr/bin/env bash
# torch.jit.optimize_for_inference leaves out what a network writes into a buffer.
#
# Expected: optimize_for_inference computes the same numbers as the traced module.
# Seen: where the input is written into the middle of a buffer that a convolution reads, as
#   when a network pads for itself, the optimised graph has no such write any more: the
#   convolution reads the buffer as it was made, here zeros, so the answer is the bias alone.
#   No error, no warning. With torch.empty it is whatever lies in memory (our network gave
#   numbers of 1e33). The trace and the frozen trace are right, and so is padding by F.pad.
#   It also changes the module that it is given, which is wrong then, too.
# Versions: torch 2.13.0 (CPU), Python 3.11. Its torch.jit is deprecated.
# Matters: a segmentation network that is made faster in this way: compare its output.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The CPU build is enough, where pip can be told to take it.
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 300 "$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import torch
from torch import nn
from torch.nn import functional as f

warnings.simplefilter("ignore")  # of the deprecation, and of constant sizes
WRITE = "aten::copy_"


class Padding(nn.Module):
    """Pads by one pixel of zeros, and convolves."""

    def __init__(self, by_hand):
        super().__init__()
        self.convolution, self.by_hand = nn.Conv2d(1, 3, 3), by_hand

    def forward(self, image):
        if not self.by_hand:
            return self.convolution(f.pad(image, (1, 1, 1, 1)))
        padded = torch.zeros(1, 1, 10, 10)
        padded[:, :, 1:-1, 1:-1] = image
        return self.convolution(padded)


def frozen(module):
    return torch.jit.freeze(torch.jit.trace(module, image))


print("torch", torch.__version__)
torch.manual_seed(0)
image = torch.rand(1, 1, 8, 8)
seen = {}
with torch.no_grad():
    for by_hand in (True, False):
        module = Padding(by_hand).eval()
        right = module(image)
        given = frozen(module)  # must not run before: it would keep its first, right plan
        made = torch.jit.optimize_for_inference(given)
        bias = module.convolution.bias[None, :, None, None].expand_as(right)
        seen[by_hand] = {
            "frozen is right": torch.allclose(frozen(module)(image), right, atol=1e-5),
            "optimised is right": torch.allclose(made(image), right, atol=1e-5),
            "optimised is the bias alone": torch.allclose(made(image), bias, atol=1e-5),
            "the write is in the frozen graph": WRITE in str(frozen(module).graph),
            "in the optimised one": WRITE in str(made.graph),
            "in the one that was given": WRITE in str(given.graph),
        }
        print("padded by hand:" if by_hand else "by F.pad:", seen[by_hand])
if list(seen[False].values())[:3] != [True, True, False] or not seen[True]["frozen is right"]:
    sys.exit("CHANGED: the cases that should work do not")
if list(seen[True].values()) != [True, False, True, True, False, False]:
    sys.exit("CHANGED: the write is no longer lost")
print("as stated")
PY
