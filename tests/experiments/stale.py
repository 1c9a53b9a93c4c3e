"""Small experiments whose inputs lie in a folder and can be changed in place."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments import axbench, directions, erasure, layer_sweep, linear_hypothesis
from tests.experiments.small import ByLength, write_concepts
from tests.experiments.test_linear_hypothesis import write_data, write_model
from tests.tiny import tiny_folder
from workbench.artifacts.dictionary import Dictionary
from workbench.runs.rows import read_rows

Results = Mapping[tuple, float | None]


def write_vectors(folder: Path) -> None:
    """Vectors of random words, some of which stand in the word lists of the erasure experiment."""
    words = ["woman", "man", "nurse", "judge", *(f"w{number}" for number in range(80))]
    values = np.random.default_rng(0).normal(size=(len(words), 8))
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(words, values, strict=True)]
    (folder / "vectors.txt").write_text("\n".join(lines))


@dataclass(frozen=True)
class Inputs:
    """A folder with the model `tiny`, and the data of an experiment."""

    folder: Path

    @property
    def model(self) -> str:
        return str(self.folder / "tiny")

    @property
    def concepts(self) -> str:
        return str(self.folder / "concepts.jsonl")

    def swap_labels(self) -> None:
        """Positives of training and validation become negatives, or base words target words."""
        for path in self.folder.glob("*.jsonl"):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            other = {"positive": "negative", "negative": "positive"}
            for row in rows:
                if row.get("split") != "evaluation" and "category" in row:
                    row["category"] = other[row["category"]]
            path.write_text("\n".join(map(json.dumps, rows)))
        for path in self.folder.glob("[[]male*.txt"):
            pairs = [line.split("\t") for line in path.read_text().splitlines()]
            path.write_text("\n".join(f"{target}\t{base}" for base, target in pairs[1:]))

    def change_weights(self) -> None:
        """Other weights under the same name, in a file as long."""
        path, generator = Path(self.model) / "model.safetensors", torch.Generator().manual_seed(0)
        tensors = load_file(path)
        noisy = {
            name: tensor + 0.3 * tensor.std() * torch.randn(tensor.shape, generator=generator)
            for name, tensor in tensors.items()
            if tensor.ndim == 2
        }
        save_file(tensors | noisy, path, metadata={"format": "pt"})

    def change_template(self) -> None:
        """Another chat template."""
        path = Path(self.model) / "chat_template.jinja"
        before = path.read_text() if path.exists() else "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        path.write_text(f"!{before}".replace("[assistant]", "[model says]"))


CHANGES: dict[str, Callable[[Inputs], None]] = {
    "items": Inputs.swap_labels,
    "model": Inputs.change_weights,
    "chat_template": Inputs.change_template,
}
"""The input that a log names, and how it is changed."""


def run_axbench(inputs: Inputs, root: Path, layers: tuple[int, ...] = (1,)) -> Path:
    config = replace(
        axbench.PRESETS["smoke"],
        model=inputs.model,
        concepts=inputs.concepts,
        limit=None,
        layers=layers,
        methods=("diffmean", "random", "prompt_detection"),
        steered=("diffmean", "random"),
        strengths=(0.5,),
        instructions=2,
        max_new_tokens=4,
        neutral=1,
        dtype="float32",
    )
    return axbench.run(config, root)


def run_directions(inputs: Inputs, root: Path) -> Path:
    config = directions.Config(model=inputs.model, concepts=inputs.concepts, layer=1, dtype="float32")
    return directions.run(config, root)


def run_erasure(inputs: Inputs, root: Path) -> Path:
    config = erasure.Config(
        model=inputs.model,
        concepts=inputs.concepts,
        layer=1,
        methods=("leace",),
        draws=1,
        texts=1,
        max_tokens=4,
        vectors=str(inputs.folder / "vectors.txt"),
        leaning=20,
        dtype="float32",
    )
    return erasure.run(config, root)


def run_layer_sweep(inputs: Inputs, root: Path) -> Path:
    config = layer_sweep.Config(
        models=(inputs.model,),
        data=(inputs.concepts,),
        layers=(0, 1),
        positions=("mean",),
        random_model=False,
        grid=(1e-2,),
        description_length=False,
        causal_blocks=0,
        dtype="float32",
    )
    return layer_sweep.run(config, root)


def run_linear_hypothesis(inputs: Inputs, root: Path) -> Path:
    small = replace(linear_hypothesis.PRESETS["smoke"], random_pairs=200, random_concepts=10)
    where = str(inputs.folder)
    return linear_hypothesis.run(replace(small, model=inputs.model, pairs=where, contexts=where), root)


RUNS = {
    "axbench": run_axbench,
    "directions": run_directions,
    "erasure": run_erasure,
    "layer_sweep": run_layer_sweep,
    "linear_hypothesis": run_linear_hypothesis,
}


@dataclass(frozen=True)
class Case:
    """An experiment, its inputs, and the folder of its runs."""

    name: str
    inputs: Inputs
    root: Path

    @classmethod
    def of(cls, name: str, root: Path) -> "Case":
        inputs = Inputs(root / "inputs")
        inputs.folder.mkdir()
        if name == "linear_hypothesis":
            write_model(inputs.folder / "tiny")
            write_data(inputs.folder)
        else:
            tiny_folder(inputs.folder)
            write_concepts(inputs.folder, "sea", "rain")
            write_vectors(inputs.folder)
        return cls(name, inputs, root)

    @property
    def folder(self) -> Path:
        """Of the run."""
        (found,) = self.root.glob("runs/*")
        return found

    def run(self, where: str = "runs") -> Path:
        """The folder of the run, which is continued if it is there; `where` has a cache of its own."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("WANDB_MODE", "disabled")
            patched.setenv("WORKBENCH_CACHE", str(self.root / f"{where}-cache"))
            patched.setattr("experiments.axbench.context.choose_judge", lambda *_: ByLength())
            return RUNS[self.name](self.inputs, self.root / where)

    def fresh(self) -> Results:
        """What a run in a new folder gives."""
        shutil.rmtree(self.root / "fresh", ignore_errors=True)
        shutil.rmtree(self.root / "fresh-cache", ignore_errors=True)
        return results(self.run("fresh"))


def results(folder: Path) -> Results:
    """Every number of a finished run but for how long things took."""
    if (path := folder / "artifacts" / "dictionary.safetensors").exists():
        found = Dictionary.load(path)
        return {
            (name, i): value
            for name, row in zip(found.names, found.directions.tolist(), strict=True)
            for i, value in enumerate(row)
        }
    rows = read_rows(folder / "results.json")
    return {row.key: row.value for row in rows if not row.metric.startswith("cost.")}


def stamps(folder: Path, pattern: str = "*") -> dict[Path, int]:
    """When the files of finished units and the artifacts were written, but for what is joined anew each time."""
    files = [*folder.glob(f"units/{pattern}/*"), *folder.glob("artifacts/**/*.safetensors")]
    return {path: path.stat().st_mtime_ns for path in files if path.name != "dictionary.safetensors"}


def redone(log: str) -> dict[str, set[str]]:
    """The units that a log says are done again, and what it says has changed."""
    return {
        unit: set(changed.split(", "))
        for unit, changed in re.findall(r"unit '(.+)' is done again: its (.+) changed", log)
    }


@contextmanager
def new_lines(folder: Path) -> Iterator[list[str]]:
    """What the run's log says inside, as one text."""
    path, said = folder / "log.txt", []
    before = path.stat().st_size
    yield said
    said.append(path.read_text()[before:])
