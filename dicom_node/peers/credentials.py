"""The secrets that prove to a DICOMweb service who we are.

They are read for each call, from a file or the environment, and are in no value, message or
log: what is kept and shown is where they are.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

from dicom_node.errors import ConfigurationError
from dicom_node.settings.destinations import Credentials
from dicom_node.settings.node import NodeConfig


def credential_problems(config: NodeConfig) -> Iterator[str]:
    """The reasons why secrets for services cannot be used, each with its key."""
    shown = [
        (f"destinations[{index}]", each.shown_credentials)
        for index, each in enumerate(config.destinations)
    ]
    shown += [
        (f"archives[{index}]", each.credentials) for index, each in enumerate(config.archives)
    ]
    for key, credentials in shown:
        if credentials is not None:
            try:
                authorization_of(credentials)
            except ConfigurationError as error:
                yield f"{key}.credentials: {error}"


def authorization_of(credentials: Credentials) -> str:
    """The value of the header Authorization (RFC 6750 2.1, RFC 7617 2).

    Raises:
        ConfigurationError: the secret is not there, or can be no header.
    """
    if credentials.user is None:
        token = _secret(credentials.bearer_token_file, credentials.bearer_token_variable)
        if not token.isascii() or any(character.isspace() for character in token):
            raise ConfigurationError("the bearer token holds what no token may hold")
        return f"Bearer {token}"
    password = _secret(credentials.password_file, credentials.password_variable)
    pair = f"{credentials.user}:{password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _secret(file: Path | None, variable: str | None) -> str:
    """The first line of a file, or the value of a variable of the environment."""
    if file is not None:
        try:
            found = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except OSError as error:
            raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{file}: is not UTF-8") from None
    else:
        found = os.environ.get(variable or "", "")
    if not found:
        raise ConfigurationError(f"{file or variable} holds no secret")
    return found
