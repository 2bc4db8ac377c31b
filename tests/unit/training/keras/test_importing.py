"""Keras weights become the network that Keras had: compared with its arithmetic in numpy.

`support.keras_files` writes the files and computes the published network, both without any
code of this project.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from support.keras_files import (
    Model,
    described,
    described_by_keras_3,
    keras_model,
    published_logits,
    write_keras_3_weights,
    write_model,
    write_sampler,
    write_weights,
)
from support.volumes import body
from torch import Tensor
from typer.testing import CliRunner

from dicom_node.commands import cli
from inference.errors import BundleError, KerasFileError
from inference.models.bayesian_unet.channels import LABELS
from inference.models.bayesian_unet.network import BayesianUNet, Upsampling, parameter_count
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bundle import load_bundle
from inference.pipeline import analyse
from inference.training.keras.importing import import_bundle, import_network
from inference.training.model_card.card import with_figures

WITHIN = 1e-4
WRITERS: dict[str, Callable[[Path, Model], Path]] = {
    "weights only": write_weights,
    "weights only, list in pieces": lambda path, model: write_weights(path, model, pieces=3),
    "full model": write_model,
    "full model of Keras 3": lambda path, model: write_model(path, model, described_by_keras_3),
    "sampler": write_sampler,
    "weights of Keras 3": write_keras_3_weights,
}


def keep_all(x: Tensor) -> Tensor:
    return x


def grey_image(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (rows, columns, 1))


def torch_logits(
    network: BayesianUNet, image: np.ndarray, drop: Callable[[Tensor], Tensor] = keep_all
) -> np.ndarray:
    fed = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits: np.ndarray = network(fed, drop)[0].permute(1, 2, 0).numpy()
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=2, keepdims=True))
    shares: np.ndarray = exponents / exponents.sum(axis=2, keepdims=True)
    return shares


def assert_the_same(network: BayesianUNet, model: Model, image: np.ndarray) -> None:
    """Logits and probabilities, which must differ between pixels and classes to tell."""
    expected, found = published_logits(model, image), torch_logits(network, image)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=WITHIN)
    np.testing.assert_allclose(softmax(found), softmax(expected), rtol=0, atol=WITHIN)


def small(*, normalised: bool = True, session: int = 1) -> Model:
    return keras_model(3, 2, normalised=normalised, session=session)


@pytest.mark.parametrize("normalised", [False, True], ids=["plain", "normalised"])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_layout_gives_the_network_that_keras_had(
    writer: str, normalised: bool, tmp_path: Path
) -> None:
    model = small(normalised=normalised)

    imported = import_network(WRITERS[writer](tmp_path / "w.h5", model), 3)

    assert imported.network.architecture.filters == 2
    assert imported.network.architecture.batch_normalisation is normalised
    assert imported.network.architecture.dropout == 0.5
    assert_the_same(imported.network, model, grey_image(20, 24))


@pytest.mark.parametrize("size", [(17, 22), (19, 23), (8, 9)])
def test_odd_sizes_are_cropped_as_published(size: tuple[int, int], tmp_path: Path) -> None:
    model = small()

    network = import_network(write_weights(tmp_path / "w.h5", model), 3).network

    assert_the_same(network, model, grey_image(*size))


def test_the_transposed_convolution_of_gpus_is_the_published_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CPUs it is computed by phases; here it is not, as on a GPU."""
    monkeypatch.setattr(Upsampling, "by_phases", lambda own, x: own.convolution(x))
    model = small()

    network = import_network(write_weights(tmp_path / "w.h5", model), 3).network

    assert_the_same(network, model, grey_image(19, 22))


@pytest.mark.parametrize(
    ("levels", "normalised", "million"),
    [(5, False, "10.99"), (6, True, "44.05")],
    ids=["5layers", "6layers"],
)
def test_the_published_sizes_are_taken_over(
    levels: int, normalised: bool, million: str, tmp_path: Path
) -> None:
    model = keras_model(levels, 32, normalised=normalised)
    path = write_weights(tmp_path / "w.h5", model)

    network = import_network(path, levels).network

    assert f"{parameter_count(network) / 1e6:.2f}" == million
    assert_the_same(network, model, grey_image(2**levels, 2**levels))
    path.unlink()


def test_features_are_dropped_where_the_published_network_drops_them(tmp_path: Path) -> None:
    """The same masks in the same order: after each of 3 + 2 blocks, before pooling and skip."""
    model = small()
    draw = np.random.default_rng(2)
    masks: list[np.ndarray] = []

    def drop_there(x: np.ndarray) -> np.ndarray:
        masks.append(2.0 * draw.integers(0, 2, x.shape))
        dropped: np.ndarray = x * masks[-1]
        return dropped

    image = grey_image(20, 24)
    expected = published_logits(model, image, drop_there)
    waiting = iter(masks)

    def drop_here(x: Tensor) -> Tensor:
        return x * torch.from_numpy(next(waiting)).permute(2, 0, 1)[None].float()

    network = import_network(write_weights(tmp_path / "w.h5", model), 3).network

    found = torch_logits(network, image, drop_here)
    np.testing.assert_allclose(found, expected, rtol=0, atol=WITHIN)
    assert len(masks) == 5
    assert next(waiting, None) is None
    assert np.abs(found - torch_logits(network, image)).max() > 0.1


def test_layers_are_told_by_their_order_whatever_the_session_called_them(
    tmp_path: Path,
) -> None:
    """conv2d_9 comes before conv2d_10, and a second model starts at conv2d_41."""
    for session in (0, 5, 41):
        model = small(session=session)
        for write in (write_weights, write_keras_3_weights):
            network = import_network(write(tmp_path / "w.h5", model), 3).network
            assert_the_same(network, model, grey_image(16, 16))


def test_a_file_without_lists_is_sorted_by_the_numbers_in_its_names(tmp_path: Path) -> None:
    model = small(session=1)
    path = write_weights(tmp_path / "w.h5", model)
    with h5py.File(path, "a") as file:
        del file.attrs["layer_names"]

    assert_the_same(import_network(path, 3).network, model, grey_image(16, 16))


def test_layers_named_by_a_person_are_taken_in_their_order(tmp_path: Path) -> None:
    model = small()
    for n, layer in enumerate(model.layers):
        layer.name = f"step{len(model.layers) - n}"

    network = import_network(write_weights(tmp_path / "w.h5", model), 3).network

    assert_the_same(network, model, grey_image(16, 16))


def test_labels_in_another_order_come_out_in_ours(tmp_path: Path) -> None:
    """The file's channel 0 is told to be our label 5: its channels move up by 5, cyclically."""
    model = small()
    path = write_weights(tmp_path / "w.h5", model)
    image = grey_image(16, 16)

    network = import_network(path, 3, (*LABELS[5:], *LABELS[:5])).network

    expected = np.roll(published_logits(model, image), 5, axis=2)
    np.testing.assert_allclose(torch_logits(network, image), expected, rtol=0, atol=WITHIN)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "conv2d_11, the last one, has 3 output channels, not the 23 .* --labels FILE"),
        (("background", "FEMUR"), "has 3 output channels, told are 2; give one line a channel"),
        (("background", "FEMUR", "TIBIA"), "label 2 is 'TIBIA'; .* none of them is 'backgr"),
        (("background", "background", ""), "no label is a structure"),
        (("FEMUR_R", "FEMUR_L", "PELVIS"), "no label is 'background'"),
    ],
)
def test_labels_that_do_not_say_what_every_channel_is_are_refused(
    labels: tuple[str, ...] | None, words: str, tmp_path: Path
) -> None:
    path = write_weights(tmp_path / "w.h5", keras_model(3, 2, normalised=True, classes=3))

    with pytest.raises(KerasFileError, match=words):
        import_network(path, 3, labels)


def test_a_network_for_one_class_alone_is_refused(tmp_path: Path) -> None:
    """It would end in a sigmoid, which the family does not."""
    path = write_weights(tmp_path / "w.h5", keras_model(3, 2, normalised=True, classes=1))

    with pytest.raises(KerasFileError, match="has 1 output channels, not 2 to 256"):
        import_network(path, 3, ("FEMUR",))


def set_weight(model: Model, name: str, role: str, values: Any) -> None:
    model.named(name).weights[role] = np.asarray(values, dtype=np.float32)


def wider(model: Model) -> None:
    set_weight(model, "conv2d_3", "kernel", np.zeros((3, 3, 2, 5)))


def larger_kernels(model: Model) -> None:
    set_weight(model, "conv2d_1", "kernel", np.zeros((5, 5, 1, 2)))


def three_channels_in(model: Model) -> None:
    set_weight(model, "conv2d_1", "kernel", np.zeros((3, 3, 3, 2)))


def four_classes(model: Model) -> None:
    set_weight(model, "conv2d_11", "kernel", np.zeros((3, 3, 2, 4)))


def not_a_number(model: Model) -> None:
    model.named("conv2d_transpose_1").weights["kernel"][1, 1, 0, 0] = np.nan


def negative_variance(model: Model) -> None:
    model.named("batch_normalization_4").weights["moving_variance"][0] = -1


def no_bias(model: Model) -> None:
    del model.named("conv2d_2").weights["bias"]


def one_layer_less(model: Model) -> None:
    model.layers.remove(model.named("batch_normalization_2"))


def upsampled_otherwise(model: Model) -> None:
    model.named("conv2d_transpose_1").name = "conv2d_99"


def normalised_first(model: Model) -> None:
    places = [model.layers.index(model.named(n)) for n in ("conv2d_2", "batch_normalization_2")]
    first, second = (model.layers[place] for place in places)
    model.layers[places[0]], model.layers[places[1]] = second, first


def a_dense_layer(model: Model) -> None:
    model.named("conv2d_11").weights["embeddings"] = np.zeros(3, dtype=np.float32)


def whole_numbers(model: Model) -> None:
    model.named("conv2d_1").weights["bias"] = np.zeros(2, dtype=np.int32)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (wider, r"conv2d_3: kernel is \(3, 3, 2, 5\), not \(3, 3, 2, 4\) \(encoder.1.first"),
        (larger_kernels, r"conv2d_1: kernel is \(5, 5, 1, 2\), not \(3, 3, 1, 2\)"),
        (three_channels_in, r"conv2d_1: kernel is \(3, 3, 3, 2\), not \(3, 3, 1, 2\)"),
        (four_classes, r"conv2d_11: bias is \(23\), not \(4\) \(head\)"),
        (not_a_number, "conv2d_transpose_1: kernel has values that are not finite"),
        (negative_variance, "batch_normalization_4: a variance is below zero"),
        (no_bias, "conv2d_2 has kernel; the convolution in its place .* has kernel, bias"),
        (one_layer_less, "has 24 layers with weights, 3 levels with batch norm.* have 25"),
        (upsampled_otherwise, "conv2d_99 stands where .* a transposed convolution"),
        (normalised_first, "batch_normalization_2 has gamma, .*; the convolution in its place"),
        (a_dense_layer, "conv2d_11 has a weight embeddings:0, as no layer of this family"),
        (whole_numbers, "conv2d_1/bias:0 is no array of real numbers"),
    ],
)
def test_the_first_layer_that_does_not_fit_is_named(
    spoil: Callable[[Model], None], words: str, tmp_path: Path
) -> None:
    model = small()
    spoil(model)

    with pytest.raises(KerasFileError, match=words):
        import_network(write_weights(tmp_path / "w.h5", model), 3)


@pytest.mark.parametrize(
    ("normalised", "words"),
    [
        (
            False,
            "has 13 layers with weights, 4 levels without .* 18; 13 is what --layers 3 has",
        ),
        (True, "has 25 layers with weights, 4 levels with .* have 35; 25 is what --layers 3"),
    ],
)
@pytest.mark.parametrize("write", [write_weights, write_model, write_keras_3_weights])
def test_a_wrong_number_of_levels_is_told_with_the_right_one(
    write: Callable[[Path, Model], Path], normalised: bool, words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "w.h5", small(normalised=normalised))

    with pytest.raises(KerasFileError, match=words):
        import_network(path, 4)


def zeros_around(layers: dict[str, Any]) -> None:
    layers["reflection_padding2d_4"]["class_name"] = "ZeroPadding2D"


def padded_otherwise(layers: dict[str, Any]) -> None:
    layers["conv2d_4"]["config"]["padding"] = "same"


def another_activation(layers: dict[str, Any]) -> None:
    layers["activation_3"]["config"]["activation"] = "elu"


def another_epsilon(layers: dict[str, Any]) -> None:
    layers["batch_normalization_2"]["config"]["epsilon"] = 1e-5


def dropped_by_channel(layers: dict[str, Any]) -> None:
    layers["mc_dropout_2"]["class_name"] = "SpatialDropout2D"


def dropped_more_in_one(layers: dict[str, Any]) -> None:
    layers["mc_dropout_2"]["config"]["rate"] = 0.3


def skip_before_dropout(layers: dict[str, Any]) -> None:
    layers["concatenate_1"]["inbound_nodes"][0][1][0] = "activation_4"


def skip_first(layers: dict[str, Any]) -> None:
    layers["concatenate_2"]["inbound_nodes"][0].reverse()


def cropped_at_the_end(layers: dict[str, Any]) -> None:
    layers["cropping2d_1"]["config"]["cropping"] = [[0, 5], [0, 5]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (zeros_around, r"_4 \(ZeroPadding2D\): the published network has reflection padding"),
        (padded_otherwise, r"conv2d_4 \(Conv2D\): padding is same, not valid"),
        (another_activation, "activation_3 .*: the published network has ReLU there"),
        (another_epsilon, "batch_normalization_2 .*: epsilon is 1e-05, not 0.001"),
        (dropped_by_channel, "SpatialDropout2D.: the published network has dropout there"),
        (dropped_more_in_one, r"dropout differs between blocks: \[0.5, 0.3, 0.5"),
        (skip_before_dropout, "takes cropping2d_1 and activation_4, .* and mc_dropout_2"),
        (skip_first, "concatenate_2 .*: takes mc_dropout_1 and cropping2d_2, in the pub"),
        (cropped_at_the_end, "cropping2d_1 .*: cropping is .*0, 5.*, not .*2, 2"),
    ],
)
def test_a_model_that_computes_otherwise_is_refused_though_its_weights_fit(
    change: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    def changed(model: Model) -> dict[str, Any]:
        config = described(model)
        change({layer["name"]: layer for layer in config["config"]["layers"]})
        return config

    path = write_model(tmp_path / "m.h5", small(), changed)

    with pytest.raises(KerasFileError, match=words):
        import_network(path, 3)


def test_the_share_dropped_is_the_models_own(tmp_path: Path) -> None:
    model = small()
    for layer in model.layers:
        if layer.class_name == "MCDropout":
            layer.config["rate"] = 0.25

    network = import_network(write_model(tmp_path / "m.h5", model), 3).network

    assert network.architecture.dropout == 0.25


def test_a_share_told_that_is_not_the_models_own_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.h5", small())

    assert import_network(path, dropout=0.5).network.architecture.dropout == 0.5
    with pytest.raises(KerasFileError, match=r"drops 0.5, --dropout says 0.25; leave"):
        import_network(path, dropout=0.25)


def test_weights_alone_take_the_share_that_is_told(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.h5", small())

    assert import_network(path, dropout=0.25).network.architecture.dropout == 0.25


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("levels", [2, 5, 6])
def test_the_number_of_levels_follows_from_the_file(
    levels: int, normalised: bool, tmp_path: Path
) -> None:
    model = keras_model(levels, 1, normalised=normalised)

    network = import_network(write_weights(tmp_path / "w.h5", model)).network

    assert network.architecture.layers == levels


def renamed(class_name: str, to: str) -> Callable[[Model], dict[str, Any]]:
    def changed(model: Model) -> dict[str, Any]:
        config = described(model)
        for layer in config["config"]["layers"]:
            layer["class_name"] = (
                to if layer["class_name"] == class_name else layer["class_name"]
            )
        return config

    return changed


@pytest.mark.parametrize(
    ("class_name", "to"),
    [
        ("ReflectionPadding2D", "Reflection2Padding2D"),
        ("ReflectionPadding2D", "Custom>ReflectionPadding2D"),
        ("ReflectionPadding2D", "our_hospital>Reflection2Padding2D"),
        ("MCDropout", "Custom>MCDropout"),
        ("BatchNormalization", "BatchNormalizationV1"),
    ],
)
def test_classes_that_are_the_published_ones_by_another_name_are_taken(
    class_name: str, to: str, tmp_path: Path
) -> None:
    model = small()
    path = write_model(tmp_path / "m.h5", model, renamed(class_name, to))

    assert_the_same(import_network(path).network, model, grey_image(16, 16))


@pytest.mark.parametrize(
    ("class_name", "to", "words"),
    [
        (
            "ReflectionPadding2D",
            "MirrorPadding",
            r"_1 \(MirrorPadding\): .* padding there, as class ReflectionPadding2D or Refl",
        ),
        ("Conv2D", "Custom>Conv2D", r"\(Custom>Conv2D\): .* has convolution there, as class"),
    ],
)
def test_a_class_that_is_not_known_is_named_with_those_that_are(
    class_name: str, to: str, words: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.h5", small(), renamed(class_name, to))

    with pytest.raises(KerasFileError, match=words):
        import_network(path)


def empty_hdf5(path: Path) -> None:
    h5py.File(path, "w").close()


def theano(path: Path) -> None:
    write_weights(path, small())
    with h5py.File(path, "a") as file:
        file.attrs["backend"] = b"theano"


def dense(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 3), dtype=np.float32)


def recurrent(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense_1"]
        file.create_group("dense_1").attrs["weight_names"] = [b"dense_1/kernel:0"]
        file["dense_1/dense_1/kernel:0"] = np.zeros((3, 3), dtype=np.float32)


def kernels_twice(path: Path) -> None:
    write_weights(path, small())
    with h5py.File(path, "a") as file:
        layer = file["conv2d_4"]
        layer["conv2d_4/kernel_1:0"] = layer["conv2d_4/kernel:0"][()]
        layer.attrs["weight_names"] = [b"conv2d_4/kernel:0", b"conv2d_4/kernel_1:0"]


def layer_gone(path: Path) -> None:
    write_weights(path, small())
    with h5py.File(path, "a") as file:
        del file["conv2d_4"]


def unreadable_description(path: Path) -> None:
    write_model(path, small(), lambda _: {"config": {"layers": [{"name": "x"}]}})


def huge(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("conv2d/vars/0", (3, 3, 2**20, 2**20), np.float32, chunks=True)


def many_arrays(path: Path) -> None:
    """A few kB that would fill 1.7 GB: nothing of it is stored."""
    with h5py.File(path, "w") as file:
        for n in range(12):
            name = f"layers/conv2d_{n}/vars/0"
            file.create_dataset(name, (3, 3, 2**10, 4000), np.float32, chunks=True)
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda _: None, "no such file"),
        (
            lambda path: path.write_bytes(b"weights"),
            "neither an HDF5 file nor a .keras archive$",
        ),
        (lambda path: path.write_bytes(b""), "neither an HDF5 file nor a .keras archive$"),
        (lambda path: path.write_bytes(b"PK\x03\x04..."), "damaged archive"),
        (empty_hdf5, "without layers that Keras wrote"),
        (theano, "written with Theano"),
        (dense, "layers/dense/vars/0 is of no layer of this family"),
        (recurrent, r"dense_1: kernel is \(3, 3\), not that of a 2-D convolution"),
        (kernels_twice, "layer conv2d_4 has two weights kernel"),
        (layer_gone, "damaged HDF5 file: .*conv2d_4"),
        (unreadable_description, "its model_config cannot be read"),
        (huge, "/conv2d/vars/0 claims 9895604649984 values"),
        (many_arrays, "/layers/conv2d_1/vars/0 claims 36864000 values; no network of this"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_words(
    write: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.h5"
    write(path)

    with pytest.raises(KerasFileError, match=words):
        import_network(path, 3)


def test_a_file_cut_off_is_refused_in_words(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.h5", small())
    path.write_bytes(path.read_bytes()[:5000])

    with pytest.raises(KerasFileError, match="damaged HDF5 file"):
        import_network(path, 3)


def imported_bundle(folder: Path, model: Model, **changed: Any) -> Path:
    file = write_weights(folder / "theirs.h5", model)
    given = {"grid": PixelGrid(pixel_mm=8.0), "samples": 2} | changed
    import_bundle(file, folder / "taken", name="taken", version="7", **given)
    return folder / "taken"


def test_a_bundle_says_where_it_comes_from_and_what_it_lacks(tmp_path: Path) -> None:
    model = small()

    bundle = load_bundle(imported_bundle(tmp_path, model))
    card = (bundle.folder / "MODEL_CARD.md").read_text()

    assert (bundle.name, bundle.version, bundle.calibration) == ("taken", "7", None)
    assert bundle.training["source_file"] == "theirs.h5"
    assert bundle.training["layers"][0] == (
        "conv2d_1 (convolution) is encoder.0.first.convolution"
    )
    assert len(bundle.training["layers"]) == 25
    presumed = ("settings", "dropout_share", "window_of_training", "label_order")
    assert [bundle.training[key] for key in presumed] == ["presumed"] * 4
    assert bundle.training["source_sha256"] in card
    assert "Imported, and not validated here" in card
    assert "not calibrated" in card
    assert_the_same(bundle.model.network(), model, grey_image(16, 16))


def test_the_pipeline_runs_with_a_bundle_that_has_no_calibration(tmp_path: Path) -> None:
    volume = body(spacing_mm=(40.0, 8.0, 8.0)).volume

    case = analyse(volume, load_bundle(imported_bundle(tmp_path, small())), seed=1)

    assert case.model.name == "taken"
    assert case.mean_uncertainty_limits is None
    assert all(one.uncertainty_limits is None for one in case.structures)


def test_figures_have_their_place_in_the_card(tmp_path: Path) -> None:
    card = (imported_bundle(tmp_path, small()) / "MODEL_CARD.md").read_text()

    filled = with_figures(card, "Dice: .9")

    assert "## Figures" in filled
    assert "Dice: .9" in filled
    assert "None." not in filled


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("three years")

    with pytest.raises(BundleError, match="is no bundle"):
        imported_bundle(tmp_path, small())

    assert (tmp_path / "taken" / "thesis.txt").read_text() == "three years"


def test_the_command_writes_a_bundle_with_what_it_was_told(tmp_path: Path) -> None:
    file = write_model(tmp_path / "theirs.h5", small(), described_by_keras_3)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    arguments = (
        f"import-keras {file} --layers 3 --out {tmp_path / 'hip'} --version 2 --pixel-mm 0.8 "
        f"--window-hu -200 400 --window-values -1 1 --samples 3 "
        f"--labels {tmp_path / 'labels.txt'}"
    )

    ended = CliRunner().invoke(cli.app, arguments.split())

    bundle = load_bundle(tmp_path / "hip")
    assert ended.exit_code == 0, ended.output
    assert "not calibrated" in " ".join(ended.output.split())
    assert (bundle.name, bundle.version, bundle.samples) == ("hip", "2", 3)
    assert bundle.model.window == Window(-200, 400, -1, 1)
    assert bundle.model.grid == PixelGrid(pixel_mm=0.8, body_only=False)
    assert bundle.training["label_order"] == "told at import"
    assert bundle.training["settings"].startswith("checked")


def test_a_window_that_is_empty_half_told_or_told_twice_is_wrong_usage(tmp_path: Path) -> None:
    for options, words in (
        ("--window-hu 5 5 --window-values 0 255", "the window is empty"),
        ("--window-hu 5 50", "are given together"),
        ("--window femur --window-hu 5 50 --window-values 0 255", "leave the numbers out"),
    ):
        arguments = f"import-keras x.h5 --out {tmp_path / 'b'} {options}"

        ended = CliRunner().invoke(cli.app, arguments.split())

        assert ended.exit_code == 2
        assert words in " ".join(ended.output.replace("│", "").split())


def test_descriptions_of_both_keras_versions_say_the_same(tmp_path: Path) -> None:
    """A guard of this file's own helpers: the two forms differ, the inputs do not."""
    model = small()
    old, new = (json.dumps(tell(model)) for tell in (described, described_by_keras_3))

    assert old != new
    assert old.count('"mc_dropout_1"') == new.count('"mc_dropout_1"')
