"""Rules tried on series that are here: what would be taken, what not, and every reason."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.errors import ConfigurationError, NoImagesError, UnknownNameError
from dicom_node.persistence.ledger import existing_ledger
from dicom_node.series.candidate_reading import candidate_of, series_below
from dicom_node.series.candidates import Candidate, Judgement
from dicom_node.series.eligibility import choose
from dicom_node.series.kernels import kernel_kind
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.rules import RuleSet
from dicom_node.spool.arrivals import study_of
from dicom_node.spool.pending import read_waiting
from dicom_node.spool.spool import Spool
from dicom_node.uids import is_uid


@dataclass(frozen=True, slots=True)
class TriedSeries:
    """A series, and what rules say of it."""

    candidate: Candidate
    judgement: Judgement
    kernel: str

    def as_json(self) -> dict[str, Any]:
        """Values of JSON, without the patient's name and identifiers."""
        candidate, stack = self.candidate, self.candidate.stack
        facts = ("slices", "slice_thickness_mm", "slice_spacing_mm", "length_mm", "is_axial")
        values = candidate.values
        return {
            "series_instance_uid": candidate.series_instance_uid,
            "series_number": values.get("SeriesNumber", ""),
            "series_description": values.get("SeriesDescription", ""),
            "frame_of_reference_uid": candidate.frame_of_reference_uid,
            "convolution_kernel": values.get("ConvolutionKernel", ""),
            "kernel": self.kernel,
            "images": candidate.images,
            **{name: getattr(stack, name) if stack else None for name in facts},
            "refusal": stack.refusal if stack else "",
            "taken": self.judgement.is_taken,
            "reasons": list(self.judgement.reasons),
        }


@dataclass(frozen=True, slots=True)
class TriedStudy:
    """A study with its series, in the order of their numbers."""

    study_instance_uid: str
    series: tuple[TriedSeries, ...]


def named_rules(config: NodeConfig, name: str | None) -> RuleSet:
    """The rules to try: those of this name, else those of `[analysis]`, else the only ones.

    Raises:
        ConfigurationError: the settings have no rules.
        UnknownNameError: none of this name, or several of which none is meant.
    """
    if not config.rules:
        raise ConfigurationError("there are no [[rules]] in the settings")
    if name is None and len(config.rules) == 1:
        return config.rules[0]
    wanted = name or config.analysis.rules or ""
    rules = config.rule_set(wanted)
    if rules is None:
        known = ", ".join(each.name for each in config.rules)
        raise UnknownNameError(
            f"there are no rules {wanted!r}: {known}"
            if wanted
            else f"several rules; give --rules: {known}"
        )
    return rules


def try_rules(rules: RuleSet, series: Iterable[Sequence[Path]]) -> tuple[TriedStudy, ...]:
    """Try rules on series, each given by its files, study by study."""
    studies: dict[str, list[Candidate]] = defaultdict(list)
    for paths in series:
        with contextlib.suppress(NoImagesError):
            candidate = candidate_of(paths)
            studies[candidate.study_instance_uid].append(candidate)
    return tuple(_tried(uid, studies[uid], rules) for uid in sorted(studies))


def series_of_folder(folder: Path) -> tuple[tuple[Path, ...], ...]:
    """The series of all DICOM files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(series_below(paths).values())


def series_of_study(
    config: NodeConfig, study_instance_uid: str
) -> tuple[tuple[Path, ...], ...]:
    """The series of a study that the node's spool has, also those not complete yet.

    Raises:
        UnknownNameError: it has none.
    """
    found = tuple(_in_spool(config, study_instance_uid)) if is_uid(study_instance_uid) else ()
    if not found:
        raise UnknownNameError(
            f"{study_instance_uid!r} is neither a folder nor a study in the spool"
        )
    return found


def _in_spool(config: NodeConfig, study_instance_uid: str) -> Iterator[tuple[Path, ...]]:
    """The files of each series of a study in the spool."""
    if not config.node.spool.is_dir():
        return
    spool = Spool(config.node.spool, only_look=True)
    known: Mapping[str, str] = {}
    ledger = existing_ledger(config.node.database_url, only_read=True)
    if ledger is not None:
        try:
            rows = ledger.of_study(study_instance_uid)
            known = {row.series_instance_uid: row.study_instance_uid for row in rows}
        finally:
            ledger.close()
    # The ledger knows what was complete once; the rest is few, and tells by its headers.
    waiting = {each.series_instance_uid for each in read_waiting(config.node.spool)}
    for uid in sorted(known.keys() | waiting):
        paths = tuple(entry.path for entry in spool.entries(uid))
        if paths and (known.get(uid) or study_of(paths)) == study_instance_uid:
            yield paths


def _tried(uid: str, candidates: Sequence[Candidate], rules: RuleSet) -> TriedStudy:
    judged = choose(candidates, rules)
    series = [
        TriedSeries(each, judged[each.series_instance_uid], _kernel(each, rules))
        for each in sorted(candidates, key=_order)
    ]
    return TriedStudy(uid, tuple(series))


def _order(candidate: Candidate) -> tuple[int, str]:
    number = candidate.values.get("SeriesNumber", "")
    return (int(number) if number.isdecimal() else 10**12, candidate.series_instance_uid)


def _kernel(candidate: Candidate, rules: RuleSet) -> str:
    values = candidate.values
    kernel, manufacturer = (values.get(k, "") for k in ("ConvolutionKernel", "Manufacturer"))
    return kernel_kind(kernel, manufacturer, rules.soft_kernels, rules.bone_kernels).value
