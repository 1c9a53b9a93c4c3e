"""ReFT-r1: one direction that both detects a concept and writes it (AxBench, arXiv:2501.17148, section 4)."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steering.training.objective import Batch, Forward, Group, Objective, TrainingConfig
from steering.training.texts import balanced_texts
from steering.training.trained import TrainedVector
from steering.training.trainer import Trained
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means
from workbench.methods.method import Form
from workbench.methods.readers import LinearReader, Reader
from workbench.models.backend import Hook
from workbench.models.edits import Clamp, Edit
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.positions import ALL, CONTENT, Layout, Positions
from workbench.models.reading import states_at
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.models.training import SharedPrefixCache
from workbench.runs.fields import at_least

DirectionWriting = Literal["add", "clamp"]


@dataclass(frozen=True)
class LatentObjective(Objective[Labelled]):
    """Language modelling with h + m w, m the mean of the k largest ReLU(h . w) of the text, under an L1 penalty.

    Where it clamps, h - (h . w) w + m w for w at unit norm: the component along w is brought to m, whatever its sign.

    Per concept: mean nll of the labels + progress * l1 * mean over texts of (sum of the other latents / tokens).
    """

    form: Form = "fixed"
    top_k: Annotated[int, at_least(1)] = 8
    l1: Annotated[float, at_least(0)] = 0.005
    writes: DirectionWriting = "add"

    def start(self, data: Labelled) -> dict[str, Tensor]:
        """The unit difference in means; `compat`: 0.01 everywhere, as the published code has it."""
        if self.form == "compat":
            return {"direction": torch.full((data.d,), 0.01)}
        positive, negative = class_means(data)
        return {"direction": torch.nn.functional.normalize(positive - negative, dim=0).float()}

    def items(self, data: Labelled) -> list[Group]:
        """Every positive text, and as many negative ones."""
        return [(text,) for text in balanced_texts(data)]

    def read(
        self, model: Model, tokens: Tokens, shared_prefix: SharedPrefixCache
    ) -> tuple[Float[Tensor, "token d"], dict[str, Tensor]]:
        """`compat` also has the state at the first pad after each text: the published code ranks it with the others."""
        if self.form == "fixed":
            return super().read(model, tokens, shared_prefix)
        states, pad = with_pads(model, tokens, self.site, shared_prefix)
        return states, {"pad": pad}

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """The rank-one edit at the site."""
        w = forward.parameters["direction"][batch.concept]  # [batch, d]

        def hook(h: Tensor) -> Tensor:
            latent = torch.einsum("bpd,bd->bp", h.float(), w).relu() * batch.content
            n = batch.content.sum(1)
            k = min(self.top_k, latent.shape[1])
            ranked = latent if self.form == "fixed" else torch.cat([latent, self._pads(batch, w, n)], 1)
            top, place = ranked.topk(k, dim=1)
            of_text = (top * (place < latent.shape[1])).sum(1)
            count = n.clamp(max=k) if self.form == "fixed" else k
            mean = top.sum(1) / count
            rest = (latent.sum(1) - of_text) / (n + torch.finfo(latent.dtype).eps)
            forward.kept["rest"] = rest
            moved = h.float() + self._added(h.float(), w, mean)
            return torch.where(batch.content[..., None], moved.to(h.dtype), h)

        return [(self.site, hook)]

    def loss(self, batch: Batch, forward: Forward) -> Float[Tensor, "batch"]:
        """The nll, and the penalty on what the latents outside the top k are per token."""
        penalty = batch.progress * self.l1 * forward.kept["rest"] / batch.n_items
        return super().loss(batch, forward) + penalty

    def _added(
        self, h: Float[Tensor, "batch pos d"], w: Float[Tensor, "batch d"], mean: Float[Tensor, "batch"]
    ) -> Float[Tensor, "batch #pos d"]:
        """What is added to every state: `mean` times w, or what its component along w lacks of `mean`."""
        if self.writes == "add":
            return (mean[:, None] * w)[:, None]
        unit = torch.nn.functional.normalize(w, dim=1)
        lacks = mean[:, None] - torch.einsum("bpd,bd->bp", h, unit)
        return lacks[..., None] * unit[:, None]

    def _pads(self, batch: Batch, w: Tensor, n: Tensor) -> Float[Tensor, "batch k"]:
        """The latent of the pad, as often as the text is shorter than the longest of its step; at most k count."""
        latent = (batch.extra["pad"].float() * w).sum(1).relu()
        copies = torch.arange(self.top_k, device=w.device) < (batch.width - n)[:, None]
        return latent[:, None] * copies

    def constrain(self, parameters: dict[str, Tensor]) -> None:
        """Unit norm, and no gradient along the direction itself."""
        w = parameters["direction"]
        w /= w.norm() + torch.finfo(w.dtype).eps
        if w.grad is not None:
            w.grad -= (w.grad @ w) * w


@dataclass(frozen=True)
class ReFTr1(TrainedVector):
    """Rank-one representation fine-tuning, trained with and without the concept.

    `compat` does what the published code does: it starts at 0.01 everywhere and lets copies of a pad token's latent
    take part in the top k of every text that is shorter than its batch. `fixed` starts at the difference in means
    and ranks the text's own tokens only.
    """

    label: ClassVar[str] = "ReFT-r1"
    source: ClassVar[str] = "arXiv:2501.17148"

    recipe: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=1, learning_rate=0.003))
    """How long and how fast. An AdamW step moves a unit vector by up to learning_rate * sqrt(d). The published three
    epochs at 0.01 are for a width of 2304 (`published`). Three at 0.001 were chosen on validation texts of the default
    model (docs/reproduction.md); one at 0.003 goes as far in a third of the steps, and leaves the same
    loss on held-out texts (docs/speed.md).
    """
    form: Form = "fixed"
    top_k: Annotated[int, at_least(1)] = 8
    """Tokens of a text whose mean latent sets the size of the edit."""
    l1: Annotated[float, at_least(0)] = 0.005
    """Weight of the penalty at the end of training."""
    writes: DirectionWriting = "add"
    """`clamp` trains and steers by setting the component along the direction, also where it is negative, instead of
    adding to it.
    """

    @property
    def title(self) -> str:
        """Says so where the published code's choices are kept, and where it clamps."""
        notes = ["as published"] * (self.form == "compat") + ["clamping"] * (self.writes == "clamp")
        return f"{self.label} ({', '.join(notes)})" if notes else self.label

    def reader(self, artifact: Vector) -> Reader:
        """ReLU(x . direction), the latent, in activation units."""
        return LinearReader(artifact, rectified=True)

    @property
    def additive(self) -> bool:
        """Not where it clamps."""
        return self.writes == "add"

    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Add `strength` units, or bring the component along the direction to so many."""
        added = artifact.edit(strength, positions)
        if self.writes == "add":
            return (added,)
        target = strength * artifact.unit
        where = {"site": artifact.site, "positions": added.positions, "model": added.model}
        return (Clamp(**where, strength=float(strength != 0), direction=artifact.direction, target=target),)

    def objective(self, data: Labelled) -> LatentObjective:
        """What is trained at the site of the data."""
        return LatentObjective(self.recipe, data.site, CONTENT, self.form, self.top_k, self.l1, self.writes)

    def to_artifact(self, data: Labelled, found: Trained) -> Vector:
        """The trained direction."""
        return self.vector(data, found.parameters["direction"], seed=self.recipe.seed)


def published() -> ReFTr1:
    """ReFT-r1 as its published code and recipe have it."""
    return ReFTr1(form="compat", recipe=TrainingConfig(learning_rate=0.01))


def with_pads(
    model: Model, tokens: Tokens, site: Site, shared_prefix: SharedPrefixCache
) -> tuple[Float[Tensor, "token d"], Float[Tensor, "text d"]]:
    """The states of all tokens behind the shared prefix, and that of one pad behind each text.

    The pad sees the text, and is masked for every token, itself included.
    """
    pad = model.tokenizer.pad_token_id or 0
    longer = Tokens(tuple(Row((*row.ids, pad), row.prefix, row.response) for row in tokens))
    states: dict[int, Tensor] = {}
    pads = torch.empty(len(tokens), model.d_model, dtype=model.dtype)
    for rows in longer.batches(TOKEN_BUDGET):
        layout = Layout.of(longer, rows).after(shared_prefix.length).to(model.device)
        at, last = torch.arange(len(rows)), layout.mask.sum(1) - 1
        real = layout.mask.clone()
        real[at, last] = False
        h = states_at(model, layout, site, **shared_prefix.options(layout, real)).cpu()
        pads[rows] = h[at, last.cpu()]
        states.update({row: h[place, : last[place]] for place, row in enumerate(rows)})
    return torch.cat([states[row] for row in range(len(tokens))]), pads
