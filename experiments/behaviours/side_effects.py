"""What steering does to text that has nothing to do with the behaviour, and strengths at which that is equal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from torch import Tensor

from experiments.behaviours.context import BehaviourContext
from experiments.behaviours.continuations import Continuations
from experiments.behaviours.fitting import BehaviourVectors
from experiments.behaviours.sweep import Choice
from workbench.data.packaged import packaged
from workbench.data.steering_task import neutral_texts
from workbench.evaluation.matching import matched_strengths
from workbench.evaluation.summary import or_none
from workbench.models.stored_run import TriedEdits
from workbench.models.tokens import Row, Tokens
from workbench.runs.files import digest

TOKENS = 16
"""Of each neutral text."""

Choices = Mapping[tuple[str, str], Choice]
"""By way and behaviour."""


@dataclass(frozen=True)
class SideEffects:
    """Of one behaviour, by way."""

    chosen: Mapping[str, float | None]
    """KL to the unsteered model on neutral text at the chosen strength, in nats a token; None if it is not finite."""
    matched: Mapping[str, Mapping[str, float | None]]
    """By way and level, the strength at the chosen layer that has this side effect; None where none has."""


@dataclass(eq=False)
class NeutralTexts:
    """Neutral texts; they run when first asked for."""

    context: BehaviourContext

    @cached_property
    def _texts(self) -> list[Tokens]:
        model = self.context.model
        asked, said = zip(*neutral_texts(packaged(), self.context.config.neutral), strict=True)
        rows = model.tokenize(list(asked), list(said), chat=bool(model.tokenizer.chat_template))
        return [Tokens((Row(row.ids[: row.response + TOKENS], row.prefix, row.response),)) for row in rows]

    def effects(self, trials: Sequence[TriedEdits]) -> Float[np.ndarray, " trial"]:
        """KL(unsteered || steered) of the next token, the mean over texts, in nats a token."""
        return np.mean([self._effects(tokens, trials) for tokens in self._texts], axis=0)

    def _effects(self, tokens: Tokens, trials: Sequence[TriedEdits]) -> Float[np.ndarray, " trial"]:
        text = Continuations.of(self.context.model, tokens, trials)
        expected = text.logits.to(self.context.model.device).log_softmax(-1)  # [item, vocab]

        def divergence(logits: Float[Tensor, "trial item vocab"]) -> Float[Tensor, "trial"]:
            return (expected.exp() * (expected - logits.log_softmax(-1))).sum(-1).mean(1)

        return text.measured(trials, divergence)


def measure_effects(context: BehaviourContext, vectors: BehaviourVectors, choices: Choices) -> dict[str, SideEffects]:
    """Stage: by behaviour; each a unit."""
    neutral = NeutralTexts(context)
    read = digest([neutral_texts(packaged(), context.config.neutral), TOKENS])
    return {name: _measured(context, vectors, choices, neutral, read, name) for name in context.names}


def _measured(
    context: BehaviourContext,
    vectors: BehaviourVectors,
    choices: Choices,
    neutral: NeutralTexts,
    read: str,
    behaviour: str,
) -> SideEffects:
    ways, levels = [way.name for way in context.ways], context.config.levels
    mine = {way: choices[way, behaviour] for way in ways}
    inputs = context.inputs("positions", "levels") | {
        "vectors": vectors.digest(behaviour),
        "choices": {way: [one.layer, one.strength] for way, one in mine.items()},
        "items": read,
    }

    def edits(names: Sequence[str], strengths: Sequence[float]) -> list[TriedEdits]:
        pairs = zip(names, strengths, strict=True)
        return [vectors.edit(way, behaviour, mine[way].layer, strength) for way, strength in pairs]

    def measure() -> dict[str, object]:
        chosen = neutral.effects(edits(ways, [mine[way].strength for way in ways]))
        keys = [(way, level) for way in ways for level in levels]
        names = [way for way, _ in keys]
        strengths, _ = matched_strengths(
            lambda at: neutral.effects(edits(names, at.tolist())), np.array([level for _, level in keys])
        )
        matched: dict[str, dict[str, float | None]] = {way: {} for way in ways}
        for (way, level), strength in zip(keys, strengths.tolist(), strict=True):
            matched[way][f"{level:g}"] = or_none(strength)
        return {"chosen": {way: or_none(float(kl)) for way, kl in zip(ways, chosen, strict=True)}, "matched": matched}

    return SideEffects(**context.run.unit(f"side_effects/{behaviour}", inputs, measure))
