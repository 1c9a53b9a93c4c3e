from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from tests.tiny import blocks_of
from workbench.models.edits import Add
from workbench.models.gates import Gate
from workbench.models.huggingface import HuggingFaceBackend
from workbench.models.model import Model
from workbench.models.positions import ALL, Layout, Positions
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.models.training import Float32Attention, SharedPrefixCache, run_from_layer

TEXTS = ["hello there", "a text that is a good deal longer than the first", "x"]


@pytest.mark.parametrize("layer", [0, 1, 2])
@torch.no_grad()
def test_a_resumed_pass_gives_the_logits_of_the_whole_model(model: Any, layer: int) -> None:
    tokens = model.tokenize(TEXTS)
    layout = Layout.of(tokens, [0, 1, 2])
    states = torch.zeros(*layout.ids.shape, model.d_model)
    states[layout.mask] = model.read(tokens, Site(layer), positions=ALL).arrays[Site(layer)]
    whole = model.forward(layout).logits
    with run_from_layer(model, layer, states):
        found = model.forward(layout).logits
    torch.testing.assert_close(found[layout.mask], whole[layout.mask], atol=1e-5, rtol=1e-5)
    assert torch.equal(model.forward(layout).logits, whole)  # the blocks are back


@torch.no_grad()
def test_edits_act_on_the_stored_states(model: Any) -> None:
    layout = Layout.of(model.tokenize(TEXTS[:1]), [0])
    states = torch.randn(*layout.ids.shape, model.d_model, generator=torch.Generator().manual_seed(0))
    direction = torch.linspace(-1, 1, model.d_model)
    with run_from_layer(model, 1, states + direction):
        expected = model.forward(layout).logits
    edit = Add(site=Site(1), direction=direction)
    with run_from_layer(model, 1, states), model.edited(edit):
        torch.testing.assert_close(model.forward(layout).logits, expected, atol=1e-5, rtol=1e-5)


def test_the_blocks_come_back_after_an_error(model: Any) -> None:
    blocks = list(blocks_of(model))
    with pytest.raises(RuntimeError), run_from_layer(model, 2, torch.zeros(1, 2, 7)):
        model.forward(Layout.of(model.tokenize(TEXTS[:1]), [0]))
    assert list(blocks_of(model)) == blocks
    with (
        pytest.raises(IndexError, match="there is no block 3; the model has blocks 0 to 2"),
        run_from_layer(model, 3, torch.zeros(1, 1, 1)),
    ):
        pass


@pytest.mark.parametrize("at_most", [2, 100])
@torch.no_grad()
def test_rows_behind_a_shared_prefix_get_the_logits_of_the_whole_rows(model: Any, at_most: int) -> None:
    tokens = model.tokenize([f"they all begin with this, and go on {text}" for text in TEXTS])
    layout, edit = Layout.of(tokens, [0, 1, 2]), Add(site=Site(1), direction=torch.ones(model.d_model))
    shared_prefix = SharedPrefixCache.of(model, tokens, at_most)
    assert 2 <= shared_prefix.length <= at_most
    rest = layout.after(shared_prefix.length)
    states = torch.zeros(*layout.ids.shape, model.d_model)
    states[layout.mask] = model.read(tokens, Site(1), positions=ALL).arrays[Site(1)]
    late = replace(edit, positions=Positions(f"all-all[:{shared_prefix.length}]"))
    with model.edited(late):
        whole = model.forward(layout).logits[:, shared_prefix.length :]
    for _ in range(2):  # the kept keys and values are not used up
        with run_from_layer(model, 1, states[:, shared_prefix.length :]), model.edited(edit):
            found = model.forward(rest, **shared_prefix.options(rest)).logits
        torch.testing.assert_close(found[rest.mask], whole[rest.mask], atol=1e-5, rtol=1e-5)


def test_what_is_shared_ends_where_edits_begin(llama: Any) -> None:
    tokens = llama.tokenize(["they all begin with this", "they all begin so"])
    edit = Add(site=Site(1), direction=torch.ones(2, 32))
    for positions, length in (("all", 0), ("at(3,7)", 3), ("prompt[-1]", 5)):
        with llama.edited(replace(edit, positions=Positions(positions))):
            assert SharedPrefixCache.of(llama, tokens, 5).length == length
    gate = Gate(site=Site(0), direction=torch.ones(32), threshold=0.0, positions=Positions("at(2)"))
    with llama.edited(replace(edit, positions=Positions("at(3)"), gate=gate)):
        assert SharedPrefixCache.of(llama, tokens, 5).length == 2
    assert SharedPrefixCache.of(llama, tokens, 5).length == 5


def test_rows_that_share_nothing_run_as_they_are(model: Any) -> None:
    layout = Layout.of(model.tokenize(["one", "two"]), [0, 1]).after(0)
    shared_prefix = SharedPrefixCache.of(model, model.tokenize(["one", "two"]), 0)
    assert shared_prefix.length == 0
    bare = model.forward(layout).logits
    torch.testing.assert_close(model.forward(layout, **shared_prefix.options(layout)).logits, bare, atol=0, rtol=0)


@pytest.mark.usefixtures("seeded")
def test_a_model_without_keys_and_values_runs_whole_rows() -> None:
    config = transformers.Mamba2Config(
        vocab_size=300, hidden_size=16, num_hidden_layers=2, state_size=4, num_heads=4, head_dim=8, n_groups=1
    )
    module = transformers.Mamba2ForCausalLM(config).eval()
    model = Model(HuggingFaceBackend(module), None, "mamba", "")
    assert SharedPrefixCache.of(model, Tokens((Row((1, 2, 3)), Row((1, 2, 4)))), 2).length == 0


def test_attention_in_float32_brings_half_precision_nearer_to_float32() -> None:
    where = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    query, key, value = (torch.randn(2, 3, 40, 16, **where) for _ in range(3))
    attention = torch.nn.functional.scaled_dot_product_attention

    def slope(dtype: torch.dtype) -> torch.Tensor:
        leaf = query.to(dtype).clone().requires_grad_()
        mask = torch.zeros(40, 40, dtype=dtype)
        found = attention(leaf, key.to(dtype), value.to(dtype), attn_mask=mask, is_causal=False)
        assert found.dtype == dtype
        found.float().square().sum().backward()
        assert leaf.grad is not None
        return leaf.grad.double()

    exact, single, half = slope(torch.float64), slope(torch.float32), slope(torch.bfloat16)
    with Float32Attention():
        assert torch.equal(slope(torch.float64), exact)
        assert torch.equal(slope(torch.float32), single)
        wide = slope(torch.bfloat16)
    assert float((wide - exact).norm()) < float((half - exact).norm())
    assert float((half - exact).norm()) < 0.05 * float(exact.norm())
