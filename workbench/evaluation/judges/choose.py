"""The judge that a configuration names."""

from typing import Any

import numpy as np

from workbench.concepts.concepts import ConceptSet
from workbench.evaluation.judges.base import Judge, JudgeError
from workbench.evaluation.steering import perplexities
from workbench.models.load import load
from workbench.models.model import Model
from workbench.runs.run import Run


def choose(name: str, judge_model: str, concepts: ConceptSet, model: Model, run: Run) -> Judge:
    """`embedded`, `local:MODEL` or the base URL of an endpoint (with its `judge_model`), ready to rate.

    Raises JudgeError for any other name.
    """
    if name == "embedded":
        from workbench.evaluation.judges.embedded import EmbeddedJudge
        from workbench.evaluation.judges.encoder import SentenceEncoder

        human, shuffled = run.unit("judge/perplexity-of-held-out-text", lambda: held_out_perplexities(concepts, model))
        return EmbeddedJudge.fit(concepts, SentenceEncoder.load(), np.array(human), np.array(shuffled))
    if name.startswith("local:"):
        from workbench.evaluation.judges.local import LocalJudge

        return LocalJudge(load(name.removeprefix("local:")))
    if name.startswith(("http://", "https://")):
        from workbench.evaluation.judges.endpoint import EndpointJudge

        return EndpointJudge(name, judge_model, cache=run.folder / "judge")
    raise JudgeError(f"there is no judge {name!r}; use 'embedded', 'local:MODEL' or the base URL of an endpoint")


def held_out_perplexities(concepts: ConceptSet, model: Model) -> list[Any]:
    """The unsteered model's perplexities of the validation texts, and of the same texts with their words shuffled."""
    texts = concepts.split("validation").examples
    random = np.random.default_rng(0)
    shuffled = [" ".join(random.permutation(text.response.split()).tolist()) for text in texts]
    asked = [text.instruction for text in texts]
    return [perplexities(model, asked, said) for said in ([text.response for text in texts], shuffled)]
