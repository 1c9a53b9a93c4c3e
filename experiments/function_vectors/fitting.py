"""What is fitted of each case: mean activations and the effects of heads, and the vectors that follow from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.function_vectors.context import Case, StudyContext
from steering.function_vectors.effects import all_heads, attributed_effects, exact_effects, strongest
from steering.function_vectors.last_token import each_alone
from steering.function_vectors.means import Head, TaskMeans, function_vector
from workbench.artifacts.artifact import Origin
from workbench.artifacts.function_vector import FunctionVector
from workbench.models.edits import Add, Edit, Replace
from workbench.models.sites import Site
from workbench.runs.environment import code_version
from workbench.runs.files import canonical, file_digest
from workbench.runs.progress import progress
from workbench.runs.tensors import read_tensors, write_tensors

SETTINGS = ("shots", "prompts", "corrupted", "shortlist")
"""What a fit depends on, beside the list of tasks whose heads are all measured."""


@dataclass(frozen=True, eq=False)
class TaskFit:
    """What was read and measured of one case."""

    case: Case
    means: TaskMeans
    shuffled: TaskMeans
    """Over the prompts with shuffled answers."""
    exact: Float[Tensor, "layer head"]
    """Average indirect effects; NaN where not measured."""
    attributed: Float[Tensor, "layer head"]
    """The same to first order."""
    digest: str
    """Of the file that holds it."""

    def heads(self, n: int) -> list[Head]:
        """Those of the largest effects, strongest first."""
        return strongest(self.exact, n)


def fit_cases(context: StudyContext) -> dict[tuple[str, int], TaskFit]:
    """The fit of every case, by task and seed."""
    return {(case.task, case.seed): _fit(context, case) for case in progress("fits", context.cases, unit="task")}


def _fit(context: StudyContext, case: Case) -> TaskFit:
    whole = case.task in context.config.exact
    inputs = context.inputs(case, *SETTINGS) | {"whole": whole}
    path = context.run.unit_file(
        f"fit/{case.name}", inputs, lambda path: _measure(context, case, whole, path), ".safetensors"
    )
    _, arrays = read_tensors(path)
    means, shuffled = (
        TaskMeans(**{name: arrays[f"{prefix}.{name}"] for name in ("heads", "stream", "gain")})
        for prefix in ("means", "shuffled")
    )
    return TaskFit(case, means, shuffled, arrays["exact"], arrays["attributed"], file_digest(path))


def _measure(context: StudyContext, case: Case, whole: bool, path: Path) -> None:
    model = context.model
    means = TaskMeans.read(model, context.encode(context.shown(case)).tokens)
    corrupted = context.corrupted(case)
    prompts = context.encode(corrupted[: context.config.corrupted])
    asked = list(zip(each_alone(model, prompts.tokens), prompts.target.tolist(), strict=False))
    attributed = torch.stack([attributed_effects(run, target, means) for run, target in asked]).mean(0)
    heads = all_heads(means) if whole else strongest(attributed, context.config.shortlist)
    measured = torch.stack([exact_effects(run, target, means, heads) for run, target in asked]).mean(0)
    exact = torch.full_like(attributed, torch.nan)
    exact[tuple(torch.tensor(heads).T)] = measured
    shuffled = TaskMeans.read(model, context.encode(corrupted).tokens)
    arrays = {"exact": exact, "attributed": attributed}
    for prefix, each in (("means", means), ("shuffled", shuffled)):
        arrays |= {f"{prefix}.{name}": value.contiguous() for name, value in vars(each).items()}
    write_tensors(path, case.name, arrays)


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of one case, as edits at any layer."""

    context: StudyContext
    fit: TaskFit
    fits: Mapping[tuple[str, int], TaskFit]

    @cached_property
    def function_vector(self) -> Float[Tensor, "d"]:
        """The sum over the strongest heads."""
        return self._sum(self.fit.means, self.fit.heads(self.context.config.heads))

    @cached_property
    def universal(self) -> Float[Tensor, "d"]:
        """The sum over the heads that are strongest in the other tasks, on average and to first order."""
        others = [fit.attributed for fit in self.fits.values() if fit.case.task != self.fit.case.task]
        return self._sum(self.fit.means, strongest(torch.stack(others).mean(0), self.context.config.heads))

    @cached_property
    def from_shuffled(self) -> Float[Tensor, "d"]:
        """The same heads, averaged over prompts whose answers were shuffled."""
        return self._sum(self.fit.shuffled, self.fit.heads(self.context.config.heads))

    @cached_property
    def random(self) -> Float[Tensor, "d"]:
        """A random direction as long as the function vector."""
        generator = torch.Generator().manual_seed(int(self.fit.case.digest[:8], 16))
        drawn = torch.randn(len(self.function_vector), generator=generator)
        return drawn * (self.function_vector.norm() / drawn.norm())

    @property
    def other(self) -> "Vectors":
        """Those of the next task with the same seed."""
        tasks = list(dict.fromkeys(task for task, _ in self.fits))
        following = tasks[(tasks.index(self.fit.case.task) + 1) % len(tasks)]
        return Vectors(self.context, self.fits[following, self.fit.case.seed], self.fits)

    def edit(self, way: str, layer: int) -> Edit:
        """What a way of steering does at a layer."""
        site = Site(layer)
        if way == "layer_replaced":
            return Replace(site=site, value=self.fit.means.stream[layer])
        directions = {
            "function_vector": lambda: self.function_vector,
            "universal": lambda: self.universal,
            "layer_added": lambda: self.fit.means.stream[layer],
            "random": lambda: self.random,
            "other_task": lambda: self.other.function_vector,
            "shuffled": lambda: self.from_shuffled,
        }
        return Add(site=site, direction=directions[way]())

    def artifact(self, layer: int) -> FunctionVector:
        """The function vector, to be saved."""
        context, case, heads = self.context, self.fit.case, self.fit.heads(self.context.config.heads)
        origin = Origin(
            method="FunctionVector",
            settings=canonical({name: getattr(context.config, name) for name in (*SETTINGS, "heads")}),
            concept=case.task,
            model=context.model.name,
            model_digest=context.model.digest,
            data=case.digest,
            seed=case.seed,
            code=code_version(),
        )
        effects = torch.stack([self.fit.exact[head] for head in heads])
        sites = tuple(Site(at, "z").head(number) for at, number in heads)
        return FunctionVector(origin, Site(layer), self.function_vector, effects, sites)

    def _sum(self, means: TaskMeans, heads: Sequence[Head]) -> Float[Tensor, "d"]:
        return function_vector(self.context.model, means, heads)
