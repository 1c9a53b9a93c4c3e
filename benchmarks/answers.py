"""What the single answers of a comparison say of its power, and of its race: `python -m benchmarks.answers FOLDER`.

FOLDER is a run of `experiments.axbench`. From the ratings in its `axbench/*/evaluate/` the first table has, for each
pair of methods, the variance of their paired difference from answer to answer within a concept and from concept to
concept. After a run with `--search grid`, which rates everything, the second table has what racing the strengths would
have lost: the same search on the recorded scores, over draws of concepts and of their instructions, in another order
each time. A draw can be of another size than the run: `--concepts 30 --instructions 10` is that of the default.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Float

from workbench.evaluation.strengths import Fold, Grid, Scores, Search, search_strengths

SEARCHES: tuple[Search, ...] = ("grid", "race")


@dataclass(frozen=True)
class Args:
    """Which run, and how often to race."""

    folder: tyro.conf.Positional[Path]
    """Of the run."""
    draws: int = 60
    """In each of which strengths are searched both ways."""
    concepts: int | None = None
    """So many are drawn, with replacement; each recorded one once, if not given."""
    instructions: int | None = None
    """So many are drawn of each of them, without replacement; all, if not given."""


def ratings(path: Path) -> dict[str, list[tuple[list[float], list[float]]]]:
    """By method, for each concept the strengths and the overall ratings, by instruction and then by strength.

    Of an evaluate/steering.jsonl or steering_test.jsonl; a missing rating is NaN.
    """
    found: dict[str, list[tuple[list[float], list[float]]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        for method, numbers in json.loads(line)["results"]["LMJudgeEvaluator"].items():
            raw = [np.nan if value is None else value for value in numbers["raw_aggregated_ratings"]]
            found.setdefault(method, []).append((numbers["factor"], raw))
    return found


def variances(folder: Path) -> list[str]:
    """Lines of the first table, from the answers that are reported."""
    lines = ["| difference | mean | within | between | 2 standard errors | n |", "|---|--:|--:|--:|--:|--:|"]
    (path,) = folder.glob("axbench/*/evaluate/steering_test.jsonl")
    reported = {method: np.array([raw for _, raw in concepts]) for method, concepts in ratings(path).items()}
    for one, other in combinations(reported, 2):
        difference = reported[one] - reported[other]
        n, answers = difference.shape
        within = float(np.nanmean(np.nanvar(difference, axis=1, ddof=1)))
        whole = float(np.nanvar(np.nanmean(difference, axis=1), ddof=1))
        cells = (np.nanmean(difference), within, whole - within / answers, 2 * np.sqrt(whole / n))
        lines.append(f"| {one} less {other} | {' | '.join(f'{cell:.2f}' for cell in cells)} | {n} x {answers} |")
    return lines


@dataclass
class Recorded:
    """Rates by looking up what a grid rated, and counts what it is asked and what is reported beside."""

    whole: Float[np.ndarray, "concept instruction strength"]
    strengths: Sequence[float]
    seen: set[tuple[int, int, float]]

    def __call__(self, stage: str, grid: Grid) -> Scores:
        """See `search_strengths`; an instruction is called by its number."""
        return {
            fold: {strength: [self.score(fold, text, strength) for text in texts] for strength in strengths}
            for fold, (strengths, texts) in grid.items()
        }

    def score(self, fold: Fold, text: str, strength: float) -> float:
        """The recorded rating."""
        place = int(fold.concept), int(text), strength
        self.seen.add(place)
        return float(self.whole[place[0], place[1], self.strengths.index(strength)])


def searched(strengths: Sequence[float], whole: np.ndarray, search: Search) -> tuple[float, int]:
    """The mean reported score, each half at the strength that the other chose, and the answers it took."""
    halves = np.array_split(np.arange(whole.shape[1]), 2)
    rate = Recorded(whole, strengths, set())
    folds = {
        Fold("", str(concept), 0, half): [str(number) for number in halves[half]]
        for concept in range(len(whole))
        for half in (0, 1)
    }
    chosen = search_strengths(folds, strengths, search, rate)
    scores = [rate.score(fold, text, chosen[fold.other]) for fold, texts in folds.items() for text in texts]
    return float(np.nanmean(scores)), len(rate.seen)


def races(args: Args) -> list[str]:
    """Lines of the second table, from what a grid rated; +- is the standard error of the mean over draws."""
    lines = ["| method | grid | race | loss | answers, grid / race |", "|---|--:|--:|--:|--:|"]
    (path,) = args.folder.glob("axbench/*/evaluate/steering.jsonl")
    for method, concepts in ratings(path).items():
        strengths = concepts[0][0]
        whole = np.array([np.reshape(raw, (-1, len(strengths))) for _, raw in concepts])
        rng = np.random.default_rng(0)
        found = np.array([[searched(strengths, drawn, how) for how in SEARCHES] for drawn in _drawn(whole, args, rng)])
        (grid, all_), (race, some) = found.mean(0)  # found is [draw, search, score and answers]
        loss = found[:, 0, 0] - found[:, 1, 0]
        error = loss.std(ddof=1) / np.sqrt(len(loss))
        lines.append(f"| {method} | {grid:.3f} | {race:.3f} | {loss.mean():.3f} +- {error:.3f} | {all_ / some:.2f} |")
    return lines


def _drawn(whole: np.ndarray, args: Args, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Scores of the drawn concepts at their drawn instructions, [concept, instruction, strength]."""
    n_concepts, n_texts, _ = whole.shape
    for _ in range(args.draws):
        chosen = np.arange(n_concepts) if args.concepts is None else rng.integers(n_concepts, size=args.concepts)
        yield np.stack([whole[concept, rng.permutation(n_texts)[: args.instructions]] for concept in chosen])


def main(args: Args) -> None:
    print("\n".join(variances(args.folder)))
    if json.loads((args.folder / "config.json").read_text(encoding="utf-8"))["config"]["search"] == "grid":
        print("\n" + "\n".join(races(args)))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
