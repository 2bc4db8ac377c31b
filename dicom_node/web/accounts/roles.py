"""What a user may do: look, or look and order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """The roles, each with what the one before may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class User:
    """Someone who is let in.

    name: as pages and the audit trail call them.
    """

    name: str
    role: Role

    @property
    def may_order(self) -> bool:
        """True if they may change something."""
        return self.role is Role.OPERATOR
