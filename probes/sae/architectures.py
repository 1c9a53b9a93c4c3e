"""The architectures as Flax modules. A loss is a mean over states of a sum over coordinates, plus its penalties."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float

from probes.sae.config import DictionaryArchitecture, DictionaryConfig
from probes.sae.sparse import decode_rows, kth_largest, pre_activations, topk_codes
from probes.sae.thresholds import Codes, jump_relu, step

StateBatch = Float[Array, "batch d"]
LossTerms = dict[str, Float[Array, ""]]
"""The parts of a loss by name; the loss is their sum."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SaeBatch:
    """States and what they are to be turned into; which latents are dead, and how far the penalty has grown (0..1)."""

    x: Float[Array, "batch d"]
    y: Float[Array, "batch d_out"]
    dead: Bool[Array, "latent"]
    penalty: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Observed:
    """What a step has seen besides its loss."""

    terms: LossTerms
    fired: Float[Array, "latent"]
    """How many states each latent was active in."""
    least: Float[Array, ""]
    """The smallest code above 0 in units of decoder rows, infinity without one."""


class Autoencoder(nnx.Module):
    """relu of an affine encoder, a linear decoder, and an L1 penalty (arXiv:2309.08600; "standard").

    Codes in the penalty count with the lengths of their decoder rows. An autoencoder subtracts the decoder's bias from
    its input, a transcoder does not. States of several sites lie side by side.
    """

    def __init__(self, config: DictionaryConfig, d_in: int, d_out: int, rngs: nnx.Rngs):
        self.config = config
        rows = jax.random.normal(rngs.params(), (config.n_latents, d_out))
        rows *= config.decoder_norm / jnp.linalg.norm(rows, axis=1, keepdims=True)
        own = jax.random.normal(rngs.params(), (config.n_latents, d_in)) * config.decoder_norm / d_in**0.5
        self.W_enc = nnx.Param(own if config.target else jnp.array(rows))
        self.b_enc = nnx.Param(jnp.zeros(config.n_latents))
        self.W_dec = nnx.Param(rows)
        self.b_dec = nnx.Param(jnp.zeros(d_out))

    @property
    def capacities(self) -> tuple[int, ...]:
        """The numbers of dead latents, ascending, up to which a loss costs less; the last is all of them."""
        return 0, self.config.n_latents

    def losses(self, batch: SaeBatch, *, revive: int | None = None, axis: str | None = None) -> Observed:
        """The parts of the loss on a batch; `axis` names the devices among which it is shared, if it is.

        At most `revive` latents are dead, any number by default; without one, their loss is left out.
        """
        pre = self.pre(batch.x)
        codes = self.codes(pre, axis)
        terms = self.fit(codes, batch.y) | self.penalties(pre, codes, batch)
        terms["revival"] = self.revival(pre, codes, batch) if revive != 0 else jnp.float32(0.0)
        return observed(terms, codes * self.norms)

    @property
    def center(self) -> Float[Array, "d"]:
        """What is subtracted from a state before it is read."""
        return jnp.zeros(self.W_enc.shape[1]) if self.config.target else self.b_dec[...]

    @property
    def norms(self) -> Float[Array, "latent"]:
        """Lengths of the decoder's rows: of a crosscoder's the sum of those at each site (Lindsey et al. 2024)."""
        rows = self.W_dec[...].reshape(self.config.n_latents, 1 + len(self.config.across), -1)
        return jnp.sum(jnp.linalg.norm(rows, axis=2), 1)

    def pre(self, x: StateBatch) -> Codes:
        """What the encoder says before the activation."""
        return pre_activations(x - self.center, self.W_enc[...], self.b_enc[...], self.config.precision)

    def codes(self, pre: Codes, axis: str | None = None) -> Codes:
        """The activation."""
        return jax.nn.relu(pre)

    def decode(self, codes: Codes) -> StateBatch:
        """The reconstruction."""
        return codes @ self.W_dec[...] + self.b_dec[...]

    def fit(self, codes: Codes, y: StateBatch) -> LossTerms:
        """How well the reconstruction fits."""
        return {"mse": mean_square(self.decode(codes) - y)}

    def penalties(self, pre: Codes, codes: Codes, batch: SaeBatch) -> LossTerms:
        """What keeps codes sparse."""
        return {"l1": self.config.sparsity * batch.penalty * jnp.mean(codes @ self.norms)}

    def revival(self, pre: Codes, codes: Codes, batch: SaeBatch) -> Float[Array, ""]:
        """What revives dead latents: nothing here."""
        return jnp.float32(0.0)


class Gated(Autoencoder):
    """A gate says which latents are active, a magnitude how much, from one matrix (arXiv:2404.16014)."""

    def __init__(self, config: DictionaryConfig, d_in: int, d_out: int, rngs: nnx.Rngs):
        super().__init__(config, d_in, d_out, rngs)  # b_enc is the gate's bias
        self.b_mag = nnx.Param(jnp.zeros(config.n_latents))
        self.r_mag = nnx.Param(jnp.zeros(config.n_latents))

    def codes(self, pre: Codes, axis: str | None = None) -> Codes:
        """The magnitude where the gate is open."""
        magnitude = (pre - self.b_enc[...]) * jnp.exp(self.r_mag[...]) + self.b_mag[...]
        return jax.nn.relu(magnitude) * (pre > 0)

    def penalties(self, pre: Codes, codes: Codes, batch: SaeBatch) -> LossTerms:
        """L1 of the open gates, and how badly they reconstruct by themselves, through which alone gates learn."""
        gates = jax.nn.relu(pre)
        l1 = self.config.sparsity * batch.penalty * jnp.mean(gates @ self.norms)
        return {"l1": l1, "gate_mse": mean_square(self.decode(gates) - batch.y)}


class JumpReLU(Autoencoder):
    """A threshold for each latent, and a penalty on how many are active (arXiv:2407.14435)."""

    def __init__(self, config: DictionaryConfig, d_in: int, d_out: int, rngs: nnx.Rngs):
        super().__init__(config, d_in, d_out, rngs)
        self.log_threshold = nnx.Param(jnp.full(config.n_latents, jnp.log(config.threshold)))

    @property
    def threshold(self) -> Float[Array, "latent"]:
        """What codes must be above."""
        return jnp.exp(self.log_threshold[...])

    def codes(self, pre: Codes, axis: str | None = None) -> Codes:
        """The pre-activations above their thresholds."""
        return jump_relu(pre, self.threshold, self.config.bandwidth)

    def penalties(self, pre: Codes, codes: Codes, batch: SaeBatch) -> LossTerms:
        """The number of active latents."""
        active = jnp.sum(step(pre, self.threshold, self.config.bandwidth), 1)
        return {"l0": self.config.sparsity * batch.penalty * jnp.mean(active)}

    def revival(self, pre: Codes, codes: Codes, batch: SaeBatch) -> Float[Array, ""]:
        """What dead latents lack to their thresholds, in units of their decoder rows."""
        missing = jax.nn.relu(self.threshold - pre) * batch.dead * self.norms
        return self.config.pre_activation * jnp.mean(jnp.sum(missing, 1))


class BatchTopK(Autoencoder):
    """The k * batch largest codes of a whole batch, in units of their decoder rows (arXiv:2412.06410)."""

    def codes(self, pre: Codes, axis: str | None = None) -> Codes:
        """The largest of the batch, over all devices."""
        scaled = lax.stop_gradient(jax.nn.relu(pre) * self.norms)
        n_states = len(pre) * (1 if axis is None else lax.axis_size(axis))
        return jax.nn.relu(pre) * (scaled >= kth_largest(scaled, self.config.k * n_states, axis))

    def penalties(self, pre: Codes, codes: Codes, batch: SaeBatch) -> LossTerms:
        """None."""
        return {}

    def revival(self, pre: Codes, codes: Codes, batch: SaeBatch) -> Float[Array, ""]:
        """AuxK, see `aux_loss`."""
        residual = batch.y - self.decode(codes)
        return self.config.aux * aux_loss(pre, residual, batch.dead, self.W_dec[...], self.norms, self.revived)

    @property
    def revived(self) -> int:
        """How many dead latents take part in AuxK at once: d / 2."""
        return min(self.b_dec.shape[0] // 2, self.config.n_latents)


class Matryoshka(BatchTopK):
    """BatchTopK whose prefixes of latents each reconstruct alone; one choice for all of them (arXiv:2503.17547)."""

    def fit(self, codes: Codes, y: StateBatch) -> LossTerms:
        """The error of every prefix."""
        decoded, begin, terms = self.b_dec[...], 0, LossTerms()
        for width in self.config.widths:
            decoded = decoded + codes[:, begin:width] @ self.W_dec[begin:width]
            terms["mse" if width == self.config.n_latents else f"mse_{width}"] = mean_square(decoded - y)
            begin = width
        return terms


class TopK(BatchTopK):
    """The k largest codes of each state (arXiv:2406.04093), with sparse gradients."""

    @property
    def capacities(self) -> tuple[int, ...]:
        """See Autoencoder: AuxK reads and writes no more rows than this."""
        n = self.config.n_latents
        return (0, *(some for some in (64, 512) if some < n), n)

    def losses(self, batch: SaeBatch, *, revive: int | None = None, axis: str | None = None) -> Observed:
        """See Autoencoder."""
        config, n = self.config, self.config.n_latents
        encoder, bias, norms = self.W_enc[...], self.b_enc[...], lax.stop_gradient(self.norms)
        codes: Any = topk_codes(batch.x, self.center, encoder, bias, norms, config.k, config.precision)
        values, index = codes
        error = decode_rows(values, index, self.W_dec[...]) + self.b_dec[...] - batch.y
        terms = {"mse": mean_square(error), "revival": jnp.float32(0.0)}
        if revive != 0:
            terms["revival"] = config.aux * self._aux_of_few(batch, -error, norms, revive or n)
        fired = jnp.zeros(n).at[index].add(values > 0)
        return Observed(terms, fired, jnp.min(jnp.where(values > 0, values * norms[index], jnp.inf)))

    def _aux_of_few(self, batch: SaeBatch, residual: StateBatch, norms: Any, most: int) -> Float[Array, ""]:
        """`aux_loss` where at most so many latents are dead, by their rows alone."""
        (numbers,) = jnp.nonzero(batch.dead, size=most, fill_value=0)
        dead = jnp.arange(most) < jnp.sum(batch.dead)
        encoder, bias, decoder = (array[...][numbers] for array in (self.W_enc, self.b_enc, self.W_dec))
        pre = pre_activations(batch.x - self.center, encoder, bias, self.config.precision)
        return aux_loss(pre, residual, dead, decoder, norms[numbers], self.revived)

    def codes(self, pre: Codes, axis: str | None = None) -> Codes:
        """The k largest of each state."""
        index = lax.top_k(pre * self.norms, self.config.k)[1]
        chosen = jnp.zeros(pre.shape, bool).at[jnp.arange(len(pre))[:, None], index].set(True)
        return jax.nn.relu(pre) * chosen


def aux_loss(
    pre: Codes, residual: StateBatch, dead: Bool[Array, "latent"], decoder: Float[Array, "latent d"], norms: Any, k: int
) -> Float[Array, ""]:
    """AuxK: how badly the k largest dead latents reconstruct what the others left over (arXiv:2406.04093, A.2).

    Without the decoder's bias, which the residual does not have either. It counts less while fewer than k are dead.
    """
    scaled = jnp.where(dead, lax.stop_gradient(pre * norms), -jnp.inf)
    least = lax.top_k(scaled, min(k, pre.shape[1]))[0][:, -1:]
    codes = jnp.where((scaled >= least) & dead, pre, 0.0)
    weight = jnp.minimum(jnp.sum(dead) / k, 1.0)
    return weight * mean_square(codes @ decoder - lax.stop_gradient(residual))


def mean_square(error: StateBatch) -> Float[Array, ""]:
    """Mean over states of the sum of squares."""
    return jnp.mean(jnp.sum(jnp.square(error), 1))


def observed(terms: LossTerms, codes: Codes) -> Observed:
    """What dense codes show, which are in units of decoder rows."""
    active = codes > 0
    return Observed(terms, jnp.sum(active, 0).astype(jnp.float32), jnp.min(jnp.where(active, codes, jnp.inf)))


ARCHITECTURES: dict[DictionaryArchitecture, type[Autoencoder]] = {
    "standard": Autoencoder,
    "topk": TopK,
    "batchtopk": BatchTopK,
    "matryoshka_batchtopk": Matryoshka,
    "jumprelu": JumpReLU,
    "gated": Gated,
}
