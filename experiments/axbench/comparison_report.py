"""What the AxBench comparison tells its readers: the report with its sampled generations, AxBench's files, and W&B."""

from collections import Counter

from experiments.axbench.comparison_sections import comparison_sections
from experiments.axbench.config import PRESETS, UNSTEERED
from experiments.axbench.findings import verdict
from experiments.axbench.generation import instructions_of
from experiments.axbench.judging import RatedTrials
from experiments.axbench.layer import LayerComparison
from experiments.axbench.layer_results import LayerResults
from experiments.axbench.off_concept import off_concept_map
from experiments.axbench.results import MethodNote, Results
from experiments.axbench.scores import PARTS
from experiments.smoke import smoke_banner
from workbench.artifacts.attention import AttentionReadout
from workbench.artifacts.latent import SparseLatent
from workbench.artifacts.vector import Vector
from workbench.evaluation.steering import Trial
from workbench.exchange.axbench_latent import write_latent
from workbench.exchange.axbench_results import Rated, steered, write_steering
from workbench.methods.capabilities import detects, runs_to_detect, steers
from workbench.report.blocks import Card, HeatMap
from workbench.report.document import Document
from workbench.report.render import write_report
from workbench.runs.files import JSON, digest
from workbench.runs.tracking import Tracker
from workbench.text import number_of

RATED = ("overall", *PARTS)
UNSTEERED_NOTE = MethodNote(
    name=UNSTEERED, label="Unsteered model", source="the model as it is", limits="Neither reads nor writes."
)
SHOWN = 2
"""Reported generations of each method and concept that the page shows."""

NOTES = (
    "Detection: each text is scored by its largest token (as AxBench's code does; the paper's text says mean), leaving "
    "out BOS and chat header. Thresholds come from validation texts. 'As published' repeats the published code: scores "
    "rounded to three decimals, hard negatives left out, the threshold chosen on the texts it is judged on.",
    "Steering: each half of a concept's instructions chooses the strength for the other half, so every answer is "
    "reported and none at a strength that it helped to choose. Strength 1 adds "
    "the largest projection that a held-out positive token has on the direction; random directions are as long as the "
    "difference in means. A generation's score is the harmonic mean of its three ratings. A rating that the judge "
    "could not give is missing, never zero; above 5 % missing the run fails.",
    "Side effect: KL(unsteered || steered) of the next token, in nats, over the first 32 response tokens of neutral "
    "evaluation texts at the chosen strength; of the unsteered model it is 0. Perplexity is that of the answer under "
    "the unsteered model given the plain instruction, for every method.",
    "Intervals: 95 %, over concepts: widened percentile bootstrap; of geometric means on the log scale; where most "
    "values lie at a bound, Gaffke's, and then the cell says how often it holds. Differences are paired over concepts: "
    "p of a sign-flip test, the interval of the shifts that it does not reject, uncorrected; Holm's correction over "
    "the methods that are compared with one control. The smallest detectable difference has 80 % power at 5 %, "
    "uncorrected. docs/statistics.md has the simulated coverage. Cost is the processor time of fitting all concepts "
    "on stored states.",
)


def write_comparison(results: LayerResults, tracker: Tracker) -> None:
    """Write the report into the run's folder, or one a layer into folders of their own; send everything to W&B."""
    comparison = results.comparison
    run = results.context.run
    several = len(results.context.layers) > 1
    path = write_report(run.folder / f"layer{results.layer}" if several else run.folder, build_report(results))
    exchange(results)
    tracker.log_metrics(run.rows())
    columns = ["method", "concept", "instruction", "strength", "text", *(f"rated {name}" for name in RATED)]
    tracker.log_table("generations", columns, [_cells(results, trial) for trial in results.reported])
    about: dict[str, JSON] = {"model": results.context.model.name}
    tracker.log_artifact(
        f"vectors-layer{results.layer}", "vectors", run.artifacts, about, list(comparison.paths.values())
    )
    tracker.log_report(path)


def exchange(results: LayerResults) -> None:
    """The results as AxBench's own files, in `axbench/`: a folder for each layer and seed."""
    comparison, context = results.comparison, results.context
    whole = {name for name, (method, _) in comparison.fitted.items() if not runs_to_detect(method)}
    scores = {name: found for (name, repeat), found in results.text_scores.items() if repeat == 0 and name in whole}
    for seed in context.config.seeds:
        folder = context.run.folder / "axbench" / f"layer{results.layer}-seed{seed}"
        write_latent(folder, context.concepts, scores)
        write_steering(folder, _rated(results, results.steered.curves, seed), _rated(results, results.reported, seed))


def _rated(results: LayerResults, found: RatedTrials, seed: int) -> Rated:
    comparison, context = results.comparison, results.context
    halves = instructions_of(context)[seed]
    asked = {concept: [*first, *second] for concept, (first, second) in halves.items()}
    mine = {trial: one for trial, one in found.items() if trial.seed == seed}
    return steered(mine, context.concepts, asked, lambda t: _unit(comparison, t), lambda t: comparison.plan(t).prompt)


def _unit(comparison: LayerComparison, trial: Trial) -> float | None:
    """Activation units of strength 1, for a method that adds a vector."""
    artifact = comparison.fitted[trial.method][1][comparison.context.concepts.index(trial.concept)]
    return artifact.unit if isinstance(artifact, Vector | AttentionReadout | SparseLatent) else None


def build_report(results: LayerResults) -> Document:
    """Everything on the page, from the rows of the run and its reported generations."""
    comparison = results.comparison
    context, config, n = results.context, results.context.config, len(results.context.concepts.targets)
    judge, rows = context.judge.name if config.steered else None, context.run.rows()
    unsteered = {row.method for row in rows} & {UNSTEERED}
    found = Results.at(
        results.layer,
        rows,
        methods=tuple(_note(comparison, name) for name in (*context.methods, *unsteered)),
        judge=judge,
        baseline=config.baseline if config.baseline in config.steered else None,
        texts=min(len(context.concepts.rows(target.name, "evaluation")) for target in context.concepts.targets),
        descriptions={target.name: target.description for target in context.concepts.targets},
    )
    return Document(
        title="Reading and writing concepts",
        lead=f"How well do {number_of(len(context.methods), 'method')} find {number_of(n, 'concept')} in text "
        f"(detection), and how well do those that can write bring them into the answers of {context.model.name} "
        f"(steering)? All read and edit the residual stream after block {results.layer} of {context.model.n_layers}.",
        banner=smoke_banner(config, PRESETS),
        verdict=verdict(found),
        command=context.run.command,
        facts=(
            ("Model", context.model.name),
            ("Precision", str(context.model.dtype).removeprefix("torch.")),
            ("Site", str(comparison.site)),
            ("Concepts", f"{n} ({context.concepts.name})"),
            ("Instructions", f"{config.instructions} a concept"),
            ("Judge", judge or "none: nothing is steered"),
        ),
        sections=comparison_sections(found, _cards(results, found), _failures(results), _off_concept(results, found)),
        notes=(*NOTES, *_at_the_edge(results)),
    )


def _off_concept(results: LayerResults, numbers: Results) -> HeatMap | None:
    """The concepts that the best steering by an edit changes, beside the one it is for; None where nobody asked."""
    read = {trial.method for trial in results.changes if trial.strength is not None}
    best = next((note for note in numbers.ranked().methods if note.name in read), None)
    labels = {target.name: numbers.label(target.name) for target in results.context.concepts.targets}
    return None if best is None else off_concept_map(results.changes, best, labels)


def _note(comparison: LayerComparison, name: str) -> MethodNote:
    if name == UNSTEERED:
        return UNSTEERED_NOTE
    method = comparison.context.methods[name]
    limits = []
    if not detects(method):
        limits.append("Steers only.")
    if not steers(method):
        limits.append("Detects only.")
    elif name not in comparison.context.config.steered:
        limits.append("Not asked to steer in this run.")
    arxiv = method.source.removeprefix("arXiv:")
    url = None if arxiv == method.source else f"https://arxiv.org/abs/{arxiv}"
    return MethodNote(name=name, label=method.title, source=method.source, url=url, limits=" ".join(limits))


def _cards(results: LayerResults, numbers: Results) -> tuple[Card, ...]:
    """The first reported generations of every method and concept, with the concept's share in each token."""
    chosen, count = [], Counter()
    for trial in results.answers:
        count[trial.method, trial.concept] += 1
        if count[trial.method, trial.concept] <= SHOWN:
            chosen.append(trial)
    comparison = results.comparison
    texts = [[trial.concept, trial.instruction, results.answers[trial][0].text] for trial in chosen]
    reader = [found for (method, _), found in comparison.fit_digests.items() if method == _reader(comparison)]
    inputs = {**results.context.model.identity, "artifacts": digest(reader), "items": digest(texts), "version": 2}
    shades = results.context.run.unit(f"shade/{results.layer}", inputs, lambda: _shades(results, chosen))
    return tuple(_card(results, numbers, trial, *shade) for trial, shade in zip(chosen, shades, strict=True))


def _card(results: LayerResults, numbers: Results, trial: Trial, tokens: list[str], scores: list[float]) -> Card:
    sample, rating = results.answers[trial]
    return Card(
        method=numbers.note(trial.method).label,
        concept=numbers.label(trial.concept),
        meaning=numbers.descriptions[trial.concept],
        instruction=trial.instruction,
        text=sample.text,
        strength=trial.strength,
        tokens=tuple(tokens),
        token_scores=tuple(scores),
        ratings=(*((part, getattr(rating, part)) for part in PARTS), ("score", rating.overall)),
    )


def _shades(results: LayerResults, trials: list[Trial]) -> list[tuple[list[str], list[float]]]:
    """The tokens of each text and what they score for the concept, read in the unsteered model.

    A score of 1 is that of the strongest held-out token of texts with the concept; 0 is the detection threshold.
    """
    comparison, model = results.comparison, results.context.model
    reader = _reader(comparison)
    texts = {trial: results.answers[trial][0].text for trial in trials}
    written = [trial for trial in trials if texts[trial].strip()]
    if reader is None or not written:
        return [([], []) for _ in trials]
    asked, chat = [trial.instruction for trial in written], bool(model.tokenizer.chat_template)
    tokens = model.tokenize(asked, [texts[trial] for trial in written], chat=chat)
    states = model.read(tokens, comparison.site, positions="response")
    found = {}
    for at, (trial, row) in enumerate(zip(written, tokens, strict=True)):
        vector = comparison.fitted[reader][1][results.context.concepts.index(trial.concept)]
        assert isinstance(vector, Vector)
        strongest = vector.unit + vector.bias if vector.unit + vector.bias > 0 else vector.unit
        scores = vector.detect(states.x(comparison.site)[states.row == at]) / strongest
        found[trial] = ([model.tokenizer.decode([token]) for token in row.ids[row.response :]], scores.tolist())
    return [found.get(trial, ([], [])) for trial in trials]


def _reader(comparison: LayerComparison) -> str | None:
    """The method whose projections shade the text: the first that fits vectors."""
    fitted = comparison.fitted.items()
    return next((name for name, (_, found) in fitted if all(isinstance(one, Vector) for one in found)), None)


def _failures(results: LayerResults) -> tuple[str, ...]:
    n, found = len(results.reported), []
    if unwritten := {trial.method for trial, (sample, _) in results.reported.items() if sample.failure}:
        methods = ", ".join(sorted(unwritten))
        found.append(f"Some answers have no rating: the logits of the steered model were not finite ({methods}).")
    written = {trial: (sample, rating) for trial, (sample, rating) in results.reported.items() if not sample.failure}
    if missing := sum(rating.overall is None for _, rating in written.values()):
        found.append(f"The judge could not rate {missing} of {n} reported generations.")
    if empty := {trial for trial, (sample, _) in written.items() if not sample.text.strip()}:
        methods = ", ".join(sorted({trial.method for trial in empty}))
        found.append(f"{len(empty)} of {n} reported generations are empty ({methods}).")
    return tuple(found)


def _at_the_edge(results: LayerResults) -> tuple[str, ...]:
    """Who might do better at strengths that were not tried."""
    top = max(results.context.config.strengths)
    edge = sorted({fold.method for fold, strength in results.steered.choices.items() if strength == top})
    return (f"Some strength chosen is the largest that was tried, for: {', '.join(edge)}.",) if edge else ()


def _cells(results: LayerResults, trial: Trial) -> list[JSON]:
    sample, rating = results.reported[trial]
    ratings = [getattr(rating, name) for name in RATED]
    return [trial.method, trial.concept, trial.instruction, trial.strength, sample.text, *ratings]
