"""An analytic hip-to-knee body with known answers, rendered as CT."""

from inference.phantom.body import REFERENCE_BODY, BodySpec
from inference.phantom.render import Phantom, known_answers, phantom, phantom_labels
from inference.phantom.spec import (
    DEFAULT_PHANTOM,
    SMALL_PHANTOM,
    STUDY_PHANTOM,
    PhantomSpec,
    Table,
    Zone,
)
from inference.phantom.truth import KnownStructure

__all__ = [
    "DEFAULT_PHANTOM",
    "REFERENCE_BODY",
    "SMALL_PHANTOM",
    "STUDY_PHANTOM",
    "BodySpec",
    "KnownStructure",
    "Phantom",
    "PhantomSpec",
    "Table",
    "Zone",
    "known_answers",
    "phantom",
    "phantom_labels",
]
