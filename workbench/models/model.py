"""A language model whose named places can be read and edited: what users call."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.arguments import hinted
from workbench.html import html_facts
from workbench.models.activations import Activations
from workbench.models.core import TOKEN_BUDGET, Core, ModelInputs
from workbench.models.decoder import Generation
from workbench.models.generation import Failures, check_generation, generate
from workbench.models.huggingface import HuggingFaceBackend
from workbench.models.pooling import Pooling
from workbench.models.positions import CONTENT, Layout, Positions
from workbench.models.reading import read
from workbench.models.readspec import ReadSpec
from workbench.models.sampling import GREEDY, Sampling
from workbench.models.scoring import Scored, next_logits, score
from workbench.models.sites import Site
from workbench.models.stacking import Edits
from workbench.models.tokens import Tokens


class Model(Core):
    """A causal language model with its tokenizer, to be read, edited, scored and continued."""

    @property
    def module(self) -> Any:
        """The plain Hugging Face module. Raises AttributeError where another backend does the work."""
        if not isinstance(self.backend, HuggingFaceBackend):
            raise AttributeError(f"{self.name} is run by {type(self.backend).__name__}, which has no torch module")
        return self.backend.module

    @property
    def bridge(self) -> Any:
        """A TransformerLens bridge that shares every parameter with the model.

        For places inside a module, such as attention patterns: `model.bridge.run_with_cache(...)`. Neither edits nor
        exchanged weights act on it: raises RuntimeError inside `edited` and inside an adapter's `applied`.
        """
        if self.edits or self.backend.exchanged:
            raise RuntimeError(
                "edits and exchanged weights act on the plain module, not on the bridge; leave `edited` or `applied` "
                "before using the bridge"
            )
        return self._bridge

    @cached_property
    def _bridge(self) -> Any:
        return self.backend.bridge(self.name)

    @torch.no_grad()
    def read(
        self,
        tokens: ModelInputs,
        sites: Sequence[Site | str | int] | Site | str | int | ReadSpec,
        *,
        positions: Positions | str | None = None,
        pool: Pooling | None = None,
        budget: int = TOKEN_BUDGET,
    ) -> Activations:
        """The hidden states at `sites`, of every chosen token [token, d] or pooled over each row's tokens [row, d].

        A number is a block's residual stream. A ReadSpec in the place of the sites says all three; without one,
        positions are by default CONTENT.

        Each row runs once, in batches of similar length of at most `budget` padded tokens, no further than the last
        site asked for; the unembedding is never computed. `pool` is None, "mean", "last" or "max". Arrays are in the
        model's dtype, pooled ones in float32, on the CPU; rows keep their order, and heads lie side by side (z).
        Raises ValueError naming a row in which `positions` select nothing, and for a ReadSpec beside positions or pool.
        """
        if not isinstance(sites, ReadSpec):
            many = sites if isinstance(sites, Sequence) and not isinstance(sites, str) else [sites]
            sites = ReadSpec.at(*many, positions=CONTENT if positions is None else positions, pool=pool)
        elif positions is not None or pool is not None:
            raise ValueError(f"positions and pool are part of the ReadSpec ({sites}); give them there only")
        return read(self, self.rows(tokens), sites, budget)

    @hinted(
        **dict.fromkeys((field.name for field in fields(Sampling)), "sampling=Sampling({name}={value})"),
        strength="edits=vector.edit({value})",
        positions="edits=vector.edit(positions={value})",
    )
    @torch.no_grad()
    def generate(
        self,
        prompts: ModelInputs,
        *,
        edits: Edits = (),
        sampling: Sampling = GREEDY,
        batch_size: int = 32,
        chat: bool | None = None,
        failures: Failures = "raise",
    ) -> list[Generation]:
        """Continue every prompt, with the KV cache, under `edits` (see `edited`); results in the prompts' order.

        Prompts given as text go through the chat template if there is one (`chat=None`). Each row may carry its own
        edit (see `Edit`) and has its own random stream, so its text does not depend on its neighbours. Where an edit
        leaves a row without finite logits, raises ValueError naming row and edit, unless `failures` is `keep`: then the
        row's Generation says why it ended.
        """
        if not isinstance(prompts, Tokens):
            prompts = self.tokenize(prompts, chat=bool(self.tokenizer.chat_template) if chat is None else chat)
        check_generation(sampling, batch_size, failures)
        self.checked(prompts, sampling.max_new_tokens)
        with self.edited(edits):
            self.check_rows(len(prompts))
            return generate(self, prompts, sampling, batch_size, failures)

    @torch.no_grad()
    def logits(self, tokens: ModelInputs, *, budget: int = TOKEN_BUDGET) -> list[Float[Tensor, "pos vocab"]]:
        """The logits at every token of each row, in the model's dtype."""
        tokens, found = self.rows(tokens), {}
        for rows in tokens.batches(budget):
            logits = self.forward(Layout.of(tokens, rows).to(self.device)).logits
            found.update({row: logits[at, : tokens.lengths[row]].cpu() for at, row in enumerate(rows)})
        return [found[row] for row in range(len(tokens))]

    @torch.no_grad()
    def next_logits(self, tokens: ModelInputs, *, budget: int = TOKEN_BUDGET) -> Float[Tensor, "row vocab"]:
        """The logits of the token that follows each row, in float32, under the edits in force.

        What all rows begin with, up to the first token that an edit looks at, runs once: a row for each head of each
        layer costs one prompt and one token a row. Raises ValueError for no rows.
        """
        rows = self.rows(tokens)
        if not len(rows):
            raise ValueError("there are no rows to continue")
        return next_logits(self, rows, budget)

    @torch.no_grad()
    def score(self, tokens: ModelInputs, *, budget: int = TOKEN_BUDGET // 2) -> Scored:
        """The negative log-likelihood of each row's response given its prompt; of the whole row if it has none.

        The first token of a row is not scored: nothing predicts it.
        """
        return score(self, self.rows(tokens), budget)

    def loss(self, tokens: ModelInputs) -> Float[Tensor, "row"]:
        """Mean negative log-likelihood per scored token of each row, in nats; NaN for one of a single token."""
        return self.score(tokens).loss

    def perplexity(self, tokens: ModelInputs) -> Float[Tensor, "row"]:
        """exp(loss) of each row; NaN for one of a single token, which nothing predicts."""
        return self.loss(tokens).exp()

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.n_layers} layers of width {self.d_model}, {self.dtype})"

    def _repr_html_(self) -> str:
        facts = {"layers": self.n_layers, "d_model": self.d_model, "dtype": self.dtype, "device": self.device}
        return html_facts(facts, self.name)


def wrap(module: nn.Module, tokenizer: Any, name: str | None = None) -> Model:
    """A Model from a module in evaluation mode and a tokenizer, both in memory.

    Its digest is taken from the parameters' bytes and the config; see `HuggingFaceBackend.digest`.
    """
    backend = HuggingFaceBackend(module)
    named = name or backend.module.config.name_or_path or type(module).__name__
    return Model(backend, tokenizer, named, backend.digest())


@torch.no_grad()
def copied_with(model: Model, changes: Mapping[str, Tensor], name: str) -> Model:
    """A model in which each named weight is itself plus its change, rounded to the weight's precision.

    All other weights are the same tensors as the first model's: a copy costs what it changes.
    """
    shared = {id(weight): weight for name, weight in model.module.named_parameters() if name not in changes}
    module = copy.deepcopy(model.module, shared)
    weights = dict(module.named_parameters())
    for parameter, change in changes.items():
        weight = weights[parameter]
        weight.copy_(weight.float() + change.to(weight.device).float())
    return wrap(module, model.tokenizer, name)
