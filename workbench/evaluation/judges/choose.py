"""The judge that a configuration names."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from workbench.data.dataset import Dataset
from workbench.evaluation.judges.base import Judge, JudgeError
from workbench.evaluation.judges.calibration import calibration_texts
from workbench.evaluation.steering import perplexities, stream
from workbench.models.load import count_layers, load
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.runs.files import digest, plain
from workbench.runs.run import Run

N_REFERENCES = 64
"""Unsteered answers that say what fluent and broken text look like to the model."""


def choose_judge(name: str, judge_model: str, concepts: Dataset, model: Model, sampling: Sampling, run: Run) -> Judge:
    """`embedded`, `local:MODEL` or the base URL of an endpoint (with its `judge_model`), ready to rate.

    Raises JudgeError for any other name.
    """
    if name == "embedded":
        from workbench.evaluation.judges.embedded import EmbeddedJudge
        from workbench.evaluation.judges.encoder import SentenceEncoder

        inputs = {
            **model.identity,
            "sampling": plain(sampling),
            "items": digest(_questions(concepts)),
            "version": 1,
        }
        fluent, broken = run.unit(
            "judge/reference_perplexities", inputs, lambda: reference_perplexities(concepts, model, sampling)
        )
        return EmbeddedJudge.fit(concepts, SentenceEncoder.load(), np.array(fluent), np.array(broken))
    if name.startswith("local:"):
        from workbench.evaluation.judges.local import LocalJudge

        return LocalJudge(load(name.removeprefix("local:")))
    if name.startswith(("http://", "https://")):
        from workbench.evaluation.judges.endpoint import EndpointJudge

        return EndpointJudge(name, judge_model, cache=run.folder / "judge")
    raise _no_such_judge(name)


def check_judge(name: str) -> None:
    """Raises what `choose_judge` would, and JudgeError for an endpoint without its package, before all else is loaded.

    WeightsError for a local model that is not there.
    """
    if name.startswith("local:"):
        count_layers(name.removeprefix("local:"))
    elif name.startswith(("http://", "https://")):
        if find_spec("openai") is None:
            raise JudgeError("an endpoint judge needs openai: pip install 'representation-workbench[judge]'")
    elif name != "embedded":
        raise _no_such_judge(name)


def _no_such_judge(name: str) -> JudgeError:
    return JudgeError(f"there is no judge {name!r}; use 'embedded', 'local:MODEL' or the base URL of an endpoint")


def reference_perplexities(concepts: Dataset, model: Model, sampling: Sampling) -> list[list[float]]:
    """The model's perplexities of its own answers to validation instructions, and of the same answers broken.

    Sampled as the texts to judge are; empty answers are left out.
    """
    from workbench.evaluation.judges.fluency import broken

    asked = _questions(concepts)
    seeds = tuple(stream("yardstick", text) for text in asked)
    answers = [one.text for one in model.generate(asked, sampling=replace(sampling, row_seeds=seeds), batch_size=64)]
    said = [(question, answer) for question, answer in zip(asked, answers, strict=True) if answer.strip()]
    questions, answers = [question for question, _ in said], [answer for _, answer in said]
    pairs = [perplexities(model, questions, texts) for texts in (answers, broken(answers))]
    return [[value for value in values if value is not None] for values in pairs]


def _questions(concepts: Dataset) -> list[str]:
    return list(dict.fromkeys(text.instruction for text in calibration_texts(concepts).items))[:N_REFERENCES]
