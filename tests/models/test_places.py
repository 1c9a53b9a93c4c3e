from typing import Any

import pytest
import torch
import transformers

from tests.tiny import FAMILIES, tiny_model, tiny_module
from workbench.models.edits import Add
from workbench.models.places import Architecture, Place
from workbench.models.sites import Site, SiteError

TEXT = "a text of some length"
STREAMS = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z", "q", "k", "v", "mlp.hook_post")
INSIDE = {("gpt2", "q"), ("gpt2", "k"), ("gpt2", "v")}
"""Streams that have no module of their own: GPT-2 computes all three in one product."""


@pytest.fixture(scope="module")
def bridged(tiny: Any) -> Any:
    """By family: every activation of a TransformerLens bridge on one text."""
    caches = {}
    for family in FAMILIES:
        model = tiny(family)
        (row,) = model.tokenize([TEXT])
        with torch.no_grad():
            caches[family] = model.bridge.run_with_cache(torch.tensor([row.ids]))[1]
    return caches


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_place_is_what_transformer_lens_calls_it(tiny: Any, bridged: Any, family: str, stream: str) -> None:
    if (family, stream) in INSIDE:
        with pytest.raises(
            SiteError, match=rf"blocks\.0\.attn\.hook_{stream} has no module of its own .*model\.bridge"
        ):
            tiny(family).read(["a text"], Site(0, stream))
        return
    sites = [Site(layer, stream) for layer in range(3)]
    found = tiny(family).read([TEXT], sites, positions="all")
    for site in sites:
        reference = bridged[family][str(site)][0].flatten(1)  # heads side by side
        torch.testing.assert_close(found.arrays[site], reference, atol=1e-5, rtol=1e-5)


def test_streams_of_one_block_differ(llama: Any) -> None:
    """Else the comparison above could hold with every stream at one place."""
    places = {llama.backend.architecture.place(Site(1, stream)) for stream in STREAMS}
    assert len(places) == len(STREAMS)
    assert Place("model.layers.1", "hook_out") in places


@pytest.mark.parametrize("layer", [3, 99])
def test_a_layer_out_of_range_is_refused(model: Any, layer: int) -> None:
    with pytest.raises(SiteError, match=rf"blocks\.{layer}\.hook_resid_post is out of range: .* blocks 0 to 2"):
        model.read(["a text"], Site(layer))


@pytest.mark.parametrize("hook", ["attn.hook_pattern", "ln1.hook_scale", "hook_nothing", "nothing.hook_out"])
def test_a_hook_inside_a_module_or_nowhere_is_refused(model: Any, hook: str) -> None:
    with pytest.raises(SiteError, match=r"is not a module's input or output on \w+, .*; read it with model\.bridge"):
        model.backend.architecture.place(Site(0, hook))


class UnheardOf(transformers.LlamaForCausalLM):
    """An architecture that TransformerLens does not know."""


def test_an_unknown_architecture_is_refused_by_name() -> None:
    module = tiny_module("llama")
    module.__class__ = UnheardOf
    with pytest.raises(SiteError, match="TransformerLens has no adapter for UnheardOf"):
        Architecture.of(module)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bridge_shares_the_parameters_and_leaves_the_module_alone(family: Any, dtype: torch.dtype) -> None:
    model = tiny_model(family)
    model.module.to(dtype)
    ids = torch.tensor([model.tokenize([TEXT]).rows[0].ids])
    keys, config, before = list(model.module.state_dict()), model.module.config.to_dict(), model.logits([TEXT])
    kind = model.module.config._attn_implementation
    with torch.no_grad():
        logits = model.bridge(ids)[0]
    assert list(model.module.state_dict()) == keys
    assert model.module.config.to_dict() == config
    assert model.module.config._attn_implementation == kind
    assert {parameter.dtype for parameter in model.module.parameters()} == {dtype}
    assert all(map(torch.equal, model.logits([TEXT]), before))
    torch.testing.assert_close(logits, before[0], atol=1e-4 if dtype == torch.float32 else 0.2, rtol=1e-2)
    mine, theirs = ({p.data_ptr() for p in module.parameters()} for module in (model.module, model.bridge))
    assert theirs == mine or (theirs > mine and family == "gpt2")  # which has its q, k and v taken apart
    with torch.no_grad():
        model.module.get_input_embeddings().weight.mul_(2)
        assert not torch.allclose(model.bridge(ids)[0], logits)


def test_the_bridge_is_refused_where_edits_would_not_reach_it(llama: Any) -> None:
    for _ in range(2):  # before the bridge is built and after
        with (
            pytest.raises(RuntimeError, match="act on the plain module, not on the bridge"),
            llama.edited(Add(site=Site(1), direction=torch.ones(32))),
        ):
            llama.bridge.cfg  # noqa: B018
        assert llama.bridge is llama.bridge
