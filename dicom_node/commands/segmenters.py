"""Sources of the segmentations that are evaluated: a bundle, or ready results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_node.case_files.labelled_cases import LabelledCase, ListedCase, read_on_grid
from dicom_node.case_files.result_names import LABELS_FILE, REPORT_FILE, UNCERTAINTY_FILE
from dicom_node.errors import NoImagesError
from dicom_node.uids import seed_for
from inference.errors import LabelTableError
from inference.evaluation.scores import Agreement
from inference.label_table import SEGMENT_TABLE
from inference.models.bundle import Bundle
from inference.pipeline import analyse_sample_counts
from inference.results import Uncertainty, Verdict
from inference.structures import BY_KEY, SEGMENTS, Segment
from inference.volume import Patient

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """An arm's answer for a case, on the case's grid.

    uncertainty: None of a model that has none.
    not_provided: segments that the model was not made to find; they have no score.
    agreements: how much the samples agree, of the segments for which that is known.
    """

    segments: NDArray[np.uint8]
    uncertainty: NDArray[np.float32] | None
    not_provided: frozenset[Segment] = frozenset()
    agreements: Mapping[Segment, Agreement] = field(default_factory=dict)


class Segmenter(Protocol):
    """A source of segmentations."""

    @property
    def name(self) -> str:
        """As tables and figures call it."""

    @property
    def folder_name(self) -> str:
        """Of its scores."""

    @property
    def samples(self) -> int | None:
        """Monte Carlo samples, where they are known."""

    @property
    def trained_on(self) -> str:
        """The numbers of its training cases or bodies, as text."""

    def facts(self, listed: ListedCase) -> tuple[str, ...]:
        """All that the segmentation of a case depends on, but for the case itself."""

    @property
    def source(self) -> str:
        """Segmenters of one source differ by their samples alone, and share one pass."""

    def segment(
        self, listed: ListedCase, case: LabelledCase, samples: Sequence[int | None]
    ) -> Iterator[Segmented]:
        """The segmentations of a case, one for each number of samples; the numbers grow.

        Raises:
            SeriesError: there is none.
        """


@dataclass(frozen=True, slots=True)
class ByBundle:
    """Runs the pipeline with a bundle."""

    bundle: Bundle
    samples: int
    device: str = "auto"
    progress: Progress | None = None

    @property
    def name(self) -> str:
        """The bundle's name and version."""
        return f"{self.bundle.name} {self.bundle.version}"

    @property
    def folder_name(self) -> str:
        """Tells bundles of the same name apart by their weights."""
        words = f"{self.name}-{self.bundle.sha256[:8]}-T{self.samples}"
        return re.sub(r"[^\w.-]+", "-", words)

    @property
    def trained_on(self) -> str:
        """The numbers of cases or bodies that bundle.toml gives."""
        told = self.bundle.training
        known = [f"{told[key]} {key}" for key in ("cases", "bodies") if key in told]
        return ", ".join(known)

    @property
    def source(self) -> str:
        """The bundle and the device."""
        return f"{self.bundle.sha256} {self.device}"

    def facts(self, listed: ListedCase) -> tuple[str, ...]:  # noqa: ARG002 - see the protocol
        """The bundle (weights, declaration) and the samples; not the device."""
        return (self.bundle.sha256, str(self.samples))

    def segment(
        self,
        listed: ListedCase,  # noqa: ARG002
        case: LabelledCase,
        samples: Sequence[int | None],
    ) -> Iterator[Segmented]:
        """Analyse the volume once; the seed follows from its voxels."""
        content = hashlib.sha256(case.volume.hu.tobytes()).hexdigest()
        seed = seed_for((content,), self.bundle.weights_sha256, "evaluation")
        for found in analyse_sample_counts(
            case.volume,
            self.bundle,
            patient=Patient(case.height_m),
            counts=[count or self.samples for count in samples],
            seed=seed,
            device=self.device,
            progress=self.progress,
        ):
            missing = frozenset(SEGMENTS) - self.bundle.model.segments
            agreements = {
                one.segment: Agreement(one.measured.pairwise_dice, one.measured.volume_cv)
                for one in found.structures
            }
            yield Segmented(found.segments, found.uncertainty, missing, agreements)


@dataclass(frozen=True, slots=True)
class ByResults:
    """Takes results of `msk-node segment`: a folder with one folder for each case."""

    folder: Path

    @property
    def name(self) -> str:
        """The model that the results name, or the folder where they name several."""
        models = self._models
        return " ".join(models[0][:2]) if len(models) == 1 else self.folder.name

    @property
    def folder_name(self) -> str:
        """Of its scores."""
        digest = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]
        return re.sub(r"[^\w.-]+", "-", f"results-{self.folder.name}-{digest}")

    @property
    def samples(self) -> int | None:
        """The number that all results name."""
        models = self._models
        return int(models[0][2]) if len(models) == 1 else None

    @property
    def trained_on(self) -> str:
        """Results do not say it."""
        return ""

    @property
    def source(self) -> str:
        """The folder, which has one number of samples."""
        return self.folder_name

    @property
    def _models(self) -> list[tuple[str, str, str]]:
        """(name, version, samples) of the models that the results name, without repeats."""
        found = set()
        for path in sorted(self.folder.glob(f"*/{REPORT_FILE}")):
            model = _part(path, "case", "model")
            if model:
                found.add((model["name"], model["version"], str(model["samples"])))
        return sorted(found)

    def facts(self, listed: ListedCase) -> tuple[str, ...]:
        """The files of the case's results."""
        own = self.folder / listed.name
        names = (LABELS_FILE, UNCERTAINTY_FILE, REPORT_FILE)
        return tuple(file_facts(own / name) for name in names)

    def segment(
        self,
        listed: ListedCase,
        case: LabelledCase,
        samples: Sequence[int | None],  # noqa: ARG002 - a folder has one number
    ) -> Iterator[Segmented]:
        """Read label map and uncertainty."""
        own = self.folder / listed.name
        report = own / REPORT_FILE
        if not report.is_file():
            raise NoImagesError(f"no {REPORT_FILE} in {own}")
        refused = _part(report, "refused")
        if refused:
            raise NoImagesError(f"refused when it was segmented: {refused['words']}")
        geometry = case.volume.geometry
        labels = read_on_grid(own / LABELS_FILE, geometry)
        has_none = _part(report, "case", "model").get("uncertainty") == Uncertainty.NONE
        uncertainty = None if has_none else read_on_grid(own / UNCERTAINTY_FILE, geometry)
        unknown = [int(n) for n in np.unique(labels) if n and n not in SEGMENT_TABLE.meanings]
        if unknown:
            raise LabelTableError(f"{own / LABELS_FILE}: {unknown[0]} is no segment's number")
        yield Segmented(
            labels.astype(np.uint8),
            None if uncertainty is None else uncertainty.astype(np.float32),
            _not_provided(_part(report, "case")),
            _agreements(_part(report, "case")),
        )


def _not_provided(case: dict[str, Any]) -> frozenset[Segment]:
    """The segments that a report says its model was not made to find."""
    return frozenset(
        BY_KEY[one["key"]]
        for one in case.get("structures", ())
        if one.get("verdict") == Verdict.NOT_PROVIDED and one.get("key") in BY_KEY
    )


def _agreements(case: dict[str, Any]) -> dict[Segment, Agreement]:
    """What a report says of its samples; nothing where an earlier version wrote it."""
    return {
        BY_KEY[one["key"]]: Agreement(one.get("pairwise_dice"), one.get("volume_cv"))
        for one in case.get("structures", ())
        if one.get("key") in BY_KEY
    }


def _part(report: Path, *keys: str) -> dict[str, Any]:
    """A part of a report.json; nothing where the file or the part is not there."""
    try:
        part = json.loads(report.read_text(encoding="utf-8"))
        for key in keys:
            part = part[key]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return part if isinstance(part, dict) else {}


def file_facts(path: Path) -> str:
    """Name, size and time of a file, which change when its content does."""
    if not path.is_file():
        return f"{path.name} is not there"
    state = path.stat()
    return f"{path.name} {state.st_size} {state.st_mtime_ns}"
