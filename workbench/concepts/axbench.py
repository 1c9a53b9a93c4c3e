"""Concept sets in AxBench's files (Wu et al. 2025, arXiv:2501.17148; stanfordnlp/axbench, commit e9b8cd4)."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from workbench.concepts.concepts import SPLITS, Concept, ConceptError, ConceptSet, Example, Genre, Label, Split
from workbench.concepts.examples import CATEGORIES, GENRES, text_key, unique_slugs
from workbench.concepts.reading import check_columns, choice, filled, json_lines, read_text
from workbench.concepts.rows import Row, assemble

VALIDATION_SHARE = 0.25
"""Of the train instructions; AxBench itself has no validation split."""

_COLUMNS = ("input", "output", "output_concept", "concept_genre", "category", "concept_id")
_SHARED = -1
_NAMED = 10
_LOG = logging.getLogger(__name__)


def read_axbench(folder: str | Path) -> ConceptSet:
    """The set in a folder that AxBench's generate stage wrote; it has no steering instructions.

    Reads `generate/metadata.jsonl`, `generate/train_data.parquet` and `inference/latent_eval_data.parquet` with their
    rotated parts (`train_data_1.parquet`). A shared negative (concept_id -1) is one for the concepts of its genre.
    Instructions of the train file go to validation by the hash of their text, a quarter of them, the same on every
    machine. Where an instruction or response is in two splits, evaluation keeps it before validation before train, the
    other rows are left out, and a warning is logged that names them.

    Raises ConceptError naming file and row for what is missing, unknown or refused by ConceptSet.
    """
    folder = Path(folder).resolve()
    kinds = _read_metadata(folder / "generate" / "metadata.jsonl")
    train = _read_rows(folder / "generate", "train_data", "train", kinds)
    evaluation = _read_rows(folder / "inference", "latent_eval_data", "evaluation", kinds)
    rows = _without_leaks([*map(_to_validation, train), *evaluation])
    return assemble(folder.name, [kind.concept for kind in kinds.values()], rows, source=str(folder))


@dataclass(frozen=True)
class _Kind:
    """A line of the metadata: the concept, its column in the labels and the genres its negatives come from."""

    concept: Concept
    column: int
    genres: tuple[Genre, ...]


def _read_metadata(path: Path) -> dict[int, _Kind]:
    """The concepts by concept_id, in the order of the file."""
    if not path.is_file():
        raise ConceptError(f"{path} is missing; give the folder that holds AxBench's generate/ and inference/")
    entries = [_entry(record, f"{path}, line {line}") for line, record in json_lines(read_text(path), str(path))]
    counts = Counter(concept_id for concept_id, _, _ in entries)
    if len(counts) < len(entries):
        concept_id, count = counts.most_common(1)[0]
        raise ConceptError(f"{path} has concept_id {concept_id} {count} times; give each concept its own")
    names = unique_slugs(description for _, description, _ in entries)
    return {
        concept_id: _Kind(Concept(name, description, genres[0]), column, genres)
        for column, (name, (concept_id, description, genres)) in enumerate(zip(names, entries, strict=True))
    }


def _entry(record: Mapping[str, Any], where: str) -> tuple[int, str, tuple[Genre, ...]]:
    """concept_id, description and genres."""
    description = filled(record, "concept", where)
    try:
        concept_id, genres = int(record["concept_id"]), tuple(record["concept_genres_map"][description])
    except (KeyError, TypeError, ValueError) as problem:
        raise ConceptError(
            f"{where} is no AxBench metadata ({problem!r}); expected concept_id and a concept_genres_map of its concept"
        ) from problem
    if not genres or any(genre not in GENRES for genre in genres):
        raise ConceptError(f"{where}: concept {description!r} has genres {list(genres)}; use {', '.join(GENRES)}")
    return concept_id, description, genres


def _read_rows(folder: Path, stem: str, split: Split, kinds: Mapping[int, _Kind]) -> list[Row]:
    """The rows of `<stem>.parquet` and its rotated parts, in the order of their numbers."""
    rotated = re.compile(rf"{stem}(?:_(\d+))?\.parquet")
    found = [(int(match[1] or 0), match.string) for name in _names(folder) if (match := rotated.fullmatch(name))]
    if not found:
        raise ConceptError(f"{folder / stem}.parquet is missing; run the stage of AxBench that writes it")
    return [row for _, name in sorted(found) for row in _read_part(folder / name, split, kinds)]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _read_part(path: Path, split: Split, kinds: Mapping[int, _Kind]) -> list[Row]:
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, OSError) as problem:
        raise ConceptError(f"{path} is no readable parquet file: {problem}") from problem
    check_columns(list(frame.columns), _COLUMNS, str(path))
    records = enumerate(frame.to_dict("records"), start=1)
    return [_row(record, split, kinds, f"{path}, row {number}") for number, record in records]


def _row(cells: Mapping[Any, Any], split: Split, kinds: Mapping[int, _Kind], where: str) -> Row:
    label = CATEGORIES[choice(cells, "category", tuple(CATEGORIES), where)]
    word, sense = _word_and_sense(cells, where) if label == Label.HARD_NEGATIVE else (None, None)
    example = Example(
        instruction=filled(cells, "input", where),
        response=filled(cells, "output", where),
        genre=choice(cells, "concept_genre", GENRES, where),
        split=split,
        word=word,
        sense=sense,
    )
    return Row(example, dict.fromkeys(_targets(cells["concept_id"], example, kinds, where), label), where)


def _word_and_sense(cells: Mapping[Any, Any], where: str) -> tuple[str, str]:
    word, separator, sense = filled(cells, "output_concept", where).partition("//")
    if not separator:
        raise ConceptError(f"{where}: the output_concept {word!r} of a hard negative is not 'word//other meaning'")
    return word.strip(), sense.strip()


def _targets(concept_id: Any, example: Example, kinds: Mapping[int, _Kind], where: str) -> list[int]:
    """The columns a row is labelled in."""
    if concept_id == _SHARED:
        return [kind.column for kind in kinds.values() if example.genre in kind.genres]
    if concept_id not in kinds:
        raise ConceptError(f"{where} has concept_id {concept_id}, which metadata.jsonl does not list; is it complete?")
    return [kinds[concept_id].column]


def _to_validation(row: Row) -> Row:
    """The row itself, or in validation if its instruction hashes into that share."""
    digest = hashlib.sha256(text_key(row.example.instruction).encode(errors="surrogatepass")).digest()
    if int.from_bytes(digest[:8], "big") >= VALIDATION_SHARE * 2**64:
        return row
    return replace(row, example=replace(row.example, split="validation"))


def _without_leaks(rows: Sequence[Row]) -> list[Row]:
    """The rows less those whose instruction or response a more held-out split has; a warning names these."""
    taken: set[tuple[str, str]] = set()
    dropped: dict[str, None] = {}
    for split in reversed(SPLITS):
        mine = [(row.where, _texts(row)) for row in rows if row.example.split == split]
        dropped |= {where: None for where, texts in mine if texts & taken}
        taken |= {text for _, texts in mine for text in texts}
    if dropped:
        named = "; ".join([*dropped][:_NAMED]) + ("; ..." if len(dropped) > _NAMED else "")
        _LOG.warning("left out %d rows whose instruction or response a held-out split has: %s", len(dropped), named)
    return [row for row in rows if row.where not in dropped]


def _texts(row: Row) -> set[tuple[str, str]]:
    return {("instruction", text_key(row.example.instruction)), ("response", text_key(row.example.response))}
