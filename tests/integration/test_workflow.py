"""Claims about the chain, job by job, with real child processes and real associations.

The jobs are driven by `finish`, which does what the engine does, at once and in memory; the
engine itself has its own tests. The network is replaced by an analysis that finds the boxes
of `support.cases`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from support.cases import RECORD
from support.ct import SERIES_UID
from support.fast_analysis import COMMAND
from support.pacs import Pacs
from support.small_node import (
    result_pacs,
    small_arrival,
    small_config,
)
from support.web_archive import WebArchive

from dicom_node.case_files.report_reader import reported_structures
from dicom_node.case_files.result_folder import segment_to_folder
from dicom_node.errors import ResultError
from dicom_node.node.workflow import Workflow
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.locks import try_lock
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.spool.arrivals import SeriesArrival
from inference.models.bundle import load_bundle

Make = Callable[..., Workflow]
REFUSED = 0xA700


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """A second later than the last time."""
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def make(tmp_path: Path, pacs: Pacs) -> Iterator[Make]:
    """Makes workflows on one node's folders and ledger, as restarts with other settings."""
    ledgers: list[Ledger] = []

    def workflow(
        *options: str, command: Sequence[str] = COMMAND, port: int = 0, **sections: Any
    ) -> Workflow:
        config = small_config(tmp_path, port or pacs.port, **sections)
        ledgers.append(Ledger(config.node.database_url))
        return Workflow(
            config=config,
            ledger=ledgers[-1],
            bundle_sha256=load_bundle(config.analysis.bundle).sha256,
            command=[*command, *options],
            clock=Clock(),
        )

    yield workflow
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def arrival(tmp_path: Path) -> SeriesArrival:
    return small_arrival(tmp_path / "spool" / SERIES_UID)


def finish(workflow: Workflow, work: Sequence[JobRequest], *, most: int = 30) -> list[str]:
    """Do jobs and what follows them until nothing is left; the keys in order."""
    kinds, waiting, done = workflow.kinds(), list(work), []
    while waiting and len(done) < most:
        job = waiting.pop(0)
        done.append(job.key)
        waiting += kinds[job.kind].run(job.payload)
    return done


def kinds_of(workflow: Workflow, revision: int = 1) -> list[str]:
    return sorted(each.kind for each in workflow.ledger.results(SERIES_UID, revision))


def state_of(workflow: Workflow, revision: int = 1) -> SeriesState:
    row = workflow.ledger.series(SERIES_UID, revision)
    assert row is not None
    return row.state


def result(workflow: Workflow, kind: str, revision: int = 1) -> pydicom.Dataset:
    found = [e for e in workflow.ledger.results(SERIES_UID, revision) if e.kind == kind]
    return pydicom.dcmread(found[0].path)


def test_an_accepted_case_is_answered_with_seg_and_sr(
    make: Make, arrival: SeriesArrival, pacs: Pacs
) -> None:
    workflow = make()
    done = finish(workflow, workflow.admit(arrival))

    assert done == [
        f"segment:{SERIES_UID}:1:1",
        f"publish:{SERIES_UID}:1",
        f"deliver:{SERIES_UID}:1:pacs:1",
    ]
    assert kinds_of(workflow) == ["SEG", "SR"]
    assert state_of(workflow) is SeriesState.REPORTED
    assert len(pacs.received) == 2
    assert {row.state for row in workflow.ledger.deliveries()} == {DeliveryState.SENT}


def test_what_arrives_is_what_was_kept_byte_for_byte(
    make: Make, arrival: SeriesArrival, pacs: Pacs
) -> None:
    workflow = make()
    finish(workflow, workflow.admit(arrival))
    received = {uid: data for uid, _, data in pacs.received}

    for row in workflow.ledger.results(SERIES_UID, 1):
        assert Path(row.path).read_bytes().endswith(received[row.sop_instance_uid])


def test_every_job_may_run_twice(make: Make, arrival: SeriesArrival, pacs: Pacs) -> None:
    """Each job is done again after its followers were put, as after a kill."""
    workflow = make()
    kinds, waiting = workflow.kinds(), list(workflow.admit(arrival))
    assert workflow.admit(arrival) == tuple(waiting)
    while waiting:
        job = waiting.pop(0)
        followers = kinds[job.kind].run(job.payload)
        again = kinds[job.kind].run(job.payload)
        assert again == followers or job.kind == "deliver"
        waiting += followers

    assert Counter(uid for uid, _, _ in pacs.received).most_common(1)[0][1] == 1
    assert kinds_of(workflow) == ["SEG", "SR"]


def test_the_same_series_again_sends_nothing_new(
    make: Make, arrival: SeriesArrival, pacs: Pacs
) -> None:
    workflow = make()
    finish(workflow, workflow.admit(arrival))

    assert workflow.admit(arrival) == ()
    assert len(pacs.received) == 2


def test_a_late_slice_opens_a_revision_that_names_its_predecessor(
    make: Make, arrival: SeriesArrival, tmp_path: Path
) -> None:
    """The partial analysis of the boxes needs all slices, so the first one lacks a localiser.

    Eleven files and then twelve: the twelfth is a derived image that is left out.
    """
    workflow = make()
    finish(workflow, workflow.admit(arrival))
    extra = tmp_path / "spool" / SERIES_UID / "late.dcm"
    late = pydicom.dcmread(arrival.paths[0])
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"
    late.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    late.save_as(extra)
    second = SeriesArrival(
        **{
            **{name: getattr(arrival, name) for name in arrival.__dataclass_fields__},
            "revision": 2,
            "paths": (*arrival.paths, extra),
        }
    )
    finish(workflow, workflow.admit(second))

    predecessor = result(workflow, "SR", 2).PredecessorDocumentsSequence[0]
    named = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == result(workflow, "SR", 1).SOPInstanceUID


def test_a_spool_that_was_wiped_does_not_lose_another_series_under_an_old_revision(
    make: Make, arrival: SeriesArrival
) -> None:
    """The inbox begins again with revision 1, which the ledger knows with other images."""
    workflow = make()
    finish(workflow, workflow.admit(arrival))
    other = SeriesArrival(
        **{
            **{name: getattr(arrival, name) for name in arrival.__dataclass_fields__},
            "paths": arrival.paths[1:],
        }
    )

    assert [put.key for put in workflow.admit(other)] == [f"segment:{SERIES_UID}:2:1"]


def test_a_tilted_series_is_refused_with_picture_key_object_and_reason(
    make: Make, tmp_path: Path, pacs: Pacs
) -> None:
    tilted = small_arrival(
        tmp_path / "spool" / SERIES_UID, orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    )
    workflow = make()
    finish(workflow, workflow.admit(tilted))
    row = workflow.ledger.series(SERIES_UID, 1)

    assert row is not None
    assert (row.state, row.code) == (SeriesState.REFUSED, "not-axial")
    assert kinds_of(workflow) == ["KO", "SC"]
    assert len(pacs.received) == 2
    texts = [item.get("TextValue", "") for item in result(workflow, "KO").ContentSequence]
    assert any("not-axial" in text for text in texts), texts


@pytest.mark.parametrize("uid", [None, "", "DOE^JANE", "1." + "2" * 64])
@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
def test_a_series_without_a_study_is_refused_at_the_first_try(
    make: Make, tmp_path: Path, pacs: Pacs, uid: str | None
) -> None:
    """There is no study to put an answer into: the reason stands in the ledger."""
    arrival = small_arrival(tmp_path / "spool" / SERIES_UID, StudyInstanceUID=uid)
    workflow = make()
    jobs = finish(workflow, workflow.admit(arrival))
    row = workflow.ledger.series(SERIES_UID, 1)

    assert row is not None
    assert (row.state, row.code) == (SeriesState.REFUSED, "unidentified")
    assert "DOE" not in row.reason + row.study_instance_uid
    assert [key for key in jobs if key.startswith("segment:")] == [f"segment:{SERIES_UID}:1:1"]
    assert not kinds_of(workflow)
    assert not pacs.received


def test_a_partial_scan_is_reported_with_a_qc_image_if_the_site_wants_so(
    make: Make, arrival: SeriesArrival
) -> None:
    workflow = make("--partial")
    finish(workflow, workflow.admit(arrival))

    assert {"SEG", "SR", "SC"} <= set(kinds_of(workflow))
    assert state_of(workflow) is SeriesState.REPORTED


def test_a_partial_scan_is_answered_with_the_qc_image_alone_if_the_site_wants_so(
    make: Make, arrival: SeriesArrival
) -> None:
    workflow = make("--partial", analysis={"partial": "refuse"})
    finish(workflow, workflow.admit(arrival))
    row = workflow.ledger.series(SERIES_UID, 1)

    assert kinds_of(workflow) == ["KO", "SC"]
    assert row is not None
    assert (row.state, row.code) == (SeriesState.REFUSED, "not-hip-to-knee")
    assert row.reason == (
        "the scan does not show hip to knee: the scan shows the thigh without the knee"
    )


def test_the_called_title_selects_what_becomes_of_a_partial_scan(
    make: Make, arrival: SeriesArrival
) -> None:
    """One node, one scan: reported to the usual title, refused to the strict one."""
    pipelines = [{"called_ae_title": "STRICT", "partial": "refuse"}]
    workflow = make("--partial", pipelines=pipelines)
    finish(workflow, workflow.admit(arrival))
    finish(workflow, workflow.admit(replace(arrival, called_ae_title="STRICT", revision=2)))

    assert {"SEG", "SR"} <= set(kinds_of(workflow))
    assert kinds_of(workflow, 2) == ["KO", "SC"]


def test_an_analysis_that_dies_is_tried_again_and_then_answered_with_a_qc_image(
    make: Make, arrival: SeriesArrival
) -> None:
    workflow = make("--crash", analysis={"attempts": 2})
    done = finish(workflow, workflow.admit(arrival))
    row = workflow.ledger.series(SERIES_UID, 1)

    assert [key for key in done if key.startswith("segment")] == [
        f"segment:{SERIES_UID}:1:1",
        f"segment:{SERIES_UID}:1:2",
    ]
    assert kinds_of(workflow) == ["KO", "SC"]
    assert row is not None
    assert (row.state, row.code) == (SeriesState.FAILED, "analysis-failed")
    assert row.reason == (
        "the analysis failed in 2 attempt(s); in the last one it ended with exit code 1"
    )


def test_a_failed_series_that_is_sent_again_is_tried_again(
    make: Make, arrival: SeriesArrival
) -> None:
    failing = make("--crash", analysis={"attempts": 1})
    finish(failing, failing.admit(arrival))
    mended = make(analysis={"attempts": 1})
    finish(mended, mended.admit(arrival))

    assert kinds_of(mended, revision=2) == ["SEG", "SR"]


def test_a_case_whose_results_cannot_be_built_is_answered_with_that(
    make: Make, arrival: SeriesArrival, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last resort is done by the engine after several tries."""

    def broken(*_arguments: object) -> None:
        raise ResultError("highdicom said no")

    monkeypatch.setattr("dicom_node.node.publication.publish_case", broken)
    workflow = make()
    (publish,) = workflow.segment(workflow.admit(arrival)[0].payload)
    with pytest.raises(ResultError, match="said no"):
        workflow.publish(publish.payload)
    finish(workflow, workflow.fail(publish.payload))
    row = workflow.ledger.series(SERIES_UID, 1)

    assert kinds_of(workflow) == ["KO", "SC"]
    assert row is not None
    assert (row.state, row.code) == (SeriesState.FAILED, "node-failed")


def test_an_analysis_that_hangs_is_stopped(make: Make, arrival: SeriesArrival) -> None:
    workflow = make("--slow", "600", analysis={"attempts": 1, "timeout_s": 4.0})
    finish(workflow, workflow.admit(arrival))
    row = workflow.ledger.series(SERIES_UID, 1)

    assert row is not None
    assert row.reason.endswith("it took too long and was stopped")


def test_an_analysis_killed_from_outside_is_named_so(
    make: Make, arrival: SeriesArrival
) -> None:
    suicide = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    workflow = make(command=suicide, analysis={"attempts": 1})
    finish(workflow, workflow.admit(arrival))
    row = workflow.ledger.series(SERIES_UID, 1)

    assert row is not None
    assert row.reason.endswith("it was killed, most likely for want of memory")


def test_the_real_analysis_answers_too(make: Make, arrival: SeriesArrival) -> None:
    """The small bundle knows nothing; what counts is that the whole chain runs."""
    workflow = make(command=(sys.executable, "-m", "dicom_node.analysis.child"))
    finish(workflow, workflow.admit(arrival))

    assert state_of(workflow) is SeriesState.REPORTED
    assert "SR" in kinds_of(workflow)


def test_the_command_gives_a_scan_the_uids_and_numbers_that_the_node_gives_it(
    make: Make, arrival: SeriesArrival, tmp_path: Path
) -> None:
    """`msk-node segment` and a node with the same bundle and settings."""
    workflow = make(command=(sys.executable, "-m", "dicom_node.analysis.child"))
    finish(workflow, workflow.admit(arrival))
    bundle = load_bundle(workflow.config.analysis.bundle)
    segment_to_folder(arrival.paths[0].parent, tmp_path / "out", bundle=bundle, device="cpu")

    by_node, by_command = result(workflow, "SR"), pydicom.dcmread(tmp_path / "out" / "SR.dcm")
    assert by_command.SOPInstanceUID == by_node.SOPInstanceUID
    assert by_command.SeriesInstanceUID == by_node.SeriesInstanceUID
    assert reported_structures(by_command) == reported_structures(by_node)
    assert by_command.PatientID == by_node.PatientID


def test_a_series_is_read_once_and_published_without_its_files(
    make: Make, arrival: SeriesArrival
) -> None:
    workflow = make()
    (segment,) = workflow.admit(arrival)
    (publish,) = workflow.kinds()["segment"].run(segment.payload)
    for path in arrival.paths:
        path.unlink()
    finish(workflow, [publish])

    assert state_of(workflow) is SeriesState.REPORTED
    assert kinds_of(workflow) == ["SEG", "SR"]


def test_a_case_that_an_older_node_analysed_is_published_from_its_files(
    make: Make, arrival: SeriesArrival
) -> None:
    """It kept the case, and not the series: no series.json, study.dcm and volume.npy."""
    workflow = make()
    (segment,) = workflow.admit(arrival)
    (publish,) = workflow.kinds()["segment"].run(segment.payload)
    for name in ("series.json", "study.dcm", "volume.npy"):
        (found,) = workflow.config.node.work.rglob(name)
        found.unlink()
    finish(workflow, [publish])

    assert state_of(workflow) is SeriesState.REPORTED
    assert kinds_of(workflow) == ["SEG", "SR"]


def test_a_destination_that_is_down_gets_another_attempt_later(
    make: Make, arrival: SeriesArrival
) -> None:
    """In 30 seconds; the clock of the test has gone on a second since the attempt."""
    workflow = make(port=1, delivery={"first_wait_s": 30.0, "max_wait_s": 600.0})
    work = workflow.admit(arrival)
    kinds = workflow.kinds()
    for _ in range(2):
        work = kinds[work[0].kind].run(work[0].payload)
    after = kinds["deliver"].run(work[0].payload)

    assert [(put.key, put.delay_s) for put in after] == [
        (f"deliver:{SERIES_UID}:1:pacs:2", pytest.approx(29.0))
    ]
    assert {row.state for row in workflow.ledger.deliveries()} == {DeliveryState.WAITING}


def test_only_what_was_not_taken_is_sent_again(
    make: Make, arrival: SeriesArrival, tmp_path: Path
) -> None:
    with result_pacs(statuses=[0x0000, REFUSED]).running() as picky:
        workflow = make(port=picky.port)
        finish(workflow, workflow.admit(arrival))

    counts = Counter(uid for uid, _, _ in picky.received)
    assert sorted(counts.values()) == [1, 2]
    assert {row.state for row in workflow.ledger.deliveries()} == {DeliveryState.SENT}


def test_a_delivery_is_held_with_its_reason_and_released_at_the_next_start(
    make: Make, arrival: SeriesArrival, pacs: Pacs
) -> None:
    """0xA900, data set does not match SOP class: tried, and then held."""
    with result_pacs(statuses=[0xA900] * 8).running() as odd:
        refused = make(port=odd.port, delivery={"hold_after": 2})
        finish(refused, refused.admit(arrival))
    held = refused.ledger.deliveries(states=[DeliveryState.HELD])
    assert len(held) == 2
    assert "0xA900" in held[0].reason

    up = make()
    released = up.pending_jobs()
    assert up.pending_jobs() == released, "a start that is killed at once must not lose them"
    finish(up, released)

    assert [put.key for put in released] == [f"deliver:{SERIES_UID}:1:pacs:4"]
    assert len(pacs.received) == 2
    assert {row.state for row in up.ledger.deliveries()} == {DeliveryState.SENT}


def test_a_destination_that_is_gone_from_the_settings_is_held(
    make: Make, arrival: SeriesArrival
) -> None:
    workflow = make(port=1)
    work = workflow.admit(arrival)
    for _ in range(2):
        work = workflow.kinds()[work[0].kind].run(work[0].payload)
    renamed = make(routes=[], destinations=[])
    finish(renamed, work)

    assert {row.reason for row in renamed.ledger.deliveries()} == {
        "the destination is no longer configured"
    }


def test_routing_names_the_destinations(make: Make, arrival: SeriesArrival, pacs: Pacs) -> None:
    peers = [
        {"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
        for name in ("a", "b")
    ]
    routes = [{"calling_ae_title": "CT1", "destinations": ["b"]}]
    workflow = make(destinations=peers, routes=routes)
    finish(workflow, workflow.admit(arrival))

    assert {row.destination for row in workflow.ledger.deliveries()} == {"b"}


def destination(name: str, pacs: Pacs, **profile: Any) -> dict[str, Any]:
    """A peer in the settings, with a profile of its own."""
    place = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    return {"name": name, **place, "profile": profile}


def kinds_by_uid(workflow: Workflow) -> dict[str, str]:
    return {row.sop_instance_uid: row.kind for row in workflow.ledger.all_results()}


def received(workflow: Workflow, pacs: Pacs) -> list[str]:
    """The kinds of what arrived, in the order of arrival."""
    kinds = kinds_by_uid(workflow)
    return [kinds[uid] for uid, _, _ in pacs.received]


def delivered(workflow: Workflow) -> dict[str, DeliveryState]:
    """How far each kind of object has come on its way to the one destination."""
    kinds, rows = kinds_by_uid(workflow), workflow.ledger.deliveries()
    return {kinds[row.sop_instance_uid]: row.state for row in rows}


def test_a_pacs_that_knows_label_maps_gets_them_with_their_report(
    make: Make, arrival: SeriesArrival, pacs: Pacs
) -> None:
    """Compressed as they are; the form that might have to stand in is kept here."""
    workflow = make(profile={"segmentation": "labelmap"})
    finish(workflow, workflow.admit(arrival))

    assert received(workflow, pacs) == ["SEG-LABELMAP", "SR-LABELMAP"]
    assert pacs.received[0][1] == RLELossless
    assert kinds_of(workflow) == ["SEG", "SEG-LABELMAP", "SR", "SR-LABELMAP"]


def test_a_pacs_that_knows_no_label_maps_gets_the_binary_form_and_its_report_alone(
    make: Make, arrival: SeriesArrival
) -> None:
    """The other report would refer to an object that this archive never gets."""
    with result_pacs(label_maps=False).running() as old:
        workflow = make(port=old.port, profile={"segmentation": "labelmap"})
        done = finish(workflow, workflow.admit(arrival))

    assert received(workflow, old) == ["SEG", "SR"]
    assert done[-2:] == [f"deliver:{SERIES_UID}:1:pacs:{n}" for n in (1, 2)]
    assert delivered(workflow) == {
        "SEG-LABELMAP": DeliveryState.REPLACED,
        "SR-LABELMAP": DeliveryState.REPLACED,
        "SEG": DeliveryState.SENT,
        "SR": DeliveryState.SENT,
    }
    reasons = {
        row.reason for row in workflow.ledger.deliveries(states=[DeliveryState.REPLACED])
    }
    assert len(reasons) == 1
    assert "SOP class not supported" in reasons.pop()


def test_a_refusal_by_status_falls_back_too(make: Make, arrival: SeriesArrival) -> None:
    """0x0122, SOP Class Not Supported (PS3.7 C.5.6), on a context that was accepted."""
    with result_pacs(statuses=[0x0122]).running() as picky:
        workflow = make(port=picky.port, profile={"segmentation": "labelmap"})
        finish(workflow, workflow.admit(arrival))

    assert received(workflow, picky) == ["SEG-LABELMAP", "SEG", "SR"]


EVERYTHING = {
    "segmentation": "labelmap",
    "report": "both",
    "qc_image": "always",
    "density_picture": True,
    "uncertainty_map": True,
    "pdf_summary": True,
}


def test_a_dicomweb_service_gets_every_kind_of_object_byte_for_byte(
    make: Make, arrival: SeriesArrival
) -> None:
    with WebArchive().running() as archive:
        cloud = {"name": "cloud", "url": archive.url, "confirm": "query"}
        workflow = make(destinations=[cloud], profile=EVERYTHING)
        finish(workflow, workflow.admit(arrival))

    kept = {
        row.sop_instance_uid: Path(row.path).read_bytes()
        for row in workflow.ledger.all_results()
        if row.kind not in {"SEG", "SR"}  # what might have stood in
    }
    assert set(delivered(workflow).values()) == {DeliveryState.CONFIRMED}
    assert len(archive.requests) < len(kept) == 7
    assert sorted(archive.stored) == sorted(kept.values())


def test_a_dicomweb_service_that_knows_no_rle_gets_the_binary_form(
    make: Make, arrival: SeriesArrival
) -> None:
    """C122H, Referenced Transfer Syntax not supported (PS3.18 Table I.2-2)."""
    with WebArchive(refused_syntaxes=frozenset({RLELossless})).running() as archive:
        cloud = {"name": "cloud", "url": archive.url}
        workflow = make(destinations=[cloud], profile={"segmentation": "labelmap"})
        finish(workflow, workflow.admit(arrival))

    assert delivered(workflow) == {
        "SEG-LABELMAP": DeliveryState.REPLACED,
        "SR-LABELMAP": DeliveryState.REPLACED,
        "SEG": DeliveryState.SENT,
        "SR": DeliveryState.SENT,
    }
    assert len(archive.stored) == 2


def test_a_kill_between_the_fall_back_and_its_job_loses_and_doubles_nothing(
    make: Make, arrival: SeriesArrival
) -> None:
    """The engine does the attempt again; the job that it did not put has the same key."""
    with result_pacs(label_maps=False).running() as old:
        workflow = make(port=old.port, profile={"segmentation": "labelmap"})
        work = workflow.admit(arrival)
        for _ in range(2):
            work = workflow.kinds()[work[0].kind].run(work[0].payload)
        lost = workflow.deliver(work[0].payload)
        assert received(workflow, old) == []
        assert workflow.pending_jobs() == (
            JobRequest(lost[0].kind, lost[0].key, lost[0].payload),
        )

        assert workflow.deliver(work[0].payload) == lost
        finish(workflow, lost)

    assert received(workflow, old) == ["SEG", "SR"]


def test_each_destination_gets_its_own_share_of_one_analysis(
    make: Make, arrival: SeriesArrival
) -> None:
    """Built once, also what both get."""
    with result_pacs().running() as archive, result_pacs().running() as viewer:
        peers = [
            destination("archive", archive, uncertainty_map=True),
            destination("viewer", viewer, segmentation="groups", report="key_slice"),
        ]
        workflow = make(destinations=peers, profile={"qc_image": "always"})
        finish(workflow, workflow.admit(arrival))

    assert received(workflow, archive) == ["SEG", "SR", "SC", "PM"]
    groups = ["SEG-BONES", "SEG-HIP", "SEG-THIGH"]
    assert received(workflow, viewer) == [*groups, "SR-KEYSLICE", "SC"]
    assert len(kinds_of(workflow)) == 8


def test_an_object_that_a_pacs_does_not_know_is_held_at_once_and_the_rest_is_sent(
    make: Make, arrival: SeriesArrival
) -> None:
    contexts = [(kind.traits.sop_class_uid, [ExplicitVRLittleEndian]) for kind in RECORD]
    with Pacs(contexts=contexts).running() as old:
        workflow = make(port=old.port, profile={"uncertainty_map": True})
        done = finish(workflow, workflow.admit(arrival))

    assert received(workflow, old) == ["SEG", "SR"]
    assert delivered(workflow)["PM"] is DeliveryState.HELD
    assert done[-1] == f"deliver:{SERIES_UID}:1:pacs:1"


def test_a_new_bundle_opens_a_revision_and_the_old_results_are_rejected_where_wished(
    make: Make, arrival: SeriesArrival
) -> None:
    """The note lists what the archive got of the old revision, and comes after the new one."""
    with result_pacs().running() as archive, result_pacs().running() as viewer:
        peers = [
            destination("archive", archive, reject_replaced=True),
            destination("viewer", viewer, uncertainty_map=True),
        ]
        old = make(destinations=peers)
        finish(old, old.admit(arrival))
        new = replace(old, bundle_sha256="ab" * 32)
        finish(new, new.admit(arrival))

    assert received(new, archive) == ["SEG", "SR", "SEG", "SR", "KO-REJECTED"]
    assert "KO-REJECTED" not in received(new, viewer)
    note = result(new, "KO-REJECTED", 2)
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    rejected = {
        item.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert rejected == {result(new, kind, 1).SOPInstanceUID for kind in ("SEG", "SR")}
    assert result(new, "SEG", 2).SeriesDescription == "MSK segmentation of series 3, revision 2"


def test_a_third_revision_rejects_the_second_alone(make: Make, arrival: SeriesArrival) -> None:
    workflow = make(profile={"reject_replaced": True})
    for bundle in ("ab", "cd", "ef"):
        workflow = replace(workflow, bundle_sha256=bundle * 32)
        finish(workflow, workflow.admit(arrival))

    third = result(workflow, "KO-REJECTED", 3).ContentSequence
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in third
        if "ReferencedSOPSequence" in item
    }
    assert named == {result(workflow, kind, 2).SOPInstanceUID for kind in ("SEG", "SR")}


def test_a_site_that_wants_nifti_finds_the_label_map_beside_the_objects(
    make: Make, arrival: SeriesArrival
) -> None:
    """Voxel for voxel what the segmentation shows, under the names of its segments."""
    workflow = make(objects={"nifti": True})
    finish(workflow, workflow.admit(arrival))
    kept = Path(workflow.ledger.results(SERIES_UID, 1)[0].path).parent

    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(kept / "labels.nii.gz")))
    names = json.loads((kept / "labels.json").read_text())
    segmentation = result(workflow, "SEG")
    assert {names[str(number)] for number in np.unique(labels) if number} == {
        item.SegmentDescription for item in segmentation.SegmentSequence
    }
    assert (labels > 0).sum() == segmentation.pixel_array.sum()


def test_a_site_that_wants_none_finds_none(make: Make, arrival: SeriesArrival) -> None:
    workflow = make()
    finish(workflow, workflow.admit(arrival))

    assert not list(workflow.config.node.results.rglob("labels*"))


def test_the_work_folder_is_gone_when_the_results_are_kept(
    make: Make, arrival: SeriesArrival
) -> None:
    workflow = make()
    finish(workflow, workflow.admit(arrival))

    assert not [path for path in workflow.config.node.work.iterdir() if path.is_dir()]


def test_an_analysis_waits_for_a_device_that_another_holds(
    make: Make, arrival: SeriesArrival
) -> None:
    """It waits 1 s, then 2 s; that is no attempt of the analysis."""
    workflow = make()
    lock = try_lock(workflow.config.node.work / f".{workflow.device}.lock")
    assert lock is not None
    (segment,) = workflow.admit(arrival)
    (first,) = workflow.segment(segment.payload)
    (second,) = workflow.segment(first.payload)
    os.close(lock)
    (publish,) = workflow.segment(second.payload)

    assert [each.kind for each in (first, second, publish)] == ["segment", "segment", "publish"]
    assert (first.delay_s, second.delay_s) == (1.0, 2.0)
    assert len({segment.key, first.key, second.key}) == 3
    assert second.payload["attempt"] == 1


def test_a_late_analysis_of_a_node_thought_dead_does_not_touch_the_one_that_counts(
    make: Make, arrival: SeriesArrival
) -> None:
    """Both analyse the series; each publication takes the folder that its job names."""
    workflow = make()
    (segment,) = workflow.admit(arrival)
    (publish,) = workflow.segment(segment.payload)
    own = workflow.config.node.work / SERIES_UID / "1"
    kept = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    (own / publish.payload["analysis"]).rename(own.parent / "aside")
    (late,) = workflow.segment(segment.payload)
    (own.parent / "aside").rename(own / publish.payload["analysis"])

    assert late.key == publish.key
    assert late.payload["analysis"] != publish.payload["analysis"]
    assert {path: path.read_bytes() for path in kept} == kept
