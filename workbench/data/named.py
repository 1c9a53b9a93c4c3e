"""The datasets that a configuration names: one resolver for every experiment."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench.data.axbench import AxBenchFolder, read_axbench
from workbench.data.cells import check_columns
from workbench.data.dataset import Dataset
from workbench.data.delimited import read_comma_separated, read_tab_separated
from workbench.data.items import DataError, several
from workbench.data.own_tables import check_unneeded, own_frame, text_column
from workbench.data.packaged import packaged
from workbench.data.sentiment import load_sentiment, sentence_column
from workbench.data.statements import STATEMENT_COLUMNS, families, load_statements, statements
from workbench.data.tables import read_frame
from workbench.text import did_you_mean

NAMES = "`packaged`, `truth`, a family of statements (`cities`, `neg_cities`), or a path"
_FILES = "a .csv or .jsonl file with the columns `concept` and `text`, a .tsv file of sentiment"


def datasets(names: Sequence[str], limit: int | None = None, seed: int = 0) -> list[Dataset]:
    """The datasets that names stand for, each with at most `limit` targets; `seed` splits statements.

    `truth` stands for every family of statements and its negation; a family's name for one of them (`cities`,
    `neg_cities`); `packaged`, a folder of AxBench's, a .jsonl or a .csv file for a concept set, of which the columns
    `concept` and `text` are enough (`seed` draws its splits); a .csv file with the columns `statement` and `label` for
    statements; a .tsv file for sentiment. Raises what the readers raise, and DataError for a name that stands for
    nothing and where two datasets have one name.
    """
    several(names, "datasets")
    every = [found.subset(limit) for name in names for found in _named(name, seed)]
    if twice := [name for name, count in Counter(one.name for one in every).items() if count > 1]:
        raise DataError(f"two datasets are named {twice[0]!r}; rename a file, or ask for one of them")
    return every


def dataset(name: str, limit: int | None = None, seed: int = 0, negatives: Sequence[str] = ()) -> Dataset:
    """The one dataset that a name stands for; without steering instructions it gets the packaged ones.

    `negatives` are added to those of a file of concepts and texts. Raises DataError as `datasets`, for negatives of
    what has its own, and for a name that stands for several.
    """
    found = [one.subset(limit) for one in _named(name, seed, negatives)]
    if len(found) > 1:
        raise DataError(
            f"{name!r} stands for {len(found)} datasets; name one of {', '.join(one.name for one in found)}"
        )
    (one,) = found
    return one if one.instructions else replace(one, instructions=packaged().instructions)


def check_named(name: str) -> None:
    """Raises DataError for a name that stands for nothing, and for a file or folder that `datasets` would refuse.

    Of a file the columns are looked at, of a folder the list of concepts; what is wrong with a text, reading tells.
    """
    if _is_ours(name):
        return
    path = _path(name)
    if path.is_dir():
        _ = AxBenchFolder(path.resolve()).targets
    elif path.suffix.lower() == ".tsv":
        sentence_column(read_tab_separated(path).header, str(path))
    elif _is_statements(path):
        check_columns(read_comma_separated(path).header, STATEMENT_COLUMNS, str(path))
    else:
        text_column(read_frame(path).columns, str(path))


def axbench_folder(name: str) -> Path | None:
    """The folder that a name stands for; None for a file, and for names of the project's own data."""
    path = Path(name).expanduser()
    return path if not _is_ours(name) and path.is_dir() else None


def _is_ours(name: str) -> bool:
    return name in ("packaged", "truth") or name.removeprefix("neg_") in families()


def _named(name: str, seed: int, negatives: Sequence[str] = ()) -> list[Dataset]:
    if found := _whole(name, seed):
        check_unneeded(repr(name), negatives)
        return found
    path = _path(name)
    return [own_frame(read_frame(path), path.stem, negatives, seed, source=str(path))]


def _whole(name: str, seed: int) -> list[Dataset]:
    """What has negatives of its own, whatever its columns; nothing for a file of concepts and texts."""
    if name == "packaged":
        return [packaged()]
    if name == "truth":
        return [_family(f"{prefix}{family}", seed) for family in families() for prefix in ("", "neg_")]
    if name.removeprefix("neg_") in families():
        return [_family(name, seed)]
    path = _path(name)
    if path.is_dir():
        return [read_axbench(path)]
    if path.suffix.lower() == ".tsv":
        return [load_sentiment(path, seed)]
    return [load_statements(path, seed)] if _is_statements(path) else []


def _path(name: str) -> Path:
    """A folder, or a file of a kind that is read. Raises DataError for any other, and where there is none."""
    path = Path(name).expanduser()
    if not name or not path.exists():
        raise DataError(_absent(name))
    if not path.is_dir() and path.suffix.lower() not in (".csv", ".jsonl", ".tsv"):
        raise DataError(f"{name} is a file of another kind than is read; give {_FILES}, or a folder of AxBench's")
    return path


def _absent(name: str) -> str:
    """What to do about a name that stands for nothing."""
    concepts = [target.name for target in packaged().targets]
    if name in concepts:
        return f"{name!r} is one of the packaged concepts and no set of them; the set is `packaged`"
    near = did_you_mean(name, ("packaged", "truth", *families(), *concepts))
    return f"there is no dataset {name!r}{near}; give {NAMES} that exists"


def _family(name: str, seed: int) -> Dataset:
    return statements(name.removeprefix("neg_"), negated=name.startswith("neg_"), seed=seed)


def _is_statements(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and "statement" in (name.strip() for name in read_comma_separated(path).header)
