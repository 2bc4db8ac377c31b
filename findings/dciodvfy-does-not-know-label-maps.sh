#!/usr/bin/env bash
# dciodvfy does not know Label Map Segmentation, and calls its background an error.
#
# Expected: the same segmentation passes as BINARY and as LABELMAP.
# Seen: BINARY passes. LABELMAP has two errors and exit 1: "Information Object Not found", and
#   segment numbers that do not begin with 1, since the background is described as number 0.
#   And nothing is checked against an object's definition then: a label map without its
#   mandatory Manufacturer has the same two errors, a BINARY one gets two for it. So "no
#   others than these two" says little of a label map. The Python package dicom3tools
#   20260927 knows them: no error, and the missing Manufacturer is found.
# Versions: dicom3tools 1.00~20220618093127-2 (Debian 12) and 20260927 (Python package);
#   objects by highdicom 0.28.2.
# Matters: a node that offers label maps to who knows them, and checks what it writes.
# Date: 2026-11-29
set -euo pipefail
found=$(dpkg-query -W -f '${Version}' dicom3tools 2>/dev/null || true)
[[ $found == 1.00~20220618* ]] ||
  { echo "skipped: package dicom3tools 1.00~20220618 is missing (found: ${found:-none})"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 \
  dicom3tools==20260927 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - "$folder" <<'PY'
import sys

import numpy as np
from highdicom.seg import SegmentDescription, Segmentation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SIZE = 64


def image(number):
    """An invented CT slice."""
    slice_ = Dataset()
    slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, f"2.25.{number}"
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = "2.25.20", "2.25.21"
    slice_.FrameOfReferenceUID, slice_.Modality = "2.25.22", "CT"
    slice_.PatientID, slice_.PatientName = "INVENTED", "Invented^Nobody"
    slice_.StudyDate, slice_.StudyTime, slice_.StudyID = "20260101", "120000", "1"
    for word in ("PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName",
                 "PositionReferenceIndicator"):
        setattr(slice_, word, "")
    slice_.ImagePositionPatient = [0, 0, 5 * number]
    slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    slice_.PixelSpacing, slice_.SliceThickness = [1, 1], 5
    slice_.Rows = slice_.Columns = SIZE
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return slice_


def write(path, kind, syntax):
    labels = np.zeros((3, SIZE, SIZE), np.uint8)
    labels[1:, 10:30, 10:30], labels[1:, 40:50, 10:30] = 1, 2
    described = [
        SegmentDescription(
            segment_number=number, segment_label=label, algorithm_type="MANUAL",
            segmented_property_category=codes.SCT.Organ, segmented_property_type=code,
        )
        for number, label, code in ((1, "Liver", codes.SCT.Liver), (2, "Spleen", codes.SCT.Spleen))
    ]
    made = Segmentation(
        source_images=[image(number) for number in (1, 2, 3)], pixel_array=labels,
        segmentation_type=kind, segment_descriptions=described, transfer_syntax_uid=syntax,
        series_instance_uid="2.25.23", series_number=1, sop_instance_uid="2.25.24",
        instance_number=1, manufacturer="Nobody", manufacturer_model_name="None",
        software_versions="1", device_serial_number="1",
    )
    made.save_as(f"{path}.dcm")
    del made.Manufacturer
    made.save_as(f"{path}-incomplete.dcm")


for kind in ("BINARY", "LABELMAP"):
    write(f"{sys.argv[1]}/{kind}", kind, ExplicitVRLittleEndian)
PY

check() {  # the object, and which dciodvfy is asked
  timeout 60 "${2:-/usr/bin/dciodvfy}" -new "$folder/$1.dcm" 2>&1 && echo "exit 0" ||
    echo "exit $?"
}
echo "dicom3tools $found"
declare -A said
for name in BINARY BINARY-incomplete LABELMAP LABELMAP-incomplete; do
  said[$name]=$(check "$name")
  printf '%s\n' "-- $name:" "${said[$name]}"
done
[[ ${said[BINARY]} == $'Segmentation\nexit 0' ]] ||
  { echo "CHANGED: BINARY is no longer clean"; exit 1; }
[[ ${said[BINARY-incomplete]} == *"Manufacturer"*"exit 1" ]] ||
  { echo "CHANGED: a missing Manufacturer is not found in BINARY"; exit 1; }
[[ $(grep -c '^Error' <<<"${said[LABELMAP]}") -eq 2 &&
  ${said[LABELMAP]} == *"SegmentNumber of 0"*"Information Object Not found"*"exit 1" ]] ||
  { echo "CHANGED: of LABELMAP it says something else"; exit 1; }
[[ ${said[LABELMAP-incomplete]} == "${said[LABELMAP]}" ]] ||
  { echo "CHANGED: a missing Manufacturer is found in LABELMAP"; exit 1; }
newer="$folder/venv/bin/dciodvfy"
printf '%s\n' "-- LABELMAP, 20260927:" "$(check LABELMAP "$newer")" \
  "-- LABELMAP-incomplete, 20260927:" "$(check LABELMAP-incomplete "$newer")"
[[ $(check LABELMAP "$newer") == $'Segmentation\nexit 0' &&
  $(check LABELMAP-incomplete "$newer") == *"Manufacturer"*"exit 1" ]] ||
  { echo "CHANGED: 20260927 says something else of LABELMAP"; exit 1; }
echo "as stated"
