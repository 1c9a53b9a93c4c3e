"""Running text without labels, from a plain file."""

import re
from pathlib import Path

from workbench.data.cells import read_text
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


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
