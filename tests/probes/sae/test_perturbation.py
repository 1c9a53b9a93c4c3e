"""Targeted probe perturbation on concepts whose directions and latents are planted."""

import numpy as np
import pytest
import torch

from probes.sae.perturbation import probe_losses, targeted

N, D, CONCEPTS = 600, 24, 3
JUDGED = torch.arange(N) % 3 == 0


def planted(shared: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, codes, decoder and labels: latent k is concept k, and also `shared` of the next one's direction."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (N, CONCEPTS), generator=generator)
    basis = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q
    own = basis[:CONCEPTS]
    x = 6.0 * label @ own + 0.5 * torch.randn(N, D, generator=generator)
    noise = torch.randn(N, 5, generator=generator).relu()
    codes = torch.cat([6.0 * label.float(), noise], 1)
    decoder = torch.cat([own + shared * own.roll(-1, 0), basis[CONCEPTS : CONCEPTS + 5]])
    return x, codes, decoder, label


def test_without_its_latent_a_concept_is_lost_and_no_other() -> None:
    losses = probe_losses(*planted(), JUDGED, (1,))[1]
    np.testing.assert_allclose(np.diag(losses), 0.5, atol=0.02)  # all that there is to lose
    assert np.abs(losses - np.diag(np.diag(losses))).max() < 0.02
    np.testing.assert_allclose(targeted(losses), 0.5, atol=0.03)


def test_a_latent_of_two_concepts_takes_both_out() -> None:
    alone, mixed = (probe_losses(*planted(shared), JUDGED, (1,))[1] for shared in (0.0, 1.0))
    assert (targeted(mixed) < targeted(alone) - 0.1).all()
    assert mixed[0, 1] > 0.2  # the next one's probe loses its positives, the one after keeps them
    assert abs(mixed[0, 2]) < 0.02


def test_random_latents_take_nothing_out() -> None:
    x, codes, _, label = planted()
    generator = torch.Generator().manual_seed(1)
    rows = torch.nn.functional.normalize(torch.randn(codes.shape[1], D, generator=generator), dim=1)
    losses = probe_losses(x, torch.rand(codes.shape, generator=generator), rows, label, JUDGED, (1,))[1]
    assert np.abs(losses).max() < 0.1


def test_texts_that_say_nothing_of_a_concept_count_on_neither_side() -> None:
    x, codes, decoder, label = planted()
    silent = torch.arange(N) % 5 == 0
    spoiled, hidden = x.clone(), label.clone()
    spoiled[silent], hidden[silent] = 100.0, -1
    one = probe_losses(spoiled, codes, decoder, hidden, JUDGED, (1,))[1]
    other = probe_losses(x[~silent], codes[~silent], decoder, label[~silent], JUDGED[~silent], (1,))[1]
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_cannot_be_judged_is_refused() -> None:
    x, codes, decoder, label = planted()
    gone = label.clone()
    gone[JUDGED, 1] = 0
    with pytest.raises(ValueError, match="concept 1 has no text of each class to be judged by"):
        probe_losses(x, codes, decoder, gone, JUDGED, (1,))
    with pytest.raises(ValueError, match="give two or more"):
        targeted(np.ones((1, 1)))
