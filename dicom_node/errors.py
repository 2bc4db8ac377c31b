"""The errors of the node, as a tree. Each class knows whether a retry can help.

```
NodeError
├── ConfigurationError        node.toml: which key, what is wrong        (never retried)
├── SeriesError               a series that cannot be analysed: refused, with its reason
│   ├── NoImagesError         nothing but localisers, derived or secondary images
│   ├── NotAxialError         sagittal, coronal or strongly oblique slices
│   ├── GantryTiltError       slices sheared by a tilted gantry
│   ├── MixedSeriesError      more than one acquisition, orientation, grid, kernel or frame
│   ├── MixedPatientError     more than one patient inside one series
│   ├── MixedStudyError       one patient, but more than one study or order
│   ├── UnidentifiedError     images without UIDs: no result could refer to them
│   ├── DuplicateSliceError   two different images at one position
│   ├── IncompleteSeriesError slices are missing; late ones may bring them (retryable)
│   ├── TooFewSlicesError     not enough slices to be a volume
│   ├── TooLargeError         more slices or pixels than a scan of a body has
│   ├── PixelDataError        pixels missing, truncated or not decodable
│   └── GeometryError         position, orientation, spacing or rescale missing or absurd
│       ├── UnstatedSidesError    an image file that does not say which side is right
│       ├── ContradictoryError    two statements of one file that cannot both be true
│       ├── UnevenSlicesError     an image file of slices that were not evenly spaced
│       └── LostRescaleError  the rescale to Hounsfield units was lost on the way
├── EngineBusyError           another node works on the same database
├── LeaseLostError            another node took this one's work over, having heard nothing of it
├── JobFailedError            a job of the engine raised again and again: held, not dropped
├── OrphanedError            begun work can continue only in a new process
├── UnknownNameError          no such destination or series here: the command line is wrong
├── ResultError               a result object could not be built
└── PeerError                 a remote node
    ├── PeerUnreachableError  no connection, or the association was rejected (retryable)
    │   └── PeerBusyError     a service that asks for patience (retryable)
    ├── PeerFailedError       a service that failed over a request (retryable)
    └── PeerRefusedError      a status or a presentation context said no
        ├── PeerLacksServiceError  it does not know the service at all
        └── PeerDeniedError   it wants a newer token than ours
```
Messages say what, where and by how much, with UIDs; never names, birth dates or accession
numbers.
"""

from __future__ import annotations

from typing import ClassVar


class NodeError(Exception):
    """Base of every error that the node raises on purpose."""

    retryable: ClassVar[bool] = False


class ConfigurationError(NodeError):
    """The configuration cannot be used: the key and the rule it breaks."""


class SeriesError(NodeError):
    """A series that cannot be analysed. `code` names the reason for scripts and reports."""

    code: ClassVar[str] = "series-unusable"


class NoImagesError(SeriesError):
    """Nothing in the series is an original axial CT image."""

    code = "no-images"


class NotAxialError(SeriesError):
    """The slices are not axial."""

    code = "not-axial"


class GantryTiltError(SeriesError):
    """The gantry was tilted: the slices are sheared against each other."""

    code = "gantry-tilt"


class MixedSeriesError(SeriesError):
    """The series mixes acquisitions, orientations, grids, kernels or frames of reference."""

    code = "mixed-series"


class MixedPatientError(SeriesError):
    """The series mixes patients."""

    code = "mixed-patient"


class MixedStudyError(SeriesError):
    """The series mixes studies or orders, of one patient as far as it says."""

    code = "mixed-study"


class UnidentifiedError(SeriesError):
    """An image's SOP Class, SOP Instance, Series or Study UID is missing, or no UID."""

    code = "unidentified"


class DuplicateSliceError(SeriesError):
    """Two different images lie at one position."""

    code = "duplicate-slice"


class IncompleteSeriesError(SeriesError):
    """Slices are missing; late arrival or a re-query may bring them."""

    retryable = True
    code = "incomplete-series"


class TooFewSlicesError(SeriesError):
    """Not enough slices to be a volume."""

    code = "too-few-slices"


class TooLargeError(SeriesError):
    """More slices or pixels than a scan of a body has."""

    code = "too-large"


class PixelDataError(SeriesError):
    """Pixels are missing, truncated, or cannot be decoded."""

    code = "pixel-data"


class GeometryError(SeriesError):
    """Position, orientation, spacing or rescale is missing or absurd."""

    code = "geometry"


class UnstatedSidesError(GeometryError):
    """An image file does not say which way its axes run in the patient."""

    code = "unstated-sides"


class ContradictoryError(GeometryError):
    """Two statements of one image file cannot both be true, and readers believe either."""

    code = "contradictory-geometry"


class UnevenSlicesError(GeometryError):
    """An image file was made of unevenly spaced slices: the spacing it states is not theirs."""

    code = "uneven-slices"


class LostRescaleError(GeometryError):
    """Stored values without the rescale that would make Hounsfield units of them."""

    code = "lost-rescale"


class EngineBusyError(NodeError):
    """Another node works on the same database; two would take each other's work."""


class LeaseLostError(NodeError):
    """Another worker took over from us: we were frozen or cut off, and must write nothing."""


class JobFailedError(NodeError):
    """A job raised at every try; it is held until it is rewound or the node restarts."""


class OrphanedError(NodeError):
    """The queue could not record what became of begun work: the worker starts anew."""


class UnknownNameError(NodeError):
    """A name or UID of the command line that this node does not know."""


class ResultError(NodeError):
    """A result object could not be built."""


class PeerError(NodeError):
    """Something about a remote node."""


class PeerUnreachableError(PeerError):
    """No connection, or the association was rejected."""

    retryable = True


class PeerBusyError(PeerUnreachableError):
    """A service asks for patience, for `again_after_s` seconds where it says how long."""

    def __init__(self, message: str, *, again_after_s: float = 0.0) -> None:
        self.again_after_s = again_after_s
        super().__init__(message)


class PeerFailedError(PeerError):
    """A service failed over a request, or gave an answer that makes no sense."""

    retryable = True


class PeerRefusedError(PeerError):
    """The peer refused an object: its status or presentation context said no."""


class PeerDeniedError(PeerRefusedError):
    """The peer does not believe our token: it may have expired, and be renewed."""


class PeerLacksServiceError(PeerRefusedError):
    """The peer does not support a service at all (PS3.8 Table 9-18, result 3)."""
