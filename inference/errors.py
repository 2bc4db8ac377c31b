"""Errors of the science, as a tree.

```
InferenceError
├── BundleError          a model bundle that cannot be used, and why
├── DeviceError          the device asked for is not there
│   └── DeviceMemoryError    it has no memory for a single slice
├── TrainingError        a recipe or a data set that cannot be trained on
├── KerasFileError       a Keras weight file that is not of the published family
├── CheckpointError      a checkpoint of torch that is not read: what it names, or its damage
├── NnunetFolderError    a results folder of nnU-Net that cannot be taken over, and why
├── MuscleMapFileError   weights or configuration of MuscleMap that cannot be taken over
├── VolumeError          a scan has values that are no numbers
├── LabelTableError      a label map and its table do not fit
└── RegistrationError    a label map that cannot be laid on a CT
```
"""

from __future__ import annotations


class InferenceError(Exception):
    """Base of every error that `inference` raises on purpose."""


class BundleError(InferenceError):
    """The model bundle cannot be used: what is wrong, in which file."""


class DeviceError(InferenceError):
    """The compute device that was asked for is not available."""


class DeviceMemoryError(DeviceError):
    """The device has no memory for one sample of one slice; `place` says which slice."""

    def __init__(self, place: int) -> None:
        super().__init__(f"no memory for one sample of slice {place}")
        self.place = place


class TrainingError(InferenceError):
    """A recipe or data set that cannot be trained on."""


class KerasFileError(InferenceError):
    """A file of Keras weights cannot be taken over: which layer does not fit, and how."""


class CheckpointError(InferenceError):
    """A checkpoint of torch is not read: it is none, or names more than tensors and values."""


class NnunetFolderError(InferenceError):
    """A results folder of nnU-Net cannot be taken over: what is missing or not supported."""


class MuscleMapFileError(InferenceError):
    """Files of MuscleMap cannot be taken over: which key or tensor does not fit."""


class VolumeError(InferenceError):
    """A scan cannot be labelled: it has values that are no Hounsfield units."""


class LabelTableError(InferenceError):
    """A label map does not fit its table of structures."""


class RegistrationError(InferenceError):
    """A label map cannot be laid on a CT: a plan that cannot be used, a bone not found."""
