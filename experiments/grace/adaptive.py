"""Attacks that know the defence they attack, as its owner does: its weights, its edits and its probe."""

from collections.abc import Sequence

from experiments.grace.arms import Arm
from experiments.grace.context import GraceContext
from experiments.grace.outcomes import REFUSED, AnswersByGroup, inputs_of
from steering.grace.searched import LatentPush, SoftSuffix, SuffixSearch
from workbench.data.safety import Triple
from workbench.models.edits import Edit
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.runs.files import JSON, digest, plain

SUFFIX = SuffixSearch(length=8, steps=12, top=32, candidates=16)
DEPTH, RADIUS, STEPS = 0.2, 0.3, 8
"""Where the latent push is added, as a share of the depth (below every probe), how far and in how many steps."""
SOFT = SoftSuffix()


def attack(context: GraceContext, arm: Arm) -> AnswersByGroup:
    """Direct requests under what was searched on this defence, answered and judged: suffixes, embeddings, pushes.

    All look for what makes the complying answer of the direct request likely, and pass its probe where it has one.
    """
    asked = context.attack(context.forbidden("evaluation", context.config.adaptive), ["direct"])
    inputs = inputs_of(context, arm) | {"tokens": context.config.max_new_tokens}
    if arm.guard is not None:
        inputs |= {"guard": arm.guard.digest}
    suffixed = [
        context.unit(
            f"suffix/{arm.name}/{k}",
            inputs | _asked([one], SUFFIX),
            lambda one=one: _with_suffix(context, arm, one),
        )
        for k, one in enumerate(asked)
    ]
    push = LatentPush(Site.at_depth(DEPTH, arm.model.n_layers), RADIUS, STEPS)
    pushed = context.unit(
        f"latent/{arm.name}", inputs | _asked(asked, push), lambda: _pushed(context, arm, asked, push)
    )
    embedded = context.unit(
        f"embedding/{arm.name}", inputs | _asked(asked, SOFT), lambda: _embedded(context, arm, asked)
    )
    return {
        name: [(context.judge.judge(text, one.request), text) for one, text in zip(asked, texts, strict=True)]
        for name, texts in (("suffix", suffixed), ("embedding", embedded), ("latent", pushed))
    }


def _asked(asked: Sequence[Triple], search: LatentPush | SoftSuffix | SuffixSearch) -> dict[str, JSON]:
    return {"asked": digest([[one.prompt, one.jailbreak] for one in asked]), "search": plain(search), "version": 1}


def _with_suffix(context: GraceContext, arm: Arm, one: Triple) -> str:
    with arm.model.edited(arm.edits):
        prompt, _ = SUFFIX.find(arm.model, one.prompt, one.jailbreak, arm.guard)
    return _answers(context, arm, [prompt], arm.edits)[0]


def _pushed(context: GraceContext, arm: Arm, asked: Sequence[Triple], push: LatentPush) -> list[str]:
    prompts = [one.prompt for one in asked]
    with arm.model.edited(arm.edits):
        found = push.find(arm.model, prompts, [one.jailbreak for one in asked], arm.guard)
    return _answers(context, arm, prompts, (*arm.edits, found))


def _embedded(context: GraceContext, arm: Arm, asked: Sequence[Triple]) -> list[str]:
    with arm.model.edited(arm.edits):
        found = SOFT.find(arm.model, [one.prompt for one in asked], [one.jailbreak for one in asked], arm.guard)
    return _answers(context, arm, [SOFT.suffixed(one.prompt) for one in asked], (*found, *arm.edits))


def _answers(context: GraceContext, arm: Arm, prompts: Sequence[str], edits: tuple[Edit, ...]) -> list[str]:
    written = arm.model.generate(
        prompts, edits=edits, sampling=Sampling(context.config.max_new_tokens), chat=True, failures="keep"
    )
    texts = [one.text for one in written]
    if arm.guard is None:
        return texts
    with arm.model.edited(edits):
        refused = arm.guard.refuses(arm.model, prompts)
    return [REFUSED if no else text for no, text in zip(refused, texts, strict=True)]
