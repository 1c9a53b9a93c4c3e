"""The model that several trainings on the same texts start from: it reads these once."""

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from workbench.data.labelled import ModelAccess
from workbench.models.activations import Activations
from workbench.models.core import TOKEN_BUDGET, ModelInputs
from workbench.models.model import Model
from workbench.models.pooling import Pooling
from workbench.models.positions import Positions
from workbench.models.readspec import ReadSpec
from workbench.models.scoring import Scored
from workbench.models.sites import Site
from workbench.runs.clock import clock

T = TypeVar("T")


class RememberingModel(Model):
    """A Model that scores and reads a set of texts once; states of some sites it takes out of those of more.

    Raises ValueError where it is asked with edits in force or other weights in its network.
    """

    @classmethod
    def of(cls, model: Model) -> "RememberingModel":
        """The same model, with nothing read yet."""
        return cls(model.backend, model.tokenizer, model.name, model.digest)

    @property
    def clock(self) -> float:
        """Processor seconds of this process, and those that everything known would have taken anew, each time.

        What lies between two of its values is what a training costs alone, whoever came before it.
        """
        return clock().cpu + sum(self._spared)

    @cached_property
    def _known(self) -> dict[Hashable, tuple[Any, float]]:
        """With the seconds that each took."""
        return {}

    @cached_property
    def _spared(self) -> list[float]:
        return []

    def _once(self, key: Hashable, compute: Callable[[], T], serves: Callable[[T], bool] = lambda _: True) -> T:
        self.check_unchanged()
        if key in self._known and serves(self._known[key][0]):
            value, took = self._known[key]
            self._spared.append(took)
        else:
            begun = clock().cpu
            value = compute()
            self._known[key] = value, clock().cpu - begun
        return value

    def score(self, tokens: ModelInputs, *, budget: int = TOKEN_BUDGET // 2) -> Scored:
        """See Model.score."""
        return self._once((self.rows(tokens), budget), lambda: Model.score(self, tokens, budget=budget))

    def read(
        self,
        tokens: ModelInputs,
        sites: Sequence[Site | str | int] | Site | str | int | ReadSpec,
        *,
        positions: Positions | str | None = None,
        pool: Pooling | None = None,
        budget: int = TOKEN_BUDGET,
    ) -> Activations:
        """See Model.read."""
        wanted = sites.sites if isinstance(sites, ReadSpec) else sites
        how = (sites.positions, sites.pool) if isinstance(sites, ReadSpec) else (positions, pool)
        names = {Site.parse(one) for one in ([wanted] if isinstance(wanted, Site | str | int) else wanted)}
        return self._once(
            (self.rows(tokens), *how, budget),
            lambda: Model.read(self, tokens, sites, positions=positions, pool=pool, budget=budget),
            lambda known: names <= known.arrays.keys(),
        )


def training_clock(through: ModelAccess) -> float:
    """Processor seconds so far, with what a model that remembers did not spend again: see RememberingModel.clock."""
    return through.reference.clock if isinstance(through.reference, RememberingModel) else clock().cpu
