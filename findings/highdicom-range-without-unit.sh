#!/usr/bin/env bash
# highdicom writes the uncertainty range of a measurement without the measurement's unit.
#
# Expected: the +/- range of a volume in cm3 is in cm3, or there is an argument for its unit.
# Seen: MeasurementProperties takes numbers only, and always writes the unit "1" (no units).
#   A volume of 10 cm3 gets a range of +2.0 and -1.5 "no units". The unit has to be set in
#   the items afterwards.
# Versions: highdicom 0.28.2, pydicom 3.0.2, Python 3.11.
# Matters: a TID 1500 report. Who reads the range by its unit takes it for a ratio.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - <<'PY'
import inspect
import sys
from importlib.metadata import version

from highdicom.sr import Measurement, MeasurementProperties
from pydicom.sr.codedict import codes

RANGES = {"371886008", "371885007"}  # SCT, upper and lower


def number_and_unit(item):
    (measured,) = item.MeasuredValueSequence
    unit = measured.MeasurementUnitsCodeSequence[0]
    return float(measured.NumericValue), unit.CodeValue


(volume,) = Measurement(
    name=codes.SCT.Volume,
    value=10.0,
    unit=codes.UCUM.CubicCentimeter,
    properties=MeasurementProperties(
        upper_measurement_uncertainty=2.0, lower_measurement_uncertainty=1.5
    ),
)
ranges = [
    number_and_unit(item)
    for item in volume.ContentSequence
    if item.ConceptNameCodeSequence[0].CodeValue in RANGES
]
arguments = [name for name in inspect.signature(MeasurementProperties).parameters]
print("highdicom", version("highdicom"))
print("arguments of MeasurementProperties:", ", ".join(arguments))
print("volume:", *number_and_unit(volume))
print("upper and lower range:", ranges)
if number_and_unit(volume) != (10.0, "cm3"):
    sys.exit("CHANGED: the measurement itself has another unit")
if ranges != [(2.0, "1"), (1.5, "1")] or any("unit" in name for name in arguments):
    sys.exit("CHANGED: the ranges have a unit of their own")
print("as stated")
PY
