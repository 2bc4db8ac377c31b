"""Claims about the phantom of an acceptance, and the sender in whose name it goes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.node.acceptance.sending import (
    DEFAULT_SENDER,
    acceptance_header,
    own_peer,
    own_tls,
    sender_title,
    write_phantom,
)
from dicom_node.series.bounded_files import read_whole
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from inference.phantom.spec import SMALL_PHANTOM

NOW = datetime(2026, 11, 30, 14, 0, 1, 5, tzinfo=UTC)


def config(**table: Any) -> NodeConfig:
    return parse_config(table, source="test", folder=Path("/etc/msk"))


def test_every_phantom_is_a_study_of_its_own_of_a_patient_who_says_test(tmp_path: Path) -> None:
    one = write_phantom(tmp_path / "1", SMALL_PHANTOM, acceptance_header(config(), NOW))
    later = NOW.replace(microsecond=6)
    two = write_phantom(tmp_path / "2", SMALL_PHANTOM, acceptance_header(config(), later))
    image = read_whole(one.paths[0])

    assert {one.study_instance_uid, *one.sop_instance_uids}.isdisjoint(
        {two.study_instance_uid, *two.sop_instance_uids}
    )
    assert image.PatientID == "MSK-ACCEPTANCE"
    assert "Test" in str(image.PatientName)
    assert "試験" in str(image.PatientName)
    assert image.QualityControlSubject == "YES"
    assert image.StudyInstanceUID == one.study_instance_uid


@pytest.mark.parametrize("key", ["patient_id", "patient_name"])
def test_a_test_patient_who_does_not_say_so_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"acceptance.{key}"):
        config(acceptance={key: "Smith"})


@pytest.mark.parametrize(
    ("table", "title"),
    [
        ({}, DEFAULT_SENDER),
        ({"node": {"calling_ae_titles": ["CT1", "CT2"]}}, "CT1"),
        (
            {"senders": [{"ae_title": "FAR", "hosts": ["10.0.0.1"]}, {"ae_title": "NEAR"}]},
            "NEAR",
        ),
        ({"senders": [{"ae_title": "FAR", "hosts": ["10.0.0.1"]}]}, "FAR"),
        ({"senders": [{"ae_title": "NET", "hosts": ["127.0.0.0/8"]}]}, "NET"),
        ({"senders": [{"hosts": ["127.0.0.1"]}]}, DEFAULT_SENDER),
        (
            {"node": {"calling_ae_titles": ["CT1"]}, "acceptance": {"calling_ae_title": "ME"}},
            "ME",
        ),
    ],
)
def test_the_sender_is_one_that_may_send_from_here(table: dict[str, Any], title: str) -> None:
    assert sender_title(config(**table)) == title


def test_the_node_is_called_where_it_listens_by_a_name_that_it_takes() -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - a setting
    node = {"host": everywhere, "port": 104, "called_ae_titles": ["HERE", "THERE"]}
    peer = own_peer(config(node=node), "CT9")

    assert (peer.host, peer.port) == ("127.0.0.1", 104)
    assert (peer.ae_title, peer.calling_ae_title) == ("HERE", "CT9")
    assert peer.tls is None


def test_a_port_that_nobody_can_know_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"node\.port is 0"):
        own_peer(config(node={"port": 0}))


def test_tls_of_the_settings_is_for_a_port_that_speaks_it() -> None:
    said = config(acceptance={"tls": {"ca": "ca.pem"}})

    assert own_tls(said) is None
