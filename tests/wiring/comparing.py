"""The real comparison on few short texts, with a judge whose ratings are known and a method whose scores are."""

import codecs
import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from experiments import axbench
from experiments.axbench.layer_results import LayerResults
from experiments.options import ModelOptions
from probes.methods.bag_of_words import BagOfWords
from tests.experiments.small import cache_of_its_own, write_concepts
from workbench.artifacts.artifact import Artifact
from workbench.evaluation.judges.base import JudgedText, Rating
from workbench.models.model import Model
from workbench.registry import Entry
from workbench.runs.rows import read_rows

CONCEPTS = ("sea", "rain", "wind")
Change = Callable[[dict[str, str]], dict[str, str]]
STEERED = ("diffmean", "lat", "random", "prompt")
SMALL: dict[str, Any] = {
    "limit": None,
    "layers": (1,),
    "methods": (*STEERED, "probe", "marked"),
    "steered": STEERED,
    "strengths": (0.5, 1.0, 2.0),
    "instructions": 8,  # of 24 ratings one may be missing
    "max_new_tokens": 4,
    "neutral": 1,
    "dtype": "float32",
}


class Marked(BagOfWords):
    """Scores a text by what it was planted as: 1 for the concept, and 10 more for an evaluation text."""

    label: ClassVar[str] = "Marked"

    def detect_texts(self, artifact: Artifact, texts: Sequence[Any], through: Any = None) -> Tensor:
        planted = [10 * ("evaluation" in one.instruction) + ("nothing" not in one.response) for one in texts]
        return torch.tensor(planted).float()


def rating(text: JudgedText) -> float:
    """A number from 0.5 to 1.5 that follows from the text alone."""
    return 0.5 + zlib.crc32(text.text.encode()) % 1000 / 1000


@dataclass(frozen=True)
class PlantedJudge:
    """Gives all three ratings the same value, so that it is the score, too."""

    name: str = "planted"
    rated: Callable[[JudgedText], float | None] = rating

    @property
    def identity(self) -> dict[str, str]:
        return {"judge": self.name}

    def rate(self, items: Sequence[JudgedText]) -> list[Rating]:
        values = [self.rated(item) for item in items]
        return [Rating(value, value, value, None if value is not None else "planted") for value in values]


def write_changed(folder: Path, concepts: Sequence[str], change: Change) -> None:
    """The texts of small.py, each row as `change` makes it."""
    write_concepts(folder, *concepts)
    path = folder / "concepts.jsonl"
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, rows)))


@dataclass(frozen=True)
class Comparison:
    """A model that is loaded once, and a folder for concepts, runs and what was read."""

    model: Model
    folder: Path
    seen: list[LayerResults] = field(default_factory=list)
    """What each run would have written its report from."""

    def write(self, change: Change = dict) -> None:
        """The concepts' texts, each row as `change` makes it."""
        write_changed(self.folder, CONCEPTS, change)

    def run(self, root: str = "runs", judge: PlantedJudge = PlantedJudge(), **changes: Any) -> Path:
        """The folder of the run, which is continued if it is there; each root has a store of its own."""
        settings = SMALL | changes
        baseline = "random" if "random" in settings["steered"] else settings["steered"][0]
        own = {"concepts": str(self.folder / "concepts.jsonl"), "baseline": baseline}
        config = replace(axbench.PRESETS["smoke"], **settings, **own)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("WANDB_MODE", "disabled")
            patched.setenv("WORKBENCH_CACHE", str(cache_of_its_own(self.folder / f"{root}-cache")))
            patched.setattr(ModelOptions, "load_model", lambda _: self.model)
            patched.setattr("experiments.axbench.context.choose_judge", lambda *_: judge)
            patched.setattr("experiments.axbench.stages.write_comparison", lambda results, _: self.seen.append(results))
            return axbench.run(config, self.folder / root)

    def continued(self, root: str, judge: PlantedJudge) -> Path:
        """The finished run, copied and continued with another judge: what was generated stays."""
        shutil.copytree(self.folder / "runs", self.folder / root)
        return self.run(root, judge)


def relabelled(row: dict[str, str]) -> dict[str, str]:
    """Evaluation texts under the other label."""
    other = {"positive": "negative", "negative": "positive"}
    return row | {"category": other[row["category"]]} if row["split"] == "evaluation" else row


def replaced(row: dict[str, str]) -> dict[str, str]:
    """Evaluation texts under the other label, of other letters and as long."""
    if row["split"] != "evaluation":
        return row
    return relabelled(row) | {"response": codecs.encode(row["response"], "rot13")}


def values(folder: Path, metric: str) -> dict[tuple[str, str | None], float]:
    """By method and concept, the values of one metric."""
    rows = [row for row in read_rows(folder / "results.json") if row.metric == metric]
    return {(row.method, row.concept): row.value for row in rows if row.value is not None}


def artifacts(folder: Path) -> dict[str, Artifact]:
    """By file, what was fitted."""
    files = sorted((folder / "artifacts").rglob("*.safetensors"))
    return {str(path.relative_to(folder / "artifacts")): Artifact.load(path) for path in files}


MARKED = Entry(f"{__name__}:Marked")
