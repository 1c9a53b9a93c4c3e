from typing import Any

import pytest
from tokenizers import AddedToken

from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.identity import tokenizer_digest
from workbench.models.load import load
from workbench.models.model import wrap


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
