"""What a new user of the Python interface gets wrong is met with one line that says what to do."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import workbench as wb
from experiments import axbench
from probes import METHODS as PROBES
from steering import METHODS as STEERING
from steering import DiffMean, PromptSteering
from tests.planted import planted
from workbench.artifacts.file import ArtifactError
from workbench.data.items import DataError
from workbench.data.named import datasets
from workbench.models.cache import WeightsError
from workbench.models.load import load
from workbench.runs.config import read_config
from workbench.runs.errors import RunError


def any_of(value: Any) -> Any:
    """A value whose type a type checker does not look at."""
    return value


MISTAKES: dict[str, Callable[[], object]] = {
    "select takes a list and got one text; write ['cooking']": lambda: wb.concepts().select("cooking"),
    "has no target 'cokking' (did you mean 'cooking'?)": lambda: wb.concepts().select(["cokking"]),
    "concept 'the sea' takes a list and got one text": lambda: wb.concepts({"the sea": "The waves broke."}),  # type: ignore[dict-item]
    "negatives takes a list": lambda: wb.concepts({"the sea": ["a", "b", "c"]}, negatives="none"),
    "datasets takes a list": lambda: datasets("packaged"),
    "compare takes a list and got one text; write ['diffmean']": lambda: wb.compare(methods="diffmean"),
    "expected the name of a registered one, 'prompt' with its own settings; or add it to METHODS": (
        lambda: wb.compare(methods=[PromptSteering(template="On {concept}.")])
    ),
    "a method to compare is <class 'steering": lambda: wb.compare(methods=any_of([DiffMean])),
    "model is 3, of type int; expected a name or path": lambda: wb.compare(model=3),
    "models is <object object": lambda: wb.sweep(models=(object(),)),
    "what concepts are made from is <object object": lambda: wb.compare(any_of(object()), any_of(wb.concepts())),
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
    "the layer of a Site is '18', of type str; expected a block's number": lambda: wb.Site(any_of("18")),
    "the layer of a Site is None": lambda: wb.Site(any_of(None)),
    "the layer of a Site is 18.0": lambda: wb.Site(any_of(18.0)),
    "the layer of a Site is True": lambda: wb.Site(any_of(True)),
    "the stream of a Site is 3": lambda: wb.Site(2, any_of(3)),
    "'18' names no site": lambda: wb.Site.parse("18"),
    "0.6 names no site; write it as TransformerLens does": lambda: wb.Site.parse(any_of(0.6)),
    "expected whole numbers one after the other, as in site.head(1, 2)": lambda: wb.Site(2, "z").head(any_of([1, 2])),
    "positions is None, of type NoneType; expected text such as 'all'": lambda: wb.Positions.parse(any_of(None)),
    "positions is 5, of type int": lambda: wb.Positions(any_of(5)),
    "positions is [0], of type list": lambda: wb.Positions.parse(any_of([0])),
    "the direction of the Add at blocks.3.hook_resid_post is ['a']": lambda: wb.Add(
        site=wb.Site(3), direction=any_of(["a"])
    ),
    "is None, of type NoneType; expected a tensor, array": lambda: wb.Add(site=wb.Site(3), direction=any_of(None)),
    "has the shape [2, 3, 4]; expected 1 axes": lambda: wb.Add(site=wb.Site(3), direction=any_of(np.ones((2, 3, 4)))),
    "seed is 1180591620717411303424; expected numbers": lambda: wb.Sampling(seed=2**70),
    "a turn has the role 'usr' (did you mean 'user'?)": lambda: wb.Conversation.chat([{"role": "usr", "content": "x"}]),
    "the model to load is None": lambda: load(any_of(None)),
    "the model to load is 3": lambda: load(any_of(3)),
    "Identity is no causal language model: it has no configuration": lambda: load(nn.Identity(), object()),
    "the tokenizer to load with is 'gpt2', of type str": lambda: load(nn.Identity(), "gpt2"),
    "revision='main' is that of a hub id": lambda: load("smollm2-135m-instruct", revision="main"),
    "a concept's name is 1, of type int": lambda: wb.concepts(any_of({1: ["a", "b", "c"]})),
    "the concept's name 'a\\ud800' has half a character": lambda: wb.concepts({"a\ud800": ["a", "b", "c"]}),
    "seed is 'x', of type str": lambda: wb.concepts(seed=any_of("x")),
    "seed is -1; expected a whole number from 0 on": lambda: wb.concepts(seed=-1),
    "a frame with the columns concept, instruction and text": lambda: wb.concepts(
        any_of({"sea": [wb.Conversation.bare("a")]})
    ),
    "concept 'sea' takes a list and got {'a'}, of type set": lambda: wb.concepts(any_of({"sea": {"a"}})),
    "is True, of type bool; expected its name or its number": lambda: wb.concepts().select([True]),
    "select takes a list and got 3, of type int; write [3]": lambda: wb.concepts().select(any_of(3)),
    "select takes a list and got None": lambda: wb.concepts().select(any_of(None)),
    "the limit of a subset is '3'": lambda: wb.concepts().subset(any_of("3")),
    "what is taken of set 'packaged' is [1.5]": lambda: wb.concepts().take(any_of([1.5])),
    "what is taken of set 'packaged' is -1": lambda: wb.concepts().take([-1]),
    "what is taken of set 'packaged' is 1000000": lambda: wb.concepts().take([10**6]),
    "there is no split 'test'": lambda: wb.concepts().rows(0, any_of("test")),
    "no split was asked for": lambda: wb.concepts().part(),
    "they go together: --judge with an": lambda: axbench.Config(judge="http://127.0.0.1:1/v1"),
    "judge is 'embedded' and judge_model 'm'; they go together": lambda: axbench.Config(judge_model="m"),
    "seeds (0, 0) name one twice; give each once": lambda: axbench.Config(seeds=(0, 0)),
    "strengths (0.4, 0.4) name one twice": lambda: axbench.Config(strengths=(0.4, 0.4)),
    "methods ('diffmean', 'diffmean') name one twice": lambda: axbench.Config(
        methods=("diffmean", "diffmean"), steered=()
    ),
    "seeds is (1180591620717411303424,); expected numbers": lambda: axbench.Config(seeds=(2**70,)),
    "the model to fit on is 'x', of type str; expected a Model, load('x')": lambda: wb.fit(
        any_of("x"), wb.concepts(), "diffmean"
    ),
    "fit takes no layer; write site=12": lambda: any_of(wb.fit)("x", wb.concepts(), "diffmean", layer=12),
}


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_one_line(said: str) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError, WeightsError), match=re.escape(said)) as raised:
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


ASKED: dict[str, Callable[[Any], object]] = {
    "what is to be tokenized is None": lambda model: model.generate(None),
    "the user's turn in row 0 has half a character (a lone surrogate) at 2": lambda m: m.generate(["a \ud800 b"]),
    "row 0 has half a character": lambda model: model.read(["\ud800"], 1),
    "generate takes no max_new_tokens; write sampling=Sampling(max_new_tokens=20)": lambda model: model.generate(
        ["a"], max_new_tokens=20
    ),
    "sampling is {'temperature': 1}, of type dict": lambda model: model.generate(["a"], sampling={"temperature": 1}),
    "sampling is None": lambda model: model.generate(["a"], sampling=None),
    "batch_size is 0": lambda model: model.generate(["a"], batch_size=0),
    "batch_size is 1.5": lambda model: model.generate(["a"], batch_size=1.5),
    "failures is 'ignore'; expected one of raise, keep": lambda model: model.generate(["a"], failures="ignore"),
    "edits is 'v', of type str": lambda model: model.generate(["a"], edits="v"),
    "a direction is added by Add(site=": lambda model: model.generate(["a"], edits=torch.ones(3)),
    "its own edit(...) needs arguments": lambda model: model.generate(["a"], edits=STEERING["diffmean"].make()),
    "rows with edits of their own take per_row": lambda model: model.generate(["a"], edits=[[]]),
    "one of the edits is <class": lambda model: model.generate(["a"], edits=wb.Vector),
    "the rows of per_row is Add": lambda _: wb.per_row(any_of(wb.Add(site=wb.Site(1), direction=torch.ones(3)))),
    "depth 12 is not between 0 and 1; the place of a block by its number is Site(12)": lambda model: model.site(12),
    "blocks.3.hook_resid_post is out of range": lambda model: model.read(["hi"], 3),
    "None names no site": lambda model: model.read(["hi"], None),
    "the model to fit on is Dataset('packaged'": lambda model: wb.fit(any_of(wb.concepts()), model, "diffmean"),
    "the method is None": lambda model: wb.fit(model, wb.concepts(), any_of(None), target=0),
    "there is no data to fit on": lambda model: wb.fit(model, any_of(None), "diffmean"),
    "what concepts are made from is ['a']": lambda model: wb.fit(model, any_of(["a"]), "diffmean"),
    "CAA compares the two answers of each pair, and set 'packaged' has no relation 'pair'": lambda model: wb.fit(
        model, wb.concepts(), "caa", target=0
    ),
}


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("said", ASKED)
def test_what_a_model_cannot_be_asked_is_one_line(said: str, llama: wb.Model) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(said)) as raised:
        ASKED[said](llama)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "a,b\n1,2\n", "a.csv has the columns a, b; expected at least `concept` and `text`"),
        ("a.txt", "a", "a.txt is a file of another kind than is read; give a .csv or .jsonl file"),
        ("a.json", "[]", "a.json is a file of another kind than is read"),
        ("a.csv", None, "metadata.jsonl is missing; give the folder"),
    ],
)
def test_a_file_that_is_no_concept_set_says_what_is_read(
    name: str, content: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.mkdir() if content is None else path.write_text(content)
    for read in (wb.concepts, lambda path: datasets([str(path)]), lambda path: wb.compare(path, root=tmp_path)):
        with pytest.raises(DataError, match=re.escape(said)):
            read(path)


def test_what_is_no_artifact_or_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="it is an empty file; give a file that `save` wrote"):
        wb.Vector.load(tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="it is a folder"):
        wb.Vector.load(tmp_path)
    for text, said in (("{}", "nor any run"), ("[]", "nor any run"), (OTHER, "of a run of 'sae', and its settings")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(RunError, match=said):
            read_config(axbench.Config, tmp_path / "config.json")


OTHER = '{"experiment": "sae", "config": {"k": 3}}'
