"""`msk-node evaluate CASES --out DIR`: bundles against labelled cases, the study's way.

```
report.html  scores.csv  tables/  figures/     see `inference.evaluation.report`
cases/ARM/CASE.json                            the scores of one case: done, and not done again
```
An arm is a bundle with a number of samples, or a folder of ready results of `msk-node
segment`, one folder for each case. A case is done again when its files, its label table, the
bundle or the number of samples have changed. A case that cannot be read is left out of all
arms, and the report says why.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from dicom_node.case_files.image_files import files_of
from dicom_node.case_files.labelled_cases import (
    LabelledCase,
    ListedCase,
    listed_cases,
    read_case,
)
from dicom_node.commands.segmenters import (
    ByBundle,
    ByResults,
    Progress,
    Segmented,
    Segmenter,
    file_facts,
)
from dicom_node.errors import ConfigurationError, NoImagesError, SeriesError
from inference.errors import LabelTableError
from inference.evaluation.report import CASES_FACT, COMMAND_FACT, write_report
from inference.evaluation.scored import Arm, Evaluation, LeftOut
from inference.evaluation.scores import CaseScore, score_structures
from inference.models.bundle import Bundle

CASES_FOLDER: Final = "cases"
SCORES_VERSION: Final = 3
"""Grows when the same case would be scored differently."""

MOST_ARMS: Final = 2

SCOPE_WORDS: Final = (
    "both sides together, as the network labels them; right and left apart in scores.csv,"
    " affected and unaffected in tables 7 and 8"
)

OnMessage = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one evaluation.

    source: a listing or folder of labelled cases.
    table: what the labels mean, if not said there.
    command: as it was typed, for the report.
    arms: one, or two to be compared.
    by_samples: one bundle with several numbers of samples; may share arms with `arms`.
    """

    source: Path
    arms: tuple[Segmenter, ...]
    by_samples: tuple[Segmenter, ...] = ()
    table: Path | None = None
    command: str = ""

    def __post_init__(self) -> None:
        """Check what can be known before any case is read."""
        if not 1 <= len(self.arms) <= MOST_ARMS:
            words = f"{len(self.arms)} bundles or folders of results"
            raise ConfigurationError(f"{words}: one is evaluated, or two are compared")
        names = [arm.folder_name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"{names[0]} would be compared with itself")


def numbers_of(text: str) -> tuple[int, ...]:
    """The numbers of samples in `1,5,10`; none in an empty text."""
    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        words = f"--samples {text!r}: whole numbers with commas between them are expected"
        raise ConfigurationError(words) from error


def request_of(  # noqa: PLR0913 - the command's options
    source: Path,
    *,
    bundles: Sequence[Bundle],
    results: Sequence[Path] = (),
    samples: Sequence[int] = (),
    table: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    command: str = "",
) -> Request:
    """The request that the command's options make.

    Args:
        source: labelled cases.
        bundles: to be run.
        results: folders of ready results.
        samples: numbers of samples for Table 9, tried with the first bundle, in one pass.
            The bundles run with their own number where it is among these, else with the
            largest; those that have fewer samples with as many as they have.
        table: label table.
        device: for the bundles.
        progress: told (slices done, slices in all) of each case.
        command: as it was typed, for the report.
    """
    for folder in results:
        if not folder.is_dir():
            raise ConfigurationError(f"{folder}: no folder of results there")
    numbers = sorted(set(samples))
    if numbers and (numbers[0] < 1 or not bundles):
        raise ConfigurationError("numbers of samples need a bundle, and start at 1")
    most = bundles[0].model.most_samples if numbers else None
    if most == 1:
        words = "answers once: it has no numbers of samples to try"
        raise ConfigurationError(f"{bundles[0].name} {words}")
    if most is not None and numbers[-1] > most:
        words = f"has {most} samples at most, not {numbers[-1]}"
        raise ConfigurationError(f"{bundles[0].name} {words}")

    def arm(bundle: Bundle, count: int) -> ByBundle:
        return ByBundle(bundle, count, device, progress)

    def used_by(bundle: Bundle) -> int:
        own = not numbers or bundle.samples in numbers
        return bundle.sample_count(None if own else numbers[-1])

    used = [used_by(bundle) for bundle in bundles]
    arms = [arm(bundle, count) for bundle, count in zip(bundles, used, strict=True)]
    return Request(
        source,
        (*arms, *(ByResults(folder) for folder in results)),
        tuple(arm(bundles[0], number) for number in numbers),
        table,
        command,
    )


def evaluate(request: Request, out: Path, on_message: OnMessage | None = None) -> Path:
    """Score every case with every arm, and write the report.

    Args:
        request: what to evaluate on what.
        out: made where missing; scores of an earlier run in it are used again.
        on_message: told a line for every case and arm.

    Returns:
        The HTML report.

    Raises:
        ConfigurationError: the listing cannot be used.
        SeriesError: not one case could be evaluated.
    """
    cases = listed_cases(request.source, request.table)
    on_message = on_message or (lambda _: None)
    arms = list({one.folder_name: one for one in (*request.arms, *request.by_samples)}.values())
    scores, left_out = _score_all(cases, arms, _Store(out / CASES_FOLDER), on_message)
    missing = {one.case for one in left_out}
    whole = [listed for listed in cases if listed.name not in missing]
    if not whole:
        raise NoImagesError(f"no case could be evaluated; the first: {left_out[0].reason}")

    names = _names(request.arms, arms)

    def scored(arm: Segmenter) -> Arm:
        rows = tuple(scores[listed.name, arm.folder_name] for listed in whole)
        return Arm(names[arm.folder_name], rows, arm.samples, arm.trained_on)

    evaluation = Evaluation(
        tuple(scored(arm) for arm in request.arms),
        tuple(scored(arm) for arm in request.by_samples),
        tuple(left_out),
        _facts(request, cases, whole, scores, names),
    )
    return write_report(evaluation, out)


def _score_all(
    cases: Sequence[ListedCase], arms: Sequence[Segmenter], store: _Store, on_message: OnMessage
) -> tuple[dict[tuple[str, str], CaseScore], list[LeftOut]]:
    """The scores by name of the case and folder of the arm, and what could not be scored."""
    scores: dict[tuple[str, str], CaseScore] = {}
    left_out: list[LeftOut] = []
    for number, listed in enumerate(cases, start=1):
        reading = _Reading(listed)
        for together in _by_source(arms):
            about = f"case {number} of {len(cases)}, {listed.name}, {together[0].name}"
            waiting = list(together)
            try:
                for arm, score, done in store.scores(listed, together, reading):
                    scores[listed.name, arm.folder_name] = score
                    waiting.remove(arm)
                    on_message(f"{about}{_with_samples(arm)}: {'was done' if done else 'done'}")
            except (SeriesError, LabelTableError) as error:
                for arm in waiting:
                    left_out.append(LeftOut(listed.name, arm.name, str(error)))
                    on_message(f"{about}{_with_samples(arm)}: left out: {error}")
    return scores, left_out


def _by_source(arms: Sequence[Segmenter]) -> list[list[Segmenter]]:
    """Arms that share one pass of the network, by growing samples."""
    groups: dict[str, list[Segmenter]] = defaultdict(list)
    for arm in arms:
        groups[arm.source].append(arm)
    return [sorted(group, key=lambda arm: arm.samples or 0) for group in groups.values()]


def _with_samples(arm: Segmenter) -> str:
    return "" if arm.samples is None else f", samples {arm.samples}"


def _names(compared: Sequence[Segmenter], others: Sequence[Segmenter]) -> dict[str, str]:
    """The name of each arm, by its folder; compared arms never share one.

    Two of one name get their number of samples; where that is the same, too, their folder.
    """
    names = {arm.folder_name: arm.name for arm in (*others, *compared)}
    if len({arm.name for arm in compared}) < len(compared):
        samples = {arm.samples for arm in compared}
        for arm in compared:
            with_samples = f"{arm.name} T{arm.samples}"
            alike = len(samples) < len(compared)
            names[arm.folder_name] = arm.folder_name if alike else with_samples
    return names


def _facts(
    request: Request,
    cases: Sequence[ListedCase],
    whole: Sequence[ListedCase],
    scores: dict[tuple[str, str], CaseScore],
    names: dict[str, str],
) -> tuple[tuple[str, str], ...]:
    """The facts that the report states of itself."""
    tables = dict.fromkeys(score.words for score in scores.values())
    samples = (arm.samples for arm in request.arms)
    made_by = dict.fromkeys(listed.made_by for listed in whole if listed.made_by)
    commands = ((COMMAND_FACT, request.command), (CASES_FACT, "; ".join(made_by)))
    return (
        ("made by", f"msk-node {version('msk-node')} evaluate"),
        *((name, command) for name, command in commands if command),
        ("cases", f"{len(whole)} of {len(cases)} listed"),
        ("labels", "; ".join(tables)),
        ("bundles", "; ".join(names[arm.folder_name] for arm in request.arms)),
        ("samples", "; ".join(str(number or "not the same for all") for number in samples)),
        ("structures", SCOPE_WORDS),
    )


class _Reading:
    """A case that is read when the first arm needs it, and kept for the others."""

    def __init__(self, listed: ListedCase) -> None:
        self._listed = listed
        self._case: LabelledCase | None = None

    def case(self) -> LabelledCase:
        """The case."""
        if self._case is None:
            self._case = read_case(self._listed)
        return self._case


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file of scores: what they depend on, and the scores."""

    depends_on: str
    score: CaseScore


_KEPT: Final = TypeAdapter(_Kept)


@dataclass(frozen=True, slots=True)
class _Store:
    """Scores on disk, so that a case done is not done again."""

    folder: Path

    def scores(
        self, listed: ListedCase, arms: Sequence[Segmenter], reading: _Reading
    ) -> Iterator[tuple[Segmenter, CaseScore, bool]]:
        """The scores of a case by arms of one source, and whether they were there already."""
        pending = []
        for arm in arms:
            kept = _kept(self._path(listed, arm))
            if kept is not None and kept.depends_on == _digest(listed, arm):
                yield arm, _as_listed(kept.score, listed), True
            else:
                pending.append(arm)
        if not pending:
            return
        case = reading.case()
        found = pending[0].segment(listed, case, [arm.samples for arm in pending])
        for arm, segmented in zip(pending, found, strict=True):
            yield arm, self._keep(listed, arm, case, segmented), False

    def _keep(
        self, listed: ListedCase, arm: Segmenter, case: LabelledCase, found: Segmented
    ) -> CaseScore:
        """Score a segmentation and write the scores down."""
        structures = score_structures(
            case.volume,
            case.truth,
            found.segments,
            found.uncertainty,
            found.not_provided,
            found.agreements,
        )
        score = CaseScore(
            listed.name, structures, height_m=case.height_m, words=case.table_words
        )
        path = self._path(listed, arm)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{path.name}")
        part.write_bytes(_KEPT.dump_json(_Kept(_digest(listed, arm), score), indent=1) + b"\n")
        part.replace(path)
        return _as_listed(score, listed)

    def _path(self, listed: ListedCase, arm: Segmenter) -> Path:
        return self.folder / arm.folder_name / f"{listed.name}.json"


def _kept(path: Path) -> _Kept | None:
    """Scores of an earlier run; None where there are none that can be read."""
    try:
        return _KEPT.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _as_listed(score: CaseScore, listed: ListedCase) -> CaseScore:
    """With what the listing says today: it does not change the scores themselves."""
    return replace(
        score,
        data_set=listed.data_set,
        affected=listed.affected,
        height_m=listed.height_m or score.height_m,
    )


def _digest(listed: ListedCase, arm: Segmenter) -> str:
    """Changes whenever the scores could."""
    meanings = listed.table.meanings.items() if listed.table else ()
    facts = [
        SCORES_VERSION,
        [file_facts(path) for path in _files(listed.image)],
        [file_facts(path) for path in _files(listed.labels)],
        sorted((label, str(meaning)) for label, meaning in meanings),
        arm.facts(listed),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _files(image: Path) -> list[Path]:
    if image.is_file():
        return list(files_of(image))
    return sorted(path for path in image.rglob("*") if path.is_file())
