"""Pseudonyms: names, UIDs and dates that only the holder of a key can lead back.

The same key gives the same pseudonyms in every export. Everything is an HMAC-SHA-256 under
that key of what it stands for; the key itself is never in an export.

dates            earlier by 1 to 730 days, the same number for all dates of one patient, so
                 that intervals stay
ages             whole years; 90 stands for 90 and more (45 CFR 164.514(b)(2)(i)(C))
UIDs             other ones under 2.25 (PS3.5 B.2)
patient, case, sender, who graded   codes; a grader that is a bundle keeps its name
station, Patient ID, words, pictures, time of analysis   left out: whoever knows when many
                 cases were analysed would know from its shifted day by how much the dates of
                 each patient were shifted
order            by pseudonyms: in the order of other names an export would tell these names
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from dicom_node.cohort.records import CaseRecord, Grade, Source
from dicom_node.durable_files import OWN, write_durably
from dicom_node.errors import ConfigurationError
from dicom_node.results.changes import Changes

KEY_BYTES: Final = 32
CODE_DIGITS: Final = 16
LONGEST_SHIFT_D: Final = 730
OLDEST_YEARS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Pseudonyms under one key."""

    secret: bytes = field(repr=False)

    def of_case(self, record: CaseRecord) -> CaseRecord:
        """The same case of a patient without a name."""
        return replace(
            record,
            source=self.of_source(record.source),
            words="",
            grades=tuple(map(self.of_grade, record.grades)),
            qc_picture="",
        )

    def of_grade(self, grade: Grade) -> Grade:
        """The same grade, without the name of a person who gave it."""
        if not grade.by_people:
            return grade
        return replace(grade, grader=self.code("G", grade.grader))

    def of_changes(self, changes: Changes, source: Source) -> Changes:
        """The same changes of a patient with this source, at another date."""
        return replace(changes, then=_earlier(changes.then, self._shift_of(source)))

    def of_source(self, source: Source) -> Source:
        """The same source without what leads to a person or a place.

        A study of nobody that is named has dates shifted by a number of its own.
        """
        shift = self._shift_of(source)
        age = source.age_years
        return Source(
            name=self._case(source),
            patient_key=self.code("P", source.patient_key),
            study_instance_uid=self.uid(source.study_instance_uid),
            series_instance_uid=self.uid(source.series_instance_uid),
            revision=source.revision,
            study_date=_earlier(source.study_date, shift),
            sex=source.sex,
            age_years=None if age is None else min(float(int(age)), OLDEST_YEARS),
            height_m=source.height_m,
            weight_kg=source.weight_kg,
            scanner=source.scanner,
            kernel=source.kernel,
            slice_thickness_mm=source.slice_thickness_mm,
            kvp=source.kvp,
            sender=self.code("S", source.sender),
        )

    def code(self, kind: str, name: str) -> str:
        """`P-0123456789abcdef` for a patient; nothing for nothing."""
        return f"{kind}-{self._digest(kind, name).hex()[:CODE_DIGITS]}" if name else ""

    def uid(self, uid: str) -> str:
        """Another UID; nothing for nothing."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}" if uid else ""

    def shift(self, patient: str) -> timedelta:
        """By how much the dates of a patient are earlier."""
        number = int.from_bytes(self._digest("days", patient)[:8], "big")
        return timedelta(days=1 + number % LONGEST_SHIFT_D)

    def _case(self, source: Source) -> str:
        """The code of a case: of its series and revision, wherever its folder lies.

        Without a Series Instance UID there is nothing but its name.
        """
        uid = source.series_instance_uid
        return self.code("C", f"{uid}\n{source.revision}" if uid else f"\n{source.name}")

    def _shift_of(self, source: Source) -> timedelta:
        # Two shifts of one study, whose day is the same, would tell more than one of them.
        uid = source.study_instance_uid or source.series_instance_uid
        return self.shift(source.patient_key or uid or source.name)

    def _digest(self, kind: str, name: str) -> bytes:
        return hmac.new(self.secret, f"{kind}\n{name}".encode(), hashlib.sha256).digest()


class ToldApart:
    """Cases with pseudonyms, each with one of its own.

    A series that lies in two folders of results has one code: its second case is called
    `C-0123456789abcdef-2`.
    """

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    def one(self, record: CaseRecord) -> CaseRecord:
        """The case, by a name that none before it has."""
        name = record.source.name
        self._numbers[name] += 1
        number = self._numbers[name]
        if number == 1:
            return record
        return replace(record, source=replace(record.source, name=f"{name}-{number}"))


def pseudonyms_under(path: Path) -> Pseudonyms:
    """Pseudonyms under the key in a file, which is made where there is none.

    Raises:
        ConfigurationError: there is something else in it.
        OSError: it cannot be read or written.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        text = secrets.token_hex(KEY_BYTES)
        write_durably(path, f"{text}\n".encode(), OWN)
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigurationError(
            f"{path}: no key for pseudonyms: {2 * KEY_BYTES} hexadecimal digits"
        )
    return Pseudonyms(secret)


def _earlier(day: date | None, shift: timedelta) -> date | None:
    return None if day is None or day - date.min < shift else day - shift
