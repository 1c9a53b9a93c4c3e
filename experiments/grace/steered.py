"""Whether a defended model can still be steered: towards packaged concepts, by vectors fitted on the policy alone."""

from dataclasses import dataclass

import numpy as np

from experiments.grace.arms import Arm
from experiments.grace.context import GraceContext
from experiments.grace.outcomes import inputs_of
from steering.fit import fit_all
from steering.methods.diffmean import DiffMean
from workbench.artifacts.vector import Vector
from workbench.data.dataset import Dataset
from workbench.data.packaged import packaged
from workbench.data.steering_task import split_instructions
from workbench.evaluation.judges.base import Judge, JudgedText
from workbench.evaluation.judges.choose import choose_judge
from workbench.evaluation.steering import Plan, Trial, run_trials
from workbench.evaluation.summary import or_nan
from workbench.models.sampling import Sampling

INSTRUCTIONS = 6
STRENGTHS = (0.6, 1.0)
"""In units of the largest activation on training texts; each half of the instructions chooses for the other."""
SAMPLING = Sampling(max_new_tokens=32, temperature=0.7, top_p=0.95)


@dataclass(frozen=True, eq=False)
class SteeringTask:
    """The comparison's steering task at a small size, the same for all defences of a seed."""

    context: GraceContext
    concepts: Dataset
    vectors: dict[str, Vector]
    judge: Judge

    @classmethod
    def of(cls, context: GraceContext, concepts: Dataset) -> "SteeringTask":
        """DiffMean's vectors, fitted on the policy alone; the judge is set up on the model before it."""
        vectors = fit_all(context.policy, concepts, DiffMean())
        judge = choose_judge("embedded", "", packaged(), context.model, SAMPLING, context.run)
        return cls(context, concepts, vectors, judge)

    def scores(self, arm: Arm) -> list[float]:
        """The mean rating of each concept's answers, 0 to 2, each half at the strength that the other one chose."""
        halves = split_instructions(self.concepts, INSTRUCTIONS, self.context.seed)
        trials = [
            Trial("diffmean", concept, text, strength, self.vectors[concept].site.layer, self.context.seed)
            for concept, sides in halves.items()
            for side in sides
            for text in side
            for strength in STRENGTHS
        ]
        digests = [vector.content_digest for vector in self.vectors.values()]
        inputs = {**inputs_of(self.context, arm), "vectors": digests}
        samples = run_trials(
            self.context.run,
            f"{self.context.place}/{arm.name}",
            inputs,
            arm.model,
            trials,
            lambda trial: self._plan(arm, trial),
            SAMPLING,
        )
        texts = [
            JudgedText(
                concept=trial.concept,
                description=self.concepts.targets[self.concepts.index(trial.concept)].description,
                instruction=trial.instruction,
                text=samples[trial].text,
                perplexity=or_nan(samples[trial].perplexity),
            )
            for trial in trials
        ]
        rated = dict(zip(trials, (or_nan(one.overall) for one in self.judge.rate(texts)), strict=True))
        return [self._of_concept(rated, concept, sides) for concept, sides in halves.items()]

    def _plan(self, arm: Arm, trial: Trial) -> Plan:
        strength = 0.0 if trial.strength is None else trial.strength
        vector = self.vectors[trial.concept].adopt(arm.model.name, arm.model.digest)
        return Plan(trial.instruction, (*arm.edits, vector.edit(strength)))

    def _of_concept(self, rated: dict[Trial, float], concept: str, sides: tuple[list[str], list[str]]) -> float:
        means = [
            [
                np.nanmean([one for trial, one in rated.items() if _is(trial, concept, side, strength)])
                for strength in STRENGTHS
            ]
            for side in sides
        ]
        return float(np.mean([own[int(np.argmax(other))] for own, other in zip(means, means[::-1], strict=True)]))


def _is(trial: Trial, concept: str, side: list[str], strength: float) -> bool:
    return trial.concept == concept and trial.instruction in side and trial.strength == strength
