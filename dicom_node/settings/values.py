"""The types of values in the settings, and the table that refuses unknown keys."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dicom_node.settings.opening_hours import parse_days, parse_hours


def _ae_title(text: str) -> str:
    """An application entity title (PS3.5 6.2, VR AE): 16 characters, no backslash."""
    if not 1 <= len(text.strip(" ")) <= 16 or text != text.strip(" "):
        raise ValueError("an AE title has 1 to 16 characters, none of them a space at an end")
    if "\\" in text or not all(" " <= character <= "~" for character in text):
        raise ValueError("an AE title has printable ASCII characters only, no backslash")
    return text


def _host(text: str) -> str:
    """An address, a network in CIDR notation, or a host name."""
    try:
        ip_network(text)
    except ValueError as error:
        if not HOST_NAME.fullmatch(text):
            raise ValueError(
                f"neither an address, a network nor a host name: {error}"
            ) from None
    return text


HOST_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?")
"""RFC 1123, with a letter somewhere: `10.1.2` is a mistyped address, not a name."""

OWN_AE_TITLE: Final = "MSKNODE"
"""The node's, and what it calls others with, where no file says otherwise."""


def _opening_hours(text: str) -> str:
    """Hours in which something may be done."""
    parse_hours(text)
    return text


def _weekdays(text: str) -> str:
    """Days of the week."""
    parse_days(text)
    return text


def is_here(host: str) -> bool:
    """True if a host is this machine: what goes there is on no network."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


AeTitle = Annotated[str, AfterValidator(_ae_title)]
OpeningHours = Annotated[str, AfterValidator(_opening_hours)]
Weekdays = Annotated[str, AfterValidator(_weekdays)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Hours = Seconds
Pause = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0, le=36500, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen table of the file that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def rooted(self, folder: Path) -> Self:
        """The same table, no path in it or below it dependent on the current folder."""
        return self.model_copy(update={name: _rooted(value, folder) for name, value in self})


def _rooted(value: Any, folder: Path) -> Any:
    """A value of a table likewise."""
    match value:
        case Path():
            return folder / value
        case Section():
            return value.rooted(folder)
        case tuple():
            return tuple(_rooted(each, folder) for each in value)
        case _:
            return value
