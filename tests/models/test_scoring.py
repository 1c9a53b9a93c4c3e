from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import FAMILIES, Family, blocks_of, tiny_model, tiny_module, tiny_tokenizer
from workbench.models.edits import Add
from workbench.models.gates import Gate
from workbench.models.model import wrap
from workbench.models.positions import Layout, Positions
from workbench.models.scoring import ROWS, gives_logits, label_logits, label_nll, labels
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.models.training import frozen

PROMPTS = ["hello", "a prompt that is much longer", "   "]
RESPONSES = ["you", "and a response that is longer than its prompt", "🙂"]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def by_hand(model: Any, row: Row, first: int) -> float:
    """Hugging Face's own loss over the tokens from `first` on."""
    ids = torch.tensor([row.ids])
    with torch.no_grad():
        return model.module(ids, labels=ids.masked_fill(torch.arange(ids.shape[1]) < first, -100)).loss.item()


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("budget", [1, 4096])
def test_the_loss_of_a_response_equals_hugging_face(model: Any, chat: bool, budget: int) -> None:
    tokens = model.tokenize(PROMPTS, RESPONSES, chat=chat)
    scored = model.score(tokens, budget=budget)
    assert scored.n_tokens.tolist() == [len(row.ids) - row.response for row in tokens]
    expected = torch.tensor([by_hand(model, row, row.response) for row in tokens])
    torch.testing.assert_close(scored.loss, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.perplexity(tokens), expected.exp(), rtol=1e-4, atol=0)
    assert expected.std() > 0.1  # rows in another order would show


def test_a_row_without_a_response_is_scored_whole(model: Any) -> None:
    tokens = model.tokenize(PROMPTS)
    expected = torch.tensor([by_hand(model, row, row.prefix) for row in tokens])
    torch.testing.assert_close(model.loss(tokens), expected, atol=1e-5, rtol=1e-5)
    assert model.score(tokens).n_tokens.tolist() == [len(row.ids) - 1 for row in tokens]


def test_the_first_token_of_a_row_without_bos_is_not_scored(model: Any) -> None:
    scored = model.score(Tokens((Row((5, 6, 7)), Row((5, 6, 7), 0, 1), Row((5,)), Row((0,), 1), Row((0, 5), 0, 0))))
    assert scored.n_tokens.tolist() == [2, 2, 0, 0, 1]
    assert scored.loss.isnan().tolist() == [False, False, True, True, False]
    assert scored.loss[0] == pytest.approx(scored.loss[1].item(), abs=1e-5)


def test_a_row_is_scored_alike_alone_and_in_a_batch(model: Any) -> None:
    together = model.loss(model.tokenize(PROMPTS, RESPONSES))
    alone = torch.cat([model.loss(model.tokenize([p], [r])) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_unembedding_sees_only_what_predicts_a_scored_token(model: Any) -> None:
    tokens, seen = model.tokenize(PROMPTS, RESPONSES), []
    head = model.module.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[:-1].numel()))
    scored = model.score(tokens)
    handle.remove()
    assert sum(seen) == scored.n_tokens.sum() + 1  # and the last token of what the rows share


def test_the_score_under_an_edit_equals_a_hook_by_hand(model: Any) -> None:
    tokens, direction = model.tokenize(PROMPTS, RESPONSES), normal(model.d_model)
    plain = model.loss(tokens)
    with model.edited(Add(site=Site(1), direction=direction, strength=9.0)):
        edited = model.loss(tokens)
    block = blocks_of(model)[1]
    handle = block.register_forward_hook(lambda _, __, h: h + 9 * direction)
    expected = torch.tensor([by_hand(model, row, row.response) for row in tokens])
    handle.remove()
    torch.testing.assert_close(edited, expected, atol=1e-5, rtol=1e-5)
    assert (edited - plain).abs().min() > 1e-3
    assert torch.equal(model.loss(tokens), plain)


def test_rows_are_scored_under_their_own_edits(model: Any) -> None:
    spots = tuple(Positions(text) for text in ("all", "prompt[-1]", "response"))
    directions, strengths = normal(3, model.d_model), torch.tensor([2.0, -3.0, 0.0])
    with model.edited(Add(site=Site(1), direction=directions, strength=strengths, positions=spots)):
        together = model.loss(model.tokenize(PROMPTS, RESPONSES))
    for row in range(3):
        edit = Add(site=Site(1), direction=directions[row], strength=strengths[row].item(), positions=spots[row])
        with model.edited(edit):
            alone = model.loss(model.tokenize(PROMPTS[row : row + 1], RESPONSES[row : row + 1]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


ASKED = ["hello", "of two words", "hello", "hello", "a prompt that is much longer", "of two words", "hello"]
ANSWERED = ["you", "and a response that is longer than its prompt", "🙂", "you", "a b c", "d", "you there"]
GATE = Gate(site=Site(0), direction=normal(32), threshold=0.0, positions=Positions("prompt[-2:]"))
BY_ROW = tuple(Positions(text) for text in ("response", "response[1:]", "prompt[-3:]", "all", "prompt", "all", "all"))
EDITS = {
    "none": (),
    "answers": Add(site=Site(1), direction=normal(32), positions=Positions("response")),
    "answers, each row its own": Add(site=Site(1), direction=normal(7, 32), positions=Positions("response[1:]")),
    "gated by the prompt": Add(site=Site(1), direction=normal(32), positions=Positions("response"), gate=GATE),
    "all tokens": Add(site=Site(1), direction=normal(7, 32)),
    "places of each row": Add(site=Site(1), direction=normal(7, 32), positions=BY_ROW),
}


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rows share runs once however little it saves."""
    monkeypatch.setattr("workbench.models.training.PASS_TOKENS", 0)


@pytest.mark.usefixtures("sharing")
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("budget", [1, 100, 4096])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_one_prompt_are_scored_as_each_alone(family: Family, budget: int, edit: str) -> None:
    model, edits = wrap(tiny_module(family).double(), tiny_tokenizer()), EDITS[edit]
    tokens = model.tokenize(ASKED, ANSWERED, chat=True)
    with model.edited(edits):
        found = model.score(tokens, budget=budget)
    for row in range(len(tokens)):
        with model.edited(edits.select([row]) if edits else ()):
            alone = model.score(tokens[[row]])
        assert found.n_tokens[row] == alone.n_tokens[0]
        torch.testing.assert_close(found.nll[row], alone.nll[0], atol=1e-5, rtol=1e-5)
    assert found.loss.std() > 0.1


def passes(model: Any, tokens: Tokens, edits: Any = ()) -> list[tuple[int, int]]:
    """The rows and columns of each pass that scores the tokens."""
    sizes: list[tuple[int, int]] = []
    handle = model.module.get_input_embeddings().register_forward_hook(
        lambda _, args, __: sizes.append(tuple(args[0].shape))
    )
    with model.edited(edits):
        model.score(tokens, budget=4096)
    handle.remove()
    return sizes


@pytest.mark.usefixtures("sharing")
def test_each_different_prompt_runs_once(model: Any) -> None:
    tokens = model.tokenize(ASKED, ANSWERED, chat=True)
    header, prompts = tokens.rows[0].prefix, [row.response - 1 for row in tokens]
    answers = max(length - prompt for length, prompt in zip(tokens.lengths, prompts, strict=True))
    begun = [(1, header), (3, max(prompts) - header)]
    assert passes(model, tokens) == [*begun, (7, answers)]
    assert passes(model, tokens, EDITS["all tokens"]) == [(7, max(tokens.lengths))]
    assert passes(model, tokens[[0]]) == [(1, len(tokens.rows[0].ids))]


def test_prompts_run_by_themselves_only_where_that_saves_a_pass(model: Any) -> None:
    tokens = model.tokenize(ASKED, ANSWERED, chat=True)
    header = tokens.rows[0].prefix
    assert passes(model, tokens) == [(1, header), (7, max(tokens.lengths) - header)]
    unlike = model.tokenize([f"{number} {ASKED[4]} and" for number in range(16)], ["you"] * 16, chat=True)
    assert passes(model, unlike) == [(1, header), (16, max(unlike.lengths) - header)]
    many = model.tokenize(ASKED[:2] * 16, ANSWERED[:2] * 16, chat=True)
    whole = len(many) * max(many.lengths)
    assert sum(rows * columns for rows, columns in passes(model, many)) < 0.75 * whole


@pytest.mark.parametrize("budget", [1, 4096])
def test_logits_equal_hugging_face_row_by_row(model: Any, budget: int) -> None:
    tokens = model.tokenize(PROMPTS)
    for row, found in zip(tokens, model.logits(tokens, budget=budget), strict=True):
        with torch.no_grad():
            expected = model.module(torch.tensor([row.ids])).logits[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_bfloat16_model_is_scored_in_float32() -> None:
    model, tokens = tiny_model(), tiny_model().tokenize(PROMPTS, RESPONSES)
    exact = model.score(tokens)
    model.module.to(torch.bfloat16)
    assert model.logits(tokens)[0].dtype == torch.bfloat16
    rounded = model.score(tokens)
    assert rounded.nll.dtype == torch.float32
    torch.testing.assert_close(rounded.loss, exact.loss, atol=0.2, rtol=0)  # bfloat16 keeps 8 bits


def test_nothing_to_score_is_an_empty_answer(llama: Any) -> None:
    assert llama.score(Tokens(())).nll.shape == (0,)
    assert llama.logits(Tokens(())) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_label_by_label_loss_and_gradient_are_those_of_all_logits_at_once(family: Family, dtype: str) -> None:
    model = wrap(tiny_module(family).to(getattr(torch, dtype)), tiny_tokenizer(), family)
    tokens = model.tokenize(["hello"] * 40, ["some words that follow, row by row, " * (1 + at % 3) for at in range(40)])
    layout = Layout.of(tokens, list(range(40)))
    label, weights = labels(layout), normal(int(labels(layout).sum()))
    assert len(weights) > 2 * ROWS
    found = []
    for losses in (
        lambda: label_nll(model, layout, label),
        lambda: torch.nn.functional.cross_entropy(
            label_logits(model, layout, label).float(), layout.ids[:, 1:][label[:, 1:]], reduction="none"
        ),
    ):
        moved = torch.zeros(model.d_model, requires_grad=True)
        with frozen(model), model.backend.hooked([(Site(0), lambda h, moved=moved: h + moved.to(h))]):
            nll = losses()
            (nll * weights).sum().backward()
        found.append((nll.detach(), moved.grad))
    exact = dtype == "float32"
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5 if exact else 1e-2, rtol=1e-5 if exact else 1e-2)
    scale = float(found[1][1].abs().max())
    torch.testing.assert_close(found[0][1] / scale, found[1][1] / scale, atol=1e-5 if exact else 3e-2, rtol=0)


def test_a_cap_on_the_logits_is_seen(model: Any) -> None:
    assert gives_logits(model, model.tokenize(["hello"]))
    capped = wrap(tiny_module("gemma3"), tiny_tokenizer(), "capped")
    capped.module.config.final_logit_softcapping = 30.0
    assert not gives_logits(capped, capped.tokenize(["hello"]))


def test_the_next_logits_are_those_of_the_last_token(model: Any) -> None:
    texts = ["they all begin with this", "they all begin so", "they all"]
    found = model.next_logits(texts, budget=16)
    expected = torch.stack([logits[-1] for logits in model.logits(texts)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    edit = Add(site=Site(1), direction=normal(3, model.d_model), positions=Positions("prompt[-2:]"))
    with model.edited(edit):
        edited = model.next_logits(texts)
        expected = torch.stack([logits[-1] for logits in model.logits(texts)])
    torch.testing.assert_close(edited, expected, atol=1e-5, rtol=1e-5)
    assert (edited - found).abs().amax(1).min() > 1e-3
    with pytest.raises(ValueError, match="no rows to continue"):
        model.next_logits([])
