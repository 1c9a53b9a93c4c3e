from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steering.erasure import ERASURES
from steering.erasure.eraser import Erasure, text_weight
from steering.erasure.leace import Leace
from steering.erasure.projection import random_eraser
from tests.planted import concept_set, planted, truth
from tests.steering.erasure.planted import D, generator, states
from workbench.artifacts.artifact import Artifact, ArtifactError
from workbench.artifacts.eraser import ConceptEraser, Eraser
from workbench.artifacts.file import Contents
from workbench.models.positions import ALL
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.stacking import per_row

SITE = Site(1)
TEXTS = ["a short one", "another text that is a good deal longer than the first", "x"]
NAMES = list(ERASURES)


def make(name: str) -> Erasure:
    return ERASURES[name].make()


def oblique(rank: int = 2) -> Eraser:
    x, y = states(400, rank + 1)
    return Leace().erase(x, y)


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_concept_goes_from_tokens_and_from_the_means_of_texts(name: str) -> None:
    data = planted()
    found = make(name).fit(data)
    erased = found.eraser(data.x)
    means = torch.stack([erased[data.row == row].mean(0) for row in data.row.unique()])
    gap = means[data.row_y].mean(0) - means[~data.row_y].mean(0)
    assert abs(float(gap @ truth())) < (0.3 if name == "inlp" else 1e-4)
    assert found.site == data.site
    assert found.origin.concept == data.target.name


@pytest.mark.parametrize("name", NAMES)
def test_fits_of_the_same_data_are_the_same_file(name: str, tmp_path: Path) -> None:
    first, second = make(name).fit(planted()), make(name).fit(planted())
    assert first.digest == second.digest
    path = first.save(tmp_path / "eraser.safetensors")
    loaded = Artifact.load(path)
    assert isinstance(loaded, ConceptEraser)
    assert loaded.digest == first.digest
    assert loaded.origin == first.origin
    x = planted(1).x
    torch.testing.assert_close(loaded.eraser(x), first.eraser(x), rtol=0, atol=0)
    assert f"{first.eraser.rank} of 32 directions" in first._repr_html_()


def test_every_concept_of_a_set_comes_out_as_if_alone() -> None:
    data = concept_set()
    together = Leace().fit_all(data)
    assert [each.digest for each in together] == [Leace().fit(one).digest for one in data]


def test_every_text_weighs_the_same() -> None:
    weight = text_weight(torch.tensor([4, 4, 4, 7, 9, 9]))
    torch.testing.assert_close(weight, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1, 1 / 2, 1 / 2]))


@pytest.mark.parametrize("eraser", [oblique(1), oblique(3), random_eraser(D, 5, states()[0].mean(0), 0)])
def test_the_edit_does_to_the_live_model_what_the_eraser_does_to_stored_states(model: Any, eraser: Eraser) -> None:
    before = model.read(TEXTS, SITE, positions=ALL)
    with model.edited(eraser.edit(SITE, "all-prefix")):
        after = model.read(TEXTS, SITE, positions=ALL)
    wanted = torch.where((before.position == 0)[:, None], before.x(SITE), eraser(before.x(SITE)))
    assert (wanted - before.x(SITE)).abs().max() > 1
    torch.testing.assert_close(after.x(SITE), wanted, rtol=1e-4, atol=1e-4)


def test_the_edit_is_the_same_under_padding_and_with_the_cache(model: Any) -> None:
    edit = oblique().edit(SITE, ALL)
    sampling = Sampling(max_new_tokens=6)
    together = [one.ids for one in model.generate(TEXTS, edits=edit, sampling=sampling, chat=False)]
    assert together == [
        one.ids for text in TEXTS for one in model.generate([text], edits=edit, sampling=sampling, chat=False)
    ]
    assert together != [one.ids for one in model.generate(TEXTS, sampling=sampling, chat=False)]
    for text, ids in zip(TEXTS, together, strict=True):
        tokens = model.tokenize([text]).rows[0].ids
        for number, token in enumerate(ids):  # what the cache gave is what a whole pass gives
            with model.edited(edit):
                (logits,) = model.logits(_row(tokens + tuple(ids[:number])))
            assert int(logits[-1].argmax()) == token


def _row(ids: tuple[int, ...]) -> Any:
    from workbench.models.tokens import Row, Tokens

    return Tokens((Row(ids, 1),))


def test_strength_goes_part_of_the_way_and_rows_may_differ(llama: Any) -> None:
    eraser = oblique()
    before = llama.read(TEXTS, SITE).x(SITE)
    with llama.edited(eraser.edit(SITE, strength=0.5)):
        torch.testing.assert_close(llama.read(TEXTS, SITE).x(SITE), (before + eraser(before)) / 2, rtol=1e-4, atol=1e-4)
    with llama.edited(per_row([[eraser.edit(SITE)], [], [eraser.edit(SITE, strength=0.0)]])):
        states = llama.read(TEXTS, SITE)
    untouched = states.row > 0
    torch.testing.assert_close(states.x(SITE)[untouched], before[untouched], rtol=0, atol=0)
    torch.testing.assert_close(states.x(SITE)[~untouched], eraser(before)[~untouched], rtol=1e-4, atol=1e-4)


def test_rank_0_leaves_the_model_bit_equal(llama: Any) -> None:
    before = llama.read(TEXTS, SITE).x(SITE)
    with llama.edited(random_eraser(D, 0, torch.ones(D, dtype=torch.float64), 0).edit(SITE)):
        assert torch.equal(llama.read(TEXTS, SITE).x(SITE), before)


def test_only_its_own_model_takes_the_edit_until_it_is_adopted(llama: Any) -> None:
    found = Leace().fit(concept_set()["c0"])
    with pytest.raises(ValueError, match="comes from a fit on another model"), llama.edited(found.edit()):
        pass
    (edit,) = Leace().edit(found.adopt(llama.name, llama.digest), 1.0)
    with llama.edited(edit):
        assert llama.read(TEXTS, SITE).x(SITE).isfinite().all()


def test_arrays_that_are_no_eraser_are_refused(tmp_path: Path) -> None:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator(0))

    with pytest.raises(ValueError, match="left of the eraser has values that are not finite"):
        Eraser(normal(3), torch.nan * normal(3, 1), normal(1, 3))
    whole = Leace().fit(planted())
    broken = ConceptEraser(whole.origin, whole.site, whole.eraser)
    tensors = broken.tensors() | {"right": normal(2, 31)}
    with pytest.raises(ArtifactError, match=r"right is torch.float64 \[2, 31\]"):
        ConceptEraser.restore(Contents(tensors, broken.header()), broken.origin)
    (tmp_path / "bad.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"bad\.safetensors"):
        ConceptEraser.load(tmp_path / "bad.safetensors")
