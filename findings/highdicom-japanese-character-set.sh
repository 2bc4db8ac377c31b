#!/usr/bin/env bash
# highdicom refuses images with the usual Japanese character set.
#
# Expected: Specific Character Set "\ISO 2022 IR 87" (the first of the two values is empty,
#   which stands for the default repertoire, as PS3.3 C.12.1.1.2 has it) is copied to the
#   segmentation or understood, like any other.
# Seen: ValueError: '' is not a valid SpecificCharacterSetValues. The same characters declared
#   as "ISO 2022 IR 6\ISO 2022 IR 87" are taken. pydicom reads both.
# Versions: highdicom 0.28.2, pydicom 3.0.2, Python 3.11.
# Matters: CT from Japan; PS3.5 H.3 has this very declaration in its example.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - <<'PY'
import io
import sys
from importlib.metadata import version

import numpy as np
from highdicom.seg import SegmentDescription, Segmentation
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

NAME = "Kuu^Sou=空^想"  # invented: "empty thought"
MASK = np.ones((1, 8, 8), np.uint8)


def image(character_set):
    """An invented CT slice, written and read again."""
    slice_ = Dataset()
    slice_.SpecificCharacterSet, slice_.PatientName = character_set, NAME
    slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, "2.25.1"
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = "2.25.2", "2.25.3"
    slice_.FrameOfReferenceUID, slice_.PatientID, slice_.Modality = "2.25.4", "INVENTED", "CT"
    for word in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
                 "StudyID", "ReferringPhysicianName", "PositionReferenceIndicator"):
        setattr(slice_, word, "")
    slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    slice_.PixelSpacing, slice_.SliceThickness = [1, 1], 1
    slice_.Rows = slice_.Columns = 8
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    slice_.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def segment(source):
    liver = SegmentDescription(
        segment_number=1, segment_label="Liver", segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver, algorithm_type="MANUAL",
    )
    return Segmentation(
        source_images=[source], pixel_array=MASK, segmentation_type="BINARY",
        segment_descriptions=[liver], series_instance_uid="2.25.5", series_number=1,
        sop_instance_uid="2.25.6", instance_number=1, manufacturer="Nobody",
        manufacturer_model_name="None", software_versions="1", device_serial_number="1",
    )


print("highdicom", version("highdicom"))
seen = {}
for character_set in ("\\ISO 2022 IR 87", "ISO 2022 IR 6\\ISO 2022 IR 87", "ISO_IR 192"):
    source = image(character_set)
    assert str(source.PatientName) == NAME, source.PatientName
    try:
        seen[character_set] = str(segment(source).PatientName)
    except ValueError as error:
        seen[character_set] = f"ValueError: {error}"
    print(f"{character_set!r}: {seen[character_set]}")
first, *others = seen.values()
if others != [NAME] * 2:
    sys.exit("CHANGED: the cases that should work do not")
if not first.startswith("ValueError") or "SpecificCharacterSetValues" not in first:
    sys.exit("CHANGED: the usual declaration is not refused as it was")
print("as stated")
PY
