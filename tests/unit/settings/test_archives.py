"""Claims about the tables of archives: where one is, how it gives, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.node.tls_checks import problems as problems_of_tls
from dicom_node.peers.credentials import credential_problems
from dicom_node.settings.archives import retrieval_of, sender_title
from dicom_node.settings.description import describe
from dicom_node.settings.destinations import DicomDestination, WebDestination
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.senders import Sender

PACS = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.9", "port": 104}
OLD = {"name": "old", "ae_title": "OLD", "host": "10.0.0.8", "port": 104}
WEB = {"name": "vna", "url": "https://vna.example/dicom-web"}


def parse(**table: Any) -> NodeConfig:
    return parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def problems(**table: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(**table)
    return str(caught.value).splitlines()


def test_an_archive_may_be_a_destination_or_have_an_address_of_its_own() -> None:
    config = parse(
        destinations=[{**PACS, "tls": {"ca": "ca.pem"}}],
        archives=[{"name": "main", "destination": "pacs"}, OLD, WEB],
    )
    main, old, vna = (each.address(config.destinations) for each in config.archives)

    assert main is config.destinations[0]
    assert isinstance(old, DicomDestination)
    assert (old.ae_title, old.host, old.port) == ("OLD", "10.0.0.8", 104)
    assert isinstance(vna, WebDestination)
    assert config.archive("old") is config.archives[1]
    assert config.archive("gone") is None


def test_a_dicom_node_moves_and_a_service_answers_unless_told_otherwise() -> None:
    config = parse(archives=[OLD, {**OLD, "name": "b", "retrieve": "get"}, WEB])

    ways = [retrieval_of(each, each.address(())) for each in config.archives]

    assert ways == ["move", "get", "web"]
    assert [line for line in describe(config) if line.startswith("archive")] == [
        "archive old: OLD@10.0.0.8:104, asked by C-FIND, gives by C-MOVE to MSKNODE",
        "archive b: OLD@10.0.0.8:104, asked by C-FIND, gives by C-GET",
        "archive vna: https://vna.example/dicom-web, asked by QIDO-RS, gives by WADO-RS",
    ]


def test_what_an_archive_gives_is_kept_under_its_title_or_its_name() -> None:
    """An AE title has 16 characters at most."""
    config = parse(archives=[OLD, {**WEB, "name": "university-hospital-vna"}])

    titles = [sender_title(each, each.address(())) for each in config.archives]

    assert titles == ["OLD", "UNIVERSITY-HOSPI"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"name": "a"}, "give destination, an ae_title with host and port, or a url"),
        ({"name": "a", "ae_title": "A", "host": "h"}, "port: must be given"),
        ({**OLD, "url": "https://h/d"}, "ae_title: not for such an archive; host: not"),
        ({**OLD, "destination": "pacs"}, "destination says where it is already"),
        ({"name": "a", "destination": "gone"}, "there is no destination 'gone'"),
        ({**WEB, "retrieve": "move"}, "which a DICOMweb service has not"),
        ({**OLD, "retrieve": "web"}, "for which an archive needs a url"),
        ({"name": "a", "destination": "pacs", "retrieve": "web"}, "needs a url"),
        ({**WEB, "move_to": "MSK"}, "move_to is for an archive that is reached by DICOM"),
        ({**WEB, "url": "http://h/d", "tls": {"ca": "c"}}, "tls is for an https url"),
        ({**OLD, "timezone": "Mars/Olympus"}, "no time zone that this machine knows"),
        ({**OLD, "timezone": "../../etc/passwd"}, "no time zone that this machine knows"),
        ({**OLD, "max_answers": 0}, "greater than or equal to 1"),
        ({**OLD, "pause_s": -1}, "greater than or equal to 0"),
    ],
)
def test_an_archive_that_cannot_be_called_is_refused(
    table: dict[str, Any], problem: str
) -> None:
    (found,) = problems(destinations=[PACS], archives=[table])

    assert found.startswith("node.toml: archives[0]")
    assert problem in found


def test_two_archives_of_one_name_are_refused() -> None:
    assert problems(archives=[OLD, OLD]) == ["node.toml: archives: 2 of them are called 'old'"]


def test_a_secret_of_an_archive_lies_where_the_file_says() -> None:
    config = parse(archives=[{**WEB, "credentials": {"bearer_token_file": "token"}}])
    address = config.archives[0].address(())

    assert isinstance(address, WebDestination)
    assert address.credentials is not None
    assert address.credentials.bearer_token_file == Path("/etc/msk/token")


def test_what_an_archive_is_shown_and_believed_by_is_looked_at_before_a_start() -> None:
    """Neither file is there."""
    config = parse(
        archives=[
            {**WEB, "credentials": {"bearer_token_file": "no-token"}, "tls": {"ca": "no-ca"}}
        ]
    )

    (secret,) = credential_problems(config)
    (certificate,) = problems_of_tls(config, datetime(2026, 1, 1, tzinfo=UTC))

    assert secret.startswith("archives[0].credentials: /etc/msk/no-token: cannot be read")
    assert certificate.startswith("archives[0].tls")


def test_archives_that_send_are_let_in_where_not_everyone_is() -> None:
    """One that answers on the association of the request calls nobody."""
    archives = [OLD, {**OLD, "name": "b", "ae_title": "B", "retrieve": "get"}]
    anyone = parse(archives=archives)
    some = parse(archives=archives, senders=[{"ae_title": "CT1"}])

    assert anyone.allowed_senders() == ()
    assert some.allowed_senders() == (
        Sender(ae_title="CT1"),
        Sender(ae_title="OLD", hosts=("10.0.0.8",)),
    )


def test_archives_may_not_send_on_more_associations_than_are_left_to_them() -> None:
    """8 + 9 = 17, and 24 - 8 = 16."""
    archives = [
        {**OLD, "retrievals_at_once": 8},
        {**OLD, "name": "b", "retrievals_at_once": 9},
    ]
    receive = {"max_associations": 24, "reserved_for_senders": 8}

    (problem,) = problems(archives=archives, receive=receive)

    assert "17 associations at once" in problem
    assert "leaves 16" in problem
    archives[1]["retrieve"] = "get"
    assert len(parse(archives=archives, receive=receive).archives) == 2
