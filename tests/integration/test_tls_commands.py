"""TLS on the command line: trying a destination, checking the settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Certificate
from support.ct import ct_slice, save
from support.pacs import dataset_bytes
from support.tls_calls import (
    Pki,
    kept,
    listening,
    make_pki,
    receiving,
)
from typer.testing import CliRunner

from dicom_node.commands import cli
from dicom_node.receiving.receiver import Receiver


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def receiver(pki: Pki, tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, listening(pki)) as running:
        yield running


def toml_of(folder: Path, receiver: Receiver, pki: Pki, shown: Certificate) -> str:
    """A node.toml with one destination, the receiver."""
    path = folder / "node.toml"
    path.write_text(
        "[[destinations]]\n"
        f'name = "archive"\nae_title = "MSKNODE"\nhost = "127.0.0.1"\nport = {receiver.port}\n'
        "[destinations.tls]\n"
        f'ca = "{pki.ours.path}"\ncertificate = "{shown.path}"\nkey = "{shown.key}"\n'
    )
    return str(path)


def test_a_destination_is_tried_by_its_name_with_its_tls(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    config = toml_of(tmp_path, receiver, pki, pki.scanner)
    paths = save([ct_slice()], tmp_path / "sent")

    asked = CliRunner().invoke(cli.app, ["echo", "archive", "--config", config])
    sent = CliRunner().invoke(cli.app, ["send", "archive", str(paths[0]), "-c", config])

    assert asked.exit_code == 0
    assert asked.output == "archive answers\n"
    assert "1 of 1 stored" in sent.output
    assert kept(receiver) == [dataset_bytes(paths[0])]


def test_a_name_that_no_destination_has_is_wrong_usage(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    config = toml_of(tmp_path, receiver, pki, pki.scanner)

    result = CliRunner().invoke(cli.app, ["echo", "archvie", "--config", config])

    assert result.exit_code == 2


def test_the_check_warns_of_a_certificate_that_expires_soon(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    soon = pki.ours.issue("soon", days=(-20, 5.5))
    config = toml_of(tmp_path, receiver, pki, soon)

    result = CliRunner().invoke(cli.app, ["check", "--config", config])

    assert result.exit_code == 0
    assert "destination archive is reached by TLS" in result.output
    assert "expires in 5 days" in " ".join(result.output.split())
