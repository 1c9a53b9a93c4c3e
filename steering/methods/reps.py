"""RePS: a steering vector trained on preferences, in both directions (Wu et al. 2025, arXiv:2505.20809)."""

import logging
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from steering.training.objective import Batch, Forward, Group, Objective, TrainingConfig
from steering.training.texts import texts
from steering.training.trained import TrainedVector
from steering.training.trainer import Trained
from workbench.artifacts.vector import Vector
from workbench.data.labelled import Labelled
from workbench.methods.fitting import class_means, unit_of
from workbench.models.backend import Hook
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.errors import DamagedFile
from workbench.runs.fields import above, at_least, some
from workbench.runs.files import digest, read_sealed, write_sealed

log = logging.getLogger(__name__)

ADDED, NULLED = (0, 1), (2, 3)
"""Places in an item: the concept's answer and the model's own under addition; the two swapped under removal."""


@dataclass(frozen=True)
class PreferenceObjective(Objective[Labelled]):
    """Prefer the concept's answer where the vector is added, and the model's own where its component is removed.

    -log sigmoid(s log p(win) / |win| - log p(lose) / |lose|), s = max(1, beta (log p0(lose) - log p0(win))), with p0
    the unsteered model and |.| the tokens of the response; `compat` counts the tokens of the whole text and takes s
    from sums instead of means.
    """

    factors: Annotated[tuple[float, ...], some(above(0))] = (0.4, 0.6, 0.8, 1.0, 1.2)
    beta: Annotated[float, at_least(0)] = 1.0
    max_new_tokens: Annotated[int, at_least(1)] = 48
    form: Literal["fixed", "compat"] = "fixed"

    def start(self, data: Labelled) -> dict[str, Tensor]:
        """The unit difference in means."""
        positive, negative = class_means(data)
        return {"direction": normalize(positive - negative, dim=0).float()}

    def constants(self, data: Labelled) -> dict[str, Tensor]:
        """The activation units that factor 1 stands for."""
        return {"unit": torch.tensor(unit_of(data, self.start(data)["direction"]))}

    def items(self, data: Labelled) -> list[Group]:
        """Each positive text beside what the unsteered model answers to the same instruction."""
        found = []
        for win, answer in zip(texts(data, True), self._answers(data), strict=True):
            own = win.with_response(answer)
            found.append((win, own, own, win))
        return found

    def _answers(self, data: Labelled) -> list[str]:
        """What the unsteered model says, kept beside the checkpoints; an empty answer counts as a full stop."""
        assert data.through is not None
        asked = [text.instruction for text in texts(data, True)]
        model, folder = data.through.model, data.through.folder
        sampling = Sampling(self.max_new_tokens)
        kept = folder and folder / f"answers-{digest([model.identity, sampling, asked])[:24]}.json"
        if kept and kept.exists():
            try:
                return read_sealed(kept, "the answers are generated again")
            except DamagedFile as error:
                log.warning("%s", error)
        written = model.generate(asked, sampling=sampling)
        answers = [one.text if one.text.strip() else "." for one in written]
        if kept:
            write_sealed(kept, answers)
        return answers

    def prepare(self, model: Model, tokens: Tokens) -> dict[str, Tensor]:
        """What the unsteered model thinks of each text: the summed nll of its response, and its tokens."""
        scored = model.score(tokens)
        return {"nll": scored.nll, "n": scored.n_tokens.float(), "length": torch.tensor(tokens.lengths).float()}

    def hooks(self, batch: Batch, forward: Forward) -> list[tuple[Site, Hook]]:
        """h + factor * unit * w in the first two places of an item; h - ReLU(h . w) w / |w|^2 in the others."""
        w = forward.parameters["direction"][batch.concept]  # [batch, d]
        factors = torch.tensor(self.factors, device=w.device)
        factor = factors[(batch.draw * len(factors)).long()] * forward.parameters["unit"][batch.concept]
        added = torch.isin(batch.role, torch.tensor(ADDED, device=w.device))[:, None, None]

        def hook(h: Tensor) -> Tensor:
            along = torch.einsum("bpd,bd->bp", h.float(), w).relu() / w.pow(2).sum(1, keepdim=True)
            size = torch.where(added, factor[:, None, None], -along[..., None])
            return torch.where(batch.content[..., None], (h.float() + size * w[:, None]).to(h.dtype), h)

        return [(self.site, hook)]

    def loss(self, batch: Batch, forward: Forward) -> Float[Tensor, "batch"]:
        """The mean over an item's two preferences, then over the items of the step."""
        size = forward.n if self.form == "fixed" else batch.extra["length"]
        scale = batch.extra["n"] if self.form == "fixed" else torch.ones_like(forward.n)
        log_p = rearrange(-forward.nll / size, "(item preference) -> item preference", preference=4)
        before = rearrange(-batch.extra["nll"] / scale, "(item preference) -> item preference", preference=4)
        each = [self._preference(log_p[:, pair], before[:, pair]) for pair in (ADDED, NULLED)]
        return torch.stack(each).mean(0).repeat_interleave(4) / 4 / batch.n_items

    def _preference(self, log_p: Float[Tensor, "item 2"], before: Float[Tensor, "item 2"]) -> Float[Tensor, "item"]:
        scale = (self.beta * (before[:, 1] - before[:, 0])).clamp(min=1)
        return -logsigmoid(scale * log_p[:, 0] - log_p[:, 1])


@dataclass(frozen=True)
class RePS(TrainedVector):
    """A vector that makes the concept's answers preferred when it is added, and the model's own when it is removed.

    Trained at several strengths at once, and free in length: strength 1 adds it as it was trained at factor 1.
    """

    label: ClassVar[str] = "RePS"
    source: ClassVar[str] = "arXiv:2505.20809"

    form: Literal["fixed", "compat"] = "fixed"
    factors: Annotated[tuple[float, ...], some(above(0))] = (0.4, 0.6, 0.8, 1.0, 1.2)
    """Strengths drawn in training, in units of the largest projection on the difference in means."""
    beta: Annotated[float, at_least(0)] = 1.0
    max_new_tokens: Annotated[int, at_least(1)] = 48
    """Length of the model's own answers."""
    recipe: TrainingConfig = field(default_factory=lambda: TrainingConfig(learning_rate=0.004))

    @property
    def title(self) -> str:
        """The label, and whether this is the published form."""
        return self.label if self.form == "fixed" else f"{self.label} (as published)"

    @property
    def cost(self) -> float:
        """Four texts an item, and the model's own answers before."""
        return 4 * super().cost

    def objective(self, data: Labelled) -> PreferenceObjective:
        """What is trained at the site of the data; edits act on every token, as in the published code."""
        return PreferenceObjective(self.recipe, data.site, ALL, self.factors, self.beta, self.max_new_tokens, self.form)

    def to_artifact(self, data: Labelled, found: Trained) -> Vector:
        """The vector, its unit what factor 1 added in training."""
        w = found.parameters["direction"]
        unit = float(self.objective(data).constants(data)["unit"] * w.norm())
        return replace(self.vector(data, w, seed=self.recipe.seed), unit=unit)
