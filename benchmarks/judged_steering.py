"""Agreement of the embedded judge with a language model behind an endpoint, on generations of a finished comparison."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from benchmarks.judging import embedded_judge, unsteered_answers
from workbench.data.named import dataset
from workbench.evaluation.intervals import bootstrap
from workbench.evaluation.judges.base import MAX_RATING, JudgedText, Rating
from workbench.evaluation.judges.embedded import EmbeddedJudge
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.evaluation.judges.rubric import ASPECTS
from workbench.exchange.axbench_results import Steered, read_steering
from workbench.models.load import load
from workbench.models.sampling import Sampling
from workbench.runs.files import read_json

DRAWS, PATIENCE_S = 2000, 600.0
"""Of the bootstrap; and how long an answer may take, of a server without a GPU."""


def compare_with_llm(run: Path, url: str, llm: str, n: int) -> None:
    """Print how far two judges agree on `n` generations of a run, drawn at random among those that are not empty.

    The generations are those that chose strengths and those that are reported. The embedded judge is set up as the run
    sets it up, and the endpoint's answers are kept in a folder `judged` of the run, so that a second call asks nothing.
    """
    judge, items = embedded_for(run, sample(run, n))
    endpoint = EndpointJudge(url, llm, cache=run / "judged", timeout_s=PATIENCE_S)
    ours, theirs = judge.rate(items), endpoint.rate(items)
    missing = sum(rating.overall is None for rating in theirs)
    print(f"{len(items)} generations of {run.name}, rated by {judge.name} and by {endpoint.name}; {missing} incomplete")
    print("| rating | n | mean of ours | mean of theirs | Spearman | same side of 1 |\n|---|---|---|---|---|---|")
    parts: dict[str, Callable[[Rating], float | None]] = {
        aspect: (lambda rating, at=at: rating.values[at]) for at, aspect in enumerate(ASPECTS)
    }
    for name, part in (parts | {"overall": lambda rating: rating.overall}).items():
        pairs = [(part(a), part(b)) for a, b in zip(ours, theirs, strict=True)]
        print(
            _row(name, np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2)), flush=True
        )


def sample(run: Path, n: int, seed: int = 0) -> list[Steered]:
    """Generations of a finished run, with text and perplexity. Raises SystemExit where there are none."""
    files = sorted((run / "axbench").glob("*/inference/steering_data.parquet"))
    there = [one for file in files for one in read_steering(file) if one.text.strip() and one.perplexity is not None]
    if not there:
        raise SystemExit(f"{run} holds no generations; give the folder of a finished `experiments.axbench` run")
    order = np.random.default_rng(seed).permutation(len(there))[:n]
    return [there[at] for at in order]


def embedded_for(run: Path, generations: list[Steered]) -> tuple[EmbeddedJudge, list[JudgedText]]:
    """The judge of a run's concepts and model, and the generations as it is given them."""
    config = read_json(run / "config.json")["config"]
    concepts, model = dataset(config["concepts"], config["limit"]), load(config["model"])
    sampling = Sampling(config["max_new_tokens"], config["temperature"], config["top_p"])
    names = {concept.description: concept.name for concept in concepts.targets}
    answers = unsteered_answers(model, [one.instruction for one in generations], sampling)
    items = [
        JudgedText(
            names[one.concept],
            one.concept,
            one.instruction,
            one.text,
            one.perplexity or np.nan,
            (answers[one.instruction],),
        )
        for one in generations
    ]
    return embedded_judge(concepts, model, sampling), items


def _row(name: str, pairs: np.ndarray) -> str:
    """Of pairs of ratings [text, judge] that both are there."""
    ours, theirs = pairs.T
    same = bootstrap(((ours >= 1) == (theirs >= 1)).astype(float), bounds=(0.0, 1.0))
    means = (bootstrap(each, bounds=(0.0, MAX_RATING)) for each in (ours, theirs))
    ranked = spearman(pairs)
    correlation = "missing" if ranked is None else "{:.3f} [{:.3f}, {:.3f}]".format(*ranked)
    return f"| {name} | {len(pairs)} | {' | '.join(map(str, means))} | {correlation} | {same} |"


def spearman(pairs: Float[np.ndarray, "text 2"]) -> tuple[float, float, float] | None:
    """Rank correlation with a 95 % percentile interval over texts; None where a judge says one thing only.

    Draws in which one does are left out.
    """
    if len(pairs) < 3 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    random = np.random.default_rng(0)
    drawn = (pairs[random.integers(len(pairs), size=len(pairs))] for _ in range(DRAWS))
    values = [_correlation(some) for some in drawn if (np.ptp(some, axis=0) > 0).all()]
    low, high = np.quantile(values, [0.025, 0.975])
    return _correlation(pairs), float(low), float(high)


def _correlation(pairs: Float[np.ndarray, "text 2"]) -> float:
    """Pearson's, of ranks."""
    return float(np.corrcoef(rankdata(pairs, axis=0), rowvar=False)[0, 1])
