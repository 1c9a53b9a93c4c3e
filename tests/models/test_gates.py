"""Gates: a text is edited in the same places with and without a KV cache, whatever counts and however it is pooled."""

from dataclasses import replace
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.edits import Add
from workbench.models.gates import Gate, GateRule, members, scores
from workbench.models.model import Model, wrap
from workbench.models.pooling import Pooling
from workbench.models.positions import ALL, Positions
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens

PROMPTS = ["the sea", "a long prompt about something else", "x", "why?"]
ABOVE, BELOW = Site(2), Site(0)
DIRECTION, WATCHED = torch.randn(2, 32, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def model() -> Model:
    return wrap(tiny_module("llama").double(), tiny_tokenizer(), "tiny")


def expected(model: Model, row: Row, gate: Gate) -> Tensor:
    """Where the gate is open in a finished row, by its definition: token by token, from the unedited states below."""
    states = model.read(Tokens((row,)), gate.site, positions=ALL).arrays[gate.site]
    shown = states if gate.score == "cosine" else states @ gate.direction
    counts = {
        "prefix+prompt": range(row.response),
        "prompt": range(row.prefix, row.response),
        "response": range(row.response, len(row.ids)),
    }
    counted = counts.get(gate.positions.text, range(len(row.ids)))
    opened = []
    for token in range(len(row.ids)):
        until = max(token, row.response - 1) if token < row.response else token
        seen = torch.stack([shown[k] for k in counted if k <= until]) if any(k <= until for k in counted) else None
        pools = {"mean": lambda one: one.mean(0), "max": lambda one: one.amax(0), "last": lambda one: one[-1]}
        pooled = None if seen is None else pools[gate.pool](seen)
        value = None if pooled is None else similarity(pooled, gate.direction) if pooled.ndim else float(pooled)
        opened.append(value is not None and (value < gate.threshold if gate.below else value > gate.threshold))
    return torch.tensor(opened)


def similarity(h: Tensor, c: Tensor) -> float:
    """CAST's, with P as a matrix."""
    projected = (torch.outer(c, c) / (c @ c) @ h).tanh()
    return float(h @ projected / (h.norm() * projected.norm()))


def test_scores_are_those_of_a_hand_calculation() -> None:
    states, up = torch.tensor([[3.0, 4.0], [3.0, -4.0], [3.0, 0.0]]).double(), torch.tensor([0.0, 2.0]).double()
    assert scores(states, up, "projection").tolist() == [8.0, -8.0, 0.0]
    # what is along (0, 2) is (0, 4) and (0, -4): 4 / 5 of the length, whichever way it points
    torch.testing.assert_close(scores(states, up, "cosine"), torch.tensor([0.8, 0.8, 0.0]).double())
    # (1, 3) is its own projection on (2, 6); tanh bends it to (0.7616, 0.9951), at a cosine of 0.9455
    bent = scores(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 6.0]), "cosine")
    assert float(bent) == pytest.approx(0.9455, abs=1e-4)


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("pool", ["mean", "max", "last"])
@pytest.mark.parametrize("positions", ["prompt", "response", "all"])
def test_the_same_tokens_are_edited_with_and_without_a_cache(
    model: Model, positions: str, pool: Pooling, below: bool
) -> None:
    prompts = model.tokenize(PROMPTS, chat=True)
    scored = model.read(prompts, BELOW, positions="prompt", pool="mean").x(BELOW) @ WATCHED.float()
    where = {"positions": Positions(positions), "pool": pool, "below": below}
    check_places(model, Gate(site=BELOW, direction=WATCHED, threshold=float(scored.median()), **where))


@pytest.mark.parametrize(("positions", "pool"), [("prefix+prompt", "mean"), ("all", "mean"), ("response", "max")])
def test_a_similarity_is_that_of_the_pooled_state_with_and_without_a_cache(
    model: Model, positions: str, pool: Pooling
) -> None:
    prompts = model.tokenize(PROMPTS, chat=True)
    states = model.read(prompts, BELOW, positions="prefix+prompt", pool="mean").x(BELOW).double()
    threshold = sorted(similarity(h, WATCHED) for h in states)[1] + 1e-6
    where = {"positions": Positions(positions), "pool": pool}
    check_places(model, Gate(site=BELOW, direction=WATCHED, threshold=threshold, score="cosine", **where))


@pytest.mark.parametrize("join", ["all", "any"])
def test_a_rule_of_gates_at_several_sites_is_open_where_all_or_any_of_them_are(
    model: Model, join: Literal["all", "any"]
) -> None:
    prompts = model.tokenize(PROMPTS, chat=True)
    gates = []
    for site, direction, below in ((BELOW, WATCHED, False), (Site(1), DIRECTION, True), (BELOW, DIRECTION, False)):
        scored = model.read(prompts, site, positions="prompt", pool="mean").x(site).double() @ direction
        threshold = float(scored.quantile(0.4))
        gates.append(Gate(site=site, direction=direction, threshold=threshold, positions=ALL, below=below))
    check_places(model, GateRule(tuple(gates), join))


def test_rows_may_have_rules_of_their_own_where_these_look_at_the_same_sites(model: Model) -> None:
    open_, shut = (Gate(site=BELOW, direction=WATCHED, threshold=limit) for limit in (-1e6, 1e6))
    conditions = [
        GateRule((open_, shut)),
        GateRule((open_, open_)),
        GateRule((open_, shut), "any"),
        GateRule((shut, shut), "any"),
        shut,
        None,
    ]
    prompts, sampling = [PROMPTS[0]] * len(conditions), Sampling(max_new_tokens=6)
    rows = [[Add(site=ABOVE, direction=DIRECTION, strength=9.0, gate=gate)] for gate in conditions]
    found = model.generate(prompts, edits=per_row(rows), sampling=sampling)
    plain, steered = (
        model.generate(prompts[:1], edits=edits, sampling=sampling)[0]
        for edits in ((), Add(site=ABOVE, direction=DIRECTION, strength=9.0))
    )
    assert plain != steered
    assert [one == steered for one in found] == [False, True, True, False, False, True]
    assert [one == plain for one in found] == [True, False, False, True, True, False]


def check_places(model: Model, gate: Gate | GateRule) -> None:
    """Where an edit behind the gate acts in texts that were written with the cache, and in the same ones without."""
    prompts = model.tokenize(PROMPTS, chat=True)
    edit = Add(site=ABOVE, direction=DIRECTION, strength=6.0, gate=gate)
    # temperature: random models repeat themselves, and then a running mean says little
    found = model.generate(prompts, edits=edit, sampling=Sampling(max_new_tokens=10, temperature=1.5), batch_size=3)
    patterns = set()
    for prompt, one in zip(prompts, found, strict=True):
        row = Row((*prompt.ids, *one.ids), prompt.prefix, prompt.response)
        with model.edited(edit):
            edited = model.read(Tokens((row,)), ABOVE, positions=ALL).arrays[ABOVE]
            logits = model.logits(Tokens((row,)))[0]
        each = torch.stack([expected(model, row, one) for one in members(gate)])
        opened = each.any(0) if isinstance(gate, GateRule) and gate.join == "any" else each.all(0)
        moved = edited - model.read(Tokens((row,)), ABOVE, positions=ALL).arrays[ABOVE]
        torch.testing.assert_close(moved, 6.0 * opened[:, None] * DIRECTION, atol=1e-5, rtol=1e-5)
        patterns.add(tuple(opened.tolist()))
        # what was written with the cache is what these logits say
        redrawn = model.generate(Tokens((prompt,)), edits=edit, sampling=Sampling(max_new_tokens=10))[0]
        greedy = Row((*prompt.ids, *redrawn.ids), prompt.prefix, prompt.response)
        with model.edited(edit):
            logits = model.logits(Tokens((greedy,)))[0]
        assert logits[prompt.response - 1 : len(greedy.ids) - 1].argmax(-1).tolist() == list(redrawn.ids)
    assert len(patterns) > 1


def test_each_row_may_have_a_gate_of_its_own_or_none(model: Model) -> None:
    gates = [
        Gate(site=BELOW, direction=WATCHED, threshold=-1e6),
        None,
        Gate(site=BELOW, direction=WATCHED, threshold=1e6),
        Gate(site=BELOW, direction=DIRECTION, threshold=1e6, below=True, positions=ALL, pool="max"),
    ]
    rows = [[Add(site=ABOVE, direction=DIRECTION, strength=9.0, gate=gate)] for gate in gates]
    sampling = Sampling(max_new_tokens=8)
    found = model.generate(PROMPTS, edits=per_row(rows), sampling=sampling)
    plain, steered = (
        model.generate(PROMPTS, edits=edits, sampling=sampling)
        for edits in ((), Add(site=ABOVE, direction=DIRECTION, strength=9.0))
    )
    assert found == [steered[0], steered[1], plain[2], steered[3]]
    assert all(a != b for a, b in zip(plain, steered, strict=True))


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_edits_may_share_a_gate(model: Model, pool: Pooling) -> None:
    """A token counts once, however many edits ask: two halves of an edit behind one gate are the whole edit."""
    prompts = model.tokenize(PROMPTS, chat=True)
    scored = model.read(prompts, BELOW, positions="prompt", pool="mean").x(BELOW) @ WATCHED.float()
    gate = Gate(site=BELOW, direction=WATCHED, threshold=float(scored.median()), positions=ALL, pool=pool)
    whole, half = (Add(site=ABOVE, direction=DIRECTION, strength=strength, gate=gate) for strength in (6.0, 3.0))
    sampling = Sampling(max_new_tokens=12, temperature=1.5)
    assert model.generate(prompts, edits=[half, half], sampling=sampling) == model.generate(
        prompts, edits=whole, sampling=sampling
    )


def test_a_gate_forgets_between_texts(model: Model) -> None:
    gate = Gate(site=BELOW, direction=WATCHED, threshold=0.0, positions=ALL, pool="max")
    with model.edited(Add(site=ABOVE, direction=DIRECTION, gate=gate)):
        first = model.read(["one text", "x"], ABOVE)
        model.read(["quite another text that scores high"], ABOVE)
        again = model.read(["one text", "x"], ABOVE)
    assert torch.equal(first.x(ABOVE), again.x(ABOVE))


@pytest.mark.usefixtures("types_unchecked")
def test_gates_that_cannot_work_are_refused(model: Model) -> None:
    gate = Gate(site=ABOVE, direction=WATCHED, threshold=0.0)
    with pytest.raises(ValueError, match="is seen only after"):
        Add(site=BELOW, direction=DIRECTION, gate=gate)
    with pytest.raises(ValueError, match="one finite direction"):
        Gate(site=BELOW, direction=torch.full((32,), torch.nan), threshold=0.0)
    with pytest.raises(ValueError, match="that is not 0"):
        Gate(site=BELOW, direction=torch.zeros(32), threshold=0.0)
    with pytest.raises(ValueError, match=r"no score 'cosin'.*hook_resid_post"):
        replace(gate, score="cosin")
    with pytest.raises(ValueError, match="a rule needs a gate"):
        GateRule(())
    with pytest.raises(ValueError, match="no join 'or'"):
        GateRule((gate,), cast(Any, "or"))
    with pytest.raises(ValueError, match="is seen only after"):
        Add(site=BELOW, direction=DIRECTION, gate=GateRule((replace(gate, site=BELOW), gate)))
    mixed = (replace(gate, score="cosine"), gate)
    with pytest.raises(ValueError, match="look at one site and score alike"):
        Add(site=ABOVE, direction=DIRECTION, gate=mixed)
    edit = Add(site=ABOVE, direction=DIRECTION, gate=Gate(site=BELOW, direction=torch.ones(3), threshold=0.0))
    with pytest.raises(ValueError, match="has width 3, the state there 32"), model.edited(edit):
        model.read(["text"], ABOVE)
    for stream in ("resid_pre", "attn_out", "mlp_out", "k"):
        with pytest.raises(ValueError, match="is seen only after"):
            Add(site=Site(1, stream), direction=DIRECTION, gate=replace(gate, site=Site(1)))
    with pytest.raises(ValueError, match=r"is a part of one; gate on blocks\.0\.attn\.hook_z"):
        replace(gate, site=Site(0, "z").head(1))
    late = Add(site=Site(1, "attn_out"), direction=DIRECTION, gate=replace(gate, site=Site(1, "mlp.hook_post")))
    with pytest.raises(ValueError, match="must come before the edit's own site"), model.edited(late):
        model.read(["text"], ABOVE)


def test_a_gate_may_count_what_stands_between_two_marks(model: Model) -> None:
    """Marks that stand far in front of a token, which runs by itself with the cache."""
    prompts = model.tokenize(PROMPTS, chat=True)
    gate = Gate(site=BELOW, direction=WATCHED, threshold=0.0, positions=Positions("between(86;71)"), pool="last")
    edit, sampling = Add(site=ABOVE, direction=DIRECTION, strength=6.0, gate=gate), Sampling(max_new_tokens=12)
    found = model.generate(prompts, edits=edit, sampling=sampling)
    for prompt, one in zip(prompts, found, strict=True):
        with model.edited(edit):
            logits = model.logits(Tokens((Row((*prompt.ids, *one.ids), prompt.prefix, prompt.response),)))[0]
        assert logits[prompt.response - 1 : -1].argmax(-1).tolist() == list(one.ids)
    assert found != model.generate(prompts, sampling=sampling)
