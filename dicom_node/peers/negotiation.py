"""What a peer takes, asked by negotiation alone: nothing is sent but a C-ECHO."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from dicom_node.errors import PeerUnreachableError
from dicom_node.peers.association import Peer, associate
from dicom_node.peers.store import CONTEXT_RESULTS, MAX_CONTEXTS

Context = tuple[str, str]
"""A SOP class and a transfer syntax."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The answer of a peer to what it was offered.

    echo: the status of its C-ECHO; None where it offers no Verification.
    refused: why, by context, for those that it does not take.
    """

    echo: int | None
    accepted: frozenset[Context]
    refused: Mapping[Context, str]


ECHO: Final = (str(Verification), "1.2.840.10008.1.2")


def negotiate(peer: Peer, offered: Collection[Context]) -> Negotiated:
    """Offer presentation contexts to a peer, and ask it whether it is there (C-ECHO).

    Each context has one transfer syntax, so that the answer is about that one.

    Raises:
        PeerUnreachableError: no connection, a rejected association, or no answer.
    """
    echo: int | None = None
    accepted: set[Context] = set()
    refused: dict[Context, str] = {}
    for few in _batches(offered):
        contexts = [build_context(UID(abstract), UID(syntax)) for abstract, syntax in few]
        with associate(peer, contexts) as association:
            taken = _taken(association)
            accepted |= taken & set(few)
            refused |= _refused(association, few, taken)
            if echo is None and ECHO in taken:
                echo = _echo(peer, association)
    return Negotiated(echo, frozenset(accepted - {ECHO}), _without_echo(refused))


def _batches(offered: Collection[Context]) -> list[list[Context]]:
    """As many as one association can negotiate; the first asks for Verification too."""
    wanted = [ECHO, *(each for each in dict.fromkeys(offered) if each != ECHO)]
    return [wanted[at : at + MAX_CONTEXTS] for at in range(0, len(wanted), MAX_CONTEXTS)]


def _taken(association: Any) -> set[Context]:
    return {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }


def _refused(
    association: Any, offered: Collection[Context], taken: Collection[Context]
) -> dict[Context, str]:
    """The reasons. A rejection is known by its number alone (PS3.8 Table 9-18)."""
    by_number = {each.context_id: each.result for each in association.rejected_contexts}
    numbers = {
        (str(each.abstract_syntax), str(each.transfer_syntax[0])): each.context_id
        for each in association.requestor.requested_contexts
    }
    return {
        pair: CONTEXT_RESULTS.get(by_number.get(numbers.get(pair)) or 0, "refused")
        for pair in offered
        if pair not in taken
    }


def _echo(peer: Peer, association: Any) -> int:
    """The status of a C-ECHO.

    Raises:
        PeerUnreachableError: it did not answer.
    """
    try:
        answer = association.send_c_echo()
    except (RuntimeError, ValueError) as error:
        raise PeerUnreachableError(f"{peer} ended the association: {error}") from error
    if "Status" not in answer:
        raise PeerUnreachableError(f"{peer} did not answer the C-ECHO")
    return int(answer.Status)


def _without_echo(refused: Mapping[Context, str]) -> Mapping[Context, str]:
    return {pair: words for pair, words in refused.items() if pair != ECHO}
