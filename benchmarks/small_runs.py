"""Experiments at a size of seconds, on a tiny model, for the harnesses that interrupt them and damage what they leave.

An experiment enters its command in `COMMANDS`, and is killed by `benchmarks.kills` and damaged by `benchmarks.damage`.
"""

import hashlib
import json
import os
import random
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from tqdm import tqdm

from tests.evaluation.judges.chat_server import Request, Response, completion, serving
from tests.experiments.planted_words import write_data, write_model
from tests.experiments.small import write_concepts
from tests.tiny import tiny_folder
from workbench.data.behaviours import TOPICS
from workbench.runs.files import digest, file_digest, read_json, write_text
from workbench.runs.rows import read_rows

COMMANDS = {
    "comparison": (
        *("axbench", "--model", "{model}", "--concepts", "{data}", "--judge", "{judge}", "--judge-model", "m"),
        *("--methods", "diffmean", "random", "probe", "prompt", "--steered", "diffmean", "random", "prompt"),
        *("--strengths", "0.5", "1.0", "--instructions", "4", "--max-new-tokens", "4", "--neutral", "1"),
        *("--layers", "1", "--dtype", "float32"),
    ),
    "sweep": (
        *("layer_sweep", "--models", "{model}", "--data", "{data}", "cities", "neg_cities", "--layers", "0"),
        *("--positions", "mean", "--grid", "0.001", "0.01", "--no-random-model", "--causal-blocks", "0"),
        *("--dtype", "float32"),
    ),
    "training": (
        *("directions", "--model", "{model}", "--concepts", "{data}", "--method", "reft_r1", "--block", "1"),
        *("--layer", "1", "--dtype", "float32"),
    ),
    "functions": (
        *("function_vectors", "--model", "{model}", "--tasks", "present-past", "singular-plural", "--shots", "2"),
        *("--prompts", "2", "--corrupted", "1", "--shortlist", "3", "--heads", "2", "--validation", "2", "--test", "2"),
        *("--every", "1", "--sentences", "1", "--steps", "2"),
    ),
    "sentences": (
        *("latent_steering", "--model", "{model}", "--sites", "block", "--depths", "--sentences", "2", "--steps", "2"),
        *("--exemplars", "2", "--transfers", "1", "--strengths", "1.0", "--pairs", "3", "--capacity", "block"),
        *("--lengths", "4", "--repeats", "1", "--dtype", "float32"),
    ),
    "behaviours": (
        *("behaviours", "--model", "{model}", "--source", "{pairs}", "--methods", "diffmean", "--layers", "1"),
        *("--strengths", "0.5", "--train", "4", "--validation", "2", "--test", "2", "--neutral", "1"),
        *("--questions", "0"),
    ),
    "erasing": (
        *("erasure", "--model", "{model}", "--concepts", "{data}", "--methods", "leace", "mean_projection"),
        *("--draws", "1", "--texts", "2", "--max-tokens", "8", "--vectors", "{words}", "--leaning", "20"),
        *("--dtype", "float32"),
    ),
    "hypothesis": (
        *("linear_hypothesis", "--preset", "smoke", "--model", "{words_model}", "--pairs", "{planted}"),
        *("--contexts", "{planted}", "--random-pairs", "200"),
    ),
    "origins": ("linear_origins", "--preset", "smoke", "--concepts", "2", "3", "--seeds", "3", "--steps", "400"),
    "dictionaries": (
        *("sae", "--preset", "smoke", "--model", "{model}", "--text", "{text}", "--layer", "1", "--passages", "40"),
        *("--latents", "48", "--k", "4", "--spelled", "0", "--activations", "4096", "--batch", "512", "--browsed", "2"),
        *("--learning-rate", "0.01", "--dtype", "float32"),
    ),
    "defences": (
        *("grace", "--preset", "smoke", "--model", "{model}", "--arms", "dpo", "grace_b", "direction", "probe"),
        *("--requests", "6", "--triples", "4", "--benign", "2", "--neutral", "2", "--max-new-tokens", "4"),
        *("--dtype", "float32"),
    ),
}
"""By name, a package of `experiments` and its flags; `{model}` and the other places are filled in."""
TESTED = ("comparison", "sweep", "training")
"""Those that the tests run too; the others do the same with other experiments' units."""


PAIRS = "".join(
    json.dumps({"topic": topic, "question": f"{topic} {k}?", "matching": f"yes {k}", "other": "no", "letter": letter})
    + "\n"
    for topic in TOPICS
    for k, letter in enumerate("AB")
)
"""Of a behaviour."""


@dataclass(frozen=True)
class SmallRuns:
    """A tiny model, two concepts and a judge, and the commands on them."""

    folder: Path
    judge: str

    def arguments(self, name: str, root: Path) -> tuple[str, list[str]]:
        """The package and the flags of a command whose runs are kept under `root`."""
        package, *flags = COMMANDS[name]
        lying = {
            "model": "tiny",
            "data": "concepts.jsonl",
            "pairs": "pairs.jsonl",
            "words": "words.txt",
            "text": "book.txt",
            "planted": "planted",
            "words_model": "planted/model",
        }
        places = {"judge": self.judge, **{name: self.folder / file for name, file in lying.items()}}
        return package, [flag.format(**places) for flag in flags] + ["--root", str(root)]

    def run(self, name: str, root: Path) -> None:
        """Run a command in this process, or continue it. Raises SystemExit with the line that it ends with."""
        package, flags = self.arguments(name, root)
        os.environ |= {"WANDB_MODE": "disabled", "WORKBENCH_CACHE": str(root / "cache")}
        import_module(f"experiments.{package}").main(flags)

    def start(self, name: str, root: Path) -> int:
        """Run a command in a process of its own, whose id this returns; what it prints is in `root`/printed.txt."""
        root.mkdir(parents=True, exist_ok=True)
        return forked(lambda: self.run(name, root), root / "printed.txt")


def word_vectors() -> str:
    """Drawn ones of the words that the experiment on erasure looks up, and of a hundred others."""
    lists, drawn = json.loads(files("experiments.erasure").joinpath("words.json").read_text("utf-8")), random.Random(0)
    words = dict.fromkeys([*chain(*lists["pairs"]), *lists["professions"], *(f"word{k}" for k in range(100))])
    return "".join(f"{word} {' '.join(f'{drawn.gauss(0, 1):.4f}' for _ in range(8))}\n" for word in words)


def small_runs(folder: Path) -> SmallRuns:
    """Write the model and the concepts into `folder`, and start the judge, which ends with this process."""
    tiny_folder(folder)
    write_concepts(folder, "sea", "rain")
    write_text(folder / "pairs.jsonl", PAIRS)
    write_text(folder / "words.txt", word_vectors())
    write_model(folder / "planted" / "model")
    write_data(folder / "planted")
    write_text(folder / "book.txt", "\n\n".join(f"{place}. " + "The sea is wide. " * 12 for place in range(60)))
    return SmallRuns(folder, _judge(folder / "judge.txt"))


def import_all() -> None:
    """Import what the commands import, so that processes that are forked need not; call it first.

    A fork has its parent's locks as they are, but not the threads that would release them: so none are started here.
    """
    tqdm.monitor_interval = 0
    for name in ("transformer_lens", "wandb", "openai", *(f"experiments.{one[0]}.stages" for one in COMMANDS.values())):
        import_module(name)


def forked(work: Callable[[], object], printed: Path) -> int:
    """Do some work in a fork of this process, whose id this returns; what is printed there is added to a file."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        with printed.open("a") as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())
        work()
        status = 0
    except SystemExit as ended:
        print(ended.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 (this process must never return to where the other goes on)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def left_by(root: Path) -> dict[str, str]:
    """By file, digests of what a finished run leaves: its rows, units and artifacts, but not how long things took.

    Units have that as `seconds`, or as the note of a file of tensors.
    """
    found = {}
    for path in root.glob("*/results.json"):
        found["results"] = digest([asdict(row) for row in read_rows(path) if not row.metric.startswith("cost.")])
    for path in root.glob("*/units/*/unit.json"):
        unit = read_json(path)
        found[f"unit {unit['name']}"] = digest([unit["inputs"], _untimed(path, unit)])
    for path in root.glob("*/artifacts/**/*.safetensors"):
        found[str(path.relative_to(root))] = file_digest(path)
    return found


def _untimed(path: Path, unit: Mapping[str, Any]) -> Any:
    if unit["file"] is None:
        value = unit["value"]
        return {key: one for key, one in value.items() if key != "seconds"} if isinstance(value, dict) else value
    file = path.with_name(unit["file"])
    if file.suffix == ".safetensors":
        return hashlib.sha256(save(load_file(file))).hexdigest()
    return file_digest(file)


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """The names of what is not the same."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def _judge(note: Path) -> str:
    """The address of a judge that rates a prompt by its bytes, in a process that ends when this one is gone."""
    parent = os.getpid()

    def serve() -> None:
        with serving(_rated) as server:
            write_text(note, server.base_url)
            while os.getppid() == parent:
                time.sleep(0.2)

    forked(serve, note.with_name("printed.txt"))
    while not note.exists():
        time.sleep(0.01)
    return note.read_text()


def _rated(request: Request) -> Response:
    return completion(f"Rating: [[{zlib.crc32(request.prompt.encode()) % 3}]]")
