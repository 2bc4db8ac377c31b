"""docs/dicom-conformance-statement.md: what the node offers, in the form of DICOM PS3.2.

Whatever can be counted (SOP classes, transfer syntaxes, statuses, limits, codes) is taken from
the code that does it; the words between are written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless
from pynetdicom import DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_node.archive.requests import OF_SERIES, OF_STUDY
from dicom_node.network.implementation import MAX_PDU_BYTES
from dicom_node.network.limits import MAX_COMMAND_BYTES, MAX_MESSAGE_S, MAX_RECEIVED_PDU_BYTES
from dicom_node.network.tls_contexts import CIPHERS
from dicom_node.network.tls_sockets import HANDSHAKE_TIMEOUT_S
from dicom_node.network.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.peers.association import Peer
from dicom_node.peers.find import COUNTED
from dicom_node.peers.outcome import ALREADY_THERE, OF_THE_OBJECT, Prospect, prospect_of
from dicom_node.peers.retrieve import ENDS, STATUS_WORDS
from dicom_node.peers.retrieve_web import ACCEPT
from dicom_node.peers.store import FALLBACKS, LATER_NAMES
from dicom_node.peers.stow_response import FAILURE_RANGES, FAILURES, WARNINGS
from dicom_node.receiving import instance
from dicom_node.receiving.receiver import ReceiverSettings
from dicom_node.receiving.rejections import Reason
from dicom_node.results.headers import MANUFACTURER, MODEL_NAME
from dicom_node.results.kinds import REPORTS, SEGMENTATIONS, TRAITS, ResultKind
from dicom_node.series.character_sets import TEXT_VRS
from dicom_node.series.selection import CT_SOP_CLASSES
from dicom_node.series.study_header import PATIENT_AND_STUDY, UNICODE
from dicom_node.settings.node import NodeConfig
from dicom_node.spool import commitment_reports
from dicom_node.uids import IMPLEMENTATION_CLASS_UID
from sr_templates.terms import ASPECT_TERMS, QUANTITY_TERMS, SCHEME, VERDICT_TERMS
from support.generated.markdown import table, wrapped

DEFAULTS = NodeConfig()
RESULT_CLASSES = tuple(dict.fromkeys(each.sop_class_uid for each in TRAITS.values()))
DEFAULT_SYNTAXES = ", ".join(UID(each).name for each in DEFAULT_TRANSFER_SYNTAXES)


def statement() -> str:
    """The page."""
    parts = (_head, _introduction, _network, _web, _media, _characters, _security, _annexes)
    return "\n".join(line for part in parts for line in part()).rstrip() + "\n"


def _head() -> Iterator[str]:
    yield "# DICOM conformance statement\n"
    yield wrapped(
        "In the form of DICOM PS3.2, written from the program by `make docs`: a test fails when it is"
        " not current, and another one negotiates what it says. What outside programs say of the"
        " objects is in [conformance.md](conformance.md)."
    )
    yield "## 1. Overview\n"
    yield wrapped(
        f"{MODEL_NAME} takes CT series by C-STORE (or fetches them from archives), segments bones and"
        " muscles from hip to knee, and sends the results to archives. For research; not a medical"
        " device."
    )
    by_hand = "`msk-node send`, `msk-node accept`"
    by_get = "over C-GET, `msk-node accept`"
    rows = [(_name(each), by_hand, "yes, also over C-GET") for each in sorted(CT_SOP_CLASSES)]
    rows += [(_name(each), "yes", by_get) for each in RESULT_CLASSES]
    rows.append(("Verification", "yes", "yes"))
    rows.append(("Storage Commitment Push Model", "yes", "no"))
    rows += [(_name(each), "yes", "no") for each in QUERIES]
    yield table(("SOP class", "user (SCU)", "provider (SCP)"), rows)
    services = (
        ("STOW-RS", "sends results", "no"),
        ("QIDO-RS", "asks archives; confirms results", "no"),
        ("WADO-RS", "fetches series of archives; results at a site acceptance", "no"),
    )
    yield table(("DICOMweb service", "user agent", "origin server"), services)
    yield wrapped("Media Storage: none.")


QUERIES = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)


def _introduction() -> Iterator[str]:
    yield "## 2. Contents\n"
    yield wrapped(
        "1 Overview; 2 Contents; 3 Introduction; 4 Networking; 5 Media interchange; 6 Character sets;"
        " 7 Security; 8 Annexes: objects, attributes, codes, templates, statuses."
    )
    yield "## 3. Introduction\n"
    yield wrapped(
        "For people who connect the node to an archive or a scanner. That two conformance statements"
        " fit does not mean that two systems work together: `msk-node accept` tries it"
        " ([acceptance.md](acceptance.md)). Words are those of DICOM PS3; AE: application entity; SCU,"
        " SCP: service class user, provider."
    )


def _network() -> Iterator[str]:
    yield "## 4. Networking\n"
    yield "### 4.1 Implementation model\n"
    yield wrapped(
        "One AE title (`node.ae_title`) for all services, another one towards a destination or an"
        " archive where its `calling_ae_title` says so. The receiving AE takes images and reports of"
        " storage commitment; it is a process of its own and keeps every object on disk before it"
        " answers. The sending AE stores results and asks for commitment. The querying AE asks"
        " archives on a schedule, or how many images a series has. Real-world activities: a scanner or"
        " archive sends a series; the node analyses it when it is complete; results go to the"
        " destinations; destinations are asked whether they keep them."
    )
    yield from _common()
    yield from _receiving()
    yield from _sending()
    yield from _querying()


def _common() -> Iterator[str]:
    peer = Peer("x", "X", "x", 1)
    receiver = ReceiverSettings.of(DEFAULTS)
    yield "### 4.2 Association policies of all AEs\n"
    rows = (
        ("Application context name", "1.2.840.10008.3.1.1.1"),
        ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", "`MSKNODE_` and the version, 16 characters at most"),
        ("Maximum PDU offered, both ways", f"{MAX_PDU_BYTES} bytes"),
        (
            "Largest PDU that is read",
            f"{MAX_RECEIVED_PDU_BYTES} bytes; a larger one is aborted",
        ),
        ("Largest command set", f"{MAX_COMMAND_BYTES} bytes"),
        ("Longest time for one message", f"{MAX_MESSAGE_S:g} s"),
        ("Asynchronous operations window", "not offered: one operation at a time"),
        ("User identity negotiation", "not offered; a proposed one is not answered"),
        ("Extended negotiation of SOP classes", "not offered"),
        ("SCP/SCU role selection", "for C-GET, and for the reports of Storage Commitment"),
        ("Associations accepted at a time", _places(receiver)),
        (
            "Silence on an accepted one",
            f"{receiver.idle_timeout_s:g} s (`receive.idle_timeout_s`)",
        ),
        ("Wait for an A-ASSOCIATE-RQ", f"{receiver.acse_timeout_s:g} s"),
        (
            "Wait for a connection and its acceptance, as requestor",
            f"{peer.connect_timeout_s:g} s",
        ),
        (
            "Wait for each answer of a destination",
            f"{DEFAULTS.delivery.timeout_s:g} s (`delivery.timeout_s`)",
        ),
        ("Wait for each answer of an archive", "60 s (`archives.answer_timeout_s`)"),
        ("Silence of a retrieval", "300 s (`archives.silence_s`)"),
        ("Wait for a TLS handshake, as acceptor", f"{HANDSHAKE_TIMEOUT_S:g} s"),
        ("Largest object", f"{DEFAULTS.receive.max_object_mb} MB (`receive.max_object_mb`)"),
    )
    yield table(("item", "value"), rows)


def _places(receiver: ReceiverSettings) -> str:
    most = f"{receiver.max_associations} (`receive.max_associations`)"
    kept = f"{receiver.reserved_for_senders} (`receive.reserved_for_senders`)"
    return f"{most}, of which {kept} never go to archives"


def _receiving() -> Iterator[str]:
    yield "### 4.3 The receiving AE\n"
    yield "#### 4.3.1 Presentation contexts\n"
    yield wrapped(
        "Of those that a requestor proposes for one abstract syntax, the first transfer syntax that"
        " stands here is accepted, in the requestor's order. What is received is kept as it came."
    )
    every = "all of section 8.6"
    few = ", ".join(_name(each) for each in TRANSFER_SYNTAXES[:3])
    rows = [(_name(each), each, every, "SCP") for each in sorted(CT_SOP_CLASSES)]
    rows.append((_name(Verification), Verification, few, "SCP"))
    rows.append(
        (
            _name(StorageCommitmentPushModel),
            StorageCommitmentPushModel,
            few,
            "SCU, as acceptor (role selection, PS3.4 J.3.3)",
        )
    )
    yield table(("abstract syntax", "UID", "transfer syntaxes", "role"), rows)
    yield "#### 4.3.2 Rejected associations\n"
    rows = [
        (str(each), *map(str, each.rejection), _permanence(each.rejection[0]))
        for each in Reason
    ]
    yield table(("why", "result", "source", "reason", "meaning"), rows)
    yield "#### 4.3.3 Status codes of C-STORE\n"
    rows = (
        (
            _hex(instance.SUCCESS),
            "the instance and its name are on disk, or the very same one was",
        ),
        (
            _hex(instance.OUT_OF_RESOURCES),
            "no room (`receive.free_reserve_mb`), or the disk failed",
        ),
        (_hex(instance.DOES_NOT_MATCH), "the data set is not what the command says"),
        (
            _hex(instance.CANNOT_UNDERSTAND),
            "damaged, or without UIDs: no file could be made of it",
        ),
    )
    yield table(("status", "when"), rows)
    yield wrapped(
        "An instance of a series that is being analysed opens a new revision of it. Coercion: none;"
        " data sets are kept byte by byte. C-ECHO is answered with success, always: whether the node"
        " works is another question, which the command `health` answers."
    )
    yield "#### 4.3.4 Status codes of N-EVENT-REPORT (Storage Commitment)\n"
    rows = (
        (_hex(commitment_reports.SUCCESS), "the report is on disk"),
        (_hex(commitment_reports.PROCESSING_FAILURE), "it could not be kept"),
        (_hex(commitment_reports.INVALID_ARGUMENT), "it cannot be read"),
    )
    yield table(("status", "when"), rows)


def _sending() -> Iterator[str]:
    yield "### 4.4 The sending AE\n"
    yield "#### 4.4.1 Presentation contexts\n"
    rows = [
        (_name(each), each, ", ".join(_name(one) for one in _syntaxes_of(each)), "SCU")
        for each in RESULT_CLASSES
    ]
    rows.append((_name(Verification), Verification, DEFAULT_SYNTAXES, "SCU"))
    rows.append(
        (_name(StorageCommitmentPushModel), StorageCommitmentPushModel, DEFAULT_SYNTAXES, "SCU")
    )
    yield table(("abstract syntax", "UID", "transfer syntaxes", "role"), rows)
    yield wrapped(
        "One presentation context for each pair. A destination that takes only Implicit VR Little"
        " Endian gets the same elements so. One that does not know Label Map Segmentation Storage gets"
        " Segmentation Storage instead, and the report that refers to it. `msk-node send` proposes for"
        " each file its own SOP class and transfer syntax."
    )
    yield "#### 4.4.2 Associations\n"
    delivery = DEFAULTS.delivery
    yield wrapped(
        "One association for each series and destination, its objects one after the other: first"
        f" segmentations, then reports. A failed attempt is made again after {delivery.first_wait_s:g} s,"
        f" doubled up to {delivery.max_wait_s:g} s; after {delivery.hold_after} attempts every"
        f" {delivery.slow_wait_s:g} s, with an alarm. Nothing is given up"
        " ([delivery.md](delivery.md))."
    )
    yield "#### 4.4.3 How status codes of C-STORE are handled\n"
    yield table(("status", "handled as"), _store_statuses())
    yield "#### 4.4.4 Storage Commitment\n"
    yield wrapped(
        'With `confirm = "commitment"`: N-ACTION (Action Type ID 1) with all objects that a destination'
        " took of a series, each asked for once. Its report (N-EVENT-REPORT, Event Type ID 1 or 2) is"
        " taken on the same association for a second, or on one that the destination opens. What a"
        " report names as failed is asked for by C-FIND, and sent again if it is not listed,"
        f" {DEFAULTS.confirmation.resend} times; a report that does not come within"
        f" {DEFAULTS.confirmation.ask_again_s:g} s is asked for again."
    )


def _store_statuses() -> Iterator[tuple[str, str]]:
    yield "0x0000", "sent"
    yield "0xBxxx", "sent, with the warning's words in the ledger"
    for each in sorted(ALREADY_THERE):
        yield _hex(each), "there already: asked for, and sent if it is listed"
    yield "0xA7xx, 0x0110 and all others", f"tried again ({Prospect.PASSES})"
    unclear = ", ".join(map(_hex, sorted(OF_THE_OBJECT)))
    yield f"0xA9xx, 0xCxxx, {unclear}", f"tried again, then held ({Prospect.UNCLEAR})"
    for status in (0x0124, 0x0211):
        yield _hex(status), f"held ({prospect_of(status)})"
    for status in (0x0118, 0x0122):
        yield _hex(status), f"held, or another form of the object goes ({prospect_of(status)})"
    yield "no answer, abort", "tried again"


def _querying() -> Iterator[str]:
    yield "### 4.5 The querying AE\n"
    rows = [
        (_name(each), each, _services(each), "SCU")
        for each in (*QUERIES, StorageCommitmentPushModel)
        if each != StorageCommitmentPushModel
    ]
    yield table(("abstract syntax", "UID", "used for", "role"), rows)
    yield wrapped(
        f"Transfer syntaxes: {DEFAULT_SYNTAXES}. Relational queries, fuzzy matching and time zones"
        " are not negotiated. Only archives in `[[archives]]` are asked, on schedules and within their"
        " hours ([requery.md](requery.md)); destinations with `confirm` for what they took; a sender's"
        " `count_at` for how many images a series has."
    )
    rows = (
        (
            "STUDY",
            "StudyDate, StudyTime (ranges); ModalitiesInStudy; what `at_archive` names",
            _few(OF_STUDY),
        ),
        ("SERIES", "StudyInstanceUID; Modality; what `at_archive` names", _few(OF_SERIES)),
        (
            "IMAGE",
            "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID (lists)",
            "SOPInstanceUID",
        ),
    )
    yield table(("level", "matching keys", "return keys"), rows)
    yield wrapped(
        f"Counts ({_few(sorted(COUNTED))}) are believed only as hints: what came is looked at. A C-FIND"
        " whose answers may have been cut short is asked again in smaller windows. C-GET offers the CT"
        " classes in every transfer syntax of section 8.6, as SCP by role selection; C-MOVE names the"
        " node's own AE title, or `move_to`."
    )
    rows = [
        (_hex(status), STATUS_WORDS.get(status, "success"), str(end))
        for status, end in ENDS.items()
    ]
    rows.append(("any other", "", "refused"))
    yield table(("last status of C-MOVE or C-GET", "meaning", "handled as"), rows)


def _services(model: str) -> str:
    return {
        StudyRootQueryRetrieveInformationModelFind: "studies, series and images of archives; confirmation",
        StudyRootQueryRetrieveInformationModelMove: "fetching series (the default)",
        StudyRootQueryRetrieveInformationModelGet: 'fetching series (`retrieve = "get"`); site acceptance',
    }[model]


def _web() -> Iterator[str]:
    yield "### 4.6 DICOMweb (PS3.18), as user agent\n"
    rows = (
        (
            "Store (STOW-RS)",
            '`POST {url}/studies`, `multipart/related; type="application/dicom"`',
            "up to 32 MB a request (`max_batch_mb`), a larger object alone; answers in DICOM JSON",
        ),
        (
            "Search (QIDO-RS)",
            "`GET {url}/studies`, `.../series`, `.../instances`; `limit`, `offset`, `includefield`",
            "DICOM JSON, page by page",
        ),
        (
            "Retrieve (WADO-RS)",
            "`GET {url}/studies/{study}/series/{series}`, `.../instances/{instance}`",
            f"`Accept: {ACCEPT}`",
        ),
    )
    yield table(("transaction", "resource", "form"), rows)
    yield wrapped(
        "HTTP 1.1 over TCP or TLS; a bearer token (RFC 6750), a name and password (RFC 7617), a client"
        " certificate. No proxy is used, no redirection followed. `Retry-After` is honoured."
        " The node is no origin server of DICOMweb."
    )
    reasons = [(_hex(each), words) for each, words in {**WARNINGS, **FAILURES}.items()]
    reasons += [(f"0x{each:02X}xx", words) for each, words in FAILURE_RANGES.items()]
    reasons.append(("0xCxxx", "cannot understand"))
    yield table(("Warning or Failure Reason of STOW-RS", "understood as"), reasons)


def _media() -> Iterator[str]:
    yield "## 5. Media interchange\n"
    yield wrapped("None.")


def _characters() -> Iterator[str]:
    yield "## 6. Character sets\n"
    yield wrapped(
        f"Every result object is in {UNICODE} (UTF-8). Sources are read in every Specific Character Set"
        " of PS3.3 C.12.1.1.2, with and without code extensions; a value that is not in the set that"
        f" its image declares is left empty rather than guessed. That holds for {', '.join(sorted(TEXT_VRS))}."
        " Queries to archives hold ASCII only, unless `at_archive` says otherwise."
    )


def _security() -> Iterator[str]:
    yield "## 7. Security\n"
    yield wrapped(
        "TLS: the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12), as"
        " acceptor and as requestor; TLS 1.2 and 1.3, nothing older. Cipher suites of TLS 1.2:"
        f" {', '.join(CIPHERS)}. Certificates of senders are asked for by default and may be bound to"
        " AE titles ([security.md](security.md)). Application level: associations are taken by AE title,"
        " address and certificate (`[[senders]]`). Audit trail: PS3.15 A.5, where it is switched on."
        " De-identification: none; results name the patient of their source."
    )


def _annexes() -> Iterator[str]:
    yield "## 8. Annexes\n"
    yield "### 8.1 Objects that are made\n"
    rows = [
        (each.value, traits.title, _name(traits.sop_class_uid), traits.modality, _form(each))
        for each, traits in TRAITS.items()
    ]
    yield table(("kind", "Series Description", "SOP class", "Modality", "remark"), rows)
    yield "### 8.2 Attributes taken over from the source\n"
    yield wrapped(", ".join(PATIENT_AND_STUDY) + ".")
    yield wrapped(
        f"New in each object: SOP Instance UID and Series Instance UID (2.25, derived), Manufacturer"
        f' "{MANUFACTURER}", Manufacturer\'s Model Name `{MODEL_NAME}`, Device Serial Number, Software'
        " Versions (node, model bundle), Contributing Equipment Sequence (scanner and node), dates and"
        " times of making. No other attribute of a source goes over."
    )
    yield "### 8.3 Private attributes and SOP classes\n"
    yield wrapped(
        "None: no private attribute is written, none is read, no private SOP class is used."
    )
    yield "### 8.4 Coded terminology\n"
    yield wrapped(
        f"Codes are of SCT, DCM, UCUM and of the private scheme `{SCHEME.designator}`"
        f" ({SCHEME.uid}, {SCHEME.name}, version {SCHEME.version}). Quantities:"
    )
    rows = [
        (
            str(each.name.meaning),
            f"{each.name.value}, {each.name.scheme_designator}",
            str(each.unit.value),
        )
        for each in QUANTITY_TERMS.values()
    ]
    yield table(("quantity", "code", "unit (UCUM)"), rows)
    rows = [
        (str(each), f"{term.code.value}, {term.code.scheme_designator}", str(term.code.meaning))
        for each, term in VERDICT_TERMS.items()
    ]
    yield table(("verdict", "code", "meaning"), rows)
    rows = [
        (name, f"{term.code.value}, {term.code.scheme_designator}", str(term.code.meaning))
        for name, term in ASPECT_TERMS.items()
    ]
    yield table(("evaluation", "code", "meaning"), rows)
    yield "### 8.5 SR templates\n"
    rows = (
        (
            "SR, SR-LABELMAP, SR-GROUPS",
            "TID 1500 with one TID 1411 group a structure and side; TID 1419, 4019, 1001, 1002, 1004",
        ),
        ("SR-KEYSLICE", "TID 1500 with one TID 1410 group a structure and side"),
        (
            "KO, KO-REJECTED",
            "TID 2010: Quality Issue (113010, DCM); Rejected for Quality Reasons (113001, DCM)",
        ),
    )
    yield table(("object", "templates"), rows)
    yield "### 8.6 Transfer syntaxes of received images\n"
    rows = [(_name(each), each) for each in TRANSFER_SYNTAXES]
    yield table(("transfer syntax", "UID"), rows)


def _form(kind: ResultKind) -> str:
    if kind in SEGMENTATIONS:
        return "label map, RLE Lossless" if kind is ResultKind.SEG_LABELMAP else "binary"
    return "Comprehensive 3D SR" if kind in REPORTS else ""


def _syntaxes_of(sop_class_uid: str) -> tuple[str, ...]:
    """The transfer syntax in which objects of a class are kept, and those instead of it."""
    own = RLELossless if sop_class_uid in LATER_NAMES else ExplicitVRLittleEndian
    return (own, *FALLBACKS[own])


def _permanence(result: int) -> str:
    return "permanent" if result == 1 else "transient: come again"


def _name(uid: str) -> str:
    return LATER_NAMES.get(str(uid), UID(str(uid)).name)


def _hex(status: int) -> str:
    return f"0x{status:04X}"


def _few(keywords: Iterable[str]) -> str:
    return ", ".join(keywords)
