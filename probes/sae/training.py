"""Training dictionaries, one or several from one pass over the states."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import torch
from einops import rearrange
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float
from torch import Tensor

from probes.sae.architectures import Autoencoder
from probes.sae.checkpoints import Progress, read_checkpoint, write_checkpoint
from probes.sae.config import DictionaryConfig
from probes.sae.devices import AXIS, mesh_of, start_xla
from probes.sae.fold import Scales, fold
from probes.sae.source import OUTLIER, SiteStatistics, site_statistics, stream_of, usual_batches
from probes.sae.step import Step, TrainState, begin, build, make_step
from workbench.artifacts.artifact import Origin
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.crosscoder import Crosscoder
from workbench.data.stream import ActivationStream
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.runs.environment import code_version
from workbench.runs.fields import above, at_least, check_fields
from workbench.runs.files import canonical, digest
from workbench.runs.progress import progress as progress_bar

VERSION = 2
"""Raised when the same settings come to train something else."""

UNNAMED = "unknown"
StateArray = Float[Tensor, "item d"] | Float[np.ndarray, "item d"]
Folded = tuple[Origin, dict[str, Tensor]]
Logged = Callable[[int, int, dict[str, float]], None]
"""Is told the dictionary's number, the steps done, and its loss, L0, explained variance and share of dead latents."""


@dataclass(frozen=True)
class Running:
    """How a training runs; nothing here changes what comes out, but for `outlier` and `batch_size`."""

    folder: Path | None = None
    """Where checkpoints lie; without one, none are written."""
    checkpoint_every: Annotated[int, at_least(1)] = 500
    log_every: Annotated[int, at_least(1)] = 50
    n_devices: Annotated[int, at_least(1)] = 1
    """Devices that share each batch."""
    outlier: Annotated[float, above(0)] = OUTLIER
    """States longer than this many times the median are left out."""
    batch_size: Annotated[int, at_least(1)] = 2048
    """Of states that come as an array; a stream has its own."""

    def __post_init__(self) -> None:
        """Raises ValueError for a value outside its limits."""
        check_fields(self)


def train_dictionary(
    config: DictionaryConfig,
    source: ActivationStream | StateArray,
    *,
    model: Model | None = None,
    data: str = UNNAMED,
    running: Running | None = None,
    on_log: Logged | None = None,
) -> SparseAutoencoder:
    """See `train_dictionaries`."""
    return train_dictionaries([config], source, model=model, data=data, running=running, on_log=on_log)[0]


def train_dictionaries(
    configs: Sequence[DictionaryConfig],
    source: ActivationStream | StateArray,
    *,
    model: Model | None = None,
    data: str = UNNAMED,
    running: Running | None = None,
    on_log: Logged | None = None,
) -> list[SparseAutoencoder]:
    """Train dictionaries of several widths, architectures, sites or seeds on the same batches, each read once.

    `source` is a stream, or states at the configs' one `site`. `model` is the one they come from, and `data` names or
    digests the texts; both go into the artifacts' origin. With the settings and the statistics of the states' first
    batches they also go into the name of the checkpoint, so that a training that was killed continues with equal bits,
    and another one begins anew. What was logged before comes to `on_log` again.

    Raises ValueError for a crosscoder, a site that the source does not have, a training that diverges, and batches that
    the devices cannot share evenly; DataError for states that are not finite or all 0; and as the stream does.
    """
    if any(config.across for config in configs):
        raise ValueError("a config says `across`: train_crosscoder trains dictionaries of several sites")
    found = _train(configs, source, model, data, running, on_log)
    return [
        SparseAutoencoder(about, config.reads[0], **arrays, k=_k(config), target=config.target)
        for config, (about, arrays) in found
    ]


def train_crosscoder(
    config: DictionaryConfig,
    source: ActivationStream,
    *,
    model: Model | None = None,
    data: str = UNNAMED,
    running: Running | None = None,
    on_log: Logged | None = None,
) -> Crosscoder:
    """Train one dictionary of the states at several sites (Lindsey et al. 2024, "Sparse crosscoders").

    It is an autoencoder of the states at `config.site` and `config.across` side by side, each scaled to a mean length
    of sqrt(d): one encoder and one decoder a site, codes that all sites share, and a penalty or competition in which a
    code counts with the sum of the lengths of its rows. `source` is a stream that has all of these sites. Raises as
    `train_dictionaries`, and ValueError for a single site and for sites of unlike widths.
    """
    if not config.across:
        raise ValueError("a crosscoder needs sites beside `site`: name them in `across`")
    [(config, (about, arrays))] = _train([config], source, model, data, running, on_log)
    n = len(config.reads)
    return Crosscoder(
        about,
        config.reads,
        W_enc=rearrange(arrays["W_enc"], "(site d) latent -> site d latent", site=n),
        b_enc=arrays["b_enc"],
        W_dec=rearrange(arrays["W_dec"], "latent (site d) -> latent site d", site=n),
        b_dec=rearrange(arrays["b_dec"], "(site d) -> site d", site=n),
        threshold=arrays["threshold"],
        k=_k(config),
    )


def _k(config: DictionaryConfig) -> int | None:
    """How many codes of a state are kept when it is read: other architectures than TopK have thresholds."""
    return config.k if config.architecture == "topk" else None


def _train(
    configs: Sequence[DictionaryConfig],
    source: ActivationStream | StateArray,
    model: Model | None,
    data: str,
    running: Running | None,
    on_log: Logged | None,
) -> list[tuple[DictionaryConfig, Folded]]:
    """See `train_dictionaries`; with the configs as they are when they say their site."""
    start_xla()
    running = running or Running()
    stream = source if isinstance(source, ActivationStream) else _stream(configs, source, running)
    mesh = mesh_of(running.n_devices)
    if stream.batch_size % running.n_devices:
        raise ValueError(f"{running.n_devices} devices cannot share batches of {stream.batch_size} evenly")
    configs = _with_sites(configs, stream)
    sites = tuple(dict.fromkeys(site for config in configs for site in (*config.reads, *config.predicts)))
    statistics = site_statistics(stream, sites, running.outlier)
    states = [one.digest for one in statistics.values()]
    key = digest([VERSION, [asdict(config) for config in configs], _identity(stream), running.outlier, data, states,
                  None if model is None else model.identity])  # fmt: skip
    modules = [_module(config, statistics) for config in configs]
    starts = [begin(config, module) for config, module in zip(configs, modules, strict=True)]
    path = None if running.folder is None else running.folder / f"{key[:24]}.safetensors"
    found = None if path is None else read_checkpoint(path, key, starts)
    at = found or Progress(starts, [[] for _ in configs], statistics)
    steps = [make_step(config, nnx.graphdef(module), mesh) for config, module in zip(configs, modules, strict=True)]
    _replay(at, on_log)
    _run(configs, steps, stream, at, mesh, running, None if path is None else (path, key), on_log)
    origin = Origin("", "", None, "unknown" if model is None else model.name,
                    "unknown" if model is None else model.digest, data, 0, code_version())  # fmt: skip
    folded = [_folded(config, state, at.statistics, origin) for config, state in zip(configs, at.states, strict=True)]
    return list(zip(configs, folded, strict=True))


def _run(
    configs: Sequence[DictionaryConfig],
    steps: Sequence[Step],
    stream: ActivationStream,
    at: Progress,
    mesh: Mesh | None,
    running: Running,
    checkpoint: tuple[Path, str] | None,
    on_log: Logged | None,
) -> None:
    """Take `at` to the end of all trainings."""
    last = max(config.n_steps for config in configs)
    with progress_bar("training dictionaries", total=last, initial=at.done, unit="step") as bar:
        for batch in usual_batches(stream, at.statistics, at.done):
            if at.done == last:
                break
            for number, (config, step) in enumerate(zip(configs, steps, strict=True)):
                if at.done >= config.n_steps:
                    continue
                x, y = (_scaled(config, some, batch, at.statistics, mesh) for some in (config.reads, config.predicts))
                at.states[number], seen = step(at.states[number], x, y)
                if (at.done + 1) % running.log_every == 0 or at.done + 1 == config.n_steps:
                    values = {name: float(value) for name, value in seen.items()}
                    _log(number, at, values, on_log)
                    bar.set_postfix_str(f"loss {values['loss']:.3g}, L0 {values['l0']:.1f}")
            at.done += 1
            bar.update()
            if checkpoint and (at.done % running.checkpoint_every == 0 or at.done == last):
                write_checkpoint(*checkpoint, at)


def _log(number: int, at: Progress, values: dict[str, float], on_log: Logged | None) -> None:
    if not math.isfinite(values["loss"]):
        raise ValueError(
            f"dictionary {number} diverged: its loss is {values['loss']} after {at.done + 1} steps; lower its learning "
            "rate"
        )
    at.curves[number].append({"step": at.done + 1, **values})
    if on_log:
        on_log(number, at.done + 1, values)


def _replay(at: Progress, on_log: Logged | None) -> None:
    entries = [(int(entry["step"]), number, entry) for number, curve in enumerate(at.curves) for entry in curve]
    for step, number, entry in sorted(entries, key=lambda one: one[:2]):
        if on_log:
            on_log(number, step, {name: value for name, value in entry.items() if name != "step"})


def _stream(configs: Sequence[DictionaryConfig], x: StateArray, running: Running) -> ActivationStream:
    sites = {site for config in configs for site in (*config.reads, *config.predicts)}
    if len(sites) > 1:
        raise ValueError(f"states that come as an array are of one site; the dictionaries want {len(sites)}")
    return stream_of(x, sites.pop(), batch_size=min(running.batch_size, len(x)))


def _with_sites(configs: Sequence[DictionaryConfig], stream: ActivationStream) -> list[DictionaryConfig]:
    """Configs that all say their site, which the stream has."""
    have = next(stream.batches()).states
    complete = [config if config.site else replace(config, site=next(iter(have))) for config in configs]
    for site in (site for config in complete for site in (*config.reads, *config.predicts)):
        if site not in have:
            raise ValueError(f"the states do not have {site}; they have {', '.join(map(str, have))}")
    return complete


def _identity(stream: ActivationStream) -> list[object]:
    return [stream.counts.tolist(), stream.batch_size, stream.buffer_batches, stream.seed]


def _module(config: DictionaryConfig, statistics: dict[Site, SiteStatistics]) -> Autoencoder:
    widths = {site: len(statistics[site].mean) for site in (*config.reads, *config.predicts)}
    if config.across and len({*widths.values()}) > 1:
        raise ValueError(f"a crosscoder's sites have one width; {', '.join(f'{s} has {n}' for s, n in widths.items())}")
    module = build(config, *(sum(widths[site] for site in some) for some in (config.reads, config.predicts)))
    means = {site: statistics[site].mean for site in config.predicts}
    module.b_dec[...] = _scaled(config, config.predicts, means, statistics, None)
    return module


def _scaled(
    config: DictionaryConfig,
    sites: tuple[Site, ...],
    states: Mapping[Site, Float[Tensor, "*item d"]],
    statistics: dict[Site, SiteStatistics],
    mesh: Mesh | None,
) -> jax.Array:
    """The states of these sites side by side, as training has them."""
    scaled = [states[site] * statistics[site].scale if config.normalise else states[site] for site in sites]
    array = torch.cat(scaled, -1).numpy()
    return jnp.asarray(array) if mesh is None else jax.device_put(array, NamedSharding(mesh, P(AXIS)))


def _folded(
    config: DictionaryConfig, state: TrainState, statistics: dict[Site, SiteStatistics], origin: Origin
) -> Folded:
    scales = (
        tuple(statistics[site].scale if config.normalise else 1.0 for site in some)
        for some in (config.reads, config.predicts)
    )
    weights = {name: np.array(value[...]) for name, value in state.params.items()}
    about = replace(origin, method=config.architecture, settings=canonical(asdict(config)), seed=config.seed)
    return about, fold(config, weights, float(state.threshold), Scales(*scales))
