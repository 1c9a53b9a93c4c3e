"""From a Site to a module of the plain Hugging Face model, by TransformerLens' architecture adapters.

TransformerLens describes each architecture as named components, each with the path of a module, and each hook name as
an alias for some component's input or output. Followed to its end, `blocks.3.hook_attn_out` is "the output of
`model.layers.3.self_attn`" on a Llama and "the output of `model.layers.3.post_attention_layernorm`" on a Gemma 3.
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from workbench.models.sites import Site, SiteError

Side = Literal["hook_in", "hook_out"]


MISNAMED = {
    ("FalconH1ForCausalLM", "hook_attn_out"): "a Mamba branch runs beside it, and both are scaled when they are added",
    ("OlmoHybridForCausalLM", "hook_attn_out"): "its attention blocks normalise what they add behind that place",
}
"""Where what TransformerLens names is not what the block adds to the residual stream, and why."""


@dataclass(frozen=True)
class Place:
    """The input (`hook_in`) or output (`hook_out`) of the module at `path`."""

    path: str
    side: Side


@dataclass(frozen=True)
class Architecture:
    """The parts of a TransformerLens adapter that name the places of one model."""

    name: str
    """The class of the model."""
    blocks: str
    components: dict[str, Any]
    aliases: dict[str, Any]
    n_layers: int

    @classmethod
    def of(cls, module: nn.Module) -> "Architecture":
        """Ask TransformerLens for the adapter of a Hugging Face causal language model.

        Raises SiteError for an architecture that TransformerLens does not know, or that is not one stack of blocks.
        """
        from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
        from transformer_lens.model_bridge.sources import build_bridge_config_from_hf

        name = type(module).__name__
        config: Any = module.config
        try:
            described = build_bridge_config_from_hf(config, name, name, next(module.parameters()).dtype)
            adapter = ArchitectureAdapterFactory.select_architecture_adapter(described)
        except (ValueError, ImportError) as error:  # some adapters need a library of their own
            raise SiteError(f"TransformerLens has no adapter for {name}: {error}") from error
        block = adapter.components.get("blocks")
        if block is None:
            stacks = ", ".join(part for part in adapter.components if part.endswith("_blocks"))
            raise SiteError(f"{name} is not one stack of blocks (TransformerLens names {stacks}); read it otherwise")
        n_layers = config.get_text_config().num_hidden_layers
        return cls(name, str(block.name), dict(block.submodules), dict(block.hook_aliases), n_layers)

    def place(self, site: Site) -> Place:
        """The module input or output that `site` stands for.

        Raises SiteError if the layer is out of range, the hook lies inside a module, as attention patterns do, or what
        lies there is not what the name says.
        """
        if site.layer >= self.n_layers:
            raise SiteError(f"{site} is out of range: the model has blocks 0 to {self.n_layers - 1}")
        if (self.name, site.hook) in MISNAMED:
            raise SiteError(f"{site} cannot be had on {self.name}: {MISNAMED[self.name, site.hook]}")
        components, path, hook, aliases = self.components, f"{self.blocks}.{site.layer}", site.hook, self.aliases
        while hook not in ("hook_in", "hook_out"):
            if hook in aliases:
                target = aliases[hook]
                hook = target if isinstance(target, str) else target[0]
                continue
            head, _, rest = hook.partition(".")
            if not rest or head not in components:
                parts = f"whose parts there are {', '.join(components)}" if components else "which has no parts there"
                where = f"is not a module's input or output on {self.name}, {parts}"
                raise SiteError(f"{site} {where}; read it with model.bridge")
            component = components[head]
            path, hook = f"{path}.{component.name}", rest
            components, aliases = dict(component.submodules or {}), dict(component.hook_aliases)
        return Place(path, hook)

    def locate(self, module: nn.Module, site: Site) -> tuple[nn.Module, Side]:
        """The module of this model at `site`, and which side of it. Raises SiteError as `place` does."""
        place = self.place(site)
        try:
            return module.get_submodule(place.path), place.side
        except AttributeError as error:
            message = f"{site} has no module of its own on {self.name} ({error}); read it with model.bridge"
            raise SiteError(message) from error
