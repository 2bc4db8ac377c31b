"""The network is the published one, down to its borders."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from inference.models.bayesian_unet.cpu_network import CpuUNet
from inference.models.bayesian_unet.dropout import SeededDropout
from inference.models.bayesian_unet.folding import fold_batch_normalisation
from inference.models.bayesian_unet.gpu_convolution import convolved_without_padded_copy
from inference.models.bayesian_unet.network import (
    FIVE_LAYERS,
    SIX_LAYERS,
    Architecture,
    BayesianUNet,
    Convolution,
    Reflection,
    Upsampling,
    parameter_count,
    random_dropout,
    reflected,
)

CPU = torch.device("cpu")
TINY = Architecture(layers=3, filters=2, batch_normalisation=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def keep_all(x: Tensor) -> Tensor:
    return x


def with_random_statistics(architecture: Architecture) -> BayesianUNet:
    network = BayesianUNet(architecture).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network


@pytest.mark.parametrize(
    ("architecture", "million"),
    [(FIVE_LAYERS, "11.0"), (SIX_LAYERS, "44.05")],
    ids=["5layers", "6layers"],
)
def test_the_published_networks_have_their_published_size(
    architecture: Architecture, million: str
) -> None:
    """11.0 M without and 44.05 M with batch normalisation and its running statistics."""
    with torch.device("meta"):
        network = BayesianUNet(architecture)

    decimals = len(million.split(".")[1])
    assert f"{parameter_count(network) / 1e6:.{decimals}f}" == million


def test_five_layers_has_11_0_million_parameters_to_the_last_one() -> None:
    """Counted by hand from the layer list: 9 in out + out for every convolution.

    Encoder, decoder, transposed convolutions and head of 1, 32 .. 512 channels.
    """
    widths = [32 * 2**level for level in range(5)]

    def convolution(channels_in: int, channels_out: int) -> int:
        return 9 * channels_in * channels_out + channels_out

    expected = sum(
        convolution(a, b) + convolution(b, b)
        for a, b in zip([1, *widths], widths, strict=False)
    )
    for outer, inner in pairwise(widths):
        expected += convolution(inner, inner)  # transposed: as many channels out as in
        expected += convolution(inner + outer, outer) + convolution(outer, outer)
    expected += convolution(32, 23)
    with torch.device("meta"):
        network = BayesianUNet(FIVE_LAYERS)

    assert parameter_count(network) == expected == 10_987_095


def test_a_slice_of_512_by_512_gives_23_logits_per_pixel() -> None:
    network = BayesianUNet(replace(FIVE_LAYERS, filters=1))
    assert network(torch.zeros(1, 1, 512, 512)).shape == (1, 23, 512, 512)


@pytest.mark.parametrize("size", [(8, 8), (9, 11), (23, 16), (30, 45), (64, 100)])
def test_odd_sizes_and_sizes_that_are_no_power_of_two_come_out_as_they_went_in(
    size: tuple[int, int],
) -> None:
    assert BayesianUNet(TINY)(torch.randn(2, 1, *size)).shape == (2, 23, *size)


def test_a_convolution_reflects_at_its_border() -> None:
    """A 3x3 mean over a constant stays constant at the border; zero padding would not."""
    unit = Convolution(1, 1, Architecture())
    nn.init.zeros_(unit.convolution.bias)
    nn.init.constant_(unit.convolution.weight, 1 / 9)
    assert torch.allclose(unit(torch.full((1, 1, 5, 5), 7.0)), torch.full((1, 1, 5, 5), 7.0))


def test_a_convolution_reflects_without_repeating_the_border() -> None:
    """The pixel before x0 is x1: taking the left neighbour of 1 2 3 gives 2 1 2."""
    unit = Convolution(1, 1, Architecture())
    nn.init.zeros_(unit.convolution.bias)
    nn.init.zeros_(unit.convolution.weight)
    unit.convolution.weight.data[0, 0, 1, 0] = 1
    image = torch.tensor([1.0, 2, 3]).expand(1, 1, 3, 3)

    assert unit(image)[0, 0, 0].tolist() == [2, 1, 2]


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (7, 4)])
def test_the_reflection_of_a_gpu_has_torch_s_values_and_gradients(
    size: tuple[int, int],
) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, size[0] + 2, size[1] + 2, dtype=torch.float64)

    expected = f.pad(x, (1, 1, 1, 1), mode="reflect")
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), x)
    actual = Reflection.apply(x)  # type: ignore[no-untyped-call]
    (actual_gradient,) = torch.autograd.grad((actual * weights).sum(), x)

    assert torch.equal(actual, expected)
    assert torch.allclose(actual_gradient, expected_gradient)


def test_the_head_reflects_at_its_border_too() -> None:
    network = BayesianUNet(replace(TINY, batch_normalisation=False))
    nn.init.zeros_(network.decoder[0].second.convolution.weight)
    nn.init.ones_(network.decoder[0].second.convolution.bias)
    nn.init.ones_(network.head.weight)
    logits = network(torch.randn(1, 1, 16, 16), keep_all)

    assert torch.allclose(logits, torch.full_like(logits, 9 * TINY.filters))


@pytest.mark.parametrize("size", [(10, 14), (11, 15), (10, 15), (11, 14)])
def test_upsampling_crops_the_floor_before_and_the_ceil_after(size: tuple[int, int]) -> None:
    """5 x 7 padded to 7 x 9 makes 15 x 19; 10 x 14 crops 2 before and 3 after."""
    unit = Upsampling(3, Architecture())
    unit.convolution.bias.data.normal_()
    x = torch.randn(2, 3, 5, 7)
    padded = f.pad(x, (1, 1, 1, 1), mode="reflect")
    whole = f.conv_transpose2d(padded, unit.convolution.weight, unit.convolution.bias, stride=2)
    before = [(have - want) // 2 for have, want in zip(whole.shape[2:], size, strict=True)]
    after = [
        have - want - cut for have, want, cut in zip(whole.shape[2:], size, before, strict=True)
    ]
    cropped = whole[:, :, before[0] : -after[0], before[1] : -after[1]]

    assert whole.shape[2:] == (15, 19)
    assert torch.allclose(unit(x, torch.Size(size)), f.relu(cropped), atol=1e-5)


def test_the_convolution_by_phases_is_torch_s_transposed_convolution() -> None:
    unit = Upsampling(4, Architecture())
    x = torch.randn(2, 4, 6, 9)
    expected = unit.convolution(x)

    assert torch.allclose(unit.by_phases(x)[:, :, :9, :15], expected[:, :, :9, :15], atol=1e-5)


def test_training_through_the_phases_gives_torch_s_gradients() -> None:
    unit = Upsampling(4, Architecture())
    x = torch.randn(2, 4, 6, 9)
    unit.convolution(x)[:, :, :9, :15].square().sum().backward()
    expected = unit.convolution.weight.grad.clone()
    unit.zero_grad()
    unit.by_phases(x)[:, :, :9, :15].square().sum().backward()

    assert torch.allclose(unit.convolution.weight.grad, expected, rtol=1e-4, atol=1e-4)


def test_the_skip_is_the_block_s_output_after_dropout() -> None:
    """With everything dropped at the outermost encoder level its skip is all zeros."""
    network = BayesianUNet(replace(TINY, batch_normalisation=False))
    nn.init.ones_(network.upsampling[0].convolution.bias)
    seen: list[Tensor] = []
    network.decoder[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    calls: list[int] = []

    def drop_first(x: Tensor) -> Tensor:
        calls.append(1)
        return torch.zeros_like(x) if len(calls) == 1 else x

    network(torch.randn(1, 1, 16, 16), drop_first)
    upsampled, skip = seen[0].split([TINY.channels(1), TINY.channels(0)], dim=1)

    assert skip.abs().max() == 0
    assert upsampled.abs().max() > 0


def test_every_block_is_followed_by_dropout() -> None:
    """3 encoder and 2 decoder levels; the head has none."""
    widths: list[int] = []

    def count(x: Tensor) -> Tensor:
        widths.append(x.shape[1])
        return x

    BayesianUNet(TINY)(torch.randn(1, 1, 16, 16), count)
    assert widths == [2, 4, 8, 4, 2]


def test_dropout_free_levels_are_the_outermost_of_encoder_and_decoder() -> None:
    widths: list[int] = []

    def count(x: Tensor) -> Tensor:
        widths.append(x.shape[1])
        return x

    BayesianUNet(replace(TINY, dropout_free_levels=1))(torch.randn(1, 1, 16, 16), count)
    assert widths == [4, 8, 4]


def test_dropout_stays_on_in_evaluation_mode() -> None:
    network = BayesianUNet(TINY).eval()
    image = torch.randn(1, 1, 16, 16)
    assert not torch.equal(network(image), network(image))


def test_dropout_follows_torch_s_seed() -> None:
    network = BayesianUNet(TINY).eval()
    image = torch.randn(1, 1, 16, 16)
    answers = []
    for _ in range(2):
        torch.manual_seed(5)
        answers.append(network(image))
    assert torch.equal(*answers)


@pytest.mark.parametrize("probability", [0.5, 0.2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dropout_keeps_the_mean_and_scales_what_it_keeps(
    probability: float, memory_format: torch.memory_format
) -> None:
    """100 000 coins: the share dropped is off by .005 once in a thousand times."""
    x = torch.ones(1, 10, 100, 100).contiguous(memory_format=memory_format)
    dropped = random_dropout(x, probability)

    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - probability)])
    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=0.01)


def test_no_dropout_changes_nothing() -> None:
    x = torch.randn(1, 2, 4, 4)
    assert random_dropout(x, 0.0) is x


@pytest.mark.parametrize("free", [0, 1, 2])
def test_the_shared_first_part_gives_the_same_as_the_whole(free: int) -> None:
    network = BayesianUNet(replace(TINY, dropout_free_levels=free)).eval()
    image = torch.randn(2, 1, 17, 20)
    torch.manual_seed(3)
    whole = network(image)
    features = network.deterministic(image)
    torch.manual_seed(3)

    assert len(features) == free + 1
    assert torch.equal(whole, network.stochastic(features))


@pytest.mark.parametrize("size", [(2, 2), (3, 17), (16, 20)])
def test_a_border_convolved_anew_is_that_of_the_reflected_image(size: tuple[int, int]) -> None:
    """What a GPU does; the arithmetic is the same on a CPU."""
    torch.manual_seed(4)
    convolution = Convolution(3, 5, replace(TINY, batch_normalisation=False))
    image = torch.randn(2, 3, *size)

    with torch.inference_mode():
        found = convolved_without_padded_copy(image, convolution.convolution)

        assert torch.allclose(found, convolution(image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("free", [0, 1])
def test_folding_the_normalisation_changes_nothing(free: int) -> None:
    network = with_random_statistics(replace(TINY, dropout_free_levels=free))
    folded = fold_batch_normalisation(network)
    image = torch.randn(2, 1, 17, 20)

    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert folded.architecture.dropout_free_levels == free
    expected = network(image, keep_all)
    assert torch.allclose(folded(image, keep_all), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("free", [0, 1, 2])
@pytest.mark.parametrize("size", [(8, 8), (17, 20), (30, 45)])
def test_a_cpu_s_arrangement_is_the_same_network(free: int, size: tuple[int, int]) -> None:
    """Also where features are dropped, and levels have odd sizes that are cropped."""
    torch.manual_seed(5)
    architecture = replace(TINY, dropout_free_levels=free)
    folded = fold_batch_normalisation(with_random_statistics(architecture))
    image = torch.randn(2, 1, *size)
    states = [(1, 0, 0), (1, 1, 0)]

    with torch.inference_mode():
        expected = folded(image, SeededDropout(states, 0.5, CPU))
        arranged = CpuUNet(folded)
        features = arranged.deterministic(image)
        found = arranged.stochastic(features, SeededDropout(states, 0.5, CPU))

    assert len(features) == free + 1
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (3, 17)])
def test_reflection_without_gradients_is_torch_s(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert torch.equal(reflected(x), f.pad(x, (1, 1, 1, 1), mode="reflect"))


@pytest.mark.parametrize(
    "wrong",
    [{"layers": 1}, {"filters": 0}, {"dropout": 1.0}, {"dropout_free_levels": 5}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).rstrip("s")):
        replace(FIVE_LAYERS, **wrong)
