from collections.abc import Callable
from typing import Any

import pytest

from workbench.evaluation.judges import rubric
from workbench.evaluation.judges.base import NOTHING, JudgedText, Rating
from workbench.evaluation.judges.local import LocalJudge
from workbench.models.decoder import Generation
from workbench.models.tokens import Tokens


def item(text: str) -> JudgedText:
    return JudgedText("sea", "ships and sailing", "Describe a day.", text, 10.0)


class Scripted:
    """Stands in front of a model: says what it is told to, and remembers how it was asked."""

    def __init__(self, model: Any, answer: Callable[[str], str], context: int | None = 10_000) -> None:
        self.model, self.answer, self.context = model, answer, context
        self.calls: list[list[str]] = []

    def generate(self, prompts: Tokens, **options: Any) -> list[Generation]:
        texts = [self.model.tokenizer.decode(row.ids) for row in prompts]
        self.calls.append(texts)
        return [Generation(self.answer(text), (), True) for text in texts]


@pytest.fixture
def scripted(llama: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[LocalJudge, Scripted]]:
    def build(answer: Callable[[str], str], context: int | None = 10_000) -> tuple[LocalJudge, Scripted]:
        script = Scripted(llama, answer, context)
        monkeypatch.setattr(type(llama), "context", property(lambda _: script.context))
        monkeypatch.setattr(llama, "generate", script.generate, raising=False)
        return LocalJudge(llama, max_new_tokens=20), script

    return build


def test_all_prompts_go_through_the_model_in_one_call(scripted: Any) -> None:
    judge, script = scripted(lambda text: "Rating: [[2]]" if "Second" in text else "Rating: [[1]]")
    ratings = judge.rate([item("First text."), item(""), item("Second text."), item("First text.")])
    assert ratings == [Rating(1.0, 1.0, 1.0), NOTHING, Rating(2.0, 2.0, 2.0), Rating(1.0, 1.0, 1.0)]
    (asked,) = script.calls
    assert len(asked) == 6
    assert all("[user]" in text and text.endswith("[assistant]") for text in asked)  # the chat template's


def test_an_answer_without_a_rating_is_missing(scripted: Any) -> None:
    judge, _ = scripted(lambda _: "What a lovely text!")
    (rating,) = judge.rate([item("Some text.")])
    assert rating.values == (None, None, None)
    assert "no rating in 'What a lovely text!'" in str(rating.error)


def test_a_prompt_that_does_not_fit_is_missing_and_the_others_are_asked(scripted: Any) -> None:
    longest = max(len(prompt) for prompt in rubric.prompts(item("Short.")))
    judge, script = scripted(lambda _: "Rating: [[2]]", longest + 100)
    ratings = judge.rate([item("word " * 100), item("Short.")])
    assert ratings[0].values == (None, None, None)
    assert "do not fit" in str(ratings[0].error)
    assert ratings[1] == Rating(2.0, 2.0, 2.0)
    assert len(script.calls[0]) == 3


def test_a_real_model_answers_greedily_and_batches_change_nothing(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(llama), "context", property(lambda _: None))  # longer than it was made for; all the same
    items = [item("First text."), item("A second, somewhat longer text.")]
    together = LocalJudge(llama, max_new_tokens=4).rate(items)
    alone = [LocalJudge(llama, max_new_tokens=4, batch_size=1).rate([one])[0] for one in items]
    assert together == alone
    assert all("no rating in" in str(rating.error) for rating in together)


def test_the_name_is_the_models(llama: Any) -> None:
    assert LocalJudge(llama).name == "tiny-llama (local)"


def test_its_ratings_depend_on_the_model_and_the_room_for_an_answer(llama: Any) -> None:
    found = LocalJudge(llama).identity
    assert found.items() >= llama.identity.items()
    assert found == LocalJudge(llama, batch_size=1).identity
    assert found != LocalJudge(llama, max_new_tokens=4).identity
