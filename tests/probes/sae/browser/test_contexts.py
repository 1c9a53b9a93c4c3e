"""Contexts of one pass are those of a look at everything, and planted latents are found where they are."""

import torch
from torch import Tensor

from probes.sae.browser.contexts import BEFORE, collect, middle
from tests.artifacts.examples import SITE, normal
from workbench.data.store import Shards
from workbench.models.activations import Activations

N_TEXTS, N, D = 40, 30, 12


def activations(seed: int = 0) -> Activations:
    """Texts of 30 tokens, of which the first was not read."""
    row = torch.arange(N_TEXTS).repeat_interleave(N - 1)
    position = torch.arange(1, N).repeat(N_TEXTS)
    return Activations({SITE: normal(len(row), D, seed=seed)}, row, N_TEXTS, position)


def encode(x: Tensor) -> Tensor:
    """Coordinate 0 is silent; coordinate 1 is active nearly everywhere; all others above 1."""
    return torch.cat([torch.zeros(len(x), 1), (x[:, 1:2] + 3).relu(), (x[:, 2:] - 1).relu()], 1)


def test_one_pass_finds_what_a_look_at_everything_finds(monkeypatch) -> None:
    whole = activations()
    codes = encode(whole.x(SITE)).reshape(N_TEXTS, N - 1, D)
    largest, at = codes.max(1)  # [text, latent]
    monkeypatch.setattr("probes.sae.browser.contexts.BATCH", 100)
    found = collect(encode, whole, SITE, n_latents=D, n_top=4)
    torch.testing.assert_close(found.density, (codes > 0).float().mean((0, 1)))
    order = largest.argsort(0, descending=True)[:4].T  # [latent, 4]
    torch.testing.assert_close(found.top.activation, largest.T.gather(1, order))
    assert torch.equal(found.top.text[1:], order[1:])
    assert torch.equal(found.top.position[1:], at.T.gather(1, order)[1:] + 1)
    assert not found.top.activation[0].any()
    assert found.mean[0] == 0
    parts = (whole.select(range(15)), whole.select(range(15, N_TEXTS)))
    stored = collect(encode, Shards(parts, (0, 15)), SITE, n_latents=D, n_top=4)
    assert torch.equal(stored.top.text, found.top.text)
    torch.testing.assert_close(stored.sample.activation, found.sample.activation)


def test_windows_are_aligned_with_positions_and_empty_where_nothing_was_read() -> None:
    whole = activations()
    codes = encode(whole.x(SITE)).reshape(N_TEXTS, N - 1, D)
    found = collect(encode, whole, SITE, n_latents=D).top
    for latent in range(1, D):
        text, position = int(found.text[latent, 0]), int(found.position[latent, 0])
        window = found.window[latent, 0]
        assert window[BEFORE] == found.activation[latent, 0]
        for offset, value in enumerate(window.tolist(), start=position - BEFORE):
            expected = float(codes[text, offset - 1, latent]) if 1 <= offset < N else 0.0
            assert value == expected


def test_states_that_stand_out_are_silent() -> None:
    whole = activations()
    whole.arrays[SITE][17] = 1e6
    found = collect(encode, whole, SITE, 100.0, n_latents=D)
    assert float(found.top.activation.max()) < 100
    assert float(collect(encode, whole, SITE, n_latents=D).top.activation.max()) > 1e5


def test_middling_contexts_are_active_half_as_much_and_not_at_the_top() -> None:
    whole = activations()
    activity = collect(encode, whole, SITE, n_latents=D, n_top=3, n_sample=20)
    found = middle(activity, 4)
    for latent in range(1, D):
        texts = found.text[latent][found.activation[latent] > 0].tolist()
        assert not set(texts) & set(activity.top.text[latent].tolist())
        sampled = activity.sample.activation[latent]
        left = [value for value, text in zip(sampled.tolist(), activity.sample.text[latent].tolist(), strict=True)
                if value and text not in activity.top.text[latent].tolist()]  # fmt: skip
        half = float(activity.top.activation[latent, 0]) / 2
        nearest = sorted(left, key=lambda value: abs(value - half))[: len(texts)]
        assert found.activation[latent][: len(texts)].tolist() == nearest
    assert not found.activation[0].any()
