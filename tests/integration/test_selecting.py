"""Claims about series that arrive under rules: taken, left out, chosen among, released.

The jobs are done by `support.routed`, on a clock of the test's, and each question to the
rules is asked twice over, as after a kill; a real node is killed in `test_serve_rules.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid
from rich.console import Console
from support.fast_analysis import COMMAND
from support.pacs import Pacs
from support.routed import BONE, SOFT, Clock, Jobs, series_uid, spooled
from support.small_node import result_pacs, small_config

from dicom_node.archive.holding import Choice
from dicom_node.commands.status_tables import render
from dicom_node.errors import UnknownNameError
from dicom_node.node.retention import purge, survey
from dicom_node.node.selection import release_left_out
from dicom_node.node.status import node_status
from dicom_node.node.workflow import Workflow
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import SeriesRow, SeriesState
from dicom_node.spool.pending import WaitingList, WaitingSeries
from inference.models.bundle import load_bundle

QUIET_S = 120.0
LONG = {"name": "long", "length_mm": {"at_least": 400}}
NO_BONE = {"name": "soft", "kernels": ["soft"]}
BEST = {"name": "best", "best": ["soft_kernel", "thin_slices"]}
Make = Callable[..., Jobs]


@pytest.fixture(scope="module")
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def make(tmp_path: Path, pacs: Pacs) -> Iterator[Make]:
    """Makes a node on one folder and ledger, as restarts with other settings."""
    ledgers: list[Ledger] = []
    clock = Clock()

    def jobs(
        ruled_by: dict[str, Any] | None = None, *, analyses: bool = False, **sections: Any
    ) -> Jobs:
        if ruled_by is not None:
            sections |= {"rules": [ruled_by], "analysis": {"rules": ruled_by["name"]}}
        config = small_config(tmp_path, pacs.port, **sections)
        ledgers.append(Ledger(config.node.database_url))
        workflow = Workflow(
            config=config,
            ledger=ledgers[-1],
            bundle_sha256=load_bundle(config.analysis.bundle).sha256,
            command=COMMAND,
            clock=clock,
        )
        return Jobs(workflow, clock, analyses=analyses, doubled=True)

    yield jobs
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def row(jobs: Jobs, number: int) -> SeriesRow:
    """The latest revision of a series."""
    return jobs.workflow.ledger.revisions(series_uid(number))[-1]


def states(jobs: Jobs, *numbers: int) -> list[SeriesState]:
    return [row(jobs, number).state for number in numbers]


def arrive(jobs: Jobs, spool: Path, number: int, kernel: str = SOFT, **how: Any) -> None:
    jobs.put(*jobs.workflow.admit(spooled(spool, number, kernel, **how)))


def test_a_series_that_rules_leave_out_is_not_analysed_and_says_why(
    make: Make, spool: Path, pacs: Pacs
) -> None:
    """Twelve slices of 5 mm are 55 mm long."""
    jobs, before = make(LONG, analyses=True), len(pacs.received)
    arrive(jobs, spool, 1)
    jobs.run()
    found = row(jobs, 1)

    assert (found.state, found.code) == (SeriesState.LEFT_OUT, "against-rules")
    assert found.reason == "length is 55 mm: at least 400 mm wanted"
    assert jobs.workflow.ledger.all_results() == ()
    assert jobs.workflow.ledger.deliveries() == ()
    assert len(pacs.received) == before
    assert len(list((spool / series_uid(1)).glob("*.dcm"))) == 12
    assert jobs.workflow.ledger.unanswered() == ()


def test_status_tells_what_was_left_out(make: Make, spool: Path) -> None:
    jobs = make(LONG)
    arrive(jobs, spool, 1)
    jobs.run()
    status = node_status(jobs.workflow.config)
    console = Console(width=200, markup=False)
    with console.capture() as captured:
        console.print(render(status))

    assert status.series[SeriesState.LEFT_OUT] == 1
    assert status.series[SeriesState.REFUSED] == 0
    assert status.unanalysed == ()
    assert status.without_room == ()
    assert "Latest series left out by rules" in captured.get()
    assert "length is 55 mm: at least 400 mm wanted" in captured.get()


def test_to_a_version_that_knows_no_rules_it_is_a_refused_one(
    make: Make, spool: Path, tmp_path: Path
) -> None:
    """A state that it cannot read would stop all its work."""
    jobs = make(LONG)
    arrive(jobs, spool, 1)
    jobs.run()
    with sqlite3.connect(tmp_path / "db") as database:
        found = database.execute("SELECT state, code FROM series").fetchall()

    assert found == [("refused", "against-rules")]


def test_what_rules_take_is_analysed_like_any_other(make: Make, spool: Path) -> None:
    jobs = make(NO_BONE, analyses=True)
    arrive(jobs, spool, 1)
    arrive(jobs, spool, 2, BONE)
    jobs.run()

    assert states(jobs, 1, 2) == [SeriesState.REPORTED, SeriesState.LEFT_OUT]
    assert row(jobs, 1).code == ""
    assert {each.series_instance_uid for each in jobs.workflow.ledger.all_results()} == {
        series_uid(1)
    }


def test_the_same_series_again_is_judged_once(make: Make, spool: Path) -> None:
    jobs = make(NO_BONE)
    for _ in range(2):
        arrive(jobs, spool, 1)
        arrive(jobs, spool, 2, BONE)
        jobs.run()

    assert jobs.analysed() == [(1, 1)]
    assert len(jobs.workflow.ledger.all_series()) == 2
    assert sum(key.startswith("select:") for key in jobs.done) == 2


def test_a_series_sent_again_under_other_rules_is_judged_anew(make: Make, spool: Path) -> None:
    """The one that was analysed is not analysed again: its results would be the same."""
    jobs = make(NO_BONE)
    arrive(jobs, spool, 1)
    arrive(jobs, spool, 2, BONE)
    jobs.run()
    reported = row(jobs, 1).become(SeriesState.REPORTED, jobs.clock.now)
    jobs.workflow.ledger.save(reported)
    changed = make({"name": "soft", "kernels": ["soft", "bone"]})
    arrive(changed, spool, 1)
    arrive(changed, spool, 2, BONE)
    changed.run()

    assert (jobs.analysed(), changed.analysed()) == ([(1, 1)], [(2, 2)])
    assert [each.state for each in changed.workflow.ledger.revisions(series_uid(2))] == [
        SeriesState.LEFT_OUT,
        SeriesState.RECEIVED,
    ]


def test_a_title_without_rules_takes_what_another_left_out(make: Make, spool: Path) -> None:
    every = [{"called_ae_title": "EVERY", "rules": ""}]
    jobs = make(LONG, pipelines=every)
    arrive(jobs, spool, 1)
    jobs.run()
    arrive(jobs, spool, 1, called="EVERY")
    jobs.run()

    assert jobs.analysed() == [(1, 2)]


def test_a_title_may_have_rules_of_its_own(make: Make, spool: Path) -> None:
    jobs = make(
        pipelines=[{"called_ae_title": "SOFT", "rules": "soft"}],
        rules=[NO_BONE],
    )
    arrive(jobs, spool, 1, BONE, called="SOFT")
    arrive(jobs, spool, 2, BONE)
    jobs.run()

    assert jobs.analysed() == [(2, 1)]
    assert row(jobs, 1).state is SeriesState.LEFT_OUT


def test_the_best_of_a_study_is_chosen_when_nothing_more_comes(make: Make, spool: Path) -> None:
    """The second comes 100 s after the first, so that both are decided on after 220 s."""
    jobs = make(BEST)
    arrive(jobs, spool, 1, BONE)
    jobs.run(timedelta(seconds=100))
    jobs.clock.now += timedelta(seconds=100)
    waits = row(jobs, 1)
    arrive(jobs, spool, 2, SOFT)
    began = jobs.clock.now
    jobs.run()

    assert (waits.state, waits.code) == (SeriesState.RECEIVED, "awaits-rules")
    assert waits.reason == "waits until nothing more comes of its study"
    assert jobs.analysed() == [(2, 1)]
    assert row(jobs, 1).state is SeriesState.LEFT_OUT
    assert row(jobs, 1).code == "not-best"
    assert row(jobs, 1).reason == (
        f"series {series_uid(2)} of its study is better: a softer kernel"
    )
    assert (row(jobs, 1).changed_at - began).total_seconds() == pytest.approx(QUIET_S)


def test_each_frame_of_reference_has_its_best(make: Make, spool: Path) -> None:
    jobs = make(BEST)
    arrive(jobs, spool, 1, SOFT)
    arrive(jobs, spool, 2, BONE, FrameOfReferenceUID=generate_uid())
    jobs.run()

    assert sorted(jobs.analysed()) == [(1, 1), (2, 1)]


def test_a_better_series_that_comes_late_is_analysed_too_and_a_worse_one_is_not(
    make: Make, spool: Path
) -> None:
    jobs = make(BEST)
    arrive(jobs, spool, 1, "B50f")
    jobs.run()
    arrive(jobs, spool, 2, SOFT)
    jobs.run()
    arrive(jobs, spool, 3, BONE)
    jobs.run()

    assert jobs.analysed() == [(1, 1), (2, 1)]
    assert row(jobs, 3).state is SeriesState.LEFT_OUT


def test_where_the_best_cannot_be_analysed_the_second_best_is(make: Make, spool: Path) -> None:
    """Its headers are sound, and its pixels are cut off. The last that comes is the second."""
    jobs = make(BEST, analyses=True)
    arrive(jobs, spool, 1, SOFT)
    for path in (spool / series_uid(1)).glob("*.dcm"):
        path.write_bytes(path.read_bytes()[:-5000])
    arrive(jobs, spool, 2, BONE)
    arrive(jobs, spool, 3, "B50f")
    jobs.run()

    assert states(jobs, 1, 2, 3) == [
        SeriesState.REFUSED,
        SeriesState.LEFT_OUT,
        SeriesState.REPORTED,
    ]
    assert row(jobs, 1).code == "pixel-data"
    assert series_uid(3) in row(jobs, 2).reason


def test_where_rules_have_changed_amid_a_study_what_was_left_out_is_asked_about_again(
    make: Make, spool: Path
) -> None:
    """The bone series is left out for the soft one, which then nobody wants any more."""
    jobs = make(BEST)
    arrive(jobs, spool, 2, BONE)
    jobs.put(*(soft := jobs.workflow.admit(spooled(spool, 1, SOFT))))
    jobs.run(timedelta(seconds=QUIET_S - 1))
    jobs.clock.now += timedelta(seconds=QUIET_S)
    kind = jobs.workflow.kinds()["select"]
    (bone,) = jobs.workflow.admit(spooled(spool, 2, BONE))
    kind.run(bone.payload)
    before = row(jobs, 2).code
    changed = make({**BEST, "kernels": ["bone"]})
    changed.put(*soft)
    changed.run()

    assert before == "not-best"
    assert row(changed, 1).code == "against-rules"
    assert changed.analysed() == [(2, 1)]


def test_a_series_that_still_arrives_is_waited_for(make: Make, spool: Path) -> None:
    """It is not in the ledger; `give_up_s` after its last image it is complete, or never."""
    jobs = make(BEST, completion={"give_up_s": 600.0})
    arrive(jobs, spool, 1, BONE)
    arrival = spooled(spool, 2, SOFT)
    last_s = jobs.clock.now.timestamp()
    waiting = WaitingSeries(series_uid(2), 12, last_s, "slices are missing")
    WaitingList(spool).write({series_uid(2): waiting})
    jobs.run(timedelta(seconds=500))
    open_before = row(jobs, 1).code
    WaitingList(spool).write({})
    jobs.put(*jobs.workflow.admit(arrival))
    jobs.run()

    assert open_before == "awaits-rules"
    assert jobs.analysed() == [(2, 1)]


def test_a_late_image_while_a_study_is_waited_for_leaves_one_revision_to_analyse(
    make: Make, spool: Path
) -> None:
    jobs = make(BEST)
    jobs.put(*jobs.workflow.admit(spooled(spool, 1)))
    jobs.clock.now += timedelta(seconds=10)
    more = spooled(spool, 1, revision=2, SOPInstanceUID=generate_uid())
    jobs.put(*jobs.workflow.admit(more))
    jobs.run()
    first, second = jobs.workflow.ledger.revisions(series_uid(1))

    assert (first.state, first.code) == (SeriesState.LEFT_OUT, "superseded")
    assert (second.code, jobs.analysed()) == ("", [(1, 2)])


def test_rules_that_cannot_be_asked_lose_no_series(make: Make, spool: Path) -> None:
    """What the engine does when a job has raised at every try."""
    jobs = make(LONG)
    (job,) = jobs.workflow.admit(spooled(spool, 1))
    fallback = jobs.workflow.kinds()["select"].fallback
    assert fallback is not None
    jobs.put(*fallback(job.payload))
    jobs.run()

    assert jobs.analysed() == [(1, 1)]
    assert row(jobs, 1).code == ""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(
        "[node]\nspool = 'spool'\nwork = 'work'\nresults = 'results'\ndatabase = 'db'\n"
    )
    return path


def test_a_series_that_was_left_out_is_analysed_when_it_is_released(
    make: Make, spool: Path, settings: Path
) -> None:
    """A running node looks for it with its maintenance tasks, every two seconds."""
    jobs = make(LONG, analyses=True)
    arrive(jobs, spool, 1)
    jobs.run()

    assert release_left_out(settings, series_uid(1))
    assert not release_left_out(settings, series_uid(1))
    assert row(jobs, 1).code == "released"
    jobs.put(*jobs.workflow.released_jobs())
    jobs.put(*jobs.workflow.released_jobs())
    jobs.run()
    assert row(jobs, 1).state is SeriesState.REPORTED
    assert jobs.workflow.released_jobs() == ()
    arrive(jobs, spool, 1)
    assert len(jobs.workflow.ledger.revisions(series_uid(1))) == 1


def test_what_a_schedule_fetched_and_refused_is_left_out_and_can_be_released(
    make: Make, spool: Path, settings: Path
) -> None:
    jobs = make(analyses=True)
    chosen = Choice("nightly", "d1", "its slices are not axial")
    for _ in range(2):
        jobs.put(*jobs.workflow.admit(spooled(spool, 1), chosen))
        jobs.run()
    found = row(jobs, 1)
    status = node_status(jobs.workflow.config).left_out
    released = release_left_out(settings, series_uid(1))
    jobs.put(*jobs.workflow.released_jobs())
    jobs.run()

    assert (found.state, found.code) == (SeriesState.LEFT_OUT, "against-rules")
    assert found.reason == "schedule nightly: its slices are not axial"
    assert [each.reason for each in status] == [found.reason]
    assert released
    assert row(jobs, 1).state is SeriesState.REPORTED
    assert len(jobs.workflow.ledger.revisions(series_uid(1))) == 1


def test_what_a_schedule_chose_is_not_asked_about_again(make: Make, spool: Path) -> None:
    """The node's own rules would leave it out; sent by a scanner it is known by then."""
    jobs = make({**LONG, "best": ["soft_kernel"]})
    jobs.put(*jobs.workflow.admit(spooled(spool, 1), Choice("nightly", "d1")))
    jobs.run()
    reported = row(jobs, 1).become(SeriesState.REPORTED, jobs.clock.now)
    jobs.workflow.ledger.save(reported)
    arrive(jobs, spool, 1)
    jobs.run()

    assert jobs.done == [f"segment:{series_uid(1)}:1:1"]
    assert len(jobs.workflow.ledger.revisions(series_uid(1))) == 1


def test_a_scanner_s_series_that_a_schedule_had_refused_is_judged_by_the_node_s_rules(
    make: Make, spool: Path
) -> None:
    jobs = make(NO_BONE)
    refused = Choice("nightly", "d1", "its slices are not axial")
    jobs.put(*jobs.workflow.admit(spooled(spool, 1), refused))
    arrive(jobs, spool, 1)
    jobs.run()

    assert jobs.analysed() == [(1, 2)]


def test_a_series_whose_images_are_gone_cannot_be_released(
    make: Make, spool: Path, settings: Path
) -> None:
    jobs = make(LONG)
    arrive(jobs, spool, 1)
    jobs.run()
    next((spool / series_uid(1)).glob("*.dcm")).unlink()

    with pytest.raises(UnknownNameError, match="send it again"):
        release_left_out(settings, series_uid(1))
    assert row(jobs, 1).state is SeriesState.LEFT_OUT


def test_images_that_were_left_out_go_by_their_age_as_others_do(
    make: Make, spool: Path
) -> None:
    jobs = make(LONG, retention={"images_d": 30})
    arrive(jobs, spool, 1)
    jobs.run()
    workflow, now = jobs.workflow, jobs.clock.now
    newest = max(path.stat().st_mtime for path in spool.glob("*/*.dcm"))
    month_later = max(now, now.fromtimestamp(newest, now.tzinfo)) + timedelta(days=31)
    kept = [each.reason for each in survey(workflow.config, workflow.ledger, now)]
    purge(workflow.config, workflow.ledger, month_later)

    assert kept == ["younger than 30 days"]
    assert list(spool.glob("*/*.dcm")) == []
