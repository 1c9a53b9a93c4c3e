"""The selection rule of the refusal direction, for any behaviour that the next token's logits show.

Arditi et al. 2024, arXiv:2406.11717, section 2.3 and appendix C: among differences in means at several layers and
tokens behind the prompt, the one whose ablation takes the behaviour away, whose addition brings it, and without which
the model goes on to other prompts as it does anyway.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from einops import reduce
from jaxtyping import Float
from torch import Tensor

from steering.methods.ablation import ablated
from steering.rereading import live_model, prompt_of
from workbench.artifacts.vector import Vector
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.methods.capabilities import NeedsModel, Steers
from workbench.methods.method import Method
from workbench.models.edits import Add, Edit
from workbench.models.model import Model
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.fields import above, at_least

BehaviourScore = Callable[[Float[Tensor, "row vocab"]], Float[Tensor, "row"]]
"""How much the next token's logits show the behaviour."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A difference in means, and what became of the behaviour with it."""

    site: Site
    token: int
    """Behind the prompt's text, from its end: -1 is the last."""
    direction: Float[Tensor, "d"]
    """In activation units."""
    ablated: float
    """Mean score of prompts that show the behaviour, with the direction ablated: less is better."""
    added: float
    """Mean score of prompts that do not, with the direction added."""
    kl: float
    """Mean KL(as it is || ablated) of the next token after prompts that do not show it, in nats."""


@dataclass(frozen=True)
class SelectedDirection(Method[Vector], Steers[Vector], NeedsModel):
    """One of many differences in means between prompts with and without a behaviour; a subclass says what shows it.

    Candidates are the means at the block inputs below `depth` and at the last `tokens` of a prompt, with the chat
    template's end. One passes whose ablation moves other prompts by at most `max_kl`, and whose addition raises their
    score; of these, the one whose ablation leaves least of the behaviour is taken. Strength 1 adds it once; strength -1
    subtracts it; the edits of `steering.methods.ablation.ablated` take it out.
    """

    tokens: Annotated[int, at_least(1)] = 5
    depth: Annotated[float, above(0, high=1)] = 0.8
    """Layers at or above this fraction are left out."""
    max_kl: Annotated[float, at_least(0)] = 0.1
    train: Annotated[int, at_least(1)] = 128
    """Prompts of each side, at most."""
    validation: Annotated[int, at_least(1)] = 32
    form: Literal["fixed", "compat"] = "fixed"
    """`compat` wants the score above 0 where the direction is added (not just raised), and trains and chooses only on
    prompts whose score has the sign of their side, as published."""

    @property
    def cost(self) -> float:
        """Hundreds of passes over the validation prompts."""
        return 3000.0

    @abstractmethod
    def score(self, model: Model, data: Labelled) -> BehaviourScore:
        """What the behaviour is measured by."""

    def fit(self, data: Labelled) -> Vector:
        """The chosen candidate at unit norm; its `unit` is its length.

        Raises DataError without the live model or held-out texts, and where no candidate passes, saying why.
        """
        found = self.candidates(data)
        passing = [one for one in found if self.passes(one)]
        if not passing:
            low = [one for one in found if one.kl <= self.max_kl]
            raise DataError(
                f"{self.label} of {data.name!r}: none of {len(found)} candidates passes; {len(low)} have a KL of at "
                f"most {self.max_kl}, and the largest gain of these by addition is "
                f"{max((one.added for one in low), default=float('nan')):.2f}"
            )
        best = min(passing, key=lambda one: (one.ablated, one.site.layer))
        length = float(best.direction.norm())
        return Vector(self.origin(data), best.site, best.direction / length, unit=length)

    def passes(self, one: Candidate) -> bool:
        """Whether a candidate may be chosen."""
        return one.kl <= self.max_kl and one.added > 0

    def candidates(self, data: Labelled) -> list[Candidate]:
        """Every candidate with its scores; in `fixed`, `added` is what the addition raises the score by."""
        model = live_model(data, self.label)
        if data.held_out is None:
            raise DataError(f"{self.label} of {data.name!r} chooses on held-out prompts, and there are none")
        score = self.score(model, data)
        with_it, without = (_prompts(model, data, side, self.train) for side in (True, False))
        asked, other = (_prompts(model, data.held_out, side, self.validation) for side in (True, False))
        if self.form == "compat":
            with_it, asked = (_where(side, score(model.next_logits(side)) > 0) for side in (with_it, asked))
            without, other = (_where(side, score(model.next_logits(side)) < 0) for side in (without, other))
            if not all(map(len, (with_it, without, asked, other))):
                raise DataError(
                    f"{self.label} of {data.name!r}: on one side no prompt for training, or none for choosing, scores "
                    "as its side does"
                )
        plain = model.next_logits(other)
        sites = [Site(layer, "resid_pre") for layer in range(model.n_layers) if layer < self.depth * model.n_layers]
        means = [self._means(model, side, sites) for side in (with_it, without)]
        start = 0.0 if self.form == "compat" else float(score(plain).mean())
        found = []
        for site in sites:
            for token, direction in enumerate((means[0][site] - means[1][site]).float(), start=-self.tokens):
                if bool(direction.isfinite().all()) and float(direction.norm()) > 0:
                    with model.edited(ablated(direction, model.n_layers)):
                        left, moved = float(score(model.next_logits(asked)).mean()), model.next_logits(other)
                    with model.edited(Add(site=site, direction=direction)):
                        gained = float(score(model.next_logits(other)).mean()) - start
                    found.append(Candidate(site, token, direction, left, gained, _kl(plain, moved)))
        return found

    def _means(self, model: Model, prompts: Tokens, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Of the last tokens at each site, [token, d] in float64. Raises DataError for a prompt that has fewer."""
        if (shortest := min(prompts.lengths)) < self.tokens:
            raise DataError(f"{self.label} reads the last {self.tokens} tokens of a prompt; one has {shortest}")
        read = model.read(prompts, sites, positions=f"all[-{self.tokens}:]")
        return {
            site: reduce(read.x(site).double(), "(prompt token) d -> token d", "mean", token=self.tokens)
            for site in sites
        }

    def edit(self, artifact: Vector, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Add the direction `strength` times at the input of its block."""
        return (artifact.edit(strength, positions),)


def _prompts(model: Model, data: Labelled, positive: bool, limit: int) -> Tokens:
    """The different prompts of one side, in order."""
    rows = data.row[data.y == positive].unique().tolist()
    return model.encode(list(dict.fromkeys(prompt_of(data.items[row]) for row in rows))[:limit])


def _where(tokens: Tokens, chosen: Tensor) -> Tokens:
    return tokens[chosen.nonzero()[:, 0].tolist()]


def _kl(plain: Float[Tensor, "row vocab"], moved: Float[Tensor, "row vocab"]) -> float:
    before, after = plain.double().log_softmax(1), moved.double().log_softmax(1)
    return float((before.exp() * (before - after)).sum(1).mean())
