"""Open questions answered in words under every way, and what the embedded judge says of the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.behaviours.context import BehaviourContext
from experiments.behaviours.fitting import BehaviourVectors
from experiments.behaviours.side_effects import Choices, SideEffects
from workbench.data.behaviours import Behaviour
from workbench.evaluation.judges.base import Judge, JudgedText, Rating
from workbench.evaluation.judges.choose import choose_judge
from workbench.evaluation.steering import Plan, Sample, Trial, run_trials
from workbench.models.sampling import Sampling
from workbench.runs.files import digest

UNSTEERED = "none"
RATINGS = ("concept", "fluency", "overall")
"""How much of the behaviour there is, how fluent the answer is, and the harmonic mean of these and of relevance."""
TRUSTED = 0.75
"""The share of held-out pairs of which the judge must rate the matching answer higher, or a behaviour is not rated."""


@dataclass(frozen=True, eq=False)
class OpenAnswers:
    """What was answered, and how it was rated."""

    samples: Mapping[Trial, Sample]
    ratings: Mapping[Trial, Rating]
    trust: Mapping[str, float]
    """By behaviour, the share of held-out pairs that the judge puts in the right order; equal ratings count half."""

    def rated(self, way: str, part: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """One of the judge's three ratings of each answer, NaN where it is missing, and the number of its behaviour."""
        mine = [trial for trial in self.ratings if trial.method == way and self.trust[trial.concept] >= TRUSTED]
        values = [getattr(self.ratings[trial], part) for trial in mine]
        groups = np.array([names.index(trial.concept) for trial in mine], dtype=np.int64)
        return np.array([np.nan if value is None else value for value in values], dtype=float), groups


def answer_questions(
    context: BehaviourContext, vectors: BehaviourVectors, choices: Choices, effects: Mapping[str, SideEffects]
) -> OpenAnswers | None:
    """Stage: greedy answers, unsteered and at the last level of side effect, where it is reached, else as chosen.

    None where no behaviour has open questions, or none are asked for.
    """
    asked = {each.name: each.open_questions[: context.config.questions] for each in context.behaviours}
    if not any(asked.values()):
        return None
    sampling = Sampling(max_new_tokens=context.config.tokens)
    trials = [
        Trial(way, name, question, strength, layer, context.config.seed)
        for name, questions in asked.items()
        for way, layer, strength in _ways(context, choices, effects[name], name)
        for question in questions
    ]

    def plan(trial: Trial) -> Plan:
        if trial.strength is None:
            return Plan(trial.instruction)
        return Plan(trial.instruction, vectors.edit(trial.method, trial.concept, trial.layer, trial.strength))

    inputs = context.inputs("positions") | {"vectors": digest([vectors.digest(name) for name in context.names])}
    samples = run_trials(context.run, "open", inputs, context.model, trials, plan, sampling)
    judge = choose_judge(
        "embedded", "", context.dataset("answers", context.every), context.model, sampling, context.run
    )
    unsteered = {(t.concept, t.instruction): sample.text for t, sample in samples.items() if t.method == UNSTEERED}
    about = {each.name: each.description for each in context.behaviours}
    texts = [
        JudgedText(
            trial.concept,
            about[trial.concept],
            trial.instruction,
            sample.text,
            np.nan if sample.perplexity is None else sample.perplexity,
            (unsteered[trial.concept, trial.instruction],),
        )
        for trial, sample in samples.items()
    ]
    trust = {each.name: trust_in(judge, each) for each in context.behaviours}
    return OpenAnswers(samples, dict(zip(samples, judge.rate(texts), strict=True)), trust)


def trust_in(judge: Judge, behaviour: Behaviour) -> float:
    """The share of the evaluation pairs of which the judge rates the matching answer higher; equal ratings are half."""
    pairs = behaviour.part("evaluation")
    sides = [text for pair in pairs for text in (pair.matching, pair.other)]
    questions = [pair.question for pair in pairs for _ in range(2)]
    rated = judge.rate(
        [
            JudgedText(behaviour.name, behaviour.description, question, text, np.nan)
            for question, text in zip(questions, sides, strict=True)
        ]
    )
    concept = np.array([np.nan if one.concept is None else one.concept for one in rated]).reshape(-1, 2)
    return float(np.mean((np.sign(concept[:, 0] - concept[:, 1]) + 1) / 2))


def _ways(
    context: BehaviourContext, choices: Choices, effects: SideEffects, name: str
) -> list[tuple[str, int, float | None]]:
    found: list[tuple[str, int, float | None]] = [(UNSTEERED, 0, None)]
    for way in (way.name for way in context.ways):
        choice, matched = choices[way, name], effects.matched[way][f"{context.config.levels[-1]:g}"]
        found.append((way, choice.layer, choice.strength if matched is None else matched))
    return found
