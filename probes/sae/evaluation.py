"""How good a dictionary is: on states it has not seen, and in the model that runs on its reconstructions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.data.dataset import Dataset
from workbench.models.edits import Edit, Replace
from workbench.models.model import Model
from workbench.models.positions import CONTENT, Positions
from workbench.models.tokens import Tokens

BATCH = 2048
"""States whose codes are in memory together."""
TEXTS = 8
"""Texts whose logits are in memory together."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A dictionary on held-out states. Shares are of 1."""

    n_states: int
    l0: float
    """Active latents of a state, on average."""
    explained_variance: float
    """1 - sum ||y - reconstruction||^2 / sum ||y - mean||^2 over all states."""
    density: Float[Tensor, "latent"]
    """The share of states in which each latent is active."""

    @property
    def dead_share(self) -> float:
        """The share of latents that are never active."""
        return float((self.density == 0).float().mean())

    def dense_share(self, above: float = 0.1) -> float:
        """The share of latents that are active in more than this share of states."""
        return float((self.density > above).float().mean())


def evaluate_dictionary(
    dictionary: SparseAutoencoder, x: Float[Tensor, "item d"], y: Float[Tensor, "item d_out"] | None = None
) -> Reconstruction:
    """On states `x`, or of a transcoder, on what it is to predict from them.

    Raises ValueError for no states, and for states that are all the same, of which nothing is to be explained.
    """
    if not len(x):
        raise ValueError("a dictionary cannot be evaluated on no states")
    y = x if y is None else y
    n, fired = len(x), torch.zeros(dictionary.n_latents, dtype=torch.float64)
    residual = squares = torch.zeros((), dtype=torch.float64)
    total = torch.zeros(y.shape[1], dtype=torch.float64)
    for some, wanted in zip(x.split(BATCH), y.float().split(BATCH), strict=True):
        codes = dictionary.encode(some)
        fired += (codes > 0).sum(0).cpu()
        errors = (dictionary.decode(codes) - wanted).double().square()
        residual, squares = residual + errors.sum().cpu(), squares + wanted.double().square().sum().cpu()
        total += wanted.double().sum(0).cpu()
    variance = float(squares - total.square().sum() / n)
    if variance <= 1e-12 * float(squares):  # what float64 leaves of a difference of equal sums
        raise ValueError(f"all {n} states are the same: there is nothing to explain")
    return Reconstruction(n, float(fired.sum() / n), 1 - float(residual) / variance, (fired / n).float())


@dataclass(frozen=True, eq=False)
class ReplacementLoss:
    """What a model loses when it runs on reconstructions: sums over the predicted tokens of each text, in nats."""

    clean: Float[Tensor, "text"]
    replaced: Float[Tensor, "text"]
    ablated: Float[Tensor, "text"]
    """With states of 0 in place of the reconstructions."""
    kl: Float[Tensor, "text"]
    """KL divergence of the predictions under replacement from the clean ones."""
    kl_ablated: Float[Tensor, "text"]
    n_tokens: Int[Tensor, "text"]

    @property
    def recovered(self) -> float:
        """(ablated - replaced) / (ablated - clean) of the cross-entropies: 1 where nothing is lost, 0 where all is."""
        lost = self.ablated.sum() - self.clean.sum()
        return float((self.ablated.sum() - self.replaced.sum()) / lost)

    @property
    def kl_per_token(self) -> float:
        """Mean KL divergence, in nats."""
        return float(self.kl.sum() / self.n_tokens.sum())


def replacement_loss(
    dictionary: SparseAutoencoder,
    model: Model,
    texts: Dataset | Sequence[str],
    *,
    positions: Positions | str = CONTENT,
) -> ReplacementLoss:
    """Cross-entropy and KL of all predicted tokens, with reconstructions in place of the states at the positions.

    By default what stands first, BOS or the attention sink, keeps its own state. Raises as `latents` of the dictionary,
    and as the model for one of another model.
    """
    return replacement_losses([dictionary], model, texts, positions=positions)[0]


@torch.no_grad()
def replacement_losses(
    dictionaries: Sequence[SparseAutoencoder],
    model: Model,
    texts: Dataset | Sequence[str],
    *,
    positions: Positions | str = CONTENT,
) -> list[ReplacementLoss]:
    """As `replacement_loss` of each; the passes without a dictionary, and those on states of 0, are shared."""
    where = Positions.parse(positions)
    tokens = model.encode(texts.conversations) if isinstance(texts, Dataset) else model.tokenize(texts)
    width = {one.site: one.d_in for one in dictionaries}
    zeros = {site: Replace(site=site, positions=where, value=torch.zeros(d)) for site, d in width.items()}
    sums = [_Sums(len(tokens)) for _ in dictionaries]
    for begin in range(0, len(tokens), TEXTS):
        rows = list(range(begin, min(begin + TEXTS, len(tokens))))
        some = tokens[rows]

        def log_p(edit: Edit | None, some: Tokens = some) -> list[Tensor]:
            with model.edited(edit or ()):
                return [logits.float().log_softmax(-1) for logits in model.logits(some)]

        clean, ablated = log_p(None), {site: log_p(edit) for site, edit in zeros.items()}
        for dictionary, mine in zip(dictionaries, sums, strict=True):
            replaced = log_p(dictionary.replacement(positions=where))
            for at, row in enumerate(some):
                changed = {"replaced": replaced[at], "ablated": ablated[dictionary.site][at]}
                mine.add(rows[at], torch.tensor(row.ids), clean[at], changed)
    return [ReplacementLoss(**each.values, n_tokens=each.n_tokens) for each in sums]


@dataclass(eq=False)
class _Sums:
    n_texts: int
    values: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ("clean", "replaced", "ablated", "kl", "kl_ablated")
        self.values = {name: torch.zeros(self.n_texts) for name in names}
        self.n_tokens = torch.zeros(self.n_texts, dtype=torch.long)

    def add(self, row: int, ids: Tensor, clean: Tensor, changed: dict[str, Tensor]) -> None:
        """The sums of one text, from log-probabilities [pos, vocab]."""
        target = ids[1:, None].to(clean.device)
        self.n_tokens[row] = len(target)
        for name, log_p in {"clean": clean, **changed}.items():
            self.values[name][row] = -log_p[:-1].gather(1, target).sum()
        for name, kind in (("kl", "replaced"), ("kl_ablated", "ablated")):
            self.values[name][row] = (clean[:-1].exp() * (clean[:-1] - changed[kind][:-1])).sum()


def nearest_cosine(dictionary: SparseAutoencoder) -> Float[Tensor, "latent"]:
    """The largest cosine of each latent's decoder row with another's: near 1 for latents that are there twice."""
    rows = torch.nn.functional.normalize(dictionary.W_dec.float(), dim=1)
    return (rows @ rows.T).fill_diagonal_(-1.0).amax(1)


@dataclass(frozen=True)
class Agreement:
    """Of two dictionaries whose latents are paired one to one (arXiv:2501.16615)."""

    cosine: float
    """Mean cosine of the decoder rows of a pair."""
    shared: float
    """The share of the first one's latents that have a pair with a cosine above 0.7."""


def agreement(
    one: SparseAutoencoder, other: SparseAutoencoder, *, pairing: Literal["one_to_one", "nearest"] = "one_to_one"
) -> Agreement:
    """How much of a dictionary is found again in another one, for example of another seed.

    In a narrower one some latents find no pair: they are in no mean, and count as not shared. `nearest` lets several
    latents have one pair: an upper bound of what is shared, and much faster for wide dictionaries.
    """
    rows = [torch.nn.functional.normalize(each.W_dec.float(), dim=1) for each in (one, other)]
    cosines = rows[0] @ rows[1].T  # [latent, latent]
    if pairing == "nearest":
        paired = cosines.amax(1)
    else:
        first, second = linear_sum_assignment(cosines.numpy(), maximize=True)
        paired = cosines[torch.from_numpy(first), torch.from_numpy(second)]
    return Agreement(float(paired.mean()), int((paired > 0.7).sum()) / len(cosines))
