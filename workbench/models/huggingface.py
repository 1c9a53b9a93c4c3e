"""The Backend of a plain Hugging Face causal language model, which does the work unwrapped and unchanged."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache as TransformersCache
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from workbench.models.backend import Cache, Embeddings, Facts, Hook, LinearMap, Output, Point
from workbench.models.hooks import hooked
from workbench.models.places import Architecture, Side
from workbench.models.positions import Layout
from workbench.models.sites import Site, SiteError

_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "transformers_version")


@dataclass(frozen=True, eq=False)
class HuggingFaceBackend:
    """`module` is a causal language model of transformers in evaluation mode. Keeps the Backend protocol.

    Raises ValueError for a module in training mode.
    """

    module: Any

    def __post_init__(self) -> None:
        if self.module.training:
            name = type(self.module).__name__
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
            n_layers=config.num_hidden_layers,
            d_model=config.hidden_size,
            d_head=_d_head(config),
            context=getattr(config, "max_position_embeddings", None),
            dtype=self.module.dtype,
            device=self.module.get_input_embeddings().weight.device,
            end_ids=frozenset([ends] if isinstance(ends, int) else ends or ()),
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
        attended = layout.mask if attended is None else attended
        options: dict[str, Any] = {} if n_logits is None else {"logits_to_keep": n_logits}
        if cache is not None:
            assert isinstance(cache, HuggingFaceCache)
            options["past_key_values"] = cache.inner
        found = self.module(
            input_ids=layout.ids,
            attention_mask=None if bool(attended.all()) else attended.long(),
            position_ids=layout.index.clamp(min=0),
            use_cache=keep_cache or cache is not None,
            **options,
        )
        made = getattr(found, "past_key_values", None)
        return Output(found.logits, None if made is None else HuggingFaceCache(made))

    @contextmanager
    def hooked(self, hooks: Sequence[tuple[Point, Hook]]) -> Iterator[None]:
        """See `Backend.hooked`. Raises SiteError for what lies inside a module, as attention patterns do."""
        with hooked([(self.locate(point), hook) for point, hook in hooks]):
            yield

    def locate(self, point: Point) -> tuple[nn.Module, Side]:
        """The module at a point, and which side of it. Raises SiteError as `Architecture.place` does."""
        if isinstance(point, Site):
            return self.architecture.locate(self.module, point)
        return self.module.get_output_embeddings(), "hook_in" if point == "unembed.hook_in" else "hook_out"

    @contextmanager
    def run_from_layer(self, layer: int, states: Float[Tensor, "batch pos d"]) -> Iterator[None]:
        """The blocks are back in their places afterwards, whatever is raised."""
        blocks = self.module.get_submodule(self.architecture.blocks)
        assert isinstance(blocks, nn.ModuleList)
        if not 0 <= layer < len(blocks):
            raise IndexError(f"there is no block {layer}; the model has blocks 0 to {len(blocks) - 1}")
        kept = list(blocks[: layer + 1])
        try:
            for number in range(layer):
                blocks[number] = _Stored(None)
            blocks[layer] = _Stored(states)
            yield
        finally:
            for number, block in enumerate(kept):
                blocks[number] = block

    def linear_map(self, site: Site) -> LinearMap:
        """See `Backend.linear_map`."""
        module, side = self.locate(site)
        weight = getattr(module, "weight", None)
        if side != "hook_in" or not isinstance(weight, Tensor) or weight.ndim != 2:
            raise SiteError(f"no linear map reads {site}; give a site that is one's input, such as z")
        transposed = not isinstance(module, nn.Linear)
        d_out, d_in = reversed(weight.shape) if transposed else weight.shape
        return LinearMap(self.architecture.place(site).path, d_in, d_out, transposed)

    def parameters(self) -> Mapping[str, Tensor]:
        """As `module.named_parameters` names them: tied weights are there once."""
        return dict(self.module.named_parameters())

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
        try:
            for weight in wanted:
                weight.requires_grad_(False)
            for parameters, key, weight in places:
                parameters[key] = given[id(weight)]  # type: ignore[assignment]  # torch.func.functional_call does so too
            yield
        finally:
            for parameters, key, weight in places:
                parameters[key] = weight
            for weight in wanted:
                weight.requires_grad_(True)

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


@dataclass(frozen=True, eq=False)
class HuggingFaceCache:
    """A cache of transformers. Keeps the Cache protocol."""

    inner: Any

    def select(self, rows: Int[Tensor, "kept"]) -> None:
        """Keep these rows only, in place."""
        self.inner.batch_select_indices(rows)

    def join(self, other: Cache, n_columns: int) -> None:
        """Only keys and values can be aligned, in every layer or in a sliding window of each row's last tokens."""
        assert isinstance(other, HuggingFaceCache)
        if not (_is_aligned(self.inner) and _is_aligned(other.inner)):
            raise ValueError(f"rows cannot join a running batch in a network that keeps a {type(self.inner).__name__}")
        for mine, theirs in zip(self.inner.layers, other.inner.layers, strict=True):
            width = n_columns if not mine.is_sliding else min(n_columns, mine.sliding_window - 1)
            mine.keys, mine.values = (
                torch.cat([_ending(a, width), _ending(b, width)])
                for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values))
            )
            if mine.is_sliding:
                mine.cumulative_length = n_columns

    def shared(self) -> "HuggingFaceCache | None":
        """Only a cache of keys and values in every layer can be shared."""
        made = self.inner
        if type(made) is not DynamicCache or not all(isinstance(layer, DynamicLayer) for layer in made.layers):
            return None
        return HuggingFaceCache(_Kept(made.layers))


def _is_aligned(cache: Any) -> bool:
    """Whether every layer keeps just keys and values, a column a token."""
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    return type(cache) is DynamicCache and all(type(layer) in kinds for layer in cache.layers)


def _ending(states: Float[Tensor, "row head pos d_head"], width: int) -> Float[Tensor, "row head width d_head"]:
    """The last `width` columns, with zeros in front if there are fewer."""
    kept = states[:, :, max(0, states.shape[2] - width) :]
    return nn.functional.pad(kept, (0, 0, width - kept.shape[2], 0))


def _d_head(config: Any) -> int | None:
    if (stated := getattr(config, "head_dim", None)) is not None:
        return stated
    n_heads = getattr(config, "num_attention_heads", None)
    return config.hidden_size // n_heads if n_heads else None


class _Stored(nn.Module):
    """Stands in for a block: whatever goes in, the stored states come out. None passes on what comes in."""

    def __init__(self, states: Tensor | None) -> None:
        super().__init__()
        self.states = states

    def forward(self, hidden: Tensor, *_args: Any, **_options: Any) -> Tensor:
        return hidden if self.states is None else self.states


class _Kept(TransformersCache):
    """Keys and values that forward passes read and leave as they are: what a block adds is dropped behind it."""

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        layer = copy.copy(self.layers[layer_idx])
        assert isinstance(layer, DynamicLayer)
        layer.batch_repeat_interleave(len(key_states))
        return layer.update(key_states, value_states, *args, **kwargs)
