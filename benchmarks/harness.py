"""lm-evaluation-harness asks the server, unsteered and steered; its accuracies beside those of the model itself.

The harness lives in an environment of its own:

    python -m venv HARNESS && HARNESS/bin/pip install 'lm-eval[api]==0.4.13' transformers
    python -m benchmarks.harness --lm-eval HARNESS/bin/lm_eval
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.serve import listening, save_random_vectors
from workbench.data.in_context import in_context_tasks
from workbench.data.word_pairs import pairs_of
from workbench.models.edits import Edit
from workbench.models.load import load
from workbench.models.model import Model

TASK = "workbench_words"
YAML = """\
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""


@dataclass(frozen=True)
class Args:
    """What is asked."""

    lm_eval: Path
    """The harness's command, in its own environment."""
    source: str = "country-capital"
    """A packaged in-context task."""
    questions: int = 40
    strength: float = 3.0
    """Of a random vector."""


@dataclass(frozen=True)
class Question:
    """Three examples and a question, with the right answer first and three that belong to other inputs."""

    question: str
    choices: tuple[str, ...]
    answer: int = 0


def questions(source: str, n: int) -> list[Question]:
    """Of a packaged task."""
    data = in_context_tasks("packaged")
    (relation,) = [each for each in data.relations if each.name == source]
    pairs = pairs_of(data, relation)
    shown = "".join(f"{left} - {right}\n" for left, right in pairs[:3])
    asked = pairs[3 : 3 + n]
    answers = [tuple(asked[(at + step) % len(asked)][1] for step in range(4)) for at in range(len(asked))]
    return [Question(f"{shown}{left} -", mine) for (left, _), mine in zip(asked, answers, strict=True)]


def own_accuracy(model: Model, asked: Sequence[Question], edits: Sequence[Edit]) -> float:
    """The share of questions whose right answer, behind a space, has the highest probability."""
    right = 0
    for each in asked:
        choices = [f" {choice}" for choice in each.choices]
        with model.edited(edits):
            tokens = model.tokenize([each.question] * len(choices), choices, chat=False)
            right += int(model.score(tokens).nll.argmin()) == each.answer
    return right / len(asked)


def harness_accuracy(args: Args, folder: Path, url: str, model: str) -> float:
    """What the harness reports for a model of the server."""
    options = {"model": model, "base_url": f"{url}/v1/completions", "tokenizer": folder / "tokenizer"}
    options |= {"tokenizer_backend": "huggingface", "num_concurrent": 4, "max_retries": 1}
    done = subprocess.run(
        [
            *(str(args.lm_eval), "--model", "local-completions", "--tasks", TASK, "--include_path", str(folder)),
            *("--model_args", ",".join(f"{name}={value}" for name, value in options.items())),
            *("--batch_size", "8", "--output_path", str(folder / "results")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    newest = max(folder.glob("results/**/*.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(newest.read_text())["results"][TASK]["acc,none"]


def main(args: Args) -> None:
    """Print a line for each way to ask."""
    torch.set_num_threads(1)
    model, asked = load(dtype="float32"), questions(args.source, args.questions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "questions.jsonl"
        data.write_text("".join(json.dumps(asdict(each)) + "\n" for each in asked))
        (folder / "task.yaml").write_text(YAML.format(task=TASK, data=data))
        model.tokenizer.save_pretrained(folder / "tokenizer")
        (vector,) = save_random_vectors(model, folder, 1)
        with listening(model, folder) as client:
            url = str(client.base_url).rstrip("/")
            for steering, edits in (("", []), (f"+v0@{args.strength}", [vector.edit(args.strength)])):
                theirs = harness_accuracy(args, folder, url, f"{model.name}{steering}")
                own = own_accuracy(model, asked, edits)
                what = f"{args.source}, {len(asked)} questions, {steering or 'unsteered':10}"
                print(f"{what} harness {theirs:.3f}  own {own:.3f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Args))
