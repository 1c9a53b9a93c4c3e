"""The report's first sentence: whether the dictionary beats what has learnt nothing."""

from experiments.sae.results import Results
from workbench.report.estimate import Estimate
from workbench.text import listed, number

BETTER = {"loss_recovered": "cross-entropy recovered", "explained_variance": "variance explained"}


def verdict(results: Results) -> str:
    """At the first level, against random and principal directions with as many active latents; and few latents alone."""
    level = results.config.levels[0]
    ours = results.of(results.config.architecture, level)
    others = {name: results.of(name, level) for name in ("random", "pca")}
    if ours is None or None in others.values():
        return ""
    l0 = Estimate.of(ours.numbers["l0"])
    said = []
    for metric, words in BETTER.items():
        mine = Estimate.of(ours.numbers[metric])
        theirs = {name: Estimate.of(one.numbers[metric]) for name, one in others.items() if one is not None}
        if mine is None or None in theirs.values():
            continue
        best = max((one for one in theirs.values() if one is not None), key=lambda one: one.value)
        clear = mine.reach[0] > best.reach[1]
        numbers = listed(
            [f"{number(one.value, 2)} of {NAMES[name]}" for name, one in theirs.items() if one is not None]
        )
        said.append(
            f"{words} {number(mine.value, 2)} against {numbers}{'' if clear else ', which is not clearly more'}"
        )
    told = _probing(results, level)
    active = "" if l0 is None else f" with {number(l0.value)} of {results.config.latents} latents active"
    return f"On held-out text the dictionary,{active}, has {'; '.join(said)}.{told}"


NAMES = {"random": "random directions", "pca": "principal components"}


def _probing(results: Results, level: float) -> str:
    ours = results.of(results.config.architecture, level)
    mine = None if ours is None else results.probes(ours.fit.title)
    state = results.probes("coordinates of the state")
    if mine is None or state is None:
        return ""
    one, other = mine.interval(1).value, state.interval(1).value
    if one is None or other is None:
        return ""
    return (
        f" One latent tells a concept with a mean AUROC of {number(one, 2)}, one coordinate of the state with "
        f"{number(other, 2)}."
    )
