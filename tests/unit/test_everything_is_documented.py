"""Nothing that a person meets is without its words: pages against what the program has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.generated.events import log_events, unreadable_events
from support.generated.pages import PAGES
from support.generated.states import CODES, SERIES, STEPS, step_names

from dicom_node.commands import console
from dicom_node.commands.cli import COMMANDS
from dicom_node.persistence import rows
from dicom_node.settings.reference import settings_reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def page_if_there(name: str) -> str:
    path = DOCS / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def named_in(text: str) -> set[str]:
    """What stands in the first column of a page's tables, as code."""
    return set(re.findall(r"^\| \**`([^`]+)`\** \|", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("path", "made"), PAGES.items(), ids=lambda each: getattr(each, "name", "")
)
def test_a_generated_page_is_what_make_docs_writes(path: Path, made: Callable[[], str]) -> None:
    assert path.read_text(encoding="utf-8") == made(), "stale: run `make docs`"


def test_every_setting_has_its_row_with_a_meaning() -> None:
    text = page("configuration.md")
    without = [each.key for each in settings_reference() if not each.meaning]
    rows_of = {each.key.rpartition(".")[2].removesuffix("[]") for each in settings_reference()}

    assert without == []
    assert rows_of <= named_in(text)


def test_every_log_event_is_explained_and_no_other() -> None:
    explained = named_in(page("log-events.md"))

    assert log_events() - explained == set()
    assert explained - log_events() == set()


def test_no_log_event_is_made_up_where_nobody_expects_it() -> None:
    assert unreadable_events() == ()


def test_every_step_of_the_queue_is_explained() -> None:
    assert set(step_names()) == set(STEPS)


def test_every_state_and_code_of_a_series_is_explained() -> None:
    codes = {rows.AWAITS_RULES, rows.RELEASED, *rows.LEFT_OUT_CODES, rows.CANCELLED_CODE}

    assert set(SERIES) == set(rows.SeriesState)
    assert set(CODES) == codes


def test_every_command_has_its_row_of_exit_codes() -> None:
    """Those with commands of their own below have a row for each of these."""
    names = {each.__name__.replace("_", "-") for each in COMMANDS}

    assert names <= named_in(page("commands.md"))


def test_every_exit_code_has_its_words() -> None:
    """In the table of commands, or on the page of the command that has its own."""
    text = page("commands.md") + page_if_there("operating.md")
    codes = {value for name, value in vars(console).items() if name.startswith("EXIT_")}

    assert {
        each for each in codes if not re.search(rf"(^|[| ]){each}[ :]", text, re.MULTILINE)
    } == set()


def test_every_page_is_linked_from_another() -> None:
    pages = {path.name for path in DOCS.glob("*.md")}
    texts = [(ROOT / "README.md").read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")]
    linked = set(re.findall(r"\]\((?:docs/)?([a-z0-9-]+\.md)", "\n".join(texts)))

    assert pages - linked == set()
    assert {each for each in linked if each not in pages} <= {"MODEL_CARD.md"}
