"""What the demonstration prints, and what it tells its node."""

from __future__ import annotations

import tomllib
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dicom_node.case_files.report_reader import ReportedStructure
from dicom_node.commands.demo import PACS_AE, node_settings, table
from dicom_node.settings.loading import parse_config
from inference.phantom.truth import KnownStructure
from inference.results import Verdict
from inference.structures import BY_KEY


def known(key: str, volume_cm3: float, mean_hu: float) -> KnownStructure:
    return KnownStructure(BY_KEY[key], volume_cm3, mean_hu, volume_cm3, complete=True)


def reported(key: str, volume_cm3: float | None, mean_hu: float | None) -> ReportedStructure:
    return ReportedStructure(BY_KEY[key], volume_cm3, mean_hu, None, Verdict.ACCEPTED)


def printed(*rows: tuple[KnownStructure, ReportedStructure | None]) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(table([one for one, _ in rows], [one for _, one in rows if one]))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_sets_measured_against_known():
    """220 against 200 cm3 is 10 % more; 52 against 55 HU is 3 HU less."""
    text = printed((known("GMED_L", 200.0, 55.0), reported("GMED_L", 220.0, 52.0)))

    for words in ("GMED_L", "200.0", "220.0", "+10.0 %", "-3.0", "accepted"):
        assert words in text


def test_a_structure_that_did_not_come_back_is_not_passed_over():
    text = printed((known("GMED_L", 200.0, 55.0), None))

    assert "GMED_L" in text
    assert "not reported" in text


def test_a_structure_that_the_phantom_does_not_show_has_no_difference():
    text = printed((known("GMED_L", 0.0, 0.0), reported("GMED_L", 3.0, 52.0)))

    assert "%" not in text


@pytest.mark.parametrize("samples", [None, 3])
def test_the_demos_settings_are_a_configuration(tmp_path: Path, samples: int | None):
    text = node_settings(11112, 4242, samples)

    config = parse_config(tomllib.loads(text), source="demo", folder=tmp_path)

    assert config.node.port == 11112
    assert config.analysis.samples == samples
    assert [one.ae_title for one in config.destinations_for("CT", "MSKNODE")] == [PACS_AE]
    assert config.node.spool.is_relative_to(tmp_path)
