"""Phases: which tokens the marks of a template stand for, and answers that are steered in some of them only."""

from typing import Any, get_args

import pytest
import torch

from experiments.serve.phases import Phase, positions_in
from tests.experiments.serving import NAME, serving
from tests.tiny import CHAT, tiny_module, tiny_tokenizer
from workbench.models.model import wrap
from workbench.models.positions import Layout
from workbench.models.sampling import Sampling
from workbench.models.tokens import Row, Tokens

QUESTION = "why does it rain?"
THINKS = CHAT.replace("[assistant]", "[assistant]<think>") + "{# </think> <tool_call> </tool_call> #}"


def thinking_tokenizer(*, by_template: bool = False) -> Any:
    """Whose marks are tokens of their own, or stand in its template and are seven bytes and more."""
    tokenizer = tiny_tokenizer()
    if by_template:
        tokenizer.chat_template = THINKS
    else:
        tokenizer.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>"])
    return tokenizer


def chosen(tokenizer: Any, phases: list[Phase], prompt: str, answer: str) -> str:
    """The text of the tokens in some phases of a row whose first three bytes are its prefix."""
    ids, whole = (tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (prompt, prompt + answer))
    mask = positions_in(phases, tokenizer).mask(Layout.of(Tokens((Row(whole, 3, len(ids)),)), [0]))[0]
    return tokenizer.decode(torch.tensor(whole)[mask])


PROMPT = "pre<tool_call>x</tool_call>why<think>"
ANSWER = "well</think>so <tool_call>f()</tool_call>yes<think>hm"
TEXTS: dict[tuple[Phase, ...], str] = {
    ("prompt",): "<tool_call>x</tool_call>why<think>",
    ("answer",): "</think>so </tool_call>yes",
    ("thinking",): "well<think>hm",
    ("tool",): "<tool_call>f()",
    ("tool", "thinking"): "well<tool_call>f()<think>hm",
    ("thinking", "answer"): "well</think>so </tool_call>yes<think>hm",
    ("prompt", "thinking"): "<tool_call>x</tool_call>why<think>well<think>hm",
    get_args(Phase): PROMPT[3:] + ANSWER,
}


@pytest.mark.parametrize("phases", TEXTS)
def test_the_phases_of_an_answer(phases: tuple[Phase, ...]) -> None:
    assert chosen(thinking_tokenizer(), [*phases], PROMPT, ANSWER) == TEXTS[phases]


def test_marks_of_several_tokens_act_from_their_last_one_on() -> None:
    tokenizer = thinking_tokenizer(by_template=True)
    assert chosen(tokenizer, ["thinking"], PROMPT, ANSWER) == "well</think>hm"
    assert chosen(tokenizer, ["tool"], PROMPT, ANSWER) == ">f()</tool_call"
    assert chosen(tokenizer, ["answer"], PROMPT, ANSWER) == ">so <tool_call>yes<think"


def test_without_marks_the_answer_is_the_response_and_the_others_are_refused() -> None:
    tokenizer = tiny_tokenizer()
    assert str(positions_in(["answer"], tokenizer)) == "response"
    assert str(positions_in(["prompt", "answer"], tokenizer)) == "response+prompt"
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>"])
    with pytest.raises(
        ValueError, match=r"does not mark the phase 'tool', as .* would; its phases are prompt, answer, thinking"
    ):
        positions_in(["answer", "tool"], tokenizer)


def test_a_mark_that_a_line_break_changes_is_refused() -> None:
    tokenizer = thinking_tokenizer(by_template=True)
    tokenizer.add_tokens([">\n"])
    with pytest.raises(ValueError, match=r"<think>, which marks the phase 'thinking', has other tokens"):
        positions_in(["answer"], tokenizer)
    assert str(positions_in(["prompt"], tokenizer)) == "prompt"


def test_a_request_steers_the_thinking_and_what_follows_it_is_written_under_no_edit(tmp_path: Any) -> None:
    tokenizer = thinking_tokenizer()
    tokenizer.chat_template = THINKS
    opening, closing = (tokenizer.convert_tokens_to_ids(mark) for mark in ("<think>", "</think>"))
    sampling = Sampling(24, temperature=1.0, seed=3)
    with serving(tmp_path, wrap(tiny_module("llama").double(), tokenizer, NAME)) as served:

        def asked(**steering: Any) -> list[str]:
            reply = served.client().chat.completions.create(
                model=NAME,
                messages=[{"role": "user", "content": QUESTION}],
                max_tokens=24,
                seed=3,
                n=16,
                extra_body={"steering": [{"vector": "layer/v1", "strength": 3.0, **steering}]},
            )
            return [choice.message.content for choice in reply.choices]

        texts = {phase: asked(phases=[phase]) for phase in ("thinking", "answer")}
        thinking = f"between({opening};{closing})-prefix-prompt"
        edit = served.vectors["layer/v1"].edit(3.0, thinking)
        expected = served.model.generate([QUESTION] * 16, edits=edit, sampling=sampling)
    assert texts["thinking"] == [one.text for one in expected]
    assert any(closing in one.ids[:-4] for one in expected)
    assert len({*texts["thinking"], *texts["answer"]}) == 32
