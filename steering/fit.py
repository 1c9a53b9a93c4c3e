"""One call from a dataset of concepts to what a method finds in it."""

from typing import Any, TypeVar, overload

from probes import METHODS as PROBES
from steering import METHODS as STEERING
from steering.pairs import PairedMethod
from workbench.arguments import hinted, unlike
from workbench.artifacts.artifact import Artifact
from workbench.data.dataset import Dataset
from workbench.data.items import DataError
from workbench.data.own import ConceptSource, concepts
from workbench.data.states import States
from workbench.methods.method import Method
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.text import no_such

A = TypeVar("A", bound=Artifact)


_HINTED = hinted(
    layer="site={value}", layers="site=, one call a layer", concept="target={value}", name="target={value}"
)


@overload
def fit(
    model: Model,
    data: ConceptSource,
    method: Method[A],
    *,
    target: str | int | None = None,
    site: Site | str | int | None = None,
) -> A: ...
@overload
def fit(
    model: Model,
    data: ConceptSource,
    method: str,
    *,
    target: str | int | None = None,
    site: Site | str | int | None = None,
) -> Any: ...
@_HINTED
def fit(
    model: Model,
    data: ConceptSource,
    method: Method[Any] | str,
    *,
    target: str | int | None = None,
    site: Site | str | int | None = None,
) -> Any:
    """What a method finds in the training texts of one concept, at a site (by default at 0.6 of the depth).

    `data` is a Dataset, or what `workbench.concepts` makes one of. `site` may be the number of a block. `method` is one
    of the registered names ("diffmean", "probe") or a method with settings of its own. `target` says which concept, by
    name or number; a dataset of one needs none. Raises ValueError for an unknown method and for what is of another
    kind, DataError for an unknown target or none among several, and as the fit does.
    """
    data = _dataset(model, data)
    if target is None and len(data.targets) != 1:
        names = ", ".join(one.name for one in data.targets)
        raise DataError(f"set {data.name!r} has several targets; give target= one of {names}, or use fit_all")
    one = data.select([0 if target is None else target])
    return next(iter(fit_all(model, one, method, site=site).values()))


@_HINTED
def fit_all(
    model: Model, data: ConceptSource, method: Method[A] | str, *, site: Site | str | int | None = None
) -> dict[str, Any]:
    """What a method finds for every concept of a dataset, by the concept's name; every text is read once."""
    data, chosen = _dataset(model, data), _method(method)
    if isinstance(chosen, PairedMethod):
        _check_pairs(chosen, data)
    where = model.site() if site is None else Site.parse(site)
    states = States.read(data, model, chosen.reads(where))
    return dict(zip((one.name for one in data.targets), chosen.fit_all(states), strict=True))


def _dataset(model: Model, data: ConceptSource) -> Dataset:
    """The data as a Dataset. Raises ValueError where model and data are no such things, or each other."""
    if not isinstance(model, Model):
        hint = f"load({model!r})" if isinstance(model, str) else "load(name)"
        raise ValueError(unlike("the model to fit on", model, f"a Model, {hint}: fit(model, data, method)"))
    if data is None:
        raise ValueError("there is no data to fit on; give what workbench.concepts takes, or concepts() itself")
    return concepts(data)


def _check_pairs(method: PairedMethod, data: Dataset) -> None:
    if method.relation not in (relation.name for relation in data.relations):
        raise DataError(
            f"{method.label} compares the two answers of each pair, and set {data.name!r} has no relation "
            f"{method.relation!r} that says which texts are pairs; read pairs of answers with "
            "workbench.data.behaviours or contrast_files, or take a method of unpaired texts, such as 'diffmean'"
        )


def _method(method: Method[A] | str) -> Method[A]:
    if isinstance(method, Method):
        return method
    if isinstance(method, type) and issubclass(method, Method):
        raise ValueError(f"{method.__name__} is a class; give an object, {method.__name__}()")
    if not isinstance(method, str):
        raise ValueError(unlike("the method", method, "a registered name such as 'diffmean', or a method, DiffMean()"))
    registered = STEERING | PROBES
    if method not in registered:
        raise ValueError(no_such("method", method, registered))
    return registered[method].make()
