"""The table of the site acceptance: the test patient, and what is tolerated of the phantom."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from dicom_node.settings.tls import DestinationTls
from dicom_node.settings.values import AeTitle, Section

SAYS_TEST: Final = ("ACCEPT", "PHANTOM", "TEST")
"""One of these words has to stand in the id and the name of a test patient."""


def _test_words(text: str) -> str:
    """Words that nobody takes for those of a patient."""
    if not any(word in text.upper() for word in SAYS_TEST):
        raise ValueError(f"has to hold one of {', '.join(SAYS_TEST)}, so that it names nobody")
    if "\\" in text or not text.isprintable():
        raise ValueError("no backslash, and nothing that cannot be printed")
    return text


class Acceptance(Section):
    """The site acceptance (`msk-node accept`): what it sends, and what it tolerates."""

    patient_id: Annotated[str, AfterValidator(_test_words)] = Field(
        default="MSK-ACCEPTANCE", min_length=1, max_length=64
    )
    """Patient ID of the test patient. Scans of this patient are marked as tests."""
    patient_name: Annotated[str, AfterValidator(_test_words)] = Field(
        default="Acceptance^Test=受入^試験=うけいれ^しけん", min_length=1, max_length=192
    )
    """Name of the test patient; in three writings, so that the character sets are tried too."""
    study_description: str = Field(default="MSK ACCEPTANCE TEST", min_length=1, max_length=64)
    """Study Description of the phantom; a site's own rules have to take it."""
    series_description: str = Field(
        default="MSK ACCEPTANCE PHANTOM", min_length=1, max_length=64
    )
    """Series Description of the phantom; likewise."""
    calling_ae_title: AeTitle | None = None
    """As which allowed sender the phantom is sent; without it, the first that may send."""
    called_ae_title: AeTitle | None = None
    """By what name the node is called; without it, the first that is accepted."""
    tls: DestinationTls | None = None
    """How TLS to the node's own port is spoken; without it, with the node's own certificate."""
    volume_percent: float = Field(default=25.0, gt=0, le=100, allow_inf_nan=False)
    """By how much the volume of any one structure may differ from the phantom's."""
    median_volume_percent: float = Field(default=5.0, gt=0, le=100, allow_inf_nan=False)
    """By how much the volumes of all may, in the median of their absolute differences."""
    muscle_hu: float = Field(default=13.0, gt=0, le=1000, allow_inf_nan=False)
    """By how much the mean HU of any one muscle may differ from the phantom's."""
    bone_hu: float = Field(default=40.0, gt=0, le=1000, allow_inf_nan=False)
    """By how much that of a bone may: its thin dense cortex weighs much."""
