"""UIDs and seeds derived from facts, never drawn at random.

The same images, analysed by the same bundle with the same settings, must give the same
objects however often they arrive: a duplicate route, a restart or a repeated step then
changes nothing in the archive. A UID is a version 5 UUID of the facts, written under the
2.25 root (PS3.5 B.2).
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

NAMESPACE: Final = uuid.UUID("9f1c9d2e-6a53-5c0b-8e1d-3d6b1f4a7c20")
"""Root of every UID of this project; changing it renames every result."""

UID_PATTERN: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Digits and single dots (PS3.5 9.1): also what makes a UID safe as a file name."""


def derived_uid(*facts: str) -> str:
    """The UID that stands for these facts, in this order."""
    # The length before each fact keeps ("ab", "c") apart from ("a", "bc").
    name = "".join(f"{len(fact)}:{fact}," for fact in facts)
    return f"2.25.{uuid.uuid5(NAMESPACE, name).int}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """The provenance of a set of result objects.

    source_sop_instance_uids: in any order, with or without repeats.
    weights_sha256: of the bundle; empty where nothing was analysed.
    settings_hash: of the settings that change results.
    revision: 1, and one more for each time late images changed the series.
    """

    source_sop_instance_uids: tuple[str, ...]
    weights_sha256: str
    settings_hash: str
    revision: int = 1

    def instance_uid(self, kind: str) -> str:
        """The SOP Instance UID of the object of a kind ("SEG", "SR", ...)."""
        return derived_uid("instance", kind, *self._facts())

    def series_uid(self, kind: str) -> str:
        """The Series Instance UID of the object of a kind."""
        return derived_uid("series", kind, *self._facts())

    def dimension_organization_uid(self, kind: str) -> str:
        """The UID of the dimensions of the segmentation of a kind."""
        return derived_uid("dimensions", kind, *self._facts())

    def _facts(self) -> tuple[str, ...]:
        sources = sources_digest(self.source_sop_instance_uids)
        return (sources, self.weights_sha256, self.settings_hash, str(self.revision))


def tracking_uid(source_series_instance_uid: str, segment_key: str) -> str:
    """The UID that names one structure of one series in every revision of its results."""
    return derived_uid("tracking", source_series_instance_uid, segment_key)


def device_observer_uid(installation: str, software_version: str) -> str:
    """The stable UID of this installation of this version, as an observer in reports."""
    return derived_uid("device observer", installation, software_version)


def settings_digest(
    bundle_sha256: str, samples: int | None, partial: str, grader_sha256: str = ""
) -> str:
    """A digest of all that changes results beside the images, in hexadecimal.

    Without a grader it is that of the model's settings: of all that changes segments, volumes
    and uncertainties. A grader looks at what the model has found, so it changes what objects
    are called, but no random draw.

    Args:
        bundle_sha256: of the model bundle.
        samples: Monte Carlo samples that were asked for; None: as many as the bundle says.
        partial: what is done with a scan that does not show hip to knee (`node.toml`).
        grader_sha256: of the grader of the disease status; empty without one.
    """
    facts = {"bundle": bundle_sha256, "samples": samples, "partial": partial}
    if grader_sha256:
        facts["grader"] = grader_sha256
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def seed_for(
    source_sop_instance_uids: Iterable[str], weights_sha256: str, model_settings: str
) -> int:
    """The Monte Carlo seed of a case, 0 to 2**31 - 1.

    It follows from the same facts as the UIDs but for the grader, so that the same UID names
    the same samples, and a case has the same with any grader or none.
    """
    sources = sources_digest(source_sop_instance_uids)
    facts = f"seed\n{sources}\n{weights_sha256}\n{model_settings}"
    return int.from_bytes(hashlib.sha256(facts.encode()).digest()[:4], "big") >> 1


def sources_digest(source_sop_instance_uids: Iterable[str]) -> str:
    """A digest of a set of instances that does not depend on their order."""
    joined = "\n".join(sorted(set(source_sop_instance_uids)))
    return hashlib.sha256(joined.encode()).hexdigest()


def is_uid(text: str) -> bool:
    """True for a UID, and so for nothing that could leave the spool's folder."""
    return len(text) <= 64 and UID_PATTERN.fullmatch(text) is not None


IMPLEMENTATION_CLASS_UID: Final = derived_uid("implementation class", "msk-node")
"""Names this software in associations and file meta information (PS3.7 D.3.3.2)."""
