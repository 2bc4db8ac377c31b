"""What the tests of the web share."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from dicom_node.web.accounts import users

REAL = users._HASHER
REAL_NOBODY = users._NOBODY
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
"""A digest at a thousandth of the cost: what is tested here is who gets in."""


@pytest.fixture(autouse=True)
def cheap_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of passwords without their cost."""
    monkeypatch.setattr(users, "_HASHER", CHEAP)
    monkeypatch.setattr(users, "_NOBODY", CHEAP.hash("nobody"))


@pytest.fixture
def real_digests(cheap_digests: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of passwords as a node has them."""
    monkeypatch.setattr(users, "_HASHER", REAL)
    monkeypatch.setattr(users, "_NOBODY", REAL_NOBODY)
