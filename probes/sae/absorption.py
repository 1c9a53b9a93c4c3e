"""Whether a latent is silent where a more specific one says the same in its place: absorption (arXiv:2409.14507)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.sae.probes import balanced_probes
from workbench.artifacts.autoencoder import SparseAutoencoder

MOST = 10
"""Main latents of a class at most."""
JUMP = 0.03
"""A latent is one of them where the F1 of a probe on their codes grows by more than this."""
ALIGNED = 0.025
"""The least cosine of an absorbing latent's decoder row with the probe."""
EXPLAINED = 0.4
"""The least share of the state's projection on the probe that an absorbing latent writes."""


@dataclass(frozen=True)
class ClassAbsorption:
    """Of one class; rates are of 1."""

    main: tuple[int, ...]
    """The latents that stand for it, most telling first."""
    f1: float
    """Of a probe on their codes, on the judged states."""
    probe_f1: float
    """Of the probe on the whole state."""
    told: int
    """Judged states of the class in which the probe finds it."""
    missed: int
    """Those of them in which no main latent is active."""
    absorbed: int
    """Those of the missed in which another latent explains what the probe finds."""


def absorption(
    dictionary: SparseAutoencoder,
    x: Float[Tensor, "state d"],
    label: Int[Tensor, "state"],
    judged: Bool[Tensor, "state"],
) -> list[ClassAbsorption]:
    """How often latents that stand for a class are replaced by others, for each class; labels count from 0.

    Full absorption of arXiv:2409.14507 as arXiv:2503.09532 measures it, without ablations of the model. Of the judged
    states of a class in which a logistic probe finds it, with the unit vector p, it is in those in which no main latent
    is active, and the latent i that writes most along p has a cosine of ALIGNED with it or more, and an f_i W_dec_i . p
    of EXPLAINED times (x - b_dec) . p or more. Main latents are added, the largest difference of mean codes first, for
    as long as a probe on them gains more than JUMP in F1.

    Ours: latents are ranked by mean difference, not by the weights of an L1 probe; the gain is measured on states that
    the probes are fitted on, so that nothing is chosen by the `judged` ones; the projection is of the state less the
    decoder's bias, since that is what codes add up to.

    Raises ValueError for fewer than two classes, and for one without states on either side.
    """
    classes = range(int(label.max()) + 1 if len(label) else 0)
    if len(classes) < 2:
        raise ValueError(f"absorption needs two classes or more; the labels name {len(classes)}")
    for at in classes:
        for name, side in (("fitted on", ~judged), ("judged by", judged)):
            if not bool((label[side] == at).any()):
                raise ValueError(f"class {at} has no state to be {name}")
    y = torch.nn.functional.one_hot(label, len(classes)).float()  # [state, class]
    codes = dictionary.encode(x)
    probes = balanced_probes(x[~judged], y[~judged])
    found, lines = x.to(probes.weight) @ probes.weight + probes.intercept > 0, probes.weight.float()  # [d, class]
    return [_class(dictionary, x, codes, y[:, at] > 0, judged, found[:, at], lines[:, at]) for at in classes]


def _class(
    dictionary: SparseAutoencoder,
    x: Float[Tensor, "state d"],
    codes: Float[Tensor, "state latent"],
    mine: Bool[Tensor, "state"],
    judged: Bool[Tensor, "state"],
    found: Bool[Tensor, "state"],
    probe: Float[Tensor, "d"],
) -> ClassAbsorption:
    main, said = _main_latents(codes, mine, ~judged)
    rows = (judged & mine & found).nonzero()[:, 0]
    silent = rows[(codes[rows][:, main] == 0).all(1)] if main else rows[:0]
    explained = _explained(dictionary, x[silent], codes[silent], probe)
    return ClassAbsorption(
        main=tuple(main),
        f1=_f1(mine[judged], said[judged]),
        probe_f1=_f1(mine[judged], found[judged]),
        told=len(rows),
        missed=len(silent),
        absorbed=int(explained.sum()),
    )


def _main_latents(
    codes: Float[Tensor, "state latent"], mine: Bool[Tensor, "state"], fitted: Bool[Tensor, "state"]
) -> tuple[list[int], Bool[Tensor, "state"]]:
    """The main latents of a class, and where a probe on their codes finds it."""
    apart = codes[fitted & mine].mean(0) - codes[fitted & ~mine].mean(0)
    order = [latent for latent in apart.topk(min(MOST, len(apart))).indices.tolist() if apart[latent] > 0]
    best, said = 0.0, torch.zeros_like(mine)
    for count in range(1, len(order) + 1):
        some = codes[:, order[:count]]
        probe = balanced_probes(some[fitted], mine[fitted, None].float())
        here = (some.to(probe.weight) @ probe.weight + probe.intercept)[:, 0] > 0
        score = _f1(mine[fitted], here[fitted])
        if count > 1 and score <= best + JUMP:
            return order[: count - 1], said
        best, said = score, here
    return order, said


def _explained(
    dictionary: SparseAutoencoder,
    x: Float[Tensor, "state d"],
    codes: Float[Tensor, "state latent"],
    probe: Float[Tensor, "d"],
) -> Bool[Tensor, "state"]:
    """Where one aligned latent writes enough of what the probe sees."""
    unit, rows = probe / probe.norm(), dictionary.W_dec.float()
    along = rows @ unit  # [latent]
    cosine = along / rows.norm(dim=1).clamp_min(1e-12)
    written, latent = (codes * along).max(1)
    projection = (x.float() - dictionary.b_dec.float()) @ unit
    return (projection > 0) & (cosine[latent] >= ALIGNED) & (written >= EXPLAINED * projection)


def _f1(truth: Bool[Tensor, "state"], said: Bool[Tensor, "state"]) -> float:
    return 2 * int((truth & said).sum()) / max(1, int(truth.sum() + said.sum()))
