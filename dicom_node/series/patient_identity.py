"""The patient of a series' images, and whether all of them name the same.

Two images of one series that name two patients are two patients until a person says
otherwise: the series is refused. So are two studies or orders, under a name of their own,
and images that name no study: nothing could be filed. What is compared is the text, not its
bytes, so one name in two character sets is one name; padding, case and the width of letters
do not count.

An image that leaves out what others say contradicts nobody and is noted, with one exception:
an image without Patient ID among images with one cannot be said to be of that patient.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.errors import MixedPatientError, MixedStudyError, UnidentifiedError
from dicom_node.series.character_sets import readable, texts_of
from dicom_node.uids import is_uid

IDENTITY_KEYWORDS: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "AccessionNumber",
)
"""The facts that tell one patient, study and order from another."""


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """An image's statements on its patient and study, in the form in which they are compared.

    name: component groups (alphabetic, ideographic, phonetic), each maybe empty.
    """

    patient_id: str
    name: tuple[str, ...]
    birth_date: str
    sex: str
    study_instance_uid: str
    accession_number: str

    @property
    def filled(self) -> tuple[bool, int]:
        """Whether it states its study, without which nothing is filed; how many other facts."""
        facts = (self.birth_date, self.sex, self.accession_number, *self.name)
        return bool(self.study_instance_uid), sum(bool(fact) for fact in facts)


def identity_of(header: Dataset) -> ImageIdentity:
    """The identity in a header; what cannot be read there counts as left out."""
    said = {key: text.strip() for key, text in texts_of(header, IDENTITY_KEYWORDS).items()}
    return ImageIdentity(
        patient_id=said["PatientID"],
        name=_name_groups(said["PatientName"]),
        # ACR-NEMA wrote 1951.02.03 (PS3.5 6.2, note 1 on DA).
        birth_date=said["PatientBirthDate"].replace(".", ""),
        sex=said["PatientSex"].upper(),
        study_instance_uid=said["StudyInstanceUID"],
        accession_number=said["AccessionNumber"],
    )


def unreadable_notes(header: Dataset) -> tuple[str, ...]:
    """Notes on facts that are there but cannot be read; results state them in part or not."""
    lost = readable(header, IDENTITY_KEYWORDS).lost
    return tuple(
        f"{keyword} is not written in the character set that the images declare: what cannot"
        " be read of it is left out"
        for keyword in lost
    )


def check_one_patient(images: Sequence[ImageIdentity]) -> tuple[str, ...]:
    """Refuse the images of more than one patient or study; say what some left out.

    Args:
        images: of every image of one series.

    Returns:
        Notes as text, without patient data.

    Raises:
        MixedPatientError: how many of what, without patient data.
        MixedStudyError: one patient, but studies or orders that differ.
        UnidentifiedError: no study to file a result in.
    """
    patients = max(
        _different(image.patient_id for image in images),
        _different_names(image.name for image in images),
    )
    if patients > 1:
        raise MixedPatientError(f"the images of this series name {patients} different patients")
    of_patient = {
        "birth date": [image.birth_date for image in images],
        "sex": [image.sex for image in images],
    }
    of_study = {
        "study": [image.study_instance_uid for image in images],
        "accession number": [image.accession_number for image in images],
    }
    _refuse_differences(of_patient, MixedPatientError)
    nameless = sum(not image.patient_id for image in images)
    if 0 < nameless < len(images):
        raise MixedPatientError(
            f"{nameless} of {len(images)} images of this series have no patient ID"
        )
    _check_study_uids(of_study["study"])
    _refuse_differences(of_study, MixedStudyError)
    facts = of_patient | of_study
    facts["name"] = ["".join(image.name) for image in images]
    return tuple(_left_out(what, values) for what, values in facts.items() if _partly(values))


def _refuse_differences(
    facts: Mapping[str, Sequence[str]], error: type[MixedPatientError | MixedStudyError]
) -> None:
    for what, values in facts.items():
        if (count := _different(values)) > 1:
            raise error(f"the images of this series differ in {what}: {count} different ones")


def _check_study_uids(uids: Sequence[str]) -> None:
    """Every result is filed in the study of its source, which must have a UID."""
    if not any(uids):
        raise UnidentifiedError("the images of this series have no Study Instance UID")
    # An invalid one is not repeated, since it may be anything, a name too.
    if wrong := sum(bool(uid) and not is_uid(uid) for uid in uids):
        raise UnidentifiedError(
            f"StudyInstanceUID is no UID in {wrong} of {len(uids)} images of this series"
        )


def _different(values: Iterable[str]) -> int:
    return len(set(values) - {""})


def _different_names(names: Iterable[tuple[str, ...]]) -> int:
    """The number of persons that names mean: one where no two names contradict each other."""
    persons: list[tuple[str, ...]] = []
    for name in sorted(set(names), key=lambda each: -sum(map(bool, each))):
        if any(name) and not any(_agree(name, person) for person in persons):
            persons.append(name)
    return len(persons)


def _agree(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """True if two names share a group, and every group that both have is the same."""
    shared = [(a, b) for a, b in zip(one, other, strict=True) if a and b]
    return bool(shared) and all(a == b for a, b in shared)


def _name_groups(name: str) -> tuple[str, ...]:
    """The groups of a name without padding: spaces and empty components (PS3.5 6.2.1.1)."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    groups = [
        "^".join(" ".join(part.split()) for part in group.split("^")).rstrip("^")
        for group in folded.split("=")
    ]
    return tuple([*groups, "", ""][:3])


def _partly(values: Sequence[str]) -> bool:
    return any(values) and not all(values)


def _left_out(what: str, values: Sequence[str]) -> str:
    missing = sum(not value for value in values)
    return f"{missing} of {len(values)} images leave out the {what} that the others give"
