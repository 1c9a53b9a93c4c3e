"""Prompts end where answers begin, their targets are the answers' first tokens, and shuffling keeps what it should."""

import torch

from steering.function_vectors.prompts import AnswerScores, InContextPrompts, Shown, encode_shown
from workbench.data.templates import Template
from workbench.models.model import Model

PAIRS = [(f"in{k}", f"out{k}") for k in range(8)]


def test_a_target_is_the_first_token_behind_its_prompt(llama: Model) -> None:
    prompts = InContextPrompts.ask(llama, Template(), PAIRS[:2])
    texts = [llama.tokenizer.decode(row.ids, skip_special_tokens=True) for row in prompts.tokens]
    assert texts == ["Q: in0\nA:", "Q: in1\nA:"]
    assert [llama.tokenizer.decode([token]) for token in prompts.target.tolist()] == [" ", " "]  # bytes are tokens
    assert all(row.response == len(row.ids) for row in prompts.tokens)
    assert prompts[[1]].tokens.rows == prompts.tokens.rows[1:]


def test_demonstrations_never_hold_the_question(llama: Model) -> None:
    shown = Shown.draw(PAIRS, PAIRS, 10, 0)
    assert all(each.query not in each.demonstrations and len(each.demonstrations) == 7 for each in shown)
    assert Shown.draw(PAIRS, PAIRS, 3, 0) == Shown.draw(PAIRS, PAIRS, 3, 0) != Shown.draw(PAIRS, PAIRS, 3, 1)
    mixed = shown[0].shuffled(1)
    asked, said = zip(*mixed.demonstrations, strict=True)
    assert asked == tuple(one for one, _ in shown[0].demonstrations)
    assert {*said} == {one for _, one in shown[0].demonstrations}
    assert mixed.demonstrations != shown[0].demonstrations
    assert len(encode_shown(llama, Template(), [shown[0], mixed])) == 2


def test_scores_count_what_is_likelier() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    scores = AnswerScores.of(logits, torch.tensor([2, 0]))
    assert scores.rank.tolist() == [1, 0]
    assert scores.correct.tolist() == [0.0, 1.0]
    torch.testing.assert_close(scores.log_p, logits.log_softmax(1)[[0, 1], [2, 0]])


def test_of_equally_likely_tokens_the_one_that_is_written_is_right() -> None:
    """In bfloat16 logits are often equal."""
    logits = torch.tensor([[0.0, 2.0, 2.0, 2.0]]).repeat(4, 1)
    scores = AnswerScores.of(logits, torch.arange(4))
    assert scores.rank.tolist() == [3, 0, 1, 2]
    assert int(scores.correct.argmax()) == int(logits[0].argmax())


def test_what_is_not_a_number_is_not_right() -> None:
    scores = AnswerScores.of(torch.tensor([[torch.nan, 1.0, 0.0], [0.0, 1.0, torch.nan]]), torch.tensor([1, 1]))
    assert scores.rank.tolist() == [3, 3]
    assert scores.correct.tolist() == [0.0, 0.0]


def test_shuffled_answers_are_not_the_right_ones() -> None:
    for seed in range(20):
        shown = Shown((("hot", "cold"), ("up", "down")), ("in", "out"))
        assert shown.shuffled(seed).demonstrations == (("hot", "down"), ("up", "cold"))
    for same in ((), (("hot", "cold"),), (("hot", "cold"), ("warm", "cold"))):
        assert Shown(same, ("in", "out")).shuffled(0).demonstrations == same
