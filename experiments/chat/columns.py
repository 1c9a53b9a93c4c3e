"""Texts that grow side by side in a terminal: a line is printed for good as soon as no column can still change it."""

import re
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from workbench.text import visible

BETWEEN = " │ "
_NARROWEST = 16
_WORD = re.compile(r"\s+|\S+")


class GrowingColumns:
    """Prints texts of one width each beside one another; the last line is rewritten as it grows if `live`."""

    def __init__(self, heads: Sequence[str], out: TextIO, width: int, *, live: bool) -> None:
        self._out, self._live, n = out, live, len(heads)
        self._width = max(_NARROWEST, (width - 1 - len(BETWEEN) * (n - 1)) // n)
        self._texts, self._ended, self._printed = [""] * n, [False] * n, 0
        if n > 1:
            self._print([fitting(visible(head), self._width) for head in heads])
            self._print(["─" * self._width] * n)

    def write(self, column: int, text: str) -> None:
        """Go on with a column."""
        self._texts[column] += visible(text).replace("\t", "    ")
        self._refresh()

    def end(self, column: int) -> None:
        """Nothing more comes in a column."""
        self._ended[column] = True
        self._refresh()

    def _refresh(self) -> None:
        columns = [wrapped(text, self._width) for text in self._texts]
        whole = all(self._ended)
        growing = [len(lines) - 1 for lines, ended in zip(columns, self._ended, strict=True) if not ended]
        ready = max(map(len, columns)) if whole else min(growing)
        for at in range(self._printed, ready):
            self._print(self._line(columns, at))
        self._printed = max(self._printed, ready)
        if self._live and not whole:
            self._out.write("\r\x1b[K" + self._joined(self._line(columns, self._printed)))
            self._out.flush()

    def _line(self, columns: Sequence[Sequence[str]], at: int) -> list[str]:
        return [lines[at] if at < len(lines) else "" for lines in columns]

    def _print(self, line: Sequence[str]) -> None:
        self._out.write(("\r\x1b[K" if self._live else "") + self._joined(line) + "\n")
        self._out.flush()

    def _joined(self, line: Sequence[str]) -> str:
        padded = [text + " " * (self._width - cells(text)) for text in line]
        return BETWEEN.join(padded).rstrip()


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fitting(text: str, width: int) -> str:
    """The beginning of a text that fits."""
    kept = ""
    for character in text:
        if cells(kept + character) > width:
            break
        kept += character
    return kept


def wrapped(text: str, width: int) -> list[str]:
    """A text as lines that fit, at least one; all but the last stay as they are when the text goes on."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in _WORD.findall(paragraph):
            if line and cells((line + word).rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            rest = word.lstrip() if lines and not line else word
            while cells(rest.rstrip()) > width:
                lines.append(fitting(rest, width))
                rest = rest[len(lines[-1]) :]
            line += rest
        lines.append(line.rstrip())
    return lines
