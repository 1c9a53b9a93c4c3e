"""All that a run has found."""

from collections.abc import Iterator
from dataclasses import dataclass

from experiments.sae.agreeing import Agreement
from experiments.sae.config import NAME, Config
from experiments.sae.exchanging import ExchangedFacts
from experiments.sae.fitting import BASELINES, FittedDictionary
from experiments.sae.material import StateSource
from experiments.sae.measure import Quality
from experiments.sae.perturbing import Perturbation
from experiments.sae.probing import SparseProbing
from experiments.sae.removing import SpuriousRemoval
from experiments.sae.spelling import FirstLetters
from workbench.runs.rows import Row, spread
from workbench.runs.run import Run


@dataclass(frozen=True, eq=False)
class DictionaryResults:
    """The numbers of all dictionaries."""

    config: Config
    run: Run
    sources: list[StateSource]
    quality: list[Quality]
    probing: list[SparseProbing]
    perturbing: list[Perturbation]
    """Empty for one concept."""
    removing: list[SpuriousRemoval]
    """Empty without two concepts of one genre."""
    spelling: list[FirstLetters]
    """Empty if not asked for."""
    exchanging: list[ExchangedFacts]
    """Empty if not asked for."""
    agreement: list[tuple[FittedDictionary, FittedDictionary, Agreement]]

    @property
    def layer(self) -> int:
        """The block after which states were read."""
        return self.sources[0].site.layer

    def of(self, method: str, level: float) -> Quality | None:
        """A first-seed dictionary of the model itself."""
        return next((one for one in self.quality if (one.fit.method, one.fit.level) == (method, level)
                     and not one.fit.source.random and one.fit.seed == self.config.seeds[0]), None)  # fmt: skip

    def first_titles(self) -> list[str]:
        """What the dictionary of the first level and its baselines are called."""
        found = (self.of(method, self.config.levels[0]) for method in (self.config.architecture, *BASELINES))
        return [one.fit.title for one in found if one is not None]

    def probes(self, name: str) -> SparseProbing | None:
        """What probes on the features of this name found."""
        return next((one for one in self.probing if one.name == name), None)

    def rows(self) -> Iterator[Row]:
        """Every number, tidy; the method says whose it is."""
        for one in self.quality:
            for metric, value in one.numbers.items():
                yield self._row(one.fit.title, metric, **spread(value))
        for one in self.probing:
            for count in one.aurocs:
                yield self._row(one.name, f"probing.{count or 'all'}", **spread(one.interval(count)))
        for one in self.perturbing:
            for count in one.losses:
                for what in ("targeted", "own", "others"):
                    yield self._row(one.name, f"perturbation.{what}.{count}", **spread(one.interval(count, what)))
        for one in self.removing:
            for what in ("before", "oracle"):
                yield self._row(one.name, f"removal.{one.metric}.{what}", **spread(one.interval(what)))
            for count in one.after:
                for what in ("after", "score"):
                    row = f"removal.{one.metric}.{what}.{count}"
                    yield self._row(one.name, row, **spread(one.interval(what, count)))
        for one in self.spelling:
            for what in ("main", "f1", "probe_f1", "missed", "absorbed"):
                yield self._row(one.name, f"spelling.{what}", **spread(one.interval(what)))
        for one in self.exchanging:
            yield self._row(one.name, "exchange.known", value=one.n_known / one.n_asked, n=one.n_asked)
            for count in one.cause:
                for what in ("cause", "isolation", "disentangled"):
                    row = f"exchange.{what}.{count or 'all'}"
                    yield self._row(one.name, row, **spread(one.interval(what, count)))
        for one, other, found in self.agreement:
            for metric in ("cosine", "shared"):
                yield self._row(f"{one.title} and {other.title}", f"agreement.{metric}", value=getattr(found, metric))

    def _row(self, method: str, metric: str, **values: float | int | str | None) -> Row:
        fields = {"experiment": NAME, "method": method, "metric": metric, "layer": self.layer, **values}
        return Row(**fields)  # pyright: ignore[reportArgumentType]
