"""True and false statements about plain facts, as Marks & Tegmark use them (arXiv:2310.06824, section 3), made here.

Each family has one template and a negated one. Every subject has one true and one false statement. What false
statements say is what the true ones say, dealt out anew among the subjects of one pool (another country of the same
continent, another noun of the same language), so both labels of a family use the same words equally often. In the
comparisons a pair of numbers stands in both orders.
"""

import csv
import hashlib
import io
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path

from workbench.data.examples import ConceptError
from workbench.data.reading import check_columns, filled, read_text

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
_ANSWERS = ("country", "target", "country1", "country2")
_WORD = re.compile(r"The Spanish word '(.+)' (?:means|does not mean) '(.+)'\.")


@dataclass(frozen=True)
class Statement:
    """One statement. `family` is that of its template, `neg_...` when negated.

    Statements of one `group` speak about one subject and must not be parted by a split; a statement and its negation
    have one `pair`.
    """

    text: str
    true: bool
    family: str
    group: str
    pair: str


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


def statements(family: str, negated: bool = False) -> tuple[Statement, ...]:
    """The statements of a family, or their negations, in a fixed order: each group has one true and one false one.

    Raises ConceptError for an unknown family.
    """
    if family not in _TEMPLATES:
        raise ConceptError(f"there is no family {family!r} of statements; the families are {', '.join(_TEMPLATES)}")
    template, name = _TEMPLATES[family][negated], _NEGATED * negated + family
    return tuple(
        Statement(
            template.format(claim.subject, claim.said),
            claim.true != negated,
            name,
            claim.group,
            f"{family}: {claim.subject}, {claim.said}",
        )
        for claim in _claims(family)
    )


def split_groups(
    statements: Iterable[Statement], seed: int, shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
) -> tuple[tuple[Statement, ...], tuple[Statement, ...], tuple[Statement, ...]]:
    """Train, validation and test statements, no group in two of them.

    Groups are ordered by the hash of seed and name and cut at the shares, so families with the same groups (a family
    and its negation, larger_than and smaller_than) are cut alike, split together or apart. Raises ConceptError for
    shares that are negative or do not sum to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ConceptError(f"shares must be 0 or more and sum to 1; got {shares}")
    kept = tuple(statements)
    groups = sorted({statement.group for statement in kept}, key=lambda group: _hash(seed, group))
    first, second = round(shares[0] * len(groups)), round((shares[0] + shares[1]) * len(groups))
    part = {group: (rank >= first) + (rank >= second) for rank, group in enumerate(groups)}
    train, validation, test = (tuple(one for one in kept if part[one.group] == number) for number in range(3))
    return train, validation, test


def load_statements(path: str | Path) -> tuple[Statement, ...]:
    """The statements of a file in the published format: a csv with the columns statement and label (1 is true).

    The family is the file's name. Where columns say so (city, n1 and n2, subject, city1 and city2) or the statement is
    about a Spanish word, statements of one subject are one group; otherwise each text is its own. Conjunctions are
    grouped by their two cities, so a single city can still be on both sides of a split.

    Raises ConceptError naming file and line for a missing column, an empty statement or a label other than 0 and 1.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    check_columns(reader.fieldnames or (), ("statement", "label"), str(path))
    family = Path(path).stem
    return tuple(_published(row, family, f"{path}, line {reader.line_num}") for row in reader)


def parse_label(row: Mapping[str, str], where: str) -> bool:
    """Whether the label column says 1. Raises ConceptError for anything but 0 and 1."""
    label = filled(row, "label", where).strip()
    if label not in ("0", "1"):
        raise ConceptError(f"{where} has label {label!r}; use 0 or 1")
    return label == "1"


def _published(row: dict[str, str], family: str, where: str) -> Statement:
    text, true = filled(row, "statement", where), parse_label(row, where)
    subject, said = _about(row, text, where)
    base = family.removeprefix(_NEGATED)
    return Statement(text, true, family, " ".join(sorted(subject)), f"{base}: {', '.join((*subject, *said))}")


def _about(row: dict[str, str], text: str, where: str) -> tuple[Sequence[str], Sequence[str]]:
    """What a row speaks about and what it says of that, as far as columns or the text tell."""
    for columns in _SUBJECTS:
        if all(column in row for column in columns):
            said = [filled(row, column, where) for column in _ANSWERS if column in row]
            return [filled(row, column, where) for column in columns], said
    spanish = _WORD.fullmatch(text)
    return ([spanish[1]], [spanish[2]]) if spanish else ([text], [])


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
