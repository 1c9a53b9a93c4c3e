"""What reading, scoring, generation and training share: a network, its tokenizer, and the edits in force."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.arguments import unlike
from workbench.models.backend import Backend, Cache, Hook, InputOutputHook, Output
from workbench.models.conversation import Conversation, PromptLike, as_conversation
from workbench.models.edits import Edit
from workbench.models.encoding import encode, encode_chat, encode_conversations
from workbench.models.gates import Gate, in_places, observe
from workbench.models.identity import template_digest, tokenizer_digest
from workbench.models.low_rank_edits import LowRankMap
from workbench.models.positions import Layout
from workbench.models.sites import DEPTH, Site
from workbench.models.stacking import Edits, as_edits
from workbench.models.tokens import Tokens

TOKEN_BUDGET = 1024
"""Padded tokens in one forward pass: keeps the working memory of a read under 100 MiB on the default model."""

ModelInputs = Tokens | Iterable[PromptLike]
"""What a model can read: rows of tokens, or what makes them."""

# Of this thread (or asyncio task) alone, so that two of them may use one model.
_EDITED: ContextVar[Mapping["Core", tuple["_Edited", ...]]] = ContextVar("edited", default=MappingProxyType({}))
_PASS: ContextVar[tuple["Core", Layout] | None] = ContextVar("the forward pass being run", default=None)


@dataclass(frozen=True, eq=False)
class _Edited:
    """One `edited` that is being executed."""

    edits: tuple[Edit, ...]


@dataclass(eq=False)
class Core:
    """A causal language model with its tokenizer. `digest` identifies the weights.

    `edited` is the only thing that acts on the network, through hooks that live inside its `with` and act in its
    thread only.
    """

    backend: Backend
    tokenizer: Any
    name: str
    digest: str

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
        """The edits in force, in order: none outside `edited`, and none of another thread's."""
        return tuple(edit for context in _EDITED.get().get(self, ()) for edit in context.edits)

    @property
    def identity(self) -> dict[str, str]:
        """What results depend on: digests of weights (`model`), `tokenizer` and `chat_template` ("none"), and `dtype`.

        The template is looked at each time, as it may be set on the tokenizer; the rest is digested once. Raises
        ValueError as `check_unchanged`.
        """
        self.check_unchanged()
        return {
            "model": self.digest,
            "dtype": str(self.dtype).removeprefix("torch."),
            "tokenizer": self._tokenizer_digest,
            "chat_template": template_digest(getattr(self.tokenizer, "chat_template", None)),
        }

    @cached_property
    def _tokenizer_digest(self) -> str:
        return tokenizer_digest(self.tokenizer)

    def site(self, depth: float = DEPTH, stream: str = "resid_post") -> Site:
        """The site at a fraction of this model's depth."""
        return Site.at_depth(depth, self.n_layers, stream)

    def encode(self, conversations: Sequence[Conversation]) -> Tokens:
        """Conversations as Tokens, through the chat template unless they are bare text.

        Raises ValueError as `encode_conversations`, and for a row longer than the model's context, naming it.
        """
        return self.checked(encode_conversations(self.tokenizer, conversations))

    def tokenize(
        self, texts: Iterable[PromptLike], responses: Sequence[str] | None = None, *, chat: bool | None = None
    ) -> Tokens:
        """Texts (and what follows each of them) as Tokens.

        `chat=None` uses the chat template when the tokenizer has one and responses are given. Among the texts there may
        be Conversations and lists of chat messages, which are encoded as `encode` does, if no responses are given.
        Raises ValueError for an empty row or response, or a row longer than the model's context, naming it.
        """
        if isinstance(texts, str | Conversation | Mapping):
            raise ValueError(f"tokenize takes a list of texts; put the one {type(texts).__name__} in a list")
        if not isinstance(texts, Iterable) or getattr(texts, "ndim", 1) != 1:
            raise ValueError(unlike("what is to be tokenized", texts, "a list of texts, or Tokens"))
        texts = texts if isinstance(texts, Sequence) else [*texts]
        plain = [text for text in texts if isinstance(text, str)]
        if len(plain) < len(texts):
            if responses is not None:
                raise ValueError("a Conversation holds its own response; give responses with texts only")
            return self.encode([as_conversation(text, chat=chat is True) for text in texts])
        use_chat = chat if chat is not None else responses is not None and bool(self.tokenizer.chat_template)
        return self.checked((encode_chat if use_chat else encode)(self.tokenizer, plain, responses))

    @contextmanager
    def edited(self, edits: Edits, *, instead: bool = False) -> Iterator[Self]:
        """Apply edits, in order, in every forward pass of this thread inside the `with`.

        They are Edits, things fitted that make them at strength 1 (a Vector), or None; see `as_edits`. Edits that speak
        about rows must have as many rows as each call's batch. Contexts nest: inner edits come after outer ones, or are
        in force `instead` of them. Raises SiteError for a place the model does not have, before anything is hooked.
        """
        new = _Edited(as_edits(edits))
        for edit in new.edits:
            self._check_edit(edit)
        with self.backend.hooked([hook for edit in new.edits for hook in self._hooks(edit, new)]):
            outer = () if instead else _EDITED.get().get(self, ())
            token = _EDITED.set({**_EDITED.get(), self: (*outer, new)})
            try:
                yield self
            finally:
                _EDITED.reset(token)

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
        token = _PASS.set((self, layout))
        try:
            return self.backend.forward(
                layout, attended=attended, cache=cache, keep_cache=keep_cache, n_logits=n_logits
            )
        finally:
            _PASS.reset(token)

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

    def rows(self, inputs: ModelInputs) -> Tokens:
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
        for edit in self.edits:
            if edit.n_rows() not in (None, n_rows):
                kind, rows = type(edit).__name__, edit.n_rows()
                raise ValueError(f"the {kind} at {edit.site} speaks about {rows} rows, this call has {n_rows}")

    def check_unchanged(self) -> None:
        """See that the network does what `digest` stands for: whatever is kept under its name asks this first.

        Raises ValueError where edits are in force in this thread, or other weights in the network.
        """
        if self.edits or self.backend.exchanged:
            what, where = ("is being edited", "edited") if self.edits else ("has other weights than its own", "applied")
            raise ValueError(
                f"{self.name} {what}, and what is kept would be taken for the plain model's; leave `{where}` first "
                "(Model.read keeps nothing)"
            )

    def _check_edit(self, edit: Edit) -> None:
        edit.n_rows()
        if edit.model not in (None, self.digest):
            raise ValueError(
                f"the {type(edit).__name__} at {edit.site} comes from a fit on another model than {self.name}; "
                "`adopt` the vector if the two share their representation"
            )

    def _hooks(self, edit: Edit, context: _Edited) -> Iterator[tuple[Site, Hook]]:
        """What an edit does in each pass while it is in force: its gates look first, then it acts."""
        placed = edit.with_heads(self.backend.facts().heads.get(edit.site.stream))

        def rests() -> bool:
            return context not in _EDITED.get().get(self, ())

        for gates in in_places(edit.gate) if edit.gate is not None else ():
            site = gates.site if isinstance(gates, Gate) else gates[0].site
            yield site, lambda h, gates=gates: None if rests() else observe(gates, h, self._where())
        if isinstance(placed, LowRankMap):
            yield (
                edit.site,
                InputOutputHook(lambda source, h: h if rests() else placed.apply(h, self._where(), source)),
            )
        else:
            yield edit.site, lambda h: None if rests() else placed.apply(h, self._where())

    def _where(self) -> Layout:
        running = _PASS.get()
        if running is None or running[0] is not self:
            raise RuntimeError("inside `edited`, call the Model's own methods: they know which tokens are which")
        return running[1]
