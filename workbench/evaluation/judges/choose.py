"""The judge that a configuration names."""

from dataclasses import asdict, replace

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.packaged import packaged
from workbench.data.steering_task import stream
from workbench.evaluation.judges.base import Judge
from workbench.evaluation.judges.calibration import calibration_texts, check_counts
from workbench.evaluation.judges.fluency import ReferenceTexts, broken
from workbench.evaluation.judges.names import ENDPOINTS, LOCAL, no_such_judge
from workbench.evaluation.steering import perplexities
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.runs.files import digest, plain
from workbench.runs.run import Run

N_REFERENCES = 64
"""Texts of each source that say what fluent and broken text look like to the model, at most."""


def choose_judge(name: str, judge_model: str, concepts: Dataset, model: Model, sampling: Sampling, run: Run) -> Judge:
    """`embedded`, `local:MODEL` or the base URL of an endpoint (with its `judge_model`), ready to rate.

    Raises JudgeError for any other name.
    """
    if name == "embedded":
        from workbench.evaluation.judges.embedded import EmbeddedJudge
        from workbench.evaluation.judges.encoder import SentenceEncoder

        check_counts(concepts)
        asked = digest([_questions(concepts), *_people()])
        inputs = {**model.identity, "sampling": plain(sampling), "items": asked, "version": 2}
        sources = run.unit(
            "judge/reference_texts",
            inputs,
            lambda: [asdict(source) for source in reference_texts(concepts, model, sampling)],
        )
        pairs = [{kind: [(*pair,) for pair in texts] for kind, texts in source.items()} for source in sources]
        return EmbeddedJudge.fit(concepts, SentenceEncoder.load(), [ReferenceTexts(**source) for source in pairs])
    if name.startswith(LOCAL):
        from workbench.evaluation.judges.local import LocalJudge

        return LocalJudge(load(name.removeprefix(LOCAL)))
    if name.startswith(ENDPOINTS):
        from workbench.evaluation.judges.endpoint import EndpointJudge

        return EndpointJudge(name, judge_model, cache=run.folder / "judge")
    raise no_such_judge(name)


def reference_texts(concepts: Dataset, model: Model, sampling: Sampling) -> list[ReferenceTexts]:
    """What reads well, and the same broken, with the model's perplexities: its own answers, and texts by others.

    Its answers are to validation instructions, sampled as the texts to judge are; the others are validation texts of
    the packaged set, where the model's context has room for them. Empty answers are left out.
    """
    asked = _questions(concepts)
    seeds = tuple(stream("yardstick", text) for text in asked)
    answers = [one.text for one in model.generate(asked, sampling=replace(sampling, row_seeds=seeds), batch_size=64)]
    said = [(question, answer) for question, answer in zip(asked, answers, strict=True) if answer.strip()]
    own = _measured([question for question, _ in said], [answer for _, answer in said], model)
    people = [pair for pair in zip(*_people(), strict=True) if len("".join(pair)) <= (model.context or np.inf) / 2]
    questions, texts = [question for question, _ in people], [text for _, text in people]
    return [own, *([_measured(questions, texts, model)] if people else [])]


def _measured(questions: list[str], texts: list[str], model: Model) -> ReferenceTexts:
    pairs = []
    for some in (texts, broken(texts)):
        values = perplexities(model, questions, some)
        pairs.append([(text, value) for text, value in zip(some, values, strict=True) if value is not None])
    return ReferenceTexts(*pairs)


def _people() -> tuple[list[str], list[str]]:
    """Instructions and answers of the packaged validation texts, evenly spread over concepts."""
    items = packaged().part("validation").items
    chosen = items[:: -(-len(items) // N_REFERENCES)]
    return [item.instruction for item in chosen], [item.response for item in chosen]


def _questions(concepts: Dataset) -> list[str]:
    return list(dict.fromkeys(text.instruction for text in calibration_texts(concepts).items))[:N_REFERENCES]
