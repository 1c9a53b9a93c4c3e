"""Facts about countries in latents: whether exchanging some changes one fact and leaves the others (RAVEL)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from experiments.sae.fitting import FittedDictionary
from experiments.sae.probing import WHOLE
from probes.sae.interchange import EntityAttribute, KnownEntities, cause_and_isolation, known_entities
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.data.in_context import in_context_tasks
from workbench.data.word_pairs import pairs_of
from workbench.evaluation.intervals import Interval, bootstrap
from workbench.runs.files import digest

PROMPTS = {
    "country-capital": "The capital of {} is",
    "country-demonym": "A person from {} is",
    "country-continent": "The continent of {} is",
}
"""By packaged task, how the model is asked."""

EXAMPLES = ("Italy", "Egypt", "Japan", "Peru")
"""Countries that stand with their answers in front of each prompt, and are asked about in none."""

EXCHANGED = (10, 50, 500)
"""Latents that are exchanged; with hundreds, all that are active."""


@dataclass(frozen=True)
class ExchangedFacts:
    """What exchanging latents of a fact did."""

    name: str
    n_asked: int
    n_known: int
    """Countries about which all facts are known; half of them are exchanged."""
    cause: dict[int, list[list[float]]]
    """By how many latents, for each fact and pair of countries: 1 where its answer followed. 0 stands for all."""
    isolation: dict[int, list[list[float]]]
    """The share of the other facts that stayed."""

    def interval(self, what: str, count: int) -> Interval:
        """The mean over pairs of `cause`, `isolation`, or their mean, which RAVEL calls `disentangled`."""
        cause, isolation = (np.array(each[count]).mean(0) for each in (self.cause, self.isolation))  # [pair]
        values = {"cause": cause, "isolation": isolation, "disentangled": (cause + isolation) / 2}[what]
        return bootstrap(values, bounds=(0.0, 1.0))


def country_facts() -> list[EntityAttribute]:
    """The packaged facts, each with its examples in front."""
    data = in_context_tasks("packaged")
    facts = []
    for task, prompt in PROMPTS.items():
        answers = dict(pairs_of(data, data.relation(task)))
        shown = "".join(f"{prompt.format(name)} {answers.pop(name)}.\n" for name in EXAMPLES)
        before, after = prompt.split("{}")
        facts.append(EntityAttribute(task, shown + before, after, {name: f" {each}" for name, each in answers.items()}))
    return facts


def exchange_facts(fits: Sequence[FittedDictionary]) -> list[ExchangedFacts]:
    """Stage: cause and isolation for each dictionary of the model itself, and for its whole state, a unit each.

    Without numbers where the model knows too few facts to make a pair of countries.
    """
    mine = [fit for fit in fits if not fit.source.random]
    source, facts = mine[0].source, country_facts()
    known = cache(lambda: known_entities(source.model, source.site, facts))
    asked = digest([[one.name, one.before, one.after, [*one.answers.items()]] for one in facts])

    def measured(name: str, dictionary: SparseAutoencoder | None) -> ExchangedFacts:
        features = "none" if dictionary is None else dictionary.content_digest
        inputs = source.inputs(features=features, facts=asked, counts=list(EXCHANGED), version=1)
        stored = source.run.unit(f"exchange/{name}", inputs, lambda: _measured(known(), dictionary))
        by_count = {int(count): found for count, found in stored["found"].items()}
        cause, isolation = ({count: one[what] for count, one in by_count.items()} for what in ("cause", "isolation"))
        return ExchangedFacts(name, stored["n_asked"], stored["n_known"], cause, isolation)

    return [*(measured(fit.title, fit.dictionary) for fit in mine), measured(WHOLE, None)]


def _measured(known: KnownEntities, dictionary: SparseAutoencoder | None) -> dict[str, object]:
    found = cause_and_isolation(known, dictionary, EXCHANGED) if len(known.pairs) else {}
    return {
        "n_asked": known.n_asked,
        "n_known": len(known.names),
        "found": {str(count): asdict(one) for count, one in found.items()},
    }
