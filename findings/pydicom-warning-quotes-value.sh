#!/usr/bin/env bash
# pydicom's warnings quote some values, and do not say whose they are.
#
# Expected: a warning about a value names the attribute, and leaves the value out.
# Seen: the other way round. A birth date in the old form 1951.02.03 gives "Invalid value for
#   VR DA: '1951.02.03'." in full, and no name of an attribute. A Patient ID that is too long
#   gives its length alone. So one representation puts the patient's data into a log, another
#   does not, and neither says which attribute is meant.
# Versions: pydicom 3.0.2, Python 3.11.
# Matters: a node that logs warnings (Python's captureWarnings does) and whose log is not
#   protected like its images.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydicom==3.0.2 ||
  { echo "skipped: the package cannot be installed"; exit 77; }

timeout 60 "$folder/venv/bin/python" - <<'PY'
import sys
import warnings
from importlib.metadata import version

from pydicom.dataset import Dataset

VALUES = {  # all invented
    "PatientBirthDate": "1951.02.03",
    "PatientAge": "Y075",
    "PatientID": "INVENTED-" * 8,
    "AccessionNumber": "INVENTED-ORDER-2026-0001",
}
print("pydicom", version("pydicom"))
quoted, named = {}, {}
for word, value in VALUES.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        setattr(Dataset(), word, value)
    said = " ".join(str(one.message) for one in caught)
    print(f"{word}: {said}")
    if not said:
        sys.exit(f"CHANGED: no warning about {word}")
    quoted[word], named[word] = value in said, word in said
if any(named.values()):
    sys.exit("CHANGED: the attribute is named")
if list(quoted.values()) != [True, True, False, False]:
    sys.exit(f"CHANGED: quoted are {quoted}")
print("as stated")
PY
