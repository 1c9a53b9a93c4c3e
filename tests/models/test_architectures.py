"""Every architecture reads, generates and trains as Hugging Face computes it, or is refused by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from probes.methods.attribution import HeadConfig, IntegratedGradients
from steering.methods.lora import LoRA
from steering.methods.loreft import LoReFT
from steering.methods.reft_r1 import ReFTr1
from steering.methods.reps import RePS
from steering.methods.sft import SFT
from steering.methods.ssv import SupervisedVector
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from tests.architectures import ARCHITECTURES, PER_LAYER, REFUSED, Tiny
from tests.steering.adapting import concept_texts
from tests.tiny import tiny_tokenizer
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.models.edits import Add, Edit
from workbench.models.low_rank_edits import LowRankMap
from workbench.models.model import Model, wrap
from workbench.models.places import Architecture
from workbench.models.positions import ALL, Layout
from workbench.models.sampling import Sampling
from workbench.models.sites import Site, SiteError
from workbench.models.tokens import Row, Tokens
from workbench.models.training import run_from_layer

TEXTS = ["a text that is longer than any window", "hi", "of four words in all"]
SHORT = Sampling(max_new_tokens=8)
OUTSIDE_THE_SUM = {
    "openai_gpt": "its norms lie on the residual stream",
    "gemma4": "its blocks add a part for each token, too",
    "gemma4-image": "its blocks add a part for each token, too",
}
"""Whose blocks do more than add what attention and MLP give."""


def wrapped(tiny: Tiny) -> Model:
    return wrap(tiny.module(), tiny_tokenizer(), tiny.kind)


@pytest.fixture(scope="module")
def arch(architecture: str) -> Model:
    return wrapped(ARCHITECTURES[architecture])


@pytest.fixture(scope="module")
def states(arch: Model) -> Any:
    sites = [Site(layer, stream) for layer in range(arch.n_layers) for stream in ("resid_pre", "resid_post")]
    return arch.read(TEXTS, sites, positions=ALL)


@pytest.fixture(scope="module")
def data(arch: Model) -> Labelled:
    return concept_texts(arch, n=2, concepts=1)[0]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_stream_is_hugging_faces(arch: Model, architecture: str, states: Any) -> None:
    """What goes into each block; `hidden_states` begins with the embeddings, or behind the first block as in Mamba."""
    twin = ARCHITECTURES[architecture].module()
    for number, row in enumerate(arch.tokenize(TEXTS)):
        found = [h[0] for h in twin(torch.tensor([row.ids]), output_hidden_states=True).hidden_states]
        mine = [states.arrays[Site(layer, "resid_pre")][states.row == number] for layer in range(arch.n_layers)]
        first = 0 if torch.allclose(found[0], mine[0], atol=1e-4) else 1
        assert len(found) >= arch.n_layers
        for layer in range(first, arch.n_layers):
            close(mine[layer], found[layer - first])


@torch.no_grad()
def test_the_stream_is_all_that_the_blocks_above_see(arch: Model, states: Any) -> None:
    layout = Layout.of(arch.tokenize(TEXTS), [0, 1, 2])
    whole = arch.forward(layout).logits[layout.mask]
    for layer in range(arch.n_layers):
        padded = torch.zeros(*layout.ids.shape, arch.d_model)
        padded[layout.mask] = states.arrays[Site(layer)]
        with run_from_layer(arch, layer, padded):
            close(arch.forward(layout).logits[layout.mask], whole)


def test_rows_do_not_see_each_other(arch: Model, states: Any) -> None:
    for number, text in enumerate(TEXTS):
        alone = arch.read([text], list(states.arrays), positions=ALL)
        for site, array in states.arrays.items():
            close(array[states.row == number], alone.arrays[site])


def test_what_all_rows_begin_with_may_run_once(arch: Model) -> None:
    """Where the network keeps keys and values; else whole rows run."""
    shared = "they all begin with this long text"
    tokens, site = arch.tokenize([f"{shared}, {text}" for text in TEXTS]), Site(arch.n_layers - 1)
    whole, found = (
        arch.read(tokens, site, positions=f"all-all[:{len(shared)}]", budget=budget) for budget in (10**6, 40)
    )
    close(found.arrays[site], whole.arrays[site])


def test_rows_of_one_prompt_are_scored_as_each_alone(arch: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network keeps keys and values, prompts run once; they are longer and shorter than windows."""
    monkeypatch.setattr("workbench.models.training.PASS_TOKENS", 0)
    tokens = arch.tokenize([*TEXTS, *TEXTS], ["an answer", "no", "yes it is", "so", "and on it goes", "it"])
    alone = torch.cat([arch.score(tokens[[row]]).nll for row in range(len(tokens))])
    close(arch.score(tokens).nll, alone)


def test_what_a_block_adds_is_read_or_refused_by_name(arch: Model, architecture: str) -> None:
    for layer in range(arch.n_layers):
        before, *parts, after = (Site(layer, stream) for stream in ("resid_pre", "attn_out", "mlp_out", "resid_post"))
        found = {}
        for site in (before, *parts, after):
            try:
                found[site] = arch.read(TEXTS, site, positions=ALL).arrays[site]
            except SiteError as error:
                assert type(arch.module).__name__ in str(error)  # noqa: PT017
        if len(found) == 4 and architecture not in OUTSIDE_THE_SUM:
            close(found[before] + found[parts[0]] + found[parts[1]], found[after])


def rerun(model: Model, prompt: Row, ends: frozenset[int]) -> tuple[int, ...]:
    """Greedy continuation of one row alone by reading the whole text again for every token."""
    grown = prompt.ids
    for _ in range(SHORT.max_new_tokens):
        token = int(model.logits(Tokens((Row(grown, prompt.prefix, prompt.response),)))[0][-1].argmax())
        if token in ends:
            break
        grown = (*grown, token)
    return grown[len(prompt.ids) :]


def check_generation(model: Model, ends: frozenset[int], edits: tuple[Edit, ...]) -> list[tuple[int, ...]]:
    model.module.generation_config.eos_token_id = list(ends)
    prompts = model.tokenize(TEXTS, chat=False)
    found = [one.ids for one in model.generate(prompts, edits=edits, sampling=SHORT)]
    with model.edited(edits):
        assert found == [rerun(model, row, ends) for row in prompts]
    return found


def test_edited_rows_are_continued_as_each_alone_without_a_cache(arch: Model) -> None:
    edit = Add(site=Site(1), direction=normal(arch.d_model), strength=2.0)
    plain, whole = check_generation(arch, frozenset({1}), ()), check_generation(arch, frozenset({1}), (edit,))
    assert whole != plain
    end = max({token for row in whole for token in row}, key=lambda token: len(lengths_until(token, whole)))
    assert len(lengths_until(end, whole)) > 1  # rows leave the batch while others go on
    check_generation(arch, frozenset({1, end}), (edit,))


def lengths_until(end: int, rows: list[tuple[int, ...]]) -> set[int]:
    """How long rows would be if a token ended them."""
    return {(*row, end).index(end) for row in rows}


def layers_with(model: Model, stream: str) -> list[int]:
    """The blocks in which a linear map reads `stream`; each other one is refused by name."""
    found = []
    for layer in range(model.n_layers):
        try:
            model.backend.linear_map(Site(layer, stream))
            found.append(layer)
        except SiteError as error:
            assert type(model.module).__name__ in str(error)  # noqa: PT017
    return found


def check_training(method: Any, data: Labelled) -> None:
    method = replace(method, recipe=TrainingConfig(epochs=2, batch_size=100))
    objective = method.objective(data)
    (found,) = train(objective, [data])
    assert found.stopped is None  # each loss and gradient was finite
    assert found.losses[0] != found.losses[1]
    start = objective.start(data)
    assert any(not torch.equal(value, start[name]) for name, value in found.parameters.items())


TRAINED = {
    "reft_r1": ReFTr1(),
    "ssv": SupervisedVector(),
    "loreft": LoReFT(),
    "reps": RePS(max_new_tokens=4),
    "sft": SFT(),
}


def test_a_method_trains(arch: Model, data: Labelled, trained_method: str) -> None:
    check_training(TRAINED[trained_method], data)


def test_low_rank_maps_train_where_a_linear_map_reads(arch: Model, data: Labelled) -> None:
    layers = layers_with(arch, "z")
    if layers:
        check_training(LoRA(layers=(layers[-1],), of_layers=arch.n_layers), data)


def test_attributions_add_up(arch: Model, data: Labelled) -> None:
    method = IntegratedGradients(steps=2, recipe=HeadConfig(epochs=1))
    (scores,) = method.attribute(method.fit(data), data.items[:1], data.through)
    assert scores.isfinite().all()
    assert float(scores.abs().max()) > 0


def test_published_attributions_are_refused_where_embeddings_have_another_width() -> None:
    data = concept_texts(wrapped(ARCHITECTURES["opt-projected"]), n=2, concepts=1)[0]
    with pytest.raises(DataError, match=r"have 16 entries, the state there 32: take the form 'fixed'"):
        IntegratedGradients(form="compat").fit(data)


UNSUPPORTED: dict[str, Callable[[Model], Any]] = {
    "read": lambda model: model.read(TEXTS, Site(1)),
    "edit": lambda model: model.generate(TEXTS, edits=Add(site=Site(1), direction=normal(32)), sampling=SHORT),
    "map": lambda model: model.backend.linear_map(Site(1, "z")),
    "train": lambda model: run_from_layer(model, 1, torch.zeros(1, 1, 32)).__enter__(),
}


@pytest.mark.parametrize("work", UNSUPPORTED)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_is_refused_by_name_before_any_work(name: str, work: str) -> None:
    tiny, reason = REFUSED[name]
    model, passes = wrapped(tiny), []
    model.module.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(SiteError, match=reason) as refused:
        UNSUPPORTED[work](model)
    assert tiny.kind in str(refused.value)
    assert not passes


@pytest.mark.parametrize("name", ["deepseek_v4", "hrm_text"])
def test_what_has_no_stream_is_continued_all_the_same(name: str) -> None:
    check_generation(wrapped(REFUSED[name][0]), frozenset({1, *range(3, 40)}), ())


def test_blocks_that_reuse_keys_of_others_do_not_run_without_them() -> None:
    model = wrapped(Tiny("Gemma4ForCausalLM", {**PER_LAYER, "num_kv_shared_layers": 1}))
    for layer in (0, 1):
        with (
            pytest.raises(SiteError, match=rf"Gemma4ForCausalLM cannot run from block {layer}: blocks above it reuse"),
            run_from_layer(model, layer, torch.zeros(1, 1, 32)),
        ):
            pytest.fail("the body must not run")
    with run_from_layer(model, 2, torch.zeros(1, 1, 32)):
        pass
    check_generation(model, frozenset({1}), (Add(site=Site(1), direction=normal(32), strength=2.0),))


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_an_edit_of_experts_acts_or_is_refused_with_the_reason(name: str) -> None:
    model, direction = wrapped(ARCHITECTURES[name]), normal(32)
    before = model.logits(TEXTS[:1])[0]
    down, up = normal(2, 32), normal(2, 32).flip(0)
    acting = [
        Add(site=Site(1, "mlp_out"), direction=direction),
        Add(site=Site(1, "attn_out"), direction=direction),
        LowRankMap(site=Site(1, "z"), down=down, up=up),
    ]
    for edit in acting:
        with model.edited(edit):
            assert float((model.logits(TEXTS[:1])[0] - before).abs().max()) > 1e-2
    router = "mlp.router.hook_in" if name == "gpt_oss" else "mlp.gate.hook_in"
    for stream in ("mlp.in.hook_in", "mlp.experts.hook_in", "mlp_out"):
        with pytest.raises(
            SiteError, match=r"experts are fused into mlp\.experts\.gate_up_proj and mlp\.experts\.down"
        ):
            LoRA(stream=stream, layers=(1,), of_layers=3).objective(concept_texts(model, n=2, concepts=1)[0])
    with (
        pytest.raises(SiteError, match=r"no linear map reads blocks\.1.*Router is not one matrix"),
        model.edited(LowRankMap(site=Site(1, router), down=down, up=up)),
    ):
        pytest.fail("the body must not run")
    with model.edited(Add(site=Site(1, router), direction=direction)), pytest.raises(SiteError, match="not one vector"):
        model.logits(TEXTS[:1])
    assert torch.equal(model.logits(TEXTS[:1])[0], before)


NOT_CAUSAL: dict[str, tuple[dict[str, Any], str]] = {
    "T5ForConditionalGeneration": ({"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}, "encoder"),
    "BertForMaskedLM": ({"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}, "no head that gives"),
    "BertLMHeadModel": ({"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}, "sees those behind it"),
    "BloomModel": ({"hidden_size": 16, "n_layer": 1, "n_head": 2}, "no head that gives"),
}


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("kind", NOT_CAUSAL)
def test_what_is_no_causal_language_model_is_refused_by_name(kind: str) -> None:
    settings, reason = NOT_CAUSAL[kind]
    made = getattr(transformers, kind)
    module = made(made.config_class(vocab_size=300, intermediate_size=16, **settings)).eval()
    with pytest.raises(ValueError, match=rf"{kind} is no causal language model: .*{reason}"):
        wrap(module, tiny_tokenizer())


def test_an_adapter_that_lacks_its_library_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    def missing(_: Any) -> None:
        raise ImportError("needs the optional torchvision library")

    monkeypatch.setattr(ArchitectureAdapterFactory, "select_architecture_adapter", missing)
    with pytest.raises(SiteError, match=r"no adapter for LlamaForCausalLM: needs the optional torchvision"):
        Architecture.of(ARCHITECTURES["llama"].module())
