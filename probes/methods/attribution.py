"""Which tokens make a text classifier say that a concept is there: integrated gradients and input x gradient.

AxBench's IG and IxG baselines (arXiv:2501.17148). A head is trained on the last token's state after the final norm;
its answer to a text is then attributed to the hidden states of the text's tokens at the method's site, through the
blocks above it (Sundararajan et al. 2017, arXiv:1703.01365; Shrikumar et al. 2016, arXiv:1605.01713). Captum does both.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from workbench.artifacts.classifier_head import ClassifierHead
from workbench.data.items import DataError, Item
from workbench.data.labelled import Labelled, ModelAccess
from workbench.data.states import States
from workbench.methods.capabilities import NeedsModel, ScoresTexts
from workbench.methods.method import Form, Method
from workbench.models.activations import Activations
from workbench.models.model import TOKEN_BUDGET, Model
from workbench.models.positions import CONTENT, Layout
from workbench.models.reading import last_states
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.models.training import SharedPrefixCache, frozen, run_from_layer
from workbench.runs.fields import SEED, at_least, check_fields
from workbench.runs.files import canonical

AnswerFunction = Callable[[Tensor, Tensor], Tensor]
"""A number for each row of states [row, pos, d], given which text of the batch each row belongs to [row]."""

RANDOM_TOKENS = 1000
"""Tokens whose mean embedding is the published baseline."""


@dataclass(frozen=True)
class HeadConfig:
    """How the head is trained: AdamW whose learning rate falls linearly to 0."""

    epochs: Annotated[int, at_least(1)] = 72
    batch_size: Annotated[int, at_least(1)] = 18
    """Texts in one optimiser step."""
    learning_rate: Annotated[float, at_least(0)] = 1e-3
    weight_decay: Annotated[float, at_least(0)] = 2e-4
    dropout: Annotated[float, at_least(0, high=1)] = 0.3
    """Share of the hidden layer that is silenced in training."""
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_fields(self)


RECIPES: dict[Form, HeadConfig] = {"fixed": HeadConfig(), "compat": HeadConfig(batch_size=144, learning_rate=8e-5)}
"""The usual recipe of each form; the published one gathers eight batches of 18 for a step."""


@dataclass(frozen=True)
class _Attribution(Method[ClassifierHead], ScoresTexts[ClassifierHead], NeedsModel):
    """What both methods share: the head, and from attributions to scores.

    `fixed` trains the head on its logits and attributes their difference with its sign: a token scores the sum of its
    dimensions. `compat` does as published: a softmax before the cross-entropy, which has one of its own; the softmax
    is attributed, and a token scores the sum of magnitudes, so that speaking against the concept counts as for it.
    """

    source: ClassVar[str] = "arXiv:2501.17148"

    form: Form = "fixed"
    recipe: HeadConfig | None = None
    """How the head is trained; None takes the usual one of the form."""

    @property
    def title(self) -> str:
        """Says so where the published code's choices are kept."""
        return self.label if self.form == "fixed" else f"{self.label} (as published)"

    @property
    def training(self) -> HeadConfig:
        """The recipe in use."""
        return self.recipe or RECIPES[self.form]

    def fit(self, data: Labelled) -> ClassifierHead:
        """Train one head. Raises DataError without texts or the live model, or at a site that is no block's output."""
        return self._fit([data])[0]

    def fit_all(self, data: States) -> list[ClassifierHead]:
        """One head a concept; each text runs through the model once."""
        return self._fit(list(data))

    def detect_texts(
        self, artifact: ClassifierHead, texts: Sequence[Item], through: ModelAccess | None = None
    ) -> Float[Tensor, "text"]:
        """The largest score of any token of each text. Raises DataError without the live model, or for another one."""
        return torch.stack([scores.max() for scores in self.attribute(artifact, texts, through)])

    def attribute(
        self, artifact: ClassifierHead, texts: Sequence[Item], through: ModelAccess | None = None
    ) -> list[Float[Tensor, "_"]]:
        """The score of each token of each text, BOS and chat header apart, in float32.

        With integrated gradients in the form `fixed`, a text's scores add up to how much its log-odds exceed those of
        the baseline. Raises DataError without the live model, or for another one.
        """
        model = _live(through, artifact.origin.label)
        if artifact.origin.model_digest not in (model.digest, "unknown"):
            raise DataError(f"the head for {artifact.origin.label!r} was trained on {artifact.origin.model}")
        tokens, found = _tokens(model, texts), {}
        # In `compat` the way begins with the chat header replaced as well, so that it cannot run once for all.
        kept = 0 if self.form == "compat" else min(row.prefix for row in tokens)
        shared_prefix = SharedPrefixCache.of(model, tokens, kept)
        stored = _stored(through, artifact.site, tokens, shared_prefix.length)
        with frozen(model):
            for rows in tokens.batches(TOKEN_BUDGET):
                layout = Layout.of(tokens[rows], list(range(len(rows)))).after(shared_prefix.length).to(model.device)
                suffix = _Suffix(model, layout, artifact, self.form, shared_prefix)
                read = suffix.read(tokens[rows]) if stored is None else stored.select(rows)
                scores = self._scores(suffix, read.arrays[artifact.site])
                content = CONTENT.mask(layout)
                found.update({row: scores[at][content[at]].cpu() for at, row in enumerate(rows)})
        return [found[row] for row in range(len(texts))]

    @abstractmethod
    def share_out(
        self, answer: AnswerFunction, states: Float[Tensor, "row pos d"], baseline: Float[Tensor, "row pos d"]
    ) -> Float[Tensor, "row pos d"]:
        """What every entry of the states adds to the answer."""

    def _scores(self, suffix: "_Suffix", flat: Float[Tensor, "token d"]) -> Float[Tensor, "row pos"]:
        model, layout = suffix.model, suffix.layout
        states = torch.zeros((*layout.ids.shape, flat.shape[1]), device=model.device)
        states[layout.mask] = flat.float().to(model.device)
        # BOS and header are the same in every text: taking them away too would break the model, not ask about the text.
        replaced = CONTENT.mask(layout) if self.form == "fixed" else layout.mask
        baseline = torch.where(replaced[..., None], suffix.head.baseline.to(model.device), states)
        shares = self.share_out(suffix, states, baseline).detach()
        return shares.sum(-1) if self.form == "fixed" else shares.abs().sum(-1)

    def _fit(self, parts: Sequence[Labelled]) -> list[ClassifierHead]:
        model = _live(parts[0].through, parts[0].target.name)
        for part in parts:
            _check(part, model, self.form)
        rows = torch.cat([part.row for part in parts]).unique()
        states = _read_last(model, _tokens(model, [parts[0].items[row] for row in rows.tolist()]))
        return [self._head(part, model, states[torch.searchsorted(rows, part.row.unique())]) for part in parts]

    def _head(self, data: Labelled, model: Model, states: Float[Tensor, "text d"]) -> ClassifierHead:
        recipe = self.training
        weights = train_head(states, data.row_y, recipe, data.target.name, soft=self.form == "compat")
        baseline = _mean_embedding(model, recipe.seed) if self.form == "compat" else data.x.double().mean(0).float()
        return ClassifierHead(self.origin(data, recipe.seed), data.site, *weights, baseline)


@dataclass(frozen=True)
class IntegratedGradients(_Attribution):
    """The gradient along the straight way from a baseline to the text's states, times the way (arXiv:1703.01365).

    The baseline stands at every token: in the form `fixed` the mean state of the training tokens, and BOS and chat
    header keep their own; in `compat` the mean of 1000 random token embeddings, put at the site as it is.
    """

    label: ClassVar[str] = "Integrated gradients"

    steps: Annotated[int, at_least(1)] = 50
    """Points on the way; 5 is ten times as fast, and what the paper takes for its larger model."""

    @property
    def title(self) -> str:
        """The points on the way, where they are not the usual 50."""
        return super().title if self.steps == 50 else f"{super().title}, {self.steps} steps"

    def share_out(
        self, answer: AnswerFunction, states: Float[Tensor, "row pos d"], baseline: Float[Tensor, "row pos d"]
    ) -> Float[Tensor, "row pos d"]:
        """By Gauss-Legendre quadrature, one point of all texts in a pass."""
        from captum.attr import IntegratedGradients as Integrated

        texts = torch.arange(len(states), device=states.device)
        return Integrated(answer).attribute(
            states, baseline, additional_forward_args=texts, n_steps=self.steps, internal_batch_size=len(states)
        )


@dataclass(frozen=True)
class InputXGradient(_Attribution):
    """The gradient at the text's states, times the states (arXiv:1605.01713). It has no baseline."""

    label: ClassVar[str] = "Input x gradient"

    def share_out(
        self, answer: AnswerFunction, states: Float[Tensor, "row pos d"], baseline: Float[Tensor, "row pos d"]
    ) -> Float[Tensor, "row pos d"]:
        """In one pass."""
        from captum.attr import InputXGradient as Product

        texts = torch.arange(len(states), device=states.device)
        return Product(answer).attribute(states.requires_grad_(), additional_forward_args=texts)


@dataclass(frozen=True, eq=False)
class _Suffix:
    """The head's answer as a function of the states at the site: only the blocks above it run."""

    model: Model
    layout: Layout
    """Of the columns behind the shared prefix."""
    head: ClassifierHead
    form: Form
    shared_prefix: SharedPrefixCache

    def read(self, tokens: Tokens) -> Activations:
        """The model's own states at the site, of all tokens behind the shared prefix."""
        return self.model.read(tokens, self.head.site, positions=f"all[{self.shared_prefix.length}:]")

    def __call__(self, states: Float[Tensor, "row pos d"], text: Int[Tensor, "row"]) -> Float[Tensor, "row"]:
        layout = replace(self.layout.select(text), rows=text, memory=())
        with run_from_layer(self.model, self.head.site.layer, states.to(self.model.dtype)):
            logits = self.head.logits(last_states(self.model, layout, **self.shared_prefix.options(layout)).float())
        return logits.softmax(1)[:, 1] if self.form == "compat" else logits[:, 1] - logits[:, 0]


def train_head(
    x: Float[Tensor, "text d"], y: Bool[Tensor, "text"], recipe: HeadConfig, name: str, *, soft: bool = False
) -> tuple[Float[Tensor, "hidden d"], Float[Tensor, "hidden"], Float[Tensor, "2 hidden"], Float[Tensor, "2"]]:
    """Weights of d -> d/2 -> ReLU -> 2 that tell texts with the concept (class 1) from others, by cross-entropy.

    Order, start and dropout are drawn for `recipe.seed` and `name`. `soft` feeds the loss probabilities for logits.
    """
    generator = _stream(recipe.seed, name)
    hidden, n_steps = max(x.shape[1] // 2, 1), recipe.epochs * -(-len(x) // recipe.batch_size)
    sizes = ((hidden, x.shape[1]), (hidden,), (2, hidden), (2,))
    widths = (x.shape[1], x.shape[1], hidden, hidden)
    first, first_bias, second, second_bias = (
        ((2 * torch.rand(size, generator=generator) - 1) / width**0.5).requires_grad_()
        for size, width in zip(sizes, widths, strict=True)
    )
    leaves = [first, first_bias, second, second_bias]
    optimizer = torch.optim.AdamW(leaves, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / n_steps)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(x), generator=generator).split(recipe.batch_size):
            with torch.enable_grad():
                inner = linear(x[rows], first, first_bias).relu()
                kept = torch.rand(inner.shape, generator=generator) >= recipe.dropout
                logits = linear(inner * kept / (1 - recipe.dropout), second, second_bias)
                cross_entropy(logits.softmax(1) if soft else logits, y[rows].long()).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return first.detach(), first_bias.detach(), second.detach(), second_bias.detach()


def _stream(*key: object) -> torch.Generator:
    """Random numbers that depend on the key alone."""
    name = hashlib.sha256(canonical(list(key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(name[:6], "big"))


@torch.no_grad()
def _mean_embedding(model: Model, seed: int) -> Float[Tensor, "d"]:
    n_tokens = len(model.backend.embeddings().input)
    ids = torch.randint(n_tokens, (RANDOM_TOKENS,), generator=_stream(seed, "baseline"))
    return model.backend.embed(ids.to(model.device)).float().mean(0).cpu()


@torch.no_grad()
def _read_last(model: Model, tokens: Tokens) -> Float[Tensor, "text d"]:
    batches = list(tokens.batches(TOKEN_BUDGET))
    # the unembedding may read another width than d_model
    found = [last_states(model, Layout.of(tokens, rows).to(model.device)).float().cpu() for rows in batches]
    order = torch.tensor([row for rows in batches for row in rows])
    return torch.cat(found)[order.argsort()]


def _stored(through: ModelAccess | None, site: Site, tokens: Tokens, first: int) -> Activations | None:
    """What has been read at a site, if it is of these texts and of all tokens from the place `first` on."""
    read = through and through.read
    if not read or site not in read.sites or read.position is None or read.n_rows != len(tokens):
        return None
    whole = torch.equal(read.counts, torch.tensor(tokens.lengths) - first) and bool((read.position >= first).all())
    return read if whole else None


def _tokens(model: Model, texts: Sequence[Item]) -> Tokens:
    return model.encode([text.conversation for text in texts])


def _live(through: ModelAccess | None, concept: str) -> Model:
    if through is None:
        raise DataError(f"attribution for {concept!r} needs the live model: pass `through=ModelAccess(model)`")
    return through.model


def _check(data: Labelled, model: Model, form: Form) -> None:
    if not data.items:
        raise DataError(f"attribution for {data.target.name!r} needs the texts themselves: give the data `items`")
    if data.site.stream != "resid_post":
        raise DataError(f"attribution for {data.target.name!r} starts from a block's output, not from {data.site}")
    width = model.backend.embeddings().input.shape[1]
    if form == "compat" and width != data.d:
        raise DataError(
            f"attribution as published puts token embeddings at {data.site}; those of {model.name} have {width} "
            f"entries, the state there {data.d}: take the form 'fixed'"
        )
