"""STOW-RS and QIDO-RS: storing files at a DICOMweb service, and asking what it lists.

A file's elements go out as they are, many small files in one request. What the service says
of each instance (Store Instances Response, PS3.18 Annex I) counts, whatever the status of
the whole: 200, 202 (some were taken) or 409 (none was).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import requests
import structlog
from pydicom.dataset import Dataset

from dicom_node.errors import PeerBusyError, PeerError, PeerFailedError, PeerRefusedError
from dicom_node.peers.dicomweb import Conversation, WebService, answer_of, calling, refusal
from dicom_node.peers.outcome import UNREADABLE, Claim, Prospect, SendOutcome
from dicom_node.peers.stow_response import (
    PROCESSING_FAILURE,
    WARNINGS,
    Stated,
    claim_of,
    failure_words,
    prospect_of_reason,
    read_response,
)
from dicom_node.series.bounded_files import read_whole
from dicom_node.uids import is_uid

log = structlog.get_logger()

ABOUT_OBJECTS: Final = frozenset({400, 409, 411, 413, 415, 422})
"""HTTP statuses that refuse what was sent, not who sends it (RFC 9110 15.5)."""
CONFLICT: Final = 409
"""None was taken (PS3.18 Table 10.5.3-1); by itself, a conflict with what is there."""


def store(
    service: WebService,
    paths: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
    requires: Mapping[Path, Collection[Path]] | None = None,
) -> tuple[SendOutcome, ...]:
    """Store files at a service; answers one outcome a path, in order.

    A file goes in a later request than those that it requires, and only if they were taken.

    Args:
        service: where to store them.
        paths: DICOM files.
        progress: called after each request with the number done and the number of all.
        requires: by path, the paths before it without which the service is not to get it.
            Only what is stored by this very call counts.

    Raises:
        PeerError: before anything was stored; see `web_service.calling`.
    """
    outcomes: dict[Path, SendOutcome] = {}
    needs = requires or {}
    for batch in _batches(paths, needs, service.max_batch_bytes):
        held_back = {path: _missing(path, needs, outcomes) for path in batch}
        for path, reason in held_back.items():
            if reason:
                outcomes[path] = SendOutcome(path, "", None, reason)
        ready = [path for path in batch if not held_back[path]]
        try:
            # A conversation for each: its errors are ours only when it has ended.
            with calling(service) as conversation:
                outcomes |= _store_batch(service, conversation, ready)
        except PeerError as error:
            if not any(outcome.stored for outcome in outcomes.values()):
                raise
            return _with_unsent(outcomes, paths, error)
        if progress is not None:
            progress(len(outcomes), len(paths))
    return tuple(outcomes[path] for path in paths)


def listed_by(service: WebService, study: str, series: Iterable[str]) -> frozenset[str]:
    """The SOP Instance UIDs that a service lists in these series of a study (PS3.18 10.6).

    Raises:
        PeerError: it did not answer, or not with a list; or the study has no UID.
    """
    if not is_uid(study):
        raise PeerRefusedError(f"{service} is asked for no study that has no UID")
    found: set[str] = set()
    with calling(service) as conversation:
        for one in series:
            listed = conversation.client.search_for_instances(
                study, one, fields=["SOPInstanceUID"]
            )
            found |= set(_uids_of(service, listed))
    return frozenset(found)


def _batches(
    paths: Sequence[Path], needs: Mapping[Path, Collection[Path]], most_bytes: int
) -> Iterator[list[Path]]:
    """Paths for one request each: not too much, and nothing beside what it requires."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        added = path.stat().st_size if path.exists() else 0
        if batch and (size + added > most_bytes or set(batch) & set(needs.get(path, ()))):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += added
    if batch:
        yield batch


def _missing(
    path: Path, needs: Mapping[Path, Collection[Path]], outcomes: Mapping[Path, SendOutcome]
) -> str:
    """The reason why a path is held back, as text; empty when it may go."""
    stored = {each for each, outcome in outcomes.items() if outcome.stored}
    waits = any(each not in stored for each in needs.get(path, ()))
    return "waits for an object that was not taken" if waits else ""


def _with_unsent(
    outcomes: Mapping[Path, SendOutcome], paths: Sequence[Path], error: PeerError
) -> tuple[SendOutcome, ...]:
    """The outcomes of a call that broke off after something was stored."""
    wait_s = error.again_after_s if isinstance(error, PeerBusyError) else 0.0
    return tuple(
        outcomes.get(path, SendOutcome(path, "", None, str(error), again_after_s=wait_s))
        for path in paths
    )


def _store_batch(
    service: WebService, conversation: Conversation, paths: Sequence[Path]
) -> dict[Path, SendOutcome]:
    """Store files by one request; whatever is answered, each gets its outcome.

    One that a service refuses must not take the others with it: where the status refuses
    several without saying which, each is sent alone.
    """
    outcomes: dict[Path, SendOutcome] = {}
    datasets: dict[Path, Dataset] = {}
    for path in paths:
        try:
            datasets[path] = _read(path)
        except UNREADABLE as error:
            words = f"cannot be read ({type(error).__name__})"
            outcomes[path] = SendOutcome(path, "", None, words, prospect=Prospect.UNCLEAR)
    if not datasets:
        return outcomes
    uids = {path: str(dataset.SOPInstanceUID) for path, dataset in datasets.items()}
    try:
        stated = _post(service, conversation, list(datasets.values()), set(uids.values()))
    except requests.HTTPError as error:
        answer = answer_of(error)
        refused = refusal(service, answer)
        if answer.status_code not in ABOUT_OBJECTS or isinstance(refused, PeerBusyError):
            raise
        if len(uids) > 1:
            for path in uids:
                outcomes |= _store_batch(service, conversation, [path])
            return outcomes
        claim = Claim.POSSIBLE if answer.status_code == CONFLICT else Claim.NONE
        alone = {
            path: SendOutcome(
                path, uid, None, str(refused), prospect=Prospect.NEVER, claim=claim
            )
            for path, uid in uids.items()
        }
        return outcomes | alone
    last = conversation.answer
    conflict = last is not None and last.status_code == CONFLICT
    for path, uid in uids.items():
        outcomes[path] = outcome = _outcome(path, uid, stated.get(uid), conflict=conflict)
        if not outcome.stored:
            log.warning(
                "send.refused",
                peer=service.name,
                sop_instance_uid=uid,
                status=outcome.status,
                reason=outcome.reason,
            )
    return outcomes


def _read(path: Path) -> Dataset:
    """A file, to be encoded just as it is; its UID is read here, before anything is sent."""
    with warnings.catch_warnings():
        # A warning of the library quotes the value it is about.
        warnings.simplefilter("ignore")
        dataset = read_whole(path)
        _ = dataset.SOPInstanceUID
        return dataset


def _post(
    service: WebService,
    conversation: Conversation,
    datasets: Sequence[Dataset],
    sent: set[str],
) -> Mapping[str, Stated]:
    """Send one request; what is said of each instance.

    200 without a word is what the status means by itself: all were taken (PS3.18 Table
    10.5.3-1). Anything else that says nothing of our instances is no answer to us, be it
    the page of a proxy with status 200.
    """
    try:
        response = conversation.client.store_instances(datasets)
    except requests.HTTPError as error:
        stated = _read_json(answer_of(error))
        if answer_of(error).status_code < 500 and sent & stated.keys():
            return stated
        raise
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        if isinstance(error, requests.RequestException):
            raise
        raise PeerFailedError(f"{service} answered a STOW-RS request with nonsense") from None
    try:
        stated = read_response(response)
    except ValueError as error:
        raise PeerFailedError(f"{service}: {error}") from None
    answer = conversation.answer
    if answer is not None and answer.status_code == 200 and not answer.content:
        return dict.fromkeys(sent, Stated(0, taken=True))
    if not sent & stated.keys():
        raise PeerFailedError(f"{service} named none of the objects in its answer")
    return stated


def _read_json(response: requests.Response) -> Mapping[str, Stated]:
    """The statements in the body of a failed request; none where that cannot be read."""
    try:
        return read_response(Dataset.from_json(response.json()))
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _outcome(path: Path, uid: str, stated: Stated | None, *, conflict: bool) -> SendOutcome:
    """The outcome for one file, of a request that was answered with a conflict or not."""
    if stated is None:
        return SendOutcome(path, uid, None, "the service did not say what became of it")
    if stated.taken:
        warning = WARNINGS.get(stated.status, "") if stated.status else ""
        return SendOutcome(path, uid, stated.status, warning)
    failed = SendOutcome(
        path,
        uid,
        stated.status,
        failure_words(stated.status),
        prospect=prospect_of_reason(stated.status),
        claim=claim_of(stated.status, conflict=conflict),
    )
    if failed.stored:  # a failure whose reason is a warning's number
        failed = replace(failed, status=PROCESSING_FAILURE)
    return failed


def _uids_of(service: WebService, listed: object) -> Iterator[str]:
    """The SOP Instance UIDs of an answer in DICOM JSON (PS3.18 F.2)."""
    try:
        for item in listed:  # type: ignore[attr-defined]
            yield str(item["00080018"]["Value"][0])
    except (LookupError, TypeError):
        raise PeerFailedError(f"{service} lists instances without their UIDs") from None
