"""The card's tables of accuracy are what the reports say, with the commands that made them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from inference.errors import TrainingError
from inference.evaluation import report
from inference.evaluation.listing import write_listing
from inference.evaluation.report import write_report
from inference.evaluation.scored import Arm, Evaluation
from inference.evaluation.scores import CaseScore, Scope, StructureScore
from inference.models.bundle import load_bundle
from inference.models.bundle_files import MODEL_CARD_FILE
from inference.training.model_card.card import main
from inference.training.model_card.tables import (
    CROSS,
    PHANTOMS,
    Section,
    cross_words,
    phantom_words,
    read_report,
    real_words,
)


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds, and test_evaluation_report looks at them."""
    monkeypatch.setattr(report, "all_figures", lambda _: ())


def score(structure: str, dice: float | None, volume_cm3: float = 110.0) -> StructureScore:
    """True volume 100 cm3 and mean 50 HU, found mean 47 HU; not annotated without Dice."""
    return StructureScore(
        structure,
        Scope.BOTH,
        true_voxels=1000 if dice is not None else 0,
        found_voxels=1,
        dice=dice,
        asd_mm=1.5 if dice else None,
        true_volume_cm3=100.0 if dice is not None else None,
        volume_cm3=volume_cm3,
        true_mean_hu=50.0 if dice is not None else None,
        mean_hu=47.0,
    )


def written(folder: Path, *cases: CaseScore, name: str = "small 1", samples: int = 10) -> Path:
    facts = (("command", "msk-node evaluate C --out R"), ("cases made by", "python -m made"))
    write_report(Evaluation((Arm(name, cases, samples),), facts=facts), folder)
    return folder


@pytest.fixture
def two_cases(tmp_path: Path) -> Path:
    return written(
        tmp_path / "report",
        CaseScore("a", (score("PELVIS", 0.9), score("GMED", 0.8))),
        CaseScore("b", (score("PELVIS", 0.94), score("GMED", 0.0))),
    )


def test_a_row_holds_mean_and_spread_of_the_cases(two_cases: Path) -> None:
    """Pelvis .90 and .94: .920, SD .028; AVE 10 % twice. GMED .8 and 0: ASD of one case."""
    lines = phantom_words(read_report(two_cases)).splitlines()

    assert "| structure | Dice | ASD mm | AVE % | AIE HU |" in lines
    assert "| PELVIS | 0.920 ± 0.028 | 1.50 ± 0.00 | 10.0 ± 0.0 | 3.0 ± 0.0 |" in lines
    assert "| GMED | 0.400 ± 0.566 | 1.50 | 10.0 ± 0.0 | 3.0 ± 0.0 |" in lines
    assert "| **mean of the structures** | 0.660 | 1.50 | 10.0 | 3.0 |" in lines
    assert lines[-4:] == ["```", "python -m made", "msk-node evaluate C --out R", "```"]
    assert not any(line.startswith("| SACRUM") for line in lines)


def test_both_directions_stand_side_by_side(two_cases: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", CaseScore("c", (score("PELVIS", 0.7),)), name="large 1")

    words = cross_words([read_report(two_cases), read_report(other)])

    assert "| small 1: AIE HU | large 1: Dice |" in words
    assert "| PELVIS | 0.920 ± 0.028 | 1.50 ± 0.00 | 10.0 ± 0.0 | 3.0 ± 0.0 | 0.700 |" in words
    assert "| GMED | 0.400 ± 0.566 | 1.50 | 10.0 ± 0.0 | 3.0 ± 0.0 | - | - | - | - |" in words
    assert "small 1: 2 cases (a, b); large 1: 1 cases (c)" in words


QUALITY = {
    "words": "5 slices",
    "left_out": {"SACRUM": "not seen whole"},
    "moved_mm": [1.0, 2.0],
    "bones": [
        {"bones": [102, 103], "side": "R", "mean_mm": 1.04, "p90_mm": 3.1, "voxels": 900}
    ],
    "structures": [
        {"structure": "PELVIS", "edge_mm": None},
        {"structure": "GMED", "edge_mm": [4.0, 2.1]},
    ],
}


def test_a_real_scan_says_how_far_its_reference_can_be_trusted(tmp_path: Path) -> None:
    """Of what is not annotated, the sacrum was left out; 3 cm3 of femur are not there."""
    scores = (
        score("PELVIS", 0.9),
        score("SACRUM", None, 5.0),
        score("FEMUR", None, 3.0),
        score("GMED", 0.0, 0.0),
    )
    folder = written(tmp_path / "report", CaseScore("slab", scores))
    (tmp_path / "cases" / "slab").mkdir(parents=True)
    (tmp_path / "cases" / "slab" / "registration.json").write_text(json.dumps(QUALITY))

    words = real_words(read_report(folder), tmp_path / "cases")

    assert "| slab | PELVIS | 0.900 | 1.50 | 10.0 | 3.0 |" in words
    assert "| slab | GMED | 0.000 | - | 100.0 | 3.0 |" in words
    assert "| slab | SACRUM" not in words
    assert "tibia and fibula R 1.0 mm (90 % within 3.1 mm)" in words
    assert "GMED 2.1 mm" in words
    assert "Left out: SACRUM: not seen whole." in words
    assert "Found of structures that are not there: 3.0 cm3 (FEMUR 3.0)." in words


def test_a_scan_that_was_not_registered_is_refused(two_cases: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"has no registration\.json"):
        real_words(read_report(two_cases), tmp_path)


def test_a_folder_that_is_no_report_of_one_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is no report"):
        read_report(tmp_path)
    case = CaseScore("a", (score("PELVIS", 0.9),))
    arms = (Arm("small 1", (case,), 10), Arm("large 1", (case,), 10))
    write_report(Evaluation(arms), tmp_path)
    with pytest.raises(TrainingError, match="holds 2 bundles"):
        read_report(tmp_path)


def test_a_section_is_replaced_and_the_rest_of_the_card_stays() -> None:
    card = PHANTOMS.put(CROSS.put("# Card\n\nWords.\n", "OLD"), "PHANTOM")

    again = CROSS.put(card, "NEW")

    assert again.startswith("# Card\n\nWords.\n")
    assert "OLD" not in again
    assert again.index("NEW") < again.index("PHANTOM")
    assert CROSS.put(again, "NEW") == again


def test_a_section_without_its_end_is_refused() -> None:
    with pytest.raises(TrainingError, match="lacks <!-- end of x -->"):
        Section("x", "X").put("<!-- x, by inference.training.model_card.card -->", "words")


def test_the_command_writes_into_the_card_what_it_is_given(
    two_cases: Path, tmp_path: Path
) -> None:
    shipped = load_bundle()
    copytree(shipped.folder, tmp_path / "bundle")

    main([str(tmp_path / "bundle"), "--phantoms", str(two_cases)])

    before, card = (
        (folder / MODEL_CARD_FILE).read_text(encoding="utf-8")
        for folder in (shipped.folder, tmp_path / "bundle")
    )
    mark = "<!-- phantoms, by inference.training.model_card.card -->"
    assert card.startswith(before.partition(mark)[0].rstrip())
    assert card.count("### On analytic phantoms") == 1
    assert "msk-node evaluate C --out R" in card
    assert load_bundle(tmp_path / "bundle").weights_sha256 == shipped.weights_sha256


def test_the_command_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(load_bundle().folder)])
    with pytest.raises(SystemExit):
        main([str(load_bundle().folder), "--real", str(tmp_path)])


def test_the_listing_names_the_command_that_made_the_cases(tmp_path: Path) -> None:
    write_listing(tmp_path, ["one"], "inference.registration", ["a b.toml", "--out", "c"])

    first = (tmp_path / "cases.toml").read_text().splitlines()[0]

    assert first == "made_by = \"python -m inference.registration 'a b.toml' --out c\""


def test_scores_of_two_numbers_of_samples_are_not_one_report(tmp_path: Path) -> None:
    case = CaseScore("a", (score("PELVIS", 0.9),))
    arm = Arm("small 1", (case,), 10)
    write_report(Evaluation((arm,), (replace(arm, samples=2),)), tmp_path)

    with pytest.raises(TrainingError, match="one"):
        read_report(tmp_path)
