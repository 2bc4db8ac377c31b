"""Claims about asking an archive, with a real ledger and spool and a clock of the test's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs
from support.asked_archive import START, AskedArchive, Site
from support.studies import series, series_uid, study_uid

from dicom_node.archive.by_hand import again, pause
from dicom_node.archive.dispatch import Dispatch, kinds
from dicom_node.archive.holding import Holding
from dicom_node.archive.keeping import Keeping
from dicom_node.archive.overview import overview
from dicom_node.archive.retrieve_jobs import KIND, RetrieveJobs, retrieve_job
from dicom_node.errors import PeerRefusedError, PeerUnreachableError
from dicom_node.node.requery import RequeryTasks
from dicom_node.peers.archives import Level, Retrieval, RetrievalEnd, Wanted
from dicom_node.persistence.archive_rows import ArchiveState, WindowState
from dicom_node.persistence.rows import AGAINST_RULES, RELEASED, SeriesRow, SeriesState

BUSY = Retrieval(RetrievalEnd.BUSY, "0xA700", 0xA700)
TURNED_AWAY = Retrieval(RetrievalEnd.TURNED_AWAY, "0xA702", 0xA702)
NOBODY = Retrieval(RetrievalEnd.TURNED_AWAY, "no connection")
SILENT = Retrieval(RetrievalEnd.SILENT, "not a word for 300 s")


def few(study: int, number: int = 1, **elements: Any) -> list[Dataset]:
    """A series of four images, where it makes no difference how many there are."""
    return series(study, number, slices=4, **elements)


def answered(study: int, state: SeriesState) -> SeriesRow:
    """A series in the node's own table."""
    names = (series_uid(study), 1, study_uid(study), "CT1", "MSK", 12, f"f{study}")
    return SeriesRow(*names, START, START, state)


def asked(archive: AskedArchive) -> Counter[str]:
    return Counter(each.series_instance_uid for each in archive.retrievals)


def test_what_is_listed_and_wanted_is_fetched_and_a_second_run_asks_for_nothing(
    tmp_path: Path,
) -> None:
    archive = AskedArchive([*few(1), *few(2, StudyDate="20260107")])
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 7}])
    site.run()
    site.pass_time(days=1)
    before = list(archive.retrievals)
    site.run()

    assert site.states() == {series_uid(1): "fetched", series_uid(2): "fetched"}
    assert archive.retrievals == before
    runs = site.asking.ledger.runs("nightly")
    assert [(run.first, run.last, run.watermark) for run in runs] == [
        ("2026-01-05", "2026-01-07", "2026-01-08"),
        ("2026-01-05", "2026-01-08", "2026-01-09"),
    ]


def test_the_second_run_begins_at_the_watermark_less_what_is_looked_back(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(few(1))
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 1}])
    site.run()
    archive.queries.clear()
    site.pass_time(days=1)
    site.run()

    dates = [each.keys["StudyDate"] for each in archive.queries if each.level is Level.STUDY]
    assert dates == ["20260107", "20260108"]


def test_a_day_of_more_answers_than_the_archive_gives_is_cut_until_all_are_found(
    tmp_path: Path,
) -> None:
    """Twelve studies of one day, of which two have no time; four answers at most."""
    times = [f"{hour:02d}1500" for hour in (8, 8, 9, 9, 10, 11, 12, 15, 18, 22)] + [None, ""]
    held = [
        image
        for number, time in enumerate(times, start=1)
        for image in series(number, slices=3, StudyTime=time)
    ]
    site = Site.make(tmp_path, AskedArchive(held, cap=4))
    site.run()

    assert site.states() == {series_uid(study): "fetched" for study in range(1, 13)}
    windows = site.asking.ledger.windows("nightly")
    assert {each.state for each in windows} == {WindowState.SPLIT, WindowState.LISTED}


def test_a_half_hour_of_too_many_studies_is_named_and_what_was_listed_of_it_is_fetched(
    tmp_path: Path,
) -> None:
    held = [
        image
        for study in range(1, 7)
        for image in series(study, slices=3, StudyTime=f"10{study:02d}00")
    ]
    site = Site.make(tmp_path, AskedArchive(held, cap=4))
    site.run()

    assert len(site.rows()) == 4
    (status,) = overview(site.asking.config, site.asking.ledger, site.now[0])
    (named,) = (each for each in status.named if "10:00" in each.what)
    assert named.what == "2026-01-05 10:00 to 10:30"
    assert (named.state, "4 answers" in named.reason) == ("window cut", True)


def test_a_series_is_whole_by_its_stack_and_not_by_the_archive_s_count(tmp_path: Path) -> None:
    """It counts 20 and 3, and has 12 of each: one is whole though it counts more."""
    archive = AskedArchive([*series(1), *series(2)])
    archive.counts = {series_uid(1): 20, series_uid(2): 3}
    site = Site.make(tmp_path, archive)
    site.run()

    assert site.states() == {series_uid(1): "fetched", series_uid(2): "fetched"}
    row = site.rows()[series_uid(1)]
    assert "all 12 images that it lists are here, though it counts 20" in row.reason


def test_what_is_missing_is_asked_for_by_image_and_named_when_it_does_not_come(
    tmp_path: Path,
) -> None:
    held = series(1)
    archive = AskedArchive(held, withholds={held[3].SOPInstanceUID, held[4].SOPInstanceUID})
    site = Site.make(tmp_path, archive)
    with capture_logs() as events:
        site.run()

    first, *others = archive.retrievals
    assert first.sop_instance_uids == ()
    assert {each.sop_instance_uids for each in others} == {
        tuple(sorted(each.SOPInstanceUID for each in held[3:5]))
    }
    row = site.rows()[series_uid(1)]
    assert (row.state, row.attempts, row.instances) == (ArchiveState.INCOMPLETE, 3, 10)
    assert row.reason.startswith("after 3 attempts: 10 of 12 images are here; ")
    assert "slices are missing between 10.0 and 25.0 mm" in row.reason
    (named,) = (each for each in events if each["event"] == "requery.incomplete")
    assert named["log_level"] == "error"


def test_a_series_that_the_archive_has_with_a_gap_is_not_sent_again_and_again(
    tmp_path: Path,
) -> None:
    """It lists 11 images, all are here: it is asked what it lists, and for nothing."""
    archive = AskedArchive(series(1, without=(5,)))
    site = Site.make(tmp_path, archive)
    site.run()

    assert len(archive.retrievals) == 1
    row = site.rows()[series_uid(1)]
    assert row.state is ArchiveState.INCOMPLETE
    assert "the archive lists no more" in row.reason


def test_an_end_that_is_missing_is_told_from_a_whole_series(tmp_path: Path) -> None:
    """Ten slices without a gap, of twelve that are listed: no gap says that."""
    held = series(1)
    archive = AskedArchive(held, withholds={each.SOPInstanceUID for each in held[10:]})
    site = Site.make(tmp_path, archive)
    site.run()
    ask = Holding(site.asking).counts(lambda *_: None)
    expected = ask("STORE", study_uid(1), series_uid(1))

    assert "an end may be missing" in site.rows()[series_uid(1)].reason
    assert expected is not None
    assert (expected.instances, expected.said_by) == (12, "store")


def test_a_series_of_which_nothing_comes_has_failed_with_the_archive_s_words(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(few(1), ends=[SILENT] * 9)
    site = Site.make(tmp_path, archive)
    site.run()

    row = site.rows()[series_uid(1)]
    assert (row.state, len(archive.retrievals)) == (ArchiveState.FAILED, 3)
    assert "the archive says silent: not a word for 300 s" in row.reason


@pytest.mark.parametrize("lists", [True, False])
def test_a_series_of_an_archive_that_does_not_count_is_whole_when_no_more_is_listed(
    lists: bool,
    tmp_path: Path,
) -> None:
    """It breaks off after six of twelve: no gap is among them, and the rest is asked for."""
    archive = AskedArchive(series(1), does_not_count=True, lists_no_images=not lists)
    archive.breaks_off_after = [6]
    site = Site.make(tmp_path, archive)
    site.run()

    row = site.rows()[series_uid(1)]
    assert (row.state, row.instances, row.attempts) == (ArchiveState.FETCHED, 12, 2)
    again = tuple(sorted(each.SOPInstanceUID for each in series(1)[6:])) if lists else ()
    assert [each.sop_instance_uids for each in archive.retrievals] == [(), again]


def test_what_an_archive_that_does_not_count_never_sends_whole_is_incomplete(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(series(1), does_not_count=True)
    archive.withholds = {each.SOPInstanceUID for each in series(1)[6:]}
    site = Site.make(tmp_path, archive)
    site.run()
    expected = Holding(site.asking).counts(lambda *_: None)(
        "STORE", study_uid(1), series_uid(1)
    )

    row = site.rows()[series_uid(1)]
    assert row.state is ArchiveState.INCOMPLETE
    assert "6 of 12 images are here" in row.reason
    assert expected is not None
    assert expected.instances == 12


def test_a_series_that_a_scanner_is_still_sending_is_not_had_without_a_count(
    tmp_path: Path,
) -> None:
    """Five of twelve came from it when the archive lists the series; the rest is fetched."""
    archive = AskedArchive(series(1), does_not_count=True)
    site = Site.make(tmp_path, archive)
    spooled(site, series(1)[:5])
    site.run()

    row = site.rows()[series_uid(1)]
    assert (row.state, row.instances) == (ArchiveState.FETCHED, 12)
    assert [len(each.sop_instance_uids) for each in archive.retrievals] == [7]


def test_one_that_makes_an_archive_fall_silent_does_not_hold_up_the_others(
    tmp_path: Path,
) -> None:
    held = [image for study in (1, 2, 3) for image in few(study)]
    archive = AskedArchive(held, ends=[SILENT])
    site = Site.make(tmp_path, archive)
    site.run()

    order = [each.series_instance_uid for each in archive.retrievals]
    assert order == [series_uid(study) for study in (1, 2, 3, 1)]
    assert set(site.states().values()) == {"fetched"}


@pytest.mark.parametrize("end", [BUSY, TURNED_AWAY, SILENT])
def test_an_archive_in_trouble_is_left_alone_for_longer_and_longer(
    end: Retrieval, tmp_path: Path
) -> None:
    """A minute, two, four, with a jitter of nothing; then it is well, and so is the next."""
    archive = AskedArchive(few(1), ends=[end] * 3)
    site = Site.make(tmp_path, archive, schedules=[{"attempts": 9, "first_wait_s": 60}])
    site.begin()
    moments = []
    while len(archive.retrievals) < 4:
        count = len(archive.retrievals)
        site.step()
        moments += [site.now[0]] * (len(archive.retrievals) - count)
        site.pass_time(seconds=10)
    waits = [(after - before).total_seconds() for before, after in pairwise(moments)]

    assert waits == [60, 120, 240]
    assert site.states() == {series_uid(1): "fetched"}
    trouble = site.asking.ledger.trouble("store")
    assert trouble is not None
    assert (trouble.failures, trouble.quiet_until) == (0, None)


def test_a_series_waits_for_an_archive_that_nobody_answers_for_as_long_as_it_takes(
    tmp_path: Path,
) -> None:
    """Nobody took the association: that uses up no attempt, only the time of the schedule."""
    archive = AskedArchive(few(1), ends=[NOBODY] * 20)
    site = Site.make(tmp_path, archive)
    site.run()

    assert site.states() == {series_uid(1): "fetched"}
    assert len(archive.retrievals) == 21


def test_what_was_asked_for_too_long_ago_is_given_up_also_while_all_is_paused(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(few(1), ends=[NOBODY] * 500)
    site = Site.make(tmp_path, archive, schedules=[{"give_up_h": 5}])
    site.begin()
    site.step()
    site.step()
    pause(site.asking.ledger, None, paused=True)
    site.pass_time(hours=5)
    site.step()

    row = site.rows()[series_uid(1)]
    assert (row.state, row.next_at) == (ArchiveState.FAILED, None)


def test_an_archive_that_does_not_answer_queries_is_asked_again_and_the_run_waits(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(few(1), raises=[PeerUnreachableError("nobody there")] * 10)
    site = Site.make(tmp_path, archive)
    site.run()

    assert site.states() == {series_uid(1): "fetched"}


def test_a_window_that_is_refused_is_named_and_the_watermark_stops_at_it(
    tmp_path: Path,
) -> None:
    """The second of three days fails at every attempt; the next run begins with it."""
    archive = AskedArchive([*few(1), *few(2, StudyDate="20260107")])
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 0}])
    site.begin()
    first, second, third = site.asking.ledger.windows("nightly")
    site.asking.ledger.enter(
        changed=[replace(each, next_at=START + timedelta(days=1)) for each in (first, third)]
    )
    archive.raises = [PeerRefusedError("0xA900, data set does not match")] * 3
    site.finish()
    run = site.asking.ledger.runs("nightly")[0]
    site.pass_time(days=1)
    site.run()

    assert run.watermark == "2026-01-06"
    assert site.asking.ledger.runs("nightly")[1].first == "2026-01-06"
    failed = site.asking.ledger.windows("nightly", run.run, [WindowState.FAILED])
    assert [each.window for each in failed] == [second.window]
    assert "0xA900" in failed[0].reason


def test_two_schedules_ask_for_a_series_once(tmp_path: Path) -> None:
    """Both list it in the same moment; of two at once the first by name has it."""
    archive = AskedArchive([*few(1), *few(2)])
    site = Site.make(tmp_path, archive, schedules=[{"name": "nightly"}, {"name": "weekly"}])
    site.begin("weekly")
    site.begin("nightly")
    site.finish()

    assert set(asked(archive).values()) == {1}
    states = [site.states(name)[series_uid(1)] for name in ("nightly", "weekly")]
    assert sorted(states) == ["fetched", "had"]


def test_what_one_schedule_cannot_get_another_asks_its_own_archive_for(
    tmp_path: Path,
) -> None:
    """The first archive lists it and never gives it."""
    first = AskedArchive(series(1), name="first")
    first.withholds = {each.SOPInstanceUID for each in first.held}
    second = AskedArchive(series(1), name="second")
    schedules = [{"name": "a", "archive": "first"}, {"name": "b", "archive": "second"}]
    site = Site.make(tmp_path, first, second, schedules=schedules)
    site.begin("a")
    site.step()
    site.begin("b")
    site.step()
    left = site.rows("b")[series_uid(1)].reason
    site.finish()

    assert left == "schedule a has it: wanted"
    assert (site.states("a"), site.states("b")) == (
        {series_uid(1): "failed"},
        {series_uid(1): "fetched"},
    )


def test_what_a_schedule_that_is_gone_wanted_the_next_one_fetches(tmp_path: Path) -> None:
    """The schedule has got another name while its series wait."""
    archive = AskedArchive(series(1), ends=[NOBODY] * 99)
    site = Site.make(tmp_path, archive, schedules=[{"name": "a-old"}])
    site.begin("a-old")
    for _ in range(6):
        site.step()
        site.pass_time(minutes=2)
    archive.ends.clear()
    assert site.states("a-old") == {series_uid(1): "wanted"}
    site = Site.make(tmp_path, archive, schedules=[{"name": "new"}])
    site.pass_time(hours=3)
    site.run(schedule="new")

    assert site.states("new") == {series_uid(1): "fetched"}


def test_a_worker_that_does_not_know_a_schedule_leaves_its_jobs_to_one_that_does(
    tmp_path: Path,
) -> None:
    """Two workers of one database, of which one was started before the schedule was added."""
    archive = AskedArchive(series(1))
    site = Site.make(tmp_path, archive)
    older = Site.make(tmp_path, archive, schedules=[{"name": "other"}])
    site.begin()
    for _ in range(6):
        for job in site.dispatch.due():
            kinds(older.asking)[job.kind].run(job.payload)
    left = site.asking.ledger.windows("nightly")
    site.finish()

    assert {each.state for each in left} == {WindowState.WAITING}
    assert site.states() == {series_uid(1): "fetched"}

    archive.held += series(2, StudyDate="20260108")
    site.pass_time(days=1)
    site.begin()
    while series_uid(2) not in site.rows():
        site.step()
    due = [job for job in site.dispatch.due() if job.kind == KIND]
    older.now[0] = site.now[0]
    for job in due:
        kinds(older.asking)[job.kind].run(job.payload)
    older.dispatch.look_after()
    before = site.states()[series_uid(2)]
    site.finish()

    assert (len(due), before) == (1, "wanted")
    assert site.states()[series_uid(2)] == "fetched"


@pytest.mark.parametrize("began_a_run", [False, True])
def test_a_clock_that_was_years_ahead_keeps_no_run_from_beginning(
    tmp_path: Path, began_a_run: bool
) -> None:
    archive = AskedArchive(series(1))
    site = Site.make(tmp_path, archive, schedules=[{"at": "20:00"}])
    tasks = RequeryTasks(site.asking, lambda _: None, lambda _: ())
    site.now[0] = datetime(2036, 1, 1, 12, tzinfo=UTC)
    tasks.look_after()
    if began_a_run:
        site.pass_time(days=1)
        tasks.look_after()
    ahead = {run.run for run in site.asking.ledger.runs("nightly")}
    site.now[0] = START - timedelta(hours=3)
    tasks.look_after()
    site.now[0] = START + timedelta(seconds=10)
    tasks.look_after()
    begun = [run for run in site.asking.ledger.runs("nightly") if run.run not in ahead]
    for _ in range(5):
        site.step()

    assert len(ahead) == 1 + began_a_run
    assert [(run.run, run.first, run.last) for run in begun] == [
        ("20260108", "2026-01-05", "2026-01-07")
    ]
    assert site.states() == {series_uid(1): "fetched"}


def test_a_series_that_is_listed_in_two_studies_counts_for_the_first_and_is_named(
    tmp_path: Path,
) -> None:
    """In one list, and again in the next, where its count in the second has grown."""
    other = series(2, slices=20)
    for image in other:
        image.SeriesInstanceUID = series_uid(1)
        image.SOPInstanceUID = f"{image.SOPInstanceUID}.2"
    archive = AskedArchive([*series(1), *other[:15]])
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 7}])
    with capture_logs() as events:
        site.run()
        archive.held = [*series(1), *other]
        site.pass_time(days=1)
        site.run()

    named = [each for each in events if each["event"] == "requery.in_two_studies"]
    assert [each["study_instance_uid"] for each in named] == [study_uid(2)] * 2
    assert site.rows()[series_uid(1)].study_instance_uid == study_uid(1)
    assert len(archive.retrievals) == 1


def test_what_came_from_elsewhere_since_it_was_listed_is_not_asked_for(tmp_path: Path) -> None:
    archive = AskedArchive(series(1))
    site = Site.make(tmp_path, archive)
    site.begin()
    for _ in range(3):
        site.step()
        if site.rows():
            break
    assert site.rows()[series_uid(1)].state is ArchiveState.WANTED
    known = SeriesRow(
        series_uid(1),
        1,
        study_uid(1),
        "CT1",
        "MSK",
        12,
        "f",
        START,
        START,
        SeriesState.REPORTED,
    )
    site.asking.ledger.ledger.add(known)
    site.finish()

    assert site.states() == {series_uid(1): "had"}
    assert site.rows()[series_uid(1)].reason == "the node has it: reported"
    assert archive.retrievals == []


def test_of_a_series_that_the_node_had_with_fewer_images_the_reason_says_so(
    tmp_path: Path,
) -> None:
    """The first is without a gap in the spool, the images of the second are deleted."""
    archive = AskedArchive([*series(1), *series(2)])
    site = Site.make(tmp_path, archive)
    spooled(site, series(1)[:8])
    for study in (1, 2):
        known = replace(answered(study, SeriesState.REPORTED), instances=8)
        site.asking.ledger.ledger.add(known)
    site.run()

    words = "the node has it: reported, with 8 of the 12 images that the archive counts; "
    assert {uid: (row.state.value, row.reason) for uid, row in site.rows().items()} == {
        series_uid(1): ("had", f"{words}no gap among them"),
        series_uid(2): ("had", f"{words}its images are no longer here"),
    }
    assert archive.retrievals == []


def test_of_a_series_that_the_node_had_with_a_gap_what_is_missing_is_fetched(
    tmp_path: Path,
) -> None:
    """Once, for two schedules. Of the second one the archive has no more than is here."""
    archive = AskedArchive([*series(1), *series(2, without=(5, 6))])
    two = [{"name": "nightly"}, {"name": "weekly"}]
    site = Site.make(tmp_path, archive, schedules=two)
    for study in (1, 2):
        spooled(site, series(study, without=(5, 6)))
        known = replace(answered(study, SeriesState.REFUSED), instances=10)
        site.asking.ledger.ledger.add(known)
    site.begin("weekly")
    site.run()

    missing = tuple(sorted(each.SOPInstanceUID for each in series(1)[4:6]))
    assert [each.sop_instance_uids for each in archive.retrievals] == [missing]
    assert site.states() == {series_uid(1): "fetched", series_uid(2): "had"}
    assert "slices are missing" in site.rows()[series_uid(2)].reason
    assert "the archive counts no more" in site.rows()[series_uid(2)].reason


def spooled(site: Site, images: list[Dataset]) -> None:
    """Keep images as if a scanner had sent them."""
    config = site.asking.config
    uid = str(images[0].SeriesInstanceUID)
    wanted = [Wanted(str(images[0].StudyInstanceUID), uid)]
    keeping = Keeping(config)
    keeping.retrieve(AskedArchive(images), config.archives[0], wanted)


def test_a_series_that_has_grown_in_the_archive_is_asked_for_its_new_images(
    tmp_path: Path,
) -> None:
    whole = series(1)
    archive = AskedArchive(whole[:8])
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 7}])
    site.run()
    archive.held = list(whole)
    site.pass_time(days=1)
    site.run()

    assert site.rows()[series_uid(1)].instances == 12
    assert archive.retrievals[-1].sop_instance_uids == tuple(
        sorted(each.SOPInstanceUID for each in whole[8:])
    )


def test_a_series_that_was_refused_while_it_was_still_growing_is_wanted_when_it_has(
    tmp_path: Path,
) -> None:
    """Two images are no stack; the whole series is there the next night."""
    archive = AskedArchive(series(1)[:2])
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 7}])
    site.run()
    before = site.states()
    archive.held = series(1)
    site.pass_time(days=1)
    site.run()

    assert (before, site.states()) == ({series_uid(1): "refused"}, {series_uid(1): "fetched"})


def test_what_was_refused_as_it_was_listed_is_judged_by_changed_rules(tmp_path: Path) -> None:
    archive = AskedArchive(series(1))
    table = {"rules": "thin", "look_back_d": 7}
    site = Site.make(tmp_path, archive, rules=[THIN], schedules=[table])
    site.run()
    before = site.states()
    wider = {"name": "thin", "slice_thickness_mm": {"at_most": 5}}
    site = Site.make(tmp_path, archive, rules=[wider], schedules=[table])
    site.pass_time(days=1)
    site.run()

    assert (before, site.states()) == ({series_uid(1): "refused"}, {series_uid(1): "fetched"})


def test_what_was_refused_by_its_headers_is_judged_by_changed_rules_when_a_person_says_so(
    tmp_path: Path,
) -> None:
    """Its images are here: nothing is fetched for it, and what was left out is released.

    The second was refused as it was listed, by its number of images.
    """
    archive = AskedArchive([*series(1), *series(2, slices=2)], not_listed={"SliceThickness"})
    table = {"rules": "thin"}
    thin = {**THIN, "images": {"at_least": 3}}
    site = Site.make(tmp_path, archive, rules=[thin], schedules=[table])
    site.run()
    before, ledger = site.states(), site.asking.ledger
    left_out = answered(1, SeriesState.LEFT_OUT)
    reason = "schedule nightly: slice thickness"
    ledger.ledger.add(replace(left_out, code=AGAINST_RULES, reason=reason))
    wider = {"name": "thin", "slice_thickness_mm": {"at_most": 5}}
    site = Site.make(tmp_path, archive, rules=[wider], schedules=[table])
    count = again(ledger, site.asking.config.schedules[0], refused=True)
    site.now[0] = datetime.now(UTC)
    site.finish()

    assert before == {series_uid(1): "refused", series_uid(2): "refused"}
    assert (count, asked(archive)) == (1, {series_uid(1): 1})
    assert site.states() == {series_uid(1): "fetched", series_uid(2): "refused"}
    assert ledger.known_to_node([series_uid(1)])[series_uid(1)].code == RELEASED


SOFT = {"name": "soft", "take": [{"attribute": "ConvolutionKernel", "like": ["B30*"]}]}
BONE = {"name": "bone", "take": [{"attribute": "ConvolutionKernel", "like": ["B70*"]}]}


@pytest.mark.parametrize("entered", [True, False])
def test_what_one_schedule_refused_by_headers_the_rules_of_another_are_asked_about(
    tmp_path: Path, entered: bool
) -> None:
    """Fetched once; what the node has left out for the first is taken for the second."""
    held = series(1, ConvolutionKernel="B70s")
    archive = AskedArchive(held, not_listed={"ConvolutionKernel"})
    both = [{"name": "a-soft", "rules": "soft"}, {"name": "bone", "rules": "bone"}]
    site = Site.make(tmp_path, archive, rules=[SOFT, BONE], schedules=both)
    site.run(schedule="a-soft")
    holding, ledger = Holding(site.asking), site.asking.ledger
    refused = holding.choice(series_uid(1), "STORE")
    reason = "schedule a-soft: ConvolutionKernel"
    left_out = replace(answered(1, SeriesState.LEFT_OUT), code=AGAINST_RULES, reason=reason)
    if entered:
        ledger.ledger.add(left_out)
    site.pass_time(days=1)
    site.run(schedule="bone")
    taken = holding.choice(series_uid(1), "STORE")
    known = ledger.known_to_node([series_uid(1)]).get(series_uid(1))

    assert refused is not None
    assert (refused.schedule, refused.against != "") == ("a-soft", True)
    assert len(archive.retrievals) == 1
    assert site.states("bone") == {series_uid(1): "fetched"}
    assert taken is not None
    assert (taken.schedule, taken.against) == ("bone", "")
    if entered:
        assert known is not None
        assert (known.state, known.code) == (SeriesState.RECEIVED, RELEASED)


def test_images_for_which_there_is_no_room_here_use_up_no_attempt(tmp_path: Path) -> None:
    """The spool is as large as it may be for hours; then what was refused comes."""
    archive = AskedArchive(series(1), may_be_refused=True)
    site = Site.make(tmp_path, archive)
    limits = site.asking.config.receive.model_copy(update={"max_spool_mb": 1})
    config = site.asking.config.model_copy(update={"receive": limits})
    keeping = Keeping(config)
    large = config.node.spool / "1.2.3" / "large.dcm"
    large.parent.mkdir(parents=True)
    large.write_bytes(bytes(2 << 20))
    with keeping:
        site.asking = replace(site.asking, retrieve=keeping.retrieve)
        site.dispatch = Dispatch(site.asking, lambda _: ())
        site.begin()
        for _ in range(7):
            site.step()
            site.pass_time(hours=1)
        (refused,) = site.rows().values()
    large.unlink()
    with Keeping(config) as keeping:
        site.asking = replace(site.asking, retrieve=keeping.retrieve)
        site.dispatch = Dispatch(site.asking, lambda _: ())
        site.finish()

    assert (refused.state, refused.attempts) == (ArchiveState.WANTED, 0)
    assert "there was no room here" in refused.reason
    assert site.states() == {series_uid(1): "fetched"}


def test_while_there_is_no_room_here_nothing_is_fetched(tmp_path: Path) -> None:
    archive = AskedArchive(series(1))
    site = Site.make(tmp_path, archive)
    words = ["the disk is nearly full"]
    site.asking = replace(site.asking, no_room=lambda: "".join(words))
    site.dispatch = Dispatch(site.asking, lambda _: ())
    site.begin()
    for _ in range(6):
        site.step()
        site.pass_time(minutes=10)
    before = site.states()
    jobs = [
        RetrieveJobs(site.asking).run(retrieve_job("store", [*site.rows().values()]).payload)
    ]
    early = list(archive.retrievals)
    words.clear()
    site.finish()

    assert (before, jobs, early) == ({series_uid(1): "wanted"}, [()], [])
    assert site.states() == {series_uid(1): "fetched"}


def test_studies_that_are_offline_come_last(tmp_path: Path) -> None:
    held = [image for study in (1, 2, 3) for image in few(study)]
    archive = AskedArchive(held, availability={series_uid(1): "NEARLINE"})
    site = Site.make(tmp_path, archive)
    site.run()

    order = [each.series_instance_uid for each in archive.retrievals]
    assert order == [series_uid(study) for study in (2, 3, 1)]


def test_outside_its_hours_an_archive_is_asked_nothing(tmp_path: Path) -> None:
    """20:00 in UTC on a Thursday; it opens at 22:00."""
    archive = AskedArchive(few(1))
    site = Site.make(tmp_path, archive, settings={"hours": ["22:00-06:00"]})
    site.begin()
    site.pass_time(minutes=119)
    closed = site.step()
    (status,) = overview(site.asking.config, site.asking.ledger, site.now[0])
    site.pass_time(minutes=1)
    opened = site.step()

    assert closed == ()
    assert status.gate == "closed until Thu 2026-01-08 22:00"
    assert len(opened) == 1


def test_a_pause_takes_back_a_job_that_is_in_the_queue(tmp_path: Path) -> None:
    """Its number is used, its row due: it is put anew when the pause is over."""
    archive = AskedArchive(few(1))
    site = Site.make(tmp_path, archive)
    site.begin()
    queued = site.dispatch.due()
    pause(site.asking.ledger, "store", paused=True)
    for job in queued:
        kinds(site.asking)[job.kind].run(job.payload)
    assert archive.queries == []
    pause(site.asking.ledger, None, paused=False)
    site.finish()

    assert site.states() == {series_uid(1): "fetched"}


def test_between_two_studies_there_is_a_pause(tmp_path: Path) -> None:
    held = [image for study in range(1, 4) for image in few(study)]
    archive = AskedArchive(held)
    site = Site.make(tmp_path, archive, settings={"pause_s": 30.0})
    site.begin()
    moments = []
    while len(archive.retrievals) < 3:
        count = len(archive.retrievals)
        site.step()
        moments += [site.now[0]] * (len(archive.retrievals) - count)
        site.pass_time(seconds=5)
    waits = [(after - before).total_seconds() for before, after in pairwise(moments)]

    assert waits == [30, 30]


def test_what_was_given_up_is_wanted_again_when_a_person_says_so(tmp_path: Path) -> None:
    archive = AskedArchive(few(1), ends=[SILENT] * 3)
    site = Site.make(tmp_path, archive)
    site.run()
    assert site.states() == {series_uid(1): "failed"}
    count = again(site.asking.ledger, site.asking.config.schedules[0])
    site.now[0] = datetime.now(UTC)  # the command knows no other clock
    site.finish()

    assert count == 1
    assert site.states() == {series_uid(1): "fetched"}


THIN = {"name": "thin", "slice_thickness_mm": {"at_most": 3}}
LONGEST = {"name": "longest", "best": ["many_slices"], "best_of": "study"}


def test_what_the_rules_refuse_by_the_listing_is_not_fetched(tmp_path: Path) -> None:
    archive = AskedArchive([*few(1, 1), *few(1, 2, SliceThickness="2")])
    site = Site.make(tmp_path, archive, rules=[THIN], schedules=[{"rules": "thin"}])
    site.run()

    assert site.states() == {series_uid(1, 1): "refused", series_uid(1, 2): "fetched"}
    assert set(asked(archive)) == {series_uid(1, 2)}
    reason = site.rows()[series_uid(1, 1)].reason
    assert reason == "slice thickness is 5 mm: at most 3 mm wanted"


def test_the_best_of_a_study_is_chosen_by_headers_before_it_is_analysed(
    tmp_path: Path,
) -> None:
    """The first one is whole long before the second, and held back for it."""
    second = series(1, 2)
    held = [*series(1, 1, slices=8), *second]
    archive = AskedArchive(held, withholds={second[-1].SOPInstanceUID})
    site = Site.make(tmp_path, archive, rules=[LONGEST], schedules=[{"rules": "longest"}])
    holding = Holding(site.asking)
    site.begin()
    while len(archive.retrievals) < 2:
        site.step()
    waiting = [holding.why_held(series_uid(1, number)) for number in (1, 2)]
    archive.withholds.clear()
    site.finish()
    left_out, taken = (holding.choice(series_uid(1, number), "STORE") for number in (1, 2))

    assert "whole; waits for the others of its study" in waiting[0]
    assert "11 of 12 images are here" in waiting[1]
    assert site.states() == {series_uid(1, 1): "refused", series_uid(1, 2): "fetched"}
    assert [holding.why_held(series_uid(1, number)) for number in (1, 2)] == ["", ""]
    assert left_out is not None
    assert left_out.against == f"series {series_uid(1, 2)} of its study is better: more slices"
    assert taken is not None
    assert taken.against == ""
    assert holding.choice(series_uid(1, 1), "CT1") is None, "a scanner's is its own business"


def test_a_late_series_of_a_study_is_compared_with_the_one_that_was_fetched(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(series(1, 2))
    schedule = {"rules": "longest", "look_back_d": 7}
    site = Site.make(tmp_path, archive, rules=[LONGEST], schedules=[schedule])
    site.run()
    archive.held += series(1, 1, slices=8)
    site.pass_time(days=1)
    site.run()

    assert site.states() == {series_uid(1, 1): "refused", series_uid(1, 2): "fetched"}


def test_without_a_choice_to_make_a_series_does_not_wait_for_the_others(
    tmp_path: Path,
) -> None:
    second = series(1, 2)
    archive = AskedArchive([*series(1, 1), *second], withholds={second[-1].SOPInstanceUID})
    site = Site.make(tmp_path, archive)
    site.begin()
    while len(archive.retrievals) < 2:
        site.step()

    assert site.states() == {series_uid(1, 1): "fetched", series_uid(1, 2): "wanted"}
    assert Holding(site.asking).why_held(series_uid(1, 1)) == ""
    assert Holding(site.asking).choice(series_uid(1, 1), "STORE") is None, "no rules of its own"


def test_a_study_that_rules_cannot_take_from_gets_no_question_for_its_series(
    tmp_path: Path,
) -> None:
    adults = {"name": "adults", "age_y": {"at_least": 18}}
    held = [*few(1, PatientAge="012Y"), *few(2, PatientAge="060Y"), *few(3)]
    archive = AskedArchive(held)
    site = Site.make(tmp_path, archive, rules=[adults], schedules=[{"rules": "adults"}])
    site.run()

    asked_for = {
        each.keys["StudyInstanceUID"] for each in archive.queries if each.level is Level.SERIES
    }
    assert asked_for == {study_uid(2), study_uid(3)}
    (window,) = (row for row in site.asking.ledger.windows("nightly") if row.studies)
    assert (window.studies, window.left_out) == (3, 1)


def test_a_series_rests_as_found_until_its_study_was_listed_whole(tmp_path: Path) -> None:
    """The first list lacks the better one of two, and says that it does."""
    archive = AskedArchive([*series(1, 1, slices=8), *series(1, 2)], short_lists=1)
    site = Site.make(tmp_path, archive, rules=[LONGEST], schedules=[{"rules": "longest"}])
    site.begin()
    while not site.rows():
        site.step()
    before = site.rows()
    site.finish()

    assert {uid: row.state.value for uid, row in before.items()} == {series_uid(1, 1): "found"}
    reason = before[series_uid(1, 1)].reason
    assert reason == "its series were listed in part only: broke off"
    assert site.states() == {series_uid(1, 1): "refused", series_uid(1, 2): "fetched"}


def test_where_a_study_is_listed_in_part_every_time_what_was_listed_is_used(
    tmp_path: Path,
) -> None:
    archive = AskedArchive([*few(1, 1), *few(1, 2)], short_lists=99)
    site = Site.make(tmp_path, archive)
    site.run()

    assert site.states() == {series_uid(1, 1): "fetched"}
    assert 99 - archive.short_lists == 3, "as many attempts as the schedule makes"
    (window,) = (row for row in site.asking.ledger.windows("nightly") if row.studies)
    assert (window.state, window.next_at) == (WindowState.CUT, None)


def test_a_night_is_told_once_with_what_became_of_it(tmp_path: Path) -> None:
    held = [*series(1), *series(2, slices=2), *series(3, without=(6,)), *series(4)]
    archive = AskedArchive(held)
    site = Site.make(tmp_path, archive)
    with capture_logs() as events:
        site.run()
        assert not [each for each in events if each["event"] == "requery.night"], "not yet"
        for study, state in ((1, "reported"), (4, "refused"), (3, "refused")):
            site.asking.ledger.ledger.add(answered(study, SeriesState(state)))
        site.step()
        site.step()
    (night,) = (each for each in events if each["event"] == "requery.night")

    assert (night["found"], night["fetched"], night["incomplete"]) == (4, 2, 1)
    assert (night["analysed"], night["refused"], night["failed"]) == (1, 1, 0)
    assert night["reason"] == "number of images: 1"


def test_a_job_that_died_after_what_it_did_was_entered_changes_nothing_when_it_runs_again(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(few(1))
    site = Site.make(tmp_path, archive)
    site.run()
    before, queries = site.rows(), len(archive.queries)
    for job in site.jobs.values():
        kinds(site.asking)[job.kind].run(job.payload)

    assert site.rows() == before
    assert (len(archive.queries), len(archive.retrievals)) == (queries, 1)
