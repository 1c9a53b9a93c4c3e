"""The dictionaries of a run: those that are trained, and those that they must beat."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.sae.config import Config
from experiments.sae.material import StateSource
from probes.sae.baselines import pca_dictionary, random_dictionary
from probes.sae.checkpoints import Curve
from probes.sae.config import COMPETING, DictionaryConfig
from probes.sae.evaluation import evaluate_dictionary
from probes.sae.training import Running, train_dictionaries
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.data.stream import ActivationStream
from workbench.runs.files import plain
from workbench.runs.tracking import Tracker


@dataclass(frozen=True, eq=False)
class FittedDictionary:
    """A dictionary of a run."""

    source: StateSource
    method: str
    """`topk` or another architecture, `random` or `pca`."""
    level: float
    """`k` or `sparsity`, as it was set; of a baseline, those of the dictionary that it is compared with."""
    seed: int
    dictionary: SparseAutoencoder
    curve: tuple[dict[str, float], ...] = ()

    @property
    def trained(self) -> bool:
        """Whether it has learnt anything."""
        return self.method not in BASELINES

    @property
    def title(self) -> str:
        """What reports and rows call it."""
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.source.title}{self.method}, {level_name(self.source.config)} {self.level:g}{seed}"

    @property
    def file_name(self) -> str:
        """Its own among the artifacts."""
        return f"{self.title.replace(',', '').replace(' ', '-')}.safetensors"


BASELINES = ("random", "pca")


def level_name(config: Config) -> str:
    """What sparsity is set by."""
    return "k" if config.architecture in COMPETING else "penalty"


def dictionary_config(config: Config, source: StateSource, level: float, seed: int) -> DictionaryConfig:
    """How one dictionary is trained. A latent is dead that was silent for an eighth of the training."""
    n, base = config.latents, DictionaryConfig()
    competing = config.architecture in COMPETING
    return DictionaryConfig(
        architecture=config.architecture,
        n_latents=n,
        k=int(level) if competing else base.k,
        sparsity=base.sparsity if competing else level,
        sparsity_warmup=0 if competing else config.steps // 4,
        prefixes=(n // 8, n // 4, n // 2) if config.architecture == "matryoshka_batchtopk" else (),
        site=source.site,
        n_steps=config.steps,
        learning_rate=config.learning_rate,
        warmup_steps=config.steps // 20,
        decay_steps=config.steps // 5,
        seed=seed,
    )


def fit_dictionaries(source: StateSource, tracker: Tracker) -> list[FittedDictionary]:
    """Stage: all dictionaries of a source from one pass over its states; the twin gets one, for comparison."""
    config = source.config
    cases = [(level, seed) for level in config.levels for seed in config.seeds][: 1 if source.random else None]
    settings = [dictionary_config(config, source, *case) for case in cases]
    names = [f"{source.title}dictionary/{level:g}/seed{seed}" for level, seed in cases]
    inputs = {
        name: source.inputs(settings=plain(asdict(one)), batch=config.batch, together=len(cases), version=2)
        for name, one in zip(names, settings, strict=True)
    }

    def write(paths: Mapping[str, Path]) -> dict[str, Any]:
        curves: dict[str, Curve] = {name: [] for name in names}

        def log(number: int, step: int, values: dict[str, float]) -> None:
            curves[names[number]].append({"step": step, **values})
            tracker.log_point("step", step, {f"{name}/{names[number]}": value for name, value in values.items()})

        running = Running(source.run.folder / "training", max(1, config.steps // 8), max(1, config.steps // 40))
        stream = ActivationStream.from_states(source.states, batch_size=config.batch)
        made = train_dictionaries(settings, stream, model=source.model, data=source.train.digest, running=running,
                                  on_log=log)  # fmt: skip
        for name, dictionary in zip(names, made, strict=True):
            if name in paths:
                dictionary.save(paths[name])
        return {name: curves[name] for name in paths}

    stored = source.run.units.files(inputs, write, ".safetensors")
    kept = [stored[name] for name in names]
    return [
        FittedDictionary(source, config.architecture, *case, SparseAutoencoder.load(one.path), tuple(one.note))
        for case, one in zip(cases, kept, strict=True)
    ]


def fit_baselines(fits: list[FittedDictionary]) -> list[FittedDictionary]:
    """Stage: random and principal directions with as many active latents as each first-seed dictionary has."""
    return [
        _baseline(method, fit)
        for fit in fits
        if not fit.source.random and fit.seed == fit.source.config.seeds[0]
        for method in BASELINES
    ]


def _baseline(method: str, fit: FittedDictionary) -> FittedDictionary:
    source = fit.source
    l0 = max(1, round(evaluate_dictionary(fit.dictionary, source.sample).l0))

    def write(path: Path) -> None:
        x, site, origin = source.sample, source.site, source.origin()
        if method == "random":
            made = random_dictionary(x, site, n_latents=source.config.latents, k=l0, origin=origin)
        else:
            made = pca_dictionary(x, site, k=min(l0, x.shape[1]), origin=origin)
        made.save(path)

    inputs = source.inputs(l0=l0, latents=source.config.latents, version=1)
    path = source.run.unit_file(f"{method}/{fit.level:g}", inputs, write, ".safetensors")
    return replace(fit, method=method, dictionary=SparseAutoencoder.load(path), curve=())
