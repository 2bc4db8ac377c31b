"""Trainers of nnU-Net, by name: which of them train the network that the plans describe.

A trainer is code that a checkpoint only names. Those of nnunetv2 2.8.1 and of TotalSegmentator
change the training, but for a few; another one may build any network with tensors of the same
names, so it is taken at the user's word alone.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from inference.errors import NnunetFolderError
from inference.models.nnunet.architecture import Architecture

_PART: Final = (
    r"\d+ep(och)?s?|Benchmark|noDataLoading|DA5|ord0|Segord0|NoDA|DASegOrd0|DAOrd0|noDummy2DDA|"
    r"NoMirroring|onlyMirror01|warmup|CosAnneal|Adan|(Vanilla)?Adam|\den\d|"
    r"(Dice)?CELoss|noSmooth|DiceLoss|(Dice)?Top[kK]10Loss|LS01|NoDeepSupervision|"
    r"probabilisticOversampling|0\d\d"
)
_PLANNED: Final = re.compile(rf"nnUNetTrainer(_?({_PART}))*")
_BATCH_NORMALISED: Final = "nnUNetTrainerBN"


def trained_network(
    planned: Architecture, trainer: str, *, keeps_network: bool = False
) -> Architecture:
    """The network that a trainer makes of the plans.

    Args:
        planned: of the plans.
        trainer: its class, as the checkpoint names it.
        keeps_network: the user says that it builds what the plans say.

    Raises:
        NnunetFolderError: nothing is known of this trainer.
    """
    if trainer == _BATCH_NORMALISED:
        return replace(planned, normalisation="batch", eps=1e-5, affine=True)
    if keeps_network or _PLANNED.fullmatch(trainer):
        return planned
    raise NnunetFolderError(
        f"trained by {trainer}, which is not one of nnU-Net's and may build another network "
        "than the plans say; if its build_network_architecture is nnUNetTrainer's, say "
        "--trainer-keeps-network"
    )
