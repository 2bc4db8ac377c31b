"""What a destination takes, asked by negotiation over a real socket; nothing is stored."""

from __future__ import annotations

from pathlib import Path

from support.small_node import result_pacs, small_config

from dicom_node.node.destination_check import OBJECTS, DestinationCheck, check_destination
from dicom_node.results.kinds import ResultKind


def _checked(folder: Path, port: int, **peer: object) -> DestinationCheck:
    settings = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, **peer}
    config = small_config(folder, None, destinations=[settings])
    return check_destination(config, config.destinations[0])


def test_one_that_takes_all_is_enough(tmp_path: Path):
    with result_pacs().running() as pacs:
        found = _checked(tmp_path, pacs.port, confirm="commitment")
        stored = list(pacs.received)

    assert found.is_there
    assert found.is_enough
    assert all(each.is_taken for each in found.taken)
    assert stored == []


def test_one_without_label_maps_says_what_it_gets_instead(tmp_path: Path):
    profile = {"segmentation": "labelmap"}
    with result_pacs(label_maps=False).running() as pacs:
        found = _checked(tmp_path, pacs.port, profile=profile)

    label_map = next(each for each in found.taken if each.title == "Label map segmentation")
    assert not label_map.is_taken
    assert label_map.is_wanted
    assert "single bits (SEG) instead" in label_map.words
    assert not found.is_enough


def test_one_that_is_away_is_told_in_words(tmp_path: Path):
    found = _checked(tmp_path, 9)

    assert not found.is_there
    assert "cannot be reached" in found.reason
    assert found.taken == ()


def test_every_kind_of_object_is_asked_for():
    assert set(OBJECTS) == {kind.traits.sop_class_uid for kind in ResultKind}


def test_a_web_service_that_is_away_is_told_too(tmp_path: Path):
    config = small_config(
        tmp_path, None, destinations=[{"name": "web", "url": "http://127.0.0.1:9/dicom-web"}]
    )

    found = check_destination(config, config.destinations[0])

    assert not found.is_there
