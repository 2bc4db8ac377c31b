"""Getting objects back from a destination: by C-GET, or by WADO-RS where it has a url.

A C-MOVE would have the destination send to a node that it knows, which is the running one: its
results would come in as images. So what can be asked by C-FIND alone is only listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import PeerError
from dicom_node.peers.archives import Retrieval, Wanted
from dicom_node.peers.retrieve import get
from dicom_node.peers.transports import peer_of, transport_for
from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.settings.destinations import Destination, DicomDestination, WebDestination
from dicom_node.settings.node import NodeConfig
from dicom_node.uids import is_uid

UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What is compared byte by byte must not be converted into something else."""

SUCCESS, CANNOT_UNDERSTAND = 0x0000, 0xC000


@dataclass(frozen=True, slots=True)
class WantedObject:
    """One object, as a query names it."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a destination gave back.

    way: the service by which it was asked.
    files: by SOP Instance UID.
    listed: the SOP Instance UIDs that it lists; None where it could not be asked.
    words: why something is missing, by its own words.
    """

    way: str
    files: Mapping[str, Path] = field(default_factory=dict)
    listed: frozenset[str] | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class _Folder:
    """Keeps what comes back as files, and nothing that was not asked for."""

    folder: Path
    wanted: Collection[str]
    files: dict[str, Path] = field(default_factory=dict)

    def __call__(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data_set: bytes,
    ) -> int:
        """Keep one object; the status of its C-STORE."""
        if sop_instance_uid not in self.wanted or not is_uid(sop_instance_uid):
            return CANNOT_UNDERSTAND
        path = self.folder / f"{sop_instance_uid}.dcm"
        titles = ("ARCHIVE", "ACCEPTANCE")
        meta = file_meta_bytes(sop_class_uid, sop_instance_uid, transfer_syntax_uid, *titles)
        path.write_bytes(meta + data_set)
        self.files[sop_instance_uid] = path
        return SUCCESS


def fetch(
    config: NodeConfig,
    destination: Destination,
    study_instance_uid: str,
    objects: Sequence[WantedObject],
    folder: Path,
) -> Fetched:
    """Get objects of one study back from a destination, and ask what it lists."""
    folder.mkdir(parents=True, exist_ok=True)
    keep = _Folder(folder, {each.sop_instance_uid for each in objects})
    listed, words = _listed(config, destination, study_instance_uid, objects)
    ends = _retrieve(config, destination, _wanted(study_instance_uid, objects), objects, keep)
    problems = [words, *dict.fromkeys(each.words for each in ends.values() if each.words)]
    by_web = isinstance(destination, WebDestination)
    return Fetched(
        "QIDO-RS and WADO-RS" if by_web else "C-FIND and C-GET",
        keep.files,
        listed,
        "; ".join(filter(None, problems)),
    )


def _wanted(study: str, objects: Sequence[WantedObject]) -> tuple[Wanted, ...]:
    """Objects as they are asked for: by their series, each named."""
    by_series = defaultdict(list)
    for each in objects:
        by_series[each.series_instance_uid].append(each.sop_instance_uid)
    return tuple(Wanted(study, series, tuple(uids)) for series, uids in by_series.items())


def _listed(
    config: NodeConfig, destination: Destination, study: str, objects: Sequence[WantedObject]
) -> tuple[frozenset[str] | None, str]:
    """What a destination lists of these series; or why it cannot be asked."""
    series = sorted({each.series_instance_uid for each in objects})
    try:
        return transport_for(config, destination).list_instances(study, series), ""
    except PeerError as error:
        return None, str(error)


def _retrieve(
    config: NodeConfig,
    destination: Destination,
    wanted: Collection[Wanted],
    objects: Sequence[WantedObject],
    keep: _Folder,
) -> Mapping[Wanted, Retrieval]:
    """How each series' retrieval ended."""
    limit, silence_s = config.receive.max_object_mb << 20, config.delivery.timeout_s
    if isinstance(destination, WebDestination):
        # Only a node with a DICOMweb service has to load what speaks HTTP.
        from dicom_node.peers.dicomweb import service_of  # noqa: PLC0415
        from dicom_node.peers.retrieve_web import retrieve  # noqa: PLC0415

        service = replace(service_of(config, destination), answer_timeout_s=silence_s)
        return retrieve(service, wanted, keep, limit)
    if not isinstance(destination, DicomDestination):
        return {}
    classes = {each.sop_class_uid: UNCOMPRESSED for each in objects}
    return get(peer_of(config, destination), wanted, keep, silence_s, limit, classes)
