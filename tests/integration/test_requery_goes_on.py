"""Claims that asking goes on, whatever becomes of one series, one file or the settings."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.asked_archive import START, AskedArchive, Site
from support.studies import series, series_uid, study_uid

from dicom_node.archive import query_jobs, retrieve_jobs
from dicom_node.archive.by_hand import again, pause
from dicom_node.archive.dispatch import kinds
from dicom_node.archive.holding import Holding
from dicom_node.archive.query_jobs import query_job
from dicom_node.archive.retrieve_jobs import retrieve_job
from dicom_node.errors import PeerFailedError, PeerRefusedError, PeerUnreachableError
from dicom_node.node.requery import RequeryTasks
from dicom_node.peers.archives import Answer, Level, Query, Retrieval, RetrievalEnd
from dicom_node.persistence.archive_rows import ArchiveSeriesRow, ArchiveState, WindowState
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.rows import SeriesRow, SeriesState
from dicom_node.spool import copies

SILENT = Retrieval(RetrievalEnd.SILENT, "not a word for 300 s")
LONGEST = {"name": "longest", "best": ["many_slices"], "best_of": "study"}


@dataclass
class WithoutImages(AskedArchive):
    """An archive that lists no images."""

    error: Exception = PeerRefusedError("0xA900")  # noqa: RUF009 - it is never changed

    def find(self, queries: Sequence[Query]) -> tuple[Answer, ...]:
        """Answer what is above the level of images."""
        if any(each.level is Level.IMAGE for each in queries):
            raise self.error
        return AskedArchive.find(self, queries)


def small(study: int, number: int = 1, **elements: Any) -> list[Any]:
    """A series that is quickly written."""
    return series(study, number, **{"slices": 4, **elements})


def answered(state: SeriesState) -> SeriesRow:
    """The first study's series in the node's own table."""
    names = (series_uid(1), 1, study_uid(1), "CT1", "MSK", 4, "f")
    return SeriesRow(*names, START, START, state)


def listed(
    site: Site, schedule: str = "nightly", windows: int = 9
) -> dict[str, ArchiveSeriesRow]:
    """The series of a schedule once so many windows are listed; no image has come."""
    site.begin(schedule)
    waiting = site.asking.ledger.windows(schedule, states=[WindowState.WAITING])
    for row in waiting[:windows]:
        job = query_job(row)
        kinds(site.asking)[job.kind].run(job.payload)
    site.dispatch.look_after()
    return site.rows(schedule)


def failing_to_read(*paths: Path, number: int = errno.EIO) -> Callable[[Path], Any]:
    """What reads the beginning of a file, and fails over some."""
    reads = copies.read_meta

    def read(path: Path) -> Any:
        if path in paths:
            raise OSError(number, os.strerror(number))
        return reads(path)

    return read


def images(site: Site, uid: str) -> list[Path]:
    """The files of a series in the spool."""
    return sorted((site.asking.config.node.spool / uid).glob("*.dcm"))


def test_a_schedule_that_is_no_longer_configured_ends_and_keeps_no_other_from_being_fetched(
    tmp_path: Path,
) -> None:
    before = Site.make(tmp_path, AskedArchive(small(1)), schedules=[{"name": "old"}])
    listed(before, "old", windows=1)
    archive = AskedArchive(small(2))
    site = Site.make(tmp_path, archive, schedules=[{"name": "new"}])
    with capture_logs() as events:
        site.run(schedule="new")
        (early,) = site.rows("old").values()
        site.pass_time(minutes=6)
        site.step()

    assert early.state is ArchiveState.WANTED, "another worker may have it"
    (old,) = site.rows("old").values()
    assert (old.state, old.next_at) == (ArchiveState.FAILED, None)
    assert old.reason == "schedule old is no longer configured"
    assert site.states("new") == {series_uid(2): "fetched"}
    windows = site.asking.ledger.windows("old")
    assert WindowState.WAITING not in {each.state for each in windows}
    assert all(run.listed_at for run in site.asking.ledger.runs("old"))
    assert [each["schedule"] for each in events if each["event"] == "requery.no_schedule"] == [
        "old"
    ]


@pytest.mark.parametrize("which", ["run", "fallback"])
def test_a_job_of_a_schedule_that_is_gone_moves_what_it_is_about_on(
    which: str, tmp_path: Path
) -> None:
    before = Site.make(tmp_path, AskedArchive(small(1)), schedules=[{"name": "old"}])
    rows = tuple(listed(before, "old").values())
    windows = before.asking.ledger.windows("old")
    waiting = replace(windows[0], state=WindowState.WAITING, next_at=START, visit=9)
    before.asking.ledger.enter(changed=[waiting])
    site = Site.make(tmp_path, AskedArchive(), schedules=[{"name": "new"}])
    for job in (retrieve_job("store", rows), query_job(waiting)):
        kind = kinds(site.asking)[job.kind]
        do = kind.run if which == "run" else kind.fallback
        assert do is not None
        assert do(job.payload) == ()

    (row,) = site.rows("old").values()
    (window,) = (each for each in site.asking.ledger.windows("old") if each.visit > 9)
    later = START + timedelta(minutes=1)
    assert (row.state, row.next_at) == (ArchiveState.WANTED, later)
    assert (window.state, window.next_at) == (WindowState.WAITING, later)


def test_an_archive_that_is_called_otherwise_is_asked_for_what_was_begun(
    tmp_path: Path,
) -> None:
    """Renamed with windows waiting, and with a series wanted; the next run begins as well."""
    held = [*small(1), *small(2, StudyDate="20260107")]
    before = Site.make(tmp_path, AskedArchive(held))
    listed(before, windows=1)
    assert WindowState.WAITING in {w.state for w in before.asking.ledger.windows("nightly")}
    site = Site.make(tmp_path, AskedArchive(held, name="pacs"))
    site.finish()
    site.pass_time(days=1)

    assert set(site.states().values()) == {"fetched"}
    assert {row.archive for row in site.rows().values()} == {"pacs"}
    assert site.begin() is True


def test_what_a_job_leaves_as_it_was_does_not_keep_the_next_from_being_put(
    tmp_path: Path,
) -> None:
    """The engine knows the key for ever: put again, nothing happens, and it is named once."""
    site = Site.make(tmp_path, AskedArchive([*small(1), *small(2)]))
    listed(site)
    with capture_logs() as events:
        put = [site.dispatch.due() for _ in range(4)]

    studies = [[job.payload.get("study_instance_uid") for job in jobs] for jobs in put]
    assert studies == [[study_uid(1)], [study_uid(2)], [], []]
    vain = [each["key"] for each in events if each["event"] == "requery.in_vain"]
    assert vain == [jobs[0].key for jobs in put[:2]]


def test_a_worker_remembers_from_one_second_to_the_next_what_it_has_put(
    tmp_path: Path,
) -> None:
    site = Site.make(tmp_path, AskedArchive([*small(1), *small(2)]))
    listed(site)
    put: list[JobRequest] = []
    tasks = RequeryTasks(site.asking, put.append, lambda _prefix: frozenset())
    tasks.dispatch()
    tasks.dispatch()

    assert [job.payload["study_instance_uid"] for job in put] == [study_uid(1), study_uid(2)]


def test_no_more_is_under_way_at_once_than_the_archive_takes_and_nothing_twice(
    tmp_path: Path,
) -> None:
    """A retry waits under another key; a row may be moved on while its job is under way."""
    held = [image for study in range(1, 5) for image in small(study)]
    settings = {"retrievals_at_once": 2, "queries_at_once": 2}
    site = Site.make(tmp_path, AskedArchive(held), settings=settings)
    site.begin()
    queries = [job.key for job in site.dispatch.due()]
    site.under_way = {queries[0], f"{queries[1]}~1"}
    assert len(queries) == 2
    assert site.dispatch.due() == (), "a third window is due"
    site.under_way.clear()
    site.dispatch.last.clear()
    listed(site)
    first, second = site.dispatch.due()
    site.under_way = {first.key, second.key}
    assert site.dispatch.due() == ()
    site.under_way = {f"{first.key}~2"}
    one = site.rows()[series_uid(2)]
    site.asking.ledger.enter(changed=[replace(one, visit=7)])
    (third,) = site.dispatch.due()
    site.under_way = {f"{first.key}~2", second.key}
    moved_on = site.dispatch.due()

    assert [job.payload["study_instance_uid"] for job in (first, second, third)] == [
        study_uid(study) for study in (1, 2, 2)
    ]
    assert third.key.endswith(":8")
    assert moved_on == (), "the job about study 2 is under way, though its row was moved on"


def test_a_clock_that_was_set_back_keeps_no_study_from_being_fetched(tmp_path: Path) -> None:
    site = Site.make(tmp_path, AskedArchive(small(1)))
    listed(site)
    (job,) = site.dispatch.due()
    site.pass_time(hours=-1)
    site.jobs[job.key] = job
    kinds(site.asking)[job.kind].run(job.payload)
    site.pass_time(hours=1)
    site.finish()

    assert site.states() == {series_uid(1): "fetched"}


def test_a_file_that_a_disk_does_not_give_keeps_neither_runs_nor_series_from_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [*small(1), *small(2)]
    archive = AskedArchive(held, withholds={held[3].SOPInstanceUID, held[-1].SOPInstanceUID})
    site = Site.make(tmp_path, archive, schedules=[{"give_up_h": 5, "attempts": 99}])
    listed(site, windows=1)
    while len(archive.retrievals) < 2:
        site.step()
    for row in site.asking.ledger.windows("nightly", states=[WindowState.WAITING]):
        done = replace(row, state=WindowState.LISTED, next_at=None)
        site.asking.ledger.enter(changed=[done])
    lost = images(site, series_uid(1))
    monkeypatch.setattr(copies, "read_meta", failing_to_read(*lost, number=errno.EACCES))
    site.pass_time(hours=6)
    site.dispatch.look_after()

    assert set(site.states().values()) == {"incomplete"}
    reason = site.rows()[series_uid(1)].reason
    assert "its files cannot be read: Permission denied" in reason
    assert site.asking.ledger.runs("nightly")[0].listed_at is not None


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_window_is_listed_though_a_file_of_its_series_cannot_be_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = AskedArchive([*small(1), *small(2)])
    site = Site.make(tmp_path, archive, schedules=[{}, {"name": "weekly"}])
    site.run()
    lost = images(site, series_uid(1))
    monkeypatch.setattr(copies, "read_meta", failing_to_read(*lost, number=number))

    assert set(listed(site, "weekly")) == {series_uid(1), series_uid(2)}


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EIO, "2 of 4 images are here"), (errno.EACCES, "could not be looked at")],
)
def test_a_study_whose_job_raises_at_every_try_is_given_up_and_no_other_waits(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a disk does not give is wanted again; what nobody may read is given up."""
    held = small(1)
    archive = AskedArchive([*held, *small(2)], withholds={held[-1].SOPInstanceUID})
    site = Site.make(tmp_path, archive)
    listed(site)
    while not archive.retrievals:
        site.step()
    lost = images(site, series_uid(1))[:1]
    monkeypatch.setattr(copies, "read_meta", failing_to_read(*lost, number=number))
    with capture_logs():
        for _ in range(20):
            for job in site.dispatch.due():
                kind = kinds(site.asking)[job.kind]
                try:
                    kind.run(job.payload)
                except OSError:
                    assert kind.fallback is not None
                    kind.fallback(job.payload)
            site.pass_time(minutes=10)

    assert site.states() == {series_uid(1): "incomplete", series_uid(2): "fetched"}
    assert site.rows()[series_uid(1)].reason.startswith("after 3 attempts: ")
    assert words in site.rows()[series_uid(1)].reason
    assert site.dispatch.vain == set()


@pytest.mark.parametrize("error", [PeerRefusedError("0xA900"), PeerFailedError("500")])
def test_an_archive_that_lists_no_images_is_asked_for_the_whole_series(
    error: Exception, tmp_path: Path
) -> None:
    held = small(1)
    archive = WithoutImages(
        [*held, *small(2)], withholds={held[-1].SOPInstanceUID}, error=error
    )
    site = Site.make(tmp_path, archive)
    site.run()

    assert [each.sop_instance_uids for each in archive.retrievals] == [()] * 4
    row = site.rows()[series_uid(1)]
    assert (row.state, row.attempts) == (ArchiveState.INCOMPLETE, 3)
    trouble = site.asking.ledger.trouble("store")
    assert trouble is None or trouble.failures == 0, "it is not left alone for that"


def test_a_series_that_is_here_in_part_is_given_up_in_time_though_nobody_lists_its_images(
    tmp_path: Path,
) -> None:
    held = small(1)
    archive = AskedArchive(held, withholds={held[-1].SOPInstanceUID})
    site = Site.make(tmp_path, archive)
    site.run()
    (row,) = site.rows().values()
    unasked = replace(row, state=ArchiveState.WANTED, asked_at=None, next_at=site.now[0])
    archive = WithoutImages(held, error=PeerUnreachableError("nobody there"))
    site = Site.make(tmp_path, archive, schedules=[{"give_up_h": 5}])
    site.now[0] = START + timedelta(days=1)
    site.asking.ledger.enter(changed=[replace(unasked, attempts=0, visit=row.visit + 1)])
    site.finish()

    (row,) = site.rows().values()
    assert (row.state, archive.retrievals) == (ArchiveState.INCOMPLETE, [])
    assert row.attempts == 0, "nobody took the association"


def test_what_is_over_is_judged_by_headers_before_it_is_analysed(tmp_path: Path) -> None:
    """The first is whole and waits for the second, of which an image never comes."""
    second = small(1, 2, SliceThickness="5")
    archive = AskedArchive(
        [*small(1, 1, SliceThickness="5"), *second], withholds={second[-1].SOPInstanceUID}
    )
    site = unlisted_thickness(
        tmp_path, archive, schedules=[{"attempts": 99, "give_up_h": 5, "rules": "thin"}]
    )
    listed(site)
    while len(archive.retrievals) < 2:
        site.step()
    site.pass_time(hours=5)
    held = Holding(site.asking).why_held(series_uid(1, 1))
    site.finish()

    assert held, "nor before the rules were asked"
    assert site.states() == {series_uid(1, 1): "refused", series_uid(1, 2): "refused"}
    reason = site.rows()[series_uid(1, 2)].reason
    assert reason.startswith("slice thickness is 5 mm: at most 3 mm wanted; after ")
    assert "3 of 4 images are here" in reason


def unlisted_thickness(folder: Path, archive: AskedArchive, **more: Any) -> Site:
    """A site with rules for the slice thickness, which the archive does not answer."""
    thin = {**LONGEST, "name": "thin", "slice_thickness_mm": {"at_most": 3}}
    answers = archive.find

    def find(queries: Sequence[Query]) -> tuple[Answer, ...]:
        return tuple(
            replace(
                answer,
                listed=tuple(
                    replace(each, values=without(each.values)) for each in answer.listed
                ),
            )
            for answer in answers(queries)
        )

    def without(values: Any) -> dict[str, str]:
        return {word: text for word, text in values.items() if word != "SliceThickness"}

    archive.find = find  # type: ignore[method-assign]
    return Site.make(folder, archive, rules=[thin, LONGEST], **more)


def test_an_incomplete_series_is_refused_by_no_rule_about_what_did_not_come(
    tmp_path: Path,
) -> None:
    held = small(1)
    many = {"name": "many", "images": {"at_least": 4}, "slice_thickness_mm": {"at_most": 9}}
    archive = AskedArchive(held, withholds={held[-1].SOPInstanceUID})
    site = Site.make(tmp_path, archive, rules=[many], schedules=[{"rules": "many"}])
    site.run()

    assert site.states() == {series_uid(1): "incomplete"}


def test_a_series_that_is_listed_later_is_compared_with_the_one_that_was_fetched(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(small(1, 1, slices=6))
    site = Site.make(
        tmp_path, archive, rules=[LONGEST], schedules=[{"rules": "longest", "look_back_d": 7}]
    )
    site.run()
    archive.held += small(1, 2)
    site.pass_time(days=1)
    site.run()

    assert site.states() == {series_uid(1, 1): "fetched", series_uid(1, 2): "refused"}
    assert site.rows()[series_uid(1, 2)].reason.endswith("is better: more slices")


def test_rules_see_the_images_that_count_and_no_older_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = unlisted_thickness(
        tmp_path, AskedArchive(small(1)), schedules=[{"rules": "longest"}]
    )
    read: list[str] = []
    reads = retrieve_jobs.candidate_of

    def note(paths: Any) -> Any:
        found = list(paths)
        read.extend(path.name for path in found)
        return reads(found)

    monkeypatch.setattr(retrieve_jobs, "candidate_of", note)
    listed(site)
    folder = site.asking.config.node.spool / series_uid(1)
    site.step()
    (name, *_), count = sorted(read), len(read)
    copy = folder / f"{name.removesuffix('.dcm')}~0123456789abcdef.dcm"
    copy.write_bytes((folder / name).read_bytes())
    (row,) = site.rows().values()
    due = replace(row, state=ArchiveState.WANTED, next_at=site.now[0], reason="again")
    site.asking.ledger.enter(changed=[due])
    read.clear()
    site.finish()

    assert len(list(folder.glob("*.dcm"))) == count + 1
    assert len(read) == count


def test_a_series_that_grew_after_its_images_were_deleted_is_fetched_again(
    tmp_path: Path,
) -> None:
    whole = small(1, slices=6)
    archive = AskedArchive(whole[:4])
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 7}])
    site.run()
    site.asking.ledger.ledger.add(answered(SeriesState.REPORTED))
    for path in (site.asking.config.node.spool / series_uid(1)).glob("*.dcm"):
        path.unlink()
    archive.held = whole
    site.pass_time(days=1)
    site.run()

    (row,) = site.rows().values()
    assert (row.state, row.instances) == (ArchiveState.FETCHED, 6)


def test_what_a_person_wants_again_is_asked_for_though_the_node_has_answered_it(
    tmp_path: Path,
) -> None:
    archive = AskedArchive(small(1), ends=[SILENT] * 3)
    site = Site.make(tmp_path, archive)
    site.run()
    site.asking.ledger.ledger.add(answered(SeriesState.FAILED))
    again(site.asking.ledger, site.asking.config.schedules[0])
    site.pass_time(days=9999)
    site.finish()

    assert site.states() == {series_uid(1): "fetched"}


@dataclass
class LosesSeries(AskedArchive):
    """An archive that says of one study's series that there are more, and then does worse."""

    short: str = ""
    afterwards: Callable[[], None] = lambda: None

    def find(self, queries: Sequence[Query]) -> tuple[Answer, ...]:
        """Answer, in part only for the one study; before what follows it, do worse."""
        about = [each.keys.get("StudyInstanceUID", "") for each in queries]
        if any(about) and self.short not in about:
            do, self.afterwards = self.afterwards, lambda: None
            do()
        answers = AskedArchive.find(self, queries)
        return tuple(
            replace(answer, is_whole=uid != self.short)
            for uid, answer in zip(about, answers, strict=True)
        )


@pytest.mark.parametrize("what", ["kill", "nobody", "pause"])
def test_a_window_that_was_cut_stays_cut_whatever_comes_before_its_end(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three studies, one at a time; of the first the series are listed in part only."""
    monkeypatch.setattr(query_jobs, "STUDIES_AT_ONCE", 1)
    held = [image for study in (1, 2, 3) for image in small(study)]
    archive = LosesSeries(held, short=study_uid(1))
    site = Site.make(tmp_path, archive, schedules=[{"attempts": 1}])

    def do() -> None:
        if what == "kill":
            raise KeyboardInterrupt
        if what == "nobody":
            raise PeerUnreachableError("nobody there")
        pause(site.asking.ledger, "store", paused=True)

    archive.afterwards = do
    with contextlib.suppress(KeyboardInterrupt):
        listed(site, windows=1)
    pause(site.asking.ledger, "store", paused=False)
    site.finish()

    (window,) = site.asking.ledger.windows("nightly", states=[WindowState.CUT])
    assert window.reason == f"study {study_uid(1)}: its series were listed in part only"
    assert set(site.states()) == {series_uid(study) for study in (1, 2, 3)}
    of_series = [each for each in archive.queries if each.level is Level.SERIES]
    asked = [each.keys["StudyInstanceUID"] for each in of_series]
    assert asked.count(study_uid(1)) == 1, "what was entered is not asked for again"


def test_a_pause_holds_while_a_day_is_asked_for_by_patient_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_jobs, "QUERIES_AT_ONCE", 10)
    held = [image for study in (1, 2) for image in small(study, StudyTime=None)]
    archive = AskedArchive(held, cap=1)
    site = Site.make(tmp_path, archive)
    find = archive.find

    def paused_by_then(queries: Sequence[Query]) -> tuple[Answer, ...]:
        if any("PatientID" in each.keys for each in queries):
            pause(site.asking.ledger, "store", paused=True)
        return find(queries)

    monkeypatch.setattr(archive, "find", paused_by_then)
    site.begin()
    for _ in range(9):
        site.step()
    by_id = [each for each in archive.queries if "PatientID" in each.keys]
    (untimed,) = (
        row
        for row in site.asking.ledger.windows("nightly", states=[WindowState.WAITING])
        if row.reason
    )

    assert len(by_id) == 10
    assert untimed.reason == "paused"


def test_what_is_decided_is_listed_again_without_a_look_at_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = AskedArchive([*small(1), *small(2)])
    site = Site.make(tmp_path, archive, schedules=[{"look_back_d": 7}])
    site.run()
    looked_at: list[Path] = []
    reads = copies.read_meta

    def note(path: Path) -> Any:
        looked_at.append(path)
        return reads(path)

    monkeypatch.setattr(copies, "read_meta", note)
    archive.held += small(2, slices=6)[4:]
    site.pass_time(days=1)
    listed(site)

    assert {path.parent.name for path in looked_at} == {series_uid(2)}, "which has grown"
    assert site.states() == {series_uid(1): "fetched", series_uid(2): "wanted"}
