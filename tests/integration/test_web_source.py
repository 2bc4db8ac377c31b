"""Asking DICOMweb services and retrieving from them: pages, limits, breaks and nonsense."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from support.ct import ct_slice
from support.web_source import WebSource

from dicom_node.archive.keeping import Keeping
from dicom_node.errors import PeerBusyError, PeerFailedError, PeerRefusedError
from dicom_node.peers import search_web
from dicom_node.peers.archive_transports import archive_for
from dicom_node.peers.archives import Answer, Level, Query, Retrieval, RetrievalEnd, Wanted
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig

SERIES = Wanted("1.2.1", "1.2.1.1")
OTHER = Wanted("1.2.2", "1.2.2.1")


def images(wanted: Wanted, count: int = 4) -> list[Any]:
    return [
        ct_slice(
            (0.0, 0.0, float(place)),
            StudyInstanceUID=wanted.study_instance_uid,
            SeriesInstanceUID=wanted.series_instance_uid,
            SOPInstanceUID=f"{wanted.series_instance_uid}.{place + 1}",
            StudyDate="20260105",
        )
        for place in range(count)
    ]


HELD = [*images(SERIES), *images(OTHER)]
MANY = [each for number in range(1, 13) for each in images(Wanted(f"1.2.{number}", "1.2.9"), 1)]
STUDIES = Query(Level.STUDY, {"StudyDate": "20260101-20260131", "PatientName": ""})


def config_of(source: WebSource, folder: Path, **settings: Any) -> NodeConfig:
    archive = {"name": "vna", "url": source.url, "silence_s": 0.5, **settings}
    return parse_config(
        {
            "node": {"spool": "spool"},
            "receive": {"free_reserve_mb": 0, "max_object_mb": 1},
            "archives": [archive],
        },
        source="test",
        folder=folder,
    )


def asked(source: WebSource, query: Query, **settings: Any) -> Answer:
    with source.running():
        config = config_of(source, Path(), **settings)
        (answer,) = archive_for(config, config.archives[0]).find([query])
        return answer


def taken(source: WebSource, folder: Path, *wanted: Wanted) -> dict[Wanted, Retrieval]:
    with source.running():
        config = config_of(source, folder)
        archive = archive_for(config, config.archives[0])
        with Keeping(config) as keeping:
            return dict(keeping.retrieve(archive, config.archives[0], wanted or [SERIES]))


def kept(folder: Path, wanted: Wanted = SERIES) -> list[str]:
    files = (folder / "spool" / wanted.series_instance_uid).glob("*.dcm")
    return sorted(each.stem for each in files)


def uids(answer: Answer) -> list[str]:
    return [each.get("StudyInstanceUID") for each in answer.listed]


def test_studies_are_searched_with_the_keys_and_what_else_is_wanted() -> None:
    source = WebSource(held=HELD)
    answer = asked(source, STUDIES)

    assert dict(answer.listed[0].values) == {
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.1.1",
        "SOPInstanceUID": "1.2.1.1.1",
        "StudyDate": "20260105",
        "PatientName": "Phantom^Small",
    }
    assert (uids(answer), answer.is_whole) == (["1.2.1", "1.2.2"], True)
    assert source.asked == [
        (
            "/dicom-web/studies",
            {
                "StudyDate": ["20260101-20260131"],
                "includefield": ["PatientName"],
                "limit": ["1000"],
                "offset": ["0"],
            },
        )
    ]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        (Query(Level.SERIES, {"StudyInstanceUID": "1.2.1"}), "/studies/1.2.1/series"),
        (Query(Level.SERIES, {"StudyInstanceUID": "1.2.1\\1.2.2"}), "/series"),
        (
            Query(Level.IMAGE, {"StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.1.1"}),
            "/studies/1.2.1/series/1.2.1.1/instances",
        ),
    ],
)
def test_each_level_has_its_resource(query: Query, path: str) -> None:
    """Several UIDs do not stand in a path; as a parameter they are parted by commas."""
    source = WebSource(held=HELD)
    answer = asked(source, query)
    (found,) = source.asked

    assert found[0] == f"/dicom-web{path}"
    assert found[1].get("StudyInstanceUID") in (None, ["1.2.1,1.2.2"])
    assert answer.listed


@pytest.mark.parametrize(
    ("behaviour", "settings", "requests"),
    [
        ({"page": 5}, {}, 3),
        ({"page": 5, "secretive": True}, {"max_answers": 5}, 3),
        ({}, {"max_answers": 5}, 3),
        ({}, {"max_answers": 4}, 4),
        ({"knows_limits": False}, {"max_answers": 5}, 1),
    ],
)
def test_pages_are_asked_for_until_there_is_nothing_more(
    behaviour: dict[str, Any], settings: dict[str, Any], requests: int
) -> None:
    """12 studies: 5, 5 and 2, or three full pages and an empty one."""
    source = WebSource(held=MANY, **behaviour)
    answer = asked(source, STUDIES, **settings)

    assert len(answer.listed) == 12
    assert answer.is_whole
    assert len(source.asked) == requests


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"page": 5, "knows_offsets": False}, "the service gives the same page again"),
        (
            {"page": 5, "knows_offsets": False, "secretive": True},
            "the service gives the same page again",
        ),
    ],
)
def test_a_service_that_knows_no_offsets_has_not_given_all(
    behaviour: dict[str, Any], words: str
) -> None:
    answer = asked(WebSource(held=MANY, **behaviour), STUDIES, max_answers=5)

    assert (len(answer.listed), answer.is_whole, answer.words) == (5, False, words)


def test_no_more_than_so_many_pages_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_web, "MAX_PAGES", 3)
    source = WebSource(held=MANY, page=2)
    answer = asked(source, STUDIES)

    assert len(source.asked) == 3
    assert (len(answer.listed), answer.words) == (6, "not at its end after 3 pages")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[[]]", b"[{}]", b"[" * 100_000])
def test_what_is_no_list_is_an_error(body: bytes) -> None:
    with pytest.raises(PeerFailedError):
        asked(WebSource(held=HELD, body=body), STUDIES)


def test_a_list_that_does_not_end_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_web, "MAX_PAGE_BYTES", 1 << 16)

    with pytest.raises(PeerFailedError, match="more than 65536 bytes"):
        asked(WebSource(held=HELD, body=b" " * (1 << 20)), STUDIES)


def test_a_service_that_wants_patience_or_refuses_is_an_error() -> None:
    with pytest.raises(PeerBusyError):
        asked(WebSource(statuses=[429], headers={"Retry-After": "7"}), STUDIES)
    with pytest.raises(PeerRefusedError):
        asked(WebSource(statuses=[403]), STUDIES)


def test_a_series_comes_as_it_is_stored(tmp_path: Path) -> None:
    source = WebSource(held=HELD)
    ends = taken(source, tmp_path, SERIES, OTHER)
    first = dcmread(tmp_path / "spool" / "1.2.1.1" / "1.2.1.1.1.dcm")

    expected = Retrieval(RetrievalEnd.DONE, completed=4, failed=0)
    assert ends == {SERIES: expected, OTHER: expected}
    assert kept(tmp_path, SERIES) == [f"1.2.1.1.{number}" for number in range(1, 5)]
    assert first.PixelData == HELD[0].PixelData
    assert first.file_meta.SendingApplicationEntityTitle == "VNA"
    assert list((tmp_path / "spool" / "1.2.1.1").glob(".sending-*")) == []
    assert set(source.accepted) == {
        'multipart/related; type="application/dicom"; transfer-syntax=*'
    }


def test_only_missing_images_are_asked_for(tmp_path: Path) -> None:
    source = WebSource(held=HELD)
    some = Wanted("1.2.1", "1.2.1.1", ("1.2.1.1.2", "1.2.1.1.4"))
    ends = taken(source, tmp_path, some)

    assert ends[some].completed == 2
    assert kept(tmp_path) == ["1.2.1.1.2", "1.2.1.1.4"]


@pytest.mark.parametrize(
    ("behaviour", "end", "words"),
    [
        ({"stops_after": 2}, RetrievalEnd.SILENT, "broke off"),
        ({"stalls_after": 2}, RetrievalEnd.SILENT, ""),
        ({"stalls_after": 0}, RetrievalEnd.SILENT, ""),
        ({"statuses": [503]}, RetrievalEnd.BUSY, "503 Service Unavailable"),
        ({"statuses": [429]}, RetrievalEnd.BUSY, "429 Too Many Requests"),
        ({"statuses": [404]}, RetrievalEnd.REFUSED, "404 Not Found"),
        ({"statuses": [406]}, RetrievalEnd.REFUSED, "406 Not Acceptable"),
        ({"statuses": [500]}, RetrievalEnd.REFUSED, "500 Internal Server Error"),
        ({"statuses": [206]}, RetrievalEnd.PARTLY, "that this is not all (206)"),
        ({"parts": [b"x" * 200]}, RetrievalEnd.PARTLY, "1 were not kept"),
        ({"parts": [b"x" * 3_000_000]}, RetrievalEnd.REFUSED, "part of more than 1048576"),
        ({"parts": []}, RetrievalEnd.DONE, "nothing was sent"),
    ],
)
def test_however_it_ends_is_said(
    tmp_path: Path, behaviour: dict[str, Any], end: RetrievalEnd, words: str
) -> None:
    started = time.monotonic()
    ends = taken(WebSource(held=HELD, **behaviour), tmp_path)

    assert (ends[SERIES].end, words in ends[SERIES].words) == (end, True), ends
    assert time.monotonic() - started < 4.0


def test_what_came_before_a_break_is_kept_and_the_rest_is_not_asked_for(
    tmp_path: Path,
) -> None:
    source = WebSource(held=HELD, stops_after=2)
    ends = taken(source, tmp_path, SERIES, OTHER)

    assert (ends[SERIES].completed, kept(tmp_path)) == (2, ["1.2.1.1.1", "1.2.1.1.2"])
    assert ends[OTHER].end is RetrievalEnd.SILENT
    assert len(source.asked) == 1
    assert list((tmp_path / "spool" / "1.2.1.1").glob(".sending-*")) != []


def test_a_service_that_is_not_there_turns_away(tmp_path: Path) -> None:
    source = WebSource()
    with source.running():
        config = config_of(source, tmp_path)
    archive = archive_for(config, config.archives[0])

    ends = archive.retrieve([SERIES, OTHER], lambda *_: 0)

    assert {each.end for each in ends.values()} == {RetrievalEnd.TURNED_AWAY}


def test_images_that_are_no_ct_are_not_kept(tmp_path: Path) -> None:
    held = images(SERIES, 2)
    held[1].SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    held[1].file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ends = taken(WebSource(held=held), tmp_path)

    assert (ends[SERIES].completed, ends[SERIES].failed) == (1, 1)
    assert ends[SERIES].failed_uids == ("1.2.1.1.2",)
    assert kept(tmp_path) == ["1.2.1.1.1"]


def test_images_behind_one_that_is_refused_come_all_the_same(tmp_path: Path) -> None:
    """Asked for one by one, in the order of their UIDs: the second is gone."""
    missing = Wanted("1.2.1", "1.2.1.1", tuple(f"1.2.1.1.{n}" for n in (1, 2, 3, 4)))
    source = WebSource(held=HELD, statuses=[0, 404])
    end = taken(source, tmp_path, missing)[missing]

    assert end.end is RetrievalEnd.PARTLY
    assert "404" in end.words
    assert kept(tmp_path) == ["1.2.1.1.1", "1.2.1.1.3", "1.2.1.1.4"]


def test_for_how_long_a_service_wants_patience_is_handed_on(tmp_path: Path) -> None:
    source = WebSource(held=HELD, statuses=[503], headers={"Retry-After": "120"})
    end = taken(source, tmp_path)[SERIES]

    assert end.end is RetrievalEnd.BUSY
    assert end.again_after_s == 120.0
