"""One crosscoder of three depths against a dictionary at each of them, with as many latents and as many active ones.

    python -m benchmarks.sae_crosscoder

On the sources of the running Python, read by the default model. Prints how much of the held-out states each explains,
and how many of the crosscoder's latents live at one depth alone; docs/dictionaries.md shows it.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from experiments.sae.config import Config
from experiments.sae.material import split_passages
from probes.sae import DictionaryConfig, Running, train_crosscoder, train_dictionaries
from probes.sae.source import OUTLIER, site_statistics, usual_states
from workbench.data.dataset import Dataset
from workbench.data.states import States
from workbench.data.stream import ActivationStream
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site

DEPTHS = (0.2, 0.4, 0.6)
ALONE = 0.9
"""The share of a latent's length, in each site's scale, from which on it lives at one site."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    small = parser.parse_args().smoke
    config = Config(passages=10 if small else 120, held_out=2 if small else 16)
    n_latents, n_steps, batch = (64, 4, 128) if small else (2048, 400, 1024)
    model, (train, held_out) = load(dtype="float32"), split_passages(config)
    sites = tuple(Site.at_depth(depth, model.n_layers) for depth in DEPTHS)
    stream = _stream(model, train, sites, batch)
    settings = DictionaryConfig(
        n_latents=n_latents, site=sites[0], n_steps=n_steps, learning_rate=1e-3, decay_steps=n_steps // 5
    )
    together = replace(settings, across=sites[1:])
    each = [replace(settings, site=site) for site in sites]
    running = Running()
    crosscoder = train_crosscoder(together, stream, model=model, running=running)
    alone = train_dictionaries(each, stream, model=model, running=running)
    statistics = site_statistics(stream, sites, OUTLIER)
    held = _stream(model, held_out, sites, batch)
    batches = [usual_states(one, statistics) for one in held.batches(epochs=1)]
    states = {site: torch.cat([one[site] for one in batches]) for site in sites}
    rebuilt = {
        "crosscoder": crosscoder.reconstruct(states),
        "a dictionary each": {one.site: one.reconstruct(states[one.site]) for one in alone},
    }
    print(f"{stream.n_states} states, {n_latents} latents, {settings.k} active, {n_steps} steps of {batch}\n")
    print(f"| explained variance | {' | '.join(map(str, sites))} |\n| :-- | --: | --: | --: |")
    for name, found in rebuilt.items():
        print(f"| {name} | {' | '.join(f'{_explained(states, found, site):.3f}' for site in sites)} |")
    active = crosscoder.encode(states).amax(0) > 0
    lengths = crosscoder.norms[active] * torch.tensor([statistics[site].scale for site in sites])
    share = lengths / lengths.sum(1, keepdim=True)
    print(f"\nlatents that are active: {int(active.sum())}")
    for at, site in enumerate(sites):
        alone_here = float((share[:, at] > ALONE).float().mean())
        print(
            f"{site}: {alone_here:.3f} of them live here alone; mean share of a length {float(share[:, at].mean()):.3f}"
        )


def _stream(model: Model, texts: Dataset, sites: tuple[Site, ...], batch: int) -> ActivationStream:
    return ActivationStream.from_states(States.read(texts, model, ReadSpec(sites)), batch_size=batch)


def _explained(states: Mapping[Site, Tensor], rebuilt: Mapping[Site, Tensor], site: Site) -> float:
    error, spread = states[site] - rebuilt[site], states[site] - states[site].mean(0)
    return 1 - float(error.square().sum() / spread.square().sum())


if __name__ == "__main__":
    main()
