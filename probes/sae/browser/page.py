"""From latents, a model and texts to the page of all latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch

from probes.sae.browser.contexts import AFTER, BEFORE, Activity, LatentContexts, collect, middle
from probes.sae.browser.describe import Ask, describe_latents, explain_latents
from probes.sae.browser.effects import LogitEffects, generate_clamped, logit_effects, neighbours
from probes.sae.browser.latent_set import LatentSet
from probes.sae.source import OUTLIER, longest_usual
from workbench.data.dataset import Dataset
from workbench.data.running_text import as_passages
from workbench.data.states import States
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.tokens import Tokens
from workbench.report.latent_browser import LatentBrowser, LatentCard, TokenContext
from workbench.runs.fields import ANY_NUMBER, above, at_least, check_fields, some

VERSION = 1
"""Raised when the same latents and texts come to give another page."""


@dataclass(frozen=True)
class BrowserOptions:
    """What a page holds."""

    top: Annotated[int, at_least(1)] = 5
    """Contexts of the largest activations of a latent."""
    middle: Annotated[int, at_least(0)] = 3
    """Contexts of activations about half as large."""
    words: Annotated[int, at_least(0)] = 8
    """Tokens that a latent makes likelier, and as many that it makes less likely."""
    neighbours: Annotated[int, at_least(0)] = 6
    generations: Annotated[int, at_least(0)] = 0
    """Latents under which a text is written: those with the largest mean activation that are not active everywhere."""
    explained: Annotated[int, at_least(0)] = 100
    """Latents that a language model describes, where one is asked; chosen in the same way."""
    prompt: Annotated[str, some()] = "The"
    """What those texts begin with."""
    n_tokens: Annotated[int, at_least(1)] = 24
    """Their length."""
    factor: Annotated[float, ANY_NUMBER] = 1.0
    """What a latent is held at: so many times its largest activation."""
    dense: Annotated[float, at_least(0, high=1)] = 0.05
    """Active in a larger share of tokens than this, a latent counts as active everywhere."""
    outlier: Annotated[float, above(0)] = OUTLIER
    """States longer than this many times the median length, such as attention sinks, count as silent."""

    def __post_init__(self) -> None:
        """Raises ValueError for a value outside its limits."""
        check_fields(self)


def browse(
    latents: LatentSet,
    model: Model,
    texts: States | Dataset | Sequence[str],
    options: BrowserOptions | None = None,
    ask: Ask | None = None,
) -> LatentBrowser:
    """The page of all latents. Texts are read once, unless they come as States that have been read.

    `ask` is a language model that describes the liveliest latents, in front of what words say of them. Raises
    ValueError as `collect` and `Model.generate`, SiteError as `logit_effects`, and what `ask` raises.
    """
    options = options or BrowserOptions()
    states = texts if isinstance(texts, States) else _read(texts, model, latents)
    longest = _longest(states, latents, options.outlier)
    activity = collect(latents.encode, states.activations, latents.site, longest, n_latents=len(latents),
                       n_top=options.top)  # fmt: skip
    pieces = _Pieces(model, model.encode(states.dataset.conversations))
    effects = logit_effects(latents.directions, model, options.words)
    cosines, nearest = neighbours(latents.directions, options.neighbours)
    generations = _generations(latents, model, activity, options)
    top = pieces.contexts(activity.top)
    between = pieces.contexts(middle(activity, options.middle))
    promoted, suppressed = (pieces.words(*pairs) for pairs in _pairs(effects))
    peaks = [[one.tokens[_peak(one)] for one in contexts] for contexts in top]
    said = describe_latents(peaks, [["".join(one.tokens) for one in contexts] for contexts in top],
                    [[token for token, _ in one] for one in promoted])  # fmt: skip
    if ask is not None:
        lively = [number for number in _lively(activity, options.explained, options.dense) if top[number]]
        asked = [top[number] for number in lively], [[token for token, _ in promoted[number]] for number in lively]
        for number, phrase in zip(lively, explain_latents(*asked, ask), strict=True):
            said[number] = f"{phrase} ({said[number]})" if phrase else said[number]
    names = latents.names or ("",) * len(latents)
    cards = tuple(
        LatentCard(
            names[number],
            said[number],
            float(activity.density[number]),
            float(activity.top.activation[number, 0]),
            float(activity.mean[number]),
            top[number],
            between[number],
            promoted[number],
            suppressed[number],
            tuple(zip(nearest[number].tolist(), cosines[number].tolist(), strict=True)),
            generations.get(number),
        )
        for number in range(len(latents))
    )
    return LatentBrowser(
        latents.title, _lead(states, activity, asked=ask is not None), _facts(activity), cards, _how(options)
    )


def _read(texts: Dataset | Sequence[str], model: Model, latents: LatentSet) -> States:
    data = texts if isinstance(texts, Dataset) else as_passages(texts)
    return States.read(data, model, ReadSpec((latents.site,)))


def _longest(states: States, latents: LatentSet, outlier: float) -> float:
    """The length above which a state stands out."""
    lengths = torch.cat([part.arrays[latents.site].float().norm(dim=1) for part in states.activations.parts])
    return longest_usual(lengths, outlier)


def _generations(latents: LatentSet, model: Model, activity: Activity, options: BrowserOptions) -> dict[int, str]:
    """Texts by latent, of those that are chosen; none of a transcoder, which does not describe the state it reads."""
    if not options.generations or latents.target is not None:
        return {}
    numbers = _lively(activity, options.generations, options.dense)
    values = [options.factor * float(activity.top.activation[number, 0]) for number in numbers]
    written = generate_clamped(latents, numbers, values, model, options.prompt, options.n_tokens) if numbers else []
    return dict(zip(numbers, written, strict=True))


def _lively(activity: Activity, n: int, dense: float) -> list[int]:
    """The latents with the largest mean activation of those that are not active everywhere; n at most."""
    mean = torch.where(activity.density <= dense, activity.mean, 0.0)
    order = mean.argsort(dim=0, descending=True, stable=True)[:n]
    return [number for number in order.tolist() if float(mean[number]) > 0]


def _pairs(effects: LogitEffects) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    return (effects.promoted, effects.raised), (effects.suppressed, effects.lowered)


def _peak(context: TokenContext) -> int:
    return max(range(len(context.tokens)), key=lambda at: context.activations[at])


def _lead(states: States, activity: Activity, *, asked: bool) -> str:
    by = "a language model for the liveliest latents, else no model" if asked else "no model"
    return (
        f"Contexts are of {activity.n_states} tokens in {len(states.dataset)} texts of {states.dataset.name}; each is "
        "of another text, shaded by how active the latent is. Words made likelier are those of the direction that the "
        "latent writes, through the final norm and the unembedding. Descriptions are made of contexts and words, by "
        f"{by}."
    )


def _facts(activity: Activity) -> tuple[tuple[str, str], ...]:
    silent = int((activity.density == 0).sum())
    dense = int((activity.density > 0.1).sum())
    return (
        ("Latents", str(len(activity.density))),
        ("Silent in these texts", str(silent)),
        ("Active at more than 10 % of tokens", str(dense)),
    )


def _how(options: BrowserOptions) -> str:
    return (
        f"{options.n_tokens} tokens after {options.prompt!r}, the likeliest each time, with the latent held at "
        f"{options.factor:g} times its largest activation."
    )


@dataclass(frozen=True)
class _Pieces:
    """Tokens as text."""

    model: Model
    tokens: Tokens

    @cached_property
    def _known(self) -> dict[int, str]:
        return {}

    def token(self, number: int) -> str:
        if number not in self._known:
            self._known[number] = self.model.tokenizer.decode([number])
        return self._known[number]

    def contexts(self, found: LatentContexts) -> list[tuple[TokenContext, ...]]:
        """Of each latent those that there are."""
        arrays = (found.activation, found.text, found.position, found.window)
        return [
            tuple(self._context(*place) for place in zip(*rows, strict=True) if place[0] > 0)
            for rows in zip(*(array.tolist() for array in arrays), strict=True)
        ]

    def _context(self, _: float, text: int, position: int, window: list[float]) -> TokenContext:
        ids = self.tokens.rows[text].ids
        begin, end = max(position - BEFORE, 0), min(position + AFTER + 1, len(ids))
        skipped = begin - (position - BEFORE)
        shown = window[skipped : skipped + end - begin]
        return TokenContext(tuple(map(self.token, ids[begin:end])), tuple(shown))

    def words(self, numbers: torch.Tensor, values: torch.Tensor) -> list[tuple[tuple[str, float], ...]]:
        """Tokens with their logits, for each latent."""
        return [
            tuple((self.token(number), value) for number, value in zip(ids, row, strict=True))
            for ids, row in zip(numbers.tolist(), values.tolist(), strict=True)
        ]
