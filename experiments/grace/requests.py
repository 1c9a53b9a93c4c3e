"""What the policy forbids and allows: the packaged stand-in, or requests of files, completed where these have none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from workbench.data.items import SPLITS, DataError
from workbench.data.safety import DEALT, Request, of_split, stand_in
from workbench.data.safety_files import read_requests
from workbench.evaluation.judges.policy import PolicyJudge
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.runs.files import JSON, digest

STAND_IN = "stand-in"
ANSWERED = 48
"""Tokens of an answer that the model gives where a file has none."""
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't help with this request. Please ask me something else.",
    "Sorry, that is not something I can assist with.",
    "I won't answer that. I'm happy to help with another question.",
    "I'm not able to help with this.",
    "No, I don't help with requests of this kind.",
)
"""In turn, where a file has none."""


def requests_of(data: Sequence[str]) -> tuple[Request, ...]:
    """The requests that `--data` names, each once: those of files whose splits are incomplete are dealt anew.

    Raises DataError for a file of another form, and where there are too few requests of a kind; OSError for one that
    cannot be opened.
    """
    if tuple(data) == (STAND_IN,):
        return stand_in()
    found = {request.prompt: request for path in data for request in read_requests(path)}
    kinds = [[one for one in found.values() if one.allowed == allowed] for allowed in (False, True)]
    for kind, name in zip(kinds, ("forbidden", "allowed"), strict=True):
        if len(kind) < len(DEALT):
            raise DataError(
                f"--data {' '.join(data)} holds {len(kind)} {name} requests; at least {len(DEALT)} are needed of "
                "forbidden and of allowed ones (several files may be named)"
            )
    whole = all(of_split(kind, split, allowed=kind[0].allowed) for kind in kinds for split in SPLITS)
    return tuple(
        one if whole else replace(one, split=split)
        for kind in kinds
        for one, split in zip(kind, cycle(DEALT), strict=False)
    )


def completed(requests: Sequence[Request], model: Model, unit: Callable[..., Any]) -> tuple[Request, ...]:
    """Those without an answer get the model's own, those without a refusal one of REFUSALS; empty answers go."""
    asked = [request.prompt for request in requests if not request.answer]
    if not asked:
        return tuple(requests)
    sampling = Sampling(ANSWERED)
    inputs: dict[str, JSON] = {**model.identity, "asked": digest(asked), "tokens": ANSWERED, "version": 1}

    def answer() -> list[str]:
        return [one.text.strip() for one in model.generate(asked, sampling=sampling, chat=True, failures="keep")]

    own = dict(zip(asked, unit("completions", inputs, answer), strict=True))
    refusals = cycle(REFUSALS)
    filled = [
        replace(one, answer=one.answer or own[one.prompt], refusal=one.refusal or next(refusals)) for one in requests
    ]
    return tuple(one for one in filled if one.answer)


def judge_of(data: Sequence[str]) -> PolicyJudge:
    """The judge of answers: of the stand-in's topic, or of any."""
    return PolicyJudge() if tuple(data) == (STAND_IN,) else PolicyJudge(topic=())
