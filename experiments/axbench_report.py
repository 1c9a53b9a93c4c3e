"""What the AxBench comparison tells its readers: the story of the report, its sampled generations, and W&B."""

import shlex
from typing import TYPE_CHECKING

import numpy as np

from workbench.artifacts.vector import Vector
from workbench.report.page import write_report
from workbench.report.story import Generation, MethodNote, Ratings, Story
from workbench.runs.tracking import Tracker

if TYPE_CHECKING:
    from experiments.axbench import Level

RATED = ("overall", "concept", "instruction", "fluency")
SHOWN = 2
"""Reported generations of each method and concept that the page shows."""

NOTES = (
    "Detection: each text is scored by its largest token (as AxBench's code does; the paper's text says mean), leaving "
    "out BOS and chat header. Thresholds come from validation texts. 'As published' repeats the published code: scores "
    "rounded to three decimals, hard negatives left out, the threshold chosen on the texts it is judged on.",
    "Steering: half of each concept's instructions choose the strength, the other half is reported. Strength 1 adds "
    "the largest projection that a held-out positive token has on the direction; random directions are as long as the "
    "difference in means. A generation's score is the harmonic mean of its three ratings. A rating that the judge "
    "could not give is missing, never zero; above 5 % missing the run fails.",
    "Side effect: KL(unsteered || steered) of the next token, in nats, over the first 32 response tokens of neutral "
    "evaluation texts at the chosen strength. Perplexity is that of the answer under the unsteered model given the "
    "plain instruction, for every method.",
    "Intervals: percentile bootstrap over concepts, 95 %. Differences are paired over concepts, with p values from a "
    "sign-flip permutation test, adjusted by Holm over methods. Cost is the time to fit all concepts on stored states.",
)


def report(level: "Level", tracker: Tracker) -> None:
    """Write the report into the run folder, and send everything to W&B."""
    run = level.bench.run
    story = tell(level)
    path = write_report(run.folder, story)
    tracker.log_metrics(run.rows())
    columns = [
        "method",
        "concept",
        "instruction",
        "strength",
        "text",
        "overall",
        "concept rating",
        "instruction rating",
        "fluency",
    ]
    tracker.log_table("generations", columns, [_cells(level, trial) for trial in level.tested])
    tracker.log_artifact(f"vectors-layer{level.layer}", "vectors", run.artifacts, {"model": level.bench.model.name})
    tracker.log_report(path)


def tell(level: "Level") -> Story:
    """Everything on the page that is not a row of results.json."""
    bench, config = level.bench, level.bench.config
    n = len(bench.concepts)
    return Story(
        title="Reading and writing concepts",
        lead=f"How well do {len(bench.methods)} methods find {n} concepts in text (detection), and how well do those "
        f"that can write bring them into the answers of {bench.model.name} (steering)? All read and edit the residual "
        f"stream after block {level.layer} of {bench.model.n_layers}.",
        methods=tuple(_note(level, name) for name in bench.methods),
        command=_command(level),
        judge=bench.judge.name,
        baseline=config.baseline if config.baseline in config.steered else None,
        layer=level.layer,
        facts=(
            ("Model", bench.model.name),
            ("Precision", str(bench.model.dtype).removeprefix("torch.")),
            ("Site", str(level.site)),
            ("Concepts", f"{n} ({bench.concepts.name})"),
            ("Instructions", f"{config.instructions} a concept, half of them reported"),
            ("Judge", bench.judge.name),
        ),
        generations=_generations(level),
        failures=_failures(level),
        notes=NOTES,
    )


def _note(level: "Level", name: str) -> MethodNote:
    method = level.bench.methods[name]
    limits = []
    if not method.detects:
        limits.append("Steers only.")
    if not method.steers:
        limits.append("Detects only.")
    elif name not in level.bench.config.steered:
        limits.append("Not asked to steer in this run.")
    url = (
        f"https://arxiv.org/abs/{method.source.removeprefix('arXiv:')}" if method.source.startswith("arXiv:") else None
    )
    return MethodNote(name=name, label=method.title, source=method.source, url=url, limits=" ".join(limits))


def _command(level: "Level") -> str:
    return f"python -m experiments.axbench --config {shlex.quote(str(level.bench.run.folder.name))}/config.json"


def _generations(level: "Level") -> tuple[Generation, ...]:
    """The first reported generations of every method and concept, with the concept's share in each token."""
    chosen, count = [], {}
    for trial in level.tested:
        key = (trial.method, trial.concept)
        count[key] = count.get(key, 0) + 1
        if count[key] <= SHOWN and trial.seed == level.bench.config.seeds[0]:
            chosen.append(trial)
    shades = level.bench.run.unit(f"shade/{level.layer}", lambda: _shades(level, chosen))
    return tuple(_generation(level, trial, shade) for trial, shade in zip(chosen, shades, strict=True))


def _generation(level: "Level", trial, shade: dict) -> Generation:
    sample, rating = level.tested[trial]
    return Generation(
        method=trial.method,
        concept=trial.concept,
        instruction=trial.instruction,
        text=sample.text,
        strength=trial.strength,
        tokens=tuple(shade["tokens"]),
        token_scores=tuple(shade["scores"]),
        ratings=Ratings(
            concept=rating.concept, instruction=rating.instruction, fluency=rating.fluency, overall=rating.overall
        ),
    )


def _shades(level: "Level", trials: list) -> list[dict]:
    """The tokens of each generation with their projections on the concept's direction, in the unsteered model."""
    reader = _reader(level)
    empty = {"tokens": [], "scores": []}
    if reader is None:
        return [empty for _ in trials]
    model, found = level.bench.model, []
    for trial in trials:
        text = level.tested[trial][0].text
        if not text.strip():
            found.append(empty)
            continue
        tokens = model.tokenize([trial.instruction], [text], chat=bool(model.tokenizer.chat_template))
        states = model.read(tokens, level.site, positions="response").arrays[level.site]
        vector = reader[level.bench.concepts.index(trial.concept)]
        row = tokens.rows[0]
        words = [model.tokenizer.decode([token]) for token in row.ids[row.response :]]
        found.append({"tokens": words, "scores": (vector.detect(states) / vector.unit).tolist()})
    return found


def _reader(level: "Level") -> list[Vector] | None:
    """The vectors whose projections shade the text: those of the first method that fits vectors."""
    for _, artifacts in level.fitted.values():
        vectors = [artifact for artifact in artifacts if isinstance(artifact, Vector)]
        if len(vectors) == len(artifacts):
            return vectors
    return None


def _failures(level: "Level") -> tuple[str, ...]:
    missing = [trial for trial, (_, rating) in level.tested.items() if rating.overall is None]
    empty = [trial for trial, (sample, _) in level.tested.items() if not sample.text.strip()]
    found = []
    if missing:
        found.append(f"The judge could not rate {len(missing)} of {len(level.tested)} reported generations.")
    if empty:
        methods = sorted({trial.method for trial in empty})
        found.append(f"{len(empty)} of {len(level.tested)} reported generations are empty ({', '.join(methods)}).")
    weak = [name for name, share in _undecided(level).items() if share > 0]
    if weak:
        found.append(
            f"At the largest strength tried a choice was still at the edge of the grid for: {', '.join(weak)}."
        )
    return tuple(found)


def _undecided(level: "Level") -> dict[str, float]:
    """The share of each method's choices that fell on the largest strength."""
    top = max(level.bench.config.strengths)
    return {
        name: float(
            np.mean([strength == top for (method, *_), strength in level.choices.items() if method == name] or [0])
        )
        for name in level.bench.config.steered
    }


def _cells(level: "Level", trial) -> list:
    sample, rating = level.tested[trial]
    ratings = [getattr(rating, name) for name in RATED]
    return [trial.method, trial.concept, trial.instruction, trial.strength, sample.text, *ratings]
