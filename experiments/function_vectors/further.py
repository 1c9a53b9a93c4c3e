"""Beyond the form that a vector was made with: natural text, other templates, the vocabulary, and sums of vectors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from experiments.function_vectors.context import StudyContext
from experiments.function_vectors.evaluation import Answers, Evaluation, plain_answers, steered_answers
from experiments.function_vectors.fitting import Vectors
from steering.function_vectors.decode import likeliest, reconstruct
from workbench.data.in_context import LIST_TASKS
from workbench.data.templates import SENTENCES, TEMPLATES
from workbench.models.edits import Add
from workbench.models.positions import Positions
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.runs.files import JSON

READ = 8
"""Tokens of a vector that are shown."""
TOPS: dict[str, int | None] = {"rebuilt_top": 100, "rebuilt_all": None}
"""Ways of rebuilding a vector, and from how many of the tokens that it reads."""
NEW_TOKENS = 5
"""Tokens that are written behind a sentence, in which an answer is looked for."""
WRITTEN = Positions("prompt[-1]+response")
_FIRST, _LAST, _FIRST_CAPITAL, _LAST_CAPITAL = LIST_TASKS


@dataclass(frozen=True)
class Further:
    """What else was measured of one case; None where that was not asked for."""

    natural: dict[str, list[float]] | None
    """By `none` and `function_vector`: for each input, the share of sentences behind which the answer is written."""
    templates: dict[str, list[float]] | None
    """The same ways: top-1 in each of TEMPLATES, without demonstrations."""
    read: list[str]
    """The likeliest tokens of the vector."""
    rebuilt: dict[str, Answers] | None
    """Test answers by way of rebuilding."""


def measure_further(context: StudyContext, vectors: Vectors, evaluation: Evaluation) -> Further:
    """As one unit. Lists do not fit into sentences; templates and rebuilding are for the tasks named `exact`."""
    case = vectors.fit.case
    inputs = context.inputs(case, "heads", "test", "sentences", "steps") | {
        "fit": vectors.fit.digest,
        "layer": evaluation.layers["function_vector"],
        "closely": case.task in context.config.exact,
    }
    return Further(**context.run.unit(f"further/{case.name}", inputs, lambda: _measured(context, vectors, evaluation)))


def _measured(context: StudyContext, vectors: Vectors, evaluation: Evaluation) -> dict[str, JSON]:
    case, layer = vectors.fit.case, evaluation.layers["function_vector"]
    closely = case.task in context.config.exact
    tokens = likeliest(context.model, vectors.function_vector, READ).tolist()
    return {
        "natural": None if case.kind == "extractive" else _natural(context, vectors, layer),
        "templates": _templates(context, vectors, layer) if closely else None,
        "read": [context.model.tokenizer.decode([token]) for token in tokens],
        "rebuilt": _rebuilt(context, vectors, layer) if closely else None,
    }


def _natural(context: StudyContext, vectors: Vectors, layer: int) -> dict[str, list[float]]:
    """The vector is added at the last token of the prompt and at every one that is written."""
    pairs = context.test(vectors.fit.case)[: context.config.sentences]
    prompts = context.model.tokenize([each.format(asked) for asked, _ in pairs for each in SENTENCES], chat=False)
    answers = [said for _, said in pairs for _ in SENTENCES]
    edit = Add(site=Site(layer), direction=vectors.function_vector, positions=WRITTEN)
    found = {}
    for way, edits in (("none", ()), ("function_vector", edit)):
        written = context.model.generate(prompts, edits=edits, sampling=Sampling(max_new_tokens=NEW_TOKENS))
        hits = [float(says(one.text, said)) for said, one in zip(answers, written, strict=True)]
        found[way] = [fmean(hits[at : at + len(SENTENCES)]) for at in range(0, len(hits), len(SENTENCES))]
    return found


def says(text: str, answer: str) -> bool:
    """Whether an answer stands in a text as words of its own: the `S` of `Sulfur` is none."""
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _templates(context: StudyContext, vectors: Vectors, layer: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"none": [], "function_vector": []}
    for template in TEMPLATES:
        prompts = context.ask(context.test(vectors.fit.case), template)
        scores = steered_answers(context, prompts, [vectors.edit("function_vector", layer)])
        for values, each in zip(found.values(), scores, strict=True):
            values.append(float(each.correct.mean()))
    return found


def _rebuilt(context: StudyContext, vectors: Vectors, layer: int) -> dict[str, Any]:
    prompts = context.ask(context.test(vectors.fit.case))
    made = [
        reconstruct(context.model, vectors.function_vector, top=top, steps=context.config.steps)
        for top in TOPS.values()
    ]
    scores = steered_answers(context, prompts, [Add(site=Site(layer), direction=each) for each in made])[1:]
    return {way: plain_answers(each) for way, each in zip(TOPS, scores, strict=True)}


@dataclass(frozen=True)
class Composition:
    """The last word capitalised, by a vector from the three other tasks about lists: v_BD* = v_AD + v_BC - v_AC."""

    seed: int
    layer: int
    """The best one of the task's own vector, on validation questions."""
    answers: dict[str, Answers]
    """Test answers by way: `none`, `own`, `composed`, and as controls `summed` (v_AD + v_BC), `capital` and `last`."""
    cosine: float
    """Of the composed vector with the task's own."""


def compose(
    context: StudyContext, vectors: Mapping[tuple[str, int], Vectors], evaluations: Mapping[tuple[str, int], Evaluation]
) -> list[Composition]:
    """For each seed, where all four tasks were measured."""
    if not {*LIST_TASKS} <= {*context.tasks}:
        return []
    return [_composed(context, vectors, evaluations, seed) for seed in context.config.seeds]


def _composed(
    context: StudyContext,
    vectors: Mapping[tuple[str, int], Vectors],
    evaluations: Mapping[tuple[str, int], Evaluation],
    seed: int,
) -> Composition:
    own = vectors[_LAST_CAPITAL, seed]
    layer = evaluations[_LAST_CAPITAL, seed].layers["function_vector"]
    inputs = context.inputs(own.fit.case, "heads", "test") | {
        "fits": [vectors[task, seed].fit.digest for task in LIST_TASKS],
        "layer": layer,
    }

    def measured() -> dict[str, JSON]:
        ad, bc, ac = (vectors[task, seed].function_vector for task in (_FIRST_CAPITAL, _LAST, _FIRST))
        ways = {"own": own.function_vector, "composed": ad + bc - ac, "summed": ad + bc, "capital": ad, "last": bc}
        edits = [Add(site=Site(layer), direction=each) for each in ways.values()]
        scores = steered_answers(context, context.ask(context.test(own.fit.case)), edits)
        answers = {way: plain_answers(each) for way, each in zip(("none", *ways), scores, strict=True)}
        cosine = float(ways["composed"] @ own.function_vector / (ways["composed"].norm() * own.function_vector.norm()))
        return {"answers": answers, "cosine": cosine}

    found = context.run.unit(f"composition/{seed}", inputs, measured)
    return Composition(seed=seed, layer=layer, **found)
