"""Series as scanners of several vendors call them, and what the documented rules make of each.

The names follow what series in public collections bear; none is of a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicom_node.series.candidates import Candidate, StackFacts

SIEMENS: Final = "SIEMENS"
HEALTHINEERS: Final = "Siemens Healthineers"
GE: Final = "GE MEDICAL SYSTEMS"
PHILIPS: Final = "Philips"
TOSHIBA: Final = "TOSHIBA"
CANON: Final = "CANON_MEC"
UIH: Final = "UIH"
ORIGINAL: Final = "ORIGINAL\\PRIMARY\\AXIAL"


@dataclass(frozen=True, slots=True)
class VendorSeries:
    """One series.

    kind: of its kernel.
    is_taken: by the rules of `docs/node.toml`.
    """

    manufacturer: str
    description: str
    kernel: str
    kind: str
    thickness_mm: float
    is_taken: bool
    slices: int = 600
    refusal: str = ""

    def candidate(self) -> Candidate:
        """The series with its headers read: an adult's, as long as its slices say."""
        values = {
            "Modality": "CT",
            "Manufacturer": self.manufacturer,
            "SeriesDescription": self.description,
            "ConvolutionKernel": self.kernel,
            "ImageType": ORIGINAL,
            "PatientAge": "061Y",
            "SeriesNumber": "2",
        }
        stack = StackFacts(
            slices=self.slices,
            slice_spacing_mm=self.thickness_mm,
            slice_thickness_mm=self.thickness_mm,
            length_mm=self.slices * self.thickness_mm,
            is_axial=not self.refusal,
            refusal=self.refusal,
        )
        return Candidate("1.2.3", "1.2.3.4", values, images=self.slices, stack=stack)


def _scout(manufacturer: str, description: str, kernel: str) -> VendorSeries:
    kind = "unlisted" if not kernel else "soft"
    return VendorSeries(manufacturer, description, kernel, kind, 0.6, False, 2, "no-images")


VENDOR_SERIES: Final = (
    VendorSeries(SIEMENS, "Hip to knee  1.0  B30f", "B30f", "soft", 1.0, True),
    VendorSeries(SIEMENS, "PELVIS 5.0 B31s", "B31s", "soft", 5.0, True, 120),
    VendorSeries(SIEMENS, "Becken/Beine 1,5 B40s", "B40s", "soft", 1.5, True),
    VendorSeries(SIEMENS, "BECKEN 1.0 B46f", "B46f", "soft", 1.0, True),
    VendorSeries(SIEMENS, "HIP 2.0 B50f", "B50f", "medium", 2.0, True),
    VendorSeries(SIEMENS, "Hip to knee  1.0  B70f", "B70f", "bone", 1.0, False),
    VendorSeries(SIEMENS, "KNOCHEN 1.0 B60s", "B60s", "bone", 1.0, False),
    VendorSeries(SIEMENS, "KNOCHEN UHR 0.6 U70u", "U70u", "bone", 0.6, False, 900),
    VendorSeries(SIEMENS, "Hip 1.0 I30f 3", "I30f\\3", "soft", 1.0, True),
    VendorSeries(SIEMENS, "Bone 1.0 I70f 2", "I70f\\2", "bone", 1.0, False),
    VendorSeries(SIEMENS, "DE Hip 120 D30f", "D30f", "soft", 1.5, True),
    VendorSeries(HEALTHINEERS, "Lower limb 1.0 Br40 3", "Br40d\\3", "soft", 1.0, True),
    VendorSeries(HEALTHINEERS, "Lower limb 1.0 Bf37 2", "Bf37f\\2", "soft", 1.0, True),
    VendorSeries(HEALTHINEERS, "Lower limb 1.0 Br64 3", "Br64d\\3", "bone", 1.0, False),
    VendorSeries(HEALTHINEERS, "Lower limb 0.6 Br49", "Br49f\\3", "medium", 0.6, True, 900),
    VendorSeries(HEALTHINEERS, "Quant Qr40", "Qr40f", "soft", 1.0, True),
    VendorSeries(HEALTHINEERS, "UHR 0.4 Ur77", "Ur77u\\2", "bone", 0.4, False, 1500),
    VendorSeries(HEALTHINEERS, "Lung 1.0 Bl57", "Bl57d\\3", "medium", 1.0, True),
    _scout(SIEMENS, "Topogram  0.6  T20f", ""),
    _scout(HEALTHINEERS, "Topogramm 0,6 Tr20", ""),
    VendorSeries(GE, "Hip-Knee STANDARD 1.25", "STANDARD", "soft", 1.25, True),
    VendorSeries(GE, "THIN SOFT", "SOFT", "soft", 0.625, True, 1000),
    VendorSeries(GE, "BONE 1.25", "BONE", "bone", 1.25, False),
    VendorSeries(GE, "Recon 3: BONE+", "BONEPLUS", "bone", 1.25, False),
    VendorSeries(GE, "LUNG 2.5", "LUNG", "bone", 2.5, False, 300),
    VendorSeries(GE, "DETAIL 1.25", "DETAIL", "medium", 1.25, True),
    VendorSeries(GE, "5mm axial", "STANDARD", "soft", 10.0, False, 60),
    _scout(GE, "Scout", "STANDARD"),
    VendorSeries(GE, "SAG MPR", "STANDARD", "soft", 2.0, False, 150, "not-axial"),
    VendorSeries(PHILIPS, "HIP, iDose (3)", "B", "soft", 1.0, True),
    VendorSeries(PHILIPS, "Pelvis A", "A", "soft", 2.0, True, 400),
    VendorSeries(PHILIPS, "Bone, iDose (3)", "YC", "bone", 1.0, False),
    VendorSeries(PHILIPS, "Bone detail", "D", "bone", 0.9, False),
    VendorSeries(PHILIPS, "Extremity C", "C", "medium", 1.0, True),
    _scout(PHILIPS, "SurView scout", ""),
    VendorSeries(TOSHIBA, "Body 1.0 FC08", "FC08", "soft", 1.0, True),
    VendorSeries(TOSHIBA, "Body Std. FC13-H", "FC13-H", "soft", 2.0, True, 400),
    VendorSeries(TOSHIBA, "Bone 1.0 FC30", "FC30", "bone", 1.0, False),
    VendorSeries(TOSHIBA, "骨条件 1mm", "FC35", "bone", 1.0, False),
    VendorSeries(CANON, "股関節-膝 軟部 1mm", "FC18", "soft", 1.0, True),
    VendorSeries(CANON, "Lung FC52", "FC52", "bone", 1.0, False),
    VendorSeries(UIH, "LowerLimb 1.0 B_SOFT_B", "B_SOFT_B", "soft", 1.0, True),
    VendorSeries(UIH, "LowerLimb 1.0 B_SHARP_C", "B_SHARP_C", "bone", 1.0, False),
    VendorSeries("", "no manufacturer, Siemens' kernel", "B70f", "bone", 1.0, False),
    VendorSeries("Fictional", "no kernel at all", "", "unlisted", 1.0, True),
    VendorSeries("Fictional", "a kernel of its own", "K-17/3", "unlisted", 1.0, True),
)
