"""A probe that learns which tokens of a text to read: attention pooling (Tenney et al. 2019, arXiv:1905.06316,
section 3.2, with one head and no value map)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from workbench.artifacts.attention import AttentionReadout
from workbench.data.items import DataError, Label
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.methods.capabilities import ScoresStates, Steers
from workbench.methods.fitting import unit_of
from workbench.methods.method import Method
from workbench.methods.readers import AttentionReader, Reader
from workbench.models.edits import Edit
from workbench.models.pooling import softmax_pool
from workbench.models.positions import ALL, Positions
from workbench.runs.fields import above, at_least

EVERY = 5
"""Steps between two looks at the held-out loss."""


@dataclass(frozen=True, eq=False)
class _Texts:
    """The tokens of some texts, and for each concept which texts it uses and which of these carry it.

    In float64: Adam makes much of the rounding of small gradients, and so a concept would depend on its neighbours.
    """

    x: Float[Tensor, "token d"]
    row: Int[Tensor, "token"]
    y: Float[Tensor, "text concept"]
    use: Float[Tensor, "text concept"]

    @classmethod
    def of(cls, x: Tensor, row: Tensor, label: Int[Tensor, "text concept"]) -> "_Texts":
        """The tokens of the texts that some concept uses; `row` numbers the texts of `label`."""
        kept = (label != Label.ABSENT).any(1) & (torch.bincount(row, minlength=len(label)) > 0)
        number = kept.cumsum(0) - 1
        mine = kept[row]
        y = (label[kept] == Label.POSITIVE).double()
        return cls(x[mine].double(), number[row[mine]], y, y + (label[kept] == Label.NEGATIVE).double())

    @classmethod
    def one(cls, data: Labelled) -> "_Texts":
        """The texts of one concept."""
        _, row = data.row.unique(return_inverse=True)
        return cls.of(data.x, row, torch.where(data.row_y, int(Label.POSITIVE), int(Label.NEGATIVE))[:, None])

    def loss(
        self, query: Float[Tensor, "d concept"], direction: Float[Tensor, "d concept"], bias: Float[Tensor, "concept"]
    ) -> Float[Tensor, "concept"]:
        """Log-loss of each concept, both classes counting the same."""
        scores = softmax_pool(self.x @ query, self.x @ direction, self.row, len(self.y)) + bias
        losses = binary_cross_entropy_with_logits(scores, self.y, reduction="none")
        positive, negative = self.use * self.y, self.use * (1 - self.y)
        return (losses * (positive / positive.sum(0) + negative / negative.sum(0))).sum(0) / 2


@dataclass(frozen=True, eq=False)
class _Weights:
    """Query, direction and bias of each concept, for states standardised with the concept's own tokens."""

    mean: Float[Tensor, "d concept"]
    deviation: Float[Tensor, "d concept"]
    query: Float[Tensor, "d concept"]
    direction: Float[Tensor, "d concept"]
    bias: Float[Tensor, "concept"]

    @classmethod
    def start(cls, parts: Sequence[Labelled]) -> "_Weights":
        """Nothing: every token counts the same, and every text scores 0."""
        mean = torch.stack([part.x.double().mean(0) for part in parts], 1)
        deviation = torch.stack([part.x.double().std(0) for part in parts], 1)
        varies = deviation > 1e-9 * mean.abs()  # less is rounding of a constant
        zero = torch.zeros_like(mean)
        return cls(mean, torch.where(varies, deviation, 1), zero, zero.clone(), torch.zeros_like(mean[0]))

    @property
    def raw(self) -> tuple[Float[Tensor, "d concept"], Float[Tensor, "d concept"], Float[Tensor, "concept"]]:
        """Query, direction and bias for states as they are; a shift of all logits of a text changes nothing."""
        direction = self.direction / self.deviation
        return self.query / self.deviation, direction, self.bias - (self.mean * direction).sum(0)

    @property
    def square(self) -> Float[Tensor, "concept"]:
        """What is penalised: the squared norms of query and direction."""
        return self.query.square().sum(0) + self.direction.square().sum(0)

    def where(self, chosen: Bool[Tensor, "concept"], other: "_Weights") -> "_Weights":
        """These weights for the chosen concepts, the other ones for the rest."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return _Weights(*(torch.where(chosen, mine.detach(), theirs) for mine, theirs in pairs))


@dataclass(frozen=True)
class AttentionProbe(Method[AttentionReadout], ScoresStates[AttentionReadout], Steers[AttentionReadout]):
    """Scores a text by w . x averaged over its tokens, weighted by the softmax of q . x; adds w to steer.

    q and w start at 0, the plain mean, and are trained together by Adam, all texts in every step, under the log-loss
    and an L2 penalty; nothing is random. States are standardised with the concept's own tokens. The step of lowest
    loss on held-out texts is kept; where nothing is held out, the last one. A token scores w . x + b, as if it were a
    text.
    """

    label: ClassVar[str] = "Attention probe"
    source: ClassVar[str] = "arXiv:1905.06316"

    steps: Annotated[int, at_least(1)] = 400
    """At most."""
    learning_rate: Annotated[float, above(0)] = 1e-2
    penalty: Annotated[float, at_least(0)] = 0.03
    """Times the squares of q and w, for standardised states; the log-loss is a mean, both classes counting the same."""
    patience: Annotated[int, at_least(1)] = 100
    """Steps without a lower held-out loss after which a concept's training ends."""

    @property
    def cost(self) -> float:
        """As docs/probing.md has it."""
        return 36.0

    def fit(self, data: Labelled) -> AttentionReadout:
        """One concept: `fit_all` over one column."""
        return self._fit(_Texts.one(data), [data])[0]

    def fit_all(self, data: States) -> list[AttentionReadout]:
        """All concepts at once, as columns; every concept stops by itself."""
        return self._fit(_Texts.of(data.x, data.row, data.row_labels("train")), list(data))

    def reader(self, artifact: AttentionReadout) -> Reader:
        """The attention-weighted mean of each text; a token scores as if it were a text."""
        return AttentionReader(artifact)

    def edit(self, artifact: AttentionReadout, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Add `strength` units of the direction."""
        return (artifact.vector.edit(strength, positions),)

    def _fit(self, texts: _Texts, parts: Sequence[Labelled]) -> list[AttentionReadout]:
        held = [None if part.held_out is None else _Texts.one(part.held_out) for part in parts]
        query, direction, bias = self._trained(texts, held, _Weights.start(parts)).raw
        return [self._kept(part, query[:, k], direction[:, k], float(bias[k])) for k, part in enumerate(parts)]

    def _trained(self, texts: _Texts, held: Sequence[_Texts | None], best: _Weights) -> _Weights:
        leaves = [leaf.clone().requires_grad_() for leaf in (best.query, best.direction, best.bias)]
        weights = _Weights(best.mean, best.deviation, *leaves)
        optimizer = torch.optim.Adam(leaves, lr=self.learning_rate)
        lowest = torch.full((len(held),), torch.inf, dtype=torch.float64)
        waited = torch.zeros(len(held))
        for step in range(1, self.steps + 1):
            optimizer.zero_grad()
            with torch.enable_grad():
                (texts.loss(*weights.raw) + self.penalty * weights.square).sum().backward()
            optimizer.step()
            if step % EVERY == 0 or step == self.steps:
                losses = _held_out_losses(weights, held, step)
                better = (losses < lowest) & (waited < self.patience)
                best, lowest = weights.where(better, best), torch.where(better, losses, lowest)
                waited = torch.where(better, 0, waited + EVERY)
                if bool((waited >= self.patience).all()):
                    break
        return best

    def _kept(self, data: Labelled, query: Tensor, direction: Tensor, bias: float) -> AttentionReadout:
        length = float(direction.norm())
        if not length > 0:
            raise DataError(f"{self.label} found no direction for {data.target.name!r}: the classes do not differ")
        unit_norm = (direction / length).float()
        origin, unit = self.origin(data), unit_of(data, unit_norm)
        return AttentionReadout(origin, data.site, query.float().contiguous(), unit_norm, bias / length, unit)


@torch.no_grad()
def _held_out_losses(weights: _Weights, held: Sequence[_Texts | None], step: int) -> Float[Tensor, "concept"]:
    """The loss of each concept on its own held-out texts; where there are none, less at every step."""
    raw = weights.raw
    return torch.stack(
        [
            torch.tensor(-float(step), dtype=torch.float64)
            if texts is None
            else texts.loss(*(part[..., k : k + 1] for part in raw))[0]
            for k, texts in enumerate(held)
        ]
    )
