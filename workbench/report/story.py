"""What an experiment tells its report beside the numbers: words, the order of things, and sampled generations."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.report.vocabulary import HEADLINE
from workbench.runs.files import read_json, write_json


class ReportError(Exception):
    """A report cannot be made from what it was given; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class MethodNote:
    """One method, for readers who have never met it. Raises ReportError for a link that is not http or https."""

    name: str
    """As in Row.method."""
    label: str
    source: str
    """Where it comes from: authors, year, arXiv id."""
    url: str | None = None
    limits: str = ""
    """What it cannot do, such as "Detects only."; said wherever a number of it is missing."""

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(("https://", "http://")):
            raise ReportError(f"the link of {self.name!r} must begin with https:// or http://, got {self.url!r}")


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """A judge's ratings of one generation, each from 0 to 2; None is a rating that the judge failed to give."""

    concept: float | None
    instruction: float | None
    fluency: float | None
    overall: float | None
    """Their harmonic mean, 0 when one of them is 0."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One answer of the steered model. Raises ReportError when scores and tokens do not fit, or a score is not finite.

    `token_scores` [token] says how much of the concept each of `tokens` [token] carries, in one unit for all
    generations of a concept; both may be empty. `ratings` is None when nobody rated it.
    """

    method: str
    concept: str
    instruction: str
    text: str
    strength: float | None = None
    tokens: tuple[str, ...] = ()
    token_scores: tuple[float, ...] = ()
    ratings: Ratings | None = None

    def __post_init__(self) -> None:
        what = f"a generation of {self.method!r} for {self.concept!r}"
        if len(self.tokens) != len(self.token_scores):
            raise ReportError(
                f"{what} has {len(self.tokens)} tokens and {len(self.token_scores)} scores; give one each"
            )
        if not all(math.isfinite(score) for score in self.token_scores):
            raise ReportError(f"{what} has a token score that is not finite; leave its tokens and scores out")


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everything on the page that is not a row of results.json.

    Raises ReportError when a method is named twice, or a generation or the baseline names a method not in `methods`.
    """

    title: str
    lead: str
    """One paragraph: what was asked, of which model, with what data."""
    methods: tuple[MethodNote, ...]
    """In the order of the tables."""
    command: str
    """The command line that makes this run again."""
    judge: str | None = None
    """Who rated the generations; None in an experiment without ratings."""
    baseline: str | None = None
    """The method that win rates and differences are against."""
    layer: int | None = None
    """The layer to report, where rows of several layers were recorded."""
    headline: tuple[str, ...] = HEADLINE
    """The metrics of the first table."""
    facts: tuple[tuple[str, str], ...] = ()
    """Short name and value pairs for the top of the page, such as ("Model", "SmolLM2-135M-Instruct")."""
    conclusions: tuple[str, ...] = ()
    """What the experiment itself concludes; the report adds what the intervals say."""
    generations: tuple[Generation, ...] = ()
    failures: tuple[str, ...] = ()
    """What failed or is missing; the report adds the gaps in the tables."""
    notes: tuple[str, ...] = ()
    """Paragraphs on how the numbers are made, such as what `compat` and `fixed` mean."""
    published: bool = False
    """Whether AxBench's published numbers stand on the page, apart from those of the run."""

    def __post_init__(self) -> None:
        names = [note.name for note in self.methods]
        if len(set(names)) != len(names):
            raise ReportError(f"the story names a method twice: {sorted(names)}")
        for name in {generation.method for generation in self.generations} | ({self.baseline} - {None}):
            if name not in names:
                raise ReportError(f"the story uses the method {name!r} and its methods are {names}; describe it there")

    def note(self, method: str) -> MethodNote:
        """The note of one method. Raises ReportError for a method that the story does not describe."""
        for note in self.methods:
            if note.name == method:
                return note
        raise ReportError(f"the story does not describe the method {method!r}; add a MethodNote for it")

    def save(self, folder: Path) -> Path:
        """Write `story.json` into a run folder, atomically. Raises StorageError."""
        path = folder / "story.json"
        write_json(path, self)
        return path

    @classmethod
    def load(cls, folder: Path) -> "Story":
        """Read what `save` wrote. Raises StorageError when it cannot be read, ReportError when it is no story."""
        path = folder / "story.json"
        stored = read_json(path)
        try:
            return cls(**stored | _parts(stored))
        except (KeyError, TypeError) as error:
            raise ReportError(f"{path} is not a story of this version: {error}; run the experiment again") from error


def _parts(stored: dict[str, Any]) -> dict[str, Any]:
    """The fields that JSON keeps as lists, as what they were."""
    return {
        "methods": tuple(MethodNote(**note) for note in stored["methods"]),
        "generations": tuple(_generation(fields) for fields in stored["generations"]),
        "facts": tuple((name, value) for name, value in stored["facts"]),
    } | {name: tuple(stored[name]) for name in ("headline", "conclusions", "failures", "notes")}


def _generation(fields: dict[str, Any]) -> Generation:
    rebuilt: dict[str, Any] = {name: tuple(fields[name]) for name in ("tokens", "token_scores")}
    rebuilt["ratings"] = Ratings(**fields["ratings"]) if fields["ratings"] is not None else None
    return Generation(**(fields | rebuilt))
