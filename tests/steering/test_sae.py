"""SAE and SAE-A: which latent is chosen, how it reads and writes, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from experiments.axbench import PRESETS, run
from steering.methods.sae import SAE, pooled_codes
from steering.output_scores import NEUTRAL, output_scores
from tests.planted import CONCEPT, D, concept_set, dictionary_file, planted, truth
from tests.test_contract import layout
from tests.tiny import tiny_folder, tiny_model
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.file import ArtifactError
from workbench.artifacts.latent import SparseLatent
from workbench.data.items import DataError
from workbench.evaluation.metrics import auroc
from workbench.exchange.dictionaries import load_dictionary
from workbench.models.edits import Add
from workbench.models.sites import Site


def method(**settings: Any) -> SAE:
    return SAE(dictionary=dictionary_file(), **settings)


def states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("select", ["mean", "auroc"])
@pytest.mark.parametrize(("seed", "number"), [(0, 0), (1, 2)])
def test_the_latent_that_is_the_concept_is_chosen(select, seed, number):
    latent = method(select=select).fit(planted(seed))
    assert latent.number == number
    torch.testing.assert_close(latent.direction, truth(seed))
    assert latent.dictionary == load_dictionary(dictionary_file()).content_digest


def test_each_concept_of_a_set_gets_its_own():
    first, second, third = method(select="auroc").fit_all(concept_set())
    assert (first.number, second.number) == (0, 2)
    assert third.number not in (0, 2)


def test_auroc_of_all_latents_equals_scikit_learns():
    data = planted(shift=0.5)
    dictionary = load_dictionary(dictionary_file())
    codes = pooled_codes(dictionary, [data], "max")
    of_texts = torch.stack([codes[row] for row in data.row.unique().tolist()]).numpy()
    expected = [roc_auc_score(data.row_y.numpy(), column) for column in of_texts.T]
    np.testing.assert_allclose(auroc(of_texts, data.row_y.numpy()), expected, atol=1e-12)
    assert method(select="auroc").fit(data).number == int(np.argmax(expected))


def test_an_auroc_does_not_look_at_sizes_where_the_mean_does():
    """A latent that is larger everywhere, and larger still on a few texts, has the larger difference of means."""
    data = planted(shift=1.5)
    rows = torch.stack([truth(0), truth(1)])
    zeros, loud = torch.zeros(2), data.x.clone()
    loud[data.row == 0] += 60 * truth(1)
    origin = load_dictionary(dictionary_file()).origin
    dictionary = SparseAutoencoder(origin, Site(1), rows.T.contiguous(), zeros, rows, torch.zeros(D), zeros)
    path = str(dictionary.save(Path(dictionary_file()).parent / "two.safetensors"))
    data = replace(data, x=loud)
    assert SAE(dictionary=path).fit(data).number == 1
    assert SAE(dictionary=path, select="auroc").fit(data).number == 0


@pytest.mark.parametrize("number", [0, 7])
def test_reads_the_code_that_the_dictionary_gives_without_competition(number):
    dictionary = with_thresholds()
    latent = SparseLatent.of(dictionary, number, dictionary.origin)
    x = states(50, D)
    norm = dictionary.W_dec[number].norm()
    torch.testing.assert_close(latent.detect(x), dictionary.encode(x)[:, number] * norm)


@pytest.mark.parametrize(("writes", "change"), [("clamp", lambda f: 4.0), ("min_clamp", lambda f: max(float(f), 4.0))])
def test_a_clamp_is_decode_of_the_new_codes_less_decode_of_the_old(writes, change):
    dictionary, number = with_thresholds(), 7
    norm = float(dictionary.W_dec[number].norm())
    latent = SparseLatent.of(dictionary, number, dictionary.origin, unit=2 * norm)
    h = states(1, 40, D) * 3
    (edit,) = SAE(writes=writes).edit(latent, 2.0)
    old = dictionary.encode(h)
    new = old.clone()
    new[0, :, number] = torch.tensor([change(f) for f in old[0, :, number]])
    assert bool((old[0, :, number] > 4).any())
    expected = h + dictionary.decode(new) - dictionary.decode(old)
    torch.testing.assert_close(edit.apply(h, layout(1, 40)), expected, atol=1e-4, rtol=1e-4)


def test_addition_writes_units_of_the_decoders_row():
    latent = method().fit(planted())
    (edit,) = method().edit(latent, 1.5)
    h = states(1, 4, D)
    moved = edit.apply(h, layout(1, 4)) - h
    torch.testing.assert_close(moved, (1.5 * latent.unit * truth(0)).expand(1, 4, D), atol=1e-5, rtol=1e-5)


def test_a_description_chooses(tmp_path):
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps({"5": "ships at sea", "9": "something planted", "1": "numbers"}))
    chosen = method(select="description", descriptions=str(path))
    assert chosen.fit(planted()).number == 9
    with pytest.raises(DataError, match=r"no description in .* is like 'xyz'"):
        chosen.fit(replace(planted(), target=replace(CONCEPT, description="xyz")))
    before = chosen.identity
    path.write_text(json.dumps({"5": "a planted concept"}))
    assert method(select="description", descriptions=str(path)).identity != before
    path.write_text("[1]")
    with pytest.raises(DataError, match="holds no object from numbers of latents"):
        method(select="description", descriptions=str(path)).fit(planted())


def test_output_scores_are_what_one_latent_after_the_other_gives():
    model, dictionary = tiny_model(), load_dictionary(dictionary_file())
    latents = [SparseLatent.of(dictionary, number, dictionary.origin, unit=3.0) for number in range(4)]
    lens = torch.stack([latent.direction for latent in latents])
    head, norm = model.module.get_output_embeddings(), model.module.model.norm
    tokens = head(norm(lens)).topk(20).indices
    expected = []
    for latent, mine in zip(latents, tokens, strict=True):
        with model.edited(Add(site=Site(1), direction=latent.direction, strength=30.0)):
            p = model.next_logits(model.tokenize([NEUTRAL], chat=False))[0].softmax(-1)
        order = p.argsort(descending=True).tolist()
        rank = min(order.index(token) for token in mine.tolist())
        expected.append((1 - rank / len(p)) * float(p[mine].max()))
    found = output_scores(model, latents)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-4)
    assert len(set(found.tolist())) == 4
    data = planted()
    candidates = [method(candidates=4).fit(data).number, method().fit(data).number]
    assert candidates[1] == 0
    with pytest.raises(DataError, match="need the model"):
        method(candidates=4).fit(replace(data, through=None))


def test_data_of_another_site_or_model_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"the dictionary reads blocks\.1\.hook_resid_post of width 32"):
        method().fit(replace(planted(), site=Site(2)))
    path = load_dictionary(dictionary_file()).adopt("another", "digest of another").save(tmp_path / "d.safetensors")
    with pytest.raises(DataError, match=r"the dictionary is of another.*adopt"):
        SAE(dictionary=str(path)).fit(planted())
    with pytest.raises(ValueError, match="go together"):
        SAE(select="description")
    with pytest.raises(ArtifactError, match="nowhere"):
        SAE(dictionary="nowhere.safetensors").fit(planted())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "tiny"}, "is of smollm2-135m-instruct; give the method a `dictionary`"),
        ({"layers": (3,)}, r"reads blocks\.18\.hook_resid_post, where its dictionary was trained, and not blocks\.3"),
    ],
)
def test_the_comparison_refuses_another_model_or_layer_before_it_loads_one(settings, message, tmp_path):
    if "model" in settings:
        settings = {"model": str(tiny_folder(tmp_path))}
    config = replace(PRESETS["smoke"], methods=("diffmean", "sae_a"), steered=(), **settings)
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "runs")
    assert not [path for path in (tmp_path / "runs").rglob("*") if "unit" in path.name]


def with_thresholds() -> SparseAutoencoder:
    """A JumpReLU dictionary with biases, whose decoder rows are of all lengths."""
    plain = replace(load_dictionary(dictionary_file()), k=None)
    n = plain.n_latents
    return replace(
        plain,
        W_dec=plain.W_dec * (1 + torch.arange(n)[:, None] / n),
        b_enc=0.1 * states(n),
        threshold=0.5 * states(n).abs(),
    )


def test_a_latent_without_a_row_or_unit_is_refused():
    dictionary = load_dictionary(dictionary_file())
    empty = replace(dictionary, W_dec=torch.zeros_like(dictionary.W_dec))
    with pytest.raises(ArtifactError, match=re.escape("of length 0; expected one of length 1")):
        SparseLatent.of(empty, 0, dictionary.origin)
    with pytest.raises(ArtifactError, match="unit of latent 0 is 0"):
        SparseLatent.of(dictionary, 0, dictionary.origin, unit=0.0)
