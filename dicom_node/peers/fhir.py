"""A FHIR server as a destination: a transaction for each report (R5, http.html#transaction).

The resources are put under identifiers of their own (a conditional update each), so that a
report that is sent twice is there once. A server that does not do that, or speaks another
version, says so: its answer is the reason. Its words may quote what was sent, and are not kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import requests
import structlog

from dicom_node.errors import PeerFailedError, PeerLacksServiceError, PeerRefusedError
from dicom_node.peers.commitment import KeepReport
from dicom_node.peers.dicomweb import WebService, calling
from dicom_node.peers.outcome import UNREADABLE, Progress, Prospect, Requires, SendOutcome
from dicom_node.results.fhir.measurement_bundle import FHIR_VERSION, measurement_bundle
from dicom_node.results.kinds import COMPREHENSIVE_3D_SR_STORAGE
from dicom_node.series.bounded_files import NotDicomError, read_whole
from dicom_node.settings.destinations import FhirDestination
from dicom_node.settings.node import NodeConfig

log = structlog.get_logger()

JSON: Final = "application/fhir+json"
ABOUT_REPORT: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""HTTP statuses that refuse what was sent, not who sends it."""
MAX_ANSWER_BYTES: Final = 64 << 20


def server_of(config: NodeConfig, destination: FhirDestination) -> WebService:
    """A configured server, as it is called."""
    return WebService(
        name=destination.name,
        url=destination.fhir_url,
        tls=destination.tls,
        credentials=destination.credentials,
        answer_timeout_s=config.delivery.timeout_s,
    )


@dataclass(frozen=True, slots=True)
class FhirTransport:
    """By HTTP, as FHIR has it."""

    server: WebService

    @property
    def name(self) -> str:
        """The server's."""
        return self.server.name

    def within(self, timeout_s: float) -> Self:
        """To the same server."""
        server = replace(self.server, connect_timeout_s=timeout_s, answer_timeout_s=timeout_s)
        return replace(self, server=server)

    def verify(self) -> None:
        """A read of its capabilities, which say what version it is of."""
        with calling(self.server) as conversation:
            answer = conversation.session.get(
                f"{self.server.url}/metadata",
                headers={"Accept": JSON},
                timeout=self._timeout,
            )
            answer.raise_for_status()
        version = _version(answer)
        if not version:
            raise PeerFailedError(f"{self} does not answer as a FHIR server")
        if version.partition(".")[0] != FHIR_VERSION.partition(".")[0]:
            raise PeerRefusedError(f"{self} is of FHIR {version}, not {FHIR_VERSION}")

    def send(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        requires: Requires | None = None,  # noqa: ARG002 - a report names what it is about
    ) -> tuple[SendOutcome, ...]:
        """A transaction for each report, one after the other."""
        outcomes = []
        for path in paths:
            outcomes.append(self._send(path))
            if progress is not None:
                progress(len(outcomes), len(paths))
        return tuple(outcomes)

    def list_instances(self, study: str, series: Iterable[str]) -> frozenset[str]:  # noqa: ARG002
        """A FHIR server lists no instances."""
        raise PeerLacksServiceError(f"{self} is a FHIR server, and lists no instances")

    def ask_to_commit(
        self,
        transaction_uid: str,  # noqa: ARG002 - nobody is asked
        instances: Sequence[tuple[str, str]],  # noqa: ARG002
        keep: KeepReport,  # noqa: ARG002
    ) -> None:
        """FHIR has no such service."""
        raise PeerLacksServiceError(f"{self} does not offer Storage Commitment")

    def __str__(self) -> str:
        """The server."""
        return str(self.server)

    @property
    def _timeout(self) -> tuple[float, float]:
        return (self.server.connect_timeout_s, self.server.answer_timeout_s)

    def _send(self, path: Path) -> SendOutcome:
        """Send one report; anything else is no report, and never will be."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote the value they are about
                report = read_whole(path)
                uid = str(report.SOPInstanceUID)
                if report.SOPClassUID != COMPREHENSIVE_3D_SR_STORAGE:
                    return SendOutcome(path, uid, None, "no report", prospect=Prospect.PERSON)
                bundle = measurement_bundle(report)
        except (NotDicomError, *UNREADABLE) as error:
            words = f"cannot be read: {type(error).__name__}"
            return SendOutcome(path, "", None, words, prospect=Prospect.UNCLEAR)
        return self._post(path, uid, bundle)

    def _post(self, path: Path, uid: str, bundle: dict[str, Any]) -> SendOutcome:
        """Send a transaction; all of it is done, or nothing."""
        with calling(self.server) as conversation:
            answer = conversation.session.post(
                self.server.url,
                json=bundle,
                headers={"Accept": JSON, "Content-Type": JSON},
                timeout=self._timeout,
            )
            if answer.status_code in ABOUT_REPORT:
                words = f"the server refused the transaction with {answer.status_code}"
                log.warning("send.refused", peer=self.name, sop_instance_uid=uid, reason=words)
                return SendOutcome(path, uid, None, words, prospect=Prospect.UNCLEAR)
            answer.raise_for_status()
        failed = _failed_entries(answer)
        if failed is None:
            raise PeerFailedError(f"{self} did not answer with a Bundle")
        if failed:
            words = f"{failed} of {len(bundle['entry'])} resources were not taken"
            return SendOutcome(path, uid, None, words, prospect=Prospect.UNCLEAR)
        return SendOutcome(path, uid, 0)


def _version(answer: requests.Response) -> str:
    """The version of FHIR that a capability statement names; empty where it is none."""
    told = _json(answer)
    is_one = told.get("resourceType") == "CapabilityStatement"
    return str(told.get("fhirVersion", "")) if is_one else ""


def _failed_entries(answer: requests.Response) -> int | None:
    """How many entries of a transaction were not done; None where the answer is no Bundle."""
    told = _json(answer)
    entries = told.get("entry", [])
    if told.get("resourceType") != "Bundle" or not isinstance(entries, list):
        return None
    statuses = [str((each.get("response") or {}).get("status", "")) for each in entries]
    return sum(not status.startswith("2") for status in statuses)


def _json(answer: requests.Response) -> dict[str, Any]:
    """An answer's body as an object; empty where it is none."""
    if len(answer.content) > MAX_ANSWER_BYTES:
        return {}
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
