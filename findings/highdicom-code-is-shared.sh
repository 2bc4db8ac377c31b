#!/usr/bin/env bash
# highdicom keeps the code object that it is given: a side set on one segment is on all.
#
# Expected: SegmentDescription copies the code of the property type, as it does with the
#   pydicom Code from its own dictionaries.
# Seen: a CodedConcept is kept as it is. Two segments made with one CodedConcept for "Femur"
#   share one item. The type modifier "Left" (there is no argument for it, it is set by hand)
#   set on the first is then on the second, whose label says right. A pydicom Code in its
#   place, or one for each, does no harm.
# Versions: highdicom 0.28.2, pydicom 3.0.2, Python 3.11.
# Matters: the sides in a segmentation or a report: "Femur, right" is coded as left.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from highdicom.seg import SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

FEMUR = ("71341001", "SCT", "Femur")
ORGAN = Code("91723000", "SCT", "Anatomical structure")


def sides(types):
    """The modifiers of two segments, after 'Left' was set on the first."""
    segments = [
        SegmentDescription(
            segment_number=number,
            segment_label=f"Femur, {side}",
            segmented_property_category=ORGAN,
            segmented_property_type=code,
            algorithm_type="MANUAL",
        )
        for number, side, code in zip((1, 2), ("left", "right"), types, strict=True)
    ]
    items = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in segments]
    items[0].SegmentedPropertyTypeModifierCodeSequence = [CodedConcept("7771000", "SCT", "Left")]
    found = [item.get("SegmentedPropertyTypeModifierCodeSequence") for item in items]
    return [one and one[0].CodeMeaning for one in found]


print("highdicom", version("highdicom"))
seen = {
    "one CodedConcept for both": sides([CodedConcept(*FEMUR)] * 2),
    "a CodedConcept for each": sides([CodedConcept(*FEMUR), CodedConcept(*FEMUR)]),
    "one pydicom Code for both": sides([Code(*FEMUR)] * 2),
}
for words, modifiers in seen.items():
    print(f"{words}: modifiers of 'Femur, left' and 'Femur, right': {modifiers}")
if list(seen.values())[1:] != [["Left", None]] * 2:
    sys.exit("CHANGED: the cases that should work do not")
if seen["one CodedConcept for both"] != ["Left", "Left"]:
    sys.exit("CHANGED: the code is no longer shared")
print("as stated")
PY
