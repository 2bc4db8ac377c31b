#!/usr/bin/env bash
# dcmqi refuses a segmentation in JPEG 2000 Lossless, as if it were lossy.
#
# Expected: a BINARY segmentation in the lossless JPEG 2000 syntax (1.2.840.10008.1.2.4.90),
#   which highdicom offers, is read as the uncompressed one is, or refused as not supported.
# Seen: segimage2itkimage says: 'Transfer syntax JPEG 2000 (Lossless only) uses lossy
#   compression, not supported for Segmentation objects', and exits with 1. Uncompressed
#   BINARY and LABELMAP in RLE Lossless are read.
# Versions: dcmqi 1.5.7 (Python package), highdicom 0.28.2, pylibjpeg-openjpeg 2.6.0.
# Matters: the size of a BINARY segmentation: this way to make it smaller shuts dcmqi out.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dcmqi==1.5.7 highdicom==0.28.2 pydicom==3.0.2 \
  pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - "$folder" <<'PY'
import sys

import numpy as np
from highdicom.seg import SegmentDescription, Segmentation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

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
    made.save_as(path)


write(f"{sys.argv[1]}/uncompressed.dcm", "BINARY", ExplicitVRLittleEndian)
write(f"{sys.argv[1]}/labelmap-rle.dcm", "LABELMAP", RLELossless)
write(f"{sys.argv[1]}/jpeg2000.dcm", "BINARY", JPEG2000Lossless)
PY

read_it() {  # prints what dcmqi says, its exit code and how many images it wrote
  local out="$folder/$1" code=0
  mkdir "$out"
  timeout 60 "$folder/venv/bin/segimage2itkimage" --inputDICOM "$folder/$1.dcm" \
    --outputDirectory "$out" --outputType nrrd --prefix segment >"$out/said" 2>&1 || code=$?
  grep -i 'lossy' "$out/said" || true
  echo "exit $code, $(find "$out" -name '*.nrrd' | wc -l) images"
}
echo "dcmqi 1.5.7"
plain=$(read_it uncompressed)
rle=$(read_it labelmap-rle)
jpeg=$(read_it jpeg2000)
printf '%s\n' "-- BINARY, uncompressed:" "$plain" "-- LABELMAP, RLE Lossless:" "$rle" \
  "-- BINARY, JPEG 2000 Lossless:" "$jpeg"
[[ $plain == "exit 0, "[1-9]* && $rle == "exit 0, "[1-9]* ]] ||
  { echo "CHANGED: the cases that should be read are not"; exit 1; }
[[ $jpeg == *"JPEG 2000 (Lossless only) uses lossy compression"*"exit 1, 0 images" ]] ||
  { echo "CHANGED: JPEG 2000 Lossless is read, or refused otherwise"; exit 1; }
echo "as stated"
