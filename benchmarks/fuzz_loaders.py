"""The loaders that `benchmarks.fuzz` attacks. A new loader, or a new experiment's file, enters itself into LOADERS."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import workbench as wb
from experiments.layer_sweep.config import Config
from tests.artifacts.examples import examples
from tests.models.gguf_samples import write_tiny
from tests.report.synthetic import synthetic_document
from tests.tiny import tiny_folder, tiny_model
from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.kinds import ARTIFACTS
from workbench.artifacts.peft_files import read_peft, write_peft
from workbench.data.axbench import AxBenchFolder, read_axbench
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item, Label, Target
from workbench.data.named import datasets
from workbench.data.packaged import packaged
from workbench.data.running_text import load_text
from workbench.data.saving import write_jsonl
from workbench.data.tables import read_csv
from workbench.data.token_labels import token_classes
from workbench.data.word_pairs import word_pairs
from workbench.evaluation.judges.base import Rating
from workbench.exchange.axbench_files import write_axbench
from workbench.exchange.axbench_latent import write_latent
from workbench.exchange.axbench_numbers import read_results
from workbench.exchange.axbench_results import ExchangeError, Steered, read_steering, write_steering
from workbench.exchange.vector_files import read_vector, write_vector
from workbench.models.cache import WeightsError, damage_of, write_manifest
from workbench.models.edits import Add
from workbench.models.gguf import convert
from workbench.models.sites import Site
from workbench.report.document import Document
from workbench.report.errors import ReportError
from workbench.runs.config import read_config
from workbench.runs.errors import RunError, StorageError
from workbench.runs.rows import Row
from workbench.runs.run import Run


@dataclass(frozen=True)
class Loader:
    """Something that reads files which others may have made."""

    name: str
    make: Callable[[Path], Path]
    """Writes a whole sample into an empty folder; what `load` is given, which is the folder or in it."""
    load: Callable[[Path], object]
    errors: tuple[type[Exception], ...]
    """What it may raise."""
    mutates: Callable[[str], bool] = lambda name: True
    """Which of the sample's files are damaged."""
    named: bool = True
    """Whether its messages can name a file: it knows of none when it is given a frame."""
    share: float = 1.0
    """Of the inputs: less for what is slow."""


SHOWN = (Label.NEGATIVE, Label.POSITIVE)
TABLE = ("concept", "category", "response", "split", "instruction", "genre", "word", "sense")


@cache
def small() -> Dataset:
    """Two of the packaged concepts, a few items of each split."""
    whole = packaged().subset(2)
    rows = [row for split in whole.splits for row in np.flatnonzero(whole.split == split)[::12]]
    needed = [whole.rows(k, split, label)[0] for k in (0, 1) for split in whole.splits for label in SHOWN]
    return whole.take(sorted({*rows, *needed}))


@cache
def model() -> Any:
    return tiny_model()


def json_lines(folder: Path) -> Path:
    write_jsonl(small(), folder / "own.jsonl")
    return folder / "own.jsonl"


def light(folder: Path) -> Path:
    rows = [{"concept": name, "text": f"{name} number {k}"} for name in ("sea", "cooking") for k in range(4)]
    rows += [{"concept": "", "text": f"plain {k}", "instruction": "Write."} for k in range(4)]
    (folder / "own.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / "own.jsonl"


def comma_separated(folder: Path) -> Path:
    rows = [json.loads(line) for line in json_lines(folder).read_text().splitlines()]
    pd.DataFrame(rows, columns=pd.Index(TABLE)).to_csv(folder / "own.csv", index=False)
    (folder / "own.jsonl").unlink()
    return folder / "own.csv"


def records(folder: Path) -> Path:
    lines = light(folder).read_text().splitlines()
    (folder / "own.jsonl").unlink()
    (folder / "frame.json").write_text(json.dumps([json.loads(line) for line in lines]))
    return folder / "frame.json"


def frame(path: Path) -> None:
    """What a user makes of such a file with pandas, if pandas can."""
    try:
        made = pd.DataFrame(json.loads(path.read_text()))
    except (ValueError, TypeError, RecursionError, AttributeError, OverflowError):
        return
    wb.concepts(made)


def statements(folder: Path) -> Path:
    lines = [f'"The city of {city} is in {land}.",{land},{city}' for city in "ABCDEFGHIJ" for land in (0, 1)]
    (folder / "cities.csv").write_text("statement,label,city\n" + "\n".join(lines) + "\n")
    return folder / "cities.csv"


def sentiment(folder: Path) -> Path:
    lines = [f"{word} film {k}\t{label}" for k in range(40) for label, word in enumerate(("bad", "good"))]
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    return folder / "dev.tsv"


def pairs(folder: Path) -> Path:
    (folder / "[man - woman].txt").write_text("king\tqueen\nuncle\taunt\n")
    return folder


def text(folder: Path) -> Path:
    (folder / "text.txt").write_text("One paragraph\nof two lines.\n\nAnother one, é.\n" * 5)
    return folder / "text.txt"


def token_labels(folder: Path) -> Path:
    said = {"texts": ["a bc ", "né!", "x"], "values": [[0, 0, 0, 1, 1], [-1, 1, 1], None], "classes": ["in", "out"]}
    (folder / "labels.json").write_text(json.dumps(said))
    return folder / "labels.json"


def read_token_labels(path: Path) -> None:
    try:
        found = json.loads(path.read_text())
        texts, values, classes = ([*found[name]] for name in ("texts", "values", "classes"))
        if not all(isinstance(one, str) and one for one in (*texts, *classes)):
            return
        column = np.empty(len(values), dtype=object)
        column[:] = [None if value is None else np.asarray(value) for value in values]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return
    target = Target("part", "which part", kind="token", classes=tuple(classes))
    made = Dataset(path.name, tuple(Item.bare(one) for one in texts), (target,), (column,))
    tokens = model().encode(made.conversations)
    token_classes(model().tokenizer, tokens, [item.response for item in made.items], list(made.columns[0]))


def axbench(folder: Path) -> Path:
    return write_axbench(small(), folder / "axbench")


def read_both_ways(folder: Path) -> None:
    whole = read_axbench(folder)
    parts = AxBenchFolder(folder)
    parts.read(range(len(parts.targets)))
    assert len(whole.targets) == len(parts.targets)


def artifact(kind: str, folder: Path) -> Path:
    return examples()[kind].save(folder / f"{kind}.safetensors")


def read_artifact(path: Path) -> None:
    assert Artifact.load(path).digest


def peft(folder: Path) -> Path:
    origin = Origin("Test", "{}", "sea", model().name, model().digest, "none")
    linear = model().backend.linear_map(Site(1, "z"))
    part = AdapterPart(
        "low_rank_map", Site(1, "z"), {"down": torch.ones(2, linear.d_in), "up": torch.ones(2, linear.d_out)}
    )
    return write_peft(Adapter(origin, (part,)), model(), folder / "peft")


def exported(ending: str, folder: Path) -> Path:
    edits = [Add(site=Site(layer), direction=torch.ones(model().d_model)) for layer in (1, 2)]
    return write_vector(edits if ending != "svec" else edits[:1], model(), folder / f"vector.{ending}")


def read_exported(path: Path) -> None:
    assert read_vector(path, model(), "sea").digest


def gguf(family: Any, folder: Path) -> Path:
    write_tiny(folder / "tiny.gguf", family)
    return folder / "tiny.gguf"


def read_gguf(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        convert(path, Path(folder))


def cache_entry(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(b"w" * 100)
    write_manifest(folder)
    return folder


def steering(folder: Path) -> Path:
    rows = [Steered("DiffMean", 0, "the sea", k, f"Write {k}.", "Waves.", 1.0, 2.0, 3.0) for k in range(4)]
    rated = [(row, Rating(2.0, 2.0, 1.0)) for row in rows]
    write_steering(folder, rated[:2], rated[2:])
    write_latent(folder, small(), {"diffmean": np.random.default_rng(0).normal(size=small().labels.shape)})
    return folder


def read_exchange(folder: Path) -> None:
    read_steering(folder / "inference" / "steering_data.parquet")
    for name in ("steering", "steering_test", "latent"):
        read_results(folder / "evaluate" / f"{name}.jsonl")


def run(folder: Path) -> Path:
    with Run.open("layer_sweep", Config(), root=folder) as made:
        made.unit("fit", {"version": 1}, lambda: {"score": 0.5})
        made.record([Row(experiment="layer_sweep", method="diffmean", metric="auroc", value=0.9, n=3)])
        return made.folder


def read_run(folder: Path) -> None:
    found = Run.load(folder)
    found.rows()
    found.environments()
    found.units.fresh("fit", {"version": 1})
    read_config(Config, folder / "config.json")


def report(folder: Path) -> Path:
    synthetic_document().save(folder)
    return folder


LOADERS: tuple[Loader, ...] = (
    Loader("own table", json_lines, wb.concepts, (DataError,)),
    Loader("own texts", light, wb.concepts, (DataError,)),
    Loader("own csv", comma_separated, read_csv, (DataError,)),
    Loader("own frame", records, frame, (DataError,), named=False),
    Loader("statements", statements, lambda path: datasets([str(path)]), (DataError,)),
    Loader("sentiment", sentiment, lambda path: datasets([str(path)]), (DataError,)),
    Loader("word pairs", pairs, lambda path: word_pairs(str(path)), (DataError,)),
    Loader("running text", text, load_text, (DataError,)),
    Loader("token labels", token_labels, read_token_labels, (DataError,), named=False, share=0.5),
    Loader("axbench folder", axbench, read_both_ways, (DataError,), share=0.5),
    *(
        Loader(f"artifact {kind}", partial(artifact, kind), read_artifact, (ArtifactError,), share=0.3)
        for kind in ARTIFACTS
    ),
    *(
        Loader(f"vector {ending}", partial(exported, ending), read_exported, (ArtifactError,), share=0.5)
        for ending in ("gguf", "svec", "npz")
    ),
    Loader("peft folder", peft, lambda path: read_peft(path, model(), "sea"), (ArtifactError,)),
    *(
        Loader(f"gguf {family}", partial(gguf, family), read_gguf, (WeightsError,), share=0.25)
        for family in ("llama", "gemma3", "gpt2")
    ),
    Loader("cache entry", cache_entry, damage_of, ()),
    Loader("model folder", tiny_folder, wb.load, (WeightsError,), share=0.25),
    Loader("axbench results", steering, read_exchange, (ExchangeError,), share=0.5),
    Loader("run folder", run, read_run, (RunError, StorageError), lambda name: name.endswith(".json")),
    Loader("report", report, Document.load, (ReportError, StorageError), share=0.3),
)
