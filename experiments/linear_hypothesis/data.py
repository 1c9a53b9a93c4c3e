"""Contexts that call for words of a concept: the packaged ones, and files in the format of arXiv:2311.03658."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from workbench.data.cells import filled, json_lines, json_texts, own_path, read_text
from workbench.data.items import DataError

_LANGUAGES = {"en": "English", "fr": "French", "de": "German", "es": "Spanish"}
_ALIASES = {"verb - Ved": "verb - past", "verb - Ving": "verb - ing", "verb - 3pSg": "verb - third person"}
_ALIASES |= {"adj - comparative": "adjective - comparative"}
_PER_WORD = 1
"""Contexts that are taken of each word of a published file: those of one word resemble each other."""


@dataclass(frozen=True)
class Contexts:
    """Beginnings of texts that call for words without a concept (`base`) and with it (`target`)."""

    concept: str
    base: tuple[str, ...]
    target: tuple[str, ...]


def contexts(source: str) -> tuple[Contexts, ...]:
    """`packaged`, or a folder of published files: .jsonl with lang0, lang1, word0, word1, contexts0 and contexts1.

    A published context ends with its word, which is taken away. Raises DataError for a folder without such files
    and a line without these fields.
    """
    if (folder := own_path(source)) is None:
        return tuple(
            Contexts(name, tuple(sides["base"]), tuple(sides["target"]))
            for name, sides in _packaged("contexts.json").items()
        )
    return tuple(_contexts_of(path) for path in _listed(folder, ".jsonl"))


def about(contexts: Contexts, names: Iterable[str]) -> str | None:
    """Which of these concepts the contexts speak about, whatever the published files call it; None for none."""
    return next((name for name in names if _ALIASES.get(name, name) == contexts.concept), None)


def _contexts_of(path: Path) -> Contexts:
    sides: tuple[list[str], list[str]] = ([], [])
    names = ("", "")
    for line, record in json_lines(read_text(path), str(path)):
        where = f"{path}, line {line}"
        names = filled(record, "lang0", where), filled(record, "lang1", where)
        for side, found in enumerate(sides):
            texts = json_texts(record.get(f"contexts{side}"), f"contexts{side} of {where}", blank=True)
            found += _before(filled(record, f"word{side}", where), texts[:_PER_WORD])
    base, target = (_LANGUAGES.get(name, name) for name in names)
    return Contexts(f"{base} - {target}", tuple(sides[0]), tuple(sides[1]))


def _before(word: str, texts: Iterable[str]) -> list[str]:
    """The texts without the word at their end; those that do not end with it, or have nothing else, are left out."""
    cut = re.compile(rf"(.*\S)\s+{re.escape(word)}\s*", re.DOTALL)
    return [found[1] for found in map(cut.fullmatch, texts) if found]


def _listed(folder: Path, suffix: str) -> list[Path]:
    found = sorted(folder.glob(f"*{suffix}"))
    if not found:
        raise DataError(f"{str(folder)!r} is neither `packaged` nor a folder with {suffix} files")
    return found


def _packaged(file: str) -> Mapping[str, Any]:
    return json.loads(files("experiments.linear_hypothesis").joinpath(file).read_text("utf-8"))
