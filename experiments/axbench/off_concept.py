"""What steering towards one concept does to the others: every concept read in the steered answers, by linear probes.

No judge has a part in it. The probes read the unsteered model's states of the answers' tokens, so that a direction is
not found merely because it was added.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.axbench.config import NAME, READER
from experiments.axbench.context import ComparisonContext
from experiments.axbench.generation import Unsteered
from experiments.axbench.judging import RatedTrials
from experiments.axbench.layer import LayerComparison
from experiments.axbench.metric_descriptions import KINDS
from experiments.axbench.results import MethodNote
from workbench.artifacts.vector import Vector
from workbench.evaluation.steering import BLOCK, Trial
from workbench.evaluation.summary import Number, average_numbers, rows_of
from workbench.methods.capabilities import ScoresStates
from workbench.methods.readers import read_texts
from workbench.report.blocks import HeatMap
from workbench.runs.executors import UnitWork
from workbench.runs.files import digest
from workbench.runs.rows import Row
from workbench.runs.units import Inputs

Changes = Mapping[Trial, Float[np.ndarray, " concept"]]
"""For each answer how much more of every concept it carries than the unsteered answer to the same instruction, in
units of the largest reading on held-out text; NaN for an answer without text."""


def off_concept_rows(comparison: LayerComparison, changes: Changes) -> list[Row]:
    """What steering changes in the reading of the own concept and of the others, and how often the own fell."""
    numbers = []
    for trial, change in changes.items():
        own = comparison.context.concepts.index(trial.concept)
        others = np.delete(change, own)
        values = {
            "own": change[own],
            "others": others.mean() if len(others) else np.nan,
            "wrong_way": np.nan if np.isnan(change[own]) else float(change[own] < 0),
        }
        for name, value in values.items():
            numbers.append(Number(trial.method, f"off_concept.{name}", trial.concept, trial.seed, value))
    return rows_of(NAME, comparison.layer, average_numbers(numbers, KINDS))


def off_concept_map(changes: Changes, method: MethodNote, labels: Mapping[str, str]) -> HeatMap | None:
    """What a method's steering towards each concept (rows) changes in the reading of every concept (columns).

    `labels` name the concepts in the order of the readings. None without an answer to read.
    """
    mine: dict[str, list[np.ndarray]] = {name: [] for name in labels}
    for trial, change in changes.items():
        if trial.method == method.name and not np.isnan(change).any():
            mine[trial.concept].append(change)
    means = {name: np.mean(found, axis=0) for name, found in mine.items() if found}
    if not means:
        return None
    return HeatMap(
        name="heat-off-concept",
        title=f"What {method.label} changes, concept by concept",
        caption="How much more of each concept (columns) the linear probe reads in answers that were steered towards a "
        "concept (rows) than in the unsteered answers, in units of its largest reading on held-out text.",
        rows=tuple(labels[name] for name in means),
        columns=tuple(labels.values()),
        values=tuple(tuple(row.tolist()) for row in means.values()),
        low=0.0,
        high=max(float(np.max(list(means.values()))), np.finfo(np.float32).eps.item()),
        rows_label="Steered towards",
        columns_label="read",
    )


def read_changes(comparison: LayerComparison, stage: str, rated: RatedTrials, unsteered: Unsteered) -> Changes:
    """Stage: every concept read in every answer, less what is read in the unsteered one, which is read once a layer."""
    plain = {key: (key[0], sample.text) for key, sample in unsteered.items()}
    answers = {trial: (trial.instruction, sample.text) for trial, (sample, _) in rated.items()}
    read = _readings(comparison, "unsteered", plain.values()) | _readings(comparison, stage, answers.values())
    return {trial: read[answers[trial]] - read[plain[trial.instruction, trial.seed]] for trial in rated}


def _readings(
    comparison: LayerComparison, stage: str, answers: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Float[np.ndarray, " concept"]]:
    pairs = sorted(set(answers))
    blocks = [tuple(pairs[start : start + BLOCK]) for start in range(0, len(pairs), BLOCK)]
    works = [ReadAnswers(comparison.layer, stage, block) for block in blocks]
    matrices = comparison.context.executor.finish(comparison.context, works, f"read answers ({comparison.layer})")
    rows = [np.array(row, dtype=np.float64) for matrix in matrices for row in matrix]  # None becomes NaN
    return dict(zip(pairs, rows, strict=True))


@dataclass(frozen=True)
class ReadAnswers(UnitWork[ComparisonContext]):
    """A unit of work: every concept read in some answers."""

    layer: int
    stage: str
    pairs: tuple[tuple[str, str], ...]
    """Instructions and answers."""

    @property
    def name(self) -> str:
        """See Work."""
        return f"read_answers/{self.stage}/{self.layer}/{digest(self.pairs)[:16]}"

    def inputs(self, context: ComparisonContext) -> Inputs:
        """See UnitWork."""
        digests = context.once(LayerComparison, self.layer).fit_digests
        readers = digest([digests[READER, concept.name] for concept in context.concepts.targets])
        return {**context.model.identity, "artifacts": readers, "version": 1}

    def compute(self, context: ComparisonContext) -> list[list[float | None]]:
        """The reading of each answer for each concept; None for an answer without text."""
        comparison, model = context.once(LayerComparison, self.layer), context.model
        method, artifacts = comparison.fitted[READER]
        assert isinstance(method, ScoresStates)
        units = [artifact.unit for artifact in artifacts if isinstance(artifact, Vector)]  # a probe fits vectors
        written = [at for at, (_, text) in enumerate(self.pairs) if text.strip()]
        found: list[list[float | None]] = [[None] * len(artifacts) for _ in self.pairs]
        if written:
            asked, texts = zip(*(self.pairs[at] for at in written), strict=True)
            tokens = model.tokenize(list(asked), list(texts), chat=bool(model.tokenizer.chat_template))
            states = model.read(tokens, comparison.site, positions="response")
            readers = {READER: [method.reader(artifact) for artifact in artifacts]}
            matrix = read_texts(readers, states.x(comparison.site), states.row, len(written))[READER]
            for at, row in zip(written, matrix.tolist(), strict=True):
                found[at] = [value / unit for value, unit in zip(row, units, strict=True)]
        return found
