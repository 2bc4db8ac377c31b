"""Commands in README and docs: there, and with the options that they are shown with."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from dicom_node.commands.cli import app
from dicom_node.settings.loading import parse_config

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "inference" / "bundles").glob("*/MODEL_CARD.md")),
)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
END_OF_COMMAND = re.compile(r"[;|&`]|\s#|\s{3,}")
OF_ALL = {"--help"}
OPTION = re.compile(r"(?<=\s)--[a-z][a-z-]*")


def shown(page: Path, pattern: str) -> Iterator[tuple[str, list[str]]]:
    """What a pattern finds in a page's code, and the options behind each."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in [*"\n".join(blocks).splitlines(), *spans]:
        for found in re.finditer(pattern, line):
            rest = END_OF_COMMAND.split(line[found.end() :])[0]
            yield found[1], OPTION.findall(rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    wrong = []
    for name, options in shown(page, r"\bmsk-node ([a-z][a-z-]*)\b"):
        if name not in COMMANDS:
            wrong.append(name)
            continue
        below = getattr(COMMANDS[name], "commands", {}).values()
        parameters = [each for one in (COMMANDS[name], *below) for each in one.params]
        known = OF_ALL.union(*(parameter.opts for parameter in parameters))
        wrong += [f"{name} {option}" for option in options if option not in known]

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_modules_that_a_page_runs_exist_with_their_options(page: Path) -> None:
    wrong = []
    for name, options in shown(page, r"\bpython -m ((?:inference|dicom_node)[a-z_.]*)"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            wrong.append(name)
            continue
        folder = Path(spec.origin).parent
        files = folder.glob("*.py") if spec.submodule_search_locations else [Path(spec.origin)]
        sources = "".join(file.read_text(encoding="utf-8") for file in files)
        wrong += [f"{name} {option}" for option in options if f'"{option}"' not in sources]

    assert wrong == []


def test_every_command_of_the_readme_runs_as_written_after_make_setup() -> None:
    """Without an activated environment, from the folder of the README."""
    text = PAGES[0].read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line for line in "".join(blocks).splitlines() if line.startswith("$ ")]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for line in lines:
        program, word = line.split()[1:3]
        known = program == "make" and word in targets
        wrong += [] if known or program == ".venv/bin/msk-node" else [line]

    assert len(lines) > 10
    assert wrong == []


def test_the_settings_that_the_readme_shows_are_accepted() -> None:
    (settings,) = re.findall(
        r"```toml\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL
    )

    assert parse_config(tomllib.loads(settings), source="README", folder=ROOT).destinations
