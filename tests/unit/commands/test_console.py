"""Claims about what commands print of values that others have written."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from support.hostile_values import HOSTILE

from dicom_node.commands.console import HARMLESS, _Console


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
