"""What the AxBench comparison tells its readers: the report with its sampled generations, AxBench's files, and W&B."""

from collections import Counter

from experiments.axbench.comparison_sections import comparison_sections
from experiments.axbench.detection import DetectionTask
from experiments.axbench.level import Level
from experiments.axbench.results import MethodNote, Results
from experiments.axbench.task import PARTS, SteeringTask
from workbench.artifacts.attention import AttentionReadout
from workbench.artifacts.vector import Vector
from workbench.evaluation.judges.base import Rating
from workbench.evaluation.steering import Sample, Trial, split_instructions
from workbench.exchange.axbench_latent import write_latent
from workbench.exchange.axbench_results import Rated, steered, write_steering
from workbench.methods.capabilities import detects, runs_to_detect, steers
from workbench.report.blocks import Card
from workbench.report.document import Document
from workbench.report.render import write_report
from workbench.runs.files import JSON, digest
from workbench.runs.tracking import Tracker

RATED = ("overall", *PARTS)
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


def write_comparison(detection: DetectionTask, task: SteeringTask, tracker: Tracker) -> None:
    """Write the report into the run's folder, or one a layer into folders of their own; send everything to W&B."""
    level = task.level
    run = task.bench.run
    several = len(task.bench.layers) > 1
    path = write_report(run.folder / f"layer{task.layer}" if several else run.folder, build_report(task))
    exchange(detection, task)
    tracker.log_metrics(run.rows())
    columns = ["method", "concept", "instruction", "strength", "text", *(f"rated {name}" for name in RATED)]
    tracker.log_table("generations", columns, [_cells(task, trial) for trial in task.reported])
    about: dict[str, JSON] = {"model": task.bench.model.name}
    tracker.log_artifact(f"vectors-layer{task.layer}", "vectors", run.artifacts, about, list(level.paths.values()))
    tracker.log_report(path)


def exchange(detection: DetectionTask, task: SteeringTask) -> None:
    """The results as AxBench's own files, in `axbench/`: a folder for each layer and seed."""
    level, bench = task.level, task.bench
    whole = {name for name, (method, _) in level.fitted.items() if not runs_to_detect(method)}
    scores = {name: found for (name, repeat), found in detection.scores.items() if repeat == 0 and name in whole}
    for seed in bench.config.seeds:
        folder = bench.run.folder / "axbench" / f"layer{task.layer}-seed{seed}"
        write_latent(folder, bench.concepts, scores)
        write_steering(folder, _rated(task, task.selecting, seed), _rated(task, task.reported, seed))


def _rated(task: SteeringTask, found: dict[Trial, tuple[Sample, Rating]], seed: int) -> Rated:
    level, bench = task.level, task.bench
    halves = split_instructions(bench.concepts, bench.config.instructions, seed)
    asked = {concept: [*first, *second] for concept, (first, second) in halves.items()}
    mine = {trial: one for trial, one in found.items() if trial.seed == seed}
    return steered(mine, bench.concepts, asked, lambda t: _unit(level, t), lambda t: level.plan(t).prompt)


def _unit(level: Level, trial: Trial) -> float | None:
    """Activation units of strength 1, for a method that adds a vector."""
    artifact = level.fitted[trial.method][1][level.material.concepts.index(trial.concept)]
    return artifact.unit if isinstance(artifact, Vector | AttentionReadout) else None


def build_report(task: SteeringTask) -> Document:
    """Everything on the page, from the rows of the run and its reported generations."""
    level = task.level
    bench, config, n = task.bench, task.bench.config, len(task.bench.concepts.targets)
    results = Results.at(
        task.layer,
        bench.run.rows(),
        methods=tuple(_note(level, name) for name in bench.methods),
        judge=bench.judge.name,
        baseline=config.baseline if config.baseline in config.steered else None,
    )
    return Document(
        title="Reading and writing concepts",
        lead=f"How well do {len(bench.methods)} methods find {n} concepts in text (detection), and how well do those "
        f"that can write bring them into the answers of {bench.model.name} (steering)? All read and edit the residual "
        f"stream after block {task.layer} of {bench.model.n_layers}.",
        command=bench.run.command,
        facts=(
            ("Model", bench.model.name),
            ("Precision", str(bench.model.dtype).removeprefix("torch.")),
            ("Site", str(level.site)),
            ("Concepts", f"{n} ({bench.concepts.name})"),
            ("Instructions", f"{config.instructions} a concept, half of them reported"),
            ("Judge", bench.judge.name),
        ),
        sections=comparison_sections(results, _cards(task), _failures(task)),
        notes=NOTES,
    )


def _note(level: Level, name: str) -> MethodNote:
    method = level.material.methods[name]
    limits = []
    if not detects(method):
        limits.append("Steers only.")
    if not steers(method):
        limits.append("Detects only.")
    elif name not in level.material.config.steered:
        limits.append("Not asked to steer in this run.")
    arxiv = method.source.removeprefix("arXiv:")
    url = None if arxiv == method.source else f"https://arxiv.org/abs/{arxiv}"
    return MethodNote(name=name, label=method.title, source=method.source, url=url, limits=" ".join(limits))


def _cards(task: SteeringTask) -> tuple[Card, ...]:
    """The first reported generations of every method and concept, with the concept's share in each token."""
    chosen, count = [], Counter()
    for trial in task.reported:
        count[trial.method, trial.concept] += 1
        if count[trial.method, trial.concept] <= SHOWN:
            chosen.append(trial)
    level = task.level
    texts = [[trial.concept, trial.instruction, task.reported[trial][0].text] for trial in chosen]
    reader = [found for (method, _), found in level.fit_digests.items() if method == _reader(level)]
    inputs = {**task.bench.model.identity, "artifacts": digest(reader), "items": digest(texts), "version": 1}
    shades = task.bench.run.unit(f"shade/{task.layer}", inputs, lambda: _shades(task, chosen))
    return tuple(_card(task, trial, *shade) for trial, shade in zip(chosen, shades, strict=True))


def _card(task: SteeringTask, trial: Trial, tokens: list[str], scores: list[float]) -> Card:
    sample, rating = task.reported[trial]
    return Card(
        method=task.level.material.methods[trial.method].title,
        concept=trial.concept,
        instruction=trial.instruction,
        text=sample.text,
        strength=trial.strength,
        tokens=tuple(tokens),
        token_scores=tuple(scores),
        ratings=(*((part, getattr(rating, part)) for part in PARTS), ("score", rating.overall)),
    )


def _shades(task: SteeringTask, trials: list[Trial]) -> list[tuple[list[str], list[float]]]:
    """The tokens of each text and their projections on the concept's direction, read in the unsteered model."""
    level, model = task.level, task.bench.model
    reader = _reader(level)
    texts = {trial: task.reported[trial][0].text for trial in trials}
    written = [trial for trial in trials if texts[trial].strip()]
    if reader is None or not written:
        return [([], []) for _ in trials]
    asked, chat = [trial.instruction for trial in written], bool(model.tokenizer.chat_template)
    tokens = model.tokenize(asked, [texts[trial] for trial in written], chat=chat)
    states = model.read(tokens, level.site, positions="response")
    found = {}
    for at, (trial, row) in enumerate(zip(written, tokens, strict=True)):
        vector = level.fitted[reader][1][task.bench.concepts.index(trial.concept)]
        assert isinstance(vector, Vector)
        scores = vector.detect(states.x(level.site)[states.row == at]) / vector.unit
        found[trial] = ([model.tokenizer.decode([token]) for token in row.ids[row.response :]], scores.tolist())
    return [found.get(trial, ([], [])) for trial in trials]


def _reader(level: Level) -> str | None:
    """The method whose projections shade the text: the first that fits vectors."""
    fitted = level.fitted.items()
    return next((name for name, (_, found) in fitted if all(isinstance(one, Vector) for one in found)), None)


def _failures(task: SteeringTask) -> tuple[str, ...]:
    n, found = len(task.reported), []
    if missing := sum(rating.overall is None for _, rating in task.reported.values()):
        found.append(f"The judge could not rate {missing} of {n} reported generations.")
    if empty := {trial for trial, (sample, _) in task.reported.items() if not sample.text.strip()}:
        methods = ", ".join(sorted({trial.method for trial in empty}))
        found.append(f"{len(empty)} of {n} reported generations are empty ({methods}).")
    top = max(task.bench.config.strengths)
    if edge := sorted({method for (method, _, _), strength in task.choices.items() if strength == top}):
        found.append(f"Some strength chosen is the largest that was tried, for: {', '.join(edge)}.")
    return tuple(found)


def _cells(task: SteeringTask, trial: Trial) -> list[JSON]:
    sample, rating = task.reported[trial]
    ratings = [getattr(rating, name) for name in RATED]
    return [trial.method, trial.concept, trial.instruction, trial.strength, sample.text, *ratings]
