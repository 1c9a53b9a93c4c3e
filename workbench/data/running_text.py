"""Running text without labels, from a file or from the installed Python."""

import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from workbench.data.cells import check_columns, filled, read_text
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, text_key
from workbench.data.tables import read_frame

STANDARD_LIBRARY = "standard-library"
"""What `load_passages` calls the sources of the Python that is running, with their docstrings."""

PASSAGE = 512
"""Characters of a passage at most: about 150 tokens, few enough that passages share a forward pass."""

CHAPTER = 16
"""Consecutive passages of one file that are one group, so that what is held out does not stand between them."""

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_NOT_SOURCES = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}


def load_text(path: str | Path) -> Dataset:
    """The paragraphs of a text file, which blank lines part, as bare texts in their order, without targets.

    White space around a paragraph is dropped; line breaks inside it stay. Raises DataError for a file without text or
    one that is not UTF-8, OSError if it cannot be opened.
    """
    paragraphs = [part.strip() for part in _BLANK_LINES.split(read_text(path))]
    items = tuple(Item.bare(paragraph) for paragraph in paragraphs if paragraph)
    if not items:
        raise DataError(f"{path} has no text in it; give a file with paragraphs that blank lines part")
    return Dataset(Path(path).stem, items)


def load_passages(
    source: str | Path = STANDARD_LIBRARY, *, n: int | None = None, seed: int = 0, length: int = PASSAGE
) -> Dataset:
    """Running text cut at line ends into bare passages of at most `length` characters, each passage once.

    `source` is STANDARD_LIBRARY, a .jsonl or .csv file with a column `text`, or any other file as plain text. Passages
    of one module, one row, or of CHAPTER in sequence in a plain file, are one group. With `n`, so many are drawn by
    `seed`, or all if there are fewer, in random order. Raises DataError for no text, a file that is not UTF-8 or has no
    such column, OSError if it cannot be opened.
    """
    whole_modules = ((True, text) for text in library_sources())
    documents = whole_modules if str(source) == STANDARD_LIBRARY else _documents(Path(source))
    found: dict[str, tuple[str, int]] = {}
    group = 0
    for whole, text in documents:
        for number, passage in enumerate(passages(text, length)):
            group += number == 0 or (not whole and number % CHAPTER == 0)
            found.setdefault(text_key(passage), (passage, group))
    if not found:
        raise DataError(f"{source} has no text in it")
    pairs = list(found.values())
    if n is not None:
        pairs = [pairs[at] for at in np.random.default_rng(seed).permutation(len(pairs))[:n]]
    texts, groups = zip(*pairs, strict=True)
    return Dataset(Path(source).stem, tuple(map(Item.bare, texts)), group=np.array(groups))


def check_passages(source: str | Path) -> None:
    """Raises DataError or OSError for a source that `load_passages` would refuse, without reading all texts of it."""
    if str(source) != STANDARD_LIBRARY:
        next(iter(_documents(Path(source))), None)


def as_passages(texts: Sequence[str], name: str = "texts") -> Dataset:
    """Texts as they are, without targets. Raises DataError for an empty one."""
    return Dataset(name, tuple(map(Item.bare, texts)))


def passages(text: str, length: int) -> Iterator[str]:
    """A text cut at line ends, as few pieces as go; a line that is longer than `length` is cut within."""
    held = ""
    for line in text.splitlines(keepends=True):
        if held and len(held) + len(line) > length:
            yield from _filled(held)
            held = ""
        held += line
        while len(held) > length:
            yield from _filled(held[:length])
            held = held[length:]
    yield from _filled(held)


def _filled(piece: str) -> Iterable[str]:
    stripped = piece.strip("\n")
    return (stripped,) if stripped.strip() else ()


def _documents(path: Path) -> Iterator[tuple[bool, str]]:
    """Texts of a file, and whether each belongs together."""
    if path.suffix not in (".jsonl", ".csv"):
        yield False, read_text(path)
        return
    frame = read_frame(path)
    check_columns(list(frame.columns), ["text"], str(path))
    for line, cells in zip(frame.index, frame.to_dict("records"), strict=True):
        yield True, filled(cells, "text", f"{path}, line {line}")


def library_sources() -> Iterator[str]:
    """The sources of the standard library without its tests, docstrings and all, in the order of the modules' paths."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if not _NOT_SOURCES & {*path.relative_to(root).parts}:
            yield read_text(path)
