"""What is trained on triples, over the trainer that every method has: refusing, preferring, separating.

Each item is four texts: the safe, unsafe and jailbreak completion of a triple, and the answer to an allowed request,
which is to stay likely. All of them train a LoRA (`MapObjective`); the reference, where there is one, is the model
without it, read once before training (`prepare`).
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from steering.grace.losses import Margins, cohesion, preference, relaxed_preference, separation
from steering.grace.pooling import RESPONSE, LayerPooling, completion_means, scales
from steering.methods.lora import LoRA, MapObjective
from steering.methods.loreft import uniform
from steering.training.objective import Batch, Forward, Group, Objective, TrainingConfig
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.safety import ALLOWED, TRIPLES
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.fields import at_least

SAFE, UNSAFE, JAILBREAK, KEPT = range(4)
"""Places of the texts in an item."""

LORA = LoRA(
    rank=8,
    alpha=16.0,
    dropout=0.0,
    layers=(8, 11, 14, 17, 20, 23),
    of_layers=30,
    recipe=TrainingConfig(epochs=1, batch_size=8, learning_rate=2e-3),
)
"""What defences train by default: six output projections of attention from a quarter of the depth on."""


@dataclass(frozen=True)
class TripleObjective(MapObjective[Dataset]):
    """A loss on the four texts of each item, plus `keep` times the mean nll of a token of the allowed answer.

    Three of them have one prompt, which runs once.
    """

    shares_prompts: ClassVar[bool] = True
    teaches_refusals: ClassVar[bool] = True
    """Whether its checkpoint is chosen by readiness to refuse (`choosing_loss`); else the last one is kept."""

    keep: Annotated[float, at_least(0)] = 1.0

    def items(self, data: Dataset) -> list[Group]:
        """Each triple with an allowed answer, these in turn. Raises DataError for a set without one or the other."""
        triples, allowed = data.relation(TRIPLES), data.relation(ALLOWED)
        if not len(triples.members) or not len(allowed.members):
            raise DataError(f"set {data.name!r} has {len(triples.members)} triples and {len(allowed.members)} allowed")
        answers = [data.items[row] for row in allowed.role("answer")]
        return [
            (*(data.items[row] for row in rows), answers[k % len(answers)]) for k, rows in enumerate(triples.members)
        ]

    def loss(self, batch: Batch, forward: Forward) -> Float[Tensor, "batch"]:
        """The mean over the items of the step, each spread over its rows."""
        each, n = self.of_items(batch, forward), int(batch.role.max()) + 1
        if self.keep:
            each = each + self.keep * texts_of(batch, forward.nll / forward.n)[-1]
        return each.repeat_interleave(n) / n / batch.n_items

    def of_items(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """The loss of each item, without what keeps allowed answers."""
        raise NotImplementedError


def texts_of(batch: Batch, values: Float[Tensor, "batch *any"]) -> list[Tensor]:
    """The values of each text of the items in a batch, in the order of their places: [item, ...] each."""
    return list(values.unflatten(0, (-1, int(batch.role.max()) + 1)).unbind(1))


@dataclass(frozen=True)
class RefusalObjective(TripleObjective):
    """Language modelling of refusals and of allowed answers: how the policy is taught, and the arm SFT."""

    def items(self, data: Dataset) -> list[Group]:
        """The safe completion and the allowed answer only."""
        return [(item[SAFE], item[KEPT]) for item in super().items(data)]

    def of_items(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """Mean nll of a token of the refusal."""
        return texts_of(batch, forward.nll / forward.n)[SAFE]


@dataclass(frozen=True)
class DpoObjective(TripleObjective):
    """Direct preference optimisation: the refusal is preferred to both other completions (arXiv:2305.18290).

    On sums over the completion's tokens; the reference is the model without the LoRA, so that training starts at log 2.
    `relaxed` instead takes beta of the reference's margin only, as GRACE does, in units of a token.
    """

    beta: Annotated[float, at_least(0)] = 0.1
    relaxed: bool = False

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        """What the reference thinks of each text."""
        return {"nll": model.score(tokens).nll}

    def of_items(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """The mean over the two preferences."""
        size = forward.n if self.relaxed else torch.ones_like(forward.n)
        log_p, before = (texts_of(batch, -nll / size) for nll in (forward.nll, batch.extra["nll"]))
        loss = relaxed_preference if self.relaxed else preference
        first, second = (
            loss(log_p[SAFE] - log_p[lost], before[SAFE] - before[lost], self.beta) for lost in (UNSAFE, JAILBREAK)
        )
        return (first + second) / 2


@dataclass(frozen=True)
class GraceObjective(DpoObjective):
    """GRACE with a model that learns (mode B, ours after the abstract): preference, latent separation and cohesion.

    States are pooled over the completion and, by a profile that is learnt with the LoRA, over the layers that this can
    change (`profiled`). A weight of 0 leaves a term out; `frozen_profile` keeps the profile as it starts.
    """

    pooling: LayerPooling = field(default_factory=LayerPooling)
    margins: Margins = field(default_factory=Margins)
    preferring: Annotated[float, at_least(0)] = 1.0
    separating: Annotated[float, at_least(0)] = 1.0
    drawing: Annotated[float, at_least(0)] = 1.0
    """Weight of cohesion."""
    frozen_profile: bool = False

    def start(self, data: Dataset) -> dict[str, Tensor]:
        """The LoRA's, and the profile's unless it is frozen."""
        return super().start(data) | ({} if self.frozen_profile else self._profile())

    def constants(self, data: Dataset) -> dict[str, Tensor]:
        """The profile, if it is frozen."""
        return self._profile() if self.frozen_profile else {}

    def _profile(self) -> dict[str, Tensor]:
        return self.pooling.start(len(self.observes), self.shapes[0][1])

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        """The reference's nll, and the unit of each layer."""
        return super().prepare(model, tokens) | units(model, tokens, self.observes, self.margins)

    def of_items(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """The three terms."""
        _one_set(forward)
        preferred = self.preferring * super().of_items(batch, forward)
        profile = {name: forward.parameters[name][0] for name in self._profile()}
        states = [forward.states[site] for site in self.observes]
        h = completion_means(states, batch.layout) / batch.extra["unit"][..., None]
        safe, unsafe, jailbreak = texts_of(batch, self.pooling.pool(h, profile))[:KEPT]
        apart = self.separating * separation(safe, unsafe, jailbreak, self.margins.separation)
        return preferred + apart + self.drawing * cohesion(unsafe, jailbreak, self.margins.cohesion)


@dataclass(frozen=True)
class PoolerObjective(TripleObjective):
    """GRACE as published (mode A): a pooler and a linear head on frozen states; the model itself learns nothing.

    The reference of the relaxed preference is another head, random and never trained. Pooled states of all profiled
    layers are read before, and nothing goes through the model in training. The published term that compares softmaxes
    over the batch is left out: it is no distribution of anything.
    """

    shares_prompts: ClassVar[bool] = False

    pooling: LayerPooling = field(default_factory=lambda: LayerPooling(rate=10.0))
    """Its learning rate and steps are larger than a LoRA's to begin with."""
    margins: Margins = field(default_factory=Margins)
    beta: Annotated[float, at_least(0)] = 0.8
    dropout: Annotated[float, at_least(0, below=1)] = 0.15
    """The share of a pooled vector's entries that the head does not see, in training."""
    keep: Annotated[float, at_least(0)] = 0.0
    separating: Annotated[float, at_least(0)] = 1.0
    drawing: Annotated[float, at_least(0)] = 1.0
    profiled: tuple[Site, ...] = ()

    @classmethod
    def of(cls, model: Model, recipe: TrainingConfig) -> "PoolerObjective":
        """On the output of every block."""
        sites = tuple(map(Site, range(model.n_layers)))
        return cls(recipe, sites[-1], RESPONSE, profiled=sites, shapes=((0, model.d_model),))

    @property
    def source(self) -> None:
        """No states are stored."""
        return None

    @property
    def reads_labels(self) -> bool:
        """No likelihood can change."""
        return False

    def start(self, data: Dataset) -> dict[str, Tensor]:
        """The profile, and a random head."""
        return self.pooling.start(len(self.profiled), self._width) | self._head("head", self.recipe.seed)

    def constants(self, data: Dataset) -> dict[str, Tensor]:
        """The reference's head."""
        return self._head("reference", self.recipe.seed + 1)

    @property
    def _width(self) -> int:
        return self.shapes[0][1]

    def _head(self, name: str, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        weight, bias = (uniform(shape, self._width, generator) for shape in ((self._width,), (1,)))
        return {f"{name}.weight": weight, f"{name}.bias": bias}

    def hooks(self, batch: Batch, forward: Forward) -> list:
        """None: nothing is changed."""
        return []

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        """Pooled states of every text at every profiled site, in units of each layer."""
        pooled = pooled_states(model, tokens, self.profiled)
        return {"pooled": pooled / _unit(pooled, self.margins)[:, None]}

    def of_items(self, batch: Batch, forward: Forward) -> Float[Tensor, "item"]:
        """The three terms."""
        _one_set(forward)
        own = {name: value[0] for name, value in forward.parameters.items()}
        h = self.pooling.pool(batch.extra["pooled"], own)
        seen = h * self._kept(batch.draw, h)
        score, reference = (texts_of(batch, seen @ own[f"{name}.weight"]) for name in ("head", "reference"))
        preferred = relaxed_preference(score[SAFE] - score[UNSAFE], reference[SAFE] - reference[UNSAFE], self.beta)
        safe, unsafe, jailbreak = texts_of(batch, h)[:KEPT]
        apart = self.separating * separation(safe, unsafe, jailbreak, self.margins.separation)
        return preferred + apart + self.drawing * cohesion(unsafe, jailbreak, self.margins.cohesion)

    def _kept(self, draw: Float[Tensor, "row"], h: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        """Dropout, drawn for the item: its texts lose the same entries."""
        rows = [torch.rand(h.shape[1], generator=torch.Generator().manual_seed(int(x * 2**24))) for x in draw.tolist()]
        return (torch.stack(rows).to(h) >= self.dropout) / (1 - self.dropout)


def _one_set(forward: Forward) -> None:
    """Raises ValueError for several sets side by side: units of layers are of all texts that were read."""
    if (n := len(next(iter(forward.parameters.values())))) > 1:
        raise ValueError(f"GRACE is trained on one set at a time, not on {n} side by side")


def pooled_states(model: Model, tokens: Tokens, sites: tuple[Site, ...]) -> Float[Tensor, "text layer d"]:
    """The mean state of each text's completion at every site, in float32."""
    read = model.read(tokens, ReadSpec(sites, RESPONSE, "mean"))
    return torch.stack([read.x(site).float() for site in sites], 1)


def units(model: Model, tokens: Tokens, sites: tuple[Site, ...], margins: Margins) -> dict[str, Tensor]:
    """The unit of each layer, once a text, as `Objective.prepare` gives it."""
    return {"unit": _unit(pooled_states(model, tokens, sites), margins).expand(len(tokens), -1)}


def _unit(pooled: Float[Tensor, "text layer d"], margins: Margins) -> Float[Tensor, "layer"]:
    found = scales(pooled)
    return found if margins.units == "spreads" else torch.ones_like(found)


def layer_profile(objective: Objective[Any], parameters: dict[str, Tensor]) -> list[float]:
    """The share of each layer in a pooled state, the mean over heads; empty where none is learnt."""
    if not isinstance(objective, GraceObjective | PoolerObjective) or "profile" not in parameters:
        return []
    return objective.pooling.weights(parameters).mean(0).tolist()


def profiled_sites(objective: MapObjective, n_layers: int) -> tuple[Site, ...]:
    """The outputs of all blocks that a LoRA can change."""
    return tuple(map(Site, range(objective.site.layer, n_layers)))
