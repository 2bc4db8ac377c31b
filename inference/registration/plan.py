"""Plan of what to register, read from a TOML file; docs/evaluation.md shows one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.errors import RegistrationError
from inference.registration.reference import GROWN_MM, Anchor
from inference.structures import BY_ABBREVIATION, Side


class _Table(BaseModel):
    """A table of a plan; unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AnchorPlan(_Table):
    """Bones that move as one; see `Anchor`."""

    bones: tuple[int, ...] = Field(min_length=1)
    side: Side | None = None
    start_mm: tuple[float, float, float] | None = None
    above_mm: float | None = None
    below_mm: float | None = None

    def anchor(self) -> Anchor:
        """As the registration takes it."""
        return Anchor(**self.model_dump(exclude_none=True))


class ScanPlan(_Table):
    """A CT and how the label map is laid on it.

    ct: a file, or a folder with the slices of one series, below the data folder.
    words: what it shows, for the card.
    left_out: structures whose labels are not to be trusted here, and why.
    grown_mm: see `register`.
    """

    name: str = Field(pattern=r"^[\w][\w.-]*$")
    ct: str
    words: str = ""
    left_out: dict[str, str] = {}
    grown_mm: float = Field(default=GROWN_MM, ge=0)
    anchors: tuple[AnchorPlan, ...] = Field(min_length=1)


class Plan(_Table):
    """Scans of one body, and its label map."""

    label_map: str
    scans: tuple[ScanPlan, ...] = Field(min_length=1)


def read_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        RegistrationError: it cannot be used; the message says where and why.
    """
    try:
        plan = Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        misfits = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
            for one in error.errors()
        )
        raise RegistrationError(f"{path}: {misfits}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RegistrationError(f"{path}: {error}") from error
    for scan in plan.scans:
        unknown = sorted(set(scan.left_out) - set(BY_ABBREVIATION))
        if unknown:
            raise RegistrationError(f"{path}: {scan.name} leaves out unknown {unknown}")
    return plan
