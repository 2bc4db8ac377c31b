"""Claims about delivery by STOW-RS to a service that refuses, stalls and breaks off.

The clock is the test's: waits of minutes and days take no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.sent_results import SEG, SERIES, SR, Site
from support.web_archive import Reply, WebArchive

from dicom_node.delivery.attempts import is_slow
from dicom_node.errors import PeerRefusedError
from dicom_node.node.maintenance import MaintenanceTasks
from dicom_node.peers.dicomweb import WebService
from dicom_node.peers.outcome import SendOutcome
from dicom_node.peers.transports import WebTransport
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.settings.loading import parse_config

Make = Callable[..., Site]
WAITING, SENT, HELD = DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.HELD
CONFIRMED = DeliveryState.CONFIRMED


@pytest.fixture
def archive() -> Iterator[WebArchive]:
    with WebArchive().running() as archive:
        yield archive


@pytest.fixture
def make(tmp_path: Path, archive: WebArchive) -> Iterator[Make]:
    """Makes the node's ledger and files; it delivers to the service."""
    ledgers: list[Ledger] = []

    def site(*, confirm: str = "no", url: str = "", **delivery: Any) -> Site:
        table = {
            "node": {"spool": "spool", "results": "results", "database": "db"},
            "delivery": {"timeout_s": 5.0, **delivery},
            "destinations": [{"name": "pacs", "url": url or archive.url, "confirm": confirm}],
        }
        config = parse_config(table, source="test", folder=tmp_path)
        ledgers.append(Ledger(config.node.database_url))
        return Site(config, ledgers[-1])

    yield site
    for ledger in ledgers:
        ledger.close()


def states(site: Site) -> dict[str, DeliveryState]:
    return {uid: site.row(uid).state for uid in (SEG, SR)}


def files(site: Site) -> list[Path]:
    return [Path(each.path) for each in site.ledger.results(SERIES, 1)]


def tried_once(site: Site) -> timedelta:
    """Make the first visit; how long until the next one to the segmentation."""
    site.make(site.answer()[0])
    row = site.row(SEG)
    assert row.state is WAITING
    assert row.next_attempt_at is not None
    return row.next_attempt_at - row.changed_at


def test_files_arrive_byte_for_byte_and_a_report_after_its_segmentation(
    make: Make, archive: WebArchive
) -> None:
    site = make()
    site.do_jobs(site.answer())

    assert states(site) == {SEG: SENT, SR: SENT}
    assert archive.requests == [[SEG], [SR]]
    assert archive.stored == [path.read_bytes() for path in files(site)]
    assert site.row(SEG).status == 0


def test_a_warning_is_kept(make: Make, archive: WebArchive) -> None:
    """B006H, elements discarded (PS3.18 Table I.2-1): stored all the same."""
    archive.warnings = {SEG: 0xB006}
    site = make()
    site.do_jobs(site.answer())

    assert (site.row(SEG).state, site.row(SEG).status) == (SENT, 0xB006)
    assert site.row(SR).status == 0


def test_of_two_that_go_together_the_one_that_failed_is_sent_again_alone(
    make: Make, archive: WebArchive
) -> None:
    """202: A700H, out of resources, for one of them (PS3.18 10.5.3)."""
    archive.replies, archive.failures = [Reply(202)], {SEG: 0xA700}
    site = make()
    site.answer()
    outcomes = WebTransport(WebService("pacs", archive.url)).send(files(site))

    assert archive.requests == [[SEG, SR]]
    assert [each.status for each in outcomes] == [0xA700, 0]
    assert [each.stored for each in outcomes] == [False, True]
    assert outcomes[0].reason == "0xA700, out of resources"


def test_a_partial_answer_leaves_the_report_waiting_for_its_segmentation(
    make: Make, archive: WebArchive
) -> None:
    archive.replies, archive.failures = [Reply(202)], {SEG: 0xA700}
    site = make()
    assert tried_once(site) == timedelta(seconds=30)
    assert site.row(SEG).reason == "0xA700, out of resources"
    assert site.row(SR).reason == "waits for an object that was not taken"

    archive.failures = {}
    site.clock.advance(minutes=1)
    site.do_jobs(site.delivery_jobs.due())
    assert states(site) == {SEG: SENT, SR: SENT}


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (0x0122, "0x0122, referenced SOP class not supported"),
        (0xC122, "0xC122, referenced transfer syntax not supported"),
    ],
)
def test_what_a_service_can_never_take_is_held_with_its_reason(
    make: Make, archive: WebArchive, reason: int, words: str
) -> None:
    """409: none was taken, and the body says why; there is no other form of a plain SEG."""
    archive.replies, archive.failures = [Reply(409)], {SEG: reason}
    site = make()
    site.do_jobs(site.answer())

    assert states(site) == {SEG: HELD, SR: HELD}
    assert site.row(SEG).reason == words
    assert site.row(SR).reason == "waits for the SEG, which is held"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (409, "409 Conflict"),
        (415, "415 Unsupported Media Type"),
    ],
)
def test_a_request_that_is_refused_is_held_at_once_with_its_status(
    make: Make, archive: WebArchive, status: int, words: str
) -> None:
    archive.replies = [Reply(status, body=b"<html>")]
    site = make()
    site.do_jobs(site.answer())

    assert states(site) == {SEG: HELD, SR: HELD}
    asked = "; QIDO-RS does not list it" if status == 409 else ""
    assert site.row(SEG).reason == f"{archive.url} answered with {words}{asked}"
    assert not site.row(SEG).resumes, "that it answers a query is no news"


@pytest.mark.parametrize("status", [400, 409, 413])
def test_one_object_that_is_refused_takes_no_other_with_it(
    make: Make, archive: WebArchive, status: int
) -> None:
    """Where the answer does not say which of the two it is about, each goes alone."""
    archive.replies = [Reply(status, body=b""), Reply(status, body=b""), Reply()]
    site = make()
    site.answer()
    refused, taken = WebTransport(WebService("pacs", archive.url)).send(files(site))

    assert archive.requests == [[SEG, SR], [SEG], [SR]]
    assert (refused.refused, refused.stored, taken.stored) == (True, False, True)
    assert f"answered with {status}" in refused.reason


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_service_in_trouble_is_tried_again_and_then_takes_everything(
    make: Make, archive: WebArchive, status: int
) -> None:
    archive.replies = [Reply(status, body=b"sorry")]
    site = make()

    assert tried_once(site) == timedelta(seconds=30)
    assert f"answered with {status}" in site.row(SEG).reason
    site.clock.advance(seconds=30)
    site.do_jobs(site.delivery_jobs.due())
    assert states(site) == {SEG: SENT, SR: SENT}


@pytest.mark.parametrize(
    ("retry_after", "wait_s"), [("120", 120), ("5", 30), ("86400", 3600), ("soon", 30)]
)
def test_a_service_that_asks_for_patience_gets_it(
    make: Make, archive: WebArchive, retry_after: str, wait_s: float
) -> None:
    """Never sooner than the node's own rule, and an hour at most."""
    archive.replies = [Reply(429, {"Retry-After": retry_after}, body=b"")]

    assert tried_once(make()) == timedelta(seconds=wait_s)


def test_patience_asked_for_in_the_middle_of_a_delivery_counts_too(
    make: Make, archive: WebArchive
) -> None:
    archive.replies = [Reply(), Reply(503, {"Retry-After": "300"}, body=b"")]
    site = make()
    site.make(site.answer()[0])
    row = site.row(SR)

    assert states(site) == {SEG: SENT, SR: WAITING}
    assert row.next_attempt_at == row.changed_at + timedelta(seconds=300)


@pytest.mark.parametrize("cut", ["request", "response"])
def test_a_connection_that_breaks_off_loses_nothing_and_doubles_nothing(
    make: Make, archive: WebArchive, cut: str
) -> None:
    """What was stored before the answer broke off is stored again under the same UID."""
    if cut == "request":
        archive.drop_after = 100
    else:
        archive.replies = [Reply(cut=True)]
    site = make()
    tried_once(site)
    assert site.row(SEG).reason == f"{archive.url} broke off the connection"

    archive.drop_after = None
    site.clock.advance(seconds=30)
    site.do_jobs(site.delivery_jobs.due())
    assert states(site) == {SEG: SENT, SR: SENT}
    assert set(archive.stored) == {path.read_bytes() for path in files(site)}


def test_a_service_that_does_not_answer_in_time_is_given_up_for_now(
    make: Make, archive: WebArchive
) -> None:
    archive.stalled.set()
    site = make(timeout_s=0.2)
    tried_once(site)

    assert site.row(SEG).reason == f"{archive.url} did not answer within 0.2 s"


def test_a_large_object_goes_in_pieces_and_arrives_whole(
    archive: WebArchive, tmp_path: Path, make: Make
) -> None:
    """600 kB of pixels: three pieces, and a request of its own."""
    site = make()
    site.answer()
    small, other = files(site)
    large = tmp_path / "large.dcm"
    pixels = bytes.fromhex("e07f 1000 4f42 0000 c0270900") + bytes(600_000)
    large.write_bytes(small.read_bytes() + pixels)
    way = WebTransport(WebService("pacs", archive.url, max_batch_bytes=600_000))
    outcomes = way.send([other, large])

    assert [each.stored for each in outcomes] == [True, True]
    assert archive.requests == [[SR], [SEG]]
    assert archive.headers[1]["Transfer-Encoding"] == "chunked"
    assert archive.stored[1] == large.read_bytes()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Sign in</html>", "did not answer in DICOM JSON"),
        (b"{}", "named none of the objects"),
        (b"[]", "nonsense"),
        (b'{"00081199": {"vr": "SQ", "Value": [{}]}}', "incomplete"),
        (b'{"00081199": {"vr": "SQ", "Value": 7}}', ""),
    ],
)
def test_an_answer_that_says_nothing_of_the_objects_is_no_success(
    make: Make, archive: WebArchive, body: bytes, words: str
) -> None:
    """The page of a proxy comes with status 200 as well."""
    archive.replies = [Reply(200, body=body)]
    site = make()
    tried_once(site)

    assert words in site.row(SEG).reason
    assert "Sign in" not in site.row(SEG).reason


def test_a_page_of_html_is_no_success(make: Make, archive: WebArchive) -> None:
    archive.replies = [Reply(200, {"Content-Type": "text/html"}, body=b"<html>Sign in")]
    site = make()
    tried_once(site)

    assert "named none of the objects" in site.row(SEG).reason


def test_an_object_that_the_answer_leaves_out_is_not_taken_for_stored(
    make: Make, archive: WebArchive
) -> None:
    archive.silent = {SR}
    site = make()
    site.answer()
    outcomes = WebTransport(WebService("pacs", archive.url)).send(files(site))

    assert [each.stored for each in outcomes] == [True, False]
    assert outcomes[1].reason == "the service did not say what became of it"


def test_success_without_a_body_is_what_the_status_says(
    make: Make, archive: WebArchive
) -> None:
    archive.replies = [Reply(200, body=b""), Reply(200, body=b"")]
    site = make()
    site.do_jobs(site.answer())

    assert states(site) == {SEG: SENT, SR: SENT}


def test_an_answer_in_xml_is_read_too(make: Make, archive: WebArchive) -> None:
    """A service may know nothing else (PS3.18 10.5.2 wants JSON of it)."""
    answer = (
        '<NativeDicomModel><DicomAttribute tag="00081199" vr="SQ"'
        ' keyword="ReferencedSOPSequence"><Item number="1">'
        '<DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID">'
        '<Value number="1">{}</Value></DicomAttribute>'
        "</Item></DicomAttribute></NativeDicomModel>"
    )
    answers = [answer.format(uid).encode() for uid in (SEG, SR)]
    kind = {"Content-Type": "application/dicom+xml"}
    archive.replies = [Reply(200, kind, body=each) for each in answers]
    site = make()
    site.do_jobs(site.answer())

    assert states(site) == {SEG: SENT, SR: SENT}


def test_a_redirection_is_not_followed(make: Make, archive: WebArchive) -> None:
    """Results and token would go wherever it points."""
    with WebArchive().running() as elsewhere:
        archive.replies = [Reply(307, {"Location": f"{elsewhere.url}/studies"}, body=b"")]
        site = make()
        site.do_jobs(site.answer())

        assert states(site) == {SEG: HELD, SR: HELD}
        assert "redirects elsewhere" in site.row(SEG).reason
        assert (elsewhere.requests, elsewhere.headers) == ([], [])


def test_an_unreadable_file_stops_no_other(make: Make, archive: WebArchive) -> None:
    site = make()
    site.answer()
    segmentation, report = files(site)
    segmentation.write_bytes(b"torn")
    missing = segmentation.with_name("none.dcm")
    way = WebTransport(WebService("pacs", archive.url))
    outcomes: tuple[SendOutcome, ...] = way.send([segmentation, missing, report])

    assert [each.stored for each in outcomes] == [False, False, True]
    assert outcomes[0].reason == "cannot be read (NotDicomError)"
    assert archive.requests == [[SR]]


def test_what_qido_lists_is_confirmed(make: Make, archive: WebArchive) -> None:
    site = make(confirm="query")
    site.do_jobs(site.answer())

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert [path for path, _ in archive.queries] == [
        f"/dicom-web/studies/1.2/series/2.25.{number}/instances" for number in (11, 12)
    ]


def test_what_qido_does_not_list_is_asked_for_again_and_then_stored_again(
    make: Make, archive: WebArchive
) -> None:
    archive.unlisted = {SEG}
    site = make(confirm="query")
    site.do_jobs(site.answer(), most=4)
    assert site.row(SEG).reason == "QIDO-RS does not list it yet"

    site.do_jobs(site.delivery_jobs.due() or [], most=1)
    site.clock.advance(minutes=30)
    site.do_jobs(site.delivery_jobs.due(), most=1)
    site.clock.advance(minutes=30)
    site.do_jobs(site.delivery_jobs.due(), most=2)
    assert archive.requests.count([SEG]) == 2
    archive.unlisted = set()
    site.clock.advance(minutes=30)
    site.do_jobs(site.delivery_jobs.due())
    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}


@pytest.mark.parametrize(
    "reply",
    [Reply(404, body=b""), Reply(500, body=b""), Reply(200, body=b"[{}]"), Reply(body=b"<p>")],
)
def test_a_query_that_fails_confirms_nothing_and_sends_nothing_again(
    make: Make, archive: WebArchive, reply: Reply
) -> None:
    archive.query_reply = reply
    site = make(confirm="query")
    site.do_jobs(site.answer(), most=8)

    assert states(site) == {SEG: SENT, SR: SENT}
    assert site.row(SEG).reason
    assert len(archive.requests) == 2


@pytest.mark.parametrize(
    ("reply", "resumes"),
    [
        (None, True),
        (Reply(400, body=b""), True),
        (Reply(401, body=b""), False),
        (Reply(404, body=b""), False),
        (Reply(503, body=b""), False),
    ],
)
def test_what_waits_slowly_goes_on_when_the_service_answers_a_query_for_one_study(
    make: Make, archive: WebArchive, reply: Reply | None, resumes: bool
) -> None:
    """That it wants another query is an answer; that it lets us do nothing is none."""
    away = make(url="http://127.0.0.1:1/dicom-web", hold_after=2)
    away.do_jobs(away.answer(), most=2)
    assert is_slow(away.row(SEG), away.config.delivery)

    archive.query_reply = reply
    back = make(hold_after=2)
    MaintenanceTasks(back.delivery_jobs, lambda _: None).probe()
    assert archive.queries[0][1]["limit"] == ["1"]
    slow = {is_slow(row, back.config.delivery) for row in back.ledger.deliveries()}
    assert slow == {not resumes}


@pytest.mark.parametrize("study", ["1.2.03", "1.2"])
def test_a_study_is_asked_for_by_whatever_uid_the_scanner_gave_it(
    archive: WebArchive, study: str
) -> None:
    """A component with a leading zero is no UID (PS3.5 9.1), and in archives all the same."""
    WebTransport(WebService("pacs", archive.url)).list_instances(study, ["2.25.11"])

    assert archive.queries[0][0] == f"/dicom-web/studies/{study}/series/2.25.11/instances"


def test_what_has_no_study_is_not_asked_for(archive: WebArchive) -> None:
    with pytest.raises(PeerRefusedError, match="has no UID"):
        WebTransport(WebService("pacs", archive.url)).list_instances("", ["2.25.11"])


def test_a_visit_that_runs_again_stores_nothing_again(make: Make, archive: WebArchive) -> None:
    """Killed after its effect and before its record."""
    site = make(confirm="query")
    (first,) = site.answer()
    (second,) = site.make(first)

    assert site.make(first) == (second,)
    assert len(archive.requests) == 2
