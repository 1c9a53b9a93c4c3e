"""The settings that experiments share; a configuration inherits them and adds its own."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.runs.fields import SEED, Limit, at_least, check_distinct, check_fields, some

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.models.model import Model
    from workbench.models.sites import Site
    from workbench.runs.files import JSON
    from workbench.runs.run import Run

Precision = Literal["auto", "float32", "bfloat16", "float16"]

LIMITS = {"model": some(), "device": some(), "concepts": some(), "limit": at_least(1), "layer": at_least(0)}
"""What the shared settings may be."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every configuration is: checked when it is made, and looked up before anything is imported for it."""

    def check(self, **limits: Limit) -> None:
        """Check every field when the configuration is made, against these limits and what all seeds and lists may be.

        Raises ValueError as workbench.runs.fields.check_fields, and for a list in which something is twice.
        """
        check_fields(self, error=ValueError, **limits)
        check_fields(self, error=ValueError, **{name: SEED for name in ("seed", "seeds") if hasattr(self, name)})
        for item in fields(self):
            check_distinct(item.name, getattr(self, item.name))
        positions = _other_than_default(self, "positions")
        if isinstance(positions, str):
            from workbench.models.positions import Positions  # with torch, which `--help` does without

            Positions.parse(positions)

    def look_up(self) -> None:
        """See that what the settings name is there: the models with their blocks, and, in subclasses, data and judges.

        It takes no torch but for a device, so that a slip is told at once. Raises ValueError, OSError, DataError,
        JudgeError and WeightsError.
        """
        for model in _entries(self, "model", "models"):
            check_layers(model, _entries(self, "layer", "layers"))
        if device := _other_than_default(self, "device"):
            from workbench.models.devices import choose_device

            choose_device(device)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """The model that an experiment reads."""

    model: str = "smollm2-135m-instruct"
    """A built-in name, a local folder, a .gguf file or a Hugging Face id."""
    dtype: Precision = "auto"
    """`auto` is bfloat16 where the hardware multiplies it fast, else float32."""
    device: str = "auto"
    """`auto` is the first GPU if there is one; else as PyTorch names it, `cpu` or `cuda:1`."""

    def check(self, **limits: Limit) -> None:
        """As `Options.check`, the shared fields against LIMITS."""
        super().check(**{name: limit for name, limit in LIMITS.items() if hasattr(self, name)}, **limits)

    def load_model(self) -> "Model":
        """The model, in this precision and place. Raises what workbench.models.load raises."""
        from workbench.models.load import load

        return load(self.model, dtype=self.dtype, device=self.device)


@dataclass(frozen=True, kw_only=True)
class ConceptOptions(ModelOptions):
    """A model and the concepts that are looked for in it."""

    concepts: str = "packaged"
    """`packaged`, a folder made by AxBench, or a .jsonl or .csv file."""
    limit: int | None = None
    """Use only the first concepts."""

    def look_up(self) -> None:
        """See Options.look_up."""
        from workbench.data.named import check_named

        check_named(self.concepts)
        super().look_up()

    def load_concepts(self) -> "Dataset":
        """The concepts and their texts. Raises DataError as workbench.data.named does."""
        from workbench.data.named import dataset

        return dataset(self.concepts, self.limit)


@dataclass(frozen=True, kw_only=True)
class LayerOptions(ConceptOptions):
    """A model, the concepts that are looked for in it, and where."""

    layer: int | None = None
    """The block whose output is read and edited; none means the one at 0.6 of the depth."""

    def site(self, model: "Model") -> "Site":
        """The residual stream after that block."""
        from workbench.models.sites import Site

        return model.site() if self.layer is None else Site(self.layer)


def check_file(path: str) -> None:
    """Raises OSError for a file that cannot be opened."""
    Path(path).expanduser().open("rb").close()


def check_layers(model: str, layers: Iterable[int]) -> None:
    """Raises ValueError for a block that a model does not have, by its configuration: no weights are loaded.

    WeightsError for a model that is not there.
    """
    from workbench.models.weights import stated_layers

    n = stated_layers(model)
    if n is None:
        from workbench.models.load import count_layers  # with torch and transformers

        n = count_layers(model)
    for layer in layers:
        if layer >= n:
            raise ValueError(f"{model} has no block {layer}; its {n} blocks are numbered from 0 to {n - 1}")


def _other_than_default(config: Any, name: str) -> Any:
    """What a configuration has in this field where it is not the default; None where it has no such field."""
    return next(
        (value for item in fields(config) if item.name == name and (value := getattr(config, name)) != item.default),
        None,
    )


def _entries(config: Any, *names: str) -> tuple[Any, ...]:
    """All that those of these fields hold that a configuration has; None holds nothing."""
    values = (getattr(config, name, None) for name in names)
    several = (value if isinstance(value, tuple | list) else (value,) for value in values if value is not None)
    return tuple(entry for each in several for entry in each)


def note_model(run: "Run", model: "Model", **facts: "JSON") -> None:
    """Write which model a run computes with into its environment, and these facts beside it."""
    run.note(dtype=str(model.dtype), device=str(model.device), model_digest=model.digest, **facts)
