"""What each defence does: its answers judged, its side effect on neutral text, and where its states lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.grace import adaptive
from experiments.grace.arms import Arm
from experiments.grace.context import UNDEFENDED, GraceContext
from experiments.grace.outcomes import REFUSED, AnswersByGroup, inputs_of
from experiments.grace.steered import SteeringTask
from probes.geometry.avqi import avqi, avqi_intervals, cluster_indices
from steering.function_vectors.prompts import AnswerScores, Shown, encode_shown
from steering.grace.attacks import HELD_OUT
from steering.grace.objectives import pooled_states
from steering.grace.pooling import scales
from workbench.data.dataset import Dataset
from workbench.data.items import numbered
from workbench.data.packaged import neutral
from workbench.data.safety import ROLES, TRIPLES, Triple, safety_dataset
from workbench.data.templates import Template
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.files import JSON, digest, plain


@dataclass(frozen=True, eq=False)
class MeasuredDefence:
    """What was measured of one defence."""

    arm: Arm
    answers: AnswersByGroup
    kl: list[float]
    """KL(policy || defence) of the next token, in nats: the mean of each neutral text."""
    loss: list[float]
    """Mean nll of a token of each neutral text."""
    in_context: list[float]
    """1 for each in-context question that is let through, and whose answer's first token is the likeliest one."""
    neutral_refused: list[float]
    """1 for each neutral text that is refused as a prompt, in which case its KL and loss are those of the policy."""
    separation: dict[str, dict[str, list[float | None]]]
    """AVQI and its parts of states pooled by the plain mean over layers and, where there is one, by the learnt profile:
    value, low and high of each metric. Empty for defences without states of their own."""
    layers: dict[str, list[float]]
    """Both forms of AVQI at every layer."""
    indices: dict[str, float]
    """Silhouette, Calinski-Harabasz and Xie-Beni of the plain mean."""
    steering: list[float]
    """The score of each concept that it is steered towards, 0 to 2; empty where none is."""


def ask(context: GraceContext, arm: Arm, before: AnswersByGroup | None) -> AnswersByGroup:
    """Every family and every kind of benign request, answered and judged; `before` are the undefended answers."""
    if not arm.answers_anew and arm.guard is None:
        assert before is not None
        return before
    groups = _groups(context)
    if arm.guard is None:
        found = _answers(context, arm, groups)
    else:
        assert before is not None
        found = _screened(context, arm, groups, before)
    return found | (adaptive.attack(context, arm) if context.config.adaptive else {})


def untaught(context: GraceContext) -> AnswersByGroup:
    """Direct and plain benign requests, answered by the model before it learnt the policy."""
    groups = {name: group for name, group in _groups(context).items() if name in ("direct", "plain")}
    return _answers(context, Arm("untaught", context.model), groups)


def _answers(context: GraceContext, arm: Arm, groups: Mapping[str, Sequence[tuple[str, str]]]) -> AnswersByGroup:
    """Texts, generated once, and what the judge says of them."""
    prompts = [prompt for group in groups.values() for prompt, _ in group]
    sampling = Sampling(context.config.max_new_tokens)

    def answer() -> list[str]:
        written = arm.model.generate(prompts, edits=arm.edits, sampling=sampling, chat=True, failures="keep")
        return [one.text for one in written]

    inputs = inputs_of(context, arm) | {"asked": digest(prompts), "tokens": sampling.max_new_tokens}
    texts = iter(context.unit(f"answers/{arm.name}", inputs, answer))
    return {
        name: [(context.judge.judge(text, request), text) for (_, request), text in zip(group, texts, strict=False)]
        for name, group in groups.items()
    }


def _groups(context: GraceContext) -> dict[str, list[tuple[str, str]]]:
    """Prompts, each with what it asks for beneath its disguise."""
    attacks = {name: [(one.prompt, one.request) for one in triples] for name, triples in context.judged.items()}
    as_they_are = context.benign["plain"]
    benign = {
        name: [(one.prompt, own.prompt) for one, own in zip(asked, as_they_are, strict=True)]
        for name, asked in context.benign.items()
    }
    return attacks | benign


def _screened(
    context: GraceContext, arm: Arm, groups: dict[str, list[tuple[str, str]]], before: AnswersByGroup
) -> AnswersByGroup:
    """The undefended answers, but where the defence refuses."""
    refused = iter(_refused(context, arm, "asked", [prompt for group in groups.values() for prompt, _ in group]))
    return {
        name: [("refusal", REFUSED) if no else answer for answer, no in zip(before[name], refused, strict=False)]
        for name in groups
    }


def _refused(context: GraceContext, arm: Arm, what: str, prompts: Sequence[str]) -> list[bool]:
    """Which prompts the defence's probe refuses."""
    guard = arm.guard
    assert guard is not None
    inputs = inputs_of(context, arm) | {"guard": guard.digest, "prompts": digest([*prompts])}
    return context.unit(f"refused/{arm.name}/{what}", inputs, lambda: guard.refuses(arm.model, prompts))


def measure(
    context: GraceContext, arm: Arm, task: SteeringTask | None, before: MeasuredDefence | None
) -> MeasuredDefence:
    """Everything about one defence, a unit each; `before` is the policy alone, with which some share their answers."""
    answers = ask(context, arm, before.answers if before else None)
    shared = before is not None and not arm.answers_anew
    steering = before.steering if before and shared else task.scores(arm) if task else []
    inputs, shown, texts = inputs_of(context, arm), context.demonstrated, _neutral_texts(context.config.neutral)
    if before is not None and shared:
        kl, loss, right = before.kl, before.loss, before.in_context
    else:
        asked = {**inputs, "policy": context.policy.digest, "texts": digest(texts)}
        side = context.unit(f"neutral/{arm.name}", asked, lambda: _side_effect(context, arm))
        asked = {**inputs, "asked": plain(shown), "version": 2}
        kl, loss = side["kl"], side["loss"]
        right = context.unit(f"in_context/{arm.name}", asked, lambda: _in_context(arm, shown))
    if arm.guard is not None:
        prompts = [Template().prompt(one.demonstrations, one.query[0]) for one in shown]
        right = [value * (not no) for value, no in zip(right, _refused(context, arm, "shown", prompts), strict=True)]
        refused = [float(no) for no in _refused(context, arm, "neutral", texts)]
        return MeasuredDefence(arm, answers, kl, loss, right, refused, {}, {}, {}, steering)
    apart = context.unit(
        f"separation/{arm.name}",
        {
            **inputs,
            "profile": list(arm.profile),
            "asked": _held_out(context).digest,
            "draws": context.config.draws,
            "version": 2,
        },
        lambda: _separation(context, arm),
    )
    let_through = [0.0] * len(texts)
    return MeasuredDefence(arm, answers, kl, loss, right, let_through, **apart, steering=steering)


def _in_context(arm: Arm, shown: Sequence[Shown]) -> list[float]:
    prompts = encode_shown(arm.model, Template(), shown)
    with arm.model.edited(arm.edits):
        return AnswerScores.of(arm.model.next_logits(prompts.tokens), prompts.target).correct.tolist()


def _neutral_texts(n: int) -> list[str]:
    """Packaged texts of no concept, of evaluation: those of prose, then code and mathematics."""
    found = [item for item, split in neutral() if split == "evaluation"]
    return [item.response for item in sorted(found, key=lambda item: item.genre != "text")[:n]]


def _side_effect(context: GraceContext, arm: Arm) -> dict[str, JSON]:
    texts = _neutral_texts(context.config.neutral)
    kl, loss = [], []
    for text in texts:
        tokens = context.policy.tokenize([text])
        own = _log_p(context.policy, tokens)
        with arm.model.edited(arm.edits):
            moved = _log_p(arm.model, tokens)
        kl.append(float((own.exp() * (own - moved)).sum(-1).mean()))
        target = torch.tensor(tokens.rows[0].ids[1:])
        loss.append(float(-moved[:-1].gather(1, target[:, None]).mean()))
    return {"kl": kl, "loss": loss}


def _log_p(model: Model, tokens: Tokens) -> Float[Tensor, "pos vocab"]:
    return model.logits(tokens)[0].float().log_softmax(-1)


def held_out_triples(context: GraceContext) -> list[Triple]:
    """Those whose states are read: of each held-out family every second request, so that each wears two or three."""
    return [*chain.from_iterable(context.judged[family][at % 2 :: 2] for at, family in enumerate(HELD_OUT))]


def _held_out(context: GraceContext) -> Dataset:
    return safety_dataset("held-out", held_out_triples(context))


def held_out_states(context: GraceContext, arm: Arm) -> Float[Tensor, "role triple layer d"]:
    """Pooled states of the evaluation triples of the held-out families, at every block.

    Those of the policy and of GRACE B, which are asked for again, are kept.
    """
    key = digest(inputs_of(context, arm))
    found = context.states.get(key)
    if found is None:
        found = _held_out_states(context, arm)
        if arm.name in (UNDEFENDED, "grace_b"):
            context.states[key] = found
    return found


def _held_out_states(context: GraceContext, arm: Arm) -> Float[Tensor, "role triple layer d"]:
    data = _held_out(context)
    sites = tuple(map(Site, range(arm.model.n_layers)))
    with arm.model.edited(arm.edits):
        pooled = pooled_states(arm.model, arm.model.encode(data.conversations), sites)
    return pooled[torch.from_numpy(data.relation(TRIPLES).members.copy())].transpose(0, 1)


def _separation(context: GraceContext, arm: Arm) -> dict[str, JSON]:
    states = held_out_states(context, arm)
    group = numbered([triple.request for triple in held_out_triples(context)])
    unit = scales(states.flatten(0, 1))
    scaled = states / unit[:, None]
    ways = {"mean": scaled.mean(2)}
    if arm.profile:
        own = scaled[:, :, arm.first :]
        ways["profile"] = torch.einsum("l,rtld->rtd", torch.tensor(arm.profile), own)
    found: dict[str, JSON] = {}
    for name, pooled in ways.items():
        [each] = avqi_intervals(dict(zip(ROLES, pooled, strict=True)), group, draws=context.config.draws)
        found[name] = {metric: [one.value, one.low, one.high] for metric, one in each.items()}
    per_layer = avqi({role: each.transpose(0, 1) for role, each in zip(ROLES, states, strict=True)})
    return {
        "separation": found,
        "layers": {form: [getattr(one, form) for one in per_layer] for form in ("paper", "two_cluster")},
        "indices": cluster_indices(dict(zip(ROLES, ways["mean"], strict=True))),
    }


def projections(context: GraceContext, before: Arm, after: Arm) -> dict[str, list[tuple[str, str, float, float]]]:
    """Centroids of role and family in two dimensions, before and after: role, family, and place.

    The plane is that of the first two principal components of the states before, pooled over layers; units are the
    spread of each layer before.
    """
    inputs = {
        "before": before.model.digest,
        "after": after.model.digest,
        "asked": _held_out(context).digest,
        "version": 2,
    }
    found = context.unit("projections", inputs, lambda: _projected(context, before, after))
    places = [(role, family) for role in ROLES for family in dict.fromkeys(_families(context))]
    return {when: [(*place, x, y) for place, (x, y) in zip(places, each, strict=True)] for when, each in found.items()}


def _projected(context: GraceContext, before: Arm, after: Arm) -> dict[str, JSON]:
    states = [held_out_states(context, arm) for arm in (before, after)]
    unit = scales(states[0].flatten(0, 1))
    pooled = [(each / unit[:, None]).mean(2) for each in states]
    centre = pooled[0].flatten(0, 1).mean(0)
    plane = torch.linalg.svd(pooled[0].flatten(0, 1) - centre, full_matrices=False).Vh[:2]
    family = np.array(_families(context))
    return {
        when: [
            ((own[family == name] - centre) @ plane.T).mean(0).tolist()
            for own in each
            for name in dict.fromkeys(family)
        ]
        for when, each in zip(("before", "after"), pooled, strict=True)
    }


def _families(context: GraceContext) -> list[str]:
    return [triple.family for triple in held_out_triples(context)]
