"""One case against its truth, and what somebody else's labels mean."""

from __future__ import annotations

import numpy as np
import pytest
from support.volumes import body

from inference.errors import LabelTableError
from inference.evaluation.labels import segments_of
from inference.evaluation.scores import (
    Agreement,
    CaseScore,
    Scope,
    StructureScore,
    score_structures,
)
from inference.geometry import Geometry
from inference.label_table import SEGMENT_TABLE, STUDY_TABLE, LabelTable
from inference.measurement.measure import measure
from inference.structures import BY_KEY, STRUCTURES
from inference.volume import Patient, Volume

UNEVEN_MM = np.array([0.0, 2.0, 6.0])
EXTENTS_MM = np.array([2.0, 2.0, 6.0])
NO_UNCERTAINTY = np.zeros((3, 1, 4), np.float32)


def uneven_volume(hu: list[int]) -> Volume:
    """Three slices that stand for 2, 2 and 6 mm, of four voxels 1 x 1 mm; `hu` per slice."""
    positions = np.zeros((3, 3))
    positions[:, 2] = UNEVEN_MM
    geometry = Geometry(
        positions,
        EXTENTS_MM.copy(),
        np.array([0.0, 1.0, 0.0]),
        np.array([1.0, 0.0, 0.0]),
        (1.0, 1.0),
        1,
        4,
    )
    return Volume(np.repeat(hu, 4).reshape(3, 1, 4).astype(np.int16), geometry)


def gmed_right(*voxels: tuple[int, int]) -> np.ndarray:
    segments = np.zeros((3, 1, 4), np.uint8)
    for at, column in voxels:
        segments[at, 0, column] = BY_KEY["GMED_R"].number
    return segments


def of(scores: tuple[StructureScore, ...], structure: str, scope: Scope) -> StructureScore:
    (found,) = (s for s in scores if (s.structure, s.scope) == (structure, scope))
    return found


def test_every_voxel_weighs_by_its_slice():
    """Truth: 2 mm3 in slice 0 (10 HU) and 6 mm3 in slice 2 (50 HU); found: slice 2 alone.

    Dice 2 x 6 / (8 + 6); AVE 2 / 8 = 25 %; true mean (2 x 10 + 6 x 50) / 8 = 40, found 50.
    """
    volume = uneven_volume([10, 30, 50])
    uncertainty = np.full((3, 1, 4), 2e-4, np.float32)

    scores = score_structures(
        volume, gmed_right((0, 0), (2, 0)), gmed_right((2, 0)), uncertainty
    )

    right = of(scores, "GMED", Scope.RIGHT)
    assert right.dice == pytest.approx(12 / 14)
    assert right.ave_percent == pytest.approx(25.0)
    assert (right.true_mean_hu, right.mean_hu, right.aie_hu) == pytest.approx((40, 50, 10))
    assert (right.true_volume_cm3, right.volume_cm3) == pytest.approx((0.008, 0.006))
    assert right.uncertainty == pytest.approx(2e-4)


def test_both_sides_are_one_structure():
    """Truth right, found left: nothing common side by side, everything together."""
    volume = uneven_volume([10, 10, 10])
    truth = gmed_right((0, 0))
    found = np.where(truth > 0, BY_KEY["GMED_L"].number, 0).astype(np.uint8)

    scores = score_structures(volume, truth, found, NO_UNCERTAINTY)

    assert of(scores, "GMED", Scope.BOTH).dice == 1.0
    assert of(scores, "GMED", Scope.BOTH).asd_mm == 0.0
    assert of(scores, "GMED", Scope.RIGHT).dice == 0.0
    assert of(scores, "GMED", Scope.RIGHT).asd_mm is None
    assert of(scores, "GMED", Scope.RIGHT).ave_percent == 100.0
    assert of(scores, "GMED", Scope.LEFT).dice is None


def test_what_is_not_annotated_is_not_scored():
    truth, found = gmed_right((0, 0)), gmed_right((0, 0))
    found[1, 0, 3] = BY_KEY["SACRUM"].number

    scores = score_structures(uneven_volume([1, 1, 1]), truth, found, NO_UNCERTAINTY)

    assert of(scores, "SACRUM", Scope.BOTH).dice is None
    assert CaseScore("a", scores).of("SACRUM") is None
    assert CaseScore("a", scores).of("GMED") is not None


def test_there_are_three_scores_of_a_paired_structure_and_one_of_the_sacrum():
    scores = score_structures(
        uneven_volume([1, 1, 1]), gmed_right((0, 0)), gmed_right(), NO_UNCERTAINTY
    )

    assert len(scores) == 3 * 21 + 1


def test_scores_measure_as_the_pipeline_does():
    person = body(spacing_mm=(20.0, 8.0, 8.0))
    uncertainty = np.zeros(person.geometry.shape, np.float32)
    measured = measure(person.volume, person.segments, uncertainty, Patient())

    scores = score_structures(person.volume, person.segments, person.segments, uncertainty)

    for one in measured:
        scope = Scope(one.segment.side.value) if one.segment.side else Scope.BOTH
        score = of(scores, one.segment.structure.abbreviation, scope)
        assert score.volume_cm3 == pytest.approx(one.volume_cm3)
        assert score.mean_hu == pytest.approx(one.mean_hu)
        assert (score.dice, score.asd_mm) == (1.0, 0.0)


def test_the_study_s_labels_get_their_sides_as_predictions_do():
    person = body(spacing_mm=(20.0, 8.0, 8.0))

    segments = segments_of(person.labels, STUDY_TABLE, person.geometry)

    assert (segments == person.segments).mean() > 0.999


def test_labels_with_sides_keep_them():
    person = body(spacing_mm=(20.0, 8.0, 8.0))

    assert np.array_equal(
        segments_of(person.segments, SEGMENT_TABLE, person.geometry), person.segments
    )


def test_a_table_joins_labels_and_passes_over_others():
    """Adductors drawn as two labels on the left; a patella that is not evaluated."""
    table = LabelTable.read(
        {"7": "AD_L", "8": {"structure": "AD", "side": "L"}, "101": ""}, "table"
    )
    labels = np.array([[[7, 8, 101, 0]]])

    segments = segments_of(labels, table, Geometry.regular((1, 1, 4), (1, 1, 1)))

    number = BY_KEY["AD_L"].number
    assert segments.tolist() == [[[number, number, 0, 0]]]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"5": "GLUTEUS"}, "label 5 is 'GLUTEUS'"),
        ({"five": "GMED"}, "'five' is no label"),
        ({"5": "SACRUM_L"}, "SACRUM_L"),
        ({"5": 12}, "label 5 is 12"),
        ({"5": ""}, "no label stands for a structure"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(entries: dict[str, object], words: str):
    with pytest.raises(LabelTableError, match=words):
        LabelTable.read(entries, "table")


def test_a_label_that_the_table_does_not_know_is_refused():
    labels = np.array([[[1, 23, 150]]])

    with pytest.raises(LabelTableError, match=r"label\(s\) 23, 150 are not in the table"):
        segments_of(labels, STUDY_TABLE, Geometry.regular((1, 1, 3), (1, 1, 1)))


def test_the_study_s_table_knows_every_structure():
    assert len(STUDY_TABLE.meanings) == len(STRUCTURES)


def test_samples_of_both_sides_together_agree_as_the_sides_do_by_their_volumes():
    """Right 6 mm3 with a Dice of .9, left 2 mm3 with .5: 1 - (6 x .9 + 2 x .5) / 8 = .2."""
    right, left = BY_KEY["GMED_R"], BY_KEY["GMED_L"]
    segments = gmed_right((2, 0))
    segments[0, 0, 3] = left.number
    agreements = {right: Agreement(0.9, 0.1), left: Agreement(0.5, 0.3)}

    scores = score_structures(
        uneven_volume([10, 30, 50]), segments, segments, None, agreements=agreements
    )

    both, sided = (of(scores, "GMED", scope) for scope in (Scope.BOTH, Scope.LEFT))
    assert both.disagreement == pytest.approx(0.2)
    assert both.volume_cv == pytest.approx(0.15)
    assert (sided.disagreement, sided.volume_cv) == (0.5, 0.3)


def test_what_one_side_alone_knows_is_of_that_side():
    left = BY_KEY["GMED_L"]
    segments = gmed_right((2, 0))
    segments[0, 0, 3] = left.number

    scores = score_structures(
        uneven_volume([10, 30, 50]),
        segments,
        segments,
        None,
        agreements={left: Agreement(0.5, None)},
    )

    assert of(scores, "GMED", Scope.BOTH).disagreement == 0.5
    assert of(scores, "GMED", Scope.BOTH).volume_cv is None
    assert of(scores, "GMAX", Scope.BOTH).disagreement is None
