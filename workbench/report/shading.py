"""Shades in steps: those of a heat map's cells, and those of the tokens of generated texts."""

import math
from dataclasses import dataclass
from itertools import groupby

from workbench.report.blocks import Card, Cards
from workbench.text import MISSING, number

HEAT_STEPS = 10
HIGH = 6
"""From this step of a heat map on, what is written on it is in the opposite ink."""
_TOKEN_STEPS = 9


def heat_step(value: float, limits: tuple[float, float]) -> int:
    """The step of a value between the limits, palest 0; values outside get the nearest step."""
    low, high = limits
    return min(HEAT_STEPS - 1, max(0, int(HEAT_STEPS * (value - low) / (high - low))))


def heat_css() -> str:
    """The style rules of the steps of a heat map, in the colours of theme.css."""
    return "".join(
        f".heat-{step}{{background:var(--h{step});color:var(--on-{'high' if step >= HIGH else 'low'})}}\n"
        for step in range(HEAT_STEPS)
    )


def token_css() -> str:
    """The style rules of the steps of a token's score."""
    return "".join(
        f".shade-{step}{{background:rgb(var(--warm) / calc({step} * var(--warm-scale)))}}\n"
        for step in range(1, _TOKEN_STEPS + 1)
    )


@dataclass(frozen=True)
class Piece:
    """A stretch of text of one shade: 0 is none, 9 that of a score of 1 or more."""

    text: str
    shade: int
    title: str = ""


@dataclass(frozen=True)
class ShownCard:
    """A card as it is shown: its ratings as read and in percent of the best (None: missing), its text in pieces."""

    card: Card
    strength: str
    ratings: tuple[tuple[str, str, float | None], ...]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class CardGroup:
    """All cards of one concept and instruction."""

    concept: str
    meaning: str
    instruction: str
    cards: tuple[ShownCard, ...]


@dataclass(frozen=True)
class ShownCards:
    """Cards in groups, with what they can be filtered by."""

    name: str
    caption: str
    judged: bool
    methods: tuple[str, ...]
    concepts: tuple[str, ...]
    groups: tuple[CardGroup, ...]


def show_cards(block: Cards) -> ShownCards:
    """The cards by concept and instruction, in the order in which each is first met."""
    together: dict[tuple[str, str], list[Card]] = {}
    for card in block.cards:
        together.setdefault((card.concept, card.instruction), []).append(card)
    groups = tuple(
        CardGroup(concept, cards[0].meaning, instruction, tuple(_shown(card, block.best) for card in cards))
        for (concept, instruction), cards in together.items()
    )
    methods = tuple(dict.fromkeys(card.method for card in block.cards))
    concepts = tuple(dict.fromkeys(concept for concept, _ in together))
    return ShownCards(block.name, block.caption, block.judged, methods, concepts, groups)


def shade(score: float) -> int:
    """The step of a token's score: 0 for none of the concept, then ninths of 1."""
    return min(_TOKEN_STEPS, max(0, math.ceil(_TOKEN_STEPS * score)))


def _shown(card: Card, best: float) -> ShownCard:
    ratings = tuple(
        (name, MISSING, None) if value is None else (name, number(value, 1), round(100 * value / best, 1))
        for name, value in card.ratings
    )
    return ShownCard(card, "" if card.strength is None else number(card.strength), ratings, _pieces(card))


def _pieces(card: Card) -> tuple[Piece, ...]:
    """Tokens one by one where they are shaded, runs of unshaded ones as one piece."""
    if not card.tokens:
        return (Piece(card.text, 0),)
    shaded = [(token, score, shade(score)) for token, score in zip(card.tokens, card.token_scores, strict=True)]
    pieces: list[Piece] = []
    for plain, run in groupby(shaded, key=lambda item: item[2] == 0):
        if plain:
            pieces.append(Piece("".join(token for token, _, _ in run), 0))
        else:
            pieces += [Piece(token, step, number(score, 2)) for token, score, step in run]
    return tuple(pieces)
