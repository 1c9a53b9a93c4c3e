"""What reading, scoring, generation and training share: a network, its tokenizer, and the edits in force."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.models.backend import Backend, Cache, Hook, InputOutputHook, Output
from workbench.models.conversation import Conversation, Prompt, as_conversation
from workbench.models.edits import Edit, LowRankMap
from workbench.models.encoding import encode, encode_chat, encode_conversations
from workbench.models.identity import template_digest, tokenizer_digest
from workbench.models.positions import Layout
from workbench.models.sites import Site
from workbench.models.tokens import Tokens

TOKEN_BUDGET = 1024
"""Padded tokens in one forward pass: keeps the working memory of a read under 100 MiB on the default model."""

Inputs = Tokens | Sequence[Prompt]
"""What a model can read: rows of tokens, or what makes them."""


@dataclass(eq=False)
class Core:
    """A causal language model with its tokenizer. `digest` identifies the weights.

    `edited` is the only thing that acts on the network, through hooks that live inside its `with`.
    """

    backend: Backend
    tokenizer: Any
    name: str
    digest: str
    _layout: Layout | None = field(default=None, init=False, repr=False)
    _edits: tuple[Edit, ...] = field(default=(), init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.backend.facts().device

    @property
    def dtype(self) -> torch.dtype:
        """The precision the residual stream is computed in."""
        return self.backend.facts().dtype

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.backend.facts().n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.backend.facts().d_model

    @property
    def context(self) -> int | None:
        """The longest text the model was made for, in tokens, if its config says."""
        return self.backend.facts().context

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits in force, in order: none outside `edited`."""
        return self._edits

    @property
    def identity(self) -> dict[str, str]:
        """What results depend on: digests of weights (`model`), `tokenizer` and `chat_template` ("none"), and `dtype`.

        The template is looked at each time, as it may be set on the tokenizer; the rest is digested once.
        """
        return {
            "model": self.digest,
            "dtype": str(self.dtype).removeprefix("torch."),
            "tokenizer": self._tokenizer_digest,
            "chat_template": template_digest(getattr(self.tokenizer, "chat_template", None)),
        }

    @cached_property
    def _tokenizer_digest(self) -> str:
        return tokenizer_digest(self.tokenizer)

    def site(self, depth: float = 0.6, stream: str = "resid_post") -> Site:
        """The site at a fraction of this model's depth."""
        return Site.at_depth(depth, self.n_layers, stream)

    def encode(self, conversations: Sequence[Conversation]) -> Tokens:
        """Conversations as Tokens, through the chat template unless they are bare text.

        Raises ValueError as `encode_conversations`, and for a row longer than the model's context, naming it.
        """
        return self.checked(encode_conversations(self.tokenizer, conversations))

    def tokenize(
        self, texts: Sequence[Prompt], responses: Sequence[str] | None = None, *, chat: bool | None = None
    ) -> Tokens:
        """Texts (and what follows each of them) as Tokens.

        `chat=None` uses the chat template when the tokenizer has one and responses are given. Among the texts there may
        be Conversations and lists of chat messages, which are encoded as `encode` does, if no responses are given.
        Raises ValueError for an empty row or response, or a row longer than the model's context, naming it.
        """
        if isinstance(texts, str | Conversation):
            raise ValueError("tokenize takes a list of texts; put the one text in a list")
        plain = [text for text in texts if isinstance(text, str)]
        if len(plain) < len(texts):
            if responses is not None:
                raise ValueError("a Conversation holds its own response; give responses with texts only")
            return self.encode([as_conversation(text, chat=chat is True) for text in texts])
        use_chat = chat if chat is not None else responses is not None and bool(self.tokenizer.chat_template)
        return self.checked((encode_chat if use_chat else encode)(self.tokenizer, plain, responses))

    @contextmanager
    def edited(self, edits: Edit | Sequence[Edit]) -> Iterator[Self]:
        """Apply edits, in order, in every forward pass inside the `with`.

        Edits that speak about rows must have as many rows as each call's batch. Contexts nest: inner edits come after
        outer ones. Raises SiteError for a place the model does not have, before anything is hooked.
        """
        new = (edits,) if isinstance(edits, Edit) else tuple(edits)
        for edit in new:
            self._check_edit(edit)
        outer = self._edits
        with self.backend.hooked([(edit.site, self._hook(edit)) for edit in new]):
            self._edits = outer + new
            try:
                yield self
            finally:
                self._edits = outer

    def forward(
        self,
        layout: Layout,
        *,
        attended: Bool[Tensor, "batch _"] | None = None,
        cache: Cache | None = None,
        keep_cache: bool = False,
        n_logits: int | None = None,
    ) -> Output:
        """One pass over a layout under the edits in force, which are told where its columns lie; see `Backend.forward`.

        Gradients are recorded as PyTorch is set; `read`, `generate`, `logits` and `score` record none.
        """
        outer, self._layout = self._layout, layout
        try:
            return self.backend.forward(
                layout, attended=attended, cache=cache, keep_cache=keep_cache, n_logits=n_logits
            )
        finally:
            self._layout = outer

    def final_states(
        self, layout: Layout, chosen: Bool[Tensor, "batch pos"], **options: Any
    ) -> Float[Tensor, "item d"]:
        """What the unembedding multiplies at the chosen tokens, row by row; differentiable, and without any logits.

        That is the state after the final norm. `options` go to `forward`.
        """
        found: list[Tensor] = []

        def hook(h: Tensor) -> Tensor:
            found.append(h[chosen])
            return h[:, :0]  # the unembedding gets nothing to do

        with self.backend.hooked([("unembed.hook_in", hook)]):
            self.forward(layout, **options)
        return found[0]

    def rows(self, inputs: Inputs) -> Tokens:
        """Inputs as Tokens that can be run under the edits in force.

        Raises ValueError for rows that are too long, or another number of rows than an edit speaks about.
        """
        tokens = self.checked(inputs) if isinstance(inputs, Tokens) else self.tokenize(inputs)
        self.check_rows(len(tokens))
        return tokens

    def checked(self, tokens: Tokens, room: int = 0) -> Tokens:
        """The tokens, if each row and `room` new ones fit the model's context; else ValueError, naming the row."""
        context = self.context
        for number, length in enumerate(tokens.lengths):
            if context is not None and length + room > context:
                more = f" and {room} new ones" if room else ""
                raise ValueError(f"row {number} has {length} tokens{more}; {self.name} reads at most {context}")
        return tokens

    def check_rows(self, n_rows: int) -> None:
        """Raises ValueError if an edit in force speaks about another number of rows."""
        for edit in self._edits:
            if edit.n_rows() not in (None, n_rows):
                kind, rows = type(edit).__name__, edit.n_rows()
                raise ValueError(f"the {kind} at {edit.site} speaks about {rows} rows, this call has {n_rows}")

    def _check_edit(self, edit: Edit) -> None:
        edit.n_rows()
        if edit.model not in (None, self.digest):
            raise ValueError(
                f"the {type(edit).__name__} at {edit.site} comes from a fit on another model than {self.name}; "
                "`adopt` the vector if the two share their representation"
            )

    def _hook(self, edit: Edit) -> Hook:
        if isinstance(edit, LowRankMap):
            return InputOutputHook(lambda source, h: edit.apply(h, self._where(), source))
        return lambda h: edit.apply(h, self._where())

    def _where(self) -> Layout:
        if self._layout is None:
            raise RuntimeError("inside `edited`, call the Model's own methods: they know which tokens are which")
        return self._layout
