"""What a new user of the Python interface gets wrong is met with one line that says what to do."""

import re
from collections.abc import Callable

import pytest

import workbench as wb
from probes import METHODS as PROBES
from steering import METHODS as STEERING
from tests.planted import planted
from workbench.data.items import DataError
from workbench.data.named import datasets
from workbench.models.cache import WeightsError
from workbench.models.load import load

MISTAKES: dict[str, Callable[[], object]] = {
    "select takes a list and got one text; write ['cooking']": lambda: wb.concepts().select("cooking"),
    "has no target 'cokking' (did you mean 'cooking'?)": lambda: wb.concepts().select(["cokking"]),
    "concept 'the sea' takes a list and got one text": lambda: wb.concepts({"the sea": "The waves broke."}),  # type: ignore[dict-item]
    "negatives takes a list": lambda: wb.concepts({"the sea": ["a", "b", "c"]}, negatives="none"),
    "datasets takes a list": lambda: datasets("packaged"),
    "compare takes a list and got one text; write ['diffmean']": lambda: wb.compare(methods="diffmean"),
    "'cooking' is one of the packaged concepts and no set of them": lambda: wb.concepts("cooking"),
    "there is no dtype 'fp16'; the dtypes are auto,": lambda: load(dtype="fp16"),  # type: ignore[arg-type]
    "device 'gpu' cannot be used here": lambda: load(device="gpu"),
    "there is no model 'smollm2-135m-instuct' (did you mean 'smollm2-135m-instruct'?)": (
        lambda: load("smollm2-135m-instuct")
    ),
    "there is no stream 'resid_pst' (did you mean 'resid_post'?); give one of resid_pre,": lambda: wb.Site(
        18, "resid_pst"
    ),
    "cannot read positions 'last' from 'last'; the terms": lambda: wb.Positions("last"),
    "there is no preset 'smok' (did you mean 'smoke'?)": lambda: wb.compare(preset="smok"),
    "there is no setting 'strenghts' (did you mean 'strengths'?)": lambda: wb.compare(strenghts=(1.0,)),
    "has no attribute 'Stes' (did you mean": lambda: wb.Stes,  # type: ignore[attr-defined]
}


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_one_line(said: str) -> None:
    with pytest.raises((ValueError, AttributeError, WeightsError), match=re.escape(said)) as raised:
        MISTAKES[said]()
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("name", [*STEERING, *PROBES])
def test_every_method_refuses_texts_that_were_not_read_and_what_its_other_way_to_fit_takes(name: str) -> None:
    method, texts = (STEERING | PROBES)[name].make(), wb.concepts()
    with pytest.raises(
        DataError, match=r"\.fit takes the states of one concept, .*, and got a Dataset; workbench\.fit"
    ):
        method.fit(texts)
    with pytest.raises(DataError, match=r"\.fit_all takes the states of a set, .*, and got a Dataset; workbench\.fit"):
        method.fit_all(texts)
    with pytest.raises(DataError, match=r"\.fit_all takes the states of a set, .*, and got a Labelled"):
        method.fit_all(planted())
