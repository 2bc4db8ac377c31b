"""Facts about patients in the record of a series tell nothing without the spool's secret."""

from __future__ import annotations

import hashlib
from pathlib import Path

from support.cases import source_datasets

from dicom_node.series.patient_identity import identity_of
from dicom_node.spool.copies import BY_KEY, digests, is_another
from dicom_node.spool.digest_key import DIGEST_KEY, DigestKey, digest_key

UID = "1.2.3"


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = digest_key(tmp_path)

    assert digest_key(tmp_path) == key
    assert (tmp_path / DIGEST_KEY).stat().st_mode & 0o077 == 0
    assert key.secret.hex() not in repr(key)


def test_half_a_secret_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / DIGEST_KEY).write_bytes(b"half")

    assert len(digest_key(tmp_path).secret) == 32


def test_who_tries_all_birth_dates_without_the_secret_finds_none(tmp_path: Path) -> None:
    image = identity_of(source_datasets()[0])
    kept = set(digests(digest_key(tmp_path), UID, [image]).values())
    tried = (
        f"{UID}\n{year}{month:02}{day:02}"
        for year in range(1950, 1953)
        for month in range(1, 13)
        for day in range(1, 32)
    )

    assert not {hashlib.sha256(each.encode()).hexdigest()[:12] for each in tried} & kept


def test_the_same_patient_is_the_same_and_another_is_another(tmp_path: Path) -> None:
    key = digest_key(tmp_path)
    one, other = (
        digests(key, UID, [identity_of(source_datasets(PatientID=name)[0])]) for name in "AB"
    )

    assert one[BY_KEY] == key.name
    assert not is_another(one, one)
    assert is_another(one, other)


def test_keys_are_told_apart_by_name() -> None:
    assert DigestKey(b"a" * 32).name != DigestKey(b"b" * 32).name
