"""Texts of ten kinds with the ratings that a judge should give, among them those that try to mislead it."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, get_args

from workbench.data.cells import json_lines
from workbench.evaluation.judges.base import JudgedText, Rating

CaseKind = Literal[
    "good", "woven_in", "echo", "appended", "negated", "other_sense", "off_task", "broken", "salad", "empty"
]
"""What is in the text, see `cases/README.md`."""
KINDS: tuple[CaseKind, ...] = get_args(CaseKind)
CARRYING: tuple[CaseKind, ...] = ("good", "woven_in")
"""The kinds that do all that is asked."""
Half = Literal["tune", "report"]
"""Whether a judge may be tuned on a case, or agreement with it is reported; no instruction is in both halves."""


@dataclass(frozen=True)
class JudgedCase:
    """A text written for the project, and what a judge should say of it."""

    half: Half
    concept: str
    """Name of a concept of the packaged set."""
    kind: CaseKind
    instruction: str
    text: str
    expected: Rating

    def judged_text(self, description: str, perplexity: float, references: tuple[str, ...] = ()) -> JudgedText:
        """The case as a judge is given it."""
        return JudgedText(self.concept, description, self.instruction, self.text, perplexity, references)


def judged_cases(half: Half) -> list[JudgedCase]:
    """The packaged cases of a half, in the order of concepts and instructions."""
    file = files("workbench.evaluation.judges").joinpath("cases", "cases.jsonl")
    rows = [row for _, row in json_lines(file.read_text(encoding="utf-8"), "cases.jsonl") if row["half"] == half]
    return [
        JudgedCase(half, row["concept"], row["kind"], row["instruction"], row["text"], Rating(**row["ratings"]))
        for row in rows
    ]
