"""Pictures with their words, for people and for any viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.headers import ObjectHeader, add_common_modules, code_item
from dicom_node.series.ct_series import InstanceReference

SOURCE_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")

LONGEST_COMMENT: Final = 10240
"""Characters of the value representation LT (PS3.5 6.2)."""


def build_secondary_capture(
    picture: NDArray[np.uint8],
    words: str,
    sources: Sequence[InstanceReference],
    object_header: ObjectHeader,
    *,
    derivation: str,
) -> Dataset:
    """A picture as a single-frame colour Secondary Capture Image (PS3.3 A.8.1).

    Args:
        picture: uint8 [row, column, 3], red, green and blue.
        words: what the picture says, also as text.
        sources: the images it was made from; none where no image says which it is.
        object_header: of the object.
        derivation: how the picture came from its sources.
    """
    dataset = Dataset()
    _put_image(dataset, words, sources, object_header)
    dataset.DerivationDescription = derivation
    _put_pixels(dataset, picture)
    add_common_modules(dataset, object_header)
    return dataset


def _put_image(
    dataset: Dataset,
    words: str,
    sources: Sequence[InstanceReference],
    object_header: ObjectHeader,
) -> None:
    """SC Equipment, General Image and SC Image modules; and the request, General Series."""
    header = object_header.header
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = ""
    if header.get("BodyPartExamined"):
        dataset.BodyPartExamined = header.BodyPartExamined
    # The picture shows both sides, whatever the source says it was made of.
    dataset.ImageLaterality = "U"
    # Words stand in the pixels. None of them names the patient, but a receiver that wants
    # pixels without words must know.
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.ImageComments = words[:LONGEST_COMMENT]
    # The picture itself was never lossy; what its source was stays said.
    dataset.LossyImageCompression = header.get("LossyImageCompression") or "00"
    if dataset.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in header:
                dataset.add(header[keyword])
    if sources:
        dataset.SourceImageSequence = [_source_item(source) for source in sources]
    if "RequestAttributesSequence" in header:
        dataset.add(header["RequestAttributesSequence"])


def _source_item(source: InstanceReference) -> Dataset:
    item = source.item()
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    return item


def _put_pixels(dataset: Dataset, picture: NDArray[np.uint8]) -> None:
    """Image Pixel module, PS3.3 C.7.6.3."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"picture is {picture.dtype} {picture.shape}, not uint8 (h, w, 3)")
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = picture.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    pixels = np.ascontiguousarray(picture).tobytes()
    dataset.add_new("PixelData", "OB", pixels + b"\0" * (len(pixels) % 2))
