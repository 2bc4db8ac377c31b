"""Profiles: which result objects a destination gets, and in which form."""

from __future__ import annotations

from typing import Literal

from dicom_node.settings.values import Section


class Profile(Section):
    """What a destination gets of a case; a refusal goes whole to every destination."""

    segmentation: Literal["binary", "labelmap", "groups"] = "binary"
    """The form of the segmentation; one that takes no `labelmap` gets `binary` instead."""
    report: Literal["record", "key_slice", "both"] = "record"
    """Which report: the record of all figures, the key slices that OHIF shows, or both."""
    qc_image: QcPolicy = "on_failure"
    """When a QC image goes out beside SEG and SR; a refusal is always answered with one."""
    density_picture: bool = False
    """Whether a picture of the muscles' density goes out."""
    density_slices: bool = False
    """Whether the source slices go out with the muscles coloured by density, in one object."""
    uncertainty_map: bool = False
    """Whether the uncertainty of every voxel goes out, as a Parametric Map."""
    pdf_summary: bool = False
    """Whether a summary for people goes out, as an Encapsulated PDF."""
    reject_replaced: bool = False
    """Whether a Key Object rejects the results that a new revision replaces."""


QcPolicy = Literal["on_failure", "always", "never"]
