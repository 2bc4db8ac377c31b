"""The key object that flags a source series: Quality Issue, with the reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.headers import MANUFACTURER, MODEL_NAME, Letterhead, Maker, complete
from dicom_node.results.sources import InstanceReference

QUALITY_ISSUE: Final = Code("113010", "DCM", "Quality Issue")
DEVICE: Final = Code("121007", "DCM", "Device")


def build_key_object(
    words: str,
    sources: Sequence[InstanceReference],
    letterhead: Letterhead,
) -> Dataset:
    """A Key Object Selection (TID 2010) titled Quality Issue on the images of a series.

    Args:
        words: the reason.
        sources: the images, of one series; at least one.
        letterhead: of the object.
    """
    images = [_evidence(source, letterhead.header) for source in sources]
    document: Dataset = KeyObjectSelectionDocument(
        evidence=images,
        content=KeyObjectSelection(
            document_title=QUALITY_ISSUE,
            referenced_objects=images,
            observer_device_context=_observer(letterhead.maker),
            description=words,
        ),
        series_instance_uid=letterhead.identity.series_instance_uid,
        series_number=1,
        sop_instance_uid=letterhead.identity.sop_instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    document.ContinuityOfContent = "SEPARATE"
    complete(document, letterhead)
    return document


def _observer(maker: Maker) -> ObserverContext:
    return ObserverContext(
        observer_type=DEVICE,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=maker.device_uid,
            name=maker.station_name or MODEL_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=f"{MODEL_NAME} {maker.software_versions[0]}",
        ),
    )


def _evidence(source: InstanceReference, header: Dataset) -> Dataset:
    """An image as evidence, with no more of a header than references need."""
    dataset = Dataset()
    dataset.StudyInstanceUID = header.StudyInstanceUID
    dataset.SeriesInstanceUID = header.SeriesInstanceUID
    dataset.SOPClassUID = source.sop_class_uid
    dataset.SOPInstanceUID = source.sop_instance_uid
    dataset.Rows = dataset.Columns = 1  # an image to highdicom; not written
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(dataset, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(dataset, keyword, "")
    return dataset
