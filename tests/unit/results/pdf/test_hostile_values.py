"""Claims about values that look like markup: in a PDF they are words, however long."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime

import numpy as np
import pytest
from support.cases import SHAPE, small_case
from support.hostile_values import HOSTILE, MARKER

from dicom_node.results.pdf.protocol import Check, Hop, Outcome, Protocol, protocol_pdf
from dicom_node.results.pdf.summary import summary_pdf
from inference.geometry import Geometry
from inference.volume import Volume

NOW = datetime(2026, 11, 30, 14, 0, tzinfo=UTC)
GEOMETRY = Geometry.regular(SHAPE, (5.0, 4.0, 4.0))
VOLUME = Volume(np.full(SHAPE, 40, np.int16), GEOMETRY)
ACTIVE = (b"/JavaScript", b"/URI", b"/Launch", b"/OpenAction", b"/EmbeddedFile")
"""What does something in a PDF, or leads out of it."""


def words_of(pdf: bytes) -> str:
    """Its words, as another program reads them."""
    assert [each for each in ACTIVE if each in pdf] == []
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler) is not installed")
    done = subprocess.run(
        ["pdftotext", "-raw", "-", "-"], input=pdf, check=True, capture_output=True
    )
    return re.sub(r"\s+", "", done.stdout.decode())


def protocol(values: list[str]) -> Protocol:
    """One that has the values wherever it has words."""
    return Protocol(
        title=values[0],
        made_at=NOW,
        facts=[(each, each) for each in values],
        checks=[Check(each, each, Outcome.FAILED, each) for each in values],
        hops=[Hop(each, NOW, 1.0) for each in values],
        instructions=values,
    )


def test_a_protocol_has_every_value_as_words() -> None:
    values = list(HOSTILE.values())
    words = words_of(protocol_pdf(protocol(values)))

    assert words.count(MARKER) >= 6 * len(values)
    assert f"<script>{MARKER}()</script>" in words
    assert f'<fontcolor="red">{MARKER}</font><para>' in words
    assert "morecharacters)" in words


def test_a_summary_has_notes_of_any_kind_as_words() -> None:
    notes = list(HOSTILE.values())
    pdf = summary_pdf(VOLUME, small_case(GEOMETRY), title=notes[0], notes=notes)
    words = words_of(pdf)

    assert words.count(MARKER) >= 20  # a reader splits some at their turns and breaks
    assert f"<script>{MARKER}()</script>" in words
    assert f'<fontcolor="red">{MARKER}</font><para>' in words
