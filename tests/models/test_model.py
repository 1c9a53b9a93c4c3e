import copy
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import FAMILIES, blocks_of, tiny_model, tiny_module, tiny_tokenizer
from workbench.models.conversation import Conversation
from workbench.models.edits import Add, Clamp, Edit, ProjectOut
from workbench.models.model import wrap
from workbench.models.positions import Positions
from workbench.models.sampling import Sampling
from workbench.models.sites import Site, SiteError
from workbench.models.training import run_from_layer

TEXTS = ["hello world", "a", "a text much longer than its neighbours"]
STREAMS = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def add(layer: int = 1, **given: Any) -> Add:
    return Add(**{"site": Site(layer), "direction": normal(32), **given})


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("layer", [0, 2])
def test_an_edit_equals_a_hook_by_hand(model: Any, stream: str, layer: int) -> None:
    site, tokens = Site(layer, stream), model.tokenize(TEXTS)
    with model.edited(add(site=site, strength=2.0)):
        edited = model.logits(tokens, budget=1)
    module, side = model.backend.architecture.locate(model.module, site)
    if side == "hook_in":
        handle = module.register_forward_pre_hook(lambda _, args: (args[0] + 2 * normal(32), *args[1:]))
    else:
        moved = lambda h: h + 2 * normal(32) if isinstance(h, Tensor) else (h[0] + 2 * normal(32), *h[1:])  # noqa: E731
        handle = module.register_forward_hook(lambda _, __, output: moved(output))
    with torch.no_grad():
        expected = [model.module(torch.tensor([row.ids])).logits[0] for row in tokens]
    handle.remove()
    for found, wanted, plain in zip(edited, expected, model.logits(tokens), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        assert (found - plain).abs().max() > 0.01


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_an_edit_changes_its_own_site_by_itself_and_nothing_below(model: Any, layer: int) -> None:
    sites = [Site(at, stream) for at in range(3) for stream in STREAMS]
    plain = model.read(TEXTS, sites)
    with model.edited(add(layer)):
        edited = model.read(TEXTS, sites)
    for site in sites:
        below = site.layer <= layer and site != Site(layer)
        assert torch.equal(edited.arrays[site], plain.arrays[site]) == below, site
    torch.testing.assert_close(edited.arrays[Site(layer)], plain.arrays[Site(layer)] + normal(32))


def test_strength_0_is_bit_equal_also_after_another_strength_and_in_a_mixed_batch(model: Any) -> None:
    tokens = model.tokenize(TEXTS)
    plain = model.logits(tokens)
    for strength in (3.0, 0.0, torch.tensor([0.0, 2.0, 0.0])):
        with model.edited([add(0, strength=strength), add(2, strength=strength)]):
            edited = model.logits(tokens)
        unchanged = [torch.equal(a, b) for a, b in zip(edited, plain, strict=True)]
        assert unchanged == (torch.as_tensor(strength).expand(3) == 0).tolist()
    assert same(model.logits(tokens), plain)


def test_contexts_nest_and_inner_edits_come_after_outer_ones(model: Any) -> None:
    outer, inner = add(), ProjectOut(site=Site(1), direction=normal(32, seed=1) + normal(32))
    with model.edited([outer, inner]):
        expected = model.logits(TEXTS)
    with model.edited([inner, outer]):
        swapped = model.logits(TEXTS)
    with model.edited(outer):
        before = model.logits(TEXTS)
        with model.edited(inner):
            assert same(model.logits(TEXTS), expected)
        assert same(model.logits(TEXTS), before)
    assert not same(swapped, expected)


@dataclass(frozen=True, eq=False, kw_only=True)
class Raising(Edit):
    error: BaseException

    def delta(self, h: Tensor, layout: Any) -> Tensor:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("in the edit"), KeyboardInterrupt(), StopIteration()])
@pytest.mark.parametrize("call", ["read", "logits", "score", "generate"])
def test_an_error_in_an_edit_leaves_the_model_as_it_was(model: Any, hook_count: Any, error: Any, call: str) -> None:
    plain, count = model.logits(TEXTS), hook_count(model.module)
    arguments = (TEXTS, Site(2)) if call == "read" else (TEXTS,)
    with pytest.raises(type(error)), model.edited([add(0), Raising(site=Site(1), error=error)]):
        getattr(model, call)(*arguments)
    assert hook_count(model.module) == count
    assert same(model.logits(TEXTS), plain)


def test_an_error_in_the_model_leaves_it_as_it_was(model: Any, hook_count: Any) -> None:
    plain, count = model.logits(TEXTS), hook_count(model.module)
    calls = [lambda: model.read([TEXTS[0]], Site(2)), lambda: model.generate([TEXTS[0]]), lambda: model.logits(TEXTS)]
    block = blocks_of(model)[1]
    theirs = block.register_forward_pre_hook(lambda *_: 1 / 0)
    for call in calls:
        with pytest.raises(ZeroDivisionError), model.edited(add(0)):
            call()
        assert hook_count(model.module) == count + 1
    theirs.remove()
    assert same(model.logits(TEXTS), plain)


def test_a_bad_second_edit_hooks_nothing(model: Any, hook_count: Any) -> None:
    count = hook_count(model.module)
    for bad, error in ((add(99), SiteError), (add(strength=torch.ones(2), positions=(Positions("all"),)), ValueError)):
        with pytest.raises(error), model.edited([add(), bad]):
            pytest.fail("the body must not run")
        assert hook_count(model.module) == count


def test_a_generator_closed_early_takes_its_edits_along(model: Any) -> None:
    plain = model.logits(TEXTS)

    def steps() -> Generator[list[Tensor]]:
        with model.edited(add()):
            while True:
                yield model.logits(TEXTS)

    running = steps()
    assert not same(next(running), plain)
    running.close()
    assert same(model.logits(TEXTS), plain)


def test_hooks_of_the_user_stay_and_fire(model: Any, hook_count: Any) -> None:
    fired: list[int] = []
    block = blocks_of(model)[1]
    handle = block.register_forward_hook(lambda *_: fired.append(1))
    count = hook_count(model.module)
    with model.edited(add()):
        model.logits(TEXTS)
    model.read(TEXTS, Site(1))
    model.generate(TEXTS, sampling=Sampling(max_new_tokens=1))
    assert hook_count(model.module) == count
    assert len(fired) == 3
    handle.remove()


@pytest.mark.parametrize("n_rows", [2, 4])
def test_an_edit_for_another_number_of_rows_is_refused_by_every_call(model: Any, n_rows: int) -> None:
    edit, message = add(strength=torch.ones(n_rows)), rf"hook_resid_post speaks about {n_rows} rows, this call has 3"
    with model.edited(edit):
        for call in (lambda: model.read(TEXTS, Site(2)), lambda: model.logits(TEXTS), lambda: model.loss(TEXTS)):
            with pytest.raises(ValueError, match=message):
                call()
    with pytest.raises(ValueError, match=message):
        model.generate(TEXTS, edits=edit, batch_size=1)


def test_the_plain_module_is_refused_inside_edited(llama: Any) -> None:
    with pytest.raises(RuntimeError, match="call the Model's own methods"), llama.edited(add()):
        llama.module(torch.tensor([[5, 6]]))


def test_an_edit_fitted_on_another_model_is_refused(llama: Any) -> None:
    with llama.edited(add(model=llama.digest)):
        pass
    with (
        pytest.raises(ValueError, match="comes from a fit on another model than tiny-llama"),
        llama.edited(add(model="0" * 64)),
    ):
        pytest.fail("the body must not run")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vector_dtype", [torch.float32, torch.float64])
def test_vectors_of_another_dtype_do_not_promote_the_model(family: Any, dtype: Any, vector_dtype: Any) -> None:
    model = tiny_model(family)
    model.module.to(dtype)
    direction = normal(32).to(vector_dtype)
    kept = direction.clone()
    edits = (Add(site=Site(0), direction=direction), Clamp(site=Site(1), direction=direction, target=2.0))
    with model.edited(edits):
        found = model.read(TEXTS, [Site(layer, stream) for layer in range(3) for stream in STREAMS])
        assert {array.dtype for array in found.arrays.values()} == {dtype}
        assert {logits.dtype for logits in model.logits(TEXTS)} == {dtype}
        assert len(model.generate(TEXTS, sampling=Sampling(max_new_tokens=3))) == 3
    assert torch.equal(direction, kept)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_digest_follows_the_weights_and_nothing_else(family: Any, tmp_path: Path) -> None:
    module, tokenizer = tiny_module(family), tiny_tokenizer()
    digest = wrap(module, tokenizer).digest
    assert wrap(copy.deepcopy(module), tokenizer, "another name").digest == digest
    module.save_pretrained(tmp_path)
    assert wrap(type(module).from_pretrained(tmp_path).eval(), tokenizer).digest == digest
    assert wrap(tiny_module(family, seed=1), tokenizer).digest != digest
    assert wrap(copy.deepcopy(module).to(torch.bfloat16), tokenizer).digest != digest
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            value = parameter.view(-1)[-1].clone()
            parameter.view(-1)[-1] += 1e-3
            assert wrap(module, tokenizer).digest != digest, name
            parameter.view(-1)[-1] = value
    assert wrap(module, tokenizer).digest == digest
    module.config.rope_theta = 3.0
    assert wrap(module, tokenizer).digest != digest
    module.register_buffer("one_number", torch.tensor(1.0))
    assert wrap(module, tokenizer).digest != digest


def test_a_module_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel is in training mode: .* call \.eval\(\) first"):
        wrap(tiny_module("gpt2").train(), tiny_tokenizer(), "thing")


def test_a_model_says_what_it_is(model: Any) -> None:
    assert (model.n_layers, model.d_model, model.context, model.dtype) == (3, 32, 256, torch.float32)
    assert [model.site(depth) for depth in (0.0, 0.6, 1.0)] == [Site(0), Site(1), Site(2)]
    assert "<th>layers</th><td>3</td>" in model._repr_html_()
    assert "<script>" not in wrap(model.module, model.tokenizer, "<script>")._repr_html_()


def test_responses_use_the_chat_template_unless_told_otherwise(llama: Any) -> None:
    prompts, responses = ["why?"], ["because"]
    chat, plain = (llama.tokenize(prompts, responses, chat=chat) for chat in (True, False))
    assert llama.tokenize(prompts, responses) == chat != plain
    assert llama.tokenize(prompts) == llama.tokenize(prompts, chat=False)
    bare = wrap(llama.module, tiny_tokenizer(chat=False))
    assert bare.tokenize(prompts, responses) == plain
    assert bare.generate(prompts, sampling=Sampling(max_new_tokens=2))


SEA = ["The ship sailed across the stormy ocean.", "Waves broke over the deck as the sailors prayed."]
LAND = ["The clerk filed the report in a cabinet.", "Interest rates rose by a quarter of a point."]


def test_the_default_model_is_read_steered_and_scored(default_model: Any) -> None:
    """One small real run: a difference of means of two texts a side brings the sea into a story."""
    model, site = default_model, default_model.site(0.6)
    tokens = model.tokenize(["Describe what you see."] * 4, [*SEA, *LAND])
    means = model.read(tokens, site, positions="response", pool="mean").arrays[site]
    direction = torch.nn.functional.normalize(means[:2].mean(0) - means[2:].mean(0), dim=0)
    largest = (model.read(tokens, site, positions="response").arrays[site].float() @ direction).max()
    prompts, sampling = ["Tell me a story."] * 2, Sampling(max_new_tokens=40)
    edit = Add(site=site, direction=direction * largest, strength=torch.tensor([0.0, 1.0]))
    plain, steered = model.generate(prompts, edits=edit, sampling=sampling)
    assert plain == model.generate(prompts, sampling=sampling)[0]
    words = ("sea", "ocean", "ship", "wave", "sail", "beach", "water")
    counts = [sum(one.text.lower().count(word) for word in words) for one in (plain, steered)]
    assert counts[1] > counts[0] + 1
    losses = model.loss(model.tokenize(prompts, [plain.text, steered.text]))
    assert 0 < losses[0] < losses[1]


# --- conversations as prompts


def test_chat_messages_are_taken_as_one_conversation(llama: Any) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "why?"}]
    chat = Conversation.chat(messages)
    assert llama.tokenize([messages, "text"]) == llama.encode([chat, Conversation.bare("text")])
    assert llama.tokenize(["why?", chat], chat=True).rows[0] == llama.tokenize(["why?"], chat=True).rows[0]
    assert llama.generate([messages]) == llama.generate(llama.encode([chat]))
    assert llama.score([Conversation.exchange("why?", "so")]).nll == llama.score(llama.tokenize(["why?"], ["so"])).nll


def test_a_conversation_brings_its_own_response(llama: Any) -> None:
    with pytest.raises(ValueError, match="holds its own response"):
        llama.tokenize([Conversation.bare("a")], ["b"])


def test_threads_share_a_model_and_not_their_edits(model: Any) -> None:
    """Each thread reads and writes under its own edits while the others are inside theirs."""
    texts = ["the sea", "an old harbour at night"]
    edits = [Add(site=Site(1), direction=normal(model.d_model, seed=k), strength=3.0 * k) for k in range(4)]

    def work(edit: Add) -> tuple[Tensor, list[tuple[int, ...]]]:
        with model.edited(edit):
            states = model.read(texts, Site(2)).x(Site(2))
            return states, [one.ids for one in model.generate(texts, sampling=Sampling(max_new_tokens=8))]

    alone = [work(edit) for edit in edits]
    started = threading.Barrier(4)

    def at_once(edit: Add) -> tuple[Tensor, list[tuple[int, ...]]]:
        with model.edited(Add(site=Site(0), direction=torch.ones(model.d_model), strength=0.0)):
            started.wait()
            for _ in range(2):
                work(edit)
            return work(edit)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(at_once, edits))
    for (states, written), (expected, text) in zip(together, alone, strict=True):
        torch.testing.assert_close(states, expected, atol=1e-6, rtol=1e-6)
        assert written == text
    assert len({text for _, written in together for text in written}) > 2


def test_a_thread_puts_no_hook_on_what_stands_in_for_a_block_in_another(llama: Any) -> None:
    tokens, site = llama.tokenize(["why does it rain?"]), Site(0)
    expected = llama.read(tokens, site).arrays[site]
    with ThreadPoolExecutor(1) as pool:
        with run_from_layer(llama, 1, torch.zeros(1, 1, 32)):
            reading = pool.submit(llama.read, tokens, site)
            wait([reading], 0.3)
        assert torch.equal(reading.result().arrays[site], expected)


def test_edits_can_rest_while_others_are_in_force(model: Any) -> None:
    edit = Add(site=Site(1), direction=normal(model.d_model))
    plain = model.read(["text"], Site(2)).x(Site(2))
    with model.edited(edit):
        edited = model.read(["text"], Site(2)).x(Site(2))
        with model.edited((), instead=True):
            assert model.edits == ()
            assert torch.equal(model.read(["text"], Site(2)).x(Site(2)), plain)
        with model.edited(edit, instead=True):
            assert torch.equal(model.read(["text"], Site(2)).x(Site(2)), edited)
    assert not torch.equal(plain, edited)


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("one", ["text", {"role": "user", "content": "text"}, Conversation.bare("text")])
def test_one_text_in_the_place_of_several_is_refused(llama: Any, one: Any) -> None:
    with pytest.raises(ValueError, match=f"takes a list of texts; put the one {type(one).__name__} in a list"):
        llama.tokenize(one)
