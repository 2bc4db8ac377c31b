"""The secrets that prove to a DICOMweb service who we are.

They are read for each call, from a file or the environment, and are in no value, message or
log: what is kept and shown is where they are.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from dicom_node.errors import ConfigurationError
from dicom_node.settings.destinations import Credentials
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.secrets import read_secret


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
        token = read_secret(credentials.bearer_token_file, credentials.bearer_token_variable)
        if not token.isascii() or any(character.isspace() for character in token):
            raise ConfigurationError("the bearer token holds what no token may hold")
        return f"Bearer {token}"
    password = read_secret(credentials.password_file, credentials.password_variable)
    pair = f"{credentials.user}:{password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
