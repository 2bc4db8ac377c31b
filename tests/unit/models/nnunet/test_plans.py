"""Plans of nnU-Net are read, or refused with the way out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from trials.nnunet_specs import reference_specs

from inference.errors import NnunetFolderError
from inference.models.nnunet.architecture import Architecture
from inference.models.nnunet.plans import Planned, read_plans
from inference.models.nnunet.trainers import trained_network

SPEC = next(spec for spec in reference_specs(0) if spec["name"] == "residual_3d_fullres")
NAME = "3d_fullres"
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def read(
    change: Change | None = None, *, is_ct: bool = False, orientation: str | None = None
) -> Planned:
    """The plans of the tests' network, after a change of plans and data set."""
    plans, dataset = copy.deepcopy(SPEC["plans"]), copy.deepcopy(SPEC["dataset"])
    if change is not None:
        change(plans, dataset)
    return read_plans(plans, dataset, NAME, is_ct=is_ct, orientation=orientation)


def of(plans: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plans["configurations"][NAME]
    return found


def test_plans_are_read_as_they_stand() -> None:
    planned = read()

    assert planned.patch == (8, 12, 16)
    assert planned.preprocessing.spacing_mm == (5.0, 4.0, 4.0)
    assert planned.preprocessing.orientation == "RAS"
    assert planned.preprocessing.normalisation.low_hu == -120.0
    assert planned.names[:2] == ("background", "gluteus_maximus_left")
    assert (planned.architecture.encoder, planned.architecture.features) == ("residual", (4, 6))


def test_plans_of_the_first_versions_are_read_too() -> None:
    """Until nnU-Net 2.3 they named a few numbers, and no class; TotalSegmentator's are such."""
    made = of(copy.deepcopy(SPEC["plans"]))

    def older(plans: dict[str, Any], _: dict[str, Any]) -> None:
        chosen = of(plans)
        del chosen["architecture"]
        chosen |= {
            "UNet_class_name": "ResidualEncoderUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 6,
            "n_conv_per_stage_encoder": [1, 2],
            "n_conv_per_stage_decoder": [1],
            "num_pool_per_axis": [1, 1, 1],
            "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]],
            "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        }

    assert made["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 6]
    assert read(older).architecture == read().architecture


def test_a_configuration_may_inherit_from_another() -> None:
    def split(plans: dict[str, Any], _: dict[str, Any]) -> None:
        plans["configurations"]["base"] = of(plans) | {"patch_size": [16, 16, 16]}
        plans["configurations"][NAME] = {"inherits_from": "base", "patch_size": [8, 12, 16]}

    assert read(split) == read()


def test_a_label_that_is_ignored_is_no_output() -> None:
    def ignoring(_: dict[str, Any], dataset: dict[str, Any]) -> None:
        dataset["labels"]["ignore"] = 8

    assert read(ignoring).names == read().names


def test_the_user_may_say_what_the_files_do_not() -> None:
    def called_otherwise(_: dict[str, Any], dataset: dict[str, Any]) -> None:
        dataset["channel_names"] = {"0": "zscore"}

    assert read(called_otherwise, is_ct=True) == read()
    assert read(orientation="LPS").preprocessing.orientation == "LPS"


def _set(*path: str, value: object) -> Change:
    def change(plans: dict[str, Any], dataset: dict[str, Any]) -> None:
        table: Any = {"plans": plans, "dataset": dataset, "chosen": of(plans)}
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


KWARGS = ("chosen", "architecture", "arch_kwargs")
REFUSED = [
    (_set("chosen", "previous_stage", value="3d_lowres"), "second stage of a cascade"),
    (_set("chosen", "preprocessor_name", value="Other"), "fed by Other"),
    (_set("chosen", "inherits_from", value="none"), "inherits from none, which is not there"),
    (_set("chosen", "inherits_from", value=NAME), "inherits from 3d_fullres, which is not"),
    (_set("dataset", "channel_names", value={"0": "CT", "1": "PET"}), "2 input channels"),
    (_set("dataset", "channel_names", value={"0": "MR"}), "called 'MR', not CT.*--is-ct"),
    (_set("dataset", "channel_names", value=None), "no channel_names"),
    (_set("dataset", "labels", "legs", value=[1, 2]), r"trained on regions \(legs\)"),
    (_set("dataset", "regions_class_order", value=[1]), "trained on regions"),
    (_set("dataset", "labels", "femur_left", value=30), "not 0, 1, 2 and so on"),
    (_set("dataset", "labels", value={"femur": 1}), "none that is called background"),
    (_set("chosen", "architecture", "network_class_name", value="my.Net"), "network is my.Net"),
    (_set(*KWARGS, "nonlin", value="torch.nn.GELU"), "activation"),
    (_set(*KWARGS, "norm_op", value="torch.nn.GroupNorm"), "norm_op is torch.nn.GroupNorm"),
    (_set(*KWARGS, "block", value="BottleneckD"), "block is not supported"),
    (_set(*KWARGS, "strides", value=[[1, 1, 1]]), "not of as many levels"),
    (_set("chosen", "normalization_schemes", value=["Mine"]), "normalised by Mine"),
    (_set("chosen", "resampling_fn_data", value="torch"), "data are resampled by torch"),
    (
        _set("chosen", "resampling_fn_data_kwargs", "order", value=1),
        "data are resampled with order 1",
    ),
    (_set("plans", "image_reader_writer", value="Tiff3DIO"), "read by Tiff3DIO"),
    (_set("plans", "configurations", value={}), "no configuration 3d_fullres"),
    (_set("plans", "transpose_forward", value=[0, 0, 1]), "no order of three axes"),
    (_set("chosen", "spacing", value=[1.0, -1.0, 1.0]), "spacing_mm"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_not_done_here_is_named(change: Change, words: str) -> None:
    with pytest.raises(NnunetFolderError, match=words):
        read(change)


@pytest.mark.parametrize("missing", ["patch_size", "spacing", "normalization_schemes"])
def test_a_missing_key_is_named(missing: str) -> None:
    with pytest.raises(NnunetFolderError, match=f"3d_fullres: no '{missing}'"):
        read(lambda plans, _: of(plans).pop(missing))


def network() -> Architecture:
    return read().architecture


@pytest.mark.parametrize(
    "trainer",
    [
        "nnUNetTrainer",
        "nnUNetTrainerNoMirroring",
        "nnUNetTrainer_4000epochs_NoMirroring",
        "nnUNetTrainer_DASegOrd0_NoMirroring",
        "nnUNetTrainer_onlyMirror01_1500ep",
        "nnUNetTrainerDiceCELoss_noSmooth",
    ],
)
def test_trainers_that_change_the_training_alone_build_the_planned_network(
    trainer: str,
) -> None:
    assert trained_network(network(), trainer) == network()


def test_one_trainer_normalises_over_batches_whatever_the_plans_say() -> None:
    assert trained_network(network(), "nnUNetTrainerBN").normalisation == "batch"


@pytest.mark.parametrize("trainer", ["nnUNet_Primus_M_Trainer", "nnUNetTrainerUMambaBot"])
def test_an_unknown_trainer_is_taken_at_the_users_word_alone(trainer: str) -> None:
    with pytest.raises(NnunetFolderError, match=f"{trainer}, .*--trainer-keeps-network"):
        trained_network(network(), trainer)

    assert trained_network(network(), trainer, keeps_network=True) == network()
