"""Findings of other makers' programs on each object: collected by the harness, as a table.

`ROWS` names the objects; an object that a rendering is added for appears by itself in every
check that goes over all rows. Every check records what it heard, whether or not that is what
it wants to hear.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Final

from dicom_node.results.kinds import ResultKind
from support import ohif
from support.stacks import STACK_ROWS, TITLES, Reader, StackRow

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "conformance.md"


class Check(StrEnum):
    """Who is asked; the columns of the table."""

    DCIODVFY = "dciodvfy"
    PIXELMED = "PixelMed"
    DSRDUMP = "dsrdump"
    DCMQI = "dcmqi"
    ORTHANC = "Orthanc"
    DCMQRSCP = "dcmqrscp"
    OHIF = "OHIF"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the objects that make it up, and what it is called."""

    title: str
    kinds: tuple[ResultKind, ...]

    def __str__(self) -> str:
        """Short, for the names of tests."""
        return self.kinds[0].value


ROWS: Final = (
    Row("Segmentation, BINARY", (ResultKind.SEG,)),
    Row(
        "Segmentation, BINARY, one for each group",
        (ResultKind.SEG_BONES, ResultKind.SEG_HIP, ResultKind.SEG_THIGH),
    ),
    Row("Segmentation, LABELMAP, RLE", (ResultKind.SEG_LABELMAP,)),
    Row("Report (TID 1411) on the BINARY one", (ResultKind.SR,)),
    Row("Report on the groups", (ResultKind.SR_GROUPS,)),
    Row("Report on the LABELMAP one", (ResultKind.SR_LABELMAP,)),
    Row("Key slices (TID 1410)", (ResultKind.SR_KEY_SLICE,)),
    Row("Quality image", (ResultKind.SC,)),
    Row("Muscle density picture", (ResultKind.SC_DENSITY,)),
    Row("Muscle density on the source slices", (ResultKind.SC_DENSITY_SLICES,)),
    Row("Uncertainty map", (ResultKind.PM,)),
    Row("Summary (PDF)", (ResultKind.PDF,)),
    Row("Key object: quality issue", (ResultKind.KO,)),
    Row("Key object: replaced results", (ResultKind.KO_REJECTED,)),
)
BY_RENDERING: Final = {kind: row for row in ROWS for kind in row.kinds}

DOCUMENTS: Final = tuple(row for row in ROWS if row.kinds[0].traits.modality in {"SR", "KO"})
"""What PixelMed's validator has templates for, and dsrdump shows."""

READ_BY_DCMQI: Final = tuple(
    row
    for row in ROWS
    if row.kinds[0].traits.modality in {"SEG", "SR"} or row.kinds == (ResultKind.PM,)
)

CELLS: Final = frozenset(
    {
        *((row, check) for row in DOCUMENTS for check in (Check.PIXELMED, Check.DSRDUMP)),
        *((row, Check.DCMQI) for row in READ_BY_DCMQI),
        *(
            (row, check)
            for row in ROWS
            for check in (Check.DCIODVFY, Check.ORTHANC, Check.DCMQRSCP, Check.OHIF)
        ),
    }
)
"""Who is asked about what; the others have nothing to say."""


@dataclass(slots=True)
class Findings:
    """What one run of the harness has heard: text and messages by row and column."""

    said: dict[tuple[Row, Check], tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    of_stacks: dict[tuple[StackRow, Reader], str] = field(default_factory=dict)

    def record(self, row: Row, check: Check, text: str, messages: Iterable[str] = ()) -> None:
        """Note what a program said; messages become footnotes, each once."""
        if (row, check) not in CELLS:
            raise KeyError(f"{row.title}: {check} has nothing to say of it")
        self.said[row, check] = (text, tuple(dict.fromkeys(messages)))

    @property
    def missing(self) -> list[str]:
        """Cells that nobody has filled: only a part of the harness was run."""
        stacks = {(row, reader) for row in STACK_ROWS for reader in Reader}
        return [
            f"{row.title}: {check}" for row, check in sorted(CELLS - self.said.keys(), key=str)
        ] + [
            f"{row}: {reader}"
            for row, reader in sorted(stacks - self.of_stacks.keys(), key=str)
        ]

    def table(self) -> str:
        """The table with its footnotes, in Markdown."""
        numbers: dict[str, int] = {}
        lines = [
            f"| object | {' | '.join(Check)} |",
            f"| --- |{' --- |' * len(Check)}",
            *(self._line(row, numbers) for row in ROWS),
            "",
            *(f"{number}. {message}" for message, number in numbers.items()),
        ]
        return "\n".join(lines)

    def stack_table(self) -> str:
        """The table of stacks that readers trip over, in Markdown."""
        return "\n".join(
            [
                f"| series | segmentation | {' | '.join(Reader)} |",
                f"| --- | --- |{' --- |' * len(Reader)}",
                *(
                    f"| {row.stack} | {TITLES[row.kind]} | "
                    + " | ".join(self.of_stacks.get((row, one), "-") for one in Reader)
                    + " |"
                    for row in STACK_ROWS
                ),
            ]
        )

    def _line(self, row: Row, numbers: dict[str, int]) -> str:
        cells = []
        for check in Check:
            text, messages = self.said.get((row, check), ("-", ()))
            notes = sorted(numbers.setdefault(one, len(numbers) + 1) for one in messages)
            marks = f" <sup>{', '.join(map(str, notes))}</sup>" if notes else ""
            cells.append(f" {text}{marks} |")
        return f"| {row.title} |{''.join(cells)}"


def document(findings: Findings) -> str:
    """The whole of `docs/conformance.md`."""
    return f"""\
# What other programs say of the objects

Written by the harness (`make conformance`; see [testing.md](testing.md)); a test fails when a
run finds anything else than what stands here. The objects are those of a phantom whose
segments are known: dciodvfy (of dicom3tools), PixelMed, DCMTK's dsrdump and dcmqi read the
files as the node writes them; PixelMed, which knows a template by the document's title alone,
the reports on segments under the general one (126000, DCM, "Imaging Measurement Report").
Orthanc and dcmqrscp get them by C-STORE from the node's own sender, and what comes back over
DICOMweb and by C-MOVE is compared byte by byte (STOW-RS and QIDO-RS have tests of their own,
see [delivery.md](delivery.md)); OHIF shows what Orthanc has, in a headless Chromium, and what
is on its screen is compared with the truth.

"-": the program has nothing to say of such an object. Numbers are footnotes: what the program
itself says, or what was seen.

{findings.table()}

## Unevenly spaced slices, and a patient feet first and prone

Every frame lies where its slice lies, which is right by the standard, and more than most
readers expect. The share is of labelled voxels that a reader puts elsewhere, or takes for
another structure. A destination whose readers trip can have the second segmentation, on even
slices at the finest step ([objects.md](objects.md#unevenly-spaced-series)).

{findings.stack_table()}

Tried once by hand, on 2026-11-29, on the same kinds of series: cornerstone's adapters 5.14.0,
which OHIF uses, put every voxel of all of them in its place. dwv 0.36.4 refuses uneven slices
("Incomplete spacing found") and label maps, and reads the others right. itk-wasm 7.6.4 reads
the binary form: uneven slices as dcmqi, even ones right. dicomtonifti 0.8.14 and dcm2niix
1.0.20260724 read even label maps right, uneven ones with the mean of the steps, and take the
frames of all segments of a binary one for one stack.

Programs of the run that wrote this: {_versions()}.
"""


def _versions() -> str:
    packages = {
        "PixelMed": "libpixelmed-java",
        "Orthanc": "orthanc",
        "its DICOMweb plugin": "orthanc-dicomweb",
        "DCMTK": "dcmtk",
        "Chromium": "chromium",
    }
    found = {name: _debian_version(package) for name, package in packages.items()}
    found = {"dicom3tools": version("dicom3tools"), **found}
    found |= {"dcmqi": version("dcmqi"), "OHIF": ohif.VERSION}
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _debian_version(package: str) -> str:
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", package],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return re.sub(r"^\d+:|[-~+].*", "", answer.stdout)
