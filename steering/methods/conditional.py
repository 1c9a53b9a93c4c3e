"""Conditional activation steering, CAST (Lee et al. 2024, arXiv:2409.05907, section 3): steer only certain prompts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from steering.derived import WithBase
from steering.rereading import Elsewhere, RereadingMethod, prompt_of
from workbench.artifacts.conditional import Comparator, ConditionalVector
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError, Item
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import Steers
from workbench.methods.fitting import class_means
from workbench.models.conversation import Conversation
from workbench.models.edits import Edit
from workbench.models.gates import PROMPT, GateScore, scores
from workbench.models.model import Model
from workbench.models.positions import ALL, Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.runs.fields import at_least

_NOISE = 1e-5
"""What a state moves by, as a share of itself, when it is read in another batch: no difference between prompts."""
WHOLE_PROMPT = Positions("prefix+prompt")
"""The prompt with BOS and chat header."""


@dataclass(frozen=True)
class Condition:
    """A threshold on the scores of one layer, and how well it tells the prompts apart."""

    f1: float
    margin: float
    """Between the scores next to the threshold, in standard deviations of the scores."""
    threshold: float
    comparator: Comparator


@dataclass(frozen=True)
class Conditional(RereadingMethod[ConditionalVector], WithBase[ConditionalVector], Steers[ConditionalVector]):
    """The base's vector, added in rows whose prompt is like the prompts of the positive texts.

    The condition's direction at each layer is the difference in means of the pooled prompts; layer, threshold and
    comparator are those with the best F1 on held-out prompts, of equal ones that with the widest margin, then the
    lowest. `fixed` compares h . c of the prompt's own tokens behind each block, which keeps its sign.

    `compat` compares what is published: cos(h, tanh(P h)) with P = c c^T / c^T c, h the mean over all tokens of the
    prompt, BOS and chat header included, at a block's input. A state along the condition and one against it score
    alike. As here and not as published, c is a difference in means instead of a component of pairs, it is read where it
    is compared, thresholds lie between neighbouring scores instead of on a grid, and the vector is added at one layer.
    """

    label: ClassVar[str] = "CAST"
    source: ClassVar[str] = "arXiv:2409.05907"
    version: ClassVar[int] = 2
    constant_sites: ClassVar[Literal["refuse", "leave out"]] = "leave out"

    layers: Annotated[tuple[int, ...], at_least(0)] = ()
    """Blocks whose output (`compat`: input) may be compared; by default all up to the one where the vector is added."""
    pool: Literal["mean", "last"] = "mean"
    """Of the prompt's tokens; the published code also has the last one."""
    form: Literal["fixed", "compat"] = "fixed"

    @property
    def title(self) -> str:
        """Says so where the published similarity is compared."""
        return super().title if self.form == "fixed" else f"{super().title} (as published)"

    @property
    def positions(self) -> Positions:
        """The tokens that count."""
        return PROMPT if self.form == "fixed" else WHOLE_PROMPT

    @property
    def score(self) -> GateScore:
        """What is compared with the threshold."""
        return "projection" if self.form == "fixed" else "cosine"

    def reads(self, site: Site) -> ReadSpec:
        """What the base reads, for the vector."""
        return self.base.reads(site)

    def rereads(self, model: Model, site: Site) -> ReadSpec:
        """The prompts, pooled as the gate pools them."""
        stream = "resid_post" if self.form == "fixed" else "resid_pre"
        sites = [Site(layer, stream) for layer in self.layers or range(site.layer + 1)]
        if not self.layers:
            sites = [one for one in sites if not one.follows(site)]
        if not sites:
            raise ValueError(f"nothing that {self.title} could compare is read in front of {site}; take a later one")
        return ReadSpec.at(*sites, positions=self.positions, pool=self.pool)

    def conversation(self, item: Item) -> Conversation:
        """The prompt alone."""
        return prompt_of(item)

    def fit_there(self, data: Labelled, there: Elsewhere) -> ConditionalVector:
        """Vector and condition from the same data. Raises DataError without held-out texts."""
        return self._with(self.base.fit(data), data, there)

    def conditioned(self, vector: Vector, data: Labelled) -> ConditionalVector:
        """A vector from elsewhere, with a condition from these data: comply less, say, where prompts are harmful.

        Raises DataError without held-out texts, and for a vector of another model.
        """
        if vector.origin.model_digest != data.model_digest:
            raise DataError(
                f"{vector.origin.label!r} was fitted on {vector.origin.model}, and the prompts of {data.name!r} are "
                f"read by {data.model}; `adopt` the vector if the two share their representation"
            )
        return self._with(vector, data, self.reread([data])[0])

    def _with(self, vector: Vector, data: Labelled, there: Elsewhere) -> ConditionalVector:
        directions: dict[Site, Tensor] = {}
        found: dict[Site, Condition] = {}
        for site, one in there.items():
            if one.held_out is None:
                raise DataError(f"CAST of {data.name!r} chooses its threshold on held-out prompts, and there are none")
            positive, negative = class_means(one)
            if float((positive - negative).norm()) <= _NOISE * float(one.x.double().norm(dim=1).mean()):
                continue
            directions[site] = torch.nn.functional.normalize(positive - negative, dim=0)
            held = one.held_out
            best = best_condition(scores(held.x.double(), directions[site], self.score), held.y)
            found |= {site: best} if best else {}
        if not found:
            raise DataError(
                f"CAST of {data.name!r} finds no layer at which held-out prompts differ: are they the same?"
            )
        site = max(found, key=lambda at: (found[at].f1, found[at].margin, -at.layer))
        best = found[site]
        return ConditionalVector(
            self.origin(data),
            vector,
            site,
            directions[site].float(),
            best.threshold,
            best.comparator,
            self.positions,
            self.pool,
            best.f1,
            self.score,
        )

    def edit(self, artifact: ConditionalVector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Add `strength` units where the condition is met."""
        return (artifact.edit(strength, positions),)


def best_condition(scores: Float64[Tensor, "prompt"], met: Bool[Tensor, "prompt"]) -> Condition | None:
    """The threshold between two neighbouring scores, and the side of it, with the best F1; then the widest margin.

    None where all scores are equal but for rounding.
    """
    return max(_conditions(scores, met), key=lambda one: (one.f1, one.margin), default=None)


def _conditions(scores: Float64[Tensor, "prompt"], met: Bool[Tensor, "prompt"]) -> Iterator[Condition]:
    order = scores.argsort()
    ranked, positive = scores[order], met[order]
    gaps = ranked.diff()
    apart = (gaps > _NOISE * ranked.abs().mean()).nonzero()[:, 0].tolist()
    gaps = gaps / ranked.std(unbiased=False).clamp(min=torch.finfo(ranked.dtype).tiny)
    below = positive.cumsum(0)[:-1]  # [threshold]: how many positives lie below each
    number, total = torch.arange(1, len(ranked)), int(met.sum())
    sides: dict[Comparator, tuple[Tensor, Tensor]] = {
        "above": (total - below, len(ranked) - number),
        "below": (below, number),
    }
    for comparator, (hits, chosen) in sides.items():
        f1 = 2 * hits / (chosen + total)
        for at in apart:
            middle = float((ranked[at] + ranked[at + 1]) / 2)
            yield Condition(float(f1[at]), float(gaps[at]), middle, comparator)
