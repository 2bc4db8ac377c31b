"""An analytic hip-to-knee body with known answers, rendered as CT."""

from inference.phantom.body import REFERENCE_BODY, BodySpec
from inference.phantom.implants import Implant, ImplantKind
from inference.phantom.render import Phantom, known_answers, phantom, phantom_labels
from inference.phantom.spec import (
    DEFAULT_PHANTOM,
    LEG_PHANTOM,
    SMALL_PHANTOM,
    STUDY_PHANTOM,
    TWELVE_BIT_HU,
    PhantomSpec,
    Table,
    Zone,
    with_lower_legs,
)
from inference.phantom.truth import KnownStructure

__all__ = [
    "DEFAULT_PHANTOM",
    "LEG_PHANTOM",
    "REFERENCE_BODY",
    "SMALL_PHANTOM",
    "STUDY_PHANTOM",
    "TWELVE_BIT_HU",
    "BodySpec",
    "Implant",
    "ImplantKind",
    "KnownStructure",
    "Phantom",
    "PhantomSpec",
    "Table",
    "Zone",
    "known_answers",
    "phantom",
    "phantom_labels",
    "with_lower_legs",
]
