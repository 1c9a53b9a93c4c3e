"""What the measurements of the embedded judge share: the judge as a run sets it up, and what it is compared with."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from workbench.data.dataset import Dataset
from workbench.data.steering_task import stream
from workbench.evaluation.judges.choose import reference_texts
from workbench.evaluation.judges.embedded import EmbeddedJudge
from workbench.evaluation.judges.encoder import SentenceEncoder
from workbench.models.model import Model
from workbench.models.sampling import Sampling


@cache
def encoder() -> SentenceEncoder:
    return SentenceEncoder.load()


def embedded_judge(concepts: Dataset, model: Model, sampling: Sampling) -> EmbeddedJudge:
    return EmbeddedJudge.fit(concepts, encoder(), reference_texts(concepts, model, sampling))


def unsteered_answers(model: Model, instructions: Sequence[str], sampling: Sampling) -> dict[str, str]:
    """The model's own answer to each different instruction."""
    asked = list(dict.fromkeys(instructions))
    seeded = replace(sampling, row_seeds=tuple(stream("unsteered", text) for text in asked))
    return dict(zip(asked, (one.text for one in model.generate(asked, sampling=seeded)), strict=True))
