"""Every field of every configuration refuses what it cannot be, when the configuration is made."""

import dataclasses
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from experiments import EXPERIMENTS, TOOLS
from probes.methods.attribution import HeadConfig
from steering.training.objective import TrainingConfig
from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.completions import Price
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.models.sampling import Sampling
from workbench.runs.fields import above, at_least, check_fields, some

pytestmark = pytest.mark.usefixtures("types_unchecked")
CONFIGS: dict[str, Any] = {
    **{name: entry.resolve().config() for name, entry in (EXPERIMENTS | TOOLS).items()},
    "Sampling": Sampling(),
    "TrainingConfig": TrainingConfig(),
    "HeadConfig": HeadConfig(),
    "EndpointJudge": EndpointJudge("http://127.0.0.1:1/v1", "m"),
    "Price": Price(1.0, 1.0),
}
MAY_BE_EMPTY = {
    ("axbench", "also"),
    ("axbench", "layers"),
    ("layer_sweep", "layers"),
    ("axbench", "steered"),
    ("axbench", "judge_model"),
    ("sae", "describer"),
    ("sae", "describer_model"),
}
MAY_BE_EMPTY |= {("function_vectors", "tasks"), ("function_vectors", "exact")}
MAY_BE_EMPTY |= {("axbench", "baseline"), ("Sampling", "row_seeds"), ("Sampling", "stop")}
MAY_BE_EMPTY |= {("latent_steering", "depths"), ("latent_steering", "capacity"), ("behaviours", "behaviours")}
MAY_BE_EMPTY |= {("behaviours", "layers"), ("grace", "models"), ("chat", "vector")}
ANY_NUMBER = {("Sampling", "seed"), ("Sampling", "row_seeds"), ("chat", "strength")}


def kinds(annotation: Any) -> set[Any]:
    """The plain types in an annotation."""
    inner = typing.get_args(annotation)
    return {annotation} if not inner else set().union(*(kinds(each) for each in inner if each is not Ellipsis))


def wrong_values() -> Iterator[tuple[str, str, Any]]:
    for name, config in CONFIGS.items():
        hints = typing.get_type_hints(type(config))
        for field in dataclasses.fields(config):
            hint = hints[field.name]
            several = typing.get_origin(hint) is tuple or tuple in {typing.get_origin(k) for k in typing.get_args(hint)}
            if not field.init:
                continue
            wrong: list[Any] = [object()]
            if {int, float} & kinds(hint):
                wrong += [math.nan, math.inf, -math.inf, True, "1"]
                wrong += [-(10**6)] * ((name, field.name) not in ANY_NUMBER)
            if int in kinds(hint):
                wrong.append(1.5)
            if typing.get_origin(hint) is Literal:
                wrong.append("nosuch")
            empty = [()] * several + [""] * (hint is str)
            values = [(each,) for each in wrong] if several else wrong
            for value in [*values, *(empty if (name, field.name) not in MAY_BE_EMPTY else [])]:
                yield name, field.name, value


@pytest.mark.parametrize(("name", "field", "value"), [*wrong_values()])
def test_no_configuration_takes_a_wrong_value(name: str, field: str, value: Any) -> None:
    config = CONFIGS[name]
    with pytest.raises((ValueError, JudgeError), match=rf"{field} is (.|\n)*; expected|{field} is empty|is not among"):
        dataclasses.replace(config, **{field: value})


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
    ],
)
def test_a_limit_is_where_it_should_be(name: str, field: str, value: Any) -> None:
    with pytest.raises((ValueError, JudgeError), match=rf"{field} is .*; expected numbers"):
        dataclasses.replace(CONFIGS[name], **{field: value})


@dataclass(frozen=True)
class Planted:
    count: int = 1
    share: float | None = 0.5
    names: tuple[str, ...] = ("a",)
    pair: tuple[int, float] = (1, 0.5)

    def __post_init__(self) -> None:
        check_fields(self, count=at_least(1), share=above(0, high=1), names=some())


def test_what_is_within_the_limits_passes() -> None:
    for config in CONFIGS.values():
        dataclasses.replace(config)
    Planted(count=1, share=1.0)
    Planted(count=10**9, share=None, pair=(0, 1))


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
    ],
)
def test_one_clear_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Planted(**fields)


def test_a_limit_of_no_field_is_a_mistake() -> None:
    with pytest.raises(AttributeError, match="Planted has no fields nosuch"):
        check_fields(Planted(), nosuch=at_least(0))
