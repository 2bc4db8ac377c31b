"""Retrieving by C-MOVE and C-GET from archives that send all, some, nothing, or fall silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless
from support.archives import SILENT, Archive
from support.ct import ct_slice
from support.pacs import dataset_bytes
from support.waiting import wait_until

from dicom_node.archive.keeping import Keeping
from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.archive_transports import archive_for
from dicom_node.peers.archives import Archive as Asked
from dicom_node.peers.archives import (
    KeepInstance,
    Level,
    Query,
    Retrieval,
    RetrievalEnd,
    Wanted,
)
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.open_associations import sending

SERIES = Wanted("1.2.1", "1.2.1.1")
OTHER = Wanted("1.2.1", "1.2.1.2")


def series(wanted: Wanted, images: int = 5) -> list[Any]:
    return [
        ct_slice(
            (0.0, 0.0, float(place)),
            StudyInstanceUID=wanted.study_instance_uid,
            SeriesInstanceUID=wanted.series_instance_uid,
            SOPInstanceUID=f"{wanted.series_instance_uid}.{place + 1}",
        )
        for place in range(images)
    ]


HELD = [*series(SERIES), *series(OTHER)]


def nobody(*_: object) -> int:
    pytest.fail("a C-MOVE gives nothing on its own association")


class Site:
    """A node whose receiver runs, and its settings for an archive."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.folder, self.receiver = folder, receiver
        self.spool = folder / "spool"

    def config(self, archive: Archive, **settings: Any) -> NodeConfig:
        """The settings of a node that asks this archive."""
        table = {"name": "main", "ae_title": "ARCHIVE", "host": "127.0.0.1"}
        return parse_config(
            {
                "node": {"spool": "spool"},
                "receive": {"free_reserve_mb": 0},
                "archives": [{**table, "port": archive.port, "silence_s": 1.0, **settings}],
            },
            source="test",
            folder=self.folder,
        )

    def asked(self, archive: Archive, **settings: Any) -> Asked:
        """The archive as such a node asks it."""
        config = self.config(archive, **settings)
        return archive_for(config, config.archives[0])

    def moved(self, archive: Archive, *wanted: Wanted) -> dict[Wanted, Retrieval]:
        """What retrievals by C-MOVE came to."""
        return dict(self.asked(archive).retrieve(wanted or [SERIES], nobody))

    def got(self, archive: Archive, *wanted: Wanted) -> dict[Wanted, Retrieval]:
        """What retrievals by C-GET came to; what came is in the spool."""
        config = self.config(archive, retrieve="get")
        with Keeping(config) as keeping:
            found = keeping.retrieve(
                archive_for(config, config.archives[0]), config.archives[0], wanted or [SERIES]
            )
        return dict(found)

    def kept(self, wanted: Wanted = SERIES) -> list[str]:
        """The SOP Instance UIDs that are in the spool."""
        return sorted(each.stem for each in self.folder_of(wanted).glob("*.dcm"))

    def folder_of(self, wanted: Wanted) -> Path:
        """The spool's folder of a series."""
        return self.spool / wanted.series_instance_uid


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = ReceiverSettings("MSKNODE", tmp_path / "spool", port=0, free_reserve_bytes=0)
    with Receiver(settings) as receiver:
        yield Site(tmp_path, receiver)


def holding(site: Site, **behaviour: Any) -> Archive:
    """An archive that knows the site's receiver."""
    held = behaviour.pop("held", HELD)
    return Archive(held=held, destinations={"MSKNODE": site.receiver.port}, **behaviour)


def all_of(wanted: Wanted, images: int = 5) -> list[str]:
    return [f"{wanted.series_instance_uid}.{number}" for number in range(1, images + 1)]


def test_a_c_move_brings_each_series_to_the_receiver_on_one_association(site: Site) -> None:
    with holding(site).running() as archive:
        ends = site.moved(archive, SERIES, OTHER)
        associations, moved_to = archive.associations, archive.moved_to

    expected = Retrieval(RetrievalEnd.DONE, "", 0, completed=5, failed=0, warning=0)
    assert ends == {SERIES: expected, OTHER: expected}
    assert (site.kept(SERIES), site.kept(OTHER)) == (all_of(SERIES), all_of(OTHER))
    assert (associations, moved_to) == (["MSKNODE"], ["MSKNODE", "MSKNODE"])


def test_only_the_missing_images_are_asked_for(site: Site) -> None:
    missing = Wanted("1.2.1", "1.2.1.1", ("1.2.1.1.2", "1.2.1.1.4"))
    with holding(site).running() as archive:
        ends = site.moved(archive, missing)
        (asked,) = archive.retrievals

    assert ends[missing].completed == 2
    assert site.kept() == ["1.2.1.1.2", "1.2.1.1.4"]
    assert asked.QueryRetrieveLevel == "IMAGE"
    assert list(asked.SOPInstanceUID) == ["1.2.1.1.2", "1.2.1.1.4"]


@pytest.mark.parametrize("status", [0xC320, 0xA801, 0xA900])
def test_an_archive_that_takes_no_list_is_asked_for_each_image_alone(
    site: Site, status: int
) -> None:
    missing = Wanted("1.2.1", "1.2.1.1", ("1.2.1.1.2", "1.2.1.1.4"))
    with holding(site, move_statuses=[status]).running() as archive:
        ends = site.moved(archive, missing)
        asked = [each.SOPInstanceUID for each in archive.retrievals[1:]]

    assert asked == ["1.2.1.1.2", "1.2.1.1.4"]
    assert (ends[missing].end, ends[missing].completed) == (RetrievalEnd.DONE, 2)


def test_images_that_never_come_do_not_hide_those_behind_them_for_ever(site: Site) -> None:
    """It takes no list, and has not the first six of nine; three are asked for in vain."""
    gone = [f"1.2.1.1.1{number}" for number in range(6)]
    missing = Wanted("1.2.1", "1.2.1.1", (*gone, "1.2.1.1.2", "1.2.1.1.3", "1.2.1.1.4"))
    for _ in range(60):
        with holding(site, move_statuses=[0xA900]).running() as archive:
            site.moved(archive, missing)
        if site.kept():
            break

    assert site.kept() == ["1.2.1.1.2", "1.2.1.1.3", "1.2.1.1.4"]


def test_many_missing_images_are_asked_for_in_parts(site: Site) -> None:
    """250 are 100, 100 and 50; of the 5 that it holds, all are in the first.

    Of each of the others three are asked for alone: it may have minded the list.
    """
    uids = tuple(f"1.2.1.1.{number}" for number in range(1, 251))
    with holding(site).running() as archive:
        ends = site.moved(archive, Wanted("1.2.1", "1.2.1.1", uids))
        asked = [
            1 if isinstance(each.SOPInstanceUID, str) else len(each.SOPInstanceUID)
            for each in archive.retrievals
        ]

    assert asked == [100, 100, 1, 1, 1, 50, 1, 1, 1]
    (end,) = ends.values()
    assert (end.end, end.completed) == (RetrievalEnd.DONE, 5)


@pytest.mark.parametrize(
    ("status", "end", "words"),
    [
        (0xA700, RetrievalEnd.BUSY, "0xA700, out of resources"),
        (0xA701, RetrievalEnd.BUSY, "0xA701, out of resources, cannot count the matches"),
        (0xA702, RetrievalEnd.TURNED_AWAY, "0xA702, out of resources, cannot send"),
        (0xA900, RetrievalEnd.REFUSED, "0xA900, the question does not fit the service"),
        (0xC000, RetrievalEnd.REFUSED, "0xC000, failed"),
    ],
)
def test_a_refusal_is_told_as_what_it_is_and_the_next_series_is_asked_for(
    site: Site, status: int, end: RetrievalEnd, words: str
) -> None:
    with holding(site, move_statuses=[status]).running() as archive:
        ends = site.moved(archive, SERIES, OTHER)

    assert (ends[SERIES].end, ends[SERIES].words) == (end, words)
    assert ends[SERIES].status == status
    assert ends[OTHER].end is RetrievalEnd.DONE


def test_an_archive_that_does_not_know_where_to_send_says_so(site: Site) -> None:
    with Archive(held=HELD).running() as archive:
        ends = site.moved(archive)

    assert ends[SERIES].end is RetrievalEnd.TURNED_AWAY
    assert ends[SERIES].words == "0xA801, move destination unknown, or not reached"


def test_nothing_sent_with_success_is_told(site: Site) -> None:
    with holding(site, held=series(OTHER)).running() as archive:
        ends = site.moved(archive)

    assert (ends[SERIES].end, ends[SERIES].words) == (RetrievalEnd.DONE, "nothing was sent")
    assert site.kept() == []


def test_success_is_the_archive_s_word_alone(site: Site) -> None:
    """It has five, lists five, sends three, and says that this was all."""
    with holding(site, withholds=frozenset({"1.2.1.1.2", "1.2.1.1.5"})).running() as archive:
        ends = site.moved(archive)

    assert (ends[SERIES].end, ends[SERIES].completed) == (RetrievalEnd.DONE, 3)
    assert site.kept() == ["1.2.1.1.1", "1.2.1.1.3", "1.2.1.1.4"]


def test_an_archive_that_falls_silent_is_left_after_that_time_and_not_asked_on(
    site: Site,
) -> None:
    started = time.monotonic()
    with holding(site, **SILENT).running() as archive:
        ends = site.moved(archive, SERIES, OTHER)
        took_s = time.monotonic() - started
        asked = len(archive.retrievals)

    assert (ends[SERIES].end, ends[SERIES].words) == (RetrievalEnd.SILENT, "fell silent")
    assert ends[SERIES].completed == 2
    assert ends[OTHER].end is RetrievalEnd.SILENT
    assert ends[OTHER].words == "not asked for, after the archive fell silent"
    assert 1.0 <= took_s < 4.0
    assert asked == 1
    assert site.kept() == all_of(SERIES, 2)


def test_an_archive_that_says_nothing_while_images_arrive_is_waited_for(site: Site) -> None:
    """Pending responses are optional (PS3.4 C.4.2.3.1); the spool's folder tells that it lives.

    It says nothing for 2.5 s after its first image, and 1 s of silence is allowed.
    """
    folder = site.folder_of(SERIES)

    def arrive(archive: Archive) -> None:
        archive.silent.wait(10)
        for number in range(10):
            (folder / f".sending-{number}").touch()
            time.sleep(0.25)
        archive.released.set()

    with holding(site, move_silent_after=1).running() as archive:
        thread = threading.Thread(target=arrive, args=[archive])
        thread.start()
        started = time.monotonic()
        ends = site.moved(archive)
        took_s = time.monotonic() - started
        thread.join()

    assert ends[SERIES].words == "broke off"
    assert took_s >= 2.0


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_after_an_abort_the_next_series_is_asked_for_anew(site: Site, retrieve: str) -> None:
    first = Wanted("1.2.1", "1.2.1.1", ("1.2.1.1.1",))
    with holding(site, move_aborts_after=2).running() as archive:
        take = site.moved if retrieve == "move" else site.got
        started = time.monotonic()
        ends = take(archive, SERIES, first, OTHER)
        took_s = time.monotonic() - started
        associations = len([each for each in archive.associations if each == "MSKNODE"])

    assert [each.end for each in ends.values()] == [
        RetrievalEnd.SILENT,
        RetrievalEnd.DONE,
        RetrievalEnd.SILENT,
    ]
    assert ends[SERIES].words == "broke off"
    assert associations == 2
    assert took_s < 5.0


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_an_archive_that_takes_no_association_turns_away(site: Site, retrieve: str) -> None:
    with holding(site, rejections=1).running() as archive:
        take = site.moved if retrieve == "move" else site.got
        ends = take(archive, SERIES, OTHER)

    assert {each.end for each in ends.values()} == {RetrievalEnd.TURNED_AWAY}
    assert "Local limit exceeded" in ends[SERIES].words


def test_an_archive_that_is_not_there_is_an_end_of_each(site: Site) -> None:
    archive = holding(site)
    with archive.running():
        pass

    assert site.moved(archive, SERIES, OTHER)[OTHER].end is RetrievalEnd.TURNED_AWAY
    with pytest.raises(PeerUnreachableError):
        site.asked(archive).find([Query(Level.STUDY, {})])


def test_a_c_get_keeps_each_image_byte_for_byte_under_the_archive_s_title(site: Site) -> None:
    with holding(site).running() as archive:
        ends = site.got(archive, SERIES, OTHER)
        associations = archive.associations
    files = [dcmread(each) for each in sorted(site.folder_of(SERIES).glob("*.dcm"))]

    expected = Retrieval(RetrievalEnd.DONE, "", 0, completed=5, failed=0, warning=0)
    assert ends == {SERIES: expected, OTHER: expected}
    assert site.kept(SERIES) == all_of(SERIES)
    assert {each.file_meta.SendingApplicationEntityTitle for each in files} == {"ARCHIVE"}
    assert {each.file_meta.ReceivingApplicationEntityTitle for each in files} == {"MSKNODE"}
    assert associations == ["MSKNODE"]
    assert list(site.folder_of(SERIES).glob(".sending-*")) == []
    again = sent_to_receiver(site, SERIES)
    assert again == [
        dataset_bytes(each) for each in sorted(site.folder_of(SERIES).glob("*.dcm"))
    ]


def sent_to_receiver(site: Site, wanted: Wanted) -> list[bytes]:
    """The encoded datasets that a C-MOVE of the same brings to a receiver of its own."""
    spool = site.folder / "other"
    settings = ReceiverSettings("MSKNODE", spool, port=0, free_reserve_bytes=0)
    with (
        Receiver(settings) as receiver,
        Archive(held=HELD, destinations={"MSKNODE": receiver.port}).running() as archive,
    ):
        site.moved(archive, wanted)
    files = sorted((spool / wanted.series_instance_uid).glob("*.dcm"))
    return [dataset_bytes(each) for each in files]


def test_a_compressed_image_is_given_as_the_archive_holds_it(site: Site) -> None:
    held = series(SERIES, 2)
    for each in held:
        each.compress(RLELossless, generate_instance_uid=False)
    with holding(site, held=held).running() as archive:
        ends = site.got(archive)
    files = [dcmread(each) for each in sorted(site.folder_of(SERIES).glob("*.dcm"))]

    assert ends[SERIES].end is RetrievalEnd.DONE
    assert {each.file_meta.TransferSyntaxUID for each in files} == {RLELossless}
    assert [each.PixelData for each in files] == [each.PixelData for each in held]


def test_a_series_that_comes_by_c_get_is_known_to_be_coming(site: Site) -> None:
    """The watcher takes no series that is still being given, and waits for what broke off."""
    with holding(site, move_silent_after=2).running() as archive:
        config = site.config(archive, retrieve="get", silence_s=20.0)
        asked = archive_for(config, config.archives[0])
        with Keeping(config) as keeping:
            thread = threading.Thread(
                target=keeping.retrieve, args=[asked, config.archives[0], [SERIES]]
            )
            thread.start()
            folder = site.folder_of(SERIES)
            wait_until(lambda: len(site.kept()) == 2, 10, "two images are there")
            wait_until(lambda: sending(folder).open, 10, "the series is being given")
            archive.released.set()
            thread.join()
        broken = sending(folder)
        archive.move_silent_after = None
        site.got(archive)
        whole = sending(folder)

    assert (broken.open, broken.interrupted) == (False, True)
    assert (whole.open, whole.interrupted) == (False, False)
    assert site.kept() == all_of(SERIES)


def test_an_image_that_is_not_kept_is_answered_with_its_status(site: Site) -> None:
    """A C-STORE status of our own makes the archive count the image as failed."""
    with holding(site).running() as archive:
        asked = site.asked(archive, retrieve="get")
        statuses = iter([0, 0xA700, 0, 0xA700, 0])

        def keep(*_: object) -> int:
            return next(statuses)

        keeping: KeepInstance = keep
        ends = asked.retrieve([SERIES], keeping)

    end = ends[SERIES]
    assert (end.end, end.status) == (RetrievalEnd.PARTLY, 0xB000)
    assert (end.completed, end.failed) == (3, 2)
    assert end.failed_uids == ("1.2.1.1.2", "1.2.1.1.4")


def test_an_object_that_is_too_large_ends_a_c_get_and_not_the_next(site: Site) -> None:
    held = [*series(SERIES, 2), *series(OTHER, 1)]
    held[1].PixelData = bytes(3 << 20)
    with holding(site, held=held).running() as archive:
        config = site.config(archive, retrieve="get")
        config = config.model_copy(
            update={"receive": config.receive.model_copy(update={"max_object_mb": 1})}
        )
        with Keeping(config) as keeping:
            ends = keeping.retrieve(
                archive_for(config, config.archives[0]), config.archives[0], [SERIES, OTHER]
            )

    assert ends[SERIES].end is RetrievalEnd.SILENT
    assert ends[OTHER].end is RetrievalEnd.DONE
    assert site.kept() == all_of(SERIES, 1)


def test_a_port_that_is_full_is_not_asked_to_be_filled_image_by_image(site: Site) -> None:
    missing = Wanted("1.2.1", "1.2.1.1", ("1.2.1.1.2", "1.2.1.1.4"))
    with holding(site, move_statuses=[0xA702, 0xA702]).running() as archive:
        ends = site.moved(archive, missing)
        asked = len(archive.retrievals)

    assert (ends[missing].end, asked) == (RetrievalEnd.TURNED_AWAY, 1)
