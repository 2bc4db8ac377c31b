"""Monte Carlo samples: what they add up to, and what they depend on."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.errors import DeviceError, DeviceMemoryError
from inference.geometry import Geometry
from inference.models.bayesian_unet.batches import Batch, in_batches
from inference.models.bayesian_unet.dropout import SeededDropout
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.prediction import (
    _Slices,
    _Task,
    entropy,
)
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window, frame_of
from inference.models.bayesian_unet.sampler import Sampler
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.models.bundle import Bundle
from inference.models.devices import find_device
from inference.models.model import predict
from inference.models.moments import Moments
from inference.prediction import Prediction
from inference.results import Uncertainty
from inference.volume import Volume

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", "float32")
TINY = Architecture(layers=3, filters=4, batch_normalisation=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def small_volume() -> Volume:
    """Three slices of a noisy ellipse in air, 40 x 60 pixels of 1 mm."""
    row, column = np.mgrid[:40, :60]
    body = ((row - 20) / 15) ** 2 + ((column - 30) / 25) ** 2 <= 1
    noise = np.random.default_rng(0).normal(0, 60, (3, 40, 60))
    hu = np.where(body, 40 + noise, -1000).astype(np.int16)
    return Volume(hu, Geometry.regular(hu.shape, (5.0, 1.0, 1.0)))


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    def write(
        architecture: Architecture = TINY,
        grid: PixelGrid = PixelGrid(1.5),  # noqa: B008 - frozen
        precision: Precision = FLOAT32,
    ) -> Bundle:
        torch.manual_seed(4)
        return write_unet_bundle(
            tmp_path_factory.mktemp("bundle") / "b",
            name="b",
            version="1",
            network=BayesianUNet(architecture),
            window=Window(high_value=1),
            grid=grid,
            samples=3,
            training={},
            model_card="",
            precision=precision,
        )

    return write


def ask(bundle: Bundle, *, seed: int = 7, samples: int = 3) -> Prediction:
    return predict(small_volume(), bundle.model, samples=samples, seed=seed, device="cpu")


def sampler_of(architecture: Architecture = TINY) -> Sampler:
    torch.manual_seed(4)
    return Sampler.of(BayesianUNet(architecture).eval(), CPU, FLOAT32)


def softmaxes(sampler: Sampler, slices: range, at_once: int, samples: int = 5) -> torch.Tensor:
    torch.manual_seed(9)
    images = torch.randn(8, 1, 16, 24)[slices.start : slices.stop]
    with torch.inference_mode():
        drawn = sampler.softmaxes(images, slices, samples, seed=3, at_once=at_once)
        return torch.stack(list(drawn))


def test_streamed_moments_are_those_of_all_samples_kept() -> None:
    """Against the naive T x 23 array: mean over T, then mean over classes of the variance."""
    samples = torch.randn(10, 2, 23, 5, 6).softmax(dim=2)
    moments = Moments.starting_with(samples[0])
    for sample in samples[1:]:
        moments.add(sample)
    kept = samples.double().numpy()

    assert np.allclose(moments.mean(10), kept.mean(axis=0), atol=1e-7)
    assert np.allclose(moments.uncertainty(10), kept.var(axis=0).mean(axis=1), atol=1e-8)


def test_uncertainty_of_two_samples_worked_by_hand() -> None:
    """Class 0: .9 and .7, variance .01; class 1: .1 and .3, variance .01; mean .01."""
    moments = Moments.starting_with(torch.tensor([0.9, 0.1]).view(1, 2, 1, 1))
    moments.add(torch.tensor([0.7, 0.3]).view(1, 2, 1, 1))

    assert moments.uncertainty(2).item() == pytest.approx(0.01)
    assert moments.mean(2).flatten().tolist() == pytest.approx([0.8, 0.2])


def test_a_prediction_is_the_naive_computation_over_all_samples(
    bundle_of: Callable[..., Bundle],
) -> None:
    """On the source's own pixels: argmax of the mean and mean variance of T x 23 maps."""
    bundle = bundle_of(grid=PixelGrid(None))
    volume = small_volume()
    prediction = ask(bundle)
    frame = frame_of(volume, bundle.model.grid, bundle.model.architecture)
    images = bundle.model.window.apply(frame.to_network(torch.from_numpy(volume.hu.copy())))
    with torch.inference_mode():
        drawn = sampler_of(TINY).softmaxes(images, range(3), 3, seed=7, at_once=3)
        kept = torch.stack(list(drawn)).double()  # (sample, slice, class, row, column)
    labels = frame.to_source(kept.mean(dim=0)).argmax(dim=1)
    uncertainty = frame.to_source(kept.var(dim=0, correction=0).mean(dim=1)[:, None])[:, 0]
    box = (slice(None), *frame.source_box)

    assert np.array_equal(prediction.labels[box], labels.numpy())
    assert np.allclose(prediction.uncertainty[box], uncertainty.numpy(), atol=1e-7)


def test_growing_numbers_of_samples_are_prefixes_of_one_pass(
    bundle_of: Callable[..., Bundle],
) -> None:
    """1, 2 and 5 samples together, against three predictions; only batches differ."""
    bundle = bundle_of()
    found = bundle.model.load("cpu").predict(small_volume(), counts=(1, 2, 5), seed=7)

    for count, together in zip((1, 2, 5), found, strict=True):
        alone = ask(bundle, samples=count)
        assert (together.labels == alone.labels).mean() > 0.999
        if count == 1:
            assert (together.uncertainty, together.profiles) == (None, None)
            continue
        assert np.allclose(together.uncertainty, alone.uncertainty, atol=1e-6)
        assert together.profiles.voxels.shape == alone.profiles.voxels.shape
        moved = np.abs(together.profiles.mean_voxels - alone.profiles.mean_voxels).sum()
        assert moved < 0.001 * alone.profiles.mean_voxels.sum()


@pytest.mark.parametrize("counts", [(), (0, 1), (2, 2), (5, 1)])
def test_numbers_of_samples_that_do_not_grow_are_refused(
    counts: tuple[int, ...], bundle_of: Callable[..., Bundle]
) -> None:
    with pytest.raises(ValueError, match="must grow"):
        bundle_of().model.load("cpu").predict(small_volume(), counts=counts, seed=7)


def test_the_same_seed_gives_the_same_answer_to_the_last_bit(
    bundle_of: Callable[..., Bundle],
) -> None:
    first, second = (ask(bundle_of()) for _ in range(2))

    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.uncertainty, second.uncertainty)
    assert np.array_equal(first.profiles.voxels, second.profiles.voxels)


def test_another_seed_gives_another_answer(bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of()
    assert not np.array_equal(ask(bundle).uncertainty, ask(bundle, seed=8).uncertainty)


def test_a_seed_may_have_128_bits(bundle_of: Callable[..., Bundle]) -> None:
    assert ask(bundle_of(), seed=2**127 + 1).labels.shape == (3, 40, 60)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_how_samples_are_batched_does_not_matter(at_once: int) -> None:
    sampler = sampler_of()
    expected = softmaxes(sampler, range(4), at_once=3)
    assert torch.allclose(softmaxes(sampler, range(4), at_once=at_once), expected, atol=1e-6)


def test_how_slices_are_batched_does_not_matter() -> None:
    sampler = sampler_of()
    together = softmaxes(sampler, range(1, 4), at_once=2)
    alone = [softmaxes(sampler, range(place, place + 1), at_once=2) for place in range(1, 4)]
    assert torch.allclose(together, torch.cat(alone, dim=1), atol=1e-6)


def test_every_slice_and_every_sample_drops_other_features() -> None:
    states = [(3, 0, 0), (3, 0, 1), (3, 1, 0), (4, 0, 0)]
    masks = SeededDropout(states, 0.5, CPU)(torch.ones(4, 8, 8, 8)) > 0

    agreement = [
        (masks[a] == masks[b]).float().mean().item() for a in range(4) for b in range(a)
    ]
    assert agreement == pytest.approx([0.5] * 6, abs=0.1)


@pytest.mark.parametrize("probability", [0.5, 0.2])
def test_seeded_dropout_keeps_the_mean(probability: float) -> None:
    dropped = SeededDropout([(1, 2, 3)], probability, CPU)(torch.ones(1, 10, 100, 100))

    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - probability)])
    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=0.01)


def test_successive_layers_drop_other_features() -> None:
    drop = SeededDropout([(1, 2, 3)], 0.5, CPU)
    x = torch.ones(1, 8, 16, 16)
    assert not torch.equal(drop(x), drop(x))


def test_without_dropout_there_is_no_uncertainty(bundle_of: Callable[..., Bundle]) -> None:
    prediction = ask(bundle_of(replace(TINY, dropout=0.0)))
    assert prediction.uncertainty.max() < 1e-9  # rounding differs between batches of samples


def test_a_single_sample_has_no_uncertainty_and_no_range(
    bundle_of: Callable[..., Bundle],
) -> None:
    alone = ask(bundle_of(), samples=1)
    assert (alone.uncertainty, alone.profiles) == (None, None)


def test_answers_lie_on_the_source_s_grid(bundle_of: Callable[..., Bundle]) -> None:
    prediction = ask(bundle_of())

    assert prediction.labels.shape == prediction.uncertainty.shape == (3, 40, 60)
    assert (prediction.labels.dtype, prediction.uncertainty.dtype) == (np.uint8, np.float32)
    assert prediction.labels.max() <= 22
    assert prediction.uncertainty.max() > 0


def test_profiles_count_every_network_pixel_of_every_sample(
    bundle_of: Callable[..., Bundle],
) -> None:
    bundle, volume = bundle_of(), small_volume()
    frame = frame_of(volume, bundle.model.grid, bundle.model.architecture)
    profiles = ask(bundle).profiles
    hu = frame.to_network(torch.from_numpy(volume.hu.copy())).sum(dim=(1, 2, 3)).numpy()

    assert profiles.voxels.shape == (3, 3, 23, len(profiles.bin_edges) - 1)
    assert (profiles.voxels.sum(axis=(2, 3)) == frame.size[0] * frame.size[1]).all()
    assert np.allclose(profiles.hu_sums.sum(axis=(2, 3)), hu[None], rtol=1e-4)
    assert (profiles.mean_voxels.sum(axis=(1, 2)) == frame.size[0] * frame.size[1]).all()
    assert np.allclose(profiles.mean_hu_sums.sum(axis=(1, 2)), hu, rtol=1e-4)
    assert profiles.source_pixels == 2.25
    assert np.allclose(np.diff(profiles.bin_edges), 8 * 1.5)


def test_profiles_agree_with_the_labels_where_all_samples_agree(
    bundle_of: Callable[..., Bundle],
) -> None:
    """Without dropout and on whole slices, every sample measures what is reported."""
    grid = PixelGrid(None, body_only=False)
    prediction = ask(bundle_of(replace(TINY, dropout=0.0), grid))
    profiles = prediction.profiles

    assert profiles.bin_edges == pytest.approx(
        [-0.5, 7.5, 15.5, 23.5, 31.5, 39.5, 47.5, 55.5, 63.5]
    )
    for label, number in np.ndindex(23, 7):
        columns = prediction.labels[:, :, number * 8 : number * 8 + 8]
        expected = (columns == label).sum(axis=(1, 2))
        assert (profiles.voxels[:, :, label, number] == expected).all()
        assert (profiles.mean_voxels[:, label, number] == expected).all()


def test_progress_is_told_after_every_slice(bundle_of: Callable[..., Bundle]) -> None:
    told: list[tuple[int, int]] = []
    predict(
        small_volume(),
        bundle_of().model,
        samples=1,
        seed=0,
        device="cpu",
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_slices_that_are_done_are_not_kept() -> None:
    """Of 600 slices they were half a gigabyte. The third is the only one left of three."""
    volume, sampler = small_volume(), sampler_of()
    frame = frame_of(volume, PixelGrid(1.5), TINY)
    kind = Uncertainty.VARIANCE
    task = _Task(volume, Window(), frame, sampler, sampler_of, (1,), 7, kind)
    alive = [sum(type(one) is _Slices for one in gc.get_objects()) for _ in task._parts([])]

    assert len(alive) == 3
    assert alive[-1] == 1


def test_the_number_of_torch_s_threads_is_put_back(bundle_of: Callable[..., Bundle]) -> None:
    before = torch.get_num_threads()
    ask(bundle_of())
    assert torch.get_num_threads() == before


def test_bfloat16_changes_little(bundle_of: Callable[..., Bundle]) -> None:
    exact, fast = ask(bundle_of()), ask(bundle_of(precision=Precision()))
    if fast.device.startswith("cpu float32"):
        pytest.skip("this CPU computes in float32 only")

    assert fast.device.startswith("cpu bfloat16 (over 1.2 times as fast as float32, ")
    assert (exact.labels == fast.labels).mean() > 0.97
    assert np.abs(exact.uncertainty - fast.uncertainty).mean() < 0.1 * exact.uncertainty.mean()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(DeviceError, match="cuda: not there; CUDA devices found: 0"):
        find_device("cuda")
    assert find_device("auto") == CPU


@pytest.mark.parametrize("name", ["abacus", "meta"])
def test_other_kinds_of_device_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=name):
        find_device(name)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(10, Batch(6, 10)), (64, Batch(1, 64)), (128, Batch(1, 64)), (1, Batch(64, 1))],
)
def test_a_first_batch_never_has_more_pixels_than_allowed(
    samples: int, expected: Batch
) -> None:
    assert Batch.within(2**24, 512 * 512, samples) == expected


def test_a_batch_halves_its_slices_before_its_samples() -> None:
    seen = []
    batch: Batch | None = Batch(4, 3)
    while batch is not None:
        seen.append((batch.slices, batch.samples))
        batch = batch.smaller()
    assert seen == [(4, 3), (2, 3), (1, 3), (1, 1)]


def test_where_memory_runs_out_batches_become_smaller_and_no_slice_is_lost() -> None:
    """Memory for two slices: 4 fail, then 0-1, 2-3, 4."""
    asked: list[tuple[int, int]] = []

    def analyse(places: range, samples: int) -> range:
        asked.append((places.start, places.stop))
        if len(places) > 2:
            raise torch.OutOfMemoryError
        return places

    done = list(in_batches(5, Batch(4, 10), analyse))

    assert done == [range(2), range(2, 4), range(4, 5)]
    assert asked == [(0, 4), (0, 2), (2, 4), (4, 5)]


def test_no_memory_for_one_sample_of_one_slice_is_an_error_of_the_device() -> None:
    def analyse(places: range, samples: int) -> range:
        raise torch.OutOfMemoryError

    with pytest.raises(DeviceError, match="one sample of slice 0"):
        list(in_batches(5, Batch(2, 2), analyse))


def test_where_a_gpu_has_no_memory_the_cpu_goes_on_and_the_prediction_says_so(
    bundle_of: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that fails from the second slice on; the answer is the CPU's all the same."""
    expected = ask(bundle_of())

    def fails(task: _Task) -> Iterator[_Slices]:
        yield task.analyse(range(1), 3)
        raise DeviceMemoryError(1)

    monkeypatch.setattr(_Task, "_on_gpu", fails)
    monkeypatch.setattr(Sampler, "is_on_cpu", property(lambda _: False))
    found = ask(bundle_of())

    assert found.device == "cpu float32; out of memory, cpu float32 from slice 2"
    assert np.array_equal(found.labels, expected.labels)
    assert np.allclose(found.uncertainty, expected.uncertainty, atol=1e-7)


def test_entropy_of_sure_and_of_undecided_voxels() -> None:
    softmax = torch.tensor([[1.0, 0.5], [0.0, 0.5]]).view(1, 2, 1, 2)
    assert entropy(softmax).flatten().tolist() == pytest.approx([0, np.log(2)])


def test_the_entropy_is_that_of_one_pass_without_dropout(
    bundle_of: Callable[..., Bundle],
) -> None:
    """Against the network with a dropout of 0, whose every sample is such a pass."""
    model = replace(bundle_of().model, uncertainty=Uncertainty.ENTROPY)
    found = predict(small_volume(), model, samples=1, seed=7, device="cpu")

    assert np.array_equal(found.labels, ask(bundle_of(replace(TINY, dropout=0.0))).labels)
    assert 0 < found.uncertainty.max() <= np.log(23)


def test_several_samples_have_no_entropy(bundle_of: Callable[..., Bundle]) -> None:
    model = replace(bundle_of().model, uncertainty=Uncertainty.ENTROPY)
    with pytest.raises(ValueError, match="not of 3 samples"):
        predict(small_volume(), model, samples=3, seed=7, device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_s_answer_hardly_depends_on_its_batches(
    bundle_of: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All slices at once, then each by itself: other kernels, the same masks."""
    answers = []
    for pixels in (2**24, 1):
        monkeypatch.setattr("inference.models.bayesian_unet.prediction.CUDA_PIXELS", pixels)
        bundle = bundle_of()
        answers.append(predict(small_volume(), bundle.model, samples=3, seed=7, device="cuda"))

    assert (answers[0].labels == answers[1].labels).mean() > 0.999
    assert np.allclose(answers[0].uncertainty, answers[1].uncertainty, atol=1e-4)
