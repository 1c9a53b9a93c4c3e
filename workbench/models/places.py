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


@dataclass(frozen=True)
class Place:
    """The input (`hook_in`) or output (`hook_out`) of the module at `path`."""

    path: str
    side: Side


@dataclass(frozen=True)
class Architecture:
    """The parts of a TransformerLens adapter that name the places of one model."""

    blocks: str
    components: dict[str, Any]
    aliases: dict[str, Any]
    n_layers: int

    @classmethod
    def of(cls, module: nn.Module) -> "Architecture":
        """Ask TransformerLens for the adapter of a Hugging Face causal language model.

        Raises SiteError for an architecture that TransformerLens does not know.
        """
        from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
        from transformer_lens.model_bridge.sources import build_bridge_config_from_hf

        name = type(module).__name__
        config: Any = module.config
        try:
            described = build_bridge_config_from_hf(config, name, name, next(module.parameters()).dtype)
            adapter = ArchitectureAdapterFactory.select_architecture_adapter(described)
        except ValueError as error:
            raise SiteError(f"TransformerLens has no adapter for {name}: {error}") from error
        block = adapter.components["blocks"]
        n_layers = config.get_text_config().num_hidden_layers
        return cls(str(block.name), dict(block.submodules), dict(block.hook_aliases), n_layers)

    def place(self, site: Site) -> Place:
        """The module input or output that `site` stands for.

        Raises SiteError if the layer is out of range or the hook lies inside a module, as attention patterns do.
        """
        if site.layer >= self.n_layers:
            raise SiteError(f"{site} is out of range: the model has blocks 0 to {self.n_layers - 1}")
        components, path, hook, aliases = self.components, f"{self.blocks}.{site.layer}", site.hook, self.aliases
        while hook not in ("hook_in", "hook_out"):
            if hook in aliases:
                target = aliases[hook]
                hook = target if isinstance(target, str) else target[0]
                continue
            head, _, rest = hook.partition(".")
            if not rest or head not in components:
                raise SiteError(f"{site} is not a module's input or output on this model; read it with model.bridge")
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
            message = f"{site} has no module of its own on this model ({error}); read it with model.bridge"
            raise SiteError(message) from error
