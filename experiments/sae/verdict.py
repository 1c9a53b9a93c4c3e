"""What the report says in words: whether the dictionary beats what has learnt nothing."""

from collections.abc import Iterable, Sequence

from experiments.sae.measure import Quality
from experiments.sae.probing import COORDINATES
from experiments.sae.results import DictionaryResults
from workbench.evaluation.intervals import Interval
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
    said = against(None if one is None else one.interval(metric) for one in found)
    return f"{BETTER[metric]} {said}" if said else ""


def against(found: Iterable[Interval | None]) -> str:
    """A dictionary's number, which comes first, against those of NAMES, more being better; empty where one is missing.

    Clearly more is an interval that lies above theirs; where one has none, nothing is clear.
    """
    numbers = [Estimate.of(one) for one in found]
    there = [one for one in numbers if one is not None]
    if len(there) < len(numbers):
        return ""
    ours, *others = there
    theirs = listed([f"{number(one.value, 2)} of {name}" for one, name in zip(others, NAMES.values(), strict=True)])
    clear = all(one.low is not None for one in there) and ours.reach[0] > max(one.reach[1] for one in others)
    unclear = "" if clear else ", which is not clearly more"
    return f"{number(ours.value, 2)} against {theirs}{unclear}"


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
