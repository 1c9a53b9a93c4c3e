import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.tiny import blocks_of, tiny_module, tiny_tokenizer
from workbench.models.edits import Add, ProjectOut
from workbench.models.model import wrap
from workbench.models.positions import Layout, Positions
from workbench.models.sampling import Sampling, choose
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens

PROMPTS = ["hello world", "hi", "a much longer text than the others", "   ", "🙂"]
SHORT = Sampling(max_new_tokens=10)
LONG = Sampling(max_new_tokens=24)
"""Past the sliding window of 16 tokens."""
WARM = Sampling(max_new_tokens=10, temperature=1.0)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(generations: Any) -> list[tuple[int, ...]]:
    return [one.ids for one in generations]


def without_cache(model: Any, prompt: Row, steps: int) -> tuple[int, ...]:
    """Greedy continuation by reading the whole text again for every token."""
    grown = prompt.ids
    for _ in range(steps):
        token = int(model.logits(Tokens((Row(grown, prompt.prefix, prompt.response),)))[0][-1].argmax())
        if token == model.tokenizer.eos_token_id:
            break
        grown = (*grown, token)
    return grown[len(prompt.ids) :]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_greedy_text_equals_hugging_face(model: Any, batch_size: int) -> None:
    prompts = model.tokenize(PROMPTS)
    found = model.generate(prompts, sampling=LONG, batch_size=batch_size)
    for row, one in zip(prompts, found, strict=True):
        given = torch.tensor([row.ids])
        options = {"max_new_tokens": 24, "do_sample": False, "attention_mask": torch.ones_like(given)}
        expected = model.module.generate(given, **options)[0, len(row.ids) :].tolist()
        stop = expected.index(1) if 1 in expected else None
        assert list(one.ids) == expected[:stop]
        assert one.ended == (stop is not None)
        assert one.text == model.tokenizer.decode(one.ids, skip_special_tokens=True)


def test_each_step_draws_anew_from_the_rows_own_stream(llama: Any) -> None:
    prompts, draws = llama.tokenize(PROMPTS[:3]), WARM.draws(3)
    for row, prompt, one in zip(range(3), prompts, llama.generate(prompts, sampling=WARM), strict=True):
        grown = prompt.ids
        for step, token in enumerate(one.ids):
            logits = llama.logits(Tokens((Row(grown),)))[0][-1:]
            assert int(choose(logits, WARM, draws[row, step : step + 1])) == token
            grown = (*grown, token)


@dataclass(frozen=True, eq=False, kw_only=True)
class Oracle(Add):
    """Writes down the absolute positions that it touches in each row, the shortest prompt's first."""

    touched: dict[int, list[int]] = field(default_factory=dict)

    def mask(self, layout: Layout) -> Tensor:
        chosen = super().mask(layout)
        for row, at, index in zip(layout.rows.tolist(), chosen, layout.index, strict=True):
            self.touched.setdefault(row, []).extend(index[at].tolist())
        return chosen


def by_length(prompts: Tokens) -> list[int]:
    """The place of each prompt in a batch of all, which are put in order of their lengths."""
    order = sorted(range(len(prompts)), key=lambda row: (prompts.lengths[row], row))
    return [order.index(row) for row in range(len(prompts))]


SPECIFICATIONS: dict[str, Callable[[int, Row], bool]] = {  # which places of a finished row each one means
    "all": lambda _, __: True,
    "prefix": lambda place, row: place < row.prefix,
    "prompt": lambda place, row: row.prefix <= place < row.response,
    "response": lambda place, row: place >= row.response,
    "prompt[-1]": lambda place, row: place == row.response - 1,
    "prompt[-1]+response": lambda place, row: place >= row.response - 1,
    "response[1:3]": lambda place, row: row.response + 1 <= place < row.response + 3,
    "all-prefix": lambda place, row: place >= row.prefix,
    "at(0,9)": lambda place, _: place in (0, 9),
    "tokens(0,71)": lambda place, row: row.ids[place] in (0, 71),
}


@pytest.mark.parametrize("spec", SPECIFICATIONS)
def test_the_cache_changes_neither_the_text_nor_the_positions_touched(model: Any, spec: str) -> None:
    """Several rows with the cache against each row alone without it."""
    prompts = model.tokenize(PROMPTS[:3], chat=True)
    edit = Oracle(site=Site(1), direction=normal(model.d_model), strength=6.0, positions=Positions.parse(spec))
    found = model.generate(prompts, edits=edit, sampling=SHORT)
    for number, (prompt, one) in enumerate(zip(prompts, found, strict=True)):
        with model.edited(replace(edit, touched={})):
            assert without_cache(model, prompt, SHORT.max_new_tokens) == one.ids
        whole = Row((*prompt.ids, *one.ids), prompt.prefix, prompt.response)
        end = len(whole.ids) - (not one.ended)  # the last token of a text cut short is never fed
        touched = sorted(edit.touched[by_length(prompts)[number]])
        assert touched == [place for place in range(end) if SPECIFICATIONS[spec](place, whole)]
    if spec.startswith(("all", "prompt", "response")):  # else what is touched is far from where the text is written
        assert ids(found) != ids(model.generate(prompts, sampling=SHORT))


@pytest.mark.parametrize("positions", ["response[-1]", "all[:-1]"])
def test_positions_from_the_end_of_an_unfinished_text_are_refused(model: Any, positions: str) -> None:
    edit = Add(site=Site(0), direction=normal(model.d_model), positions=Positions.parse(positions))
    with pytest.raises(ValueError, match="counts from the end of a text that is still being generated"):
        model.generate(PROMPTS, edits=edit, sampling=SHORT)


@pytest.mark.parametrize("sampling", [SHORT, WARM], ids=["greedy", "sampled"])
def test_rows_with_their_own_edits_equal_one_by_one(model: Any, sampling: Sampling) -> None:
    """Direction, strength, positions, kind and number of edits differ from row to row."""
    first, second = (normal(model.d_model, seed=seed) for seed in (1, 2))
    rows = [
        [Add(site=Site(1), direction=first, strength=4.0)],
        [],
        [Add(site=Site(1), direction=second, strength=-4.0, positions=Positions("response"))],
        [ProjectOut(site=Site(0), direction=first), Add(site=Site(0), direction=second, positions=Positions("prompt"))],
        [Add(site=Site(1), direction=first, strength=0.0)],
    ]
    sampling = replace(sampling, row_seeds=(5, 6, 7, 8, 9))
    together = model.generate(PROMPTS, edits=per_row(rows), sampling=sampling, batch_size=3)
    for row, (prompt, edits) in enumerate(zip(PROMPTS, rows, strict=True)):
        alone = model.generate([prompt], edits=edits, sampling=replace(sampling, row_seeds=(5 + row,)))
        assert alone == together[row : row + 1]
    plain = model.generate(PROMPTS, sampling=sampling)
    assert [a == b for a, b in zip(ids(together), ids(plain), strict=True)] == [False, True, False, False, True]


def test_rows_that_end_leave_the_batch_and_do_not_touch_the_others(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = Oracle(site=Site(1), direction=normal(model.d_model), positions=Positions("response[:12]"))
    free = model.generate(PROMPTS, edits=edit, sampling=LONG)
    stops = [free[0].ids[2], free[2].ids[5]]
    monkeypatch.setattr(model.module.generation_config, "eos_token_id", stops)
    sizes: list[int] = []
    block = blocks_of(model)[0]
    handle = block.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    edit.touched.clear()
    found = model.generate(PROMPTS, edits=edit, sampling=LONG)
    handle.remove()
    fed, prompts = [], model.tokenize(PROMPTS, chat=True)
    for row, whole, one in zip(prompts, free, found, strict=True):
        end = next((place for place, token in enumerate(whole.ids) if token in stops), None)
        assert one.ids == whole.ids[:end]
        assert one.ended == (end is not None or whole.ended)
        fed.append(len(one.ids) if one.ended else len(one.ids) - 1)
        touched = edit.touched[by_length(prompts)[len(fed) - 1]]
        assert touched == list(range(row.response, row.response + min(12, fed[-1])))
    assert found[0].ended
    assert sizes == [len(PROMPTS), *(sum(n > step for n in fed) for step in range(max(fed)))]
    assert sizes[-1] < len(PROMPTS)


@pytest.mark.parametrize("stop", [0, 7])
def test_one_stop_id_is_enough_also_id_0(model: Any, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.module.generation_config, "eos_token_id", stop)
    bias = torch.zeros(300)
    bias[stop] = 1e4
    handle = model.module.get_output_embeddings().register_forward_hook(lambda _, __, logits: logits + bias)
    (one,) = model.generate(["text"], sampling=SHORT)
    handle.remove()
    assert (one.ids, one.text, one.ended) == ((), "", True)


def test_token_0_is_written_like_any_other(llama: Any) -> None:
    bias = torch.zeros(300)
    bias[0] = 1e4
    handle = llama.module.lm_head.register_forward_hook(lambda _, __, logits: logits + bias)
    (one,) = llama.generate(["text"], sampling=SHORT)
    handle.remove()
    assert one.ids == (0,) * 10
    assert not one.ended


def test_a_row_keeps_its_text_in_any_batch_and_order(model: Any) -> None:
    seeds = (11, 0, 13, 14, 15)
    found = model.generate(PROMPTS, sampling=replace(WARM, row_seeds=seeds), batch_size=2)
    assert found == model.generate(PROMPTS, sampling=replace(WARM, row_seeds=seeds), batch_size=32)
    backwards = model.generate(PROMPTS[::-1], sampling=replace(WARM, row_seeds=seeds[::-1]))
    assert backwards[::-1] == found
    for prompt, seed, one in zip(PROMPTS, seeds, found, strict=True):
        assert model.generate([prompt], sampling=replace(WARM, row_seeds=(seed,))) == [one]


def test_seeds_and_rows_make_different_texts_and_the_same_seed_the_same(llama: Any) -> None:
    texts = {seed: ids(llama.generate(["hi"] * 3, sampling=replace(WARM, seed=seed))) for seed in (0, 1)}
    assert len({*texts[0], *texts[1]}) == 6
    assert ids(llama.generate(["hi"] * 3, sampling=WARM)) == texts[0]
    same = ids(llama.generate(["hi"] * 2, sampling=replace(WARM, row_seeds=(0, 0))))
    assert same[0] == same[1]


LOGITS = torch.tensor([2.0, -1.0, 0.0, 3.0, 1.0, -20.0])
N = 20_000


def frequencies(sampling: Sampling, draw: Tensor) -> Tensor:
    chosen = choose(LOGITS.expand(len(draw), -1), sampling, draw)
    return torch.bincount(chosen, minlength=len(LOGITS)) / len(draw)


def needed(probabilities: Tensor, mass: float) -> int:
    """How many of the likeliest tokens together hold `mass`."""
    return int((probabilities.sort(descending=True).values.cumsum(0) < mass).sum()) + 1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_p", [1.0, 0.7, 0.2])
def test_evenly_spread_draws_reproduce_the_distribution(temperature: float, top_p: float) -> None:
    expected = (LOGITS / temperature).softmax(0)
    expected[expected.argsort(descending=True)[needed(expected, top_p) :]] = 0
    found = frequencies(Sampling(temperature=temperature, top_p=top_p), (torch.arange(N) + 0.5) / N)
    torch.testing.assert_close(found, expected / expected.sum(), atol=2 / N, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_rows_own_streams_reproduce_the_distribution(temperature: float) -> None:
    """Chi-square over 5 likely tokens, at the first and the third step of 20 000 rows."""
    sampling = Sampling(max_new_tokens=3, temperature=temperature)
    expected = (LOGITS / temperature).softmax(0)[:5] * N
    for step in (0, 2):
        found = frequencies(sampling, sampling.draws(N)[:, step])[:5] * N
        assert scipy.stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-3


def test_equally_likely_tokens_are_chosen_alike_beside_any_other_row() -> None:
    """Half precision makes ties; a flat neighbour needs the whole vocabulary, a peaked row a few tokens of it."""
    rows = {"ties": (4 * normal(1000)).round(), "peaked": 4 * normal(1000), "flat": torch.zeros(1000)}
    sampling, draw = Sampling(temperature=1.0, top_p=0.9), (torch.arange(100) + 0.5) / 100
    alone = torch.stack([choose(row.expand(100, -1), sampling, draw) for row in rows.values()], 1)
    together = torch.stack([choose(torch.stack([*rows.values()]), sampling, one.expand(3)) for one in draw])
    assert torch.equal(alone, together)
    for at, row in enumerate(rows.values()):
        expected = row.double().softmax(0)
        kept = expected >= expected.sort(descending=True).values[needed(expected, 0.9) - 1]
        assert kept[alone[:, at]].all()
        assert len(alone[:, at].unique()) > 3


def chosen_in_float64(logits: Tensor, sampling: Sampling, draw: float) -> int:
    """By the definition: the whole vocabulary sorted, the cumulative distribution over what is kept."""
    probabilities = (logits.double() / sampling.temperature).softmax(0)
    cut = probabilities.sort(descending=True).values[min(needed(probabilities, sampling.top_p), len(logits)) - 1]
    total = probabilities.where(probabilities >= cut, 0).cumsum(0)
    return int((total <= draw * total[-1]).sum())


@pytest.mark.parametrize("size", [4096, 5000])
@pytest.mark.parametrize("top_p", [0.5, 0.95, 1.0])
def test_the_token_is_that_of_the_whole_distribution_in_float64(size: int, top_p: float) -> None:
    """Rows that need a few tokens, some hundred, a thousand and nearly all; in bfloat16 many are equally likely."""
    scales = torch.tensor([8.0, 3.0, 2.0, 1.0, 0.1]).repeat(8)[:, None]
    logits, sampling = (scales * normal(40, size, seed=3)).bfloat16(), Sampling(temperature=0.9, top_p=top_p)
    draws = torch.rand(40, generator=torch.Generator().manual_seed(4))
    expected = [chosen_in_float64(row, sampling, draw) for row, draw in zip(logits, draws.tolist(), strict=True)]
    assert choose(logits, sampling, draws).tolist() == expected


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_tokens_without_probability_are_never_chosen(draw: float, top_p: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert choose(logits, Sampling(temperature=1.0, top_p=top_p), torch.tensor([draw])).item() in (1, 3)


def test_temperature_0_takes_the_likeliest() -> None:
    assert choose(LOGITS[None], Sampling(), torch.tensor([0.99])).tolist() == [3]


@pytest.mark.parametrize(
    "bad", [{"max_new_tokens": 0}, {"temperature": -0.1}, {"temperature": math.nan}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(max_new_tokens|temperature|top_p) is .*; expected"):
        Sampling(**bad)


def test_seeds_and_context_must_fit_the_rows(llama: Any) -> None:
    with pytest.raises(ValueError, match="2 row_seeds for 1 rows"):
        llama.generate(["hi"], sampling=Sampling(row_seeds=(1, 2)))
    with pytest.raises(ValueError, match=r"row 1 has 252 tokens and 10 new ones; tiny-llama reads at most 256"):
        llama.generate(["hi", "x" * 251], sampling=SHORT, chat=False)
    assert llama.generate(["x" * 245], sampling=SHORT, chat=False)
    assert llama.generate([], sampling=SHORT) == []


@pytest.mark.parametrize("sampling", [SHORT, WARM, replace(WARM, top_p=0.9)])
def test_a_row_whose_logits_are_not_finite_is_named_and_costs_itself_only(sampling: Sampling) -> None:
    half = wrap(tiny_module("llama").to(torch.float16), tiny_tokenizer(), "half")
    add = Add(site=Site(1), direction=normal(half.d_model), strength=1e6)
    edits = per_row([[], [add], []])
    with pytest.raises(ValueError, match=r"1 of 3 rows .* row 1 has logits that are not finite .* Add at blocks\.1\."):
        half.generate(PROMPTS[:3], edits=edits, sampling=sampling)
    found = half.generate(PROMPTS[:3], edits=edits, sampling=sampling, failures="keep")
    assert [one.failure is None for one in found] == [True, False, True]
    assert (found[1].ids, found[1].ended) == ((), False)
    plain = half.generate(PROMPTS[:3], sampling=sampling)
    assert [found[row] for row in (0, 2)] == [plain[row] for row in (0, 2)]
