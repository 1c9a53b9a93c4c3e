"""True and false statements about plain facts, as Marks & Tegmark use them (arXiv:2310.06824, section 3), made here.

Each family has one template and a negated one. Every subject has one true and one false statement. What false
statements say is what the true ones say, dealt out anew among the subjects of one pool (another country of the same
continent, another noun of the same language), so both labels of a family use the same words equally often. In the
comparisons a pair of numbers stands in both orders.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workbench.data.cells import check_columns, check_not_empty, filled
from workbench.data.dataset import Dataset
from workbench.data.delimited import read_comma_separated
from workbench.data.items import SPLITS, DataError, Item, Relation, Target, numbered
from workbench.text import did_you_mean

_TEMPLATES = {
    "cities": ("The city of {} is in {}.", "The city of {} is not in {}."),
    "larger_than": ("{} is larger than {}.", "{} is not larger than {}."),
    "smaller_than": ("{} is smaller than {}.", "{} is not smaller than {}."),
    "translations": ("The Spanish word '{}' means '{}'.", "The Spanish word '{}' does not mean '{}'."),
    "elements": ("The chemical symbol for {} is {}.", "The chemical symbol for {} is not {}."),
    "animals": ("The {} is {}.", "The {} is not {}."),
}
_NEGATED = "neg_"
_COMPARISONS = 200
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_UNITS = ("", "-one", "-two", "-three", "-four", "-five", "-six", "-seven", "-eight", "-nine")
_SUBJECTS = (("city",), ("n1", "n2"), ("subject",), ("city1", "city2"))
_LABELS = {"0": False, "1": True, "0.0": False, "1.0": True}
STATEMENT_COLUMNS = ("statement", "label")
"""Of a file of statements."""
TRUE = Target("true", "a true statement")
_WORD = re.compile(r"The Spanish word '(.+)' (?:means|does not mean) '(.+)'\.")


class Statement(NamedTuple):
    """A statement on its way into a dataset.

    Statements of one `group` speak about one subject and must not be parted by a split.
    """

    text: str
    true: bool
    group: str


@dataclass(frozen=True)
class _Claim:
    """A subject and what is said of it, before a template makes it a statement."""

    subject: str
    said: str
    true: bool
    group: str


def families() -> tuple[str, ...]:
    """The names of the families, without the negated forms."""
    return tuple(_TEMPLATES)


def statements(family: str, *, negated: bool = False, seed: int = 0) -> Dataset:
    """The statements of a family, or their negations, split by subject: each subject has one true and one false one.

    Raises DataError for an unknown family.
    """
    return split_statements(_NEGATED * negated + family, _made(family, negated), TRUE, seed)


def with_negations(family: str, seed: int = 0) -> Dataset:
    """The statements of a family and their negations, whose relation `negation` says which two belong together."""
    both = [*_made(family, False), *_made(family, True)]
    made = split_statements(family, both, TRUE, seed)
    number = {item.response: row for row, item in enumerate(made.items)}
    half = len(both) // 2
    pairs = [[number[both[k].text], number[both[half + k].text]] for k in range(half)]
    return replace(made, relations=(Relation("negation", ("affirmed", "negated"), np.array(pairs)),))


def load_statements(path: str | Path, seed: int = 0) -> Dataset:
    """The statements of a file in the published format: a csv with the columns statement and label (1 is true).

    The dataset has the file's name and is split by subject. Where columns say so (city, n1 and n2, subject, city1 and
    city2) or the statement is about a Spanish word, statements of one subject are one group; otherwise each text is its
    own. Conjunctions are grouped by their two cities, so a single city can still be on both sides of a split.

    Raises DataError naming file and line for a missing column, an empty statement or a label other than 0 and 1.
    """
    table = read_comma_separated(path)
    check_columns(table.header, STATEMENT_COLUMNS, str(path))
    made = [_published(row, f"{path}, line {line}") for line, row in table.rows]
    check_not_empty(made, str(path))
    return split_statements(Path(path).stem, made, TRUE, seed)


def split_statements(
    name: str,
    made: Sequence[Statement],
    target: Target,
    seed: int,
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
) -> Dataset:
    """A dataset of bare texts with one binary target, the training items first; no group is in two splits.

    Groups are ordered by the hash of seed and name and cut at the shares, so families with the same groups (a family
    and its negation, larger_than and smaller_than) are cut alike, split together or apart. Raises DataError for
    shares that are negative or do not sum to 1, and where a split has one label only.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise DataError(f"shares must be 0 or more and sum to 1; got {shares}")
    groups = sorted({one.group for one in made}, key=lambda group: _hash(seed, group))
    first, second = round(shares[0] * len(groups)), round((shares[0] + shares[1]) * len(groups))
    part = {group: (rank >= first) + (rank >= second) for rank, group in enumerate(groups)}
    order = sorted(made, key=lambda one: part[one.group])
    return Dataset.of_labels(
        name,
        [Item.bare(one.text) for one in order],
        [target],
        np.array([[one.true] for one in order], dtype=np.int8),
        [SPLITS[part[one.group]] for one in order],
        group=numbered([one.group for one in order]),
    )


def parse_label(row: Mapping[str, str], where: str) -> bool:
    """Whether the label column says 1, as a whole number or as a float. Raises DataError for anything but 0 and 1."""
    label = filled(row, "label", where).strip()
    if label not in _LABELS:
        raise DataError(f"{where} has label {label!r}; use 0 or 1")
    return _LABELS[label]


def _made(family: str, negated: bool) -> list[Statement]:
    if family not in _TEMPLATES:
        near = did_you_mean(family, _TEMPLATES)
        raise DataError(f"there is no family {family!r} of statements{near}; the families are {', '.join(_TEMPLATES)}")
    template = _TEMPLATES[family][negated]
    return [
        Statement(template.format(claim.subject, claim.said), claim.true != negated, claim.group)
        for claim in _claims(family)
    ]


def _published(row: dict[str, str], where: str) -> Statement:
    text, true = filled(row, "statement", where), parse_label(row, where)
    return Statement(text, true, " ".join(sorted(_about(row, text, where))))


def _about(row: dict[str, str], text: str, where: str) -> Sequence[str]:
    """What a row speaks about, as far as columns or the text tell."""
    for columns in _SUBJECTS:
        if all(column in row for column in columns):
            return [filled(row, column, where) for column in columns]
    spanish = _WORD.fullmatch(text)
    return [spanish[1]] if spanish else [text]


@cache
def _claims(family: str) -> tuple[_Claim, ...]:
    if family in ("larger_than", "smaller_than"):
        return tuple(_comparisons(larger=family == "larger_than"))
    pools = json.loads(files("workbench.data").joinpath("facts", f"{family}.json").read_text("utf-8"))
    return tuple(claim for name, pool in pools.items() for claim in _of_pool(f"{family} {name}", pool))


def _of_pool(name: str, pool: Mapping[str, Sequence[str]]) -> Iterable[_Claim]:
    """Of each subject the answer that it stands under, and one dealt to it that it does not stand under."""
    facts = [(subject, answer) for answer, subjects in pool.items() for subject in subjects]
    for (subject, answer), wrong in zip(facts, _dealt([answer for _, answer in facts], name), strict=True):
        yield _Claim(subject, answer, True, subject)
        yield _Claim(subject, wrong, False, subject)


def _dealt(answers: Sequence[str], name: str) -> list[str]:
    """The same answers in another order, none where it was. No answer may make up more than half of them."""
    rng, dealt = random.Random(name), list(answers)
    rng.shuffle(dealt)
    for place, right in enumerate(answers):
        if dealt[place] == right:
            # Swapping the right answer away is possible with any place that neither has it nor wants it.
            free = [other for other, wants in enumerate(answers) if right not in (wants, dealt[other])]
            other = rng.choice(free)
            dealt[place], dealt[other] = dealt[other], dealt[place]
    return dealt


def _comparisons(*, larger: bool) -> Iterable[_Claim]:
    pairs = list(combinations(range(20, 100), 2))
    for low, high in sorted(random.Random(0).sample(pairs, _COMPARISONS)):
        for first, second in ((low, high), (high, low)):
            yield _Claim(_words(first).capitalize(), _words(second), (first > second) == larger, f"{low} {high}")


def _words(number: int) -> str:
    return _TENS[number // 10 - 2] + _UNITS[number % 10]


def _hash(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed} {group}".encode()).hexdigest()
