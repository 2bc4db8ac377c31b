"""The study of gates, on cases whose scores are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.models.bundle import load_bundle
from inference.results import Score
from inference.structures import STRUCTURES
from inference.training.calibrate import CASES_PER_BODY
from inference.training.gate_comparison import (
    FIT,
    GATES,
    STILL,
    TRIED,
    Found,
    StudyCase,
    splits,
    study,
    table,
)
from inference.training.gate_study import score_bodies, write_scored
from inference.training.scoring import Scored
from inference.training.synthesis.stream import Sources


def cases() -> list[StudyCase]:
    """Disagreement is what Dice lacks; the uncertainty is only loosely so."""
    rng = np.random.default_rng(3)
    made = []
    for part in (FIT, TRIED, STILL):
        for body in range(6):
            for which in range(CASES_PER_BODY):
                lost = rng.uniform(0.02, 0.06, len(STRUCTURES)) + which * rng.uniform(0, 0.3)
                scores = {
                    Score.UNCERTAINTY: lost * rng.uniform(0.2, 5.0, len(lost)) / 100,
                    Score.DISAGREEMENT: lost,
                    Score.VOLUME_CV: lost * rng.uniform(0.5, 2.0, len(lost)),
                }
                scored = Scored("", which > 0, 1 - lost, scores)
                made.append(StudyCase(part, f"{part}{body}", "AB"[body % 2], scored))
    return made


def by_gate(found: list[Found], split: str) -> dict[str, Found]:
    return {one.gate: one for one in found if one.split == split}


def test_each_body_is_tried_by_limits_that_were_fitted_without_it() -> None:
    made = {one.name: one.folds for one in splits(cases())}

    for folds in made.values():
        for fitted, tried in folds:
            assert not {case.body for case in fitted} & {case.body for case in tried}
    each = made["each body, fitted on all others"]
    assert len(each) == 18
    assert sum(len(tried) for _, tried in each) == len(cases())
    ((fitted, tried),) = made["A, fitted without it"]
    assert {case.source for case in fitted} == {"B"}
    assert {case.source for case in tried} == {"A"}


def test_the_score_that_knows_the_truth_wins_and_every_interval_holds_its_value() -> None:
    found = list(study(cases(), resamplings=40))
    drawn = by_gate(found, "second seed, fitted on the first")

    known, vague = drawn["disagreement"], drawn["uncertainty (the study's)"]
    assert known.auroc is not None
    assert vague.auroc is not None
    assert known.auroc > 0.98
    assert vague.auroc < 0.95
    assert known.aurc is not None
    assert vague.aurc is not None
    assert known.aurc < vague.aurc
    for one in drawn.values():
        assert (one.cases, one.structures) == (18, 18 * len(STRUCTURES))
        assert one.failed == known.failed
        assert one.interval is not None
        assert one.auroc is not None
        assert one.interval[0] <= one.auroc <= one.interval[1]


def test_the_table_has_a_row_for_every_gate_and_split() -> None:
    lines = table(list(study(cases(), resamplings=40))).splitlines()

    assert len(lines) == 2 + 6 * len(GATES)
    assert len({line.count("|") for line in lines}) == 1


def test_bodies_that_are_scored_are_read_and_not_scored_again(tmp_path: Path) -> None:
    """Without any label map nothing could be drawn."""
    kept = {}
    for case in cases():
        if case.body in {"fit0", "tried0"}:
            kept.setdefault(case.body, []).append(case)
    for body, of_body in kept.items():
        for which, case in enumerate(of_body):
            path = tmp_path / f"{body[:-1]}00_{which}.npz"
            write_scored(path, replace(case.scored, name=f"{body} {which}"), case.source)

    read = score_bodies(
        load_bundle("compact"), Sources((), 0.0), tmp_path, bodies=1, still=0, every=20
    )

    assert [case.part for case in read] == [FIT] * 3 + [TRIED] * 3
    assert [case.scored.name for case in read[:3]] == ["fit0 0", "fit0 1", "fit0 2"]
    for mine, theirs in zip([*kept["fit0"], *kept["tried0"]], read, strict=True):
        assert mine.source == theirs.source
        assert mine.scored.corrupted == theirs.scored.corrupted
        assert theirs.scored.dice == pytest.approx(mine.scored.dice)
        for score in Score:
            assert theirs.scored.scores[score] == pytest.approx(mine.scored.scores[score])
