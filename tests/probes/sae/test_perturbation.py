"""Targeted probe perturbation on concepts whose directions and latents are planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from probes.sae.perturbation import PairTexts, probe_losses, spurious_removal, targeted
from tests.probes.sae.references import fitted_line

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


def pair_texts(n: int, cells: list[tuple[int, int]], seed: int, decoder: torch.Tensor) -> PairTexts:
    """Two concepts along the first two rows; the second is four times as strong.

    Latent 0 is the first concept, latent 1 the second; the others are noise.
    """
    generator = torch.Generator().manual_seed(seed)
    label = torch.tensor(cells)[torch.arange(n) % len(cells)]
    noise = 0.2 * torch.randn(n, 4, generator=generator).relu()
    codes = torch.cat([1.0 * label[:, :1], 4.0 * label[:, 1:], noise], 1)
    x = codes @ decoder + 0.1 * torch.randn(n, D, generator=generator)
    return PairTexts(x, codes, label)


TOGETHER, ALL = [(0, 0), (1, 1)], [(0, 0), (0, 1), (1, 0), (1, 1)]


def three_sets() -> tuple[PairTexts, PairTexts, PairTexts, torch.Tensor]:
    decoder = torch.eye(D)[:6]
    biased, balanced = pair_texts(160, TOGETHER, 0, decoder), pair_texts(160, ALL, 1, decoder)
    return biased, balanced, pair_texts(400, ALL, 2, decoder), decoder


def test_without_the_spurious_latent_a_probe_reads_what_is_wanted() -> None:
    """A probe of both concepts cannot order texts with one alone; without the other one's latent it orders all."""
    both = spurious_removal(*three_sets(), (0, 1))
    accuracy, found = both["accuracy"], both["auroc"]
    assert max(found.before) < 0.95
    assert sum(found.before) / 2 == pytest.approx(0.875, abs=0.03)  # wrong in a quarter of the pairs for one concept
    assert min(found.after[1]) > 0.99
    assert min(*found.oracle, *accuracy.oracle) > 0.99
    assert (found.after[0], accuracy.after[0]) == (found.before, accuracy.before)  # nothing taken out
    assert max(accuracy.after[1]) < 0.85  # the threshold stays where it was for texts with both concepts


def test_latents_that_write_elsewhere_bring_nothing_back() -> None:
    *texts, _ = three_sets()
    generator = torch.Generator().manual_seed(5)
    rows = torch.nn.functional.normalize(torch.randn(6, D, generator=generator), dim=1)
    noise = [replace(one, codes=0.3 * torch.rand(one.codes.shape, generator=generator)) for one in texts]
    found = spurious_removal(noise[0], noise[1], noise[2], rows, (1,))["auroc"]
    assert found.after[1][0] == pytest.approx(found.before[0], abs=0.04)


def test_removal_is_that_of_a_brute_force() -> None:
    """Scikit-learn's probes, latents and texts one by one."""
    biased, balanced, judged, decoder = three_sets()
    found = spurious_removal(biased, balanced, judged, decoder, (1, 2))

    weight, bias = fitted_line(biased.x.numpy(), biased.label[:, 0].numpy())
    for wanted, spurious in ((0, 1), (1, 0)):
        oracle, _ = fitted_line(balanced.x.numpy(), balanced.label[:, spurious].numpy())
        effects = []
        for latent in range(6):
            held, free = (balanced.codes[balanced.label[:, spurious] == value, latent].mean() for value in (1, 0))
            effects.append(float(held - free) * float(oracle @ decoder[latent].numpy()))
        best = [latent for latent in np.argsort(effects)[::-1] if effects[latent] > 0]
        for count in (1, 2):
            scores: dict[int, list[float]] = {0: [], 1: []}
            for x, code, label in zip(judged.x, judged.codes, judged.label, strict=True):
                for latent in best[:count]:
                    x = x - code[latent] * decoder[latent]
                scores[int(label[wanted])].append(float(weight @ x.numpy() + bias))
            negative, positive = np.array(scores[0]), np.array(scores[1])
            accuracy = ((negative <= 0).mean() + (positive > 0).mean()) / 2
            order = (positive[:, None] > negative).mean()
            assert found["accuracy"].after[count][wanted] == pytest.approx(accuracy, abs=1e-6)
            assert found["auroc"].after[count][wanted] == pytest.approx(order, abs=1e-4)


def test_pairs_without_every_combination_are_refused() -> None:
    biased, balanced, judged, decoder = three_sets()
    with pytest.raises(ValueError, match=r"biased texts hold .* expected \[\(0, 0\), \(1, 1\)\]"):
        spurious_removal(balanced, balanced, judged, decoder, (1,))
    with pytest.raises(ValueError, match="judged texts hold"):
        spurious_removal(biased, balanced, biased, decoder, (1,))
    with pytest.raises(ValueError, match="labelled -1; expected 1 with a concept and 0 without"):
        replace(biased, label=-biased.label)
