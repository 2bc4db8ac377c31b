"""The port that senders connect to: a connection becomes an association (`association.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from dicom_node.network.pynetdicom_patches import install
from dicom_node.receiving.association import InstanceHandler, ReceivingAssociation

LISTEN_BACKLOG: Final = 128
"""Connections the system holds while associations are being set up (pynetdicom: 5)."""


class ReceivingEntity(AE):
    """Counts as active only associations that continue."""

    def __init__(self, ae_title: str) -> None:
        install()
        super().__init__(ae_title)

    @property
    def active_associations(self) -> list[Association]:
        """Those that are requested or established, without those that are closing."""
        found = super().active_associations
        return [each for each in found if not each._kill]  # noqa: SLF001


class ReceivingServer(ThreadedAssociationServer):
    """Listens on a port; each association has a thread of its own.

    begin: makes the `InstanceHandler` of a new association.
    """

    request_queue_size = LISTEN_BACKLOG

    def __init__(
        self, *arguments: Any, begin: Callable[[], InstanceHandler], **settings: Any
    ) -> None:
        self.begin = begin
        super().__init__(*arguments, request_handler=_Handler, **settings)


class _Handler(RequestHandler):
    """Makes an association of a connection."""

    def _create_association(self) -> Association:
        # As pynetdicom does it, without a copy of every context that is supported.
        association = ReceivingAssociation(self.ae, self.server.begin())
        association._server = self.server  # noqa: SLF001
        association.name = f"AcceptorThread@{self.client_address[0]}"
        association.set_socket(AssociationSocket(association, client_socket=self.request))
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        association.requestor.address_info = self.remote
        for event, bound in self.server._handlers.items():  # noqa: SLF001
            for handler in [bound] if event.is_intervention else bound:
                association.bind(event, *handler)
        return association
