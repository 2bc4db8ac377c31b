"""What a CPU makes of the network: `python tests/benchmarks/bench_cpu.py [--help]`.

Torch's options side by side, one after the other in every round, each with one thread and
counted in seconds of its core: other processes then cost little, and what they do cost hits
all options alike. The figure is the median over the rounds, of milliseconds for each Monte
Carlo sample of a slice and of the ratio to the first option. Dropout is left out, but where a
row says otherwise.

The floor is arithmetic alone: what the samples of a slice must be multiplied, at the speed of
a large matrix product of the same numbers and thread, measured in the same rounds. Needs
torch, numpy, scipy and safetensors only. A processor of less can be played:
`ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from bench_gpu import PUBLISHED, hip, shipped, untrained
from torch import Tensor, nn

from inference.models.bayesian_unet.cpu_network import CpuUNet
from inference.models.bayesian_unet.dropout import SeededDropout
from inference.models.bayesian_unet.folding import fold_batch_normalisation
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.preprocessing import frame_of
from inference.models.bayesian_unet.sampler import SplitNetwork
from inference.models.model import predict

GEMM_SIDE: Final = 1024
CPU: Final = torch.device("cpu")
SLOW_S: Final = 10.0
"""An option of which a sample takes longer is not run again."""

Run = Callable[[], Any]


def main() -> None:
    """Compare the options and print them as tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=["compact", *PUBLISHED], default="compact")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=4, help="of the whole prediction")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = (
            shipped()
            if asked.network == "compact"
            else untrained(Path(folder) / "weights", asked.network, "float32")
        )
        say(processor())
        for part in asked.only:
            PARTS[part](bundle, asked)


def processor() -> str:
    """What the processor can do that matters here."""
    found = torch.cpu.get_capabilities()
    kinds = ("avx2", "avx512_f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16")
    there = ", ".join(kind for kind in kinds if found.get(kind)) or "none of " + ", ".join(
        kinds
    )
    threads = torch.get_num_threads()
    return (
        f"{found.get('cpu_name', '?')}: {there}; {threads} threads, torch {torch.__version__}"
    )


Options = Iterator[tuple[str, tuple[Run, int]]]
"""(name, (run, samples that a run draws)), the one that others are compared with first."""


def compare(
    options: Callable[[BayesianUNet, Tensor], Options], bundle: Any, asked: argparse.Namespace
) -> None:
    """Run some options in turns and print what a sample takes with each."""
    torch.set_num_threads(1)
    image = one_slice(bundle)
    found = dict(options(bundle.model.network(), image))
    a = torch.randn(GEMM_SIDE, GEMM_SIDE)
    runs: dict[str, Run] = {name: run for name, (run, _) in found.items()}
    runs["product"] = partial(torch.mm, a, a)
    drawn_by = {name: samples for name, (_, samples) in found.items()}
    with torch.inference_mode():
        seconds = interleaved(runs, asked.rounds, drawn_by)
    rows, columns = image.shape[2:]
    say(f"\n| {bundle.name}, {rows} x {columns}, one core | ms a sample | of the first |")
    say("| --- | --- | --- |")
    times = {n: [one / k * 1000 for one in seconds[n]] for n, k in drawn_by.items()}
    base = next(iter(times.values()))
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, base, strict=False))
        say(f"| {name} | {statistics.median(own):.1f} | {ratio:.2f} |")
    flops = 2 * GEMM_SIDE**3 / statistics.median(seconds["product"])
    shared, own_macs = multiply_adds(bundle.model.architecture, rows, columns)
    floor_ms = 2000 * (own_macs + shared / asked.samples) / flops
    say(f"| floor, float32 at {flops / 1e9:.0f} GFLOP/s | {floor_ms:.1f} | |")


def orders(network: BayesianUNet, image: Tensor) -> Options:
    """Folding, memory order, sharing, the arrangement for CPUs, samples at once; float32."""
    last, rearranged = channels_last(fold_batch_normalisation(network)), as_last(image)
    yield "as published, one pass a sample", (partial(network, image, whole), 1)
    plain = fold_batch_normalisation(network)
    yield "normalisation folded", (partial(plain, image, whole), 1)
    yield "and channels last", (partial(last, rearranged, whole), 1)
    for samples in (1, 5):
        name = f"and the first part shared, {samples} at once"
        yield name, (partial(drawn, last, rearranged, samples), samples)
    arranged = CpuUNet(last)
    for samples in (1, 2, 5, 10):
        name = f"and arranged for a CPU, {samples} at once"
        yield name, (partial(drawn, arranged, rearranged, samples), samples)
    drop = partial(drawn, arranged, rearranged, 5, dropping=True)
    yield "the same, 5 at once, with dropout", (drop, 5)


def numbers(network: BayesianUNet, image: Tensor) -> Options:
    """Half precision beside float32, one sample at once: without hardware it is slow."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        last = channels_last(fold_batch_normalisation(network)).to(dtype)
        run = partial(drawn, CpuUNet(last), as_last(image).to(dtype), 1)
        yield f"arranged, {dtype}", (run, 1)


def jit(network: BayesianUNet, image: Tensor) -> Options:
    """Traced and frozen by torch.jit, 5 samples at once.

    Not the arranged network: `optimize_for_inference` loses what that writes into a buffer.
    """
    last = channels_last(fold_batch_normalisation(network))
    rearranged = as_last(image)
    yield "arranged", (partial(drawn, CpuUNet(last), rearranged, 5), 5)
    yield "torch.jit of the plain, frozen", (by_jit(last, rearranged, 5), 5)


def inductor(network: BayesianUNet, image: Tensor) -> Options:
    """Compiled by torch.compile, 5 samples at once; it needs g++, and minutes."""
    rearranged = as_last(image)
    arranged = CpuUNet(channels_last(fold_batch_normalisation(network)))
    yield "arranged", (partial(drawn, arranged, rearranged, 5), 5)
    yield "torch.compile of the arranged, frozen", (by_inductor(arranged, rearranged, 5), 5)


def drawn(
    network: SplitNetwork, image: Tensor, samples: int, *, dropping: bool = False
) -> Tensor:
    """Logits of some samples that share the first part."""
    features = network.deterministic(image)
    repeated = [torch.cat([layer] * samples) for layer in features]
    states = [(1, 0, sample) for sample in range(samples)]
    drop = SeededDropout(states, network.architecture.dropout, CPU) if dropping else whole
    return network.stochastic(repeated, drop)


def whole(features: Tensor) -> Tensor:
    """No dropout."""
    return features


class Drawn(nn.Module):
    """`drawn` as a module, for the compilers."""

    def __init__(self, network: Any, samples: int) -> None:
        super().__init__()
        self.network, self.samples = network, samples

    def forward(self, image: Tensor) -> Tensor:
        """Logits `[samples, class, h, w]`."""
        return drawn(self.network, image, self.samples)


def by_jit(network: SplitNetwork, image: Tensor, samples: int) -> Run:
    """Traced, frozen and optimised: weights in oneDNN's order, ReLU in the convolution."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants, and are
        traced = torch.jit.trace(Drawn(network, samples).eval(), image)
        run = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    return partial(run, image)


def by_inductor(network: SplitNetwork, image: Tensor, samples: int) -> Run:
    """Compiled with frozen weights, which inductor puts into oneDNN's order."""
    run = torch.compile(
        Drawn(network, samples).eval(),
        dynamic=False,
        options={"freezing": True},
    )
    with torch.inference_mode():
        run(image)  # compiles, for minutes
    return partial(run, image)


def as_last(image: Tensor) -> Tensor:
    """A slice with its only channel last in memory."""
    return image.contiguous(memory_format=torch.channels_last)


def channels_last(network: BayesianUNet) -> BayesianUNet:
    """With its weights in that order."""
    for parameter in network.parameters():
        parameter.requires_grad = False
        if parameter.ndim == 4:
            parameter.data = parameter.contiguous(memory_format=torch.channels_last)
    return network


def one_slice(bundle: Any) -> Tensor:
    """A slice of hips as the network gets it, `[1, 1, row, column]`."""
    size = frame_of(hip(1), bundle.model.grid, bundle.model.architecture).size
    return torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1))


def multiply_adds(architecture: Architecture, rows: int, columns: int) -> tuple[int, int]:
    """Of a slice: what all its samples share, and what each adds; borders not counted."""
    pixels = [rows * columns // 4**level for level in range(architecture.layers)]
    width = [architecture.channels(level) for level in range(architecture.layers)]
    free = architecture.dropout_free_levels
    shared = own = 0
    for level, (area, out) in enumerate(zip(pixels, width, strict=True)):
        into = width[level - 1] if level else 1
        block = 9 * area * (into * out + out * out)
        shared, own = (shared + block, own) if level <= free else (shared, own + block)
    for level, (area, out) in enumerate(zip(pixels[:-1], width[:-1], strict=True)):
        inner = width[level + 1]
        skip = 9 * area * out * out
        shared, own = (shared + skip, own) if level < free else (shared, own + skip)
        own += 9 * pixels[level + 1] * inner * inner + 9 * area * (inner * out + out * out)
    return shared, own + 9 * pixels[0] * width[0] * architecture.classes


def interleaved(
    runs: dict[str, Run], rounds: int, samples: Mapping[str, int] = MappingProxyType({})
) -> dict[str, list[float]]:
    """Core-seconds of each, round by round; one that fails says so and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):  # the first one warms up
        for name, run in list(runs.items()):
            start = time.thread_time()
            try:
                run()
            except Exception as error:  # noqa: BLE001 - the others count as well
                say(f"{name}: {str(error).splitlines()[0]}")
                del runs[name]
                seconds[name] = [float("nan")]
                continue
            took = time.thread_time() - start
            slow = took / samples.get(name, 1) > SLOW_S
            if number or slow:
                seconds[name].append(took)
            if slow:
                del runs[name]
    return seconds


def whole_prediction(bundle: Any, asked: argparse.Namespace) -> None:
    """`predict` with one thread, and with all: dropout, softmax, moments and labels too."""
    volume = hip(asked.slices)
    size = frame_of(volume, bundle.model.grid, bundle.model.architecture).size
    shared, own = multiply_adds(bundle.model.architecture, *size)
    say(f"\n| {bundle.name}, {asked.slices} slices x {asked.samples} | wall s | core s |")
    say("| --- | --- | --- |")
    for threads in dict.fromkeys((1, 2, len(os.sched_getaffinity(0)))):
        torch.set_num_threads(threads)
        predict(hip(1), bundle.model, samples=1, seed=1, device="cpu")  # warm
        start, busy = time.perf_counter(), time.process_time()
        found = predict(volume, bundle.model, samples=asked.samples, seed=1, device="cpu")
        wall, busy = time.perf_counter() - start, time.process_time() - busy
        say(f"| {found.device}, {threads} threads | {wall:.2f} | {busy:.2f} |")
    a = torch.randn(GEMM_SIDE, GEMM_SIDE)
    torch.set_num_threads(1)
    took = statistics.median(interleaved({"product": partial(torch.mm, a, a)}, 9)["product"])
    macs = asked.slices * (shared + asked.samples * own)
    say(f"| floor, float32 | | {2 * macs / (2 * GEMM_SIDE**3 / took):.2f} |")


PARTS: Final[dict[str, Callable[[Any, argparse.Namespace], None]]] = {
    "orders": partial(compare, orders),
    "numbers": partial(compare, numbers),
    "jit": partial(compare, jit),
    "inductor": partial(compare, inductor),
    "prediction": whole_prediction,
}


def say(words: str) -> None:
    """A line of the result."""
    print(words, flush=True)  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
