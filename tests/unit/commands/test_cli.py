"""The command line: what a script and a person get to see."""

import json
from pathlib import Path

import pydicom
import pytest
from support.ct import ct_stack, save
from typer.testing import CliRunner

from dicom_node.commands import cli, console
from dicom_node.errors import ConfigurationError, GantryTiltError, PeerUnreachableError
from dicom_node.settings.values import OWN_AE_TITLE
from inference.errors import BundleError

runner = CliRunner()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 3),
        (BundleError("x"), 3),
        (GantryTiltError("x"), 4),
        (PeerUnreachableError("x"), 5),
    ],
)
def test_every_known_error_has_its_exit_code_and_its_words(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == code
    assert type(error).__name__ in capsys.readouterr().err


@pytest.mark.parametrize("name", ["[ct]", "a [/b] c", "[red]x"])
def test_brackets_in_a_message_are_brackets(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """They were taken for markup: `[ct]` was left out of a path, `[/b]` a traceback."""
    path = tmp_path / name / "node.toml"
    monkeypatch.setattr("sys.argv", ["msk-node", "check", "--config", str(path)])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 3
    assert name in capsys.readouterr().err
    console.stdout.print(name)
    assert capsys.readouterr().out == f"{name}\n"


def test_every_command_is_listed_with_a_sentence():
    text = runner.invoke(cli.app, ["--help"]).output

    for name in [
        "serve",
        "segment",
        "cohort",
        "send",
        "echo",
        "train",
        "import-keras",
        "import-musclemap",
        "evaluate",
        "calibrate",
        "phantom",
        "demo",
        "status",
        "release",
        "check",
    ]:
        assert f"{name} " in text


def test_check_prints_what_the_embedded_defaults_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    result = runner.invoke(cli.app, ["check"], catch_exceptions=False)

    assert result.exit_code == 0
    assert "MSKNODE" in result.output


def test_an_unknown_key_is_named_by_check(tmp_path: Path):
    path = tmp_path / "node.toml"
    path.write_text("[node]\nae_titel = 'X'\n")

    result = runner.invoke(cli.app, ["check", "--config", str(path)])

    assert isinstance(result.exception, ConfigurationError)
    assert "node.ae_titel: unknown key" in str(result.exception)


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "A_TITLE_OF_17_CHRS@h:104"])
def test_a_peer_is_named_by_ae_title_host_and_port(text: str):
    result = runner.invoke(cli.app, ["echo", text])

    assert result.exit_code == 2
    assert "AETITLE@HOST:PORT" in result.output


def test_the_help_names_the_title_that_a_peer_is_called_with():
    """It says so in words: a command line loads no settings to show its help."""
    result = runner.invoke(cli.app, ["echo", "--help"], env={"COLUMNS": "200"})

    assert OWN_AE_TITLE in result.output


def test_the_phantom_comes_with_its_known_answers(tmp_path: Path):
    result = runner.invoke(
        cli.app, ["phantom", str(tmp_path), "--scan", "small"], catch_exceptions=False
    )
    known = json.loads((tmp_path / "known.json").read_text())

    assert result.exit_code == 0
    assert len(list((tmp_path / "series").iterdir())) > 10
    assert len(known) == 43
    assert known["FEMUR_R"]["volume_cm3"] > 100


def test_the_phantom_has_legs_and_implants_where_it_is_asked(tmp_path: Path):
    options = ["--scan", "small", "--legs", "--implant", "nail-left"]
    result = runner.invoke(cli.app, ["phantom", str(tmp_path), *options])

    assert result.exit_code == 0
    paths = sorted((tmp_path / "series").iterdir())
    assert len(paths) == 65
    assert max(int(pydicom.dcmread(path).pixel_array.max()) for path in paths) - 1024 == 3071
    unknown = runner.invoke(cli.app, ["phantom", str(tmp_path), "--implant", "hip"])
    assert unknown.exit_code == 2
    assert "is none of" in unknown.output


def test_a_series_that_cannot_be_analysed_ends_with_the_code_of_a_refusal(tmp_path: Path):
    """Two slices are no volume: refused, and the reason kept beside the results."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    save(ct_stack((0.0, 2.0)), source)

    result = runner.invoke(cli.app, ["segment", str(source), "--out", str(out)])

    assert result.exit_code == console.EXIT_REFUSED
    assert list(out.rglob("report.json"))
