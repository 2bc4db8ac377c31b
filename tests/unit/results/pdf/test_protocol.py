"""Claims about the protocol that a site signs."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.results.pdf.protocol import Check, Hop, Outcome, Protocol, protocol_pdf

NOW = datetime(2026, 11, 30, 14, 0, tzinfo=UTC)


def protocol(*outcomes: Outcome, found: str = "3 of 3") -> Protocol:
    return Protocol(
        title="Site acceptance",
        made_at=NOW,
        facts=[("Node", "MSKNODE@127.0.0.1:11112")],
        checks=[Check("pacs", "takes every object", each, found) for each in outcomes],
        hops=[Hop("sent", NOW), Hop("answered", NOW, 91.74)],
        instructions=["Delete the study 2.25.1."],
    )


def text_of(pdf: bytes, folder: Path) -> str:
    path = folder / "protocol.pdf"
    path.write_bytes(pdf)
    done = subprocess.run(
        ["pdftotext", "-layout", str(path), "-"], check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("outcomes", "passed", "words"),
    [
        ((Outcome.PASSED,) * 2, True, "passed: 2 passed"),
        ((Outcome.PASSED, Outcome.FAILED), False, "failed: 1 passed, 1 failed"),
        ((Outcome.PASSED, Outcome.NOT_CHECKED), True, "passed: 1 passed, 1 not checked"),
    ],
)
def test_one_failed_check_fails_it_and_what_is_not_checked_is_told(
    outcomes: tuple[Outcome, ...], passed: bool, words: str
) -> None:
    made = protocol(*outcomes)

    assert (made.passed, made.words) == (passed, words)


def test_the_pages_hold_facts_checks_times_what_is_left_and_lines_to_sign(
    tmp_path: Path,
) -> None:
    text = text_of(protocol_pdf(protocol(Outcome.FAILED)), tmp_path)

    for words in (
        "Failed: 1 failed",
        "MSKNODE@127.0.0.1:11112",
        "takes every object",
        "+ 91.7 s",
        "Delete the study 2.25.1.",
        "For the site",
        "Signature",
    ):
        assert words in text


def test_words_of_a_peer_are_words_and_no_markup(tmp_path: Path) -> None:
    said = '<font color="white">all is well</font> & <b>bold'
    text = text_of(protocol_pdf(protocol(Outcome.FAILED, found=said)), tmp_path)

    assert "<font" in text
    assert "& <b>bold" in text


def test_the_same_protocol_gives_the_same_bytes() -> None:
    assert protocol_pdf(protocol(Outcome.PASSED)) == protocol_pdf(protocol(Outcome.PASSED))
