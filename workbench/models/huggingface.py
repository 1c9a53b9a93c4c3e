"""The Backend of a plain Hugging Face causal language model, which does the work unwrapped and unchanged."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from threading import RLock
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import DynamicCache
from transformers.pytorch_utils import Conv1D

from workbench.models.backend import (
    Cache,
    CacheKind,
    Embeddings,
    Facts,
    Hook,
    HookPoint,
    InputOutputHook,
    LinearMap,
    Output,
)
from workbench.models.hooks import hooked
from workbench.models.huggingface_cache import KEYS, STATES, HuggingFaceCache
from workbench.models.huggingface_config import heads_of, why_not_causal
from workbench.models.places import Architecture, Side
from workbench.models.positions import Layout
from workbench.models.sites import Site, SiteError
from workbench.models.stored_block import StoredBlock

_EXCHANGED: ContextVar[tuple["HuggingFaceBackend", ...]] = ContextVar("exchanged", default=())
"""Those in which this thread (or asyncio task) has other weights or blocks than their own."""
_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "transformers_version")


@dataclass(frozen=True, eq=False)
class HuggingFaceBackend:
    """`module` is a causal language model of transformers in evaluation mode. Keeps the Backend protocol.

    Raises ValueError, naming the class, for what is no causal language model, and for a module in training mode.
    """

    module: Any
    _whole: AbstractContextManager[bool] = field(default_factory=RLock, init=False, repr=False)
    """Held by the thread that runs the network, or that has other blocks or weights in it for a while."""

    def __post_init__(self) -> None:
        name, reason = type(self.module).__name__, why_not_causal(self.module)
        if reason:
            raise ValueError(f"{name} is no causal language model: {reason}")
        if self.module.training:
            raise ValueError(f"{name} is in training mode: dropout would change every number; call .eval() first")

    @cached_property
    def architecture(self) -> Architecture:
        """Where TransformerLens' hook names lie in this module. Raises SiteError where TransformerLens has none."""
        return Architecture.of(self.module)

    def facts(self) -> Facts:
        """As the config, the first floating-point weight, the input embeddings and the generation config say."""
        config = self.module.config.get_text_config()
        ends: int | Sequence[int] | None = self.module.generation_config.eos_token_id
        return Facts(
            family=self.module.config.model_type,
            n_layers=config.num_hidden_layers,
            d_model=config.hidden_size,
            heads=heads_of(config),
            context=getattr(config, "max_position_embeddings", None),
            dtype=self.module.dtype,
            device=self.module.get_input_embeddings().weight.device,
            end_ids=frozenset([ends] if isinstance(ends, int) else ends or ()),
            cache=self._cache_kind,
        )

    def embeddings(self) -> Embeddings:
        """The weights of the input and output embeddings."""
        table, head = self.module.get_input_embeddings(), self.module.get_output_embeddings()
        tied = head.weight is table.weight
        return Embeddings(table.weight.detach(), head.weight.detach(), getattr(head, "bias", None), tied)

    def embed(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape d"]:
        """By the module's own input embedding, which scales its rows in Gemma models."""
        return self.module.get_input_embeddings()(ids)

    def forward(
        self,
        layout: Layout,
        *,
        attended: Bool[Tensor, "batch _"] | None = None,
        cache: Cache | None = None,
        keep_cache: bool = False,
        n_logits: int | None = None,
    ) -> Output:
        """Padding is masked, and positions count from each row's start."""
        attended, n_columns = layout.mask if attended is None else attended, layout.ids.shape[1]
        options: dict[str, Any] = {} if n_logits is None else {"logits_to_keep": n_logits}
        if cache is None and keep_cache and self._cache_kind == "keys":
            cache = self.empty_cache()
        if cache is not None:
            assert isinstance(cache, HuggingFaceCache)
            if n_columns > 1 and not cache.of_keys_only:
                raise ValueError(
                    f"{type(self.module).__name__} keeps other states than keys and values: one token a pass"
                )
            options[self._cache_name] = cache.inner
        if self._cache_name == "cache_params":
            attended = attended[:, -n_columns:]  # without attention, only what is new can be masked
        with self._whole:
            found = self.module(
                input_ids=layout.ids,
                attention_mask=None if bool(attended.all()) else attended.long(),
                position_ids=layout.index.clamp(min=0),
                use_cache=self._cache_kind != "none" and (keep_cache or cache is not None),
                **options,
            )
        made = getattr(found, self._cache_name, None)
        return Output(found.logits, None if made is None else HuggingFaceCache(made))

    def empty_cache(self) -> HuggingFaceCache:
        """See `Backend.empty_cache`."""
        if self._cache_kind != "keys":
            raise ValueError(f"{type(self.module).__name__} keeps other states than keys and values")
        return HuggingFaceCache.of_keys(self.module.config)

    @cached_property
    def _cache_name(self) -> str:
        """How `forward` calls the cache, as argument and in what it returns; "" for one whose rows cannot be chosen."""
        named = signature(type(self.module).forward).parameters
        return next((name for name in ("past_key_values", "cache_params") if name in named), "")

    @cached_property
    def _cache_kind(self) -> CacheKind:
        layers = {type(layer) for layer in DynamicCache(config=self.module.config).layers}
        # RecurrentGemma keeps its states in its own modules
        outside = hasattr(self.module.base_model, "_setup_cache")
        if not self._cache_name or outside or not layers <= {*KEYS, *STATES}:
            return "none"
        return "keys" if layers <= {*KEYS} else "states"

    @contextmanager
    def hooked(self, hooks: Sequence[tuple[HookPoint, Hook]]) -> Iterator[None]:
        """See `Backend.hooked`. Raises SiteError for what lies inside a module, as attention patterns do."""
        with self._whole:  # or they might be put on what stands in for a block in another thread
            for point, hook in hooks:
                if isinstance(point, Site) and isinstance(hook, InputOutputHook):
                    self.linear_map(point)
            placed = [(self.locate(point), hook) for point, hook in hooks]
        with hooked(placed):
            yield

    def locate(self, point: HookPoint) -> tuple[nn.Module, Side]:
        """The module at a point, and which side of it. Raises SiteError as `Architecture.place` does."""
        if isinstance(point, Site):
            return self.architecture.locate(self.module, point)
        return self.module.get_output_embeddings(), "hook_in" if point == "unembed.hook_in" else "hook_out"

    @contextmanager
    def run_from_layer(self, layer: int, states: Float[Tensor, "batch pos d"]) -> Iterator[None]:
        """The blocks are back in their places afterwards, whatever is raised. Raises SiteError as `locate` does."""
        blocks = self.module.get_submodule(self.architecture.blocks)
        assert isinstance(blocks, nn.ModuleList)
        if not 0 <= layer < len(blocks):
            raise IndexError(f"there is no block {layer}; the model has blocks 0 to {len(blocks) - 1}")
        self.locate(Site(layer))  # refused where the residual stream is not what a block returns
        self._check_apart(layer)
        with self._changed():
            kept = list(blocks[: layer + 1])
            try:
                for number, block in enumerate(kept):
                    blocks[number] = StoredBlock(block, states if number == layer else None, self._forms)
                yield
            finally:
                for number, block in enumerate(kept):
                    blocks[number] = block

    def _check_apart(self, layer: int) -> None:
        """Raises SiteError where blocks above `layer` need more of those below than the residual stream."""
        config = self.module.config.get_text_config()
        modes = getattr(config, "kv_sharing_modes", [])
        if "store" in modes[: layer + 1] and "reuse" in modes[layer + 1 :]:
            name = type(self.module).__name__
            raise SiteError(
                f"{name} cannot run from block {layer}: blocks above it reuse keys and values of those below"
            )

    @cached_property
    def _forms(self) -> dict[type[nn.Module], int | None]:
        """How many things a block of each class returns, in a tuple, or None for a bare tensor; found when needed."""
        return {}

    def linear_map(self, site: Site) -> LinearMap:
        """See `Backend.linear_map`. A router or fused experts are none: their output is not that of one matrix."""
        try:
            module, side = self.locate(site)
        except SiteError as error:
            raise SiteError(f"{error}{self._fused(site)}") from error
        if side != "hook_in" or not isinstance(module, nn.Linear | Conv1D):
            what = f"{type(self.module).__name__}: {type(module).__name__} is not one matrix"
            raise SiteError(
                f"no linear map reads {site} on {what}{self._fused(site)}; give a site that is one's input, such as z"
            )
        transposed = isinstance(module, Conv1D)
        d_out, d_in = reversed(module.weight.shape) if transposed else module.weight.shape
        return LinearMap(self.architecture.place(site).path, d_in, d_out, transposed)

    def _fused(self, site: Site) -> str:
        """What a user should know of a block whose experts share tensors [expert, d, d]."""
        if site.layer >= self.architecture.n_layers:
            return ""
        block = self.module.get_submodule(f"{self.architecture.blocks}.{site.layer}")
        fused = [name for name, weight in block.named_parameters() if weight.ndim == 3 and 1 not in weight.shape]
        return f"; the block's experts are fused into {' and '.join(fused)}" if fused else ""

    def parameters(self) -> Mapping[str, Tensor]:
        """As `module.named_parameters` names them: tied weights are there once."""
        return dict(self.module.named_parameters())

    def block_parameters(self, layer: int) -> Mapping[str, Tensor]:
        """See `Backend.block_parameters`."""
        if not 0 <= layer < self.facts().n_layers:
            raise IndexError(f"there is no block {layer} among {self.facts().n_layers}")
        start = f"{self.architecture.blocks}.{layer}."
        return {name: weight for name, weight in self.parameters().items() if name.startswith(start)}

    @contextmanager
    def with_weights(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Tensors are exchanged, and never written on."""
        own: dict[str, nn.Parameter] = dict(self.module.named_parameters())
        for name, value in weights.items():
            if name not in own or own[name].shape != value.shape:
                raise ValueError(f"the network has no weight {name} of shape {tuple(value.shape)}")
        given = {id(own[name]): _weight(value.to(own[name])) for name, value in weights.items()}
        places = [
            (part._parameters, key, weight)
            for part in self.module.modules()
            for key, weight in part._parameters.items()
            if id(weight) in given
        ]
        wanted = [weight for weight in own.values() if weight.requires_grad]
        with self._changed() if weights else nullcontext():
            try:
                for weight in wanted:
                    weight.requires_grad_(False)
                for parameters, key, weight in places:
                    parameters[key] = given[id(weight)]  # type: ignore[assignment]  # as torch.func.functional_call does
                yield
            finally:
                for parameters, key, weight in places:
                    parameters[key] = weight
                for weight in wanted:
                    weight.requires_grad_(True)

    @property
    def exchanged(self) -> bool:
        """See `Backend.exchanged`."""
        return self in _EXCHANGED.get()

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """The network is not its own inside, for this thread; others wait until it is."""
        with self._whole:
            token = _EXCHANGED.set((*_EXCHANGED.get(), self))
            try:
                yield
            finally:
                _EXCHANGED.reset(token)

    @contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        """See `Backend.gradient_checkpointing`; caches, which transformers' own refuses, go on being read."""
        blocks = self.module.get_submodule(self.architecture.blocks)
        assert isinstance(blocks, nn.ModuleList)
        own = [block for block in dict.fromkeys(blocks) if not isinstance(block, StoredBlock)]
        with self._whole:
            try:
                for block in own:
                    block.forward = _recomputed(block.forward)
                yield
            finally:
                for block in own:
                    block.__dict__.pop("forward", None)

    def randomised(self, seed: int) -> "HuggingFaceBackend":
        """By Hugging Face's own initialisation; PyTorch's global generator is left as it was."""
        config = copy.deepcopy(self.module.config)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = type(self.module)(config)
        module.to(self.facts().device).eval()
        trained = self.parameters()
        # one by one: module.to(dtype) would round rotary frequencies too
        for name, weight in module.named_parameters():
            weight.data = weight.data.to(trained[name].dtype)
        return HuggingFaceBackend(module)

    def digest(self) -> str:
        """Without what changes when a model is saved, loaded or used with another version of transformers."""
        described = {key: value for key, value in self.module.config.to_dict().items() if key not in _INCIDENTAL}
        total = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
        for key, tensor in sorted(self.module.state_dict().items()):
            total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        return total.hexdigest()

    def bridge(self, name: str) -> Any:
        """Over a structural copy that shares every parameter; what an architecture fuses, as GPT-2 does q, k and v,
        is copied."""
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        shared = {id(tensor): tensor for tensor in (*self.module.parameters(), *self.module.buffers())}
        twin = copy.deepcopy(self.module, shared)
        # modules made for split parameters are initialised before they are filled
        with torch.random.fork_rng(devices=[]):
            return build_bridge_from_module(twin, type(twin).__name__, hf_config=twin.config, model_name=name)


def _weight(value: Tensor) -> Tensor:
    """A tensor that asks for gradients must stay the one it is; others are made what a module expects to hold."""
    return value if value.requires_grad else nn.Parameter(value, requires_grad=False)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Runs again in the backward pass, for the hooks of the thread that it ran in, whichever thread that pass has."""

    def run(*args: Any, **options: Any) -> Any:
        within = copy_context()
        # a model in evaluation mode draws nothing that would have to be drawn again
        return checkpoint(within.run, forward, *args, use_reentrant=False, preserve_rng_state=False, **options)

    return run
