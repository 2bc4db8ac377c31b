"""What `check` says of the web's users and tokens."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.settings.node import NodeConfig
from dicom_node.settings.web import is_loopback
from dicom_node.web.accounts.records import concern
from dicom_node.web.accounts.tokens import read_tokens
from dicom_node.web.accounts.users import read_users


def check_accounts(config: NodeConfig) -> None:
    """See that the files of users and tokens can be used; none need be there.

    Raises:
        ConfigurationError: with the file and what is wrong.
    """
    if config.web is not None:
        read_users(config.web.users)
        read_tokens(config.web.tokens)


def web_concerns(config: NodeConfig) -> Iterator[str]:
    """What should be looked at, a sentence each."""
    web = config.web
    if web is None:
        return
    by_header = web.proxy is not None and web.proxy.user_header is not None
    if not read_users(web.users) and not by_header:
        yield f"web.users: {web.users}: there are no users: `msk-node user add` makes one"
    for key, path in (("web.users", web.users), ("web.tokens", web.tokens)):
        words = concern(path)
        if words:
            yield f"{key}: {words}"
    if web.plain and not is_loopback(web.host) and web.tls is None:
        yield "web.plain: passwords and findings travel in the clear, as you said"
