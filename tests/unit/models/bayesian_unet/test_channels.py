"""Networks whose output channels are not the study's 23: what becomes of their samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.volumes import BONE_HU, MUSCLE_HU, body
from torch import Tensor

from inference.geometry import Geometry
from inference.models.bayesian_unet.channels import LABELS, Channels, Structures
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.sampler import Sampler
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.models.bundle import Bundle, load_bundle
from inference.models.model import predict
from inference.pipeline import analyse
from inference.results import Uncertainty, Verdict
from inference.structures import BY_KEY, SEGMENTS
from inference.volume import Volume

SPACING_MM = (20.0, 8.0, 8.0)
BODY = body(spacing_mm=SPACING_MM)
FEMUR, RIGHT_AND_LEFT = 2, [BY_KEY["FEMUR_R"].number, BY_KEY["FEMUR_L"].number]
TWO_FOR_THE_FEMUR = ("background", "FEMUR", "FEMUR")


def bundle_for(
    folder: Path, *labels: str, uncertainty: Uncertainty = Uncertainty.VARIANCE
) -> Bundle:
    """Untrained, on the image's own pixels, written and read back."""
    torch.manual_seed(4)
    architecture = Architecture(
        layers=2, filters=2, batch_normalisation=False, classes=len(labels)
    )
    write_unet_bundle(
        folder / "b",
        name="b",
        version="1",
        network=BayesianUNet(architecture),
        window=Window(high_value=1),
        grid=PixelGrid(None, body_only=False),
        samples=2,
        training={},
        model_card="",
        channels=Channels(labels),
        precision=Precision("float32", "float32"),
        uncertainty=uncertainty,
    )
    return load_bundle(folder / "b")


def sampled(
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[float, ...],
    second: dict[bool, tuple[float, ...]],
) -> None:
    """In bone, these are the shares of the channels in place of the network's.

    second: of the second sample, in slices whose place in the volume is odd, and in others.
    """

    def softmaxes(_: Sampler, images: Tensor, slices: range, *ignored: Any) -> Iterator[Tensor]:
        bone = images > 0.99  # (slice, 1, row, column); the window ends below bone
        nothing = torch.eye(len(first))[0]
        for of_odd, of_even in ((first, first), (second[True], second[False])):
            shares = torch.tensor([of_odd if place % 2 else of_even for place in slices])
            yield torch.where(bone, shares[:, :, None, None], nothing[None, :, None, None])

    monkeypatch.setattr(Sampler, "softmaxes", softmaxes)


def with_bone(numbers: list[int]) -> Volume:
    """The body with the bone of these segments alone, muscle in place of the others'."""
    other = (BODY.volume.hu == BONE_HU) & ~np.isin(BODY.segments, numbers)
    hu = np.where(other, MUSCLE_HU, BODY.volume.hu).astype(np.int16)
    return Volume(hu, BODY.geometry)


FEMORA = with_bone(RIGHT_AND_LEFT)

SHARES = (0.1, 0.8, 0.1), {True: (0.7, 0.2, 0.1), False: (0.1, 0.1, 0.8)}
"""The second sample finds no femur in odd slices, and in others by its other channel."""


def bone_of(place: int) -> tuple[int, int]:
    """Voxels of bone on a side, and of those in even slices."""
    bone = BODY.segments == RIGHT_AND_LEFT[place]
    return int(bone.sum()), int(bone[::2].sum())


def test_channels_of_one_structure_are_added_up_as_worked_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd slices: femur .9 and .3, variance .09, as of the rest; even: .9 and .9, none.

    Not the mean over channels, which would be .06 and (.1225 + .1225) / 3.
    """
    sampled(monkeypatch, *SHARES)
    bone = FEMORA.hu == BONE_HU

    bundle = bundle_for(tmp_path, *TWO_FOR_THE_FEMUR)
    found = predict(FEMORA, bundle.model, samples=2, seed=1, device="cpu")

    assert found.profiles is not None
    assert found.uncertainty is not None
    assert np.array_equal(found.labels == FEMUR, bone)
    assert set(np.unique(found.labels)) == {0, FEMUR}
    np.testing.assert_allclose(found.uncertainty[1::2][bone[1::2]], 0.09, atol=1e-6)
    assert found.uncertainty[::2].max() < 1e-6
    voxels = found.profiles.voxels[:, :, FEMUR].sum(axis=2)  # (sample, slice)
    in_slices = bone.sum(axis=(1, 2))
    assert voxels[0].tolist() == in_slices.tolist()
    assert voxels[1].tolist() == [n * (1 - place % 2) for place, n in enumerate(in_slices)]
    pairs = found.profiles.agreeing_pairs.sum(axis=2)  # (slice, label)
    assert pairs[:, FEMUR].tolist() == voxels[1].tolist()
    assert found.profiles.voxels.shape[2] == pairs.shape[1] == 23
    assert found.profiles.hu_sums[0, :, FEMUR].sum() == BONE_HU * bone.sum()


def test_a_femur_alone_goes_all_the_way_and_the_others_are_not_provided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side of n voxels, e of them in even slices: the samples find n and e, e in common."""
    sampled(monkeypatch, *SHARES)

    case = analyse(FEMORA, bundle_for(tmp_path, *TWO_FOR_THE_FEMUR), seed=1)

    for place, key in enumerate(("FEMUR_R", "FEMUR_L")):
        n, e = bone_of(place)
        measured = case.of(BY_KEY[key]).measured
        assert 0 < e < n
        assert measured.voxel_count == n
        assert measured.mean_hu == pytest.approx(BONE_HU)
        assert measured.pairwise_dice == pytest.approx(2 * e / (n + e))
        assert measured.volume_cv == pytest.approx((n - e) / 2**0.5 / ((n + e) / 2))
        assert measured.uncertainty == pytest.approx(0.09 * (n - e) / n, rel=1e-4)
        volume, spread = measured.volume_cm3, measured.volume_spread_cm3
        assert volume == pytest.approx(n * np.prod(SPACING_MM) / 1000)
        assert spread is not None
        assert (spread.low, spread.high) == pytest.approx((volume * e / n, volume))
    others = [s for s in SEGMENTS if s.structure.abbreviation != "FEMUR"]
    assert {case.of(one).verdict for one in others} == {Verdict.NOT_PROVIDED}
    assert set(np.unique(case.segments)) == {0, *RIGHT_AND_LEFT}


def test_a_channel_of_one_side_leaves_the_other_not_provided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled(monkeypatch, (0.1, 0.9), {True: (0.1, 0.9), False: (0.1, 0.9)})

    bundle = bundle_for(tmp_path, "", "FEMUR_L")
    case = analyse(with_bone(RIGHT_AND_LEFT[1:]), bundle, seed=1)

    assert bundle.model.segments == {BY_KEY["FEMUR_L"]}
    assert case.of(BY_KEY["FEMUR_R"]).verdict is Verdict.NOT_PROVIDED
    assert case.of(BY_KEY["FEMUR_L"]).measured.voxel_count == bone_of(1)[0]
    assert set(np.unique(case.segments)) == {0, BY_KEY["FEMUR_L"].number}


NAMES = ("FEMUR_R", "background", "GMED", "", "FEMUR_L")
PARTS = {0: [1, 3], 2: [0, 4], 5: [2]}
"""Our labels, and the channels of each; background need not come first."""


def noisy_volume() -> Volume:
    hu = np.random.default_rng(0).normal(0, 150, (2, 24, 32)).astype(np.int16)
    return Volume(hu, Geometry.regular(hu.shape, (5.0, 1.0, 1.0)))


def naive(bundle: Bundle, samples: int) -> np.ndarray:
    """Softmax of every sample `[sample, slice, channel, row, column]`."""
    sampler = Sampler.of(
        bundle.model.network(), torch.device("cpu"), Precision("float32", "float32")
    )
    images = bundle.model.window.apply(torch.from_numpy(noisy_volume().hu.copy()).float())
    with torch.inference_mode():
        drawn = sampler.softmaxes(images[:, None], range(2), samples, 7, samples)
        return torch.stack(list(drawn)).double().numpy()


def added_up(softmax: np.ndarray) -> np.ndarray:
    return np.stack([softmax[:, :, part].sum(axis=2) for part in PARTS.values()], axis=2)


def labelled(softmax: np.ndarray) -> np.ndarray:
    label_of = {channel: label for label, part in PARTS.items() for channel in part}
    return np.vectorize(label_of.get)(softmax.argmax(axis=-3))


def test_a_prediction_is_the_naive_computation_over_channels_and_structures(
    tmp_path: Path,
) -> None:
    """Labels of the channels' largest mean; variance of the structures' sums."""
    bundle = bundle_for(tmp_path, *NAMES)
    kept = naive(bundle, 4)

    found = predict(noisy_volume(), bundle.model, samples=4, seed=7, device="cpu")

    assert found.profiles is not None
    assert np.array_equal(found.labels, labelled(kept.mean(axis=0)))
    expected = added_up(kept).var(axis=0).mean(axis=1)
    np.testing.assert_allclose(found.uncertainty, expected, atol=1e-7)
    drawn = labelled(kept)  # (sample, slice, row, column)
    assert len(np.unique(drawn)) == len(PARTS)
    for label in PARTS:
        votes = (drawn == label).sum(axis=0)
        agreeing = found.profiles.agreeing_pairs[:, label].sum()
        assert agreeing == (votes * (votes - 1) // 2).sum()
        voxels = found.profiles.voxels[:, :, label].sum(axis=2)
        assert np.array_equal(voxels, (drawn == label).sum(axis=(2, 3)))


def test_the_entropy_is_that_of_the_structures_sums(tmp_path: Path) -> None:
    bundle = bundle_for(tmp_path, *NAMES, uncertainty=Uncertainty.ENTROPY)
    found = predict(noisy_volume(), bundle.model, samples=1, seed=7, device="cpu")
    sampler = Sampler.of(
        bundle.model.network(), torch.device("cpu"), Precision("float32", "float32")
    )
    images = bundle.model.window.apply(torch.from_numpy(noisy_volume().hu.copy()).float())
    with torch.inference_mode():
        softmax = sampler.softmax_without_dropout(images[:, None])[None].double().numpy()

    sums = added_up(softmax)[0]

    np.testing.assert_allclose(found.uncertainty, -(sums * np.log(sums)).sum(axis=1), atol=1e-5)


def test_the_studys_23_need_no_way_to_our_labels() -> None:
    """Nothing more is then computed than before there were others."""
    exchanged = (*LABELS[:5], LABELS[6], LABELS[5], *LABELS[7:])

    assert Structures.of(Channels(LABELS)) is None
    assert Channels(LABELS).segments == frozenset(SEGMENTS)
    assert Structures.of(Channels(exchanged)) is not None
