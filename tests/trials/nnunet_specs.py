"""Networks of the comparison with nnunetv2: plans as it writes them, but tiny."""

from __future__ import annotations

from typing import Any

NAMES = (
    "background",
    "gluteus_maximus_left",
    "gluteus_maximus_right",
    "femur_left",
    "femur_right",
    "hip_left",
    "hip_right",
    "sacrum",
)
"""Labels of the trials, a few of those of TotalSegmentator's `total`."""


def specs(seconds: float) -> list[dict[str, Any]]:
    """What `nnunet_original.py make` makes, each trained for that long a fold."""
    return [
        _spec(
            "plain_3d_fullres", "3d_fullres", "plain", (3.0, 2.5, 2.5), (40, 56, 56), seconds
        ),
        _spec(
            "residual_3d_fullres",
            "3d_fullres",
            "residual",
            (3.0, 2.5, 2.5),
            (40, 56, 56),
            seconds,
            reader="NibabelIOWithReorient",
            mirror=(),
        ),
        _spec("residual_3d_lowres", "3d_lowres", "residual", (6, 5, 5), (24, 40, 56), seconds),
        _spec("plain_3d_lowres", "3d_lowres", "plain", (6, 5, 5), (24, 40, 56), seconds),
        _spec("plain_2d", "2d", "plain", (2.0, 2.0), (96, 128), seconds),
        _spec("residual_2d", "2d", "residual", (2.0, 2.0), (96, 128), seconds),
        _spec(
            "plain_anisotropic",
            "3d_fullres",
            "plain",
            (8.0, 2.0, 2.0),
            (16, 80, 96),
            seconds,
            thin=True,
            folds=1,
        ),
        _spec(
            "plain_transposed",
            "3d_fullres",
            "plain",
            (2.5, 3.0, 2.5),
            (48, 40, 56),
            seconds,
            transpose=(1, 0, 2),
            scheme="ZScoreNormalization",
            folds=1,
        ),
    ]


def reference_specs(seconds: float) -> list[dict[str, Any]]:
    """Networks small enough to be kept with the tests, with what the original answered."""
    small = {"features": (4, 6)}
    return [
        _spec("plain_2d", "2d", "plain", (4.0, 4.0), (16, 24), seconds, folds=2, **small),
        _spec(
            "residual_3d_fullres",
            "3d_fullres",
            "residual",
            (5.0, 4.0, 4.0),
            (8, 12, 16),
            seconds,
            folds=1,
            reader="NibabelIOWithReorient",
            mirror=(1, 2),
            **small,
        ),
    ]


def memory_spec() -> dict[str, Any]:
    """As many classes as TotalSegmentator's, at twice the scan's voxel size; not trained."""
    made = _spec(
        "many_classes",
        "3d_fullres",
        "plain",
        (3.0, 3.0, 3.0),
        (48, 64, 64),
        0.01,
        folds=1,
        mirror=(),
        features=(4, 6),
    )
    more = {f"other_{number}": number for number in range(len(NAMES), 118)}
    made["dataset"]["labels"] |= more
    return made


def true_size_spec(spacing_mm: float, *, mirrored: bool) -> dict[str, Any]:
    """As large as TotalSegmentator's 3d_fullres networks: 31 million weights, not trained.

    mirrored: as nnU-Net's own trainer has it; TotalSegmentator's does not mirror.
    """
    made = _spec(
        f"true_size_{spacing_mm:g}_mm{'_mirrored' if mirrored else ''}",
        "3d_fullres",
        "plain",
        (spacing_mm,) * 3,
        (128, 128, 128),
        -1.0,
        folds=1,
        mirror=(0, 1, 2) if mirrored else (),
        features=(32, 64, 128, 256, 320, 320),
        decoder=2,
    )
    more = {f"other_{number}": number for number in range(len(NAMES), 118)}
    made["dataset"]["labels"] |= more
    return made | {"skips": 0.1}


def _spec(  # noqa: PLR0917 - a network has this many sides
    name: str,
    configuration: str,
    encoder: str,
    spacing: tuple[float, ...],
    patch: tuple[int, ...],
    seconds: float,
    *,
    folds: int = 2,
    reader: str = "SimpleITKIO",
    mirror: tuple[int, ...] | None = None,
    transpose: tuple[int, ...] = (0, 1, 2),
    scheme: str = "CTNormalization",
    thin: bool = False,
    features: tuple[int, ...] = (8, 16, 32, 32),
    decoder: int = 1,
) -> dict[str, Any]:
    axes = len(patch)
    kernel, stride = [3] * axes, [2] * axes
    across = [1, *stride[1:]] if thin else stride
    levels = len(features)
    architecture = {
        "n_stages": levels,
        "features_per_stage": list(features),
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": [[1, 3, 3] if thin else kernel, *[kernel] * (levels - 1)],
        "strides": [[1] * axes, across, *[stride] * (levels - 2)],
        "n_conv_per_stage_decoder": [decoder] * (levels - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    kind = "PlainConvUNet" if encoder == "plain" else "ResidualEncoderUNet"
    blocks = "n_conv_per_stage" if encoder == "plain" else "n_blocks_per_stage"
    architecture[blocks] = [2] * levels if encoder == "plain" else [1] + [2] * (levels - 1)
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "name": name,
        "configuration": configuration,
        "folds": folds,
        "seconds": seconds,
        "mirror": mirror,
        "dataset": {
            "channel_names": {"0": "CT"},
            "labels": {label: number for number, label in enumerate(NAMES)},
            "numTraining": 3,
            "file_ending": ".nii.gz",
        },
        "plans": {
            "dataset_name": "Dataset901_Phantom",
            "plans_name": "nnUNetPlans",
            "image_reader_writer": reader,
            "transpose_forward": list(transpose),
            "transpose_backward": [transpose.index(axis) for axis in range(3)],
            "label_manager": "LabelManager",
            "experiment_planner_used": "ExperimentPlanner",
            "foreground_intensity_properties_per_channel": {
                "0": {
                    "max": 1500.0,
                    "mean": 120.0,
                    "median": 60.0,
                    "min": -500.0,
                    "percentile_00_5": -120.0,
                    "percentile_99_5": 700.0,
                    "std": 180.0,
                }
            },
            "configurations": {
                configuration: {
                    "data_identifier": f"nnUNetPlans_{configuration}",
                    "preprocessor_name": "DefaultPreprocessor",
                    "batch_size": 2,
                    "patch_size": list(patch),
                    "median_image_size_in_voxels": list(patch),
                    "spacing": list(spacing),
                    "normalization_schemes": [scheme],
                    "use_mask_for_norm": [False],
                    "resampling_fn_data": "resample_data_or_seg_to_shape",
                    "resampling_fn_seg": "resample_data_or_seg_to_shape",
                    "resampling_fn_data_kwargs": resampling,
                    "resampling_fn_seg_kwargs": {
                        **resampling,
                        "is_seg": True,
                        "order": 1,
                    },
                    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                    "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
                    "architecture": {
                        "network_class_name": (
                            f"dynamic_network_architectures.architectures.unet.{kind}"
                        ),
                        "arch_kwargs": architecture,
                        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                    },
                    "batch_dice": False,
                }
            },
        },
    }
