"""MuscleMap's way, step by step: compared with MONAI's answers, or worked by hand.

`reference.npz` was written by `tests/trials/musclemap_reference.py` with MONAI 1.6.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.musclemap_files import small_network
from support.musclemap_image import CASES, RECORDED, SPACING_MM, small_ct
from torch import Tensor

from inference.geometry import Geometry
from inference.models.musclemap.axis import Axis, between
from inference.models.musclemap.chunk import Rescaling, Slices, Span
from inference.models.musclemap.networks import MuscleMapNetworks, largest_pieces
from inference.models.musclemap.settings import (
    Numbers,
    Postprocessing,
    Preprocessing,
    Way,
    Windows,
)
from inference.models.musclemap.sliding import over_windows, window_weights
from inference.models.musclemap.unet import MuscleMapUNet, UNet
from inference.volume import Volume

CPU = torch.device("cpu")
WINDOWS = Windows(size=(32, 32), overlap=0.6)


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """What MONAI made."""
    with np.load(Path(__file__).with_name("reference.npz")) as kept:
        return dict(kept)


def recorded_network(reference: dict[str, Any]) -> UNet:
    """With MONAI's weights."""
    network = small_network()
    weights = {
        name.removeprefix("weights/"): torch.from_numpy(value)
        for name, value in reference.items()
        if name.startswith("weights/")
    }
    network.load_state_dict(weights, strict=True)
    return network


def volume(hu: Any, spacing_mm: tuple[float, float, float] = SPACING_MM) -> Volume:
    """On a regular grid."""
    return Volume(hu, Geometry.regular(hu.shape, spacing_mm))


def networks(
    network: UNet, preprocessing: Preprocessing, windows: Windows = WINDOWS, **rest: Any
) -> MuscleMapNetworks:
    """One network, ready on the CPU."""
    way = Way(preprocessing=preprocessing, windows=windows, **rest)
    return MuscleMapNetworks([network], 8, way, CPU)


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_monai(reference: dict[str, Any], name: str):
    chunk, kind, within = CASES[name]
    chosen = Preprocessing(chunk_slices=chunk, margin_beyond_image=not within)
    scan = volume(small_ct(kind))

    logits = networks(recorded_network(reference), chosen).logits(scan, 0)
    found = np.stack([logits.at(place).numpy() for place in range(5)])

    expected = reference[f"logits/{name}"]
    thinned = found[:, :, ::RECORDED, ::RECORDED]
    assert np.abs(thinned - expected).max() < 2e-4
    assert np.ptp(expected) > 1, "the logits differ by far more than that"


def test_the_settings_change_the_logits(reference: dict[str, Any]):
    """The recorded cases are no repetitions of each other."""
    recorded = [reference[f"logits/{name}"] for name in CASES]
    for other in recorded[1:]:
        assert np.abs(other - recorded[0]).max() > 0.01


def test_a_slice_asked_for_later_or_twice_is_the_same(reference: dict[str, Any]):
    logits = networks(recorded_network(reference), Preprocessing(chunk_slices=2)).logits(
        volume(small_ct("int16")), 0
    )
    first = logits.at(4).clone()
    logits.at(0)
    assert torch.equal(logits.at(4), first)
    assert torch.equal(logits.at(4), first)


@pytest.mark.parametrize("batch", [2, 5])
def test_windows_may_go_several_at_once(batch: int):
    image, network = (
        torch.randn(50, 41, generator=torch.Generator().manual_seed(1)),
        small_network(),
    )
    one = over_windows(image, network_of(network), WINDOWS, 8)
    several = over_windows(
        image, network_of(network), Windows(size=(32, 32), overlap=0.6, batch=batch), 8
    )
    assert torch.allclose(one, several, atol=1e-5)


def network_of(network: UNet) -> Any:
    """Without gradients."""
    return torch.inference_mode()(network)


def chunk_of(hu: Any, **chosen: Any) -> tuple[Slices, Any]:
    """All of a volume of millimetre pixels as one chunk."""
    slices = Slices(volume(hu, (1.0, 1.0, 1.0)), Preprocessing(chunk_slices=0, **chosen))
    return slices, slices.chunk(range(len(hu)))


def test_zero_counts_for_nothing_and_stays_zero():
    """2, 4 and two zeros: mean 3, deviation 1, so -1, 1, 0, 0. With zeros: mean 1.5."""
    hu = np.array([[[2.0, 4.0], [0.0, 0.0]]], dtype=np.float32)
    slices, chunk = chunk_of(hu, margin=0)
    assert (chunk.mean, chunk.deviation) == (3.0, 1.0)

    slices, chunk = chunk_of(hu, margin=5, margin_beyond_image=False)
    # Turned by a half circle and transposed: [x, y].
    assert slices.normalised(0, chunk).tolist() == [[0.0, 1.0], [0.0, -1.0]]

    _, chunk = chunk_of(hu, nonzero=False)
    assert chunk.mean == 1.5


def test_the_crop_is_what_lies_above_the_mean_and_a_margin():
    """One bright pixel in row 2 of 10 and column 7 of 12: from the other end x 4 and y 7."""
    hu = np.full((1, 10, 12), -10.0, dtype=np.float32)
    hu[0, 2, 7] = 100
    _, chunk = chunk_of(hu, margin=3)
    assert (chunk.x, chunk.y) == (Span(1, 8), Span(4, 11))

    _, chunk = chunk_of(hu, margin=3, margin_beyond_image=False)
    assert (chunk.x, chunk.y) == (Span(1, 8), Span(4, 10))


def test_slices_far_from_what_is_above_the_mean_are_not_asked_for():
    """30 slices, the brightest is the first: the margin of 20 ends with slice 20."""
    hu = np.full((30, 4, 4), -10.0, dtype=np.float32)
    hu[0] = 100
    _, chunk = chunk_of(hu)
    assert chunk.fed == range(21)

    logits = networks(small_network(), Preprocessing(chunk_slices=0)).logits(volume(hu), 0)
    assert logits.at(20).any()
    assert not logits.at(21).any()


@pytest.mark.parametrize("value", [0, 50])
def test_an_image_of_one_value_is_background(value: int):
    scan = volume(np.full((2, 8, 8), value, dtype=np.int16))
    logits = networks(small_network(), Preprocessing()).logits(scan, 0)
    assert not logits.at(0).any()
    assert logits.at(0).shape == (8, 8, 8)


def test_the_last_chunk_is_what_is_left():
    assert Preprocessing(chunk_slices=25).chunks(60) == (
        range(25),
        range(25, 50),
        range(50, 60),
    )
    assert Preprocessing(chunk_slices=0).chunks(60) == (range(60),)


def test_rescaled_chunks_lose_the_exact_zero():
    """From -1024 to 1023 HU in 65535 steps of 2047 / 65535 HU: 0 lies between two of them."""
    scale = Rescaling.of(-1024.0, 1023.0)
    back = scale(np.array([-1024.0, 0.0, 1023.0], dtype=np.float32))
    assert back[1] != 0
    assert np.abs(back - [-1024, 0, 1023]).max() <= 2047 / 65535
    assert Rescaling.of(7.0, 7.0)(np.array([7.0], dtype=np.float32)).tolist() == [7.0]


def test_only_parts_of_whole_numbers_are_rescaled():
    whole = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    for hu, chunk, rescaled in (
        (whole, 2, True),
        (whole, 4, False),
        (whole.astype(np.float32), 2, False),
    ):
        slices = Slices(volume(hu), Preprocessing(chunk_slices=chunk))
        assert (slices.chunk(range(chunk)).rescaling is not None) is rescaled
    off = Slices(volume(whole), Preprocessing(chunk_slices=2, rescaled_chunks=False))
    assert off.chunk(range(2)).rescaling is None


@pytest.mark.parametrize(
    ("pixels", "spacing_mm", "wanted_mm", "expected"),
    [
        (11, 2.0, 1.0, Axis(11, 21, 0.5)),
        (512, 0.5, 1.0, Axis(512, 256, 2.0)),  # 256.5 pixels: halves go to the even number
        (10, 1.0009, 1.0, Axis(10, 10, 1.0)),  # as good as the same
        (10, 0.7, -1.0, Axis(10, 10, 1.0)),  # left alone
    ],
)
def test_the_first_pixel_stays_and_the_number_is_rounded(
    pixels: int, spacing_mm: float, wanted_mm: float, expected: Axis
):
    assert Axis.of(pixels, spacing_mm, wanted_mm) == expected


def test_values_lie_on_straight_lines():
    values = torch.tensor([[0.0, 10.0, 40.0]])
    places = torch.tensor([0.0, 0.25, 1.5, 2.0], dtype=torch.float64)
    assert between(values, 1, places).tolist() == [[0.0, 2.5, 25.0, 40.0]]


@pytest.mark.parametrize(
    ("pixels", "overlap", "starts"),
    [
        (256, 0.9, (0,)),
        (300, 0.9, (0, 25, 44)),  # steps of int(25.6); the last one ends with the image
        (512, 0.5, (0, 128, 256)),
        (257, 0.0, (0, 1)),
    ],
)
def test_windows_begin_every_share_of_their_size(
    pixels: int, overlap: float, starts: tuple[int, ...]
):
    assert Windows(overlap=overlap).starts(0, pixels) == starts


def test_weights_are_a_gaussian_that_never_falls_below_a_thousandth():
    """Sigma is an eighth of 256, 32 pixels; the four middle pixels lie half a pixel off."""
    weights = window_weights(Windows())
    assert float(weights[127, 128]) == pytest.approx(np.exp(-2 * 0.5**2 / (2 * 32**2)))
    assert float(weights[0, 0]) == pytest.approx(1e-3)
    assert float(weights[127, 64]) == pytest.approx(np.exp(-(0.5**2 + 63.5**2) / 2048))


def test_where_windows_overlap_they_are_weighted():
    """Two windows of 4 over 6 pixels; the first says 1, the second 3."""
    said: list[float] = []

    def network(windows: Tensor) -> Tensor:
        said.append(1.0 if not said else 3.0)
        return torch.full((1, 1, 4, 4), said[-1])

    chosen = Windows(size=(4, 4), overlap=0.5)
    found = over_windows(torch.zeros(6, 4), network, chosen, 1)[0, :, 0]

    w = window_weights(chosen)[:, 0]
    mixed = [float((w[2 + k] + 3 * w[k]) / (w[2 + k] + w[k])) for k in (0, 1)]
    assert found.tolist() == pytest.approx([1, 1, *mixed, 3, 3])


def test_of_each_label_the_largest_piece_stays():
    """Corners do not hang together: 1 has pieces of 2 and 1, and 2 one of 3 through slices."""
    labels = np.array(
        [
            [[1, 1, 0], [0, 0, 1], [2, 0, 0]],
            [[0, 0, 0], [0, 0, 0], [2, 2, 0]],
        ],
        dtype=np.uint8,
    )
    expected = labels.copy()
    expected[0, 1, 2] = 0
    assert np.array_equal(largest_pieces(labels), expected)
    assert labels[0, 1, 2] == 1, "a new array"


def test_of_two_pieces_of_one_size_the_right_one_stays():
    """The first in a file whose first axis is x, as the original reads it."""
    labels = np.array([[[0, 0, 1], [1, 0, 0]]], dtype=np.uint8)
    assert largest_pieces(labels).tolist() == [[[0, 0, 0], [1, 0, 0]]]


def test_without_the_rule_labels_stay(reference: dict[str, Any]):
    labels = np.array([[[1, 0, 1]]], dtype=np.uint8)
    scan = volume(np.zeros((1, 1, 3), dtype=np.int16))
    kept = networks(
        small_network(), Preprocessing(), postprocessing=Postprocessing(largest_piece=False)
    )
    assert kept.cleaned(labels, scan) is labels
    assert networks(small_network(), Preprocessing()).cleaned(labels, scan).sum() == 1


def test_numbers_are_tried_and_said(monkeypatch: pytest.MonkeyPatch):
    """Where bfloat16 may be taken, it or float32 is, and the words say why."""
    exact = networks(small_network(), Preprocessing())
    assert exact.description == "cpu, float32"
    monkeypatch.setattr(
        "inference.models.precision_probe._speed", lambda half, exact, clock: 2.0
    )
    half = networks(small_network(), Preprocessing(), numbers=Numbers(cpu="bfloat16"))
    assert half.description.startswith("cpu, bfloat16 (over")

    scan = volume(small_ct("int16"))
    difference = exact.logits(scan, 0).at(1) - half.logits(scan, 0).at(1)
    assert 0 < float(difference.abs().mean()) < 0.1


@pytest.mark.parametrize("units", [0, 1, 2])
def test_a_window_comes_back_in_its_own_size(units: int):
    shape = MuscleMapUNet(
        out_channels=5, channels=(3, 4, 5), strides=(2, 3), residual_units=units
    )
    assert shape.multiple == 6
    assert small_network(0, shape)(torch.zeros(2, 1, 12, 18)).shape == (2, 5, 12, 18)


def test_the_published_network_has_13_6_million_parameters():
    """With 100 channels out, as MuscleMap's whole-body 1.2."""
    with torch.device("meta"):
        network = MuscleMapUNet(out_channels=100).build()
    assert sum(one.numel() for one in network.parameters()) == 13_601_240


def test_a_scan_of_single_pixels_is_fed():
    hu = np.array([-1000, 100], np.int16).reshape(2, 1, 1)
    chunk = Slices(volume(hu), Preprocessing(pixel_mm=(-1.0, -1.0))).chunk(range(2))
    assert (chunk.fed, chunk.mean) == (range(2), -450)
