"""Claims about a FHIR server as a destination, with a server of the test's on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cases import CONTEXT, small_case, small_series
from support.ct import ct_stack
from support.fhir_server import FhirServer, fhir_server
from support.small_node import small_config
from support.whole_node import WholeNode, whole_node

from dicom_node.errors import PeerError, PeerFailedError, PeerRefusedError, PeerUnreachableError
from dicom_node.peers.outcome import SendOutcome
from dicom_node.peers.transports import Transport, transport_for
from dicom_node.persistence.rows import DeliveryState
from dicom_node.results.builders import publish_case
from dicom_node.results.fhir.bundle_file import BUNDLE_FILE
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results


@pytest.fixture
def server() -> Iterator[FhirServer]:
    with fhir_server() as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A segmentation and its report, by kind."""
    folder = tmp_path_factory.mktemp("results")
    series = small_series(folder / "series")
    wanted = {ResultKind.SEG, ResultKind.SR}
    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, wanted)
    paths = write_results(objects, folder / "objects")
    return {one.kind.value: path for one, path in zip(objects, paths, strict=True)}


def way_to(server: FhirServer, tmp_path: Path, **keys: Any) -> Transport:
    table = {"name": "records", "fhir_url": server.url, **keys}
    config = small_config(tmp_path, None, destinations=[table])
    return transport_for(config, config.destinations[0])


def sent(server: FhirServer, tmp_path: Path, path: Path) -> SendOutcome:
    (outcome,) = way_to(server, tmp_path).send([path])
    return outcome


def test_a_report_that_is_sent_twice_is_there_once(
    server: FhirServer, files: dict[str, Path], tmp_path: Path
) -> None:
    first = sent(server, tmp_path, files["SR"])
    there = dict(server.resources)
    again = sent(server, tmp_path, files["SR"])

    assert first.stored
    assert again.stored
    assert server.resources == there
    kinds = {each["resourceType"] for each in there.values()}
    assert kinds == {
        "BodyStructure",
        "Device",
        "DiagnosticReport",
        "ImagingSelection",
        "Observation",
    }


def test_the_secret_goes_with_a_transaction(
    server: FhirServer, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("abc\n")
    shown = {"bearer_token_file": str(tmp_path / "token")}
    way_to(server, tmp_path, credentials=shown).send([files["SR"]])

    (headers,) = server.headers
    assert headers["Authorization"] == "Bearer abc"
    assert headers["Content-Type"] == "application/fhir+json"


def test_what_is_no_report_is_not_sent(
    server: FhirServer, files: dict[str, Path], tmp_path: Path
) -> None:
    outcome = sent(server, tmp_path, files["SEG"])

    assert not outcome.stored
    assert outcome.reason == "no report"
    assert server.resources == {}


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_refused_transaction_is_a_reason_and_no_error(
    status: int, server: FhirServer, files: dict[str, Path], tmp_path: Path
) -> None:
    server.statuses = [status]

    outcome = sent(server, tmp_path, files["SR"])

    assert not outcome.stored
    assert str(status) in outcome.reason


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, PeerUnreachableError),
        (500, PeerFailedError),
        (401, PeerRefusedError),
        (412, PeerRefusedError),
    ],
)
def test_a_server_in_trouble_is_an_error_for_all(
    status: int,
    error: type[PeerError],
    server: FhirServer,
    files: dict[str, Path],
    tmp_path: Path,
) -> None:
    server.statuses = [status]

    with pytest.raises(error):
        sent(server, tmp_path, files["SR"])


def test_an_entry_that_was_not_taken_is_told(
    server: FhirServer, files: dict[str, Path], tmp_path: Path
) -> None:
    server.entry_status = "412 Precondition Failed"

    outcome = sent(server, tmp_path, files["SR"])

    assert not outcome.stored
    assert "resources were not taken" in outcome.reason


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"resourceType": "Patient"}'])
def test_an_answer_that_is_no_bundle_is_no_success(
    body: bytes, server: FhirServer, files: dict[str, Path], tmp_path: Path
) -> None:
    server.body = body

    with pytest.raises(PeerFailedError):
        sent(server, tmp_path, files["SR"])


def test_an_echo_reads_the_version(server: FhirServer, tmp_path: Path) -> None:
    way_to(server, tmp_path).verify()
    server.version = "4.0.1"

    with pytest.raises(PeerRefusedError, match=r"is of FHIR 4\.0\.1, not 5\.0\.0"):
        way_to(server, tmp_path).verify()


def test_something_else_that_answers_is_no_server(server: FhirServer, tmp_path: Path) -> None:
    server.body = b"<html>"

    with pytest.raises(PeerFailedError, match="does not answer as a FHIR server"):
        way_to(server, tmp_path).verify()


def answered(node: WholeNode) -> None:
    """Send the node a series, and let it do all that follows."""
    node.send(ct_stack())
    node.come_to_rest()


def test_a_node_delivers_the_report_alone_and_keeps_it_as_a_file(
    server: FhirServer, tmp_path: Path
) -> None:
    records = {"name": "records", "fhir_url": server.url}
    sections: dict[str, Any] = {"destinations": [records], "objects": {"fhir": True}}
    with whole_node(tmp_path, 0, **sections) as node:
        answered(node)
        rows = node.workflow.ledger.deliveries()
        kinds = node.kinds(1)

    (row,) = rows
    (kept,) = node.config.node.results.rglob(BUNDLE_FILE)
    bundle = json.loads(kept.read_text(encoding="utf-8"))
    assert row.state is DeliveryState.SENT
    assert {"SEG", "SR"} >= set(kinds) >= {"SR"}
    assert len(server.resources) == len(bundle["entry"])


def test_a_refused_series_tells_a_fhir_server_nothing(
    server: FhirServer, tmp_path: Path
) -> None:
    records = {"name": "records", "fhir_url": server.url}
    with whole_node(tmp_path, 0, destinations=[records]) as node:
        node.send(ct_stack()[:2])
        node.come_to_rest(3)
        rows = node.workflow.ledger.deliveries()

    assert rows == ()
    assert server.resources == {}
