"""Third-party checks of DICOM objects, each as the list of errors it reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import SimpleITK as sitk  # noqa: N813 - as its own manual has it

PIXELMED = Path("/usr/share/java/pixelmed.jar")
# The validator's style sheets are larger than Java's default limits for XPath.
JAVA = (
    "java",
    "-Xmx12g",  # a report of 43 groups takes 9 GB of it
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathTotalOpLimit=0",
    "-cp",
    str(PIXELMED),
)


def dciodvfy_errors(path: Path) -> list[str]:
    """What dciodvfy (dicom3tools) finds wrong with an object's IOD."""
    done = subprocess.run(
        ["dciodvfy", "-new", str(path)], check=False, capture_output=True, text=True
    )
    said = (done.stdout + done.stderr).splitlines()
    # It names the IOD it checked against; silence would mean that it checked nothing.
    assert any(not line.startswith(("Error", "Warning")) for line in said), said
    return [line for line in said if line.startswith("Error")]


def pixelmed_sr_errors(path: Path) -> list[str]:
    """What PixelMed's DicomSRValidator finds wrong with a report's templates."""
    done = subprocess.run(
        [*JAVA, "com.pixelmed.validate.DicomSRValidator", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    said = (done.stdout + done.stderr).splitlines()
    assert any("Found" in line for line in said), said
    return [line for line in said if "Error" in line]


def dcmqi_labels(segmentation: Path, folder: Path) -> sitk.Image:
    """A segmentation as one label map, its values the segment numbers, as dcmqi reads it."""
    program = Path(sys.executable).parent / "segimage2itkimage"
    subprocess.run(
        [str(program), "--inputDICOM", str(segmentation), "--outputDirectory", str(folder),
         "--outputType", "nrrd", "--prefix", "read", "--mergeSegments"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (path,) = folder.glob("read*.nrrd")
    return sitk.ReadImage(str(path))
