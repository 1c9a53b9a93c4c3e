"""Ratings of the answers, in blocks that are units of work."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from experiments.axbench.context import ComparisonContext
from workbench.evaluation.judges.base import JudgedText, Rating, check_missing
from workbench.evaluation.steering import BLOCK, Sample, Trial
from workbench.evaluation.summary import or_nan, or_none
from workbench.runs.executors import UnitWork
from workbench.runs.files import digest
from workbench.runs.units import Inputs

RatedTrials = Mapping[Trial, tuple[Sample, Rating]]
"""Trials with what came of them."""


def judge_answers(
    context: ComparisonContext,
    stage: str,
    samples: Mapping[Trial, Sample],
    unsteered: Mapping[tuple[str, int], str],
) -> RatedTrials:
    """Stage: what the judge says of every answer; more than 5 % missing ratings end the run.

    Missing ones are asked for again whenever the run is continued. An answer that the model could not write is not
    judged: its rating is missing, and the judge is not to blame.
    """
    trials = [trial for trial, sample in samples.items() if sample.failure is None]
    blocks = [tuple(trials[start : start + BLOCK]) for start in range(0, len(trials), BLOCK)]
    texts = {trial: _judged_text(context, trial, samples[trial], unsteered) for trial in trials}
    works = [Rate(stage, block, tuple(texts[trial] for trial in block)) for block in blocks]
    stored = context.executor.finish(context, works, f"judge ({stage})")
    ratings = dict(zip(trials, (Rating(**values) for block in stored for values in block), strict=True))
    check_missing(list(ratings.values()))
    unwritten = {trial: Rating(None, None, None, sample.failure) for trial, sample in samples.items() if sample.failure}
    return {trial: (sample, (ratings | unwritten)[trial]) for trial, sample in samples.items()}


@dataclass(frozen=True)
class Rate(UnitWork[ComparisonContext]):
    """A unit of work: ratings of some samples."""

    stage: str
    trials: tuple[Trial, ...]
    texts: tuple[JudgedText, ...]
    """What the judge is shown of each trial."""

    @property
    def name(self) -> str:
        """See Work."""
        return f"judge/{self.stage}/{digest([asdict(trial) for trial in self.trials])[:16]}"

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        texts = [asdict(text) | {"perplexity": or_none(text.perplexity)} for text in self.texts]
        return {"judge": dict(context.judge.identity), "items": digest(texts), "version": 1}

    def complete(self, value: list[dict[str, Any]]) -> bool:
        """Whether no rating is missing: else the judge is asked again for those that are."""
        return not any(fields["error"] for fields in value)

    def compute(self, context: ComparisonContext) -> list[dict[str, Any]]:
        """The fields of the ratings; those that the judge gave before stay."""
        before = context.units.attempted(self.name, self.inputs(context)) or [{"error": "not asked"}] * len(self.texts)
        missing = [at for at, fields in enumerate(before) if fields["error"]]
        ratings = context.judge.rate([self.texts[at] for at in missing])
        found = {at: asdict(rating) for at, rating in zip(missing, ratings, strict=True)}
        return [found.get(at, fields) for at, fields in enumerate(before)]


def _judged_text(
    context: ComparisonContext, trial: Trial, sample: Sample, unsteered: Mapping[tuple[str, int], str]
) -> JudgedText:
    concepts = context.concepts
    return JudgedText(
        concept=trial.concept,
        description=concepts.targets[concepts.index(trial.concept)].description,
        instruction=trial.instruction,
        text=sample.text,
        perplexity=or_nan(sample.perplexity),
        references=(unsteered[trial.instruction, trial.seed],),
    )
