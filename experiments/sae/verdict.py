"""The report's first sentence: whether the dictionary beats what has learnt nothing."""

from collections.abc import Sequence

from experiments.sae.measure import Quality
from experiments.sae.probing import COORDINATES
from experiments.sae.results import DictionaryResults
from workbench.report.estimate import Estimate
from workbench.text import listed, number

BETTER = {"loss_recovered": "cross-entropy recovered", "explained_variance": "variance explained"}


def verdict(results: DictionaryResults) -> str:
    """At the first level, against random and principal directions with as many active latents; and in probes."""
    level = results.config.levels[0]
    found = {method: results.of(method, level) for method in (results.config.architecture, *NAMES)}
    said = [told for metric in BETTER if (told := _compared(list(found.values()), metric))]
    ours = found[results.config.architecture]
    if ours is None or not said:
        return ""
    l0 = Estimate.of(ours.interval("l0"))
    active = "" if l0 is None else f" with {number(l0.value)} of {results.config.latents} latents active"
    return f"On held-out text the dictionary,{active}, has {'; '.join(said)}.{_probing(results, ours.fit.title)}"


def _compared(found: Sequence[Quality | None], metric: str) -> str:
    """The dictionary's number, which comes first, beside those of the baselines; empty where one is missing."""
    numbers = [Estimate.of(one.interval(metric)) for one in found if one is not None]
    there = [one for one in numbers if one is not None]
    if len(there) < len(found):
        return ""
    ours, *others = there
    best = max(others, key=lambda one: one.value)
    theirs = listed([f"{number(one.value, 2)} of {name}" for one, name in zip(others, NAMES.values(), strict=True)])
    unclear = "" if ours.reach[0] > best.reach[1] else ", which is not clearly more"
    return f"{BETTER[metric]} {number(ours.value, 2)} against {theirs}{unclear}"


NAMES = {"random": "random directions", "pca": "principal components"}


def _probing(results: DictionaryResults, title: str) -> str:
    found = [results.probes(name) for name in (title, COORDINATES)]
    one, other = (None if each is None else each.interval(1).value for each in found)
    if one is None or other is None:
        return ""
    return (
        f" One latent tells a concept with a mean AUROC of {number(one, 2)}, one coordinate of the state with "
        f"{number(other, 2)}."
    )
