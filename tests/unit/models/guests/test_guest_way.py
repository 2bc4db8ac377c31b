"""Guests go the whole way: members, variations of the image, uneven slices, and verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tiny_guest import HU, LABELS, TINY_GUESTS, TinyNetwork, tiny_guest_bundle
from support.volumes import FAT_HU, body

from inference.errors import BundleError
from inference.models.bundle import KINDS, load_bundle
from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import Members
from inference.models.guests.variation import AS_IT_IS, Variation
from inference.models.model import predict
from inference.pipeline import analyse
from inference.results import Region, SampleKind, Uncertainty, Verdict
from inference.structures import BY_KEY, SEGMENTS
from inference.volume import Volume

SPACING_MM = (20.0, 8.0, 8.0)
THIGHS = body(spacing_mm=SPACING_MM, z_mm=(60.0, 360.0))
WHOLE = body(spacing_mm=SPACING_MM)
FOLDS = Members(kind="folds", networks=2)
WAVERING = (HU, (-1000.0, 500.0, 500.0, 70.0, 70.0, -100.0))
"""The second network takes vasti for 20 HU denser than they are."""


@pytest.fixture(autouse=True)
def guests_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guest's line in `bundle.py` does."""
    monkeypatch.setattr("inference.models.bundle.KINDS", {**KINDS, **TINY_GUESTS})


def fat_on_the_right() -> Volume:
    """The thighs with fat in place of the right side's muscles: the bones stay."""
    keys = {s.number for s in SEGMENTS if s.key.endswith("_R") and s.structure.label > 3}
    muscle = np.isin(THIGHS.segments, list(keys))
    return Volume(np.where(muscle, FAT_HU, THIGHS.volume.hu).astype(np.int16), THIGHS.geometry)


def test_folds_go_all_the_way_and_say_what_they_are(tmp_path: Path):
    """What is above 150 HU is bone, which the tiny guest calls femur."""
    bundle = tiny_guest_bundle(tmp_path / "b", FOLDS, hu=WAVERING)
    case = analyse(THIGHS.volume, bundle, seed=5)
    femur, vasti = case.of(BY_KEY["FEMUR_L"]), case.of(BY_KEY["VLVI_L"])

    assert case.coverage.region is Region.PARTIAL
    assert (case.model.samples, case.model.samples_of) == (2, SampleKind.FOLDS)
    assert case.model.uncertainty is Uncertainty.VARIANCE
    assert (case.segments > 0).sum() == (THIGHS.volume.hu > 0).sum()
    assert femur.measured.mean_hu == pytest.approx(500.0)
    assert vasti.measured.uncertainty > femur.measured.uncertainty >= 0
    assert vasti.measured.mean_hu_spread is not None
    assert case.of(BY_KEY["GMAX_L"]).verdict is Verdict.NOT_PROVIDED


@pytest.mark.parametrize("networks", [1, 2])
def test_one_answer_is_never_accepted(tmp_path: Path, networks: int):
    """Also that of several networks together: their mean alone is asked for."""
    members = Members(kind="none", networks=networks)
    bundle = tiny_guest_bundle(tmp_path / "b", members, hu=WAVERING[:networks])
    case = analyse(WHOLE.volume, bundle, seed=5, samples=7)
    femur = case.of(BY_KEY["FEMUR_L"])

    assert (case.model.uncertainty, case.model.samples) == (Uncertainty.NONE, 1)
    assert case.model.samples_of is SampleKind.NONE
    assert case.uncertainty is None
    assert (femur.measured.uncertainty, femur.measured.volume_spread_cm3) == (None, None)
    assert femur.verdict is Verdict.NOT_JUDGED
    assert Verdict.ACCEPTED not in {case.verdict, *(one.verdict for one in case.structures)}


def test_the_first_of_several_members_alone_is_not_judged_either(tmp_path: Path):
    bundle = tiny_guest_bundle(tmp_path / "b", FOLDS, hu=WAVERING)
    case = analyse(WHOLE.volume, bundle, seed=5, samples=1)

    assert (case.model.samples, case.model.uncertainty) == (1, Uncertainty.NONE)
    assert case.of(BY_KEY["FEMUR_L"]).verdict is Verdict.NOT_JUDGED


def test_a_mirrored_member_finds_an_uneven_body_on_its_own_sides(tmp_path: Path):
    """Muscles on the left alone: both members agree on them, on the left, to the voxel."""
    variations = (AS_IT_IS, Variation(mirrored=True, shift_voxels=(2, 3, 5)))
    members = Members(kind="variations", variations=variations)
    bundle = tiny_guest_bundle(tmp_path / "b", members)
    volume = fat_on_the_right()
    case = analyse(volume, bundle, seed=5)
    (found,) = bundle.model.load("cpu").predict(volume, counts=[2], seed=5)
    left = np.isin(case.segments, [BY_KEY["VLVI_L"].number])

    assert case.model.samples_of is SampleKind.VARIATIONS
    np.testing.assert_array_equal(left, (volume.hu == 50) & (THIGHS.segments > 0))
    assert case.of(BY_KEY["VLVI_R"]).verdict is Verdict.ABSENT
    assert case.uncertainty.max() < 1e-9
    np.testing.assert_array_equal(found.profiles.voxels[0], found.profiles.voxels[1])
    np.testing.assert_array_equal(found.profiles.agreeing_pairs, found.profiles.voxels[0])


def test_a_mirrored_member_whose_sides_were_not_exchanged_would_waver(tmp_path: Path):
    """What the test before this one would see: fat is nearer than either side's muscle, 25."""
    table = {name: meaning[:-2] for name, meaning in LABELS.stands_for.items()}
    names = ("background", "femur a", "femur b", "vasti a", "vasti b", "fat")
    unnamed = GuestLabels(
        names=names, stands_for=dict(zip(names[1:5], table.values(), strict=True))
    )
    variations = (AS_IT_IS, Variation(mirrored=True))
    bundle = tiny_guest_bundle(
        tmp_path / "b", Members(kind="variations", variations=variations), labels=unnamed
    )
    (found,) = bundle.model.load("cpu").predict(THIGHS.volume, counts=[2], seed=5)

    assert not (found.labels == 21).any()
    assert (found.labels == 2).any()


def test_the_members_of_the_table_decide_what_is_refused(tmp_path: Path):
    """Folds of one network; a mirrored image of sides without a partner; too few weights."""
    with pytest.raises(
        BundleError, match=r"bundle\.toml: members: .* other side of femur_left"
    ):
        tiny_guest_bundle(
            tmp_path / "b",
            Members(kind="variations", variations=(AS_IT_IS, Variation(mirrored=True))),
            labels=replace(LABELS, mirrored=LABELS.mirrored[1:]),
        )
    bundle = tiny_guest_bundle(tmp_path / "b", FOLDS, hu=(HU,))
    with pytest.raises(BundleError, match=r"safetensors: 1 networks, declared are 2"):
        predict(THIGHS.volume, bundle.model, samples=1, seed=0, device="cpu")
    path = tmp_path / "b" / "bundle.toml"
    path.write_text(path.read_text().replace("networks = 2", "networks = 1"))
    with pytest.raises(BundleError, match="members: folds need two sets of weights"):
        load_bundle(tmp_path / "b")
    path.write_text(path.read_text().replace("FEMUR_L", "FEMUR_LEFT"))
    with pytest.raises(BundleError, match=r"bundle\.toml: labels: .* 'FEMUR_LEFT'"):
        load_bundle(tmp_path / "b")


def test_the_original_s_cleaning_comes_before_our_labels(tmp_path: Path):
    """Vasti of the left and of the right are cleaned apart, as the guest knows them."""
    volume = fat_on_the_right()
    kept = tiny_guest_bundle(tmp_path / "a", FOLDS, hu=(HU, HU))
    right = (volume.hu == 500) & (THIGHS.segments % 2 == 0)  # even numbers are right
    smallest = int(((volume.hu == 500) & ~right).sum()) + 1
    cleaned = tiny_guest_bundle(tmp_path / "b", FOLDS, hu=(HU, HU), smallest=smallest)
    before = predict(volume, kept.model, samples=2, seed=0, device="cpu")
    after = predict(volume, cleaned.model, samples=2, seed=0, device="cpu")

    assert (before.labels == 2).any()
    assert not (after.labels == 2).any()
    np.testing.assert_array_equal(after.labels == 21, before.labels == 21)


def test_uneven_slices_are_made_even_for_the_network_and_only_for_it(tmp_path: Path):
    """Slices 20 mm apart up to 200 mm, then 10: the network sees 10 mm, the results do not."""
    offsets = np.concatenate([np.arange(60.0, 200.0, 20.0), np.arange(200.0, 360.0, 10.0)])
    uneven = body(spacing_mm=SPACING_MM, offsets_mm=offsets)
    bundle = tiny_guest_bundle(tmp_path / "b", FOLDS, hu=(HU, HU))
    case = analyse(uneven.volume, bundle, seed=5)
    predictor = bundle.model.load("cpu")
    assert isinstance(predictor.network, TinyNetwork)
    (found,) = predictor.predict(uneven.volume, counts=[2], seed=5)

    np.testing.assert_allclose(
        np.diff(predictor.network.seen[0].geometry.slice_offsets_mm), 10.0
    )
    assert found.labels.shape == uneven.volume.hu.shape
    assert found.profiles.voxels.shape[1] == len(offsets)
    own_hu = found.profiles.hu_sums[0].sum(axis=(1, 2))
    np.testing.assert_allclose(own_hu, uneven.volume.hu.sum(axis=(1, 2)))
    assert case.model.device == "cpu by hand; slices made even at 10 mm"
    assert (found.labels > 0).sum() == pytest.approx((uneven.volume.hu > 0).sum(), rel=0.02)


def test_the_seed_draws_nothing(tmp_path: Path):
    bundle = tiny_guest_bundle(tmp_path / "b", FOLDS, hu=WAVERING)
    one, other = (
        predict(THIGHS.volume, bundle.model, samples=2, seed=seed, device="cpu")
        for seed in (1, 2)
    )

    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.uncertainty, other.uncertainty)
