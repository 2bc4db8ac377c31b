"""Claims about what commands print of values that others have written."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from support.hostile_values import HOSTILE

from dicom_node.commands.console import HARMLESS, FillingTable, _Console


@pytest.mark.parametrize("value", list(HOSTILE.values()), ids=list(HOSTILE))
@pytest.mark.parametrize("in_a_table", [True, False])
def test_no_value_gives_the_terminal_an_order(value: str, in_a_table: bool) -> None:
    written = io.StringIO()
    console = _Console(file=written, markup=False, width=120)
    table = Table("reason")
    table.add_row(value)
    console.print(table if in_a_table else value, highlight=False)

    assert not set(map(ord, written.getvalue())) & set(HARMLESS)


def test_colours_of_our_own_stay() -> None:
    written = io.StringIO()
    _Console(file=written, force_terminal=True, width=80).print("x", style="bold red")

    assert "\x1b[" in written.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_only_a_terminal_has_an_edge_at_which_words_are_cut_off(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    """A pipe has none, whatever terminal the command's other streams are."""
    monkeypatch.delenv("COLUMNS", raising=False)
    written, words = io.StringIO(), "a reason of many words " * 20
    console = _Console(file=written, force_terminal=is_terminal, markup=False)
    table = FillingTable("Reason", "Of", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    table.columns[1].width = 5
    table.add_row(words, "a long name")
    console.print(table, words)
    lines = written.getvalue().splitlines()

    assert any(words.strip() in line for line in lines) is not is_terminal
    assert any("a long name" in line for line in lines) is not is_terminal
    assert max(len(line.rstrip()) for line in lines) < 500
