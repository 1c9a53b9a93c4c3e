"""How much of a dictionary is found again by another seed, and by chance."""

from dataclasses import asdict

from experiments.sae.fitting import FittedDictionary
from probes.sae.evaluation import Agreement, agreement


def measure_agreement(fits: list[FittedDictionary]) -> list[tuple[FittedDictionary, FittedDictionary, Agreement]]:
    """Stage: dictionaries of two seeds with each other, and the first of them with random directions, as chance has it.

    Without a second seed there is nothing to compare.
    """
    seeds = [fit for fit in fits if fit.trained and not fit.source.random]
    pairs = [(one, other) for one in seeds for other in seeds if one.level == other.level and one.seed < other.seed]
    random = {fit.level: fit for fit in fits if fit.method == "random"}
    chance = [(one, random[one.level]) for one in dict.fromkeys(one for one, _ in pairs) if one.level in random]
    return [(one, other, _agreement(one, other)) for one, other in (*pairs, *chance)]


def _agreement(one: FittedDictionary, other: FittedDictionary) -> Agreement:
    inputs = {"one": one.dictionary.content_digest, "other": other.dictionary.content_digest, "version": 1}
    name = f"agreement/{one.title} and {other.title}"
    stored = one.source.run.unit(name, inputs, lambda: asdict(agreement(one.dictionary, other.dictionary)))
    return Agreement(**stored)
