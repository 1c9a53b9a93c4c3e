"""Sampled generations as the page shows them: side by side, their tokens shaded in ten steps."""

import math
from dataclasses import dataclass
from itertools import groupby

from workbench.report.story import Generation, Story
from workbench.text import MISSING, number

_STEPS = 9


@dataclass(frozen=True)
class Piece:
    """A stretch of text of one shade: 0 is none, 9 the strongest score that any generation of the concept has."""

    text: str
    shade: int
    title: str = ""


@dataclass(frozen=True)
class Card:
    """One generation: who wrote it, how strongly, how it was rated, and its text in pieces."""

    method: str
    label: str
    strength: str
    ratings: tuple[tuple[str, str, float | None], ...]
    """Name, as read, and in percent of the best rating (None: missing)."""
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Group:
    """All methods' answers to one instruction, for one concept."""

    concept: str
    instruction: str
    cards: tuple[Card, ...]


def groups(story: Story) -> tuple[Group, ...]:
    """The sampled generations by concept and instruction, as first met; within these in the order of methods."""
    order = [note.name for note in story.methods]
    together: dict[tuple[str, str], list[Generation]] = {}
    for generation in story.generations:
        together.setdefault((generation.concept, generation.instruction), []).append(generation)
    strongest = {concept: _strongest(story, concept) for concept, _ in together}
    return tuple(
        Group(
            concept,
            instruction,
            tuple(
                _card(each, story, strongest[concept])
                for each in sorted(generations, key=lambda each: order.index(each.method))
            ),
        )
        for (concept, instruction), generations in together.items()
    )


def shade(score: float, strongest: float) -> int:
    """The step of a score: 0 for none of the concept, then ninths of the strongest."""
    return 0 if score <= 0 or strongest <= 0 else min(_STEPS, math.ceil(_STEPS * score / strongest))


def _strongest(story: Story, concept: str) -> float:
    scores = (score for each in story.generations if each.concept == concept for score in each.token_scores)
    return max(scores, default=0.0)


def _card(generation: Generation, story: Story, strongest: float) -> Card:
    given = generation.ratings
    ratings = () if given is None else (
        ("concept", given.concept), ("instruction", given.instruction), ("fluency", given.fluency),
        ("score", given.overall),
    )  # fmt: skip
    return Card(
        generation.method,
        story.note(generation.method).label,
        "" if generation.strength is None else number(generation.strength),
        tuple(
            (name, MISSING if value is None else number(value, 1), None if value is None else round(50 * value, 1))
            for name, value in ratings
        ),
        _pieces(generation, strongest),
    )


def _pieces(generation: Generation, strongest: float) -> tuple[Piece, ...]:
    """Tokens one by one where they are shaded, runs of unshaded ones as one piece."""
    if not generation.tokens:
        return (Piece(generation.text, 0),)
    shaded = [
        (token, score, shade(score, strongest))
        for token, score in zip(generation.tokens, generation.token_scores, strict=True)
    ]
    pieces: list[Piece] = []
    for plain, run in groupby(shaded, key=lambda item: item[2] == 0):
        if plain:
            pieces.append(Piece("".join(token for token, _, _ in run), 0))
        else:
            pieces += [Piece(token, step, number(score, 2)) for token, score, step in run]
    return tuple(pieces)
