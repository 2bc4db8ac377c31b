"""A DICOMweb service (PS3.18): how it is called, and what its refusals mean.

dicomweb-client speaks to it, over a session that is stricter than usual: nothing of the
environment (`~/.netrc`, proxies) decides where results go, no redirection is followed, no
request is repeated here, and TLS is what `tls.py` says. Credentials are read for each call,
so that they can be renewed, and are in no value, message or log.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import requests
from dicomweb_client import DICOMwebClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError as Urllib3Error
from urllib3.exceptions import NewConnectionError

from dicom_node.errors import (
    ConfigurationError,
    PeerBusyError,
    PeerDeniedError,
    PeerError,
    PeerFailedError,
    PeerRefusedError,
    PeerUnreachableError,
)
from dicom_node.network.implementation import implementation_version
from dicom_node.network.tls_contexts import client_context
from dicom_node.network.tls_sockets import in_words
from dicom_node.peers.credentials import authorization_of
from dicom_node.peers.outcome import MAX_RETRY_AFTER_S
from dicom_node.settings.destinations import Credentials, WebDestination
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.tls import DestinationTls

CHUNK_BYTES: Final = 1 << 18
"""Longer requests go out in pieces of this size, each with the connection's patience."""
AWAY: Final = frozenset({502, 503, 504})
"""Statuses (RFC 9110 15.6) of what stands before a service, or of one that is not ready."""
LATER: Final = frozenset({408, 425, 429})
"""Statuses of the 4xx kind (RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4) that waiting helps."""
TOO_LARGE: Final = 413
"""With Retry-After, the service is short of room for now (RFC 9110 15.5.14)."""
NEVER: Final = frozenset({501, 505})
"""Statuses of the 5xx kind (RFC 9110 15.6) that say what a service is able to do."""
NO_SERVICE: Final = frozenset({401, 403, 404})
"""Statuses of something that answers, and would not take results either."""


@dataclass(frozen=True, slots=True)
class WebService:
    """A DICOMweb service, and how long to wait for it.

    name: how configuration and messages call it.
    url: its base address, without a slash at the end.
    tls: how it proves who it is, and how we do; without it, whom the system trusts.
    credentials: where our secret is.
    connect_timeout_s: for the connection, and for each piece of a request.
    answer_timeout_s: for its answer.
    max_batch_bytes: how much goes in one request.
    """

    name: str
    url: str
    tls: DestinationTls | None = None
    credentials: Credentials | None = None
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 60.0
    max_batch_bytes: int = 32 << 20

    def __str__(self) -> str:
        """Its address."""
        return self.url


def service_of(config: NodeConfig, destination: WebDestination) -> WebService:
    """A configured destination, as it is called."""
    return WebService(
        name=destination.name,
        url=destination.url,
        tls=destination.tls,
        credentials=destination.credentials,
        answer_timeout_s=config.delivery.timeout_s,
        max_batch_bytes=destination.max_batch_mb << 20,
    )


@dataclass(slots=True)
class Conversation:
    """A client, and the last answer that it got: it keeps no status itself.

    session: what the client speaks over, for requests that it does not know.
    """

    client: DICOMwebClient
    session: requests.Session
    answer: requests.Response | None = None


@contextmanager
def calling(service: WebService) -> Iterator[Conversation]:
    """A conversation with a service; what goes wrong in it comes out as an error of ours.

    Raises:
        PeerUnreachableError: no connection, no answer, or one that broke off.
        PeerBusyError: it asks for patience.
        PeerFailedError: it failed over the request, or its answer makes no sense.
        PeerRefusedError: it does not want the request as it is.
    """
    try:
        session = _session(service)
    except ConfigurationError as error:
        raise PeerUnreachableError(f"{service} cannot be called: {error}") from None
    with session:
        client = DICOMwebClient(
            service.url,
            session=session,
            chunk_size=CHUNK_BYTES,
            permissive_uid=True,  # a study's UID is what the scanner made it
            timeout=(service.connect_timeout_s, service.answer_timeout_s),
        )
        client.set_http_retry_params(retry=False)
        conversation = Conversation(client, session)

        def keep(response: requests.Response, **_: Any) -> requests.Response:
            conversation.answer = _without_parameters(response)
            return response

        session.hooks["response"] = [keep]
        try:
            yield conversation
        except requests.HTTPError as error:
            raise refusal(service, answer_of(error)) from None
        except requests.JSONDecodeError:
            raise PeerFailedError(f"{service} did not answer in DICOM JSON") from None
        except (requests.RequestException, Urllib3Error) as error:
            raise _why_not(service, error) from None


def ask_whether_there(service: WebService) -> None:
    """Ask a service whether it is there: a search for one study (PS3.18 10.6).

    One that answers that it wants another question is there.

    Raises:
        PeerError: it is not, or would take nothing.
    """
    with calling(service) as conversation:
        try:
            conversation.client.search_for_studies(limit=1, fields=["StudyInstanceUID"])
        except requests.HTTPError as error:
            status = answer_of(error).status_code
            if not 400 <= status < 500 or status in NO_SERVICE | LATER:
                raise


def answer_of(error: requests.HTTPError) -> requests.Response:
    """The answer that an error is about; there is always one where a status was not liked."""
    if error.response is None:
        raise error
    return error.response


def refusal(service: WebService, response: requests.Response) -> PeerError:
    """The error that an HTTP status means for what is to be delivered (RFC 9110 15)."""
    status = response.status_code
    message = f"{service} answered with {status_words(status)}"
    wait_s = _retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
    if status in LATER or (wait_s and (status >= 500 or status == TOO_LARGE)):
        return PeerBusyError(message, again_after_s=wait_s)
    if status in AWAY:
        return PeerUnreachableError(message)
    if status >= 500 and status not in NEVER:
        return PeerFailedError(message)
    shown = service.credentials
    if status == HTTPStatus.UNAUTHORIZED and shown is not None and shown.user is None:
        return PeerDeniedError(message)
    return PeerRefusedError(message)


def status_words(status: int) -> str:
    """An HTTP status with its name: `503 Service Unavailable`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


class _Verified(HTTPAdapter):
    """Connections under a TLS context of ours, and no certificate believed beside it."""

    def __init__(self, context: ssl.SSLContext, server_name: str | None) -> None:
        self._context, self._server_name = context, server_name
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make connections with the context."""
        options["ssl_context"] = self._context
        if self._server_name is not None:
            options["server_hostname"] = options["assert_hostname"] = self._server_name
        super().init_poolmanager(*args, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave out the authorities that requests would believe as well."""


def _session(service: WebService) -> requests.Session:
    """A session that asks nobody else.

    Raises:
        ConfigurationError: a file or variable cannot be used.
    """
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.headers["Accept"] = "application/dicom+json"
    session.headers["User-Agent"] = implementation_version()
    session.auth = _signer(service.credentials)
    if service.url.startswith("https"):
        name = service.tls.server_name if service.tls else None
        session.mount("https://", _Verified(_context(service.tls), name))
    return session


def _context(tls: DestinationTls | None) -> ssl.SSLContext:
    """The rules of a connection: those of every other one, or the system's."""
    if tls is None:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
    context = client_context(tls)
    context.sslsocket_class = ssl.SSLSocket  # what pynetdicom needs is in the way here
    return context


def _signer(credentials: Credentials | None) -> Any:
    """A function that completes a request before it goes."""
    authorization = None if credentials is None else authorization_of(credentials)

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        # dicomweb-client names the host without its port (RFC 9110 7.2 wants it).
        request.headers.pop("Host", None)
        if authorization is not None:
            request.headers["Authorization"] = authorization
        return request

    return sign


def _without_parameters(response: requests.Response) -> requests.Response:
    """The answer, its media type as dicomweb-client compares it: without `; charset=...`."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    response.headers["Content-Type"] = media_type
    return response


def _retry_after_s(value: str | None, now: datetime) -> float:
    """The time to wait by a Retry-After (RFC 9110 10.2.3): seconds, or a moment."""
    if value is None:
        return 0.0
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(value) - now).total_seconds()
        except (TypeError, ValueError):
            return 0.0
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _why_not(service: WebService, error: Exception) -> PeerError:
    """The error for a request that got no whole answer, as text without anyone's data."""
    under = _under(error)
    tls = next((each for each in under if isinstance(each, ssl.SSLError)), None)
    if tls is not None:
        return PeerUnreachableError(f"{service} cannot be reached by TLS: {in_words(tls)}")
    if isinstance(error, requests.TooManyRedirects):
        return PeerRefusedError(f"{service} redirects elsewhere, which is not followed")
    if isinstance(error, requests.ReadTimeout):
        return PeerUnreachableError(
            f"{service} did not answer within {service.answer_timeout_s:g} s"
        )
    if isinstance(error, requests.ConnectTimeout) or any(
        isinstance(each, NewConnectionError) for each in under
    ):
        return PeerUnreachableError(f"{service} cannot be reached: no connection")
    return PeerUnreachableError(f"{service} broke off the connection")


def _under(error: BaseException) -> list[BaseException]:
    """An error and those that it was made of."""
    found: list[BaseException] = []
    rest: list[object] = [error]
    while rest:
        each = rest.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            rest += [*each.args, getattr(each, "reason", None), each.__cause__]
            rest.append(each.__context__)
    return found
