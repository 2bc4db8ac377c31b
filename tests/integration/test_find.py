"""Asking archives that answer well, in part, in other letters, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydicom.uid import generate_uid
from support.archives import (
    ABORTING,
    BUSY,
    CAPPING,
    CAPPING_SILENTLY,
    LATIN_1,
    LATIN_1_UNDECLARED,
    QRSCP,
    Archive,
)
from support.ct import ct_slice

from dicom_node.errors import PeerBusyError, PeerRefusedError, PeerUnreachableError
from dicom_node.network import limits
from dicom_node.peers import find as find_module
from dicom_node.peers.archives import Answer, Level, Query
from dicom_node.peers.association import Peer
from dicom_node.peers.find import Habits, find

STUDIES = Query(Level.STUDY, {"StudyDate": "20260101-20260131", "PatientName": ""})


def study(number: int, images: int = 2, **elements: Any) -> list[Any]:
    """A study of one series, on the so-manieth of January 2026."""
    return [
        ct_slice(
            (0.0, 0.0, float(place)),
            StudyInstanceUID=f"1.2.{number}",
            SeriesInstanceUID=f"1.2.{number}.1",
            StudyDate=f"202601{number:02d}",
            SOPInstanceUID=f"1.2.{number}.1.{place + 1}",
            **elements,
        )
        for place in range(images)
    ]


HELD = [each for number in range(1, 6) for each in study(number)]


def peer_of(archive: Archive, patience_s: float = 5.0) -> Peer:
    return Peer("main", "ARCHIVE", "127.0.0.1", archive.port, "MSKNODE", 2.0, patience_s)


def asked(query: Query, held: list[Any] = HELD, **behaviour: Any) -> Answer:
    with Archive(held=held, **behaviour).running() as archive:
        (answer,) = find(peer_of(archive), [query])
        return answer


def uids(answer: Answer, keyword: str = "StudyInstanceUID") -> list[str]:
    return [each.get(keyword) for each in answer.listed]


def test_each_level_is_asked_with_the_keys_above_it_on_one_association() -> None:
    queries = [
        STUDIES,
        Query(
            Level.SERIES, {"StudyInstanceUID": "1.2.3", "NumberOfSeriesRelatedInstances": ""}
        ),
        Query(Level.IMAGE, {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"}),
        Query(Level.STUDY, {"StudyInstanceUID": "1.2.2\\1.2.4"}),
    ]
    with Archive(held=HELD).running() as archive:
        studies, series, images, chosen = find(peer_of(archive), queries)
        associations = archive.associations

    assert uids(studies) == ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5"]
    assert [dict(each.values) for each in series.listed] == [
        {
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": "1.2.3.1",
            "NumberOfSeriesRelatedInstances": "2",
        }
    ]
    assert uids(images, "SOPInstanceUID") == ["1.2.3.1.1", "1.2.3.1.2"]
    assert uids(chosen) == ["1.2.2", "1.2.4"]
    assert all(each.is_whole and each.status == 0 for each in (studies, series, images))
    assert associations == ["MSKNODE"]


def test_an_archive_that_answers_once_per_image_lists_each_study_once() -> None:
    """And what it does not return is not there, which is not the same as empty."""
    query = Query(Level.STUDY, {"ModalitiesInStudy": "CT", "StudyDate": ""})
    with Archive(held=HELD, **QRSCP).running() as archive:
        (answer,) = find(peer_of(archive), [query], Habits(answers_per_image=True))

    assert uids(answer) == ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5"]
    assert "ModalitiesInStudy" not in answer.listed[0].values
    assert answer.is_whole


def test_an_answer_that_names_a_study_twice_may_have_taken_the_place_of_another() -> None:
    """tiny_pacs sends the last of its answers as many times as there are answers."""
    answer = asked(STUDIES, repeats_the_last=True)

    assert uids(answer) == ["1.2.5"]
    assert not answer.is_whole
    assert answer.words == "5 answers name no more than 1, some in place of others"


def test_where_counting_leaves_one_answer_it_is_asked_again_without() -> None:
    """One of five is listed where images are to be counted, and all five where they are not."""
    counted = Query(Level.STUDY, {**STUDIES.keys, "NumberOfStudyRelatedInstances": ""})
    single = Query(Level.STUDY, {"StudyDate": "20260103", "NumberOfStudyRelatedInstances": ""})
    with Archive(held=HELD, counts_over_all=True).running() as archive:
        all_of_them, one = find(peer_of(archive), [counted, single])
        asked = len(archive.queries)

    assert len(all_of_them.listed) == 5
    assert "NumberOfStudyRelatedInstances" not in all_of_them.listed[0].values
    assert (uids(one), one.listed[0].get("NumberOfStudyRelatedInstances")) == (["1.2.3"], "2")
    assert asked == 4


@pytest.mark.parametrize(
    ("behaviour", "max_answers", "words"),
    [
        (CAPPING, None, "cut off by the archive after 3 answers (0xFE00)"),
        (CAPPING_SILENTLY, 3, "3 answers, as many as the archive gives at most"),
        (CAPPING_SILENTLY, 2, "3 answers, as many as the archive gives at most"),
        (ABORTING, None, "the answers broke off after 2"),
    ],
)
def test_an_answer_that_was_cut_short_says_so(
    behaviour: Mapping[str, Any], max_answers: int | None, words: str
) -> None:
    with Archive(held=HELD, **behaviour).running() as archive:
        (answer,) = find(peer_of(archive), [STUDIES], Habits(max_answers))

    assert not answer.is_whole
    assert answer.words == words
    assert len(answer.listed) in {2, 3}


def test_fewer_answers_than_the_archive_gives_at_most_are_all() -> None:
    with Archive(held=HELD, **CAPPING_SILENTLY).running() as archive:
        (answer,) = find(
            peer_of(archive), [Query(Level.STUDY, {"StudyDate": "20260103"})], Habits(3)
        )

    assert uids(answer) == ["1.2.3"]
    assert answer.is_whole


def test_a_failure_after_some_answers_is_told_with_them() -> None:
    answer = asked(STUDIES, cap=2, cap_status=0xA700)

    assert uids(answer) == ["1.2.1", "1.2.2"]
    assert answer.words == "failed after 2 answers (0xA700)"
    assert answer.status == 0xA700


def test_an_archive_that_is_busy_says_so_and_answers_later() -> None:
    with Archive(held=HELD, **BUSY).running() as archive:
        for _ in range(2):
            with pytest.raises(PeerBusyError, match="0xA700"):
                find(peer_of(archive), [STUDIES])
        (answer,) = find(peer_of(archive), [STUDIES])

    assert len(answer.listed) == 5


def test_a_refused_question_is_an_error_with_its_status() -> None:
    with (
        Archive(held=HELD, find_statuses=[0xA900]).running() as archive,
        pytest.raises(PeerRefusedError, match="0xA900"),
    ):
        find(peer_of(archive), [STUDIES])


def test_nothing_found_is_an_answer() -> None:
    answer = asked(Query(Level.STUDY, {"StudyDate": "20250101"}))

    assert answer == Answer((), status=0)


def test_an_archive_that_breaks_off_one_answer_is_asked_the_next_question_anew() -> None:
    """The 2nd of 3 questions has more answers than it gives before it aborts."""
    one = Query(Level.STUDY, {"StudyInstanceUID": "1.2.1"})
    with Archive(held=HELD, find_aborts_after=2).running() as archive:
        first, broken, last = find(peer_of(archive), [one, STUDIES, one])
        associations = len(archive.associations)

    assert [first.is_whole, broken.is_whole, last.is_whole] == [True, False, True]
    assert associations == 2


def test_an_archive_that_says_nothing_is_waited_for_no_longer_than_said() -> None:
    with (
        Archive(held=HELD, find_silent_after=0).running() as archive,
        pytest.raises(PeerUnreachableError, match="did not answer the C-FIND"),
    ):
        find(peer_of(archive, patience_s=0.5), [STUDIES])


def test_a_rejected_association_is_no_answer() -> None:
    with (
        Archive(held=HELD, rejections=1).running() as archive,
        pytest.raises(PeerUnreachableError, match="Local limit exceeded"),
    ):
        find(peer_of(archive), [STUDIES])


def test_more_than_is_held_ends_the_association_without_waiting_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is on its way already waits in the connection, not in memory."""
    monkeypatch.setattr(find_module, "MAX_LISTED", 40)
    monkeypatch.setattr(limits, "MAX_UNREAD", 10)
    held = [each for number in range(1, 29) for each in study(number, 10)]
    query = Query(Level.IMAGE, {"StudyInstanceUID": "", "SeriesInstanceUID": ""})

    answer = asked(query, held)

    assert len(answer.listed) == 40
    assert answer.words == "more than 40 answers, which is more than are taken"


JAPANESE = "Yamada^Tarou=山田^太郎"
CHINESE = "王^小东"


@pytest.mark.parametrize(
    ("character_set", "raw", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
            JAPANESE,
        ),
        ("GB18030", CHINESE.encode("gb18030"), CHINESE),
        ("ISO_IR 192", CHINESE.encode(), CHINESE),
        ("ISO_IR 192", "Müller^Jörg".encode("latin-1"), "M\ufffdller^J\ufffdrg"),
        ("", b"\xff\xfe\x1b$Bx", "\ufffd\ufffd\ufffd$Bx"),
    ],
)
def test_names_are_what_the_declared_characters_say_and_nothing_is_made_up(
    character_set: str, raw: bytes, name: str
) -> None:
    answer = asked(STUDIES, character_set=character_set, raw={"PatientName": raw})

    assert [each.get("PatientName") for each in answer.listed] == [name] * 5


def test_latin_1_is_read_where_it_is_declared_and_marked_where_it_is_not() -> None:
    held = study(1, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    declared = asked(STUDIES, held, **LATIN_1)
    undeclared = asked(STUDIES, held, **LATIN_1_UNDECLARED)

    assert declared.listed[0].get("PatientName") == "Müller^Jörg"
    assert undeclared.listed[0].get("PatientName") == "M\ufffdller^J\ufffdrg"


def test_numbers_and_dates_that_are_none_are_given_as_they_stand() -> None:
    query = Query(Level.SERIES, {"StudyInstanceUID": "1.2.1", "SeriesNumber": ""})

    answer = asked(query, study(1, SeriesNumber=7), raw={"SeriesNumber": b"7th "})

    assert [each.get("SeriesNumber") for each in answer.listed] == ["7th"]


def test_no_time_zone_is_sent_and_other_letters_are_declared() -> None:
    """Beside a date, Orthanc finds nothing for a time zone."""
    query = Query(Level.STUDY, {"PatientName": "M*ü*", "TimezoneOffsetFromUTC": "+0900"})
    with Archive(held=HELD).running() as archive:
        find(peer_of(archive), [query, STUDIES])
        foreign, plain = archive.queries

    assert "TimezoneOffsetFromUTC" not in foreign
    assert (foreign.SpecificCharacterSet, str(foreign.PatientName)) == ("ISO_IR 192", "M*ü*")
    assert "SpecificCharacterSet" not in plain


def test_a_keyword_that_is_none_is_a_mistake_of_ours() -> None:
    with (
        Archive(held=HELD).running() as archive,
        pytest.raises(ValueError, match="'StudyDat' is no attribute"),
    ):
        find(peer_of(archive), [Query(Level.STUDY, {"StudyDat": generate_uid()})])
