"""The model that several trainings on the same texts start from: it reads these once."""

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

from workbench.models.activations import Activations
from workbench.models.core import TOKEN_BUDGET, Inputs
from workbench.models.model import Model
from workbench.models.pooling import Pool
from workbench.models.positions import Positions
from workbench.models.readspec import ReadSpec
from workbench.models.scoring import Scored
from workbench.models.sites import Site


class RememberingModel(Model):
    """A Model that scores and reads a set of texts once; states of some sites it takes out of those of more.

    It must not be asked with edits in force or other weights in its network.
    """

    @classmethod
    def of(cls, model: Model) -> "RememberingModel":
        """The same model, with nothing read yet."""
        return cls(model.backend, model.tokenizer, model.name, model.digest)

    @cached_property
    def _known(self) -> dict[Hashable, Any]:
        return {}

    def score(self, tokens: Inputs, *, budget: int = TOKEN_BUDGET // 2) -> Scored:
        """See Model.score."""
        key = (self.rows(tokens), budget)
        if key not in self._known:
            self._known[key] = super().score(tokens, budget=budget)
        return self._known[key]

    def read(
        self,
        tokens: Inputs,
        sites: Sequence[Site | str | int] | Site | str | int | ReadSpec,
        *,
        positions: Positions | str | None = None,
        pool: Pool | None = None,
        budget: int = TOKEN_BUDGET,
    ) -> Activations:
        """See Model.read."""
        wanted = sites.sites if isinstance(sites, ReadSpec) else sites
        how = (sites.positions, sites.pool) if isinstance(sites, ReadSpec) else (positions, pool)
        names = {Site.parse(one) for one in ([wanted] if isinstance(wanted, Site | str | int) else wanted)}
        key = (self.rows(tokens), *how, budget)
        known = self._known.get(key)
        if known is None or not names <= known.arrays.keys():
            known = self._known[key] = super().read(tokens, sites, positions=positions, pool=pool, budget=budget)
        return known
