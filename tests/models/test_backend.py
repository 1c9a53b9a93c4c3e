"""What every Backend must do, held by the Hugging Face one on each architecture."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.architectures import ARCHITECTURES
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.backend import Backend, Cache
from workbench.models.huggingface import HuggingFaceBackend
from workbench.models.model import wrap
from workbench.models.positions import Layout
from workbench.models.sites import Site, SiteError
from workbench.models.tokens import Row, Tokens

ROWS = Tokens((Row((5, 6, 7, 8)), Row((9, 10))))


def layout(rows: Tokens = ROWS, side: str = "right") -> Layout:
    return Layout.of(rows, list(range(len(rows))), side)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.fixture
def backend(model: Any) -> HuggingFaceBackend:
    return model.backend


def test_it_keeps_the_protocol(backend: Any) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(backend.forward(layout(), keep_cache=True).cache, Cache)


def test_its_facts_are_the_configs(backend: HuggingFaceBackend) -> None:
    facts = backend.facts()
    assert (facts.n_layers, facts.d_model, facts.context) == (3, 32, 256)
    assert (facts.dtype, facts.device) == (torch.float32, torch.device("cpu"))
    assert facts.end_ids == {backend.module.generation_config.eos_token_id}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("llama", "keys"),
        ("gemma2", "keys"),
        ("mamba", "states"),
        ("falcon_h1", "states"),
        ("qwen3_next", "states"),
        ("recurrent_gemma", "none"),
        ("rwkv", "none"),
        ("openai_gpt", "none"),
    ],
)
@torch.no_grad()
def test_a_network_says_what_its_cache_keeps(name: str, kind: str) -> None:
    backend, here = HuggingFaceBackend(ARCHITECTURES[name].module()), layout(Tokens((ROWS.rows[0],)))
    assert backend.facts().cache == kind
    cache = backend.forward(here, keep_cache=True).cache
    assert (cache is None) == (kind == "none")
    assert cache is None or (cache.shared() is None) == (kind == "states")


@pytest.mark.parametrize("name", ["mamba", "falcon_h1", "jamba"])
@torch.no_grad()
def test_recurrent_states_take_one_column_at_a_time(name: str) -> None:
    backend, whole = HuggingFaceBackend(ARCHITECTURES[name].module()), layout(Tokens((ROWS.rows[0],)))
    cache = backend.forward(layout(Tokens((Row(ROWS.rows[0].ids[:2]),))), keep_cache=True).cache
    with pytest.raises(ValueError, match="keeps other states than keys and values: one token a pass"):
        backend.forward(whole.after(2), cache=cache, attended=torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize(("ends", "expected"), [(None, set()), (1, {1}), ([1, 7], {1, 7})])
def test_a_text_may_have_any_number_of_ends(ends: Any, expected: set[int]) -> None:
    backend = HuggingFaceBackend(tiny_module("llama"))
    backend.module.generation_config.eos_token_id = ends
    assert backend.facts().end_ids == expected


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_forward_pass_is_the_modules(backend: HuggingFaceBackend, side: str) -> None:
    here = layout(side=side)
    found = backend.forward(here).logits
    for at, row in enumerate(ROWS):
        close(found[at][here.mask[at]], backend.module(torch.tensor([row.ids])).logits[0])
    close(backend.forward(here, n_logits=1).logits, found[:, -1:])
    assert backend.forward(here).cache is None


@torch.no_grad()
def test_a_cache_goes_on_where_it_ended(backend: HuggingFaceBackend) -> None:
    whole = layout(Tokens((Row((5, 6, 7, 8)), Row((9, 10, 11, 12)))))
    expected = backend.forward(whole).logits
    first = backend.forward(layout(Tokens((Row((5, 6)), Row((9, 10))))), keep_cache=True)
    assert first.cache is not None
    rest, everything = whole.after(2), torch.ones(2, 4, dtype=torch.bool)
    close(backend.forward(rest, cache=first.cache, attended=everything).logits, expected[:, 2:])
    again = backend.forward(layout(Tokens((Row((5, 6)), Row((9, 10))))), keep_cache=True).cache
    assert again is not None
    again.select(torch.tensor([1]))
    second = rest.select(torch.tensor([1]))
    close(backend.forward(second, cache=again, attended=everything[1:]).logits, expected[1:, 2:])


@torch.no_grad()
def test_a_shared_cache_serves_any_batch_and_stays_as_it_is(backend: HuggingFaceBackend) -> None:
    made = backend.forward(layout(Tokens((Row((5, 6)),))), keep_cache=True).cache
    assert made is not None
    shared, whole = made.shared(), layout(Tokens((Row((5, 6, 7, 8)), Row((5, 6, 9, 9)))))
    expected = backend.forward(whole).logits[:, 2:]
    for _ in range(2):
        found = backend.forward(whole.after(2), cache=shared, attended=torch.ones(2, 4, dtype=torch.bool)).logits
        close(found, expected)


@torch.no_grad()
def test_hooks_see_sites_and_both_sides_of_the_unembedding(backend: HuggingFaceBackend) -> None:
    seen: dict[str, Tensor] = {}
    points = (Site(1), Site(0, "z"), "unembed.hook_in", "unembed.hook_out")
    with backend.hooked([(point, lambda h, point=point: seen.update({str(point): h})) for point in points]):
        logits = backend.forward(layout()).logits
    matrices = backend.embeddings()
    assert [*seen] == [str(point) for point in (Site(0, "z"), Site(1), "unembed.hook_in", "unembed.hook_out")]
    close(seen["unembed.hook_in"] @ matrices.output.T, logits)
    assert torch.equal(seen["unembed.hook_out"], logits)
    with backend.hooked([("unembed.hook_in", lambda h: h[:, :1])]):
        close(backend.forward(layout()).logits, logits[:, :1])


def test_a_missing_site_is_refused_before_anything_is_hooked(backend: HuggingFaceBackend, hook_count: Any) -> None:
    count = hook_count(backend.module)
    with (
        pytest.raises(SiteError, match="out of range"),
        backend.hooked([(Site(0), lambda h: h), (Site(3), lambda h: h)]),
    ):
        pytest.fail("the body must not run")
    assert hook_count(backend.module) == count


@torch.no_grad()
def test_embeddings_are_what_words_are_read_and_written_by(backend: HuggingFaceBackend) -> None:
    matrices, ids = backend.embeddings(), torch.tensor([[4, 5], [6, 4]])
    rows = backend.embed(ids)
    scale = (rows[0, 0] / matrices.input[4])[0]
    close(rows, scale * matrices.input[ids])
    assert not matrices.tied
    assert matrices.bias is None
    assert matrices.input.shape == matrices.output.shape == (300, 32)
    assert not matrices.input.requires_grad


def test_tied_embeddings_say_so() -> None:
    module = tiny_module("llama")
    module.config.tie_word_embeddings = True
    module.lm_head.weight = module.model.embed_tokens.weight
    assert HuggingFaceBackend(module).embeddings().tied


@pytest.mark.parametrize(("stream", "widths"), [("z", (32, 32)), ("mlp.in.hook_in", None), ("mlp.out.hook_in", None)])
def test_a_linear_map_is_known_by_what_it_reads(backend: HuggingFaceBackend, stream: str, widths: Any) -> None:
    linear = backend.linear_map(Site(1, stream))
    weight = backend.parameters()[f"{linear.name}.weight"]
    assert weight.shape == ((linear.d_in, linear.d_out) if linear.transposed else (linear.d_out, linear.d_in))
    assert linear.transposed == (backend.module.config.model_type == "gpt2")
    assert widths in (None, (linear.d_in, linear.d_out))


@pytest.mark.parametrize("site", [Site(0), Site(0, "resid_pre"), Site(1, "attn.hook_pattern"), Site(9, "z")])
def test_a_site_that_no_linear_map_reads_is_refused(backend: HuggingFaceBackend, site: Site) -> None:
    with pytest.raises(SiteError, match=rf"{site}".replace(".", r"\.")):
        backend.linear_map(site)


def test_other_weights_act_inside_the_with_and_let_gradients_through(backend: HuggingFaceBackend) -> None:
    own = backend.parameters()
    name = backend.linear_map(Site(1, "z")).name + ".weight"
    pointers = {key: weight.data_ptr() for key, weight in own.items()}
    plain = backend.forward(layout()).logits.detach()
    leaf = own[name].detach().flip(0).requires_grad_()
    with backend.with_weights({name: leaf}):
        moved = backend.forward(layout()).logits
        assert not any(weight.requires_grad for key, weight in backend.parameters().items() if key != name)
        moved.sum().backward()
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) > 0
    assert float((moved.detach() - plain).abs().max()) > 1e-3
    assert all(weight.grad is None and weight.requires_grad for weight in backend.parameters().values())
    assert {key: weight.data_ptr() for key, weight in backend.parameters().items()} == pointers
    assert torch.equal(backend.forward(layout()).logits, plain)


def test_weights_come_back_whatever_is_raised_and_follow_their_ties() -> None:
    module = tiny_module("llama")
    module.lm_head.weight = module.model.embed_tokens.weight
    backend, name = HuggingFaceBackend(module), "model.embed_tokens.weight"
    own = backend.parameters()[name]

    def interrupted() -> None:
        with backend.with_weights({name: own.detach() + 1}):
            assert torch.equal(module.lm_head.weight, own + 1)
            assert backend.embeddings().tied
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert module.lm_head.weight is module.model.embed_tokens.weight is own


@pytest.mark.parametrize(("name", "shape"), [("no.such.weight", (2,)), ("model.norm.weight", (3,))])
def test_weights_that_do_not_fit_are_refused(llama: Any, name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no weight"), llama.backend.with_weights({name: torch.zeros(shape)}):
        pytest.fail("the body must not run")


def test_random_weights_are_drawn_from_the_seed(backend: HuggingFaceBackend) -> None:
    one, two, other = (backend.randomised(seed) for seed in (1, 1, 2))
    assert one.digest() == two.digest() != other.digest()
    assert one.digest() != backend.digest()
    assert one.facts() == backend.facts()


def test_a_module_is_found_under_the_face_of_its_own_backend_only(llama: Any) -> None:
    assert llama.module is llama.backend.module

    model: Any = wrap(tiny_module("llama"), tiny_tokenizer(), "tiny")
    model.backend = object()
    with pytest.raises(AttributeError, match="tiny is run by object, which has no torch module"):
        _ = model.module


def test_another_thread_never_sees_exchanged_weights_or_blocks(backend: HuggingFaceBackend) -> None:
    here = layout(Tokens((Row((5, 6, 7)),)))
    with torch.no_grad():
        expected = backend.forward(here).logits
        states = torch.zeros(1, 3, backend.facts().d_model)
    name, weight = next(iter(backend.parameters().items()))
    for exchange in (backend.with_weights({name: torch.zeros_like(weight)}), backend.run_from_layer(0, states)):
        with ThreadPoolExecutor(1) as pool:
            with exchange, torch.no_grad():
                waiting = pool.submit(torch.no_grad()(backend.forward), here)
                assert not torch.equal(backend.forward(here).logits, expected)
                with pytest.raises(TimeoutError):
                    waiting.result(0.2)
            close(waiting.result().logits, expected)
