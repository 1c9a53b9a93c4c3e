"""The defences: what each one trains or chooses, and how it then answers."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from experiments.grace.config import ABLATIONS, FURTHER, LABELS
from experiments.grace.context import DEPTHS, UNDEFENDED, GraceContext, TrainedModel, sites_at
from steering.grace.adapting import train_to_end
from steering.grace.breakers import BREAKING_LORA, CircuitBreakerObjective
from steering.grace.full import FULL_RATE, FullGraceObjective
from steering.grace.guard import PromptGuard
from steering.grace.latent import LatentAdversarialObjective
from steering.grace.objectives import (
    LORA,
    DpoObjective,
    GraceObjective,
    PoolerObjective,
    RefusalObjective,
    TripleObjective,
    layer_profile,
    profiled_sites,
)
from steering.methods.conditional import best_condition
from steering.methods.lora import LoRA
from steering.training.objective import TrainingConfig
from steering.training.remembering import training_clock
from workbench.evaluation.judges.policy import PolicyJudge
from workbench.models.edits import Add, Clamp, Edit
from workbench.models.gates import Gate
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.runs.clock import clock

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
FLOORS = (0.25, 0.5, 0.75, 0.9)
"""Shares of the forbidden prompts."""
_ROUNDS = ((4, 3), (16, 1))
"""On how many prompts of each side edits are tried, and how many of them are tried on."""
_FIRST = 12
"""Tokens of an answer that show whether it refuses."""


@dataclass(frozen=True, eq=False)
class Arm:
    """A defence that is ready: a model, edits of it, or prompts that it refuses without asking the model."""

    name: str
    model: Model
    edits: tuple[Edit, ...] = ()
    guard: PromptGuard | None = None
    seconds: float = 0.0
    """Processor seconds of training and choosing."""
    parameters: int = 0
    """Numbers that were trained."""
    profile: tuple[float, ...] = ()
    """The share of each layer, where one was learnt; from the layer `first` on."""
    first: int = 0
    chosen: str = ""
    """What was chosen on validation families."""
    checkpoints: tuple[tuple[int, float], ...] = ()
    """The steps of a training behind which it could have been ended, and the loss there on validation families."""

    @property
    def label(self) -> str:
        """Of its row."""
        return "Policy alone" if self.name == UNDEFENDED else LABELS[self.name]

    @property
    def answers_anew(self) -> bool:
        """Whether its answers can differ from those of the policy alone."""
        return self.name != "grace_a" and self.guard is None


def arms(context: GraceContext) -> list[Arm]:
    """The policy alone and every defence that was asked for."""
    taught = context.taught
    found = [Arm(UNDEFENDED, taught.model, **_cost(taught))]
    for name in context.config.arms:
        if name in _WAYS:
            found.append(_steered(context, name))
        elif name == "probe":
            found.append(_probe(context))
        elif name == "grace_a":
            found.append(_pooler(context))
        else:
            found.append(_trained(context, name))
    return found


def objective(context: GraceContext, name: str) -> TripleObjective:
    """What a defence with a LoRA trains."""
    model, lora, beta = context.policy, context.lora(context.config.epochs), context.config.beta
    if name == "sft":
        return RefusalObjective.on(model, lora)
    if name == "dpo":
        return replace(DpoObjective.on(model, lora), beta=beta)
    if name in ("grace_b", *FURTHER, *ABLATIONS):
        found = _grace(model, lora, whole=name in FURTHER)
        found = replace(found, beta=beta, observes=profiled_sites(found, model.n_layers))
        if name == "grace_b_random_layers":
            moved = GraceObjective.on(model, replace(lora, layers=_random_layers(context)))
            reached = tuple(site for site in found.observes if site.layer >= moved.site.layer)
            found = replace(found, site=moved.site, sites=moved.sites, shapes=moved.shapes, observes=reached)
        return replace(found, **_WITHOUT.get(name, {}))
    if name == "circuit_breakers":
        recipe = replace(BREAKING_LORA.recipe, epochs=context.config.epochs, seed=context.seed)
        found = CircuitBreakerObjective.on(model, replace(BREAKING_LORA, recipe=recipe))
        return replace(found, observes=sites_at(model, 1 / 3, 2 / 3))
    found = LatentAdversarialObjective.on(model, lora)
    return replace(found, attacked=sites_at(model, 0.4, 0.6), steps=1)


def _grace(model: Model, lora: LoRA, *, whole: bool) -> GraceObjective:
    """With a LoRA, or with the weights themselves of the same blocks."""
    if not whole:
        return GraceObjective.on(model, lora)
    return FullGraceObjective.on(model, replace(lora, recipe=replace(lora.recipe, learning_rate=FULL_RATE)))


_WITHOUT: dict[str, dict[str, Any]] = {
    "grace_b_no_preference": {"preferring": 0.0},
    "grace_b_no_separation": {"separating": 0.0},
    "grace_b_no_cohesion": {"drawing": 0.0},
    "grace_b_frozen_profile": {"frozen_profile": True},
}
"""What each ablation of GRACE B changes in its objective."""


def _random_layers(context: GraceContext) -> tuple[int, ...]:
    """As many as the LoRA has, of its own scale of layers, drawn by the seed."""
    return tuple(sorted(random.Random(context.seed).sample(range(LORA.of_layers), len(LORA.layers))))


def _trained(context: GraceContext, name: str) -> Arm:
    wanted = objective(context, name)
    data = context.triples_and_general if name == "circuit_breakers" else context.triples
    found = context.trained(name, LABELS[name], wanted, data, context.start)
    profile = tuple(found.facts["profile"])
    return Arm(
        name,
        found.model,
        profile=profile,
        first=wanted.observes[0].layer if profile else 0,
        **_cost(found),
    )


def _cost(found: TrainedModel) -> dict[str, Any]:
    """What a training cost, and which of its checkpoints was chosen."""
    facts = {name: found.facts[name] for name in ("seconds", "parameters")}
    return facts | {
        "chosen": found.chosen,
        "checkpoints": tuple((step, loss) for step, loss in found.facts["choosing"]),
    }


def pooler_objective(context: GraceContext) -> PoolerObjective:
    """What GRACE as published trains: three passes for each one of a LoRA."""
    config = context.config
    recipe = TrainingConfig(3 * config.epochs, config.batch_size, 1e-2, weight_decay=1e-5, seed=context.seed)
    return PoolerObjective.of(context.policy, recipe)


def _pooler(context: GraceContext) -> Arm:
    """GRACE as published: the model itself does not change, so that neither do its answers."""
    wanted = pooler_objective(context)

    def train_pooler() -> dict[str, Any]:
        start = training_clock(context.start)
        found = train_to_end(wanted, context.triples, context.start)
        return {
            "seconds": training_clock(context.start) - start,
            "losses": found.losses,
            "parameters": sum(each.numel() for each in found.parameters.values()),
            "profile": layer_profile(wanted, found.parameters),
        }

    inputs = context.inputs(context.policy, wanted, context.triples)
    facts = context.unit("training/grace_a", inputs, train_pooler)
    return Arm(
        "grace_a",
        context.policy,
        seconds=facts["seconds"],
        parameters=facts["parameters"],
        profile=tuple(facts["profile"]),
    )


def _steered(context: GraceContext, name: str) -> Arm:
    """Edits along the difference in means of forbidden and allowed prompts; where and how is chosen."""
    model, read, start = context.policy, context.prompts_read, clock().cpu
    ways: list[list[tuple[str, Edit]]] = []
    for at, site in enumerate(read.sites):
        means = [side[at].mean(0) for side in read.learnt]
        found = _WAYS[name](site, means[0] - means[1], read.learnt[0][at], [side[at] for side in read.held])
        ways.append([(f"block {site.layer}, {way}", edit) for way, edit in found])
    edits = dict(chain.from_iterable(zip(*ways, strict=True)))  # the gentlest first, at every site

    def choose() -> dict[str, Any]:
        return {
            "chosen": best_edit(model, edits, context.choosing, context.judge),
            "seconds": read.seconds + clock().cpu - start,
        }

    tried = [list(DEPTHS), list(edits), [*map(list, _ROUNDS)], *map(list, context.choosing)]
    inputs = context.inputs(model, tried, context.triples) | {"judge": context.judge.VERSION}
    facts = context.unit(f"training/{name}", inputs, choose)
    chosen = facts["chosen"]
    return Arm(name, model, (edits[chosen],), seconds=facts["seconds"], parameters=model.d_model, chosen=chosen)


def best_edit(model: Model, edits: Mapping[str, Edit], sides: Sequence[Sequence[str]], judge: PolicyJudge) -> str:
    """The name of the edit under which forbidden prompts are refused most, and allowed ones least often.

    `sides` are forbidden and allowed prompts. Of edits that are equally good it is the first, so that they should
    come with the gentlest in front. All are tried on few prompts, the best of them on more (_ROUNDS).
    """
    refused: dict[str, list[list[bool]]] = {name: [[] for _ in sides] for name in edits}

    def loss(name: str) -> float:
        forbidden, allowed = map(np.mean, refused[name])
        return float(allowed - forbidden)

    left, asked = [*edits], 0
    for n_prompts, n_left in _ROUNDS:
        for name in left:
            for known, side in zip(refused[name], sides, strict=True):
                known += _refusals(model, edits[name], side[asked:n_prompts], judge)
        left, asked = sorted(left, key=loss)[:n_left], n_prompts
    return left[0]


Ways = Iterator[tuple[str, Edit]]


def _added(site: Site, difference: Tensor, forbidden: Tensor, held: Sequence[Tensor]) -> Ways:
    """Everywhere, whatever is asked."""
    for strength in STRENGTHS:
        yield f"{strength:g} times the difference", Add(site=site, direction=difference, strength=strength)


def _conditional(site: Site, difference: Tensor, forbidden: Tensor, held: Sequence[Tensor]) -> Ways:
    """Only in rows whose prompt lies on the forbidden side of a threshold, chosen on validation prompts."""
    along = torch.nn.functional.normalize(difference, dim=0)
    met = torch.arange(sum(map(len, held))) < len(held[0])
    found = best_condition(torch.cat([*held]).double() @ along.double(), met)
    if found is None:
        raise ValueError(f"no condition can be found at {site}: all validation prompts look alike there")
    gate = Gate(site=site, direction=along, threshold=found.threshold, pool="last", below=found.comparator == "below")
    for strength in STRENGTHS:
        edit = Add(site=site, direction=difference, strength=strength, gate=gate)
        yield f"{strength:g} times the difference where the prompt lies {found.comparator} {found.threshold:.3g}", edit


def _capped(site: Site, difference: Tensor, forbidden: Tensor, held: Sequence[Tensor]) -> Ways:
    """No state has less of the direction than a share of the forbidden prompts has."""
    along = torch.nn.functional.normalize(difference, dim=0)
    for share in FLOORS:
        floor = float(torch.quantile(forbidden @ along, share))
        edit = Clamp(site=site, direction=along, target=floor, bound="at_least")
        yield f"a floor at the {100 * share:.0f}th percentile of forbidden prompts", edit


_WAYS: dict[str, Callable[[Site, Tensor, Tensor, Sequence[Tensor]], Ways]] = {
    "direction": _added,
    "conditional": _conditional,
    "capping": _capped,
}
"""By arm, the edits that are tried at a site: from the difference, the forbidden prompts' states, and held-out ones."""


def _refusals(model: Model, edit: Edit, prompts: Sequence[str], judge: PolicyJudge) -> list[bool]:
    """Which prompts' answers begin with a refusal."""
    written = model.generate(prompts, edits=edit, sampling=Sampling(_FIRST), chat=True) if prompts else []
    return [judge.judge(answer.text, "") == "refusal" for answer in written]


def _probe(context: GraceContext) -> Arm:
    """Logistic regression on the prompt's last state: what it calls forbidden is refused, and no model is asked."""
    model, read, start = context.policy, context.prompts_read, clock().cpu
    fitted = []
    for at, site in enumerate(read.sites):
        (x, y), (x_held, y_held) = (_labelled(*(side[at] for side in sides)) for sides in (read.learnt, read.held))
        for C in (1e-3, 1e-2, 1e-1):
            reader = make_pipeline(StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=500))
            right = reader.fit(x, y).predict(x_held) == y_held
            fitted.append((float(right[y_held].mean() + right[~y_held].mean()) / 2, site, C, reader))
    score, site, C, reader = max(fitted, key=lambda one: one[0])
    took = read.seconds + clock().cpu - start
    inputs = context.inputs(model, [list(DEPTHS), *map(list, context.choosing)], context.triples)

    return Arm(
        "probe",
        model,
        guard=PromptGuard.of(site, reader, model.d_model),
        seconds=context.unit("training/probe", inputs, lambda: {"seconds": took})["seconds"],
        parameters=model.d_model + 1,
        chosen=f"block {site.layer}, C {C:g}, balanced accuracy {score:.2f} on validation families",
    )


def _labelled(forbidden: Tensor, allowed: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return torch.cat([forbidden, allowed]).numpy(), np.arange(len(forbidden) + len(allowed)) < len(forbidden)
