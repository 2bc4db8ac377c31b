"""Tables of a TOML file as frozen dataclasses, checked against their annotations by pydantic.

`bundle.toml`, a recipe and a prepared case are read with it. The values stay plain
dataclasses: what computes with them knows nothing of where they were written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from pydantic import ConfigDict, ValidationError, create_model

Value = TypeVar("Value")

CHECKED: Final = ConfigDict(extra="forbid", allow_inf_nan=False)
"""For a table and the tables within it: a key that is no field is refused."""


class MisfitError(ValueError):
    """A table does not fit its value: every misfit as `key.key: what is wrong`."""

    def __init__(self, misfits: Iterable[tuple[str, str]]) -> None:
        self.misfits = tuple(misfits)
        super().__init__(
            "; ".join(f"{key}: {words}" if key else words for key, words in self.misfits)
        )


def value_of(kind: type[Value], table: Any) -> Value:
    """A frozen dataclass from a table of a TOML file.

    Raises:
        MisfitError: what does not fit, each with its key.
    """
    # Plain dataclasses take the rules of the model around them.
    holder = create_model("holder", __config__=CHECKED, value=(kind, ...))
    try:
        value: Value = getattr(holder.model_validate({"value": table}), "value")  # noqa: B009
    except ValidationError as error:
        raise MisfitError(
            (
                ".".join(str(part) for part in one["loc"][1:]),
                one["msg"].removeprefix("Value error, "),
            )
            for one in error.errors()
        ) from error
    return value
