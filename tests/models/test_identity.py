from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from steering.training.remembering import RememberingModel
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.artifacts.adapter import Adapter
from workbench.artifacts.artifact import Origin
from workbench.data.store import mapped
from workbench.data.stream import ActivationStream
from workbench.evaluation.judges.local import LocalJudge
from workbench.models.edits import Add
from workbench.models.identity import tokenizer_digest
from workbench.models.load import load
from workbench.models.model import Model, wrap
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site


def test_equal_models_have_equal_identities() -> None:
    one, two = (wrap(tiny_module("llama"), tiny_tokenizer()) for _ in range(2))
    assert one.identity == two.identity
    assert one.identity["model"] == one.digest
    assert one.identity["dtype"] == "float32"
    assert {*one.identity} == {"model", "dtype", "tokenizer", "chat_template"}


@pytest.mark.parametrize(
    ("build", "changed"),
    [
        (lambda: wrap(tiny_module("llama", seed=1), tiny_tokenizer()), {"model"}),
        (lambda: wrap(tiny_module("llama"), tiny_tokenizer(bos=False)), {"tokenizer"}),
        (lambda: wrap(tiny_module("llama"), tiny_tokenizer(pad_is_eos=True)), {"tokenizer"}),
        (lambda: wrap(tiny_module("llama"), tiny_tokenizer(chat=False)), {"chat_template"}),
        (lambda: wrap(tiny_module("llama").bfloat16(), tiny_tokenizer()), {"model", "dtype"}),
    ],
)
def test_each_part_says_what_differs(build: Any, changed: set[str]) -> None:
    one, two = wrap(tiny_module("llama"), tiny_tokenizer()).identity, build().identity
    assert {key for key in one if one[key] != two[key]} == changed


def test_a_template_set_later_is_seen() -> None:
    model = wrap(tiny_module("llama"), tiny_tokenizer())
    before = model.identity
    model.tokenizer.chat_template += " "
    assert model.identity["chat_template"] != before["chat_template"]
    assert model.identity["tokenizer"] == before["tokenizer"]
    model.tokenizer.chat_template = None
    assert model.identity["chat_template"] == "none"


def test_a_tokenizer_is_the_same_wherever_it_lies_and_whatever_it_encoded(tmp_path: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = tiny_tokenizer()
    before = tokenizer_digest(tokenizer)
    tokenizer(["a", "abc"], padding=True, truncation=True, max_length=2)
    assert tokenizer_digest(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer_digest(loaded) == tokenizer_digest(AutoTokenizer.from_pretrained(tmp_path))
    tokenizer.add_tokens([AddedToken("[[")])
    assert tokenizer_digest(tokenizer) != before


class SlowTokenizer:
    is_fast = False
    vocab_files_names = {"vocab": "vocab.txt"}  # noqa: RUF012
    special_tokens_map = {"bos_token": "<s>"}  # noqa: RUF012
    added_tokens_decoder = {0: AddedToken("<s>")}  # noqa: RUF012

    def __init__(self, vocabulary: dict[str, int], **settings: Any) -> None:
        self.vocabulary, self.init_kwargs = vocabulary, settings

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary


def test_a_slow_tokenizer_is_its_vocabulary_and_settings() -> None:
    words = {"<s>": 0, "a": 1}
    digest = tokenizer_digest(SlowTokenizer(words, lower=True, vocab="here/vocab.txt"))
    assert digest == tokenizer_digest(SlowTokenizer(words, lower=True, vocab="there/vocab.txt"))
    assert digest != tokenizer_digest(SlowTokenizer(words, lower=False, vocab="here/vocab.txt"))
    assert digest != tokenizer_digest(SlowTokenizer({"<s>": 0, "b": 1}, lower=True, vocab="here/vocab.txt"))


def test_the_default_model_has_an_identity_at_once(default_model: Any) -> None:
    assert default_model.identity == load("smollm2-135m-instruct").identity


def fine_tuned(model: Model) -> Adapter:
    name, weight = next(iter(model.backend.parameters().items()))
    origin = Origin("Test", "{}", "sea", model.name, model.digest, "none")
    return Adapter(origin, changes={name: torch.ones_like(weight)})


OTHER: dict[str, Callable[[Model], AbstractContextManager[Any]]] = {
    "is being edited": lambda model: model.edited(Add(site=Site(0), direction=torch.ones(model.d_model))),
    "has other weights": lambda model: fine_tuned(model).applied(model),
    "has other weights than": lambda model: model.backend.run_from_layer(0, torch.zeros(1, 3, model.d_model)),
}
SPEC = ReadSpec.at(0)
KEPT: dict[str, Callable[[Model, Path], Any]] = {
    "identity": lambda model, _: model.identity,
    "store": lambda model, folder: mapped(model, ["a text"], SPEC, folder=folder),
    "stream": lambda model, _: next(ActivationStream.from_model(model, ["a text"], SPEC, batch_size=1).batches()),
    "bridge": lambda model, _: model.bridge,
    "judge": lambda model, _: LocalJudge(model).identity,
}


@pytest.mark.parametrize("kept", list(KEPT))
@pytest.mark.parametrize("changed", list(OTHER))
def test_what_another_network_does_is_never_kept_under_its_own_digest(
    llama: Model, tmp_path: Path, changed: str, kept: str
) -> None:
    KEPT["store"](llama, tmp_path)
    with OTHER[changed](llama):
        error, message = (RuntimeError, "on the plain module") if kept == "bridge" else (ValueError, changed)
        with pytest.raises(error, match=message):
            KEPT[kept](llama, tmp_path)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: llama.identity).result()["model"] == llama.digest  # others have its own
    assert llama.identity["model"] == llama.digest


def test_a_model_that_remembers_does_not_take_other_weights_for_its_own(llama: Model) -> None:
    remembering = RememberingModel.of(llama)
    expected = llama.score(["a text"]).nll
    with fine_tuned(llama).applied(llama):
        assert not torch.equal(llama.score(["a text"]).nll, expected)
        with pytest.raises(ValueError, match="has other weights than its own"):
            remembering.score(["a text"])
    assert torch.equal(remembering.score(["a text"]).nll, expected)
