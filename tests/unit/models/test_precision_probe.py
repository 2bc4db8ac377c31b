"""The numbers a network computes in: the fastest that are right, by trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.bundles import untrained_bundle
from torch import Tensor

from inference.models import precision_probe
from inference.models.precision_probe import (
    Choice,
    Run,
    choose_by_logits,
    choose_precision,
    is_right,
    labels_alike,
    two_thighs,
)

CPU = torch.device("cpu")
SURE = torch.tensor([0.9, 0.1]).view(1, 2, 1).expand(1, 2, 200)
"""Softmax of 200 pixels, of which each is surely the first of two classes."""


@pytest.fixture(autouse=True)
def nothing_chosen_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_probe, "_CHOSEN", {})


class Network:
    """Computes for as long as it is told, and answers as it is told."""

    def __init__(self, half_ms: float, half: Tensor = SURE, waits_ms: float = 0) -> None:
        self.milliseconds = {torch.float32: 4.0}
        self.answers = {torch.float32: SURE}
        for dtype in (torch.bfloat16, torch.float16):
            self.milliseconds[dtype], self.answers[dtype] = half_ms, half
        self.waits_ms = waits_ms
        self.made_ready: list[torch.dtype] = []

    def ready(self, dtype: torch.dtype) -> Run:
        """In these numbers."""
        self.made_ready.append(dtype)

        def run() -> Tensor:
            if dtype == torch.bfloat16:
                time.sleep(self.waits_ms / 1000)
            end = time.thread_time() + self.milliseconds[dtype] / 1000
            while time.thread_time() < end:
                pass
            return self.answers[dtype]

        return run


def choose(network: Network, name: str = "a") -> Choice:
    return choose_precision(network.ready, allowed="bfloat16", device=CPU, network=name)


def test_numbers_that_are_twice_as_fast_and_right_are_taken():
    found = choose(Network(half_ms=2.0))

    assert found.dtype is torch.bfloat16
    assert found.words == (
        "bfloat16 (over 1.2 times as fast as float32, 100.00 % of labels alike)"
    )
    assert found.speed == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("half_ms", [4.0, 30.0])
def test_numbers_that_are_no_faster_or_slower_are_not(half_ms: float):
    """Whatever the processor says of itself."""
    found = choose(Network(half_ms=half_ms))

    assert found.dtype is torch.float32
    assert found.words == "float32 (bfloat16 is less than 1.2 times as fast)"


def test_fast_numbers_that_label_otherwise_are_wrong():
    """Five of 200 pixels are another label's: 2.5 %, where 2 % may be."""
    wrong = SURE.clone()
    wrong[:, :, :5] = SURE[:, :, :5].flip(1)
    found = choose(Network(half_ms=1.0, half=wrong))

    assert found.dtype is torch.float32
    assert found.words == "float32 (bfloat16 is wrong: 97.50 % of labels alike)"


def test_what_others_do_on_the_machine_meanwhile_is_not_counted():
    """bfloat16 computes for a fifth of the time, and waits for a core for twice of it."""
    assert choose(Network(half_ms=0.8, waits_ms=8.0)).dtype is torch.bfloat16


def test_numbers_that_a_device_cannot_compute_are_not_taken():
    class Without(Network):
        def ready(self, dtype: torch.dtype) -> Run:
            """Not in bfloat16."""
            if dtype == torch.bfloat16:
                raise RuntimeError("\"conv\" not implemented for 'BFloat16'")
            return super().ready(dtype)

    found = choose(Without(half_ms=1.0))
    assert (found.dtype, found.words) == (
        torch.float32,
        "float32 (bfloat16 cannot be computed)",
    )


def test_a_network_is_tried_once_and_another_one_by_itself():
    first, second = Network(half_ms=1.0), Network(half_ms=9.0)

    assert choose(first, "a") is choose(second, "a")
    assert second.made_ready == []
    assert choose(second, "b").dtype is torch.float32


def test_a_gpu_s_other_half_numbers_are_tried_alike():
    network = Network(half_ms=1.0)
    found = choose_precision(network.ready, allowed="float16", device=CPU, network="a")

    assert found.dtype is torch.float16
    assert found.words.startswith("float16 (over 1.2 times as fast as float32")


def test_nothing_is_tried_where_float32_alone_is_allowed():
    network = Network(half_ms=1.0)
    found = choose_precision(network.ready, allowed="float32", device=CPU, network="a")

    assert (found.dtype, found.words) == (torch.float32, "float32")
    assert network.made_ready == []


def test_torch_s_threads_are_put_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        choose(Network(half_ms=1.0))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_labels_that_nearly_tie_may_go_either_way():
    """0.52 to 0.48 is no lead of 0.1; where nothing leads, nothing is other."""
    tie = torch.tensor([0.52, 0.48]).view(1, 2, 1)

    assert labels_alike(tie.flip(1), tie) == 1.0
    assert is_right(tie.flip(1), tie) is False  # but by .04 in the mean, which is no rounding
    assert is_right(tie + torch.tensor([0.01, -0.01]).view(1, 2, 1), tie)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_no_number_is_never_right(broken: float):
    found = SURE.clone()
    found[0, 1, 0] = broken

    assert not is_right(found, SURE)


def test_the_tile_shows_air_fat_muscle_and_bone_the_same_each_time():
    tile = two_thighs(96, 128)

    assert torch.equal(tile, two_thighs(96, 128))
    for hu in (-1000, -100, 50, 500):
        assert ((tile - hu).abs() < 50).float().mean() > 0.02


@pytest.mark.parametrize(
    ("right", "words"),
    [(True, "cpu bfloat16 (over "), (False, "cpu float32 (bfloat16 is wrong")],
)
def test_a_bayesian_u_net_says_which_numbers_it_took_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, right: bool, words: str
):
    """Of a device on which bfloat16 is twice as fast, and right or broken."""
    monkeypatch.setattr(precision_probe, "is_right", lambda *_: right)
    monkeypatch.setattr(precision_probe, "_speed", lambda *_: 2.0)
    predictor = untrained_bundle(tmp_path / "b").model.load("cpu")

    assert predictor.sampler.description.startswith(words)


@pytest.mark.parametrize("shape", [(48, 64), (4, 48, 64)])
def test_a_guest_is_tried_by_its_logits_on_scores_in_two_or_three_axes(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
):
    """Scores have a mean of 0 and a deviation of 1; the second class is what is above 0."""
    monkeypatch.setattr(precision_probe, "_speed", lambda *_: 2.0)
    seen: list[Tensor] = []

    def network_in(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        def answer(tile: Tensor) -> Tensor:
            seen.append(tile)
            logits = torch.cat([-tile, tile], dim=1).to(dtype)
            return logits if dtype is torch.float32 else logits.flip(1)  # wrong

        return answer

    found = choose_by_logits(network_in, shape, allowed="bfloat16", device=CPU, network="a")

    assert seen[0].shape == (1, 1, *shape)
    assert (seen[0].mean().item(), seen[0].std().item()) == pytest.approx((0, 1), abs=0.01)
    assert found.words.startswith("float32 (bfloat16 is wrong: 0.00 % of labels alike")


def test_it_is_tried_again_with_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = untrained_bundle(tmp_path / "b").model
    monkeypatch.setattr(precision_probe, "_speed", lambda *_: 2.0)
    first = model.load("cpu")
    monkeypatch.setattr(precision_probe, "is_right", lambda *_: False)
    again = model.load("cpu")
    network = model.network()
    torch.nn.init.ones_(network.head.bias)
    other = type(again).of(
        network, model.window, model.grid, device="cpu", precision=model.precision
    )

    assert first.sampler.description == again.sampler.description
    assert other.sampler.description.startswith("cpu float32 (bfloat16 is wrong")
