"""Third-party checks of DICOM objects: what each reports."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

PIXELMED = Path("/usr/share/java/pixelmed.jar")
UNKNOWN = "Information Object Not found"
"""What dciodvfy says of an IOD that it does not know; it checks the elements all the same."""
REPORTS = Path(__file__).parent / "ValidateReports.java"
# The validator's style sheets are larger than Java's default limits for XPath.
JAVA = (
    "java",
    "-Xmx12g",  # a report of 43 groups takes 9 GB of it
    "-XX:+UseSerialGC",  # the others take every core
    "-XX:TieredStopAtLevel=1",  # it runs for seconds: compiling it better takes twice as long
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathTotalOpLimit=0",
    "-cp",
    str(PIXELMED),
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a validator reports, without the places of the items in the object."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def dciodvfy(path: Path) -> Said:
    """What dciodvfy (dicom3tools) finds in an object's IOD."""
    done = subprocess.run(
        ["dciodvfy", "-new", str(path)], check=False, capture_output=True, text=True
    )
    said = (done.stdout + done.stderr).splitlines()
    # It names the IOD it checked against; silence would mean that it checked nothing.
    assert any(not line.startswith(("Error", "Warning")) or UNKNOWN in line for line in said), (
        said
    )
    return Said(
        tuple(_without_place(line) for line in said if line.startswith("Error")),
        tuple(_without_place(line) for line in said if line.startswith("Warning")),
    )


def dciodvfy_errors(path: Path) -> list[str]:
    """What dciodvfy finds wrong with an object's IOD."""
    return list(dciodvfy(path).errors)


def pixelmed(*paths: Path) -> dict[Path, Said]:
    """What PixelMed's DicomSRValidator finds in the templates of documents, by file."""
    done = subprocess.run(
        [*JAVA, str(REPORTS), *map(str, paths)], check=False, capture_output=True, text=True
    )
    before, *parts = re.split(r"^file (.*)\n", done.stdout, flags=re.MULTILINE)
    found = {
        Path(path): _templates(said) for path, said in zip(parts[::2], parts[1::2], strict=True)
    }
    assert done.returncode == 0, done.stderr
    assert before == ""
    assert set(found) == set(paths)
    return found


def _templates(text: str) -> Said:
    said = text.splitlines()
    assert any("Found Root Template" in line for line in said), said
    return Said(
        tuple(_without_place(line) for line in said if "Error" in line),
        tuple(_without_place(line) for line in said if line.startswith("Warning")),
    )


def pixelmed_sr_errors(path: Path) -> list[str]:
    """What PixelMed's DicomSRValidator finds wrong with a report's templates."""
    return list(pixelmed(path)[path].errors)


def _without_place(line: str) -> str:
    """A message with the last element of the path to where it was found, without UIDs."""
    last = re.sub(r"^(Error|Warning)[ :-]+|<(?=/)|</[^>]*/", "", line).rpartition("/")[2]
    last = re.sub(r"(\[\d+\])?> - ", ": ", last, count=1)
    return re.sub(r"<[\d.]{20,}>", "<uid>", last)
