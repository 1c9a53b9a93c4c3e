"""The experiments from Python: `workbench.compare` and `workbench.sweep`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments import axbench, layer_sweep
from workbench.arguments import unlike
from workbench.data.items import several, slug
from workbench.data.own import ConceptSource, concepts
from workbench.data.saving import write_jsonl
from workbench.runs.run import Run
from workbench.text import no_such

if TYPE_CHECKING:
    from workbench.methods.method import Method


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its numbers, its page. In a notebook it shows the page."""

    folder: Path

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All numbers, tidy: experiment, method, metric, concept, layer, strength, value, low, high, n, seed."""
        return pd.DataFrame([asdict(row) for row in Run.load(self.folder).rows()])

    @property
    def page(self) -> Path:
        """The report, or that of the first layer where each layer has its own."""
        pages = [*self.folder.glob("report.html"), *sorted(self.folder.glob("layer*/report.html"))]
        return pages[0]

    def _repr_html_(self) -> str:
        """The page in a frame of its own, in which it can run nothing but its own sorting and folding."""
        text = escape(self.page.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{text}" sandbox="allow-scripts" width="100%" height="700"></iframe>'


def compare(
    source: ConceptSource = "packaged",
    methods: Sequence["str | Method[Any]"] = (),
    *,
    root: str | Path = "runs",
    preset: str = "default",
    **settings: Any,
) -> Result:
    """Compare ways of reading and writing concepts, as `python -m experiments.axbench` does; may take minutes.

    `source` is what `workbench.concepts` takes, `methods` are registered names or what these make (by default the
    preset's); those of them that steer are steered by, and win rates are against `random`, or the first of them.
    Further settings are fields of `experiments.axbench.Config`: `model` is a name or a path. The same call continues a
    run that was stopped, and returns at once when it is finished. Raises ValueError for an unknown setting or method,
    and for a model that is loaded.
    """
    concepts_file = _file(source, Path(root))
    if methods:
        several(methods, "compare")
        settings = {"methods": tuple(map(_registered, methods)), **settings}
    start = _config(axbench.PRESETS, preset, {"concepts": concepts_file})
    config = _config(axbench.PRESETS, preset, {"concepts": start.concepts, **axbench.follow(settings, vars(start))})
    return Result(axbench.run(config, Path(root)))


def sweep(
    *sources: ConceptSource,
    root: str | Path = "runs",
    preset: str = "default",
    **settings: Any,
) -> Result:
    """Linear probes at every layer with controls, as `python -m experiments.layer_sweep` does; may take minutes.

    `sources` are what `workbench.concepts` takes (by default the preset's), further settings fields of
    `experiments.layer_sweep.Config`: `models` are names or paths. Raises ValueError for an unknown setting, and for a
    model that is loaded.
    """
    if sources:
        settings = {"data": tuple(_file(source, Path(root)) for source in sources), **settings}
    return Result(layer_sweep.run(_config(layer_sweep.PRESETS, preset, settings), Path(root)))


def _config(presets: Any, preset: str, settings: dict[str, Any]) -> Any:
    if preset not in presets:
        raise ValueError(no_such("preset", preset, presets))
    known = [item.name for item in fields(presets[preset])]
    for name in settings:
        if name not in known:
            raise ValueError(no_such("setting", name, known))
    return replace(presets[preset], **{name: _setting(name, value) for name, value in settings.items()})


def _setting(name: str, value: Any) -> Any:
    """A setting as a configuration keeps it: paths as text."""
    if isinstance(value, tuple | list):
        return tuple(_setting(name, one) for one in value)
    if name in ("model", "models") and not isinstance(value, str | Path):
        raise ValueError(unlike(name, value, "a name or path: an experiment loads its models itself"))
    return str(value) if isinstance(value, Path) else value


def _registered(method: Any) -> str:
    """The name of a method that is registered as it stands."""
    if isinstance(method, str):
        return method
    alike = [name for name, entry in axbench.METHODS.items() if entry.name == type(method).__name__]
    found = [name for name in alike if axbench.METHODS[name].make() == method]
    if not found:
        hint = f", {' or '.join(map(repr, alike))} with its own settings" if alike else ""
        expected = f"the name of a registered one{hint}; or add it to METHODS"
        raise ValueError(unlike("a method to compare", method, expected))
    return found[0]


def _file(source: ConceptSource, root: Path) -> str:
    """What a configuration calls the texts: a name or path as it is; others are written to a file named by digest."""
    if isinstance(source, str | Path):
        return str(source)
    data = concepts(source)
    path = root / "data" / f"{slug(data.name)}-{data.digest[:12]}.jsonl"
    write_jsonl(data, path)
    return str(path)
