"""A dark sheet to compose pictures on: panels, captions and wrapped text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CONTROLS: Final = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
"""Signs of which no picture of a letter is drawn; a new line among them."""
NO_BREAK: Final = "\u00a0"
"""A space at which text is not wrapped."""

Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]
"""uint8 `[row, column, 3]`, red, green, blue."""
Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""
Weight = Literal["regular", "bold"]

BACKGROUND: Final[Colour] = (14, 16, 20)
PANEL: Final[Colour] = (0, 0, 0)
TEXT: Final[Colour] = (232, 234, 238)
FAINT: Final[Colour] = (150, 156, 168)

_FILES: Final[dict[Weight, str]] = {
    "regular": "Vera.ttf",
    "bold": "VeraBd.ttf",
}


@dataclass(frozen=True, slots=True)
class Ink:
    """Style of written words; size in pixels."""

    size: int = 18
    colour: Colour = TEXT
    weight: Weight = "regular"

    @property
    def line_height(self) -> int:
        """Pixels from line to line."""
        return round(self.size * 1.32)


PLAIN: Final = Ink()


@cache
def font(size: int, weight: Weight = "regular") -> ImageFont.FreeTypeFont:
    """Bitstream Vera, which comes with reportlab: the same picture on every machine."""
    with as_file(files("reportlab").joinpath("fonts", _FILES[weight])) as path:
        return ImageFont.truetype(path, size)


class Canvas:
    """A sheet being drawn on; `picture` is the result. Positions are (x, y) pixels."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width, height), BACKGROUND)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def picture(self) -> Picture:
        """The picture as drawn so far."""
        return np.array(self._image, dtype=np.uint8)

    def text(
        self, at: tuple[float, float], words: str, ink: Ink = PLAIN, anchor: str = "la"
    ) -> None:
        """One line of text; `anchor` is Pillow's."""
        face = font(ink.size, ink.weight)
        self._draw.text(at, _plain(words), fill=ink.colour, font=face, anchor=anchor)

    def mark(
        self, at: tuple[float, float], words: str, ink: Ink = PLAIN, anchor: str = "la"
    ) -> None:
        """The same with a dark rim, to stand on a picture that may be bright."""
        face = font(ink.size, ink.weight)
        self._draw.text(at, words, ink.colour, face, anchor, stroke_width=2, stroke_fill=PANEL)

    def width_of(self, words: str, ink: Ink) -> int:
        """Width of one line of text in pixels."""
        return round(self._draw.textlength(_plain(words), font=font(ink.size, ink.weight)))

    def lines_of(self, words: str, width: int, ink: Ink) -> int:
        """Number of lines that a text takes, wrapped to a width."""
        return len(self._wrapped(words, width, ink))

    def line(
        self, start: tuple[int, int], end: tuple[int, int], colour: Colour, width: int = 1
    ) -> None:
        """A straight line."""
        self._draw.line((*start, *end), fill=colour, width=width)

    def paragraph(
        self, at: tuple[int, int, int], words: str, lines: int, ink: Ink = PLAIN
    ) -> int:
        """Text from (x, y) wrapped to a width, at most so many lines; the y below it."""
        x, y, width = at
        for line in self._fitted(words, width, lines, ink):
            self.text((x, y), line, ink)
            y += ink.line_height
        return y

    def badge(self, at: tuple[int, int], words: str, colour: Colour, size: int = 30) -> int:
        """A filled label; returns the x to the right of it."""
        x, y = at
        width = round(self._draw.textlength(words, font=font(size, "bold"))) + 28
        box = (x, y, x + width, y + size + 16)
        self._draw.rounded_rectangle(box, radius=8, fill=colour)
        ink = Ink(size, BACKGROUND, "bold")
        self.text((x + 14, y + 8 + size / 2), words, ink, "lm")
        return x + width

    def panel(self, box: Box, picture: Picture | None = None) -> None:
        """A black box (x, y, width, height) with a picture in its middle."""
        x, y, width, height = box
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=PANEL)
        if picture is not None:
            shown = picture[:height, :width]
            left = x + (width - shown.shape[1]) // 2
            top = y + (height - shown.shape[0]) // 2
            self._image.paste(Image.fromarray(np.ascontiguousarray(shown)), (left, top))

    def square(self, at: tuple[int, int], side: int, colour: Colour) -> None:
        """A filled square, to stand before a name."""
        self._draw.rectangle((*at, at[0] + side, at[1] + side), fill=colour)

    def _fitted(self, words: str, width: int, lines: int, ink: Ink) -> list[str]:
        """Wrapped to so many lines; what finds no room is marked as left out."""
        wrapped = self._wrapped(words, width, ink)
        if len(wrapped) <= lines and all(self.width_of(w, ink) <= width for w in wrapped):
            return wrapped
        last = wrapped[lines - 1] if len(wrapped) >= lines else wrapped[-1]
        while last and self.width_of(f"{last} ...", ink) > width:
            last = last[:-1].rstrip(" ,;")
        return [*wrapped[: lines - 1], f"{last} ..."]

    def _wrapped(self, words: str, width: int, ink: Ink) -> list[str]:
        lines: list[str] = []
        for word in words.split(" "):  # not at no-break spaces
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and self.width_of(longer, ink) <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        return lines


def _plain(words: str) -> str:
    """On one line, with usual spaces: the font's no-break space is wider."""
    return CONTROLS.sub(" ", words).replace(NO_BREAK, " ")
