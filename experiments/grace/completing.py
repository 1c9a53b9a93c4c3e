"""What may be said to requests that come without it, how many of them are used, and who judges what is said."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from experiments.grace.config import Config
from experiments.grace.requests import STAND_IN
from workbench.data.items import Split
from workbench.data.packaged import neutral
from workbench.data.safety import Request
from workbench.evaluation.judges.policy import PolicyJudge
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.runs.files import JSON, digest

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


def needed(config: Config) -> dict[tuple[Split, bool], int]:
    """How many requests are used at most, by split and by whether they are allowed."""
    return {
        ("train", False): max(config.requests, config.triples),
        ("train", True): max(config.requests, -(-config.triples // 2)),
        ("validation", False): config.asked,
        ("validation", True): config.benign,
        ("evaluation", False): max(config.asked, config.adaptive),
        ("evaluation", True): config.benign,
    }


def completed(
    requests: Sequence[Request], used: Mapping[tuple[Split, bool], int], model: Model, unit: Callable[..., Any]
) -> tuple[Request, ...]:
    """Those without an answer get the model's own, those without a refusal one of REFUSALS.

    Of those without an answer only as many are kept as are `used`, and none whose answer is empty.
    """
    kept, counts = list[Request](), Counter[tuple[Split, bool]]()
    for one in requests:
        kind = one.split, one.allowed
        if one.answer or counts[kind] < used[kind]:
            kept.append(one)
            counts[kind] += 1
    asked = [request.prompt for request in kept if not request.answer]
    sampling = Sampling(ANSWERED)
    inputs: dict[str, JSON] = {**model.identity, "asked": digest(asked), "tokens": ANSWERED, "version": 1}

    def answer() -> list[str]:
        return [one.text.strip() for one in model.generate(asked, sampling=sampling, chat=True, failures="keep")]

    own = dict(zip(asked, unit(inputs, answer) if asked else [], strict=True))
    refusals = cycle(REFUSALS)
    filled = [replace(one, answer=one.answer or own[one.prompt], refusal=one.refusal or next(refusals)) for one in kept]
    return tuple(one for one in filled if one.answer)


def general_requests(model: Model, unit: Callable[..., Any]) -> tuple[Request, ...]:
    """Packaged training instructions that have nothing to do with what is forbidden, with the model's own answers."""
    asked = dict.fromkeys(item.instruction for item, split in neutral() if split == "train")
    return completed([Request(prompt, allowed=True) for prompt in asked], {("train", True): len(asked)}, model, unit)


def judge_of(data: Sequence[str]) -> PolicyJudge:
    """The judge of answers to the requests that `--data` names: of the stand-in's topic, or of any."""
    return PolicyJudge() if tuple(data) == (STAND_IN,) else PolicyJudge(topic=())
