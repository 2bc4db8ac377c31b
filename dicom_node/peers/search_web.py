"""Asking a DICOMweb service what it holds: QIDO-RS, page by page (PS3.18 10.6).

A service may answer with fewer than were asked for and say so in a Warning header (299), or
not say so. Pages are asked for until one brings nothing, and no more than so many of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import requests
import structlog
from pydicom.datadict import tag_for_keyword

from dicom_node.errors import PeerFailedError
from dicom_node.peers.archives import Answer, Level, Listed, Query
from dicom_node.peers.dicomweb import Conversation, WebService, calling
from dicom_node.peers.find import LEVEL_UIDS, MAX_LISTED, MAX_VALUE_CHARACTERS, NEVER_SENT

log = structlog.get_logger()

PAGE: Final = 1000
"""So many are asked for at a time."""
MAX_PAGES: Final = 200
"""So many pages are asked for: a service decides by itself how short they are."""
MAX_PAGE_BYTES: Final = 1 << 26
"""No page is longer."""
CHUNK_BYTES: Final = 1 << 16
NO_CONTENT: Final = 204
MORE: Final = "299"
"""Warn-code of an answer that is not all (PS3.18 10.6.3.1, RFC 7234 5.5.7)."""


def search(
    service: WebService, queries: Sequence[Query], max_answers: int | None = None
) -> tuple[Answer, ...]:
    """Ask a service one query after the other.

    Args:
        service: the archive.
        queries: what is asked.
        max_answers: how many it gives to one request at most; so many are asked for.

    Raises:
        PeerError: it did not answer, or not with a list.
    """
    page = min(max_answers or PAGE, PAGE)
    # A conversation for each: its errors are ours only when it has ended.
    return tuple(_all_pages(service, query, page) for query in queries)


def _all_pages(service: WebService, query: Query, page: int) -> Answer:
    """The answer to one query, of as many pages as it takes."""
    listed: dict[str, Listed] = {}
    offset = 0
    for _ in range(MAX_PAGES):
        with calling(service) as conversation:
            found = _page(service, conversation, query, page, offset)
        before = len(listed)
        for item in found.items:
            values = _values(item, query)
            uid = values.get(LEVEL_UIDS[query.level], "")
            if not uid:
                raise PeerFailedError(f"{service} lists {query.level.lower()}s without UIDs")
            listed.setdefault(uid, Listed(values))
        words = found.words(is_new=len(listed) > before, wanted=page)
        if words is not None:
            return _answer(service, listed, words)
        if len(listed) >= MAX_LISTED:
            return _answer(service, listed, f"more than {len(listed)}, which are not taken")
        offset += len(found.items)
    return _answer(service, listed, f"not at its end after {MAX_PAGES} pages")


def _answer(service: WebService, listed: Mapping[str, Listed], words: str) -> Answer:
    if words:
        log.info("find.cut_short", peer=service.name, reason=words, count=len(listed))
    return Answer(tuple(listed.values()), not words, words)


@dataclass(frozen=True, slots=True)
class _Page:
    """One page: what it lists, and whether the service says that there is more."""

    items: Sequence[Mapping[str, Any]] = field(default=())
    says_more: bool = False

    def words(self, *, is_new: bool, wanted: int) -> str | None:
        """Why the list ends with this page, as text; None where the next one is asked for.

        Empty where it ends because it is whole. A service that says nothing of more and gives
        another number than was wanted has given all: fewer are the last page, more are those
        of one that knows no pages.
        """
        if not self.items:
            return (
                "the service says that there is more, and gives none" if self.says_more else ""
            )
        if not is_new:
            is_cut = self.says_more or len(self.items) == wanted
            return "the service gives the same page again" if is_cut else ""
        if len(self.items) != wanted and not self.says_more:
            return ""
        return None


def _page(
    service: WebService, conversation: Conversation, query: Query, page: int, offset: int
) -> _Page:
    """Ask for one page."""
    response = conversation.session.get(
        service.url + _path(query),
        params=[*_parameters(query), ("limit", str(page)), ("offset", str(offset))],
        stream=True,
        timeout=(service.connect_timeout_s, service.answer_timeout_s),
    )
    with response:
        response.raise_for_status()
        says_more = response.headers.get("Warning", "").lstrip().startswith(MORE)
        if response.status_code == NO_CONTENT:
            return _Page(says_more=says_more)
        return _Page(_list(service, _body(service, response)), says_more)


def _body(service: WebService, response: requests.Response) -> bytes:
    """An answer as far as it is not too long."""
    body = bytearray()
    for part in response.iter_content(CHUNK_BYTES):
        body += part
        if len(body) > MAX_PAGE_BYTES:
            raise PeerFailedError(f"{service} answered with more than {MAX_PAGE_BYTES} bytes")
    return bytes(body)


def _list(service: WebService, body: bytes) -> list[dict[str, Any]]:
    """The items of an answer in DICOM JSON (PS3.18 F.2); an empty body lists nothing."""
    if not body.strip():
        return []
    try:
        items = json.loads(body)
    except (ValueError, RecursionError):
        raise PeerFailedError(f"{service} did not answer in DICOM JSON") from None
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise PeerFailedError(f"{service} did not answer with a list")
    return items


def _path(query: Query) -> str:
    """The resource that is searched (PS3.18 Table 10.6.1-1)."""
    study = query.keys.get("StudyInstanceUID", "")
    series = query.keys.get("SeriesInstanceUID", "")
    below_study = f"/studies/{study}" if _is_one(study) else ""
    match query.level:
        case Level.STUDY:
            return "/studies"
        case Level.SERIES:
            return f"{below_study}/series"
        case _ if below_study and _is_one(series):
            return f"{below_study}/series/{series}/instances"
        case _:
            return f"{below_study}/instances"


def _is_one(uid: str) -> bool:
    """True if a key names one UID, which stands in the path then."""
    return bool(uid) and not set(uid) & set("\\*?,/")


def _parameters(query: Query) -> Iterator[tuple[str, str]]:
    """Matching keys, several UIDs parted by commas, and what else is to be answered."""
    path = _path(query)
    for keyword, value in query.keys.items():
        in_path = keyword in LEVEL_UIDS.values() and f"/{value}/" in path
        if keyword in NEVER_SENT or (value and in_path):
            continue
        if not value:
            yield "includefield", keyword
        else:
            yield keyword, value.replace("\\", ",")


def _values(item: Mapping[str, Any], query: Query) -> dict[str, str]:
    """The values of what was asked for, by keyword (PS3.18 F.2.2)."""
    keywords = dict.fromkeys([*LEVEL_UIDS.values(), *query.keys])
    found = {}
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        element = item.get(f"{tag:08X}") if tag is not None else None
        if isinstance(element, Mapping):
            found[keyword] = _text(element.get("Value"))[:MAX_VALUE_CHARACTERS]
    return found


def _text(values: Any) -> str:
    """Values as text; of a name its component groups."""
    if not isinstance(values, list):
        return ""
    texts = []
    for value in values:
        if isinstance(value, Mapping):
            groups = [value.get(name) for name in ("Alphabetic", "Ideographic", "Phonetic")]
            texts.append("=".join(str(each or "") for each in groups).rstrip("="))
        else:
            texts.append("" if value is None else str(value))
    return "\\".join(texts)
