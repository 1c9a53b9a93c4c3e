"""Asking against Hugging Face by hand, a model into which the right answer is planted, and one that writes ratings."""

import logging
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import pre_tokenizers

from probes.methods.prompt_detection import PromptDetection, answers
from tests.planted import planted, through
from tests.tiny import tiny_model, tiny_module, tiny_tokenizer
from workbench.data.items import DataError, Item, Target
from workbench.data.labelled import ModelAccess
from workbench.evaluation.metrics import auroc
from workbench.models.model import Model, wrap

METHOD = PromptDetection()
CHAIN = ("R", "a", "t", "i", "n", "g", ":", "[[", "2", "]]")


def question(model: Model, text: Item) -> list[int]:
    """The ids of the question about a text, chat template and all."""
    asked = f"Text:\n{text.response}\n\nDoes this text contain a planted concept? Answer Yes or No."
    return list(model.tokenize([asked], chat=True).rows[0].ids)


def final_states(model: Model, texts: tuple[Item, ...]) -> torch.Tensor:
    rows = [torch.tensor([question(model, text)]) for text in texts]
    with torch.no_grad():
        return torch.stack([model.module.base_model(input_ids=ids).last_hidden_state[0, -1] for ids in rows])


def test_log_odds_equal_the_next_token_of_hugging_face(model):
    data = planted()
    found = METHOD.detect_texts(METHOD.fit(data), data.items[:5], ModelAccess(model))
    byte = {letter: model.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "YyNn"}
    for score, text in zip(found, data.items, strict=False):
        with torch.no_grad():
            next_token = model.module(input_ids=torch.tensor([question(model, text)])).logits[0, -1].softmax(0)
        yes, no = (next_token[byte[upper]] + next_token[byte[lower]] for upper, lower in (("Y", "y"), ("N", "n")))
        assert float(score) == pytest.approx(float((yes / no).log()), abs=1e-4)


def test_a_model_that_knows_the_answer_is_believed():
    model, data, test = tiny_model(), planted(), planted(7)
    readout = LogisticRegression(C=100, max_iter=5000)
    readout.fit(final_states(model, data.items).numpy(), data.row_y.numpy())
    yes, no = answers(model.tokenizer)
    direction = torch.from_numpy(np.asarray(readout.coef_)[0]).float()
    with torch.no_grad():
        model.module.get_output_embeddings().weight[yes] = direction
        model.module.get_output_embeddings().weight[no] = -direction
    scores = METHOD.detect_texts(METHOD.fit(data), test.items, ModelAccess(model))
    assert auroc(scores.numpy(), test.row_y.numpy()) > 0.95


def test_a_text_scores_alone_as_among_others():
    data = planted()
    artifact = METHOD.fit(data)
    together = METHOD.detect_texts(artifact, data.items[:8], through())
    alone = torch.cat([METHOD.detect_texts(artifact, [text], through()) for text in data.items[:8]])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert len(together.unique()) > 1


def test_the_concept_is_asked_for_and_kept():
    data = planted()
    other = METHOD.fit(replace(data, target=Target(name="sea", description="{text} of the sea", genre="text")))
    assert other.text == "{text} of the sea"
    one, two = (METHOD.detect_texts(artifact, data.items[:2], through()) for artifact in (METHOD.fit(data), other))
    assert not torch.allclose(one, two, atol=1e-3)


def test_without_a_chat_template_the_answer_follows_a_cue():
    model = wrap(tiny_module("llama"), tiny_tokenizer(chat=False))
    data = planted()
    method = PromptDetection(question="{text}|{concept}")
    found = method.detect_texts(method.fit(data), data.items[:1], ModelAccess(model))
    asked = f"{data.items[0].response}|a planted concept\nAnswer:"
    logits = model.logits([asked])[0][-1]
    yes, no = answers(model.tokenizer)
    assert float(found[0]) == pytest.approx(float(logits[yes].logsumexp(0) - logits[no].logsumexp(0)), abs=1e-4)


def test_what_begins_both_answers_tells_nothing():
    tokenizer = tiny_tokenizer()
    first = [tokenizer.convert_ids_to_tokens(ids) for ids in answers(tokenizer)]
    assert first == [["Y", "y"], ["N", "n"]]  # not the space, with which both may begin
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(ValueError, match="begin with the same tokens"):
        answers(tokenizer)


def rater() -> Model:
    """A model that answers "Rating:[[2]]" to whatever it is asked: each token's embedding calls up the next one."""
    tokenizer, module = tiny_tokenizer(), tiny_module("llama")
    tokenizer.add_tokens(["[[", "]]"])
    module.config.max_position_embeddings = 4096
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ("]", *CHAIN, "<eos>")]  # "[assistant]" ends in "]"
    with torch.no_grad():
        for block in module.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        table = torch.nn.functional.normalize(module.model.embed_tokens.weight, dim=1)
        module.model.embed_tokens.weight.copy_(table)
        module.lm_head.weight.zero_()
        for now, then in pairwise(ids):
            module.lm_head.weight[then] = table[now]
    return wrap(module, tokenizer)


def test_as_published_the_rating_is_parsed_and_a_missing_one_counts(caplog):
    data, model = planted(), rater()
    method = PromptDetection(form="compat", max_new_tokens=20)
    artifact = method.fit(data)
    texts = (data.items[0], data.items[1].with_response("no room " * 600), data.items[2])
    assert method.ratings(artifact, texts, model).nan_to_num(nan=9.0).tolist() == [2.0, 9.0, 2.0]
    with caplog.at_level(logging.WARNING):
        assert method.detect_texts(artifact, texts, ModelAccess(model)).tolist() == [2.0, -1.0, 2.0]
    assert "1 of 3 texts got no rating" in caplog.text
    short = replace(method, max_new_tokens=5)
    assert short.detect_texts(artifact, texts, ModelAccess(model)).tolist() == [-1.0, -1.0, -1.0]


def test_without_the_live_model_nobody_can_be_asked():
    data = planted()
    with pytest.raises(DataError, match=r"'planted' needs the live model"):
        METHOD.detect_texts(METHOD.fit(data), data.items)
