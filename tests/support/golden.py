"""DICOM objects as text to compare with a reviewed copy in `tests/golden`.

UIDs become `<uid 1>`, `<uid 2>` in the order in which they appear, so that the text shows
which of them are the same; dates and times become `<date>`. Of long sequences the first
item stands for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

GOLDEN = Path(__file__).parents[1] / "golden"
LONG_SEQUENCE = 3
_ORGANISATION_ROOT = "1.2.840.10008."


def check_golden(name: str, text: str, request: pytest.FixtureRequest) -> None:
    """Compare with `tests/golden/NAME.txt`; with --update-golden, write it instead."""
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def header_text(dataset: Dataset) -> str:
    """Every element but pixels and content tree, one line each."""
    return _masked("\n".join(_elements(dataset, "")) + "\n")


def tree_text(report: Dataset) -> str:
    """The content tree of a structured report, one line per content item."""
    return _masked("\n".join(_items(report, "")) + "\n")


def _elements(dataset: Dataset, indent: str) -> Iterator[str]:
    for element in dataset:
        if element.keyword in {"PixelData", "ContentSequence"}:
            yield f"{indent}{element.keyword} ({len(element.value)})"
        elif element.VR == "SQ":
            yield from _sequence(element, indent)
        elif element.VR in {"DA", "TM", "DT"}:
            yield f"{indent}{element.keyword}: {'<date>' if element.value else ''}"
        else:
            yield f"{indent}{element.keyword}: {_plain(element)}"


def _sequence(element: DataElement, indent: str) -> Iterator[str]:
    items = list(element.value)
    shown = items if len(items) <= LONG_SEQUENCE else items[:1]
    yield f"{indent}{element.keyword} ({len(items)} items)"
    for item in shown:
        yield f"{indent}  -"
        yield from _elements(item, indent + "    ")
    if len(shown) < len(items):
        yield f"{indent}  ..."


def _plain(element: DataElement) -> str:
    if element.VM > 1:
        return " \\ ".join(str(part) for part in element.value)
    return str(element.value)


def _items(item: Dataset, indent: str) -> Iterator[str]:
    yield indent + " ".join(part for part in _item_parts(item) if part)
    for child in item.get("ContentSequence", ()):
        yield from _items(child, indent + "  ")


def _item_parts(item: Dataset) -> Iterator[str]:
    yield str(item.get("RelationshipType", "")).lower()
    yield str(item.ValueType)
    yield from map(_code, item.get("ConceptNameCodeSequence", ()))
    if item.ValueType == "CODE":
        yield f"= {_code(item.ConceptCodeSequence[0])}"
    elif item.ValueType == "NUM":
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        yield f"= {measured.NumericValue} {unit}"
    elif item.ValueType in {"IMAGE", "COMPOSITE"}:
        reference = item.ReferencedSOPSequence[0]
        yield f"= {reference.ReferencedSOPInstanceUID}"
        if "ReferencedSegmentNumber" in reference:
            yield f"segment {reference.ReferencedSegmentNumber}"
    elif item.ValueType == "SCOORD":
        numbers = [f"{number:g}" for number in item.GraphicData]
        points = [f"({c}, {r})" for c, r in zip(numbers[::2], numbers[1::2], strict=True)]
        yield f"= {item.GraphicType} {' '.join(points)}"
    else:
        yield f"= {item.get('TextValue', item.get('UID', ''))}"


def _code(code: Dataset) -> str:
    return f"({code.CodeValue}, {code.CodingSchemeDesignator}, {code.CodeMeaning!r})"


def _masked(text: str) -> str:
    names: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        uid = found.group()
        if uid.startswith(_ORGANISATION_ROOT):
            return uid
        return names.setdefault(uid, f"<uid {len(names) + 1}>")

    return re.sub(r"\b[12]\.\d+(\.\d+){1,}\b", name, text)
