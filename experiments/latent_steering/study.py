"""What all stages share: the run, the model, the texts, and vectors that are optimised once and kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.latent_steering.config import Config
from experiments.latent_steering.texts import Texts
from experiments.options import note_model
from steering.optimised.optimise import OptimiserConfig, fit_texts, injection
from workbench.artifacts.optimised_vectors import Injection, OptimisedVectors
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.files import JSON, copy_file, digest, plain
from workbench.runs.run import Run

VERSION = 2


@dataclass(frozen=True, eq=False)
class SentenceStudy:
    """One run."""

    config: Config
    run: Run
    model: Model
    texts: Texts

    @classmethod
    def of(cls, config: Config, run: Run) -> "SentenceStudy":
        """Load what the configuration names, the model last."""
        texts = Texts.of(config)
        model = config.load_model()
        note_model(run, model)
        return cls(config, run, model, texts)

    @property
    def optimiser(self) -> OptimiserConfig:
        """How vectors are found."""
        config = self.config
        return OptimiserConfig(
            steps=config.steps, learning_rate=config.learning_rate, restarts=config.restarts, seed=config.seed
        )

    def place(self, name: str, depth: float | None = None) -> Injection:
        """Where a site's name puts vectors, `block` or `first:4`."""
        kind, _, number = name.partition(":")
        at = self.config.depth if depth is None else depth
        block = Site.at_depth(at, self.model.n_layers)
        if kind == "prefix":
            return injection(self.model, Site(0, "resid_pre"), "first", int(number or 1))
        if kind == "first":
            return injection(self.model, block, "first", int(number or 1))
        if kind == "published":
            return injection(self.model, block, form="compat")
        stream = {"block": "resid_post", "attention": "attn_out", "mlp": "mlp_out"}[kind]
        return injection(self.model, Site(block.layer, stream))

    def inputs(
        self, place: Injection, texts: Sequence[str], optimiser: OptimiserConfig | None = None
    ) -> dict[str, JSON]:
        """What vectors of texts depend on."""
        where: JSON = [str(place.site), list(place.opening), place.reach, place.n_vectors]
        settings = plain(optimiser or self.optimiser)
        return {
            **self.model.identity,
            "place": where,
            "texts": digest(list(texts)),
            "optimiser": settings,
            "version": VERSION,
        }

    def fitted(self, name: str, place: Injection, texts: Sequence[str], *, one_start: bool = False) -> OptimisedVectors:
        """The vectors of some texts, which a user finds among the run's artifacts.

        With `one_start` no text starts again: another start gives another vector of the same text, so that angles
        between vectors, and means of them, say something of the texts only where all have the same one.
        """
        optimiser = replace(self.optimiser, restarts=0) if one_start else self.optimiser
        path = self.run.unit_file(
            f"vectors/{name}",
            self.inputs(place, texts, optimiser),
            lambda path: fit_texts(self.model, place, texts, optimiser).save(path),
            ".safetensors",
        )
        copy_file(path, self.run.artifacts / f"{name.replace('/', '-')}.safetensors")
        return OptimisedVectors.load(path)

    def random(self, like: Float[Tensor, "row vector d"]) -> Float[Tensor, "row vector d"]:
        """Random vectors, each as long as the one that it controls for."""
        drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(self.config.seed + 1))
        return drawn * (like.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True))
