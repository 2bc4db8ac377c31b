"""Marking what an acceptance made: a rejection note in each archive, and words for people.

Nothing is deleted: an archive deletes what its own people tell it to. A Key Object rejects the
objects (IHE IOCM); whether they are hidden then is the archive's affair, and is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from dicom_node.errors import PeerError
from dicom_node.node.acceptance.fetching import WantedObject
from dicom_node.node.acceptance.sending import SentPhantom
from dicom_node.node.publication import SOFTWARE_VERSION
from dicom_node.peers.transports import transport_for
from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.key_object import build_rejection
from dicom_node.results.kinds import ResultKind
from dicom_node.results.pdf.protocol import Check, Outcome
from dicom_node.series.bounded_files import read_until_pixels
from dicom_node.series.study_header import readable_header
from dicom_node.settings.destinations import Destination
from dicom_node.settings.node import NodeConfig
from dicom_node.uids import derived_uid, device_observer_uid
from sr_templates.context import InstanceInSeries

CLAIM: Final = "what was made is rejected by a Key Object"
WORDS: Final = "Acceptance test: these objects are of no patient."


def reject(
    config: NodeConfig,
    destination: Destination,
    phantom: SentPhantom,
    objects: Sequence[WantedObject],
    folder: Path,
) -> Check:
    """Send a destination the note that its objects of this acceptance are rejected."""
    if not objects:
        words = "nothing of it is there"
        return Check(destination.name, CLAIM, Outcome.NOT_CHECKED, words)
    path = _write_note(config, destination, phantom, objects, folder)
    transport = transport_for(config, destination)
    try:
        (outcome,) = transport.send([path])
        if not outcome.stored:
            words = f"not taken ({outcome.reason}): delete the study by hand"
            return Check(destination.name, CLAIM, Outcome.NOT_CHECKED, words)
        series = sorted({each.series_instance_uid for each in objects})
        listed = transport.list_instances(phantom.study_instance_uid, series)
    except PeerError as error:
        return Check(destination.name, CLAIM, Outcome.NOT_CHECKED, str(error))
    left = sum(each.sop_instance_uid in listed for each in objects)
    words = f"the note was taken; {left} of {len(objects)} objects are still listed"
    return Check(destination.name, CLAIM, Outcome.PASSED, words)


def _write_note(
    config: NodeConfig,
    destination: Destination,
    phantom: SentPhantom,
    objects: Sequence[WantedObject],
    folder: Path,
) -> Path:
    """The note for one destination, as a file."""
    uids = [each.sop_instance_uid for each in objects]
    facts = ("acceptance", destination.name, phantom.series_instance_uid, *uids)
    identity = Identity(
        kind=ResultKind.KO_REJECTED,
        sop_instance_uid=derived_uid("instance", *facts),
        series_instance_uid=derived_uid("series", *facts),
        revision=1,
    )
    installation = f"{config.node.ae_title}@{config.node.results}"
    equipment = Equipment(
        created=datetime.now().astimezone(),
        device_uid=device_observer_uid(installation, SOFTWARE_VERSION),
        software_versions=(SOFTWARE_VERSION,),
        station_name=config.objects.station_name,
        institution_name=config.objects.institution_name,
    )
    header = readable_header(read_until_pixels(phantom.paths[0]))
    rejected = [
        InstanceInSeries(each.sop_class_uid, each.sop_instance_uid, each.series_instance_uid)
        for each in objects
    ]
    note = build_rejection(rejected, ObjectHeader(header, identity, equipment), WORDS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rejection-{destination.name}.dcm"
    note.save_as(path, enforce_file_format=True)
    return path


def instructions(
    phantom: SentPhantom, destinations: Iterable[str], result_series: Iterable[str]
) -> Iterator[str]:
    """What is left for a person to do, with the UIDs that it is about."""
    header, where = phantom.header, ", ".join(destinations) or "no archive"
    study = (
        f"the study {phantom.study_instance_uid}, Accession Number {header.accession_number}"
    )
    series = ", ".join(dict.fromkeys(result_series)) or "none"
    source = phantom.series_instance_uid
    yield f"To be deleted, by hand, of test patient {header.patient_id} from {where}: {study}."
    yield f"Its series of results: {series}. Nothing else was made there."
    yield (
        f"In the node series {source} is marked as a test: export and cohort leave it out."
        " Its images and results are deleted by age, as all others are."
    )
