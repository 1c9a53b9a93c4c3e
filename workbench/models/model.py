"""A language model whose named places can be read and edited while the plain Hugging Face module does the work."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.activations import Activations
from workbench.models.edits import Edit, LowRankMap
from workbench.models.generation import GREEDY, Generation, Sampling, generate
from workbench.models.hooks import Across, Tap, tapped
from workbench.models.places import Architecture
from workbench.models.positions import CONTENT, Layout, Positions
from workbench.models.reading import Pool, read
from workbench.models.scoring import Scored, score
from workbench.models.sites import Site
from workbench.models.tokens import Tokens, encode, encode_chat
from workbench.runs.files import digest

TOKEN_BUDGET = 1024
"""Padded tokens in one forward pass: keeps the working memory of a read under 100 MiB on the default model."""


@dataclass(eq=False)
class Model:
    """A causal language model with its tokenizer.

    `module` is a Hugging Face causal language model in evaluation mode; it is never changed. `digest` identifies the
    weights. `edited` is the only thing that acts on the module, through hooks that live inside its `with`.
    """

    module: Any
    tokenizer: Any
    name: str
    digest: str
    _layout: Layout | None = field(default=None, init=False, repr=False)
    _edits: tuple[Edit, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.module.training:
            raise ValueError(f"{self.name} is in training mode: dropout would change every number; call .eval() first")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.module.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision the residual stream is computed in."""
        return self.module.dtype

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits in force, in order: none outside `edited`."""
        return self._edits

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.architecture.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.module.config.get_text_config().hidden_size

    @property
    def context(self) -> int | None:
        """The longest text the model was made for, in tokens, if its config says."""
        return getattr(self.module.config.get_text_config(), "max_position_embeddings", None)

    @cached_property
    def identity(self) -> dict[str, str]:
        """What results depend on: digests of weights, tokenizer and chat template, and the dtype."""
        inner = json.loads(self.tokenizer.backend_tokenizer.to_str()) if self.tokenizer.is_fast else {}
        # Padding and truncation are what the last call asked for, no property of the tokenizer.
        kept = {key: value for key, value in inner.items() if key not in ("padding", "truncation")}
        special = {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()}
        return {
            "model": self.digest,
            "dtype": str(self.dtype).removeprefix("torch."),
            "tokenizer": digest([kept or self.tokenizer.get_vocab(), special]),
            "chat_template": digest(self.tokenizer.chat_template),
        }

    @cached_property
    def architecture(self) -> Architecture:
        """Where TransformerLens' hook names lie in this module."""
        return Architecture.of(self.module)

    @property
    def bridge(self) -> Any:
        """A TransformerLens bridge over a structural copy that shares every parameter with `module`.

        For places inside a module, such as attention patterns: `model.bridge.run_with_cache(...)`. What an architecture
        fuses, as GPT-2 does q, k and v, is copied. Edits do not act on it: raises RuntimeError inside `edited`.
        """
        if self._edits:
            raise RuntimeError(
                "edits act on the plain module, not on the bridge; leave `edited` before using the bridge"
            )
        return self._bridge

    @cached_property
    def _bridge(self) -> Any:
        import copy

        from transformer_lens.model_bridge.sources import build_bridge_from_module

        shared = {id(tensor): tensor for tensor in (*self.module.parameters(), *self.module.buffers())}
        twin = copy.deepcopy(self.module, shared)
        with torch.random.fork_rng(
            devices=[]
        ):  # modules made for split parameters are initialised before they are filled
            return build_bridge_from_module(twin, type(twin).__name__, hf_config=twin.config, model_name=self.name)

    def site(self, depth: float = 0.6, stream: str = "resid_post") -> Site:
        """The site at a fraction of this model's depth."""
        return Site.at_depth(depth, self.n_layers, stream)

    def tokenize(
        self, texts: Sequence[str], responses: Sequence[str] | None = None, *, chat: bool | None = None
    ) -> Tokens:
        """Texts (and what follows each of them) as Tokens.

        `chat=None` uses the chat template when the tokenizer has one and responses are given. Raises ValueError for
        an empty row or response, or a row longer than the model's context, naming it.
        """
        if isinstance(texts, str):
            raise ValueError("tokenize takes a list of texts; put the one text in a list")
        use_chat = chat if chat is not None else responses is not None and bool(self.tokenizer.chat_template)
        tokens = (encode_chat if use_chat else encode)(self.tokenizer, texts, responses)
        self._check_length(tokens, 0)
        return tokens

    @torch.no_grad()
    def read(
        self,
        tokens: Tokens | Sequence[str],
        sites: Sequence[Site | str] | Site | str,
        *,
        positions: Positions | str = CONTENT,
        pool: Pool | None = None,
        budget: int = TOKEN_BUDGET,
    ) -> Activations:
        """The hidden states at `sites`, of every chosen token [token, d] or pooled over each row's tokens [row, d].

        Each row runs once, in batches of similar length of at most `budget` padded tokens, no further than the last
        site asked for; the unembedding is never computed. `pool` is None, "mean", "last" or "max". Arrays are in the
        model's dtype, pooled ones in float32, on the CPU; rows keep their order, and heads lie side by side (z).
        Raises ValueError naming a row in which `positions` select nothing.
        """
        tokens = self._tokens(tokens)
        many = [sites] if isinstance(sites, Site | str) else list(sites)
        return read(self, tokens, [Site.parse(site) for site in many], Positions.parse(positions), pool, budget)

    @contextmanager
    def edited(self, edits: Edit | Sequence[Edit]) -> "Iterator[Model]":
        """Apply edits, in order, in every forward pass inside the `with`.

        Edits that speak about rows must have as many rows as each call's batch. Contexts nest: inner edits come after
        outer ones. Raises SiteError for a place the model does not have, before anything is hooked.
        """
        new = (edits,) if isinstance(edits, Edit) else tuple(edits)
        for edit in new:
            self._check(edit)
        places = [self.architecture.locate(self.module, edit.site) for edit in new]
        outer = self._edits
        with tapped([(place, self._tap(edit)) for place, edit in zip(places, new, strict=True)]):
            self._edits = outer + new
            try:
                yield self
            finally:
                self._edits = outer

    @torch.no_grad()
    def generate(
        self,
        prompts: Tokens | Sequence[str],
        *,
        edits: Edit | Sequence[Edit] = (),
        sampling: Sampling = GREEDY,
        batch_size: int = 32,
        chat: bool | None = None,
    ) -> list[Generation]:
        """Continue every prompt, with the KV cache, under `edits`; results in the prompts' order.

        Prompts given as text go through the chat template if there is one (`chat=None`). Each row may carry its own
        edit (see `Edit`) and has its own random stream, so its text does not depend on its neighbours.
        """
        if not isinstance(prompts, Tokens):
            prompts = self.tokenize(prompts, chat=bool(self.tokenizer.chat_template) if chat is None else chat)
        self._check_length(prompts, sampling.max_new_tokens)
        with self.edited(edits):
            self._check_rows(len(prompts))
            return generate(self, prompts, sampling, batch_size)

    @torch.no_grad()
    def logits(self, tokens: Tokens | Sequence[str], *, budget: int = TOKEN_BUDGET) -> list[Float[Tensor, "pos vocab"]]:
        """The logits at every token of each row, in the model's dtype."""
        tokens, found = self._tokens(tokens), {}
        for rows in tokens.batches(budget):
            with self.at(Layout.of(tokens, rows).to(self.device)) as layout:
                logits = self.forward(layout).logits
            found.update({row: logits[at, : tokens.lengths[row]].cpu() for at, row in enumerate(rows)})
        return [found[row] for row in range(len(tokens))]

    @torch.no_grad()
    def score(self, tokens: Tokens | Sequence[str], *, budget: int = TOKEN_BUDGET // 2) -> Scored:
        """The negative log-likelihood of each row's response given its prompt; of the whole row if it has none."""
        return score(self, self._tokens(tokens), budget)

    def loss(self, tokens: Tokens | Sequence[str]) -> Float[Tensor, "row"]:
        """Mean negative log-likelihood per scored token of each row, in nats."""
        return self.score(tokens).loss

    def perplexity(self, tokens: Tokens | Sequence[str]) -> Float[Tensor, "row"]:
        """exp(loss) of each row."""
        return self.loss(tokens).exp()

    @contextmanager
    def at(self, layout: Layout) -> Iterator[Layout]:
        """Tell edits where the columns of the next forward passes lie."""
        outer, self._layout = self._layout, layout
        try:
            yield layout
        finally:
            self._layout = outer

    def forward(self, layout: Layout, **options: Any) -> Any:
        """One pass of the plain module over a layout, padding masked and positions counted from each row's start.

        Gradients are recorded as PyTorch is set; `read`, `generate`, `logits` and `score` record none.
        """
        padded = not bool(layout.mask.all())
        options.setdefault("use_cache", False)
        return self.module(
            input_ids=layout.ids,
            attention_mask=options.pop("attention_mask", layout.mask.long() if padded else None),
            position_ids=layout.index.clamp(min=0),
            **options,
        )

    def _check(self, edit: Edit) -> None:
        edit.n_rows()
        if edit.model not in (None, self.digest):
            raise ValueError(
                f"the {type(edit).__name__} at {edit.site} comes from a fit on another model than {self.name}; "
                "`adopt` the vector if the two share their representation"
            )

    def _tap(self, edit: Edit) -> Tap:
        if isinstance(edit, LowRankMap):
            return Across(lambda source, h: edit.apply(h, self._where(), source))
        return lambda h: edit.apply(h, self._where())

    def _where(self) -> Layout:
        if self._layout is None:
            raise RuntimeError("inside `edited`, call the Model's own methods: they know which tokens are which")
        return self._layout

    def _tokens(self, tokens: Tokens | Sequence[str]) -> Tokens:
        tokens = tokens if isinstance(tokens, Tokens) else self.tokenize(tokens)
        self._check_length(tokens, 0)
        self._check_rows(len(tokens))
        return tokens

    def _check_rows(self, n_rows: int) -> None:
        for edit in self._edits:
            if edit.n_rows() not in (None, n_rows):
                kind, rows = type(edit).__name__, edit.n_rows()
                raise ValueError(f"the {kind} at {edit.site} speaks about {rows} rows, this call has {n_rows}")

    def _check_length(self, tokens: Tokens, room: int) -> None:
        if self.context is None:
            return
        for number, length in enumerate(tokens.lengths):
            if length + room > self.context:
                more = f" and {room} new ones" if room else ""
                raise ValueError(f"row {number} has {length} tokens{more}; {self.name} reads at most {self.context}")

    def _repr_html_(self) -> str:
        from html import escape

        rows = [("layers", self.n_layers), ("d_model", self.d_model), ("dtype", self.dtype), ("device", self.device)]
        cells = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in rows)
        return f"<table><caption>{escape(self.name)}</caption>{cells}</table>"


_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "transformers_version")


def wrap(module: nn.Module, tokenizer: Any, name: str | None = None) -> Model:
    """A Model from a module and a tokenizer in memory.

    Its digest is taken from the parameters' bytes and the config, without what changes when a model is saved, loaded or
    used with another version of transformers.
    """
    import hashlib
    import json

    config: Any = module.config
    described = {key: value for key, value in config.to_dict().items() if key not in _INCIDENTAL}
    total = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for key, tensor in sorted(module.state_dict().items()):
        total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return Model(module, tokenizer, name or config.name_or_path or type(module).__name__, total.hexdigest())
