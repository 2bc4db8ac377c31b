"""What a bundle is, for a person who chooses one: the same facts of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.models.bundle import Bundle
from inference.results import SampleKind, Uncertainty
from inference.structures import SEGMENTS

OWN_LICENCE: Final = "the licence of this project (see its model card)"
NOT_STATED: Final = "not stated: to be read by the site"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFacts:
    """One bundle that can be used.

    samples: how many an analysis takes that asks for no number.
    most_samples: that there can be; None for as many as are asked for.
    doubt: what the uncertainty rests on, in words.
    provided, not_provided: keys of the 43 segments.
    calibrated_on, fitted_on: of the quality gate's limits; empty where there are none.
    origin: of a guest, which program's network it is and what was imported; else empty.
    licence: of the weights, as far as the bundle states it.
    """

    name: str
    version: str
    kind: str
    samples: int
    most_samples: int | None
    samples_of: SampleKind
    uncertainty: Uncertainty
    doubt: str
    provided: tuple[str, ...]
    not_provided: tuple[str, ...]
    calibrated_on: str
    fitted_on: str
    origin: str
    licence: str
    sha256: str
    weights_sha256: str
    folder: str

    @property
    def structures_words(self) -> str:
        """How many of the 43 segments, and the structures that are lacking."""
        count = f"{len(self.provided)} of {len(SEGMENTS)} segments"
        if not self.not_provided:
            return count
        lacking = dict.fromkeys(
            _structure_words(key, self.not_provided) for key in self.not_provided
        )
        return f"{count}; not {', '.join(lacking)}"

    @property
    def calibration_words(self) -> str:
        """What the limits rest on, or what it means that there are none."""
        if self.calibrated_on:
            return f"on {self.calibrated_on}, {self.fitted_on}"
        if self.uncertainty is Uncertainty.NONE:
            return "no, and there is nothing to calibrate: every structure is not judged"
        return "no: uncertainties are given, and not judged"


def facts_of(bundle: Bundle) -> BundleFacts:
    """The facts of a bundle that has been read."""
    model, calibration = bundle.model, bundle.calibration
    count = bundle.sample_count()
    return BundleFacts(
        name=bundle.name,
        version=bundle.version,
        kind=bundle.kind,
        samples=count,
        most_samples=model.most_samples,
        samples_of=model.samples_of,
        uncertainty=model.uncertainty,
        doubt=model.uncertainty.from_words(model.samples_of, count),
        provided=tuple(s.key for s in SEGMENTS if s in model.segments),
        not_provided=tuple(s.key for s in SEGMENTS if s not in model.segments),
        calibrated_on=calibration.data_set if calibration else "",
        fitted_on=calibration.fitted_on.isoformat() if calibration else "",
        origin=origin_words(bundle.origin),
        licence=_licence(bundle.origin, bundle.training),
        sha256=bundle.sha256,
        weights_sha256=bundle.weights_sha256,
        folder=str(Path(bundle.folder).absolute()),
    )


def origin_words(origin: Mapping[str, Any]) -> str:
    """Which program's network it is and from which files it was imported; or nothing.

    Args:
        origin: the table of that name of a guest's `bundle.toml`; empty of our own networks.
    """
    named = ("program", "version", "dataset", "configuration")
    told = [origin.get(key) for key in named]
    program = " ".join(one for one in told if isinstance(one, str) and one)
    if not program:
        return ""
    files = [f"{name} (sha256 {sha256[:12]})" for name, sha256 in _weights(origin)]
    return f"{program}, imported from {', '.join(files)}" if files else program


def _weights(origin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and hashes of the files that weights came from, as importers note them."""
    weights, files = origin.get("weights"), origin.get("files")
    if isinstance(weights, list):
        for one in weights:
            if isinstance(one, Mapping):
                yield str(one.get("file", "")), str(one.get("sha256", ""))
    elif isinstance(files, Mapping):
        for name, sha256 in files.items():
            if not str(name).endswith(".json"):
                yield str(name), str(sha256)


def _licence(origin: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    if not origin:  # of an import from Keras, `training` names the file
        return NOT_STATED if "source_file" in training else OWN_LICENCE
    told = str(origin.get("licence", "")).strip()
    return NOT_STATED if not told or told.startswith("not given") else told


def _structure_words(key: str, lacking: tuple[str, ...]) -> str:
    """`FEMUR` where both sides are lacking, `FEMUR_L` where one is."""
    structure, _, side = key.partition("_")
    return structure if side and all(f"{structure}_{s}" in lacking for s in "RL") else key
