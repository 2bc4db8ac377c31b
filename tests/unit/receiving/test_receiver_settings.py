"""Claims about what the receiver is told of the node's settings."""

from __future__ import annotations

from pathlib import Path

from dicom_node.receiving.receiver import ReceiverSettings
from dicom_node.settings.archives import ArchiveSettings
from dicom_node.settings.node import Node, NodeConfig, Receive
from dicom_node.settings.senders import Sender
from dicom_node.settings.values import OWN_AE_TITLE


def test_without_a_file_the_receiver_is_what_the_settings_say() -> None:
    config = NodeConfig()

    assert ReceiverSettings.of(config) == ReceiverSettings(OWN_AE_TITLE, config.node.spool)


def test_every_limit_of_the_file_reaches_the_receiver() -> None:
    config = NodeConfig(
        node=Node(
            ae_title="HIP",
            host="10.0.0.1",
            port=104,
            spool=Path("in"),
            calling_ae_titles=("CT1",),
            called_ae_titles=("HIP", "KNEE"),
        ),
        receive=Receive(
            max_associations=3,
            reserved_for_senders=1,
            idle_timeout_s=7.0,
            free_reserve_mb=2,
            max_spool_mb=5,
            max_object_mb=4,
        ),
        senders=(Sender(ae_title="CT2"),),
        archives=(ArchiveSettings(name="old", ae_title="OLD", host="10.0.0.8", port=104),),
    )

    assert ReceiverSettings.of(config) == ReceiverSettings(
        ae_title="HIP",
        spool=Path("in"),
        host="10.0.0.1",
        port=104,
        calling_ae_titles=("CT1",),
        senders=(Sender(ae_title="CT2"), Sender(ae_title="OLD", hosts=("10.0.0.8",))),
        called_ae_titles=("HIP", "KNEE"),
        archive_ae_titles=("OLD",),
        max_associations=3,
        reserved_for_senders=1,
        idle_timeout_s=7.0,
        free_reserve_bytes=2 << 20,
        max_spool_bytes=5 << 20,
        max_object_bytes=4 << 20,
    )
