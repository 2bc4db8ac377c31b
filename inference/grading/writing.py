"""Writing a grader bundle: for a site that has trained `GraderNetwork`, and for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from inference.grading.bundle import KIND, GraderBundle, load_grader_bundle
from inference.grading.grader_files import GRADER_FILE, GRADER_FORMAT
from inference.grading.network import GraderNetwork
from inference.models.bundle_files import WEIGHTS_FILE, file_sha256
from inference.models.bundle_writing import replacing
from inference.models.toml_text import as_toml


def write_grader_bundle(
    folder: Path, network: GraderNetwork, declaration: Mapping[str, Any]
) -> GraderBundle:
    """Write a grader bundle, in place of one that may be there, and read it back.

    Args:
        folder: where it shall stand; its parent is made where missing.
        network: trained; its floating-point tensors are kept.
        declaration: the keys of grader.toml but `format`, `kind` and `sha256`, as
            `bundle.Declaration` and docs/grading.md name them.

    Raises:
        BundleError: what is to be written does not fit; nothing has been changed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().float().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    with replacing(folder) as fresh:
        save_file(tensors, fresh / WEIGHTS_FILE)
        hashes = {WEIGHTS_FILE: file_sha256(fresh / WEIGHTS_FILE)}
        table = {"format": GRADER_FORMAT, "kind": KIND, **declaration, "sha256": hashes}
        (fresh / GRADER_FILE).write_text(as_toml(table), encoding="utf-8")
        load_grader_bundle(fresh)
    return load_grader_bundle(folder)
