"""A dictionary's codes and edits against their definitions, written out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.artifacts.examples import ORIGIN, SITE, normal
from tests.tiny import tiny_model
from workbench.artifacts.artifact import Artifact
from workbench.artifacts.autoencoder import Reconstruct, SparseAutoencoder
from workbench.artifacts.file import ArtifactError
from workbench.models.edits import Add, Edit
from workbench.models.model import Model
from workbench.models.positions import ALL, Layout
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens

D, N = 5, 12
LAYOUT = Layout.of(Tokens((Row((1, 2, 3)), Row((4, 5, 6)))), [0, 1])
H = normal(2, 3, D)
KINDS = ("relu", "jumprelu", "topk", "topk of jumprelu")


def dictionary(kind: str, d: int = D, model: str = "0") -> SparseAutoencoder:
    threshold = normal(N, seed=5).abs() if kind.endswith("jumprelu") else torch.zeros(N)
    if kind == "topk of jumprelu":
        threshold = 3 * threshold  # above what some of the largest say
    arrays = (normal(d, N, seed=1), normal(N, seed=2), normal(N, d, seed=3), normal(d, seed=4), threshold)
    return SparseAutoencoder(
        replace(ORIGIN, model_digest=model), SITE, *arrays, k=3 if kind.startswith("topk") else None
    )


def one_by_one(one: SparseAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """The codes of one state, latent by latent."""
    pre = [float(x @ one.W_enc[:, k] + one.b_enc[k]) for k in range(N)]
    codes = [value if value > max(0, float(one.threshold[k])) else 0.0 for k, value in enumerate(pre)]
    kept = sorted(range(N), key=lambda k: -codes[k])[: one.k or N]
    return torch.tensor([codes[k] if k in kept else 0.0 for k in range(N)])


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_reconstruction_are_their_definitions(kind: str) -> None:
    one = dictionary(kind)
    expected = torch.stack([one_by_one(one, x) for x in H.reshape(-1, D)]).reshape(2, 3, N)
    torch.testing.assert_close(one.encode(H), expected)
    torch.testing.assert_close(one.reconstruct(H), expected @ one.W_dec + one.b_dec)
    assert 0 < (expected > 0).float().mean() < 0.9
    half = one.to_dtype(torch.float16)
    assert half.encode(H).dtype == torch.float32
    torch.testing.assert_close(half.encode(H), one.encode(H), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_latent_changes_the_state_by_what_it_decodes_to(kind: str) -> None:
    one = dictionary(kind)
    codes = one.encode(H)
    for number in range(N):
        changed = codes.clone()
        changed[..., number] = 2.5
        expected = H + one.decode(changed) - one.decode(codes)
        torch.testing.assert_close(one.clamp(number, 2.5).apply(H, LAYOUT), expected)
        changed[..., number] = codes[..., number].clamp(min=0.7)
        expected = H + one.decode(changed) - one.decode(codes)
        torch.testing.assert_close(one.clamp(number, 0.7, bound="at_least").apply(H, LAYOUT), expected)
    changed = codes.clone()
    changed[..., [7, 2]] = 0
    torch.testing.assert_close(one.ablate(7, 2).apply(H, LAYOUT), H + one.decode(changed) - one.decode(codes))
    changed[..., [7, 2]] = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(one.replacement({7: 1.0, 2: 2.0}).apply(H, LAYOUT), one.decode(changed))
    torch.testing.assert_close(one.replacement().apply(H, LAYOUT), one.reconstruct(H))
    nothing = Add(site=SITE, part=one.latents(1, 4), direction=torch.zeros(2))
    torch.testing.assert_close(nothing.apply(H, LAYOUT), H)
    assert torch.equal(one.clamp(3, 9.0, strength=0.0).apply(H, LAYOUT), H)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_batch_edit_latents_of_their_own(kind: str) -> None:
    one = dictionary(kind)
    rows: list[list[Edit]] = [[one.clamp(3, 2.0)], [one.clamp(8, 1.0, strength=0.5)]]
    together = per_row(rows)
    assert len(together) == 1
    alone = torch.stack([rows[row][0].apply(H, LAYOUT)[row] for row in range(2)])
    torch.testing.assert_close(together[0].apply(H, LAYOUT), alone)
    whole: list[list[Edit]] = [[one.replacement({3: 2.0})], [one.replacement({3: 5.0})]]
    alone = torch.stack([whole[row][0].apply(H, LAYOUT)[row] for row in range(2)])
    torch.testing.assert_close(per_row(whole)[0].apply(H, LAYOUT), alone)
    if kind == "topk":  # latents of two dictionaries have other rivals, and are two edits
        assert len(per_row([rows[0], [dictionary("topk").clamp(3, 2.0)]])) == 2


def test_a_model_runs_on_the_reconstruction(llama: Model) -> None:
    one = dictionary("topk", 32, llama.digest)
    plain = llama.read(["text"], SITE, positions=ALL).x(SITE)
    with llama.edited(one.replacement()):
        torch.testing.assert_close(llama.read(["text"], SITE, positions=ALL).x(SITE), one.reconstruct(plain))
    with (
        pytest.raises(ValueError, match=r"comes from a fit on another model"),
        tiny_model("gpt2").edited(one.replacement()),
    ):
        pass
    vector = one.vector(3, unit=2.0)
    assert torch.equal(vector.direction, one.W_dec[3])
    with llama.edited(vector.edit(1.5)):
        torch.testing.assert_close(llama.read(["text"], SITE, positions=ALL).x(SITE), plain + 3 * one.W_dec[3])


def test_unit_rows_are_the_same_function() -> None:
    for kind in ("relu", "jumprelu"):
        one = dictionary(kind)
        unit = one.with_unit_rows()
        torch.testing.assert_close(unit.W_dec.norm(dim=1), torch.ones(N))
        torch.testing.assert_close(unit.reconstruct(H), one.reconstruct(H))
        torch.testing.assert_close(unit.encode(H), one.encode(H) * one.W_dec.norm(dim=1))
    with pytest.raises(ArtifactError, match=r"depend on the lengths"):
        dictionary("topk").with_unit_rows()


def test_files_keep_every_bit(tmp_path: Path) -> None:
    one = dictionary("topk").to_dtype(torch.float16)
    loaded = Artifact.load(one.save(tmp_path / "one.safetensors"))
    assert isinstance(loaded, SparseAutoencoder)
    assert loaded.digest == one.digest
    assert loaded.target is None
    assert loaded.W_enc.dtype == torch.float16
    assert torch.equal(loaded.encode(H), one.encode(H))
    assert "the 3 largest" in loaded._repr_html_()


def test_what_cannot_be_is_refused() -> None:
    one = dictionary("relu")
    transcoder = replace(one, target=Site(1, "mlp_out"))
    for edit in (transcoder.latents, lambda: transcoder.clamp(0, 1.0), transcoder.replacement, lambda: one.vector(99)):
        with pytest.raises(ArtifactError, match=r"a transcoder from|there is no latent 99"):
            edit()
    with pytest.raises(ArtifactError, match=r"W_dec .* not finite"):
        replace(one, W_dec=one.W_dec * torch.nan)
    with pytest.raises(ArtifactError, match=r"k of the dictionary .* is 13, expected 1 to 12"):
        replace(one, k=13)
    with pytest.raises(ValueError, match=r"2 latents set; got the part None and 1 values"):
        Reconstruct(site=SITE, autoencoder=one, numbers=(1, 2), values=torch.zeros(1))
