"""Profiles: which result objects a destination gets, and in which form.

When each kind goes out is said in `results.kinds.GOES_OUT`.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from dicom_node.settings.values import Section


class Profile(Section):
    """The objects for a destination of a case; a refusal goes whole to every destination.

    The title of a switch is what `msk-node check` calls it.
    """

    segmentation: Literal["binary", "labelmap", "groups"] = "binary"
    """The form of the segmentation; one that takes no `labelmap` gets `binary` instead."""
    even_segmentation: bool = Field(default=False, title="SEG on even slices")
    """Whether, of an unevenly spaced series, a segmentation on evenly spaced slices goes out
    too, at the finest step: for readers that take no other."""
    report: Literal["record", "key_slice", "both"] = "record"
    """Which report: the record of all figures, the key slices that OHIF draws, or both."""
    qc_image: Literal["on_failure", "always", "never"] = "on_failure"
    """When a QC image goes out beside SEG and SR; a refusal is always answered with one."""
    density_picture: bool = Field(default=False, title="density picture")
    """Whether a picture of the muscles' density goes out."""
    density_slices: bool = Field(default=False, title="density slices")
    """Whether the source slices go out with the muscles coloured by density, in one object."""
    uncertainty_map: bool = Field(default=False, title="uncertainty map")
    """Whether the uncertainty of every voxel goes out, as a Parametric Map."""
    pdf_summary: bool = Field(default=False, title="PDF summary")
    """Whether a summary for people goes out, as an Encapsulated PDF."""
    pdf_changes: bool = Field(default=False, title="changes since the last scan in the PDF")
    """Whether the summary says what has changed since the patient's last scan. There is one
    summary for all: where one destination wants it so, every one that gets it does."""
    reject_replaced: bool = Field(default=False, title="rejection of what is replaced")
    """Whether a Key Object rejects the results that a new revision replaces."""


SEGMENTATION_WORDS: Final = {
    "binary": "SEG",
    "labelmap": "SEG as label map (SEG where that is not taken)",
    "groups": "SEG of bones, of hip and of thigh muscles",
}
REPORT_WORDS: Final = {
    "record": "SR",
    "key_slice": "SR on key slices",
    "both": "SR, SR on key slices",
}
QC_WORDS: Final = {
    "on_failure": "QC image when not accepted",
    "always": "QC image",
    "never": "no QC image",
}


def describe_profile(profile: Profile) -> str:
    """A profile as text."""
    words = [
        SEGMENTATION_WORDS[profile.segmentation],
        REPORT_WORDS[profile.report],
        QC_WORDS[profile.qc_image],
    ]
    words += [
        str(field.title)
        for name, field in Profile.model_fields.items()
        if getattr(profile, name) is True
    ]
    return ", ".join(words)
