"""The experiments from Python: `workbench.compare` and `workbench.sweep`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import axbench, layer_sweep
from workbench.data.items import several, slug
from workbench.data.own import Source, concepts
from workbench.data.saving import write_jsonl
from workbench.runs.run import Run
from workbench.text import no_such


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
    source: Source = "packaged",
    methods: Sequence[str] = (),
    *,
    root: str | Path = "runs",
    preset: str = "default",
    **settings: Any,
) -> Result:
    """Compare ways of reading and writing concepts, as `python -m experiments.axbench` does; may take minutes.

    `source` is what `workbench.concepts` takes, `methods` are registered names (by default the preset's); those of them
    that steer are steered by, and win rates are against `random`, or the first of them. Further settings are fields of
    `experiments.axbench.Config`. The same call continues a run that was stopped, and returns at once when it is
    finished. Raises ValueError for an unknown setting or method.
    """
    if methods:
        several(methods, "compare")
        settings = {"methods": tuple(methods), **settings}
    start = _config(axbench.PRESETS, preset, {"concepts": _file(source, Path(root))})
    config = _config(axbench.PRESETS, preset, {"concepts": start.concepts, **axbench.follow(settings, vars(start))})
    return Result(axbench.run(config, Path(root)))


def sweep(
    *sources: Source,
    root: str | Path = "runs",
    preset: str = "default",
    **settings: Any,
) -> Result:
    """Linear probes at every layer with controls, as `python -m experiments.layer_sweep` does; may take minutes.

    `sources` are what `workbench.concepts` takes (by default the preset's), further settings fields of
    `experiments.layer_sweep.Config`. Raises ValueError for an unknown setting.
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
    return replace(presets[preset], **settings)


def _file(source: Source, root: Path) -> str:
    """What a configuration calls the texts: a name or path as it is; others are written to a file named by digest."""
    if isinstance(source, str | Path):
        return str(source)
    data = concepts(source)
    path = root / "data" / f"{slug(data.name)}-{data.digest[:12]}.jsonl"
    write_jsonl(data, path)
    return str(path)
