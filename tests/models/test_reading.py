from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import blocks_of, tiny_model, tiny_module
from workbench.models.edits import Add
from workbench.models.pooling import Pooling
from workbench.models.positions import Positions
from workbench.models.sites import Site, SiteError
from workbench.models.tokens import Row, Tokens

TEXTS = ["hello world", "a", "a text much longer than its neighbours", "   ", "naïve 🙂 日本", "hello world"]
SITES = [Site(layer) for layer in range(3)]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def norm_of(module: Any) -> Any:
    return getattr(module.base_model, "norm", None) or module.base_model.ln_f


@pytest.fixture(scope="module")
def hidden_states(model: Any) -> Callable[[tuple[int, ...]], list[Tensor]]:
    """The residual stream after each block, as Hugging Face reports it for a twin: reporting leaves hooks behind.

    The last one is taken before the final norm, where Hugging Face takes it after.
    """
    twin, before_norm = tiny_module(model.name.removeprefix("tiny-")), []
    norm_of(twin).register_forward_pre_hook(lambda _, args: before_norm.append(args[0]))

    def states(ids: tuple[int, ...]) -> list[Tensor]:
        with torch.no_grad():
            found = twin(torch.tensor([ids]), output_hidden_states=True).hidden_states
        return [state[0] for state in (*found[1:-1], before_norm[-1])]

    return states


def rows_of(found: Any, site: Site, row: int) -> Tensor:
    return found.arrays[site][found.row == row]


@pytest.mark.parametrize("budget", [1, 64, 4096])
def test_reading_equals_hugging_face_whatever_the_batch(model: Any, hidden_states: Any, budget: int) -> None:
    tokens = model.tokenize(TEXTS)
    found = model.read(tokens, SITES, positions="all", budget=budget)
    for row, (ids, expected) in enumerate((row.ids, hidden_states(row.ids)) for row in tokens):
        assert found.position[found.row == row].tolist() == list(range(len(ids)))
        for site in SITES:
            close(rows_of(found, site, row), expected[site.layer])


def test_the_stream_before_a_block_is_the_one_after_the_block_below(model: Any) -> None:
    found = model.read(TEXTS, [Site(1), Site(2, "resid_pre"), Site(0, "resid_pre"), Site(0)])
    assert torch.equal(found.arrays[Site(1)], found.arrays[Site(2, "resid_pre")])
    assert not torch.isclose(found.arrays[Site(0)], found.arrays[Site(0, "resid_pre")]).all(-1).any()


def test_rows_keep_their_order_and_do_not_see_each_other(model: Any) -> None:
    together = model.read(TEXTS, SITES)
    backwards = model.read(TEXTS[::-1], SITES)
    for row, text in enumerate(TEXTS):
        alone = model.read([text], SITES)
        for site in SITES:
            close(rows_of(together, site, row), alone.arrays[site])
            close(rows_of(backwards, site, len(TEXTS) - 1 - row), alone.arrays[site])


@pytest.mark.parametrize("pool", ["mean", "last", "max"])
@pytest.mark.parametrize("positions", ["all", "all-prefix", "response", "prompt[-2:]"])
@pytest.mark.parametrize("budget", [20, 4096])
def test_pooling_equals_pooling_by_hand(model: Any, pool: Pooling, positions: str, budget: int) -> None:
    tokens = model.tokenize(TEXTS[:3], ["one", "another response", "3"])
    whole = model.read(tokens, SITES, positions=positions)
    pooled = model.read(tokens, SITES, positions=positions, pool=pool, budget=budget)
    by_hand = {"mean": lambda x: x.mean(0), "last": lambda x: x[-1], "max": lambda x: x.amax(0)}[pool]
    assert pooled.row.tolist() == [0, 1, 2]
    assert pooled.position is None
    for site in SITES:
        close(pooled.arrays[site], torch.stack([by_hand(rows_of(whole, site, row)) for row in range(3)]))


@pytest.mark.parametrize("positions", ["all", "prompt[-1]", "response", "all-prefix", "at(0)", "tokens(0)"])
def test_positions_pick_from_what_all_reads(model: Any, positions: str) -> None:
    tokens = model.tokenize(["one", "much longer than one"], ["yes", "no no"])
    whole, part = (model.read(tokens, Site(1), positions=text) for text in ("all", positions))
    assert len(part.row) == len(part.arrays[Site(1)]) > 0
    for row, position, x in zip(part.row, part.position, part.arrays[Site(1)], strict=True):
        assert torch.equal(whole.arrays[Site(1)][(whole.row == row) & (whole.position == position)][0], x)


def test_bos_and_chat_header_are_left_out_by_default(model: Any) -> None:
    tokens = model.tokenize(["hello"], ["you"], chat=True)
    found = model.read(tokens, Site(0))
    assert found.position.tolist() == list(range(tokens.rows[0].prefix, len(tokens.rows[0].ids)))
    assert found.position[0] > 0


@pytest.mark.parametrize("ids", [(0,), (0, 0, 0), (2, 7, 2), (1, 5)])
def test_ids_of_padding_bos_and_eos_are_read_like_others(model: Any, hidden_states: Any, ids: tuple[int, ...]) -> None:
    found = model.read(Tokens((Row(ids), Row((9,) * 6))), SITES, positions="all")
    for site, expected in zip(SITES, hidden_states(ids), strict=True):
        close(rows_of(found, site, 0), expected)


@pytest.fixture
def calls(model: Any) -> Any:
    """How many rows went through each block, and how often the final norm and the unembedding ran."""
    seen: dict[str, int] = {}
    parts = {f"block {layer}": block for layer, block in enumerate(blocks_of(model))}
    parts |= {"norm": norm_of(model.module), "unembedding": model.module.get_output_embeddings()}

    def count(name: str) -> Any:
        def hook(_: Any, args: tuple[Tensor, ...]) -> None:
            seen[name] = seen.get(name, 0) + len(args[0])

        return hook

    handles = [part.register_forward_pre_hook(count(name)) for name, part in parts.items()]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("last", [0, 1, 2])
@pytest.mark.parametrize("pool", [None, "mean"])
def test_each_row_runs_once_and_no_further_than_the_last_site(model: Any, calls: Any, last: int, pool: Any) -> None:
    model.read(TEXTS, [Site(last), Site(0, "resid_pre")], pool=pool, budget=40)
    assert calls == {f"block {layer}": len(TEXTS) for layer in range(last + 1)}


@pytest.mark.parametrize("pool", [None, "mean", "last", "max"])
def test_what_all_rows_begin_with_runs_once_where_nobody_reads_it(model: Any, calls: Any, pool: Any) -> None:
    shared = "they all begin with this long text"
    tokens = model.tokenize([f"{shared} {text}" for text in TEXTS])
    header = len(model.tokenize([shared]).rows[0].ids)
    behind = f"all-all[:{header - 1}]"
    whole = model.read(tokens, SITES, positions=behind, pool=pool, budget=10**6)
    calls.clear()
    found = model.read(tokens, SITES, positions=behind, pool=pool, budget=40)
    assert calls["block 0"] == len(TEXTS) + 1  # the shared prefix is a row of its own
    assert torch.equal(found.row, whole.row)
    assert pool or torch.equal(found.position, whole.position)
    for site in SITES:
        close(found.arrays[site], whole.arrays[site])


def test_edits_reach_what_all_rows_begin_with(llama: Any, calls: Any) -> None:
    tokens, site = llama.tokenize([f"they all begin with this {text}" for text in TEXTS]), Site(2)
    with llama.edited(Add(site=Site(0), positions=Positions("all[:3]"), direction=torch.ones(llama.d_model))):
        whole, found = (llama.read(tokens, site, positions="all-all[:5]", budget=budget) for budget in (10**6, 40))
    close(found.arrays[site], whole.arrays[site])
    assert not torch.allclose(found.arrays[site], llama.read(tokens, site, positions="all-all[:5]").arrays[site])


def spoil(_: Any, args: tuple[Tensor, ...]) -> None:
    args[0].fill_(7.0)


def test_what_was_read_stays_when_the_state_is_changed_later(model: Any) -> None:
    tokens, site = model.tokenize(TEXTS[:2]), Site(0)
    untouched = model.read(tokens, site)
    handle = blocks_of(model)[1].register_forward_pre_hook(spoil)
    during = [model.read(tokens, [site, Site(1)], pool=pool) for pool in (None, "last")]
    handle.remove()
    assert torch.equal(during[0].arrays[site], untouched.arrays[site])
    assert torch.equal(during[1].arrays[site], model.read(tokens, site, pool="last").arrays[site])
    before = untouched.arrays[site].clone()
    with model.edited(Add(site=site, direction=torch.ones(model.d_model))):
        edited = model.read(tokens, site)
    close(edited.arrays[site], before + 1)
    assert torch.equal(untouched.arrays[site], before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arrays_have_the_dtype_of_the_model_and_pooled_ones_are_float32(dtype: torch.dtype) -> None:
    model = tiny_model()
    model.module.to(dtype)
    whole, pooled = model.read(TEXTS[:3], Site(2)), model.read(TEXTS[:3], Site(2), pool="mean")
    assert whole.arrays[Site(2)].dtype == dtype
    assert pooled.arrays[Site(2)].dtype == torch.float32
    by_hand = torch.stack([rows_of(whole, Site(2), row).double().mean(0).float() for row in range(3)])
    close(pooled.arrays[Site(2)], by_hand)  # tighter than bfloat16 could sum


def test_a_row_without_a_chosen_token_is_refused_by_number(model: Any) -> None:
    tokens = Tokens((Row((5, 6, 7), 0, 2), Row((5, 6, 7, 8))))
    with pytest.raises(ValueError, match=r"positions 'response' select no token of row 1"):
        model.read(tokens, Site(0), positions="response")
    with pytest.raises(ValueError, match="select no token of row 1"):
        model.read(["text", ""], Site(0))


def test_what_cannot_be_read_is_refused(llama: Any) -> None:
    for sites in ([], [Site(0), Site(0)], ["blocks.0.hook_resid_post", Site(0)]):
        with pytest.raises(ValueError, match="read needs distinct sites, at least one"):
            llama.read(["text"], sites)
    with pytest.raises(ValueError, match="there are no rows to read"):
        llama.read([], Site(0))
    with pytest.raises(ValueError, match="tokenize takes a list of texts"):
        llama.read("text", Site(0))
    with pytest.raises(ValueError, match="cannot read positions"):
        llama.read(["text"], Site(0), positions="promt")
    with pytest.raises(ValueError, match=r"row 1 has 301 tokens; tiny-llama reads at most 256"):
        llama.read(["text", "x" * 300], Site(0))


def test_blocks_that_return_a_tuple_are_read_and_edited_alike(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As blocks did before transformers 5; the read stops at the block, so nobody else sees its tuple."""
    block, add = blocks_of(model)[1], Add(site=Site(1), direction=torch.ones(model.d_model))
    bare, forward = model.read(TEXTS, Site(1)), block.forward
    monkeypatch.setattr(block, "forward", lambda *args, **kwargs: (forward(*args, **kwargs), None))
    assert torch.equal(model.read(TEXTS, Site(1)).arrays[Site(1)], bare.arrays[Site(1)])
    with model.edited(add):
        close(model.read(TEXTS, Site(1)).arrays[Site(1)], bare.arrays[Site(1)] + 1)


def test_a_site_that_the_forward_never_reaches_is_refused(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    down = llama.module.model.layers[1].mlp.down_proj
    monkeypatch.setattr(
        llama.module.model.layers[1].mlp, "forward", lambda h: h @ torch.zeros(32, 32) + down.weight[0, 0]
    )
    with pytest.raises(SiteError, match=r"the forward pass never reached blocks\.1\.mlp\.hook_post"):
        llama.read(["text"], [Site(1, "mlp.hook_post"), Site(0)])


def test_positions_can_be_given_as_a_value(llama: Any) -> None:
    found = [llama.read(["text"], Site(0), positions=positions) for positions in ("all[1:3]", Positions("all[1:3]"))]
    assert torch.equal(found[0].arrays[Site(0)], found[1].arrays[Site(0)])


EDIT = Add(site=Site(1), direction=torch.ones(32), positions=Positions("response[1:]"))


@pytest.mark.parametrize("budget", [1, 100, 4096])
@pytest.mark.parametrize("edit", [(), EDIT])
def test_answers_to_one_prompt_are_read_as_each_alone_and_run_it_once_and_no_further_than_they(
    model: Any, budget: int, edit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.models.training.PASS_TOKENS", 0)
    prompts = ["a prompt that is long", "and another one", "a prompt that is long", "and another one", "its own"]
    tokens = model.tokenize(prompts, ["yes", "it is so", "no", "x", "y"], chat=True)
    sites, sizes, ran, run = [Site(0), Site(1)], list[int](), list[int](), type(model.backend).forward

    def counted(backend: Any, layout: Any, **options: Any) -> Any:
        sizes.append(int(layout.mask.sum()))
        return run(backend, layout, **options)

    with model.edited(edit):
        alone = [model.read(tokens[[row]], sites, positions="response") for row in range(len(tokens))]
        monkeypatch.setattr(type(model.backend), "forward", counted)
        handle = blocks_of(model)[2].register_forward_hook(lambda *_: ran.append(2))
        found = model.read(tokens, sites, positions="response", budget=budget)
    handle.remove()
    for row, one in enumerate(alone):
        assert found.position is not None
        assert one.position is not None
        assert torch.equal(found.position[found.row == row], one.position)
        for site in sites:
            close(rows_of(found, site, row), one.arrays[site])
    assert sum(sizes) < sum(tokens.lengths) - 60  # of two prompts of about 40 tokens
    assert not ran
