"""In what numbers a network computes: the fastest that are right, tried on one tile.

A processor that says it knows bfloat16 may compute in it 4 to 16 times slower than in float32,
or wrongly (pytorch issues 183815, 163347). So each of the numbers that a bundle allows is tried
with the network itself, on the device itself, when the network is made ready. bfloat16 (or
float16) is taken where it is right and at least `FASTER` times as fast as float32.

A result repeats itself only in the same numbers, so the choice must not hang on chance: it is
made once in a process for each network and device; both take turns, in time of the one core
that computes, which others on the machine do not lengthen; the best of several rounds counts,
more of them where it is close; and what is as good as equal is float32. The words that go
with a result say what was decided and by which limits, not a time that differs from run to run.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from inference.hounsfield import AIR_HU

Kind = Literal["bfloat16", "float32"]
"""Numbers that a Bayesian U-Net's bundle may allow."""

Numbers = Literal["bfloat16", "float16", "float32"]
"""Numbers that can be tried."""

FASTER: Final = 1.2
"""Half the bits are taken from here on: where they are fast at all, it is by 1.5 to 2.5."""

CLOSE: Final = (1.0, 1.5)
ROUNDS, MOST_ROUNDS = 3, 9
"""So many rounds, and as many where the first ones lie in `CLOSE`."""

HOPELESS: Final = 0.5
"""Numbers that are so slow in the first round are not tried again."""

LONGEST_S: Final = 0.8
"""No further round begins after this time."""

LEAD: Final = 0.1
"""Labels count whose softmax leads the next one's by so much; others rounding may settle."""

ALIKE: Final = 0.98
MEAN_DIFFERENCE: Final = 0.03
"""They are right where such a share of those labels is float32's, and the softmax differs by
no more in the mean over all pixels and classes that one of the two gives a hundredth. What is
wrong is arithmetic that is broken, not what rounding makes: over `compact` and nine networks of
random weights it left 0.9967 or more of the labels, and differences of 0.0102 or less."""

LEAST_SOFTMAX: Final = 0.01

Run = Callable[[], Tensor]
"""Computes the tile once: softmax `[n, class, ...]`, float32 or converted to it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The numbers that a network is computed in.

    words: they, and why, for the `device` of predictions.
    speed: how many times as fast as float32 the other numbers are; None if not measured.
    alike: share of the labels that are the same in both; None if not measured.
    """

    dtype: torch.dtype
    words: str
    speed: float | None = None
    alike: float | None = None


FLOAT32: Final = Choice(torch.float32, "float32")
"""Where nothing else is allowed, nothing is tried."""

_CHOSEN: Final[dict[tuple[Hashable, Numbers, str], Choice]] = {}


def choose_precision(
    ready: Callable[[torch.dtype], Run],
    *,
    allowed: Numbers,
    device: torch.device,
    network: Hashable,
) -> Choice:
    """The fastest numbers that are right.

    Args:
        ready: makes the network ready in these numbers, and its tile.
        allowed: the smallest numbers that the bundle allows.
        device: where the network computes.
        network: what tells it from others, such as its file's hash; it is tried once.

    Raises:
        torch.OutOfMemoryError: float32 finds no memory for the tile.
    """
    if allowed == "float32":
        return FLOAT32
    key = (network, allowed, str(device))
    if key not in _CHOSEN:
        with torch.inference_mode(), _clock(device) as clock:
            _CHOSEN[key] = _tried(ready, allowed, clock)
    return _CHOSEN[key]


def choose_by_logits(
    network_in: Callable[[torch.dtype], Callable[[Tensor], Tensor]],
    shape: Sequence[int],
    *,
    allowed: Numbers,
    device: torch.device,
    network: Hashable,
) -> Choice:
    """`choose_precision` of a network that is fed z-scores and answers with logits.

    Args:
        network_in: makes it ready in these numbers: from float32 `[1, 1, ...]` on the device
            to logits `[1, class, ...]`.
        shape: of the tile, two axes or three; small, since a start waits for a few of them.
        allowed: the smallest numbers that the bundle allows.
        device: where the network computes.
        network: what tells it from others.
    """

    def ready(dtype: torch.dtype) -> Run:
        answer = network_in(dtype)
        hu = two_thighs(shape[-2], shape[-1])
        scores = (hu - hu.mean()) / hu.std()
        tile = scores.expand(1, 1, *shape).contiguous().to(device)
        return lambda: answer(tile).float().softmax(dim=1)

    return choose_precision(ready, allowed=allowed, device=device, network=network)


def _tried(
    ready: Callable[[torch.dtype], Run], numbers: Numbers, clock: Callable[[], float]
) -> Choice:
    dtype = torch.float16 if numbers == "float16" else torch.bfloat16
    exact = ready(torch.float32)
    expected = exact().float()  # also warms up
    try:
        half = ready(dtype)
        found = half().float()
    except RuntimeError:  # also without memory: float32, as if there were nothing else
        return Choice(torch.float32, f"float32 ({numbers} cannot be computed)")
    alike = labels_alike(found, expected)
    share = f"{100 * alike:.2f} % of labels alike"
    if not is_right(found, expected):
        return Choice(torch.float32, f"float32 ({numbers} is wrong: {share})", alike=alike)
    speed = _speed(half, exact, clock)
    if speed < FASTER:
        words = f"float32 ({numbers} is less than {FASTER:g} times as fast)"
        return Choice(torch.float32, words, speed, alike)
    words = f"{numbers} (over {FASTER:g} times as fast as float32, {share})"
    return Choice(dtype, words, speed, alike)


def labels_alike(found: Tensor, expected: Tensor) -> float:
    """Share of the labels that are clear in `expected` and the same in `found`; 1 of none."""
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > LEAD
    same = (found.argmax(dim=1) == expected.argmax(dim=1))[clear]
    return float(same.double().mean()) if len(same) else 1.0


def is_right(found: Tensor, expected: Tensor) -> bool:
    """True if a softmax `[n, class, ...]` is as good as the one expected."""
    if not found.isfinite().all():
        return False
    there = torch.maximum(found, expected) > LEAST_SOFTMAX
    differences = (found - expected).abs()[there]
    return (
        labels_alike(found, expected) >= ALIKE
        and float(differences.double().mean()) <= MEAN_DIFFERENCE
    )


def _speed(half: Run, exact: Run, clock: Callable[[], float]) -> float:
    """How many times as fast the half numbers are, by the best round of each."""
    begun = time.monotonic()
    best_half = best_exact = float("inf")
    for number in range(1, MOST_ROUNDS + 1):
        best_exact = min(best_exact, _seconds(exact, clock))
        best_half = min(best_half, _seconds(half, clock))
        speed = best_exact / best_half
        if speed < HOPELESS or time.monotonic() - begun > LONGEST_S:
            break
        if number >= ROUNDS and not CLOSE[0] < speed < CLOSE[1]:
            break
    return speed


def _seconds(run: Run, clock: Callable[[], float]) -> float:
    before = clock()
    run()
    return max(clock() - before, 1e-9)


@contextmanager
def _clock(device: torch.device) -> Iterator[Callable[[], float]]:
    """Seconds of this thread, alone at work; of a GPU those on the wall until it is done."""
    if device.type == "cuda":

        def on_gpu() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        yield on_gpu
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield time.thread_time
    finally:
        torch.set_num_threads(threads)


def fingerprint(network: nn.Module) -> int:
    """Tells a network's weights from others of the same architecture."""
    found = 0
    for tensor in network.state_dict().values():
        found = zlib.crc32(tensor.cpu().numpy().tobytes(), found)
    return found


def two_thighs(rows: int, columns: int) -> Tensor:
    """HU `[row, column]` of a crude slice: fat around muscle around bone, twice, in air.

    The noise, of 15 HU, is the same each time.
    """
    row, column = np.mgrid[:rows, :columns].astype(np.float64)
    y = (row - (rows - 1) / 2) / (rows / 2)
    x = np.abs((column - (columns - 1) / 2) / (columns / 4)) - 1  # twice -1 to 1
    radius = np.hypot(x, y)
    hu = np.select([radius < 0.2, radius < 0.7, radius < 0.9], [500.0, 50.0, -100.0], AIR_HU)
    noise = np.random.default_rng(0).normal(0, 15, hu.shape)
    return torch.from_numpy((hu + noise).astype(np.float32))
