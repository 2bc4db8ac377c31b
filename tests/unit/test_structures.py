"""The 22 structures and 43 segments."""

from inference.structures import BY_KEY, SEGMENTS, STRUCTURES, Group, Side, segment_of


def test_there_are_3_bones_9_hip_muscles_and_10_thigh_muscles():
    counts = [sum(s.group is group for s in STRUCTURES) for group in Group]

    assert counts == [3, 9, 10]
    assert [s.label for s in STRUCTURES] == list(range(1, 23))


def test_every_structure_is_reported_per_side_except_the_sacrum():
    """21 x 2 + 1 = 43."""
    assert len(SEGMENTS) == 43
    assert [s.number for s in SEGMENTS] == list(range(1, 44))
    assert [s.key for s in SEGMENTS if s.side is None] == ["SACRUM"]


def test_segments_are_named_for_scripts_and_for_readers():
    gmed = BY_KEY["GMED_L"]

    assert gmed.title == "Gluteus medius, left"
    assert segment_of(gmed.structure, Side.LEFT) is gmed
    assert segment_of(BY_KEY["SACRUM"].structure, Side.LEFT).key == "SACRUM"


def test_no_two_structures_share_a_colour():
    assert len({s.colour_rgb for s in STRUCTURES}) == len(STRUCTURES)
