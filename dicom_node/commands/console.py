"""The common parts of the commands: exit codes, options, consoles, and a progress bar."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import (
    Console,
    ConsoleDimensions,
    ConsoleOptions,
    RenderableType,
    RenderResult,
)
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

EXIT_USAGE: Final = 2
EXIT_UNUSABLE: Final = 3
EXIT_REFUSED: Final = 4
EXIT_UNREACHABLE: Final = 5
EXIT_PEER_REFUSED: Final = 6
EXIT_UNHEALTHY: Final = 7
EXIT_NOT_RUNNING: Final = 8


class MembersOf(StrEnum):
    """What the members of an imported network can differ by, as it is typed."""

    NONE = "none"
    FOLDS = "folds"
    SEEDS = "seeds"
    CHECKPOINTS = "checkpoints"
    VARIATIONS = "variations"


_CONTROLS: Final = (
    *(number for number in range(0x20) if number not in (0x09, 0x0A)),
    *range(0x7F, 0xA0),
    *(0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
"""What a terminal obeys or hides, or what turns a line round."""
HARMLESS: Final = dict.fromkeys(_CONTROLS, "\N{REPLACEMENT CHARACTER}")


COLUMNS_OF_A_FILE: Final = 10_000
"""A file, a pipe or a mail has no edge: nothing is cut off or broken there."""


class _Console(Console):
    """A console for words of others: none of them reaches the terminal as an order."""

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's; without one a line is as long as its words, unless COLUMNS is set."""
        size = super().size
        if self.is_terminal or self._width is not None or os.environ.get("COLUMNS"):
            return size
        return ConsoleDimensions(COLUMNS_OF_A_FILE, size.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        """Set it for good, as the library's own does."""
        self._width, self._height = new_size

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render something, its text without what a terminal obeys."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=segment.text.translate(HARMLESS))


class FillingTable(Table):
    """A table that fills a terminal's width, and elsewhere is as wide as what is in it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it."""
        self.expand = options.max_width < COLUMNS_OF_A_FILE
        if not self.expand:
            for column in self.columns:
                column.width = None
        yield from super().__rich_console__(console, options)


# Words come from settings, paths and peers: a bracket in them is a bracket.
stdout: Final = _Console(markup=False)
stderr: Final = _Console(markup=False, stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="node.toml; the embedded defaults without it."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BundleOption = Annotated[str, typer.Option(help="Name of a shipped model bundle, or a folder.")]


NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Name a file for which the disk has no room: the error of a write names none.

    Raises:
        OSError: with the file's name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in NO_ROOM:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def counted(number: int, what: str) -> str:
    """A number and what is counted, one or more: `1 case`, `2 cases`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def titled(title: str, style: str, words: object) -> Text:
    """Words with a title of a style before them: `Warning: ...`."""
    return Text.assemble((title, style), f": {words}")


@contextmanager
def slices_done(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar fed with (done, total); quiet where the output is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
