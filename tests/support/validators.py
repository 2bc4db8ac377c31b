"""Third-party checks of DICOM objects: what each reports."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pydicom

DCIODVFY = Path(sys.executable).parent / "dciodvfy"
"""Of the Python package dicom3tools; Debian's is of 2022 and knows no label maps."""
DSRDUMP = Path("/usr/bin/dsrdump")
NO_FAULT = ("does not support", "not yet supported")
"""Of what dsrdump itself cannot do: check Unicode, or the template of a key object."""
PIXELMED = Path("/usr/share/java/pixelmed.jar")
GENERAL_TITLE = ("126000", "DCM", "Imaging Measurement Report")
"""Of a report by TID 1500 (CID 7021); by such a title PixelMed knows what to check."""
MEASUREMENTS = "126010"
"""Imaging Measurements (DCM): the container of a report's groups."""
HARMLESS = re.compile(
    r"|Found \w+ IOD|Found Root Template .*|Root Template Validation Complete"
    r"|IOD validation complete"
)
"""What PixelMed says beside what it finds: an empty line, what it checks, and that it did."""
REPORTS = Path(__file__).parent / "ValidateReports.java"
# The validator's style sheets are larger than Java's default limits for XPath.
JAVA = (
    "java",
    "-Xmx6g",
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
        [DCIODVFY, "-new", str(path)], check=False, capture_output=True, text=True
    )
    said = (done.stdout + done.stderr).splitlines()
    # It names the IOD it checked against; silence would mean that it checked nothing.
    assert any(not line.startswith(("Error", "Warning")) for line in said), said
    return Said(
        tuple(_without_place(line) for line in said if line.startswith("Error")),
        tuple(_without_place(line) for line in said if line.startswith("Warning")),
    )


def dciodvfy_errors(path: Path) -> list[str]:
    """What dciodvfy finds wrong with an object's IOD."""
    return list(dciodvfy(path).errors)


def pixelmed(*paths: Path) -> dict[Path, Said]:
    """What PixelMed's DicomSRValidator finds in the templates of documents, by file.

    It is given copies, in which

    - a report by TID 1500 that has a title of its own has the general one: it knows a template
      by the document's title, of those that the template names, and would say of every item
      that it is in no template (`pixelmed_as_sent`);
    - of groups that are alike in all but their numbers, codes and words there is the first: it
      takes two seconds and more for each, and says the same of every one.
    """
    with tempfile.TemporaryDirectory() as folder:
        copies = {Path(folder) / f"{number}.dcm": path for number, path in enumerate(paths)}
        for copy, path in copies.items():
            document = pydicom.dcmread(path)
            if has_own_title(path):
                (title,) = document.ConceptNameCodeSequence
                title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = GENERAL_TITLE
            _keep_one_group_of_each_form(document)
            document.save_as(copy)
        return {copies[copy]: said for copy, said in pixelmed_as_sent(*copies).items()}


def pixelmed_as_sent(*paths: Path) -> dict[Path, Said]:
    """What PixelMed's DicomSRValidator finds in documents as they are, by file."""
    done = subprocess.run(
        [*JAVA, str(REPORTS), *map(str, paths)], check=False, capture_output=True, text=True
    )
    before, *parts = re.split(r"^file (.*)\n", done.stdout, flags=re.MULTILINE)
    found = {
        Path(path): templates(said) for path, said in zip(parts[::2], parts[1::2], strict=True)
    }
    assert done.returncode == 0, done.stderr
    assert before == ""
    assert set(found) == set(paths)
    return found


def has_own_title(path: Path) -> bool:
    """Whether a document by TID 1500 has another title than those that the template names."""
    dataset = pydicom.dcmread(path, specific_tags=["ContentTemplateSequence", 0x0040A043])
    template = dataset.ContentTemplateSequence[0].TemplateIdentifier
    return bool(
        template == "1500"
        and dataset.ConceptNameCodeSequence[0].CodingSchemeDesignator != GENERAL_TITLE[1]
    )


def _keep_one_group_of_each_form(document: pydicom.Dataset) -> None:
    """Take out groups of measurements that are of the form of one before them."""
    for container in document.ContentSequence:
        if _name(container) == MEASUREMENTS:
            first = {_form(group): group for group in reversed(container.ContentSequence)}
            container.ContentSequence = list(reversed(first.values()))


def _form(item: pydicom.Dataset) -> tuple[object, ...]:
    """What a template says of an item and of all below it: how, what, under what name."""
    measured = item.get("MeasuredValueSequence", ())
    units = [one.MeasurementUnitsCodeSequence[0].CodeValue for one in measured]
    below = [_form(one) for one in item.get("ContentSequence", ())]
    return (item.RelationshipType, item.ValueType, _name(item), *units, *below)


def _name(item: pydicom.Dataset) -> str:
    """The code of an item's name; empty where it has none, as an image of a key object."""
    names = item.get("ConceptNameCodeSequence", ())
    return str(names[0].CodeValue) if names else ""


def templates(text: str) -> Said:
    """PixelMed's words on one document: whatever is neither a warning nor harmless is wrong.

    Not every line that names a fault has the word "Error": a wrong relationship is "Parent ...
    has illegal relationship ... with child ...", a wrong graphic type "Incorrect graphic type".
    """
    said = text.splitlines()
    assert any("Found Root Template" in line for line in said), said
    warnings = [line for line in said if line.startswith("Warning")]
    wrong = [line for line in said if not line.startswith("Warning")]
    return Said(
        tuple(_without_place(line) for line in wrong if not HARMLESS.fullmatch(line)),
        tuple(map(_without_place, warnings)),
    )


def pixelmed_sr_errors(path: Path) -> list[str]:
    """What PixelMed's DicomSRValidator finds wrong with a report's templates."""
    return list(pixelmed(path)[path].errors)


def dsrdump(path: Path) -> tuple[str, list[str]]:
    """What DCMTK's dsrdump shows of a document, and what it says against it."""
    done = subprocess.run([DSRDUMP, str(path)], check=False, capture_output=True, text=True)
    shown = done.stdout if done.returncode == 0 else ""
    said = [line[3:] for line in done.stderr.splitlines()]
    return shown, [line for line in said if not any(one in line for one in NO_FAULT)]


def _without_place(line: str) -> str:
    """A message with the last element of the path to where it was found, without UIDs."""
    last = re.sub(r"^(Error|Warning)[ :-]+|<(?=/)|</[^>]*/", "", line).rpartition("/")[2]
    last = re.sub(r"(\[\d+\])?> - ", ": ", last, count=1)
    return re.sub(r"<[\d.]{20,}>", "<uid>", last)
