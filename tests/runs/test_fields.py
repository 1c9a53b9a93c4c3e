"""Every field of every configuration refuses what it cannot be, when the configuration is made."""

import dataclasses
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import torch

import probes
import steering
from experiments import EXPERIMENTS, TOOLS
from probes.methods.attribution import HeadConfig
from probes.methods.target_probe import TargetProbe
from probes.sae.browser.page import BrowserOptions
from probes.sae.config import DictionaryConfig
from probes.sae.training import Running
from steering.erasure import ERASURES
from steering.grace.breakers import CircuitBreakerObjective
from steering.grace.latent import LatentAdversarialObjective
from steering.grace.losses import Margins
from steering.grace.objectives import (
    DpoObjective,
    GraceObjective,
    PoolerObjective,
    RefusalObjective,
)
from steering.grace.pooling import LayerPooling
from steering.grace.searched import LatentPush, SoftSuffix, SuffixSearch
from steering.methods.lora import PositiveMapObjective
from steering.methods.loreft import SubspaceObjective
from steering.methods.reft_r1 import LatentObjective
from steering.methods.reps import PreferenceObjective
from steering.methods.sft import WeightsObjective
from steering.methods.ssv import AddObjective
from steering.optimised.optimise import OptimiserConfig
from steering.training.objective import Objective, TrainingConfig
from workbench.data.items import DataError
from workbench.data.stream import ActivationStream
from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.completions import Price
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.evaluation.judges.local import LocalJudge
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.runs.fields import ANY_NUMBER, Limit, above, at_least, check_fields, limits_in, readable, some

pytestmark = pytest.mark.usefixtures("types_unchecked")
METHODS = [entry.make() for entry in (*steering.METHODS.values(), *probes.METHODS.values(), *ERASURES.values())]
OBJECTIVES: list[type[Objective[Any]]] = [
    *(LatentObjective, PreferenceObjective, SubspaceObjective, AddObjective, WeightsObjective, PositiveMapObjective),
    *(RefusalObjective, DpoObjective, GraceObjective, CircuitBreakerObjective, PoolerObjective),
    LatentAdversarialObjective,
]
SETTINGS = [
    *(TrainingConfig(), HeadConfig(), OptimiserConfig(), DictionaryConfig(), Running(), TargetProbe()),
    *(Sampling(), Price(1.0, 1.0), LocalJudge(Model.__new__(Model)), EndpointJudge("http://127.0.0.1:1/v1", "m")),
    *(BrowserOptions(), Margins(), LayerPooling(), LatentPush(Site(0)), SoftSuffix(), SuffixSearch()),
    ActivationStream(torch.ones(9, dtype=torch.long), lambda rows: pytest.fail(f"{rows} were read"), 1),
    *(kind(TrainingConfig(), Site(1)) for kind in OBJECTIVES),
]
CONFIGS: dict[str, Any] = {
    **{name: entry.resolve().config() for name, entry in (EXPERIMENTS | TOOLS).items()},
    **{type(each).__name__: each for each in (*METHODS, *SETTINGS)},
}
MAY_BE_EMPTY = {("axbench", "steered"), ("axbench", "baseline"), ("function_vectors", "tasks")}
MAY_BE_EMPTY |= {("function_vectors", "exact"), ("latent_steering", "depths"), ("latent_steering", "capacity")}
"""Beside fields that are empty by default."""
BY_NAME = {("chat", "strength")}
"""Any number, in a configuration whose limits do not stand in the annotations."""
ERRORS = (ValueError, JudgeError, DataError)


def kinds(annotation: Any) -> set[Any]:
    """The plain types in an annotation, of a function's arguments none."""
    inner = [each for each in typing.get_args(annotation) if each is not Ellipsis and not isinstance(each, list)]
    return {annotation} if not inner else set().union(*map(kinds, inner))


def outside(limit: Limit) -> list[float | int]:
    """The numbers next to a limit that it refuses."""
    return [edge for edge in (limit.low - 1, limit.above, limit.high + 1, limit.below) if math.isfinite(edge)]


def wrong_values(config: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What each field must refuse. A number that states no limit has to refuse -1000000, and so has to state one."""
    hints, stated = (typing.get_type_hints(type(config), include_extras=extras) for extras in (False, True))
    for field in (each.name for each in dataclasses.fields(config) if each.init):
        hint, limits = hints[field], [*limits_in(stated[field])]
        parts = next((typing.get_args(k) for k in (hint, *typing.get_args(hint)) if typing.get_origin(k) is tuple), ())
        wrong: list[Any] = [object()]
        if {int, float} & kinds(hint):
            wrong += [math.nan, math.inf, -math.inf, True, "1"]
            wrong += [number for limit in limits for number in outside(limit)]
            wrong += [-(10**6)] * (not limits and (name, field) not in BY_NAME)
        wrong += [1.5] * (int in kinds(hint))
        wrong += ["nosuch"] * (typing.get_origin(hint) is Literal)
        yield from ((field, (each,) * (1 if ... in parts else len(parts)) if parts else each) for each in wrong)
        if (parts or hint is str) and getattr(config, field) and (name, field) not in MAY_BE_EMPTY:
            yield field, () if parts else ""


def accepted(config: Any, name: str = "") -> Iterator[tuple[str, Any, str]]:
    """The wrong values that a configuration takes, or refuses in other words than it should."""
    for field, value in wrong_values(config, name):
        try:
            dataclasses.replace(config, **{field: value})
        except ERRORS as error:
            refusal = str(error)
            if f"{field} is " in refusal and (
                "; expected" in refusal or "is empty" in refusal or "not among" in refusal
            ):
                continue
            yield field, value, refusal
        else:
            yield field, value, "accepted"


@pytest.mark.parametrize("name", CONFIGS)
def test_no_configuration_takes_a_wrong_value(name: str) -> None:
    assert [*accepted(CONFIGS[name], name)] == []


COMMANDS = [*EXPERIMENTS, *TOOLS]


def lists() -> Iterator[tuple[str, str, Any]]:
    """The fields of all commands that hold several entries, with an entry."""
    for name in COMMANDS:
        for field, hint in typing.get_type_hints(type(CONFIGS[name])).items():
            if typing.get_origin(hint) is tuple:
                kind = typing.get_args(hint)[0]
                examples = typing.get_args(kind) if typing.get_origin(kind) is Literal else (kind(1),)
                yield name, field, (getattr(CONFIGS[name], field) or examples)[0]


@pytest.mark.parametrize(("name", "field", "entry"), [*lists()])
def test_no_list_of_a_command_has_an_entry_twice(name: str, field: str, entry: Any) -> None:
    with pytest.raises(ValueError, match="one twice"):
        dataclasses.replace(CONFIGS[name], **{field: (entry, entry)})


@pytest.mark.parametrize("name", COMMANDS)
def test_a_seed_is_what_every_generator_takes(name: str) -> None:
    config = CONFIGS[name]
    for field in {"seed", "seeds"} & {*vars(config)}:
        for seed in (-1, 2**32):
            value = (seed,) if isinstance(getattr(config, field), tuple) else seed
            with pytest.raises(ValueError, match=rf"{field} is .*; expected numbers at least"):
                dataclasses.replace(config, **{field: value})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        *[("axbench", "limit", 0), ("axbench", "max_new_tokens", 0), ("axbench", "instructions", 1)],
        *[
            ("axbench", "top_p", 0.0),
            ("axbench", "top_p", 1.1),
            ("axbench", "neutral", 0),
            ("axbench", "layers", (-1,)),
        ],
        *[("Sampling", "top_p", 0.0), ("Sampling", "max_new_tokens", 0), ("Sampling", "temperature", -0.1)],
        *[("layer_sweep", "layers", (-2,)), ("layer_sweep", "grid", (0.0,)), ("linear_origins", "concepts", (9,))],
        *[("TrainingConfig", "epochs", 0), ("TrainingConfig", "clip", 0.0), ("HeadConfig", "dropout", 1.5)],
        *[("EndpointJudge", "timeout_s", 0.0), ("EndpointJudge", "concurrency", 0), ("erasure", "leaning", 19)],
        *[
            ("ReFTr1", "top_k", 0),
            ("RePS", "factors", (0.0,)),
            ("BagOfWords", "C", 0.0),
            ("AttentionProbe", "steps", 0),
        ],
        *[("IntegratedGradients", "steps", 0), ("CCS", "starts", 0), ("LoReFT", "rank", 0), ("ITI", "heads", 0)],
        *[
            ("LinearProbe", "grid", (1.0, 0.0)),
            ("MappedDiffMean", "layer", -1),
            ("PromptDetection", "max_new_tokens", 0),
        ],
        *[
            ("BrowserOptions", "top", 0),
            ("LocalJudge", "batch_size", 0),
            ("Leace", "tol", -1e-9),
            ("Inlp", "margin", -0.1),
        ],
        *[("Inlp", "iterations", 0), ("LoRA", "dropout", 1.0), ("LayerwiseCapping", "percentile", 100.1)],
        *[("LayerwiseCapping", "depth", (0.9, 1.1)), ("Layerwise", "layers", (1, -1)), ("Running", "n_devices", 0)],
        *[
            ("TargetProbe", "Cs", (0.0,)),
            ("GraceObjective", "drawing", -0.1),
            ("ActivationStream", "buffer_batches", 0),
        ],
    ],
)
def test_a_limit_is_where_it_should_be(name: str, field: str, value: Any) -> None:
    with pytest.raises(ERRORS, match=rf"{field} is .*; expected numbers"):
        dataclasses.replace(CONFIGS[name], **{field: value})


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("SFT", "weights", "[", r"weights is '\['; expected another text: it is no regular expression"),
        ("CAA", "positions", "answer", "positions is 'answer'; expected another text: cannot read positions 'answer'"),
        ("LoReFT", "positions", "", "positions is ''; expected another text: an empty Positions selects nothing"),
        ("LoRA", "stream", "zz", "stream is 'zz'; expected another text: there is no stream 'zz'"),
        ("LoRA", "layers", (5, 26), r"layers \(5, 26\) are not all among 0 to 25"),
        ("LoReFT", "of_layers", 10, r"layers \(5, 10, 15, 20\) are not all among 0 to 9"),
        ("LayerwiseCapping", "depth", (0.9, 0.7), r"depth is \(0.9, 0.7\); expected two numbers that rise"),
        ("PromptDetection", "question", "Is it {concept}?", "question is .*; expected another text: it lacks {text}"),
        ("PromptSteering", "template", "", "template is empty"),
        ("RePS", "factors", (), r"factors is \(\); expected one or more"),
    ],
)
def test_a_text_or_a_list_that_means_nothing_is_refused(name: str, field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIGS[name], **{field: value})


def lettered(text: str) -> None:
    if not text.isalpha():
        raise ValueError("it has more than letters")


@dataclass(frozen=True)
class Planted:
    count: int = 1
    share: Annotated[float | None, above(0, high=1)] = 0.5
    names: tuple[str, ...] = ("a",)
    pair: Annotated[tuple[int, float], at_least(0)] = (1, 0.5)
    inner: Annotated[int, at_least(2)] | None = 2
    room: Annotated[float, at_least(0, below=1)] = 0.0
    free: Annotated[float, ANY_NUMBER] = -1.0
    word: Annotated[str, readable(lettered)] = "a"

    def __post_init__(self) -> None:
        check_fields(self, count=at_least(1), names=some())


@dataclass(frozen=True)
class PlantedBelow(Planted):
    more: int = 0


def test_what_is_within_the_limits_passes() -> None:
    for config in CONFIGS.values():
        dataclasses.replace(config)
    Planted(count=1, share=1.0, inner=None, room=0.99)
    Planted(count=10**9, share=None, pair=(0, 1))


def test_a_number_without_a_limit_is_found() -> None:
    found = {field: value for field, value, _ in accepted(PlantedBelow())}
    assert found == {"more": -(10**6)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 0}, "count is 0; expected numbers at least 1"),
        ({"count": 1.0}, r"count is 1\.0; expected a whole number"),
        ({"share": 0}, "share is 0; expected numbers above 0 and at most 1"),
        ({"share": "x"}, "share is 'x'; expected a finite number or None"),
        ({"names": ()}, r"names is \(\); expected one or more"),
        ({"names": "ab"}, "names is 'ab'; expected several of: text"),
        ({"pair": (1,)}, r"pair is \(1,\); expected tuple\[int, float\]"),
        ({"inner": 1}, "inner is 1; expected numbers at least 2"),
        ({"room": 1}, "room is 1; expected numbers at least 0 and below 1"),
        ({"word": "a1"}, "word is 'a1'; expected another text: it has more than letters"),
    ],
)
@pytest.mark.parametrize("kind", [Planted, PlantedBelow])
def test_one_clear_error(kind: type[Planted], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def test_a_limit_of_no_field_is_a_mistake() -> None:
    with pytest.raises(AttributeError, match="Planted has no fields nosuch"):
        check_fields(Planted(), nosuch=at_least(0))
