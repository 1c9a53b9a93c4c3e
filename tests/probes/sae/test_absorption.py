"""Absorption of classes whose latents, and what replaces them, are planted."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from probes.sae.absorption import absorption
from tests.artifacts.examples import ORIGIN
from tests.probes.sae.references import fitted_line
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.models.sites import Site

N, D = 300, 12
LABEL = torch.arange(N) % 3
JUDGED = torch.arange(N) % 5 < 2
RARE = (torch.arange(N) % 21 == 0) & (JUDGED | (torch.arange(N) > 260))
"""States of class 0 in which its latent may be replaced; to fit on, so few that the other one is no main latent."""


def planted(absorbing: bool, offset: float = 0.0) -> tuple[SparseAutoencoder, Tensor]:
    """A latent for each class and one for RARE states, which writes along class 0 too; an `offset` of all states.

    An encoder reads class 0 off two coordinates: what makes a state RARE takes its latent below 0 if it is `absorbing`.
    """
    x = torch.zeros(N, D)
    x[torch.arange(N), LABEL] = 3.0
    x[RARE, 3] = 2.0
    x += 0.1 * torch.randn(N, D, generator=torch.Generator().manual_seed(0)) + offset
    encoder = torch.eye(D)[:, :4].clone()  # [d, latent]
    decoder = torch.eye(D)[:4].clone()
    if absorbing:
        encoder[3, 0], encoder[0, 3] = -2.0, 0.5
        decoder[3, 0] = 1.5
    bias = -offset * encoder.sum(0) - 0.5
    made = SparseAutoencoder(ORIGIN, Site(1), encoder, bias, decoder, torch.full((D,), offset), torch.zeros(4))
    return made, x


def test_a_latent_that_another_replaces_is_absorbed() -> None:
    found = absorption(*planted(absorbing=True), LABEL, JUDGED)
    rare, common = int((RARE & JUDGED).sum()), int(((LABEL == 0) & JUDGED).sum())
    assert found[0].main[0] == 0
    assert (found[0].told, found[0].missed, found[0].absorbed) == (common, rare, rare)
    assert found[0].probe_f1 == 1
    assert found[0].f1 == pytest.approx(2 * (common - rare) / (2 * (common - rare) + rare))
    for at in (1, 2):
        assert (found[at].main[0], found[at].missed, found[at].absorbed, found[at].f1) == (at, 0, 0, 1)


def test_without_absorption_there_is_none() -> None:
    for one in absorption(*planted(absorbing=False), LABEL, JUDGED):
        assert (one.missed, one.absorbed) == (0, 0)


def test_an_offset_of_all_states_changes_nothing() -> None:
    """The projection is of what codes add up to: 40 in every coordinate would hide what one latent writes."""
    (one, x), (other, moved) = planted(absorbing=True), planted(absorbing=True, offset=40.0)
    for first, second in zip(absorption(one, x, LABEL, JUDGED), absorption(other, moved, LABEL, JUDGED), strict=True):
        assert (first.main, first.told, first.absorbed) == (second.main, second.told, second.absorbed)


def test_what_replaces_a_latent_must_write_enough_along_the_probe() -> None:
    made, x = planted(absorbing=True)
    made.W_dec[3, 0] = 0.0  # it is active where class 0's is not, and writes its own coordinate only
    found = absorption(made, x, LABEL, JUDGED)[0]
    assert found.missed == int((RARE & JUDGED).sum())
    assert found.absorbed == 0


def test_counts_are_those_of_a_brute_force() -> None:
    """A random dictionary and the planted one, state by state, with scikit-learn's probes."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(3, D, generator=generator)
    x = centres[LABEL] + 0.7 * torch.randn(N, D, generator=generator)
    rows = torch.nn.functional.normalize(torch.randn(20, D, generator=generator), dim=1)
    made = SparseAutoencoder(ORIGIN, Site(1), rows.T, torch.zeros(20), rows, torch.zeros(D), torch.zeros(20), k=3)
    found = []
    for dictionary, states in ((made, x), planted(absorbing=True)):
        found += (ours := absorption(dictionary, states, LABEL, JUDGED))
        assert [vars(one) for one in ours] == [brute_force(dictionary, states, at) for at in range(3)]
    assert 0 < sum(one.absorbed for one in found) < sum(one.missed for one in found)


def brute_force(made: SparseAutoencoder, x: Tensor, at: int) -> dict[str, Any]:
    states, y, fitted = x.numpy(), LABEL.eq(at).numpy(), ~JUDGED.numpy()
    codes = made.encode(x).numpy()
    weight, bias = fitted_line(states[fitted], y[fitted])
    apart = codes[fitted & y].mean(0) - codes[fitted & ~y].mean(0)
    main: list[int] = []
    best, said = -1.0, y
    for latent in [int(each) for each in np.argsort(-apart)[:10] if apart[each] > 0]:
        w, b = fitted_line(codes[fitted][:, [*main, latent]], y[fitted])
        now = codes[:, [*main, latent]] @ w + b > 0
        score = f1_score(y[fitted], now[fitted])
        if main and score <= best + 0.03:
            break
        main, best, said = [*main, latent], score, now
    told = missed = absorbed = 0
    p = weight / np.linalg.norm(weight)
    for number in range(N):
        if not (JUDGED[number] and y[number] and states[number] @ weight + bias > 0):
            continue
        told += 1
        if any(codes[number, latent] > 0 for latent in main):
            continue
        missed += 1
        written = [codes[number, latent] * float(made.W_dec[latent].numpy() @ p) for latent in range(made.n_latents)]
        top = int(np.argmax(written))
        projection = float((states[number] - made.b_dec.numpy()) @ p)
        aligned = float(made.W_dec[top].numpy() @ p) / float(made.W_dec[top].norm()) >= 0.025
        absorbed += aligned and projection > 0 and written[top] / projection >= 0.4
    judged = JUDGED.numpy()
    probe_f1 = f1_score(y[judged], states[judged] @ weight + bias > 0)
    return dict(main=tuple(main), f1=f1_score(y[judged], said[judged]), probe_f1=probe_f1, told=told, missed=missed,
                absorbed=absorbed)  # fmt: skip


def test_what_cannot_be_judged_is_refused() -> None:
    made, x = planted(absorbing=False)
    with pytest.raises(ValueError, match="class 0 has no state to be judged by"):
        absorption(made, x, LABEL, JUDGED & (LABEL > 0))
    with pytest.raises(ValueError, match="the labels name 1"):
        absorption(made, x, torch.zeros_like(LABEL), JUDGED)
