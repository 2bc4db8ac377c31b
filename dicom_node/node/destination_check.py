"""Is a destination there, and what does it take? Asked when a person wants to know.

A DICOM node is asked by C-ECHO and by negotiation: for each object that its profile asks
for, and for the services that confirm. A DICOMweb service negotiates nothing: it is asked
whether it answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from dicom_node.errors import PeerError
from dicom_node.peers.negotiation import Context, Negotiated, negotiate
from dicom_node.peers.transports import peer_of, transport_for
from dicom_node.results.kinds import (
    LABEL_MAP_SEGMENTATION_STORAGE,
    Form,
    kinds_for,
)
from dicom_node.settings.destinations import Destination, DicomDestination
from dicom_node.settings.node import NodeConfig

PATIENCE_S: Final = 10.0
"""A person waits for the answer."""

OBJECTS: Final[Mapping[str, str]] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation (SEG)",
    LABEL_MAP_SEGMENTATION_STORAGE: "Label map segmentation",
    "1.2.840.10008.5.1.4.1.1.88.34": "Structured report (Comprehensive 3D SR)",
    "1.2.840.10008.5.1.4.1.1.7": "Quality image (Secondary Capture)",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key object (Quality Issue)",
    "1.2.840.10008.5.1.4.1.1.7.4": "Density slices (multi-frame true colour)",
    "1.2.840.10008.5.1.4.1.1.30": "Uncertainty (Parametric Map)",
    "1.2.840.10008.5.1.4.1.1.104.1": "Summary (Encapsulated PDF)",
}
"""What a destination may get, by SOP class, in the order in which it is told."""

COMMITMENT: Final = "1.2.840.10008.1.20.1"
FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
SERVICES: Final[Mapping[str, str]] = {
    COMMITMENT: "Storage commitment",
    FIND: "Query (C-FIND, study root)",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """One thing that a destination was offered.

    is_wanted: whether it is needed, by the destination's settings.
    words: how it takes it, why it does not, or what happens then.
    """

    title: str
    is_taken: bool
    is_wanted: bool
    words: str


@dataclass(frozen=True, slots=True)
class DestinationCheck:
    """The answer of a destination.

    reason: why it did not answer; empty where it did.
    note: what else there is to say.
    """

    name: str
    address: str
    seconds: float
    reason: str = ""
    note: str = ""
    taken: tuple[Taken, ...] = ()

    @property
    def is_there(self) -> bool:
        """True if it answered."""
        return not self.reason

    @property
    def is_enough(self) -> bool:
        """True if it answered, and takes all that it is meant to get."""
        return self.is_there and all(each.is_taken for each in self.taken if each.is_wanted)


def check_destination(config: NodeConfig, destination: Destination) -> DestinationCheck:
    """Ask a destination whether it is there, and what it takes; nothing is stored."""
    began = time.monotonic()
    found = DestinationCheck(destination.name, destination.address, 0.0)
    try:
        if isinstance(destination, DicomDestination):
            found = _dicom(config, destination, found)
        else:
            transport_for(config, destination).within(PATIENCE_S).verify()
            words = (
                "It answered a query (QIDO-RS). What it takes cannot be asked: STOW-RS"
                " negotiates nothing, and answers for each object when it is sent."
            )
            found = replace(found, note=words)
    except PeerError as error:
        found = replace(found, reason=str(error))
    return replace(found, seconds=time.monotonic() - began)


def _dicom(
    config: NodeConfig, destination: DicomDestination, found: DestinationCheck
) -> DestinationCheck:
    peer = replace(
        peer_of(config, destination), connect_timeout_s=PATIENCE_S, answer_timeout_s=PATIENCE_S
    )
    answer = negotiate(peer, [*_contexts()])
    taken = (*_objects(answer, destination), *_services(answer, destination))
    if answer.echo is None:
        return replace(found, taken=taken, note="It offers no Verification (C-ECHO).")
    if answer.echo:
        return replace(found, taken=taken, reason=f"C-ECHO answered 0x{answer.echo:04X}")
    return replace(found, taken=taken, note="It answered the C-ECHO.")


def _contexts() -> Iterator[Context]:
    """All that may be sent or asked, in every syntax in which it may go."""
    for sop_class_uid in (*OBJECTS, *SERVICES):
        if sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE:
            yield sop_class_uid, RLELossless
        yield sop_class_uid, ExplicitVRLittleEndian
        yield sop_class_uid, ImplicitVRLittleEndian


def _wanted(destination: Destination) -> frozenset[str]:
    """The SOP classes of what a destination gets of some case or other."""
    kinds = {
        kind
        for accepted in (True, False)
        for kind in kinds_for(destination.profile, accepted=accepted, replaces=True)
    }
    return frozenset(kind.traits.sop_class_uid for kind in kinds)


def _objects(answer: Negotiated, destination: Destination) -> Iterator[Taken]:
    wanted = _wanted(destination)
    for sop_class_uid, title in OBJECTS.items():
        syntaxes = [syntax for uid, syntax in answer.accepted if uid == sop_class_uid]
        words = _how(sop_class_uid, syntaxes) if syntaxes else _why_not(answer, sop_class_uid)
        yield Taken(title, bool(syntaxes), sop_class_uid in wanted, words)


def _how(sop_class_uid: str, syntaxes: list[str]) -> str:
    """How it takes objects of a class: as they are, or in another form of the same."""
    if sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE:
        return "compressed (RLE)" if RLELossless in syntaxes else "uncompressed only"
    return "" if ExplicitVRLittleEndian in syntaxes else "in Implicit VR only"


def _why_not(answer: Negotiated, sop_class_uid: str) -> str:
    """Why it takes no object of a class, and what it gets instead."""
    reasons = sorted({why for (uid, _), why in answer.refused.items() if uid == sop_class_uid})
    if sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE:
        instead = Form.BINARY.segmentations[0].traits
        reasons.append(f"gets {instead.title} as single bits (SEG) instead")
    return "; ".join(reasons)


def _services(answer: Negotiated, destination: DicomDestination) -> Iterator[Taken]:
    confirms = {"commitment": COMMITMENT, "query": FIND}.get(destination.confirm)
    for sop_class_uid, title in SERVICES.items():
        is_taken = any(uid == sop_class_uid for uid, _ in answer.accepted)
        words = "" if is_taken else _why_not(answer, sop_class_uid)
        yield Taken(title, is_taken, sop_class_uid == confirms, words)
