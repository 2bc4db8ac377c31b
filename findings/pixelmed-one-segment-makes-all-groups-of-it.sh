#!/usr/bin/env bash
# PixelMed takes every measurement group of a report for one of a segment if a single one is.
#
# Expected: a report of TID 1500 may hold groups of several templates (its row 9 to 12): one of a
#   segment (TID 1411) beside one of no region (TID 1501); each is checked against its own.
# Seen: each alone passes. Together the group of no region is checked against TID 1411 too, and
#   gets three errors: it lacks an image region, a referenced segment and a volume surface.
# Versions: libpixelmed-java 20220618+dfsg-1, openjdk-17-jre-headless 17.0.15 (Debian 12),
#   highdicom 0.28.2, pydicom 3.0.2.
# Matters: a segmentation's report with a group about a whole side or the whole patient.
# Date: 2026-11-30
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
from pydicom.uid import CTImageStorage, SegmentationStorage


def instance(sop_class, uid, series, modality):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, uid
    made.StudyInstanceUID, made.SeriesInstanceUID = "2.25.2", series
    made.PatientID, made.PatientName, made.Modality = "INVENTED", "Invented^Nobody", modality
    for word in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
                 "StudyID", "ReferringPhysicianName"):
        setattr(made, word, "")
    return made


image = instance(CTImageStorage, "2.25.1", "2.25.3", "CT")
segmentation = instance(SegmentationStorage, "2.25.11", "2.25.13", "SEG")
device = sr.ObserverContext(
    observer_type=codes.DCM.Device,
    observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid="2.25.4"),
)


def volume():
    return sr.Measurement(name=codes.SCT.Volume, value=10.0, unit=codes.UCUM.CubicCentimeter)


def of_segment():
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid="2.25.5", identifier="Liver"),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid="2.25.11",
            segment_number=1,
            source_series=sr.SourceSeriesForSegmentation(referenced_series_instance_uid="2.25.3"),
        ),
        finding_type=codes.SCT.Liver,
        measurements=[volume()],
    )


def of_no_region():
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid="2.25.15", identifier="Spleen"),
        finding_type=codes.SCT.Spleen,
        measurements=[volume()],
    )


reports = {
    "segment": [of_segment()],
    "no-region": [of_no_region()],
    "both": [of_segment(), of_no_region()],
}
for number, (name, groups) in enumerate(reports.items()):
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence = [image] if name == "no-region" else [image, segmentation]
    document = sr.Comprehensive3DSR(
        evidence=evidence, content=report[0], series_number=1, series_instance_uid="2.25.6",
        sop_instance_uid=f"2.25.7{number}", instance_number=1, manufacturer="Nobody",
    )
    document.save_as(f"{sys.argv[1]}/{name}.dcm")
PY

validate() {
  timeout 300 java -Xmx3g -Djdk.xml.xpathExprGrpLimit=0 -Djdk.xml.xpathExprOpLimit=0 \
    -Djdk.xml.xpathTotalOpLimit=0 -cp /usr/share/java/pixelmed.jar \
    com.pixelmed.validate.DicomSRValidator "$folder/$1.dcm" 2>&1
}
echo "PixelMed 20220618, highdicom 0.28.2"
declare -A errors
for name in segment no-region both; do
  said=$(validate "$name")
  [[ $said == *"IOD validation complete"* ]] ||
    { echo "CHANGED: PixelMed does not come to an end"; exit 1; }
  errors[$name]=$(grep -c Error <<<"$said" || true)
  echo "-- $name: ${errors[$name]} errors"
  sed -n 's/^Error/   Error/p' <<<"$said" | cut -c1-220
done
[[ ${errors[segment]} -eq 0 && ${errors[no-region]} -eq 0 ]] ||
  { echo "CHANGED: a group alone does not pass"; exit 1; }
[[ ${errors[both]} -eq 3 ]] || { echo "CHANGED: both together get other errors"; exit 1; }
echo "as stated"
