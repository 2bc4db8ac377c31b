"""Key objects: the one that flags a source series, and the one that rejects replaced results.

Both are a Key Object Selection (PS3.16 TID 2010): a coded title, words, and references.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.headers import (
    MANUFACTURER,
    MODEL_NAME,
    Equipment,
    ObjectHeader,
    add_common_modules,
)
from dicom_node.results.sr.requests import referenced_requests
from dicom_node.series.ct_series import InstanceReference
from sr_templates.context import InstanceInSeries

QUALITY_ISSUE: Final = Code("113010", "DCM", "Quality Issue")
REJECTED: Final = Code("113001", "DCM", "Rejected for Quality Reasons")
DEVICE: Final = Code("121007", "DCM", "Device")

WITHOUT_PIXELS: Final = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.104.")
"""The prefixes of SOP classes without images to refer to: reports, key objects, documents."""


def build_key_object(
    words: str,
    sources: Sequence[InstanceReference],
    object_header: ObjectHeader,
) -> Dataset:
    """A Key Object Selection (TID 2010) titled Quality Issue on the images of a series.

    Args:
        words: the reason.
        sources: the images, of one series; at least one.
        object_header: of the object.
    """
    series_instance_uid = str(object_header.header.SeriesInstanceUID)
    images = [
        InstanceInSeries(source.sop_class_uid, source.sop_instance_uid, series_instance_uid)
        for source in sources
    ]
    return _selection(QUALITY_ISSUE, words, images, object_header)


def build_rejection(
    rejected: Sequence[InstanceInSeries], object_header: ObjectHeader, words: str
) -> Dataset:
    """The note that results of an earlier revision are replaced (IHE IOCM, RAD-66).

    Of the four titles of a rejection note, Rejected for Quality Reasons is the one that
    leaves it to the archive whether it hides the objects or keeps showing them. The other
    three oblige it to hide them at once, for reasons that do not hold here: danger to the
    patient, a wrong worklist entry, the end of the retention period. An archive may refuse
    a note about objects that it never had, so a note lists what the archive was sent.

    Args:
        rejected: the replaced objects, of any series of the header's study; at least
            one.
        object_header: of the object.
        words: why they are replaced, and by what.
    """
    return _selection(REJECTED, words, rejected, object_header)


def _selection(
    title: Code, words: str, selected: Sequence[InstanceInSeries], object_header: ObjectHeader
) -> Dataset:
    evidence = [_evidence(instance, object_header.header) for instance in selected]
    document: Dataset = KeyObjectSelectionDocument(
        evidence=evidence,
        content=KeyObjectSelection(
            document_title=title,
            referenced_objects=evidence,
            observer_device_context=_observer(object_header.equipment),
            description=words,
        ),
        series_instance_uid=object_header.identity.series_instance_uid,
        series_number=1,
        sop_instance_uid=object_header.identity.sop_instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    document.ContinuityOfContent = "SEPARATE"
    for item in document.ContentSequence:
        if "ReferencedSOPSequence" in item:
            del item.ConceptNameCodeSequence  # no purpose of reference (TID 2010 rows 7 to 9)
    if requests := referenced_requests(object_header.header):
        document.ReferencedRequestSequence = list(requests)
    add_common_modules(document, object_header)
    return document


def _observer(equipment: Equipment) -> ObserverContext:
    return ObserverContext(
        observer_type=DEVICE,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=equipment.device_uid,
            name=equipment.station_name or MODEL_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=f"{MODEL_NAME} {equipment.software_versions[0]}",
        ),
    )


def _evidence(instance: InstanceInSeries, header: Dataset) -> Dataset:
    """An object as evidence, with no more of a header than references need."""
    dataset = Dataset()
    dataset.StudyInstanceUID = header.StudyInstanceUID
    dataset.SeriesInstanceUID = instance.series_instance_uid
    dataset.SOPClassUID = instance.sop_class_uid
    dataset.SOPInstanceUID = instance.sop_instance_uid
    if not instance.sop_class_uid.startswith(WITHOUT_PIXELS):
        dataset.Rows = dataset.Columns = 1  # an image to highdicom; not written
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(dataset, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(dataset, keyword, "")
    return dataset
