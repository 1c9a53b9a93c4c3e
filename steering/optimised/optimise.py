"""One optimisation for many texts: each row has vectors, a start and an end of its own.

`steering.training` trains each concept on many texts, for a number of epochs fixed beforehand. Here a row is one text,
leaves as soon as it is written exactly, and starts again where it is not. So the loop is another one, over the same
passes: what lies below the injection runs once, the blocks above on stored states.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import log
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from steering.optimised.decode import decode
from workbench.artifacts.artifact import Origin
from workbench.artifacts.optimised_vectors import Injection, OptimisedVectors, Reach
from workbench.methods.method import Form
from workbench.models.model import Model
from workbench.models.positions import Layout
from workbench.models.scoring import gives_logits, label_logits, label_nll, labels
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.models.training import frozen, run_from_layer
from workbench.runs.environment import code_version
from workbench.runs.fields import SEED, above, at_least, check_fields
from workbench.runs.files import canonical, digest, plain
from workbench.runs.progress import progress

CARRIER = "\n"
"""The token that carries a vector in the opening. BOS cannot: it is the attention sink, whose state in the middle
layers is a hundred times as long as any other, so that no vector of usual length changes what is predicted from it."""


@dataclass(frozen=True)
class OptimiserConfig:
    """How vectors are found: Adam, whose learning rate falls linearly to 0, until each token is likelier than not."""

    steps: Annotated[int, at_least(1)] = 100
    """Of one attempt, at most."""
    learning_rate: Annotated[float, above(0)] = 0.3
    """In the root mean square of the text's own states at the site, so that one serves all sites."""
    start: Annotated[float, at_least(0)] = 0.1
    """Standard deviation of the first vectors, in the same unit."""
    restarts: Annotated[int, at_least(0)] = 1
    """Attempts from another start for rows that were not matched."""
    confidence: Annotated[float, above(0, high=1)] = 0.5
    """A row is done when each of its tokens has a larger probability. From 0.5 on, greedy decoding then writes it, with
    room for the rounding of a cache or another batch."""
    seed: Annotated[int, SEED] = 0
    budget: Annotated[int, at_least(1)] = 2048
    """Padded tokens in one forward pass."""

    def __post_init__(self) -> None:
        check_fields(self)


def injection(model: Model, site: Site, reach: Reach = "all", n_vectors: int = 1, form: Form = "fixed") -> Injection:
    """Vectors at a site of this model: behind BOS on carrier tokens, or, as published, on BOS itself.

    Raises ValueError for a tokenizer that has neither BOS nor end of text, or no token for the carrier.
    """
    bos = next(
        (each for each in (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id) if each is not None), None
    )
    carrier = model.tokenizer(CARRIER, add_special_tokens=False)["input_ids"]
    if bos is None or not carrier:
        raise ValueError(f"the tokenizer of {model.name} has no BOS and no end of text, or no {CARRIER!r}")
    opening = (bos,) * n_vectors if form == "compat" else (bos,) + (carrier[-1],) * n_vectors
    return Injection(site, opening, reach, n_vectors)


@dataclass(frozen=True, eq=False)
class OptimisedRows:
    """What was found for each text."""

    vectors: Float[Tensor, "row vector d"]
    nll: Float[Tensor, "row"]
    """Mean over the text's tokens, in nats."""
    steps: Int[Tensor, "row"]
    """Taken in all attempts."""
    done: Bool[Tensor, "row"]
    """Whether each token is likelier than the `confidence`."""


def optimise(model: Model, place: Injection, texts: Tokens, config: OptimiserConfig | None = None) -> OptimisedRows:
    """Vectors for each text, all texts at once; each comes out as it would alone, up to rounding.

    Prefixes that the tokenizer put in front of the texts are left out. Of a row that is never done, the vectors of the
    lowest loss are kept. Raises ValueError inside `edited`, for no texts and for one without tokens, and where a text
    behind the opening is longer than the model reads.
    """
    if model.edits:
        raise ValueError("vectors are optimised on the unedited model; leave `edited` first")
    if not len(texts):
        raise ValueError("there are no texts to optimise vectors for")
    if empty := [number for number, row in enumerate(texts) if row.prefix == len(row.ids)]:
        raise ValueError(f"text {empty[0]} has no tokens of its own")
    return _Optimisation(model, place, config or OptimiserConfig(), model.checked(place.rows(texts))).run()


def fit_texts(
    model: Model, place: Injection, texts: Sequence[str], config: OptimiserConfig | None = None
) -> OptimisedVectors:
    """The vectors of some texts as an artifact, decoded once to see which texts are written exactly."""
    chosen, tokens = config or OptimiserConfig(), model.tokenize(list(texts), chat=False)
    rows = place.rows(tokens)
    found = optimise(model, place, tokens, chosen)
    ids = [row.ids[row.response :] for row in rows]
    written = decode(model, place, place.edits(found.vectors), [len(each) for each in ids])
    origin = Origin(
        method="OptimisedVectors",
        settings=canonical(plain(chosen)),
        concept=None,
        model=model.name,
        model_digest=model.digest,
        data=digest(list(texts)),
        seed=chosen.seed,
        code=code_version(),
    )
    matched = tuple(mine == wanted for mine, wanted in zip(written, ids, strict=True))
    return OptimisedVectors(origin, place, found.vectors, tuple(texts), tuple(map(len, ids)), matched)


@dataclass(eq=False)
class _Optimisation:
    """Texts that are optimised side by side."""

    model: Model
    place: Injection
    config: OptimiserConfig
    tokens: Tokens
    """Each text behind the opening."""
    linear: bool = field(init=False)
    """Whether logits are the states times the unembedding, so that few of them need be there at once."""
    unit: Float[Tensor, "row 1 1"] = field(init=False)
    """The root mean square of the text's states in the stream that the site adds to."""
    states: list[Float[Tensor, "pos d"]] | None = field(init=False, default=None)
    """The output of the highest block below the vectors, or of the one that they are added to."""

    def __post_init__(self) -> None:
        site, n = self.place.site, len(self.place.opening)
        self.linear = gives_logits(self.model, self.tokens)
        adds_to = site if site == Site(site.layer) else Site(site.layer, "resid_pre")
        states = self.model.read(self.tokens, adds_to, positions=f"all[{n}:]").arrays[adds_to]
        sizes = [length - n for length in self.tokens.lengths]
        self.unit = torch.stack([each.float().pow(2).mean().sqrt() for each in states.split(sizes)])[:, None, None]
        if self.source is not None:
            below = Site(self.source)
            read = self.model.read(self.tokens, below, positions="all").arrays[below]
            self.states = list(read.split(self.tokens.lengths))

    @property
    def source(self) -> int | None:
        """The block whose stored output a pass starts from; None runs the whole model."""
        site = self.place.site
        layer = site.layer if site == Site(site.layer) else site.layer - 1
        return None if layer < 0 else layer

    def run(self) -> OptimisedRows:
        """All attempts of all rows."""
        n = len(self.tokens)
        found = OptimisedRows(
            torch.zeros(n, self.place.n_vectors, self.model.d_model),
            torch.full((n,), torch.inf),
            torch.zeros(n, dtype=torch.long),
            torch.zeros(n, dtype=torch.bool),
        )
        with frozen(self.model):
            for attempt in range(self.config.restarts + 1):
                left = (~found.done).nonzero()[:, 0]
                if len(left):
                    self._attempt(left, attempt, found)
        return found

    def _attempt(self, active: Int[Tensor, "active"], attempt: int, found: OptimisedRows) -> None:
        """Adam from a new start, in units of each row; rows leave that are done, or whose loss is not finite.

        All rows start from the same numbers, so that no row depends on its neighbours and vectors can be compared.
        """
        config, n = self.config, len(self.tokens)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + attempt)
        drawn = torch.randn(self.place.n_vectors, self.model.d_model, generator=generator) * config.start
        free = drawn.expand(n, -1, -1).clone().requires_grad_()
        optimiser = torch.optim.Adam([free], lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, config.steps)
        for _ in progress(f"vectors of {len(active)} texts", range(config.steps), unit="step"):
            optimiser.zero_grad()
            parts = [active[rows] for rows in self.tokens[active.tolist()].batches(config.budget)]
            with torch.enable_grad():
                mean, largest = torch.cat([self._backward(free, rows) for rows in parts]).T
            rows = torch.cat(parts)
            self._keep(rows, (free * self.unit).detach(), mean, largest, found)
            active = rows[mean.isfinite() & ~found.done[rows]].sort().values
            if not len(active):
                return
            optimiser.step()
            schedule.step()

    def _keep(
        self,
        rows: Int[Tensor, "active"],
        vectors: Float[Tensor, "row vector d"],
        mean: Float[Tensor, "active"],
        largest: Float[Tensor, "active"],
        found: OptimisedRows,
    ) -> None:
        """Write down the rows that are better than before."""
        found.steps[rows] += 1
        better = rows[mean < found.nll[rows]]
        found.vectors[better] = vectors[better]
        found.nll[rows] = torch.minimum(mean.nan_to_num(nan=torch.inf), found.nll[rows])
        finished = rows[largest < -log(self.config.confidence)]
        found.done[finished] = True
        found.vectors[finished], found.nll[finished] = vectors[finished], mean[largest < -log(self.config.confidence)]

    def _backward(self, free: Float[Tensor, "row vector d"], rows: Int[Tensor, "part"]) -> Float[Tensor, "part 2"]:
        """Add the gradients of some rows; the mean and the largest nll of each row's tokens."""
        layout = Layout.of(self.tokens[rows.tolist()], [*range(len(rows))]).to(self.model.device)
        label, vectors = labels(layout), (free[rows] * self.unit[rows]).to(self.model.device)
        with self._from_states(layout, rows), self.model.edited(self.place.edits(vectors)):
            nll = self._nll(layout, label)
        table = torch.zeros(label.shape, device=nll.device).masked_scatter(label, nll.float())
        mean = table.sum(1) / label.sum(1)
        mean.sum().backward()
        return torch.stack([mean.detach(), table.detach().amax(1)], 1).cpu()

    def _nll(self, layout: Layout, label: Bool[Tensor, "part pos"]) -> Float[Tensor, "item"]:
        if self.linear:
            return label_nll(self.model, layout, label)
        logits = label_logits(self.model, layout, label).float()
        return torch.nn.functional.cross_entropy(logits, layout.ids[:, 1:][label[:, 1:]], reduction="none")

    def _from_states(self, layout: Layout, rows: Int[Tensor, "part"]) -> AbstractContextManager[None]:
        if self.source is None or self.states is None:
            return nullcontext()
        states = pad_sequence([self.states[row] for row in rows.tolist()], batch_first=True)
        return run_from_layer(self.model, self.source, states.to(layout.ids.device))
