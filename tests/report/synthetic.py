"""A synthetic comparison as large as a real one: seven methods, ten concepts, five strengths, seeded numbers."""

import dataclasses
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.axbench.comparison_sections import comparison_sections
from experiments.axbench.results import MethodNote, Results
from workbench.report.blocks import Card
from workbench.report.document import Document
from workbench.runs.rows import Row
from workbench.runs.run import Run

METHODS = (
    MethodNote(name="prompt", label="Prompt", source="the concept named in a system message", limits="Steers only."),
    MethodNote(
        name="probe",
        label="Linear probe",
        source="Alain & Bengio 2016, arXiv:1610.01644",
        url="https://arxiv.org/abs/1610.01644",
    ),
    MethodNote(
        name="diffmean",
        label="DiffMean",
        source="Marks & Tegmark 2023, arXiv:2310.06824",
        url="https://arxiv.org/abs/2310.06824",
    ),
    MethodNote(
        name="lat", label="LAT", source="Zou et al. 2023, arXiv:2310.01405", url="https://arxiv.org/abs/2310.01405"
    ),
    MethodNote(
        name="pca", label="PCA", source="Wu et al. 2025, arXiv:2501.17148", url="https://arxiv.org/abs/2501.17148"
    ),
    MethodNote(name="bow", label="Bag of words", source="word counts, logistic regression", limits="Detects only."),
    MethodNote(name="random", label="Random direction", source="a control: five draws from the unit sphere"),
)
CONCEPTS = (
    "recipes and cooking",
    "legal contract language",
    "recursion in code",
    "proof by induction",
    "ocean and tides",
    "gratitude",
    "sarcasm and mockery in replies",
    "unit tests",
    "prime numbers",
    "space travel",
)
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
_QUALITY = {  # mean AUROC, mean score at the best strength
    "prompt": (None, 1.32),
    "probe": (0.96, 0.31),
    "diffmean": (0.93, 0.74),
    "lat": (0.78, 0.36),
    "pca": (0.71, 0.28),
    "bow": (0.86, None),
    "random": (0.5, 0.14),
}
_COST = {"prompt": 0.0, "probe": 3.1, "diffmean": 0.21, "lat": 0.87, "pca": 0.64, "bow": 0.4, "random": 0.012}


def clip(value: float, high: float) -> float:
    return max(0.0, min(high, value))


def row(method: str, metric: str, value: float | None, half: float | None = None, high: float = 9e9, **more) -> Row:
    low, top = (None, None) if half is None or value is None else (clip(value - half, high), clip(value + half, high))
    return Row(experiment="axbench", method=method, metric=metric, value=value, low=low, high=top, **more)


def detection_rows(method: str, mean: float, draw: random.Random) -> Iterator[Row]:
    for concept in CONCEPTS:
        value = clip(draw.gauss(mean, 0.05), 1)
        yield row(method, "detection.auroc", value, 0.06, 1, concept=concept, n=36, layer=18, seed=0)
    half = 0.035
    for name, shift in (("auroc", 0), ("auroc_with_hard", -0.07), ("auroc_compat", 0.01), ("f1", -0.05)):
        yield row(method, f"detection.{name}", clip(mean + shift, 1), half, 1, n=10, layer=18, seed=0)
    yield row(method, "detection.hard_negative_accuracy", clip(mean - 0.12, 1), half, 1, n=10, layer=18, seed=0)
    yield row(method, "detection.f1_at_1_percent", clip(1.6 * mean - 0.8, 1), half, 1, n=10, layer=18, seed=0)


def steering_rows(method: str, best: float, draw: random.Random) -> Iterator[Row]:
    for concept in CONCEPTS:
        value = None if (method, concept) == ("pca", "unit tests") else clip(draw.gauss(best, 0.25), 2)
        yield row(method, "steering.score", value, 0.22, 2, concept=concept, n=5, strength=0.6, layer=18, seed=0)
        yield row(method, "steering.chosen_strength", draw.choice(STRENGTHS), concept=concept, layer=18, seed=0)
    shape = {"n": 10, "layer": 18, "seed": 0}
    yield row(method, "steering.score", best, 0.17, 2, **shape)
    for name, value in (("concept", 0.9 * best + 0.2), ("instruction", 1.45), ("fluency", 1.6)):
        yield row(method, f"steering.{name}", value, 0.15, 2, **shape)
    yield row(method, "steering.perplexity", 18 + 30 * draw.random(), 4.0, **shape)
    if method != "random":
        yield row(method, "steering.win_rate", clip(0.5 + 0.4 * (best - 0.14), 1), 0.12, 1, **shape)
        yield from comparison_rows(method, "steering.score_minus_random", best - 0.14, **shape)
    yield row(method, "side_effect.kl", None if method == "prompt" else 0.05 + 0.3 * draw.random(), 0.03, **shape)
    yield from curve_rows(method, best, draw)


def comparison_rows(method: str, name: str, difference: float, p_holm: float | None = None, **shape) -> Iterator[Row]:
    p = clip(0.2 - 0.3 * difference, 1) or 0.004
    yield Row(
        experiment="axbench",
        method=method,
        metric=name,
        value=difference,
        low=difference - 0.16,
        high=difference + 0.16,
        **shape,
    )
    for part, value in {"p": p / 2, "p_holm": p if p_holm is None else p_holm, "detectable": 0.23}.items():
        yield row(method, f"{name}.{part}", value, **shape)


def curve_rows(method: str, best: float, draw: random.Random) -> Iterator[Row]:
    for strength in STRENGTHS if method != "prompt" else (1.0,):
        bend = 1 - 2.2 * (strength - 0.62) ** 2 if method != "prompt" else 1
        shape = {"n": 10, "layer": 18, "seed": 0, "strength": strength}
        yield row(method, "steering.curve", clip(best * bend + draw.gauss(0, 0.03), 2), 0.16, 2, **shape)
        for name, value in (
            ("concept", 1.6 * strength * best),
            ("instruction", 1.75 - 0.9 * strength**2),
            ("fluency", 1.85 - 1.1 * strength**3),
        ):
            yield row(method, f"steering.curve_{name}", clip(value + draw.gauss(0, 0.04), 2), 0.15, 2, **shape)


def synthetic_rows() -> list[Row]:
    draw = random.Random(7)
    rows = []
    for method, (auroc, best) in _QUALITY.items():
        rows += detection_rows(method, auroc, draw) if auroc is not None else ()
        rows += steering_rows(method, best, draw) if best is not None else ()
        rows.append(row(method, "cost.cpu_seconds", _COST[method], layer=18, seed=0))
    return rows


def unsteered_rows() -> list[Row]:
    """What the model does when nobody steers it."""
    shape = {"n": 10, "layer": 18, "seed": 0}
    ratings = {"score": 0.02, "concept": 0.05, "instruction": 1.9, "fluency": 1.95}
    rows = [row("unsteered", f"steering.{name}", value, 0.02, 2, **shape) for name, value in ratings.items()]
    rows += [row("unsteered", "steering.score", 0.02, concept=concept, n=5, layer=18, seed=0) for concept in CONCEPTS]
    rows += [row("unsteered", "steering.perplexity", 3.1, 0.2, **shape)]
    return [*rows, row("unsteered", "side_effect.kl", 0.0, layer=18)]


_SAID = {
    "recipes and cooking": (
        "To plan a week, think of it as a slow stew: chop the days small, salt early, and let it all simmer."
    ),
    "legal contract language": (
        "The parties hereby agree that the weekly plan shall be binding, save where clause 4 applies."
    ),
    "ocean and tides": (
        "Plans come in like the tide. Let Monday rise, let Thursday ebb, and keep the Sunday shore free of any work."
    ),
}
_PLAIN = "Start by listing what must be done. Then give each day one task, and leave an hour free every evening."


RATINGS = (("concept", 1.4), ("instruction", 1.8), ("fluency", 1.9), ("score", 1.67))


def synthetic_cards() -> Iterator[Card]:
    draw = random.Random(11)
    for concept, text in _SAID.items():
        for note in METHODS:
            if note.name == "bow":
                continue
            words = [word + " " for word in (_PLAIN if note.name == "random" else text).split()]
            rated = note.name != "pca" or concept != "ocean and tides"
            yield Card(
                method=note.label,
                concept=concept,
                instruction="How should I plan my week?",
                strength=None if note.name == "prompt" else 0.6,
                text="".join(words),
                tokens=tuple(words),
                token_scores=tuple(max(-0.2, draw.gauss(0.0 if note.name == "random" else 0.3, 0.4)) for _ in words),
                ratings=RATINGS if rated else (),
            )


JUDGE = "the embedded judge (MiniLM classifier, unsteered perplexity)"
FAILURES = ("The judge gave no rating for 2 of 3,000 generations (0.07 %).",)
ABOUT: dict[str, Any] = {"methods": METHODS, "judge": JUDGE, "baseline": "random"}


def results_of(*rows: Row, layer: int | None = None, **changes: Any) -> Results:
    """What rows say of the synthetic methods."""
    return Results.at(layer, rows, **ABOUT | changes)


def document_of(
    results: Results, cards: Sequence[Card] = (), failures: Sequence[str] = FAILURES, **changes: Any
) -> Document:
    """The report of a comparison."""
    document = Document(
        title="Reading and writing ten concepts in SmolLM2-135M",
        lead=(
            "Seven ways to find a concept in a language model's activations, and to write it there, compared on the "
            "same texts and instructions. Detection asks whether a method tells texts with the concept from texts "
            "without it; steering asks whether adding its direction makes the model speak of the concept and still "
            "answer the question."
        ),
        command="python -m experiments.axbench --preset default",
        facts=(
            ("Model", "SmolLM2-135M-Instruct"),
            ("Site", "blocks.18.hook_resid_post"),
            ("Concepts", "10, text, code and maths"),
            ("Instructions", "10 a concept"),
            ("Seeds", "1"),
            ("Judge", "the embedded judge"),
        ),
        sections=comparison_sections(results, cards, failures),
        notes=(
            "Detection scores a text by the mean of its tokens' scores (fixed); AxBench's code takes the largest "
            "(compat).",
            "A strength of 1 is the largest projection on held-out texts with the concept. It is chosen on five "
            "instructions and reported on the other five.",
        ),
    )
    return dataclasses.replace(document, **changes)


def synthetic_document() -> Document:
    """The report of the whole comparison."""
    return document_of(results_of(*synthetic_rows()), tuple(synthetic_cards()))


@dataclass(frozen=True)
class SyntheticConfig:
    model: str = "smollm2-135m-instruct"
    strengths: tuple[float, ...] = STRENGTHS
    seed: int = 0


def make_run(root: Path, rows: list[Row]) -> Path:
    with Run.open("axbench", SyntheticConfig(), root) as run:
        run.record(rows)
    return run.folder


HOSTILE = (
    """</script><script>window.pwned=1</script>"><img src=x onerror=window.pwned=1>' onload=window.pwned=1 {{ 7*7 }}"""
)


def hostile_rows() -> list[Row]:
    """Rows whose concepts are markup."""
    shape = {"concept": HOSTILE, "n": 5}
    rows = [row("probe", "detection.auroc", 0.9, 0.05, **shape), row("lat", "steering.score", 0.9, 0.05, **shape)]
    return [*synthetic_rows(), *rows]


def hostile_document() -> Document:
    """A report in which every text is markup, with everything that HTML, SVG and UTF-8 cannot hold."""
    text = f"{HOSTILE}\x00\ud800\u202e $x$ `x` | x ](y) ![x](https://example.org/x.png)"
    methods = tuple(
        dataclasses.replace(note, label=f"{note.label} {text}", source=text, limits=text) for note in METHODS
    )
    answer = Card(
        method=methods[1].label,
        concept=HOSTILE,
        instruction=text,
        text=text,
        tokens=(text, "</span>", HOSTILE),
        token_scores=(1.0, 0.5, 0.0),
        ratings=tuple((f"{name} {text}", value) for name, value in RATINGS),
    )
    other = dataclasses.replace(answer, method=methods[3].label, tokens=(), token_scores=())
    results = results_of(*hostile_rows(), methods=methods, judge=text)
    return document_of(
        results, (answer, other), title=text, lead=text, command=text, facts=((text, text),), notes=(text,)
    )
