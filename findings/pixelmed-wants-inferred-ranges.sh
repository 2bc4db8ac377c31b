#!/usr/bin/env bash
# PixelMed's DicomSRValidator and highdicom disagree about the range of a measurement.
#
# Expected: a volume with its upper and lower uncertainty, as highdicom's MeasurementProperties
#   (TID 310) writes them, passes PixelMed's check of TID 1500.
# Seen: highdicom hangs the two numbers below the volume by HAS PROPERTIES. PixelMed takes them
#   for the numbers that a measurement was inferred from (rows 9 and 10 of its TID 300): four
#   errors, "expected INFERRED FROM - found HAS PROPERTIES". With INFERRED FROM it finds none;
#   nor does it find one in the report without the range.
# Versions: libpixelmed-java 20220618+dfsg-1, openjdk-17-jre-headless 17.0.15 (Debian 12),
#   highdicom 0.28.2, pydicom 3.0.2.
# Matters: a TID 1500 report that says how sure its numbers are: one of the two is not content.
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
ranges = sr.MeasurementProperties(
    upper_measurement_uncertainty=2.0, lower_measurement_uncertainty=1.5
)
volume = sr.Measurement(
    name=codes.SCT.Volume, value=10.0, unit=codes.UCUM.CubicCentimeter, properties=ranges
)
group = sr.MeasurementsAndQualitativeEvaluations(
    tracking_identifier=sr.TrackingIdentifier(uid="2.25.5", identifier="Liver"),
    finding_type=codes.SCT.Liver,
    measurements=[volume],
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
document.save_as(f"{sys.argv[1]}/as-written.dcm")
(measurements,) = (item for item in document.ContentSequence if item.ValueType == "CONTAINER")
items = measurements.ContentSequence[0].ContentSequence
(number,) = (item for item in items if item.ValueType == "NUM")
for item in number.ContentSequence:
    item.RelationshipType = "INFERRED FROM"
document.save_as(f"{sys.argv[1]}/inferred.dcm")
del number.ContentSequence
document.save_as(f"{sys.argv[1]}/without.dcm")
PY

validate() {
  timeout 300 java -Xmx3g -Djdk.xml.xpathExprGrpLimit=0 -Djdk.xml.xpathExprOpLimit=0 \
    -Djdk.xml.xpathTotalOpLimit=0 -cp /usr/share/java/pixelmed.jar \
    com.pixelmed.validate.DicomSRValidator "$folder/$1.dcm" 2>&1
}
echo "PixelMed 20220618, highdicom 0.28.2"
declare -A errors
for name in without inferred as-written; do
  said=$(validate "$name")
  [[ $said == *"IOD validation complete"* ]] ||
    { echo "CHANGED: PixelMed does not come to an end"; exit 1; }
  errors[$name]=$(grep -c Error <<<"$said" || true)
  echo "-- $name: ${errors[$name]} errors"
  sed -n 's/^Error.*NUM (3/   (3/p' <<<"$said"
done
[[ ${errors[without]} -eq 0 && ${errors[inferred]} -eq 0 ]] ||
  { echo "CHANGED: the cases that should pass do not"; exit 1; }
[[ ${errors[as-written]} -eq 4 && $said == *"expected INFERRED FROM - found HAS PROPERTIES"* ]] ||
  { echo "CHANGED: highdicom's own form is judged in another way"; exit 1; }
echo "as stated"
