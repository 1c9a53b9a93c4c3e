"""ReFT-r1: one direction that both detects a concept and writes it (AxBench, arXiv:2501.17148, section 4)."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steering.texts import balanced
from steering.through_model import Batch, Item, Objective, Recipe, Trained, train
from workbench.artifacts.vector import Vector
from workbench.concepts.labelled import Labelled, LabelledSet
from workbench.methods import AdditiveMethod, class_means
from workbench.models.hooks import Tap, tapped
from workbench.models.model import Model
from workbench.models.positions import CONTENT, Layout
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

Form = Literal["fixed", "compat"]


@dataclass(frozen=True)
class LatentObjective(Objective):
    """Language modelling with h + m w, m the mean of the k largest ReLU(h . w) of the text, under an L1 penalty.

    Per concept: mean nll of the labels + progress * l1 * mean over texts of (sum of the other latents / tokens).
    """

    form: Form = "fixed"
    top_k: int = 8
    l1: float = 0.005

    def start(self, data: Labelled) -> dict[str, Tensor]:
        """The unit difference in means; `compat`: 0.01 everywhere, as the published code has it."""
        if self.form == "compat":
            return {"direction": torch.full((data.d,), 0.01)}
        positive, negative = class_means(data)
        return {"direction": torch.nn.functional.normalize(positive - negative, dim=0).float()}

    def items(self, data: Labelled) -> list[Item]:
        """Every positive text, and as many negative ones."""
        return [(text,) for text in balanced(data)]

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        """`compat`: the state at the first pad after each text, which the published code ranks with the others."""
        return {"pad": pad_states(model, tokens, self.site)} if self.form == "compat" else {}

    def taps(self, batch: Batch, parameters: dict[str, Tensor], penalty: Tensor) -> list[tuple[Site, Tap]]:
        """The rank-one edit at the site."""
        w = parameters["direction"][batch.concept]  # [batch, d]

        def tap(h: Tensor) -> Tensor:
            latent = torch.einsum("bpd,bd->bp", h.float(), w).relu() * batch.content
            n = batch.content.sum(1)
            k = min(self.top_k, latent.shape[1])
            ranked = latent if self.form == "fixed" else torch.cat([latent, self._pads(batch, w, n)], 1)
            top, place = ranked.topk(k, dim=1)
            of_text = (top * (place < latent.shape[1])).sum(1)
            count = n.clamp(max=k) if self.form == "fixed" else k
            mean = top.sum(1) / count
            rest = (latent.sum(1) - of_text) / (n + torch.finfo(latent.dtype).eps)
            penalty.add_(batch.progress * self.l1 * rest / batch.n_items)
            moved = h.float() + (mean[:, None] * w)[:, None]
            return torch.where(batch.content[..., None], moved.to(h.dtype), h)

        return [(self.site, tap)]

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
class ReFTr1(AdditiveMethod):
    """Rank-one representation fine-tuning, trained with and without the concept.

    `compat` does what the published code does: it starts at 0.01 everywhere and lets copies of a pad token's latent
    take part in the top k of every text that is shorter than its batch. `fixed` starts at the difference in means
    and ranks the text's own tokens only.
    """

    label: ClassVar[str] = "ReFT-r1"
    source: ClassVar[str] = "arXiv:2501.17148"
    recovers: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    form: Form = "fixed"
    top_k: int = 8
    """Tokens of a text whose mean latent sets the size of the edit."""
    l1: float = 0.005
    """Weight of the penalty at the end of training."""
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def title(self) -> str:
        """Says so where the published code's choices are kept."""
        return self.label if self.form == "fixed" else f"{self.label} (as published)"

    def fit(self, data: Labelled) -> Vector:
        """Train one concept. Raises DataError if the data do not carry the live model."""
        return self._vector(data, train(self.objective(data.site), [data])[0])

    def fit_all(self, data: LabelledSet) -> list[Vector]:
        """Train all concepts side by side."""
        every = list(data)
        return [
            self._vector(one, found) for one, found in zip(every, train(self.objective(data.site), every), strict=True)
        ]

    def detect(self, artifact: Vector, x: Float[Tensor, "token d"]) -> Float[Tensor, "token"]:
        """ReLU(x . direction), the latent, in activation units."""
        return artifact.detect(x).relu()

    def objective(self, site: Site) -> LatentObjective:
        """What is trained at a site."""
        return LatentObjective(self.recipe, site, CONTENT, self.form, self.top_k, self.l1)

    def _vector(self, data: Labelled, found: Trained) -> Vector:
        return self.vector(data, found.parameters["direction"], seed=self.recipe.seed)


def pad_states(model: Model, tokens: Tokens, site: Site) -> Float[Tensor, "text d"]:
    """The state at one pad behind each text: it sees the text, and is masked for every token, itself included."""
    pad, place = model.tokenizer.pad_token_id or 0, model.architecture.locate(model.module, site)
    found: list[Tensor] = []
    for row in tokens:
        longer = Tokens((Row((*row.ids, pad), row.prefix, row.response),))
        layout = Layout.of(longer, [0]).to(model.device)
        mask = torch.ones_like(layout.ids)
        mask[:, -1] = 0
        with torch.no_grad(), tapped([(place, lambda h: found.append(h[0, -1]))]):
            model.forward(layout, attention_mask=mask, logits_to_keep=1)
    return torch.stack(found)
