"""What members' logits add up to, worked by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from support.tiny_guest import LABELS, TinyNetwork

from inference.errors import DeviceError, DeviceMemoryError, VolumeError
from inference.geometry import Geometry
from inference.models.guests.members import Members
from inference.models.guests.network import GuestLogits
from inference.models.guests.predictor import GuestPredictor
from inference.models.model import Progress
from inference.prediction import Prediction
from inference.volume import Volume

REST, LEFT, RIGHT, VASTI = 0, 1, 2, 3


@dataclass(frozen=True)
class Given:
    """A network with given softmax, for each pixel `[place][network][pixel][class]`.

    Classes beyond those that are given are impossible. It holds `memory` answers.
    """

    softmax: Sequence[Sequence[Sequence[Sequence[float]]]]
    memory: float = np.inf
    description: str = "cpu by hand"
    classes: int = len(LABELS.names)
    asked: list[int] = field(default_factory=list)
    own_mean: int | None = None

    @property
    def networks(self) -> int:
        """As many as are given."""
        return len(self.softmax[0])

    def logits(
        self, volume: Volume, network: int, progress: Progress | None = None
    ) -> GivenLogits:
        """Given for this number, whatever the volume shows."""
        return GivenLogits(self, network)

    def mean(self, each: Iterable[GuestLogits]) -> GuestLogits | None:
        """Of its own, where `own_mean` says which network's answer it is."""
        return None if self.own_mean is None else list(each)[self.own_mean]

    def cleaned(self, labels: np.ndarray, volume: Volume) -> np.ndarray:
        """As it is."""
        return labels


@dataclass(frozen=True)
class GivenLogits:
    """The logarithms of the given softmax, in one row."""

    network: Given
    number: int

    def at(self, place: int) -> torch.Tensor:
        """One slice, or no memory for it."""
        self.network.asked.append(place)
        if len(self.network.asked) > self.network.memory:
            raise torch.OutOfMemoryError
        given = torch.tensor(self.network.softmax[place][self.number]).T
        found = torch.full((self.network.classes, *given.shape[1:]), 1e-30)
        found[: len(given)] = given
        return found.log()[:, None]


def predict(network: Given | TinyNetwork, counts: Sequence[int], hu: float = 100) -> list:
    pixels = len(network.softmax[0][0])
    shape = (len(network.softmax), 1, pixels)
    volume = Volume(np.full(shape, hu, np.int16), Geometry.regular(shape, (5.0, 1.0, 1.0)))
    members = Members(kind="seeds", networks=network.networks)
    found = GuestPredictor(network, LABELS, members).predict(volume, counts=counts, seed=0)
    return list(found)


def test_uncertainty_is_the_variance_of_our_classes():
    """Left and right femur are one structure: it and the rest are .9 and .1, then .5 and .5.

    Each varies by .2 around its mean, so by .04; the third of our classes, VLVI, by 0.
    """
    (found,) = predict(Given([[[[0.1, 0.6, 0.3]], [[0.5, 0.3, 0.2]]]]), [2])

    assert found.uncertainty.item() == pytest.approx((0.04 + 0.04 + 0) / 3)
    assert found.labels.item() == 2  # FEMUR


def test_a_label_is_that_of_the_mean_logits_and_not_of_the_majority():
    """One of three is sure of the rest: .98 x .3 x .3 is more than .01 x .4 x .4."""
    unsure = [[0.3, 0.4, 0.3]]
    (found,) = predict(Given([[[[0.98, 0.01, 0.01]], unsure, unsure]]), [3])

    assert found.labels.item() == 0


def test_sides_are_told_apart_by_the_guest_before_they_are_one_of_ours():
    """.4 for the rest is more than .3 for either femur, although less than both together."""
    (found,) = predict(Given([[[[0.4, 0.3, 0.3]], [[0.4, 0.3, 0.3]]]]), [2])

    assert found.labels.item() == 0


def test_members_are_measured_each_and_by_the_pairs_that_agree():
    """Three members of three pixels: femur by all (3 pairs), by one, and by two (1 pair).

    The rest is then given by none, two (1 pair) and one. Every pixel has 100 HU.
    """
    femur, rest = [0.2, 0.8], [0.8, 0.2]
    softmax = [[[femur, femur, femur], [femur, rest, femur], [femur, rest, rest]]]
    (found,) = predict(Given(softmax), [3])
    profiles = found.profiles

    assert profiles.voxels[:, 0, 2, 0].tolist() == [3, 2, 1]
    assert profiles.hu_sums[:, 0, 2, 0].tolist() == [300.0, 200.0, 100.0]
    assert profiles.agreeing_pairs[0, :3, 0].tolist() == [1, 0, 4]
    assert profiles.mean_voxels[0, :3, 0].tolist() == [1, 0, 2]
    assert profiles.mean_hu_sums[0, 2, 0] == 200.0
    assert profiles.source_pixels == 1.0


def test_bins_are_eight_columns_of_the_volume():
    """Femur on columns 6 to 9 of ten: two in the first bin, two in the second."""
    row = [[0.8, 0.2]] * 6 + [[0.2, 0.8]] * 4
    (found,) = predict(Given([[row, row]]), [2])

    assert found.profiles.bin_edges.tolist() == [-0.5, 7.5, 15.5]
    assert found.profiles.voxels[:, 0, 2].tolist() == [[2, 2]] * 2
    assert found.profiles.agreeing_pairs[0, 2].tolist() == [2, 2]


def alike(one: Prediction, other: Prediction) -> bool:
    mine, theirs = one.profiles, other.profiles
    return all(
        np.array_equal(a, b)
        for a, b in (
            (one.labels, other.labels),
            (one.uncertainty, other.uncertainty),
            (mine.voxels, theirs.voxels),
            (mine.hu_sums, theirs.hu_sums),
            (mine.mean_voxels, theirs.mean_voxels),
            (mine.agreeing_pairs, theirs.agreeing_pairs),
        )
    )


def test_fewer_members_are_the_first_of_them():
    rng = np.random.default_rng(0)
    network = Given(rng.dirichlet(np.ones(6), size=(2, 4, 12)).astype(np.float32).tolist())
    one, two, four = predict(network, [1, 2, 4])

    assert (one.uncertainty, one.profiles) == (None, None)
    assert alike(two, predict(network, [2])[0])
    assert alike(four, predict(network, [4])[0])
    assert not alike(two, four)
    np.testing.assert_array_equal(one.labels, predict(network, [1])[0].labels)


def test_more_members_than_there_are_are_refused():
    with pytest.raises(ValueError, match="2 samples at most, not 3"):
        predict(Given([[[[0.5, 0.5]], [[0.5, 0.5]]]]), [3])


def test_where_a_gpu_s_memory_ends_the_cpu_goes_on_and_says_so():
    """Of eight answers for slices the fifth finds no memory, once."""

    class Once(GivenLogits):
        def at(self, place: int) -> torch.Tensor:
            self.network.asked.append(place)
            if len(self.network.asked) == 5:
                raise torch.OutOfMemoryError
            return torch.zeros(6, 1, 1)

    class Network(Given):
        def logits(
            self, volume: Volume, network: int, progress: Progress | None = None
        ) -> GivenLogits:
            return Once(self, network)

    (found,) = predict(Network([[[[1.0]], [[1.0]]]] * 4), [2])
    assert found.device == "cpu by hand; out of memory, put together on the cpu from slice 3"


def test_no_memory_for_a_single_slice_is_an_error_that_names_it():
    with pytest.raises(DeviceMemoryError, match="slice 1"):
        predict(Given([[[[1.0]], [[1.0]]]] * 4, memory=3), [2])


def test_progress_grows_and_ends_when_all_is_done():
    told: list[tuple[int, int]] = []
    hu = np.zeros((5, 2, 2), np.int16)
    network = TinyNetwork([np.zeros(6, np.float32)] * 2)
    predictor = GuestPredictor(network, LABELS, Members(kind="folds", networks=2))
    predictor.predict(
        Volume(hu, Geometry.regular(hu.shape, (5.0, 1.0, 1.0))),
        counts=[2],
        seed=0,
        progress=lambda *each: told.append(each),
    )

    assert told == sorted(told)
    assert told[0] == (2, 5)  # the first of two members is .8 / 2 of the work
    assert told.index((5, 5)) == len(told) - 1


@pytest.mark.parametrize("counts", [[1], [2]])
def test_an_answer_that_is_no_number_is_an_error_and_not_background(counts: list[int]):
    """Not a number as the softmax of a pixel, by one network or by the mean of two."""
    with pytest.raises(DeviceError, match="values that are no numbers"):
        predict(Given([[[[np.nan, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]]), counts)


def test_labels_are_of_the_originals_own_mean_where_it_has_one():
    """Femur by the mean of the slices, fat by what the original calls the mean of two."""
    femur, fat = [0.0, 0.9, 0.0, 0.0, 0.0, 0.1], [0.0, 0.4, 0.0, 0.0, 0.0, 0.6]
    given = [[[femur], [fat]]]
    (by_slices,) = predict(Given(given), counts=(2,))
    one, two = predict(Given(given, own_mean=1), counts=(1, 2))

    assert by_slices.labels.ravel().tolist() == [2]
    assert (one.labels.ravel().tolist(), two.labels.ravel().tolist()) == ([2], [0])
    assert two.uncertainty == pytest.approx(by_slices.uncertainty)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_scan_with_values_that_are_no_numbers_is_refused_by_its_slice(wrong: float):
    hu = np.zeros((3, 2, 2), np.float32)
    hu[1, 0, 1] = wrong
    scan = Volume(hu, Geometry.regular(hu.shape, (5.0, 1.0, 1.0)))
    network = TinyNetwork([np.zeros(len(LABELS.names), np.float32)])
    predictor = GuestPredictor(network, LABELS, Members(kind="none"))
    with pytest.raises(VolumeError, match="slice 1 of the scan has values that are no numbers"):
        predictor.predict(scan, counts=(1,), seed=0)
