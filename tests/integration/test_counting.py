"""Claims about what a node counts of what really happens: on the wire, in jobs, at a peer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.cases import source_datasets
from support.counted import counting_anew, counts
from support.pacs import Pacs
from support.scanner_association import association
from support.small_node import result_pacs
from support.waiting import wait_until
from support.whole_node import WholeNode, whole_node

from dicom_node.monitoring import metrics
from dicom_node.persistence.rows import DeliveryState

CONFIRMED = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "confirm": "query"}


@pytest.fixture(autouse=True)
def _a_new_process() -> Iterator[None]:
    with counting_anew():
        yield


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


def bytes_of(node: WholeNode, folder: str = "sent") -> int:
    """The datasets that were sent, about."""
    return sum(
        path.stat().st_size for path in (node.config.node.spool.parent / folder).iterdir()
    )


def test_a_series_is_counted_from_its_first_image_to_its_last_object(
    tmp_path: Path, pacs: Pacs
) -> None:
    with whole_node(tmp_path, pacs.port) as node:
        images = source_datasets()
        node.send(images)
        node.send(images[:2], "again")
        node.come_to_rest()
        sent = node.workflow.ledger.deliveries(states=[DeliveryState.SENT])
        ((received_bytes,),) = metrics.BYTES_RECEIVED.copied().values()

        assert counts(metrics.INSTANCES_RECEIVED) == {("SCANNER",): len(images) + 2}
        assert counts(metrics.REPEATS_RECEIVED) == {("SCANNER",): 2}
        assert bytes_of(node) * 0.8 < received_bytes < bytes_of(node) + bytes_of(node, "again")
        assert counts(metrics.STORE_SECONDS) == {(): len(images) + 2}
        assert sum(counts(metrics.ASSOCIATIONS_ACCEPTED).values()) == 2
        assert counts(metrics.SERIES_ACCEPTED) == {(): 1}
        assert counts(metrics.SERIES_ANSWERED) == {("reported", ""): 1}
        steps = counts(metrics.STEP_SECONDS)
        assert {step for (step,) in steps} >= {"receive", "wait", "analysis", "publication"}
        assert counts(metrics.INSTANCES_SENT) == {("pacs",): len(sent)}
        assert counts(metrics.STORED_SECONDS) == {("pacs",): 1}
        assert counts(metrics.CONFIRMED_SECONDS) == {}
        assert counts(metrics.ANALYSIS_MEMORY)[()] > 1e7


def test_verdict_and_uncertainty_are_counted_by_scanner_bundle_and_structure(
    tmp_path: Path, pacs: Pacs
) -> None:
    with whole_node(tmp_path, pacs.port) as node:
        node.send(source_datasets())
        node.come_to_rest()
    ((scanner, bundle, verdict),) = counts(metrics.CASES)
    structures = metrics.STRUCTURE_UNCERTAINTY.copied()

    assert scanner == "Scanner Works Spiral 64"
    assert " " in bundle
    assert verdict
    assert counts(metrics.CASE_UNCERTAINTY) == {(scanner, bundle): 1}
    assert structures
    assert all(side in ("R", "L", "whole") for _, side, _ in structures)


def test_a_destination_that_refuses_is_counted_and_so_is_what_it_takes_later(
    tmp_path: Path,
) -> None:
    with (
        result_pacs(statuses=[0xA700]).running() as pacs,
        whole_node(tmp_path, pacs.port) as node,
    ):
        node.send(source_datasets())
        node.come_to_rest()

        assert counts(metrics.DELIVERY_FAILURES)[("pacs", "later")] >= 1
        assert counts(metrics.DELIVERIES_CHANGED)[("pacs", "failed")] >= 1
        assert counts(metrics.STORED_SECONDS) == {("pacs",): 1}


def test_what_a_destination_confirms_is_counted_when_all_of_it_is(
    tmp_path: Path, pacs: Pacs
) -> None:
    peers = [{**CONFIRMED, "port": pacs.port}]
    with whole_node(tmp_path, None, destinations=peers) as node:
        node.send(source_datasets())
        node.come_to_rest()

        assert counts(metrics.STORED_SECONDS) == {("pacs",): 1}
        assert counts(metrics.CONFIRMED_SECONDS) == {("pacs",): 1}
        assert counts(metrics.STEP_SECONDS)[("confirmation",)] == 1


def test_a_rejected_caller_is_counted_by_reason_alone(tmp_path: Path, pacs: Pacs) -> None:
    senders = [{"ae_title": "CT1"}]
    with whole_node(tmp_path, pacs.port, senders=senders) as node:
        for n in range(3):
            with association(node.receiver, calling=f"STRANGER{n}") as found:
                assert found.is_rejected

    assert counts(metrics.ASSOCIATIONS_REJECTED) == {("calling-title",): 3}
    assert not any(
        "STRANGER" in key for each in metrics.METRICS.values() for key in each.series
    )


def test_a_refused_image_is_counted_by_its_reason(
    tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with whole_node(tmp_path, pacs.port) as node:
        monkeypatch.setattr(
            node.receiver.capacity, "shortage", lambda size=None: size and "full"
        )
        node.send(source_datasets()[:2])

    assert counts(metrics.INSTANCES_REFUSED) == {("room",): 2}
    assert counts(metrics.INSTANCES_RECEIVED) == {}


def test_what_cannot_be_counted_is_done_all_the_same(
    tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_labels: str) -> metrics.Series:
        raise RuntimeError("a metric that is broken")

    broken = SimpleNamespace(labels=fails)
    for name in ("SERIES_ANSWERED", "INSTANCES_SENT", "DELIVERIES_CHANGED"):
        monkeypatch.setattr(metrics, name, broken)
    with whole_node(tmp_path, pacs.port) as node:
        node.send(source_datasets())
        node.come_to_rest()

        assert node.status.deliveries[DeliveryState.SENT] == len(node.kinds(1))
        assert not node.status.deliveries[DeliveryState.WAITING]


def test_an_association_that_breaks_off_is_counted(tmp_path: Path, pacs: Pacs) -> None:
    with whole_node(tmp_path, pacs.port) as node:
        with association(node.receiver, calling="CT1") as found:
            found.abort()
        wait_until(lambda: bool(counts(metrics.ASSOCIATIONS_BROKEN)), 10, "it is counted")

    assert sum(counts(metrics.ASSOCIATIONS_BROKEN).values()) == 1
