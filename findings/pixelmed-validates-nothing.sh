#!/usr/bin/env bash
# PixelMed's DicomSRValidator validates nothing on Java 17, and exits with 0.
#
# Expected: it checks a report, or fails with an exit code.
# Seen: its style sheet has more XPath operators than Java allows by default. It prints an
#   exception, checks nothing and exits with 0. With the three limits off it works. The exit
#   code is 0 for a report with an error too, and not every error has the word "Error": that
#   of a relationship is "has illegal relationship". So a test has to look for the line "IOD
#   validation complete", and to allow no other line than those that it knows.
# Versions: libpixelmed-java 20220618+dfsg-1, openjdk-17-jre-headless 17.0.15 (Debian 12);
#   the report by highdicom 0.28.2 and pydicom 3.0.2.
# Matters: a test that takes silence or exit 0 for a sound structured report.
# Date: 2026-11-29
set -euo pipefail
for wanted in libpixelmed-java=20220618 openjdk-17-jre-headless=17.0.15; do
  found=$(dpkg-query -W -f '${Version}' "${wanted%=*}" 2>/dev/null || true)
  [[ $found == "${wanted#*=}"* ]] ||
    { echo "skipped: package $wanted is missing (found: ${found:-none})"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - "$folder" <<'PY'
import sys

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage

image = Dataset()
image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.1"
image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.2", "2.25.3"
image.PatientID, image.PatientName, image.Modality = "INVENTED", "Invented^Nobody", "CT"
for word in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
             "StudyID", "ReferringPhysicianName"):
    setattr(image, word, "")
device = sr.ObserverContext(
    observer_type=codes.DCM.Device,
    observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid="2.25.4"),
)
group = sr.MeasurementsAndQualitativeEvaluations(
    tracking_identifier=sr.TrackingIdentifier(uid="2.25.5", identifier="Liver"),
    finding_type=codes.SCT.Liver,
    measurements=[
        sr.Measurement(name=codes.SCT.Volume, value=10.0, unit=codes.UCUM.CubicCentimeter)
    ],
)
report = sr.MeasurementReport(
    observation_context=sr.ObservationContext(observer_device_context=device),
    procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
    imaging_measurements=[group],
    title=codes.DCM.ImagingMeasurementReport,
)
document = sr.Comprehensive3DSR(
    evidence=[image], content=report[0], series_number=1, series_instance_uid="2.25.6",
    sop_instance_uid="2.25.7", instance_number=1, manufacturer="Nobody",
)
document.save_as(f"{sys.argv[1]}/sound.dcm")
(measurements,) = (item for item in document.ContentSequence if item.ValueType == "CONTAINER")
measurements.ContentSequence[0].ContentSequence[-1].RelationshipType = "HAS PROPERTIES"
document.save_as(f"{sys.argv[1]}/wrong.dcm")  # a group contains its measurements
PY

limits_off=(-Djdk.xml.xpathExprGrpLimit=0 -Djdk.xml.xpathExprOpLimit=0
  -Djdk.xml.xpathTotalOpLimit=0)
validate() {  # prints what it says, and its exit code
  local file=$1; shift
  timeout 300 java -Xmx3g "$@" -cp /usr/share/java/pixelmed.jar \
    com.pixelmed.validate.DicomSRValidator "$file" 2>&1 && echo "exit 0" || echo "exit $?"
}
echo "PixelMed 20220618, $(java -version 2>&1 | head -n 1)"
plain=$(validate "$folder/sound.dcm")
sound=$(validate "$folder/sound.dcm" "${limits_off[@]}")
broken=$(validate "$folder/wrong.dcm" "${limits_off[@]}")
printf '%s\n' "-- as it is:" "$(cut -c 1-180 <<<"$plain" | grep -v $'^\tat ')" \
  "-- limits off:" "$sound" "-- limits off, a report with an error:" "$(cut -c 1-180 <<<"$broken")"

complete="IOD validation complete"
[[ $sound == *"$complete"*"exit 0" && $sound != *Error* ]] ||
  { echo "CHANGED: a sound report is not found sound with the limits off"; exit 1; }
[[ $broken == *"illegal relationship"*"$complete"*"exit 0" && $broken != *Error* ]] ||
  { echo "CHANGED: of a report with an error it says something else, or has an exit code"; exit 1; }
[[ $plain == *Exception*"exit 0" && $plain != *"$complete"* ]] ||
  { echo "CHANGED: without options it validates, or has an exit code"; exit 1; }
echo "as stated"
