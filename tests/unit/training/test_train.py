"""Training: resumable to the iteration, and honest about where weights come from."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.recipes import small_recipe
from torch import Tensor

from inference.errors import DeviceError, TrainingError
from inference.models.bundle import load_bundle
from inference.structures import LABEL_COUNT
from inference.training.recipe import read_recipe
from inference.training.run import Run, segmentation_loss
from inference.training.synthesis.stream import cosine_rate
from inference.training.train import Due, main, train, write_trained


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    images = torch.rand(2, 1, 32, 48, generator=generator)
    return images, (images[:, 0] > 0.5).long()


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_a_run_cut_off_and_resumed_ends_with_the_same_weights(
    tmp_path: Path, precision: str
) -> None:
    """In float16 the loss' scale is a part of the state, too."""
    numbers = ("batch = 2", f'batch = 2\nprecision = "{precision}"')
    recipe = read_recipe(small_recipe(tmp_path, numbers))
    whole, first = Run.fresh(recipe), Run.fresh(recipe)
    for k in range(4):
        whole.step(*batch(k))
    for k in range(2):
        first.step(*batch(k))
    first.save(tmp_path / "checkpoint.safetensors")

    resumed = Run.resumed(recipe, tmp_path / "checkpoint.safetensors")
    for k in range(2, 4):
        resumed.step(*batch(k))

    assert resumed.iteration == 4
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()
    for name in ("network", "average"):
        expected = getattr(whole, name).state_dict()
        for key, actual in getattr(resumed, name).state_dict().items():
            assert torch.equal(expected[key], actual), key


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    run = Run.fresh(read_recipe(small_recipe(tmp_path)))
    run.step(*batch(0))
    run.save(tmp_path / "checkpoint.safetensors")
    other = read_recipe(small_recipe(tmp_path, ("seed = 7", "seed = 8")))

    with pytest.raises(TrainingError, match="another recipe"):
        Run.resumed(other, tmp_path / "checkpoint.safetensors")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"half a file")

    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors: no checkpoint"):
        Run.resumed(read_recipe(small_recipe(tmp_path)), path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_begun_on_a_gpu_goes_on_on_a_cpu_and_back(tmp_path: Path) -> None:
    recipe = read_recipe(small_recipe(tmp_path))
    path = tmp_path / "checkpoint.safetensors"
    for k, device in enumerate(("cuda", "cpu", "cuda")):
        run = Run.resumed(recipe, path, torch.device(device))
        assert run.iteration == k
        run.step(*batch(k))
        run.save(path)


@pytest.mark.parametrize(("fast", "computed"), [(True, "bfloat16"), (False, "float32")])
def test_a_processor_that_is_slow_in_bfloat16_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, computed: str
) -> None:
    monkeypatch.setattr("inference.training.run.is_fast_in_bfloat16", lambda _: fast)
    run = Run.fresh(read_recipe(small_recipe(tmp_path)))
    seen: list[torch.dtype] = []
    run.network.head.register_forward_hook(lambda _, __, out: seen.append(out.dtype))

    run.step(*batch(0))

    assert seen == [getattr(torch, computed)]
    assert write_trained(run, tmp_path / "b").training["precision"] == computed


def test_the_averaged_weights_follow_the_trained_ones_by_the_rule(tmp_path: Path) -> None:
    """After iteration 1 a young average keeps (1 + 1) / (10 + 1) of itself."""
    run = Run.fresh(read_recipe(small_recipe(tmp_path)))
    before = run.average.head.weight.clone()

    run.step(*batch(0))

    expected = before + (run.network.head.weight.detach() - before) * (1 - 2 / 11)
    assert torch.allclose(run.average.head.weight, expected, atol=1e-7)


def test_a_checkpoint_is_due_by_time_and_less_often_where_the_disk_is_slow() -> None:
    """2 s of writing in every 40 s are the share of 5 %."""
    due = Due(every_s=30.0, saved_at=100.0)
    assert not due.now(129.0)
    assert due.now(130.0)

    due.saved(began=130.0, ended=132.0)

    assert not due.now(171.9)
    assert due.now(172.1)


def test_training_learns_what_is_bright(tmp_path: Path) -> None:
    recipe = read_recipe(small_recipe(tmp_path, ("iterations = 3", "iterations = 40")))
    run = Run.fresh(recipe)

    losses = [float(run.step(*batch(0))) for _ in range(40)]

    assert losses[-1] < 0.5 * losses[0]


def test_a_young_network_s_statistics_are_those_of_what_it_sees(tmp_path: Path) -> None:
    """After 40 iterations on one batch, running means and variances are the batch's own."""
    recipe = read_recipe(
        small_recipe(
            tmp_path,
            ("iterations = 3", "iterations = 40"),
            ("learning_rate = 1e-2", "learning_rate = 1e-9"),
        )
    )
    run = Run.fresh(recipe)
    for _ in range(40):
        run.step(*batch(0))

    seen: list[Tensor] = []
    first = run.network.encoder[0].first
    first.convolution.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    run.network(batch(0)[0])

    variances = seen[0].var((0, 2, 3))
    assert first.normalisation.running_var == pytest.approx(variances.numpy(), rel=0.05)


def test_the_loss_of_the_study_is_the_cross_entropy() -> None:
    """Two classes out of 23 with logits 0: log 23; soft Dice changes it."""
    logits = torch.zeros(1, LABEL_COUNT, 4, 4)
    labels = torch.ones(1, 4, 4, dtype=torch.long)

    assert float(segmentation_loss(logits, labels, 0.0)) == pytest.approx(3.1355, abs=1e-3)
    background = torch.zeros_like(labels)
    without = float(segmentation_loss(logits, background, 0.5))
    assert without == pytest.approx(0.5 * 3.1355, abs=1e-3)  # no structure has a Dice there
    # Dice: 2 x 16/23 over (16/23 + 16) = 1/12.
    with_dice = float(segmentation_loss(logits, labels, 0.5))
    assert with_dice == pytest.approx(0.5 * 3.1355 + 0.5 * (1 - 1 / 12), abs=1e-3)


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    assert cosine_rate(0, 100, 10) == pytest.approx(0.1)
    assert cosine_rate(10, 100, 10) == pytest.approx(1.0)
    assert cosine_rate(55, 100, 10) == pytest.approx(0.5)
    assert cosine_rate(100, 100, 10) == pytest.approx(0.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three iterations, done once for all that only look at it."""
    folder = tmp_path_factory.mktemp("trained")
    train(small_recipe(folder), folder / "out", device="cpu", progress=False)
    return folder / "out"


def test_train_leaves_a_bundle_that_loads_and_says_where_it_comes_from(trained: Path) -> None:
    bundle = load_bundle(trained / "small")

    assert bundle.name == "small"
    assert bundle.training["recipe"] == "small.toml"
    assert bundle.training["iterations"] == 3
    assert bundle.training["validated_on_patients"] is False
    assert bundle.training["started_from_weights"] == "random weights"
    assert bundle.calibration is None
    history = (trained / "history.csv").read_text(encoding="utf-8").splitlines()
    assert len(history) == 1 + 3


def test_a_run_with_a_time_limit_ends_by_it_with_a_bundle_that_says_so(tmp_path: Path) -> None:
    """Its learning rate has fallen by then, and given again the command does no more."""
    recipe = small_recipe(tmp_path, ("iterations = 3\n", "iterations = 1_000_000\n"))
    out = tmp_path / "out"

    train(recipe, out, device="cpu", progress=False, limit_s=2.0)
    training = load_bundle(out / "small").training
    train(recipe, out, device="cpu", progress=False, limit_s=2.0)

    assert training["time_limit_s"] == 2
    assert 0 < training["iterations"] < 1_000_000
    assert training["iterations"] == training["iterations_planned"]
    assert load_bundle(out / "small").training == training


def started(folder: Path, trained: Path, sha256: str, *changes: tuple[str, str]) -> Path:
    shutil.copytree(trained / "small", folder / "first")
    start = f'[start]\nbundle = "first"\nweights_sha256 = "{sha256}"\n[training]'
    return small_recipe(folder, ("[training]", start), *changes)


def test_a_run_may_start_from_a_bundle_and_its_own_says_so(
    tmp_path: Path, trained: Path
) -> None:
    """float16 on disk: the start is the bundle's weights, not the run's that wrote it."""
    first = load_bundle(trained / "small")
    path = started(tmp_path, trained, first.weights_sha256, ("seed = 7", "seed = 8"))

    run = Run.fresh(read_recipe(path))
    for name, expected in first.model.network().state_dict().items():
        assert torch.equal(run.network.state_dict()[name], expected), name
    run.step(*batch(0))
    second = write_trained(run, tmp_path / "second")

    assert second.training["started_from_weights"] == first.weights_sha256
    assert second.weights_sha256 != first.weights_sha256


def test_a_start_from_other_weights_than_the_recipe_means_is_refused(
    tmp_path: Path, trained: Path
) -> None:
    recipe = read_recipe(started(tmp_path, trained, "0" * 64))

    with pytest.raises(TrainingError, match="starts from 0000"):
        Run.fresh(recipe)


def test_a_start_with_another_network_is_refused(tmp_path: Path, trained: Path) -> None:
    sha256 = load_bundle(trained / "small").weights_sha256
    wider = ("filters = 4", "filters = 8")

    recipe = read_recipe(started(tmp_path, trained, sha256, wider))

    with pytest.raises(TrainingError, match="not the recipe's"):
        Run.fresh(recipe)


def test_a_start_whose_channels_stand_for_other_labels_is_refused(
    tmp_path: Path, trained: Path
) -> None:
    """Training takes channel n for label n, whatever a bundle says of it."""
    sha256 = load_bundle(trained / "small").weights_sha256
    recipe = read_recipe(started(tmp_path, trained, sha256))
    declaration = tmp_path / "first" / "bundle.toml"
    exchanged = declaration.read_text().replace('"GMED", "GMIN"', '"GMIN", "GMED"')
    declaration.write_text(exchanged)

    with pytest.raises(TrainingError, match="not the study's, in order"):
        Run.fresh(recipe)


def test_a_machine_without_the_parsers_trains_too(tmp_path: Path) -> None:
    """One that is lent for training has torch, numpy and pydantic, but no DICOM."""
    missing = ["dbos", "highdicom", "pydicom", "SimpleITK", "structlog", "typer"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from inference.training.train import main\n"
        "main(sys.argv[1:])"
    )
    recipe = small_recipe(tmp_path, ("iterations = 3", "iterations = 1"))
    asked = [recipe, "--out", tmp_path / "out", "--device", "cpu", "--no-bar"]
    ran = subprocess.run(
        [sys.executable, "-c", program, *asked], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert load_bundle(tmp_path / "out" / "small").training["device"] == "cpu"


def test_the_module_s_own_command_refuses_a_device_that_is_not_there(tmp_path: Path) -> None:
    out = str(tmp_path / "out")

    with pytest.raises(DeviceError, match="cuda:99"):
        main([str(small_recipe(tmp_path)), "--out", out, "--device", "cuda:99"])
