"""Concept sets in AxBench's files (Wu et al. 2025, arXiv:2501.17148; stanfordnlp/axbench, commit e9b8cd4)."""

import hashlib
import logging
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.data.cells import check_columns, choice, filled, json_lines, read_text
from workbench.data.dataset import Dataset
from workbench.data.items import (
    CATEGORIES,
    GENRES,
    SPLITS,
    DataError,
    Genre,
    Item,
    Label,
    Split,
    Target,
    text_key,
    unique_slugs,
)
from workbench.data.parquet import batches, open_parquet
from workbench.data.rows import Row, assemble
from workbench.models.conversation import Conversation

VALIDATION_SHARE = 0.25
"""Of the train instructions; AxBench itself has no validation split."""

_COLUMNS = ("input", "output", "output_concept", "concept_genre", "category", "concept_id")
_SHARED = -1
_NAMED = 10
_STAGES = {"train_data": "generate", "latent_eval_data": "inference"}
_LOG = logging.getLogger(__name__)


def read_axbench(folder: str | Path) -> Dataset:
    """The set in a folder that AxBench's generate stage wrote; it has no steering instructions.

    Reads `generate/metadata.jsonl`, `generate/train_data.parquet` and `inference/latent_eval_data.parquet` with their
    rotated parts (`train_data_1.parquet`). A shared negative (concept_id -1) is one for the concepts of its genre.
    Instructions of the train file go to validation by the hash of their text, a quarter of them, the same on every
    machine. Where an instruction or response is in two splits, evaluation keeps it before validation before train, the
    other rows are left out, and a warning is logged that names them.

    Raises DataError naming file and row for what is missing, unknown or refused by Dataset.
    """
    folder = Path(folder).resolve()
    kinds = _read_metadata(folder / "generate" / "metadata.jsonl")
    train = _read_rows(folder, "train_data", kinds)
    evaluation = _read_rows(folder, "latent_eval_data", kinds)
    rows = _without_leaks([*map(_to_validation, train), *evaluation])
    return assemble(folder.name, [kind.target for kind in kinds.values()], rows, source=str(folder))


@dataclass(frozen=True, eq=False)
class AxBenchFolder:
    """A folder that AxBench's generate stage wrote, read some concepts at a time.

    Memory grows with the concepts of one reading, and by 8 bytes for each held-out text of the folder: a set of
    thousands of concepts, whose labels would fill no memory, is read block by block. `inference/` may be missing.
    """

    folder: Path

    @property
    def targets(self) -> tuple[Target, ...]:
        """All concepts, in the order of the metadata. Raises DataError as `read_axbench`."""
        return tuple(kind.target for kind in self._kinds.values())

    def read(self, numbers: Sequence[int]) -> Dataset:
        """The train and validation examples of these concepts, by number: just those that `read_axbench` gives them.

        Raises DataError as `read_axbench`, IndexError for a number that the folder does not have.
        """
        ids = [[*self._kinds][number] for number in numbers]
        kinds = {concept_id: replace(self._kinds[concept_id], column=at) for at, concept_id in enumerate(ids)}
        rows = [row for row in map(_to_validation, _read_rows(self.folder, "train_data", kinds, ids)) if row.labels]
        leaking = {row.where: None for row in rows if self._leaks(row)}
        _warn(leaking)
        kept = [row for row in rows if row.where not in leaking]
        labels = np.full((len(kept), len(ids)), Label.ABSENT, dtype=np.int8)
        for at, row in enumerate(kept):
            labels[at, list(row.labels)] = list(row.labels.values())
        chosen = tuple(kind.target for kind in kinds.values())
        items, split = [row.item for row in kept], [row.split for row in kept]
        return Dataset.of_labels(self.folder.resolve().name, items, chosen, labels, split)

    @cached_property
    def _kinds(self) -> dict[int, "_Kind"]:
        return _read_metadata(self.folder / "generate" / "metadata.jsonl")

    def _leaks(self, row: Row) -> bool:
        return any(_holds(self._held["evaluation"], code) for code in _codes(row)) or (
            row.split == "train" and any(_holds(self._held["validation"], code) for code in _codes(row))
        )

    @cached_property
    def _held(self) -> dict[Split, np.ndarray]:
        """The sorted codes of all texts of the two held-out splits, of all concepts."""
        seen = _parts(self.folder, "latent_eval_data")
        evaluation = _read_rows(self.folder, "latent_eval_data", self._kinds) if seen else iter(())
        train = map(_to_validation, _read_rows(self.folder, "train_data", self._kinds))
        return {
            "evaluation": _sorted_codes(evaluation),
            "validation": _sorted_codes(row for row in train if row.split == "validation"),
        }


def _sorted_codes(rows: Iterable[Row]) -> np.ndarray:
    codes = array("Q")
    for row in rows:
        codes.extend(_codes(row))
    return np.unique(np.frombuffer(codes, dtype=np.uint64)) if codes else np.zeros(0, dtype=np.uint64)


def _codes(row: Row) -> list[int]:
    """64 bits for each of a row's texts."""
    return [_code(f"{kind} {text}") for kind, text in sorted(_texts(row))]


def _code(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")


def _holds(codes: np.ndarray, code: int) -> bool:
    at = int(np.searchsorted(codes, np.uint64(code)))
    return at < len(codes) and int(codes[at]) == code


@dataclass(frozen=True)
class _Kind:
    """A line of the metadata: the target, its column in the labels and the genres its negatives come from."""

    target: Target
    column: int
    genres: tuple[Genre, ...]


def _read_metadata(path: Path) -> dict[int, _Kind]:
    """The concepts by concept_id, in the order of the file."""
    if not path.is_file():
        raise DataError(f"{path} is missing; give the folder that holds AxBench's generate/ and inference/")
    entries = [_entry(record, f"{path}, line {line}") for line, record in json_lines(read_text(path), str(path))]
    counts = Counter(concept_id for concept_id, _, _ in entries)
    if len(counts) < len(entries):
        concept_id, count = counts.most_common(1)[0]
        raise DataError(f"{path} has concept_id {concept_id} {count} times; give each concept its own")
    names = unique_slugs(description for _, description, _ in entries)
    return {
        concept_id: _Kind(Target(name, description, genres[0]), column, genres)
        for column, (name, (concept_id, description, genres)) in enumerate(zip(names, entries, strict=True))
    }


def _entry(record: Mapping[str, Any], where: str) -> tuple[int, str, tuple[Genre, ...]]:
    """concept_id, description and genres."""
    description = filled(record, "concept", where)
    try:
        concept_id, genres = record["concept_id"], tuple(record["concept_genres_map"][description])
    except (KeyError, TypeError) as problem:
        raise DataError(
            f"{where} is no AxBench metadata ({problem!r}); expected concept_id and a concept_genres_map of its concept"
        ) from problem
    if type(concept_id) is not int:
        raise DataError(f"{where} has concept_id {concept_id!r:.80}; expected a whole number")
    if not genres or any(genre not in GENRES for genre in genres):
        raise DataError(f"{where}: concept {description!r} has genres {list(genres)}; use {', '.join(GENRES)}")
    return concept_id, description, genres


def _read_rows(
    folder: Path, stem: str, kinds: Mapping[int, _Kind], chosen: Sequence[int] | None = None
) -> Iterator[Row]:
    """The rows of `<stem>.parquet` and its rotated parts, in the order of their numbers; `chosen` as in `_records`."""
    split: Split = "train" if stem == "train_data" else "evaluation"
    paths = _parts(folder, stem)
    if not paths:
        raise DataError(f"{folder / _STAGES[stem] / stem}.parquet is missing; run the stage of AxBench that writes it")
    for path in paths:
        for number, cells in _records(path, chosen):
            yield _row(cells, split, kinds, f"{path}, row {number}")


def _parts(folder: Path, stem: str) -> list[Path]:
    rotated, place = re.compile(rf"{stem}(?:_(\d+))?\.parquet"), folder / _STAGES[stem]
    found = [(int(match[1] or 0), match.string) for name in _names(place) if (match := rotated.fullmatch(name))]
    return [place / name for _, name in sorted(found)]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _records(path: Path, chosen: Sequence[int] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file with their numbers from 1; given concept ids, those of these and the shared ones only."""
    with open_parquet(path) as file:
        check_columns(file.schema_arrow.names, _COLUMNS, str(path))
        kind = file.schema_arrow.field("concept_id").type
        if not pa.types.is_integer(kind):
            raise DataError(f"{path} has a column concept_id of {kind}; expected whole numbers")
        first = 1
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["concept_id"]).column(0).to_pandas().to_numpy()
            wanted = np.full(len(ids), True) if chosen is None else np.isin(ids, [_SHARED, *chosen])
            for start, batch in batches(file, path, _COLUMNS, [group]) if wanted.any() else ():
                kept = np.flatnonzero(wanted[start : start + len(batch)])
                numbers = (first + start + kept).tolist()
                yield from zip(numbers, batch.take(pa.array(kept)).to_pylist(), strict=True)
            first += len(ids)


def _row(cells: Mapping[Any, Any], split: Split, kinds: Mapping[int, _Kind], where: str) -> Row:
    label = CATEGORIES[choice(cells, "category", tuple(CATEGORIES), where)]
    word, sense = _word_and_sense(cells, where) if label == Label.HARD_NEGATIVE else (None, None)
    conversation = Conversation.exchange(filled(cells, "input", where), filled(cells, "output", where))
    item = Item(conversation, choice(cells, "concept_genre", GENRES, where), word, sense)
    return Row(item, split, dict.fromkeys(_targets(cells["concept_id"], item, kinds, where), label), where)


def _word_and_sense(cells: Mapping[Any, Any], where: str) -> tuple[str | None, str | None]:
    word, separator, sense = filled(cells, "output_concept", where).partition("//")
    if not separator:
        raise DataError(f"{where}: the output_concept {word!r} of a hard negative is not 'word//other meaning'")
    return word.strip() or None, sense.strip() or None


def _targets(concept_id: Any, item: Item, kinds: Mapping[int, _Kind], where: str) -> list[int]:
    """The columns a row is labelled in."""
    if concept_id == _SHARED:
        return [kind.column for kind in kinds.values() if item.genre in kind.genres]
    if concept_id not in kinds:
        raise DataError(f"{where} has concept_id {concept_id}, which metadata.jsonl does not list; is it complete?")
    return [kinds[concept_id].column]


def _to_validation(row: Row) -> Row:
    """The row itself, or in validation if its instruction hashes into that share."""
    if _code(text_key(row.item.instruction)) >= VALIDATION_SHARE * 2**64:
        return row
    return replace(row, split="validation")


def _without_leaks(rows: Sequence[Row]) -> list[Row]:
    """The rows less those whose instruction or response a more held-out split has; a warning names these."""
    taken: set[tuple[str, str]] = set()
    dropped: dict[str, None] = {}
    for split in reversed(SPLITS):
        mine = [(row.where, _texts(row)) for row in rows if row.split == split]
        dropped |= {where: None for where, texts in mine if texts & taken}
        taken |= {text for _, texts in mine for text in texts}
    _warn(dropped)
    return [row for row in rows if row.where not in dropped]


def _warn(dropped: Mapping[str, None]) -> None:
    if dropped:
        named = "; ".join([*dropped][:_NAMED]) + ("; ..." if len(dropped) > _NAMED else "")
        _LOG.warning("left out %d rows whose instruction or response a held-out split has: %s", len(dropped), named)


def _texts(row: Row) -> set[tuple[str, str]]:
    return {("instruction", text_key(row.item.instruction)), ("response", text_key(row.item.response))}
