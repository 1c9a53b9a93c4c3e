"""One call from a dataset of concepts to what a method finds in it."""

from typing import Any, TypeVar, overload

from probes import METHODS as PROBES
from steering import METHODS as STEERING
from workbench.artifacts.artifact import Artifact
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.states import States
from workbench.methods.method import Method
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.text import no_such

A = TypeVar("A", bound=Artifact)


@overload
def fit(
    model: Model, data: Dataset, method: Method[A], *, target: str | int | None = None, site: Site | str | None = None
) -> A: ...
@overload
def fit(
    model: Model, data: Dataset, method: str, *, target: str | int | None = None, site: Site | str | None = None
) -> Any: ...
def fit(
    model: Model,
    data: Dataset,
    method: Method[Any] | str,
    *,
    target: str | int | None = None,
    site: Site | str | None = None,
) -> Any:
    """What a method finds in the training texts of one concept, at a site (by default at 0.6 of the depth).

    `method` is one of the registered names ("diffmean", "probe") or a method with settings of its own. `target` says
    which concept, by name or number; a dataset of one needs none. Raises ValueError for an unknown method, DataError
    for an unknown target or none among several, and as the fit does.
    """
    if target is None and len(data.targets) != 1:
        names = ", ".join(one.name for one in data.targets)
        raise DataError(f"set {data.name!r} has several targets; give target= one of {names}, or use fit_all")
    one = data.select([0 if target is None else target])
    return next(iter(fit_all(model, one, method, site=site).values()))


def fit_all(model: Model, data: Dataset, method: Method[A] | str, *, site: Site | str | None = None) -> dict[str, Any]:
    """What a method finds for every concept of a dataset, by the concept's name; every text is read once."""
    chosen = _method(method)
    where = model.site() if site is None else Site.parse(site)
    states = States.read(data, model, chosen.reads(where))
    return dict(zip((one.name for one in data.targets), chosen.fit_all(states), strict=True))


def _method(method: Method[A] | str) -> Method[A]:
    if isinstance(method, Method):
        return method
    if isinstance(method, type) and issubclass(method, Method):
        raise ValueError(f"{method.__name__} is a class; give an object, {method.__name__}()")
    registered = STEERING | PROBES
    if method not in registered:
        raise ValueError(no_such("method", method, registered))
    return registered[method].make()
