"""Erasing the concepts of a set: what readers still find in the texts' states, and what the live model loses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import torch
from jaxtyping import Float64
from torch import Tensor

from experiments.erasure.config import METHODS, NAME, Config
from experiments.erasure.methods import fit_compared
from experiments.erasure.readers import Parts, SplitStates, accuracy, clusters, edit_share, fresh, linear, network
from experiments.options import note_model
from steering.erasure.amnesic import effects
from steering.erasure.debias import WordVectors
from steering.erasure.projection import random_erasers
from workbench.artifacts.eraser import ConceptEraser, Eraser
from workbench.data.dataset import Dataset
from workbench.data.items import SPLITS, DataError, Label, Split
from workbench.data.states import States
from workbench.evaluation.summary import LINEAR, SHARE, MeanKind, Number, average_numbers, rows_of
from workbench.methods.fitting import mean_states
from workbench.models.cache import cache_root
from workbench.models.model import Model
from workbench.models.sites import Site
from workbench.models.tokens import Row as TokenRow
from workbench.models.tokens import Tokens
from workbench.runs.files import JSON, copy_file, digest
from workbench.runs.progress import progress
from workbench.runs.rows import Row
from workbench.runs.run import Run

Values = dict[str, dict[str, float]]
"""Metric by metric, then method by method; `none` is the untouched state, `random` is said in the metric's name."""
KINDS = {
    **dict.fromkeys(("linear", "fresh", "network", "others"), SHARE),
    "clusters": MeanKind((-0.5, 1.0)),  # an adjusted Rand index
    **dict.fromkeys(("rank", "edit"), LINEAR),
    **{
        f"{whose}{metric}.{texts}": kind
        for whose in ("", "random.")
        for metric, kind in (("kl", LINEAR), ("loss", LINEAR), ("top1", MeanKind((-1.0, 1.0))))
        for texts in ("carriers", "neutral")
    },
}
"""What is known of every metric."""


@dataclass(frozen=True, eq=False)
class ErasureContext:
    """The run with its model, and the states of all texts, read when they are first needed."""

    config: Config
    run: Run
    model: Model
    concepts: Dataset

    @classmethod
    def of(cls, config: Config, run: Run) -> "ErasureContext":
        """Load what the configuration names, the model last. Raises ValueError for word vectors that cannot be read."""
        concepts = config.load_concepts()
        if config.vectors != "model":
            WordVectors.read(config.vectors, config.vocabulary)
        model = config.load_model()
        note_model(run, model)
        return cls(config, run, model, concepts)

    @property
    def site(self) -> Site:
        """Where concepts are erased."""
        return self.config.site(self.model)

    @cached_property
    def data(self) -> States:
        """The states of all tokens."""
        return States.read(self.concepts, self.model, self.site, store=cache_root() / "activations")

    @cached_property
    def means(self) -> Float64[Tensor, "text d"]:
        """The mean state of each text. Raises DataError for a text without tokens."""
        means = mean_states(self.data.x, self.data.row)
        if len(means) != len(self.concepts.items):
            raise DataError(f"only {len(means)} of {len(self.concepts.items)} texts have tokens")
        return means

    def part(self, concept: str, split: Split) -> SplitStates:
        """The text states of one split of a concept: positives, then negatives; hard negatives are left out."""
        rows = [
            torch.from_numpy(self.concepts.rows(concept, split, label)) for label in (Label.POSITIVE, Label.NEGATIVE)
        ]
        return SplitStates(self.means[torch.cat(rows)], torch.arange(sum(map(len, rows))) < len(rows[0]))

    def parts(self, concept: str) -> Parts:
        """All splits of a concept."""
        return Parts(self.part(concept, "train"), self.part(concept, "validation"), self.part(concept, "evaluation"))

    @property
    def inputs(self) -> dict[str, JSON]:
        """What every unit of the set's concepts depends on: the model and the site."""
        return {**self.model.identity, "site": str(self.site)}

    @cached_property
    def digests(self) -> dict[str, str]:
        """By concept, of its texts in all splits, as `part` takes them."""
        names = [concept.name for concept in self.concepts.targets]
        return {name: self.concepts.digest_of(name, SPLITS) for name in names}


def measure_concepts(context: ErasureContext) -> list[Row]:
    """A row for each concept, method and metric, and their means over concepts with intervals."""
    names = [concept.name for concept in context.concepts.targets]
    before = {name: _before(context, name) for name in names}
    numbers = []
    for name in progress("erasure", names, unit="concept"):
        erasers = {method: _eraser(context, name, method) for method in context.config.methods}
        numbers += [
            Number(method, metric, name, None, value)
            for metric, values in {**_left(context, name, erasers, before), **_lost(context, name, erasers)}.items()
            for method, value in values.items()
        ]
    return rows_of(NAME, context.site.layer, average_numbers(numbers, KINDS))


def _before(context: ErasureContext, concept: str) -> float:
    """What a linear probe finds in the untouched states."""
    inputs = context.inputs | {"items": context.digests[concept], "version": 3}
    return context.run.unit(f"before/{concept}", inputs, lambda: _linear(context.parts(concept)))


def _eraser(context: ErasureContext, concept: str, method: str) -> ConceptEraser:
    """Fitted once, and copied to where a user finds it."""
    inputs = context.inputs | METHODS[method].identity | {"items": context.concepts.digest_of(concept)}
    path = context.run.unit_file(
        f"eraser/{method}/{concept}",
        inputs,
        lambda path: fit_compared(METHODS[method], context.data[concept]).save(path),
        ".safetensors",
    )
    copy_file(path, context.run.artifacts / f"{concept}-{method}.safetensors")
    return ConceptEraser.load(path)


def _left(
    context: ErasureContext, concept: str, erasers: Mapping[str, ConceptEraser], before: Mapping[str, float]
) -> Values:
    """What readers find in the text states, before and after, as a unit."""
    others = digest([found for name, found in context.digests.items() if name != concept])
    inputs = _inputs(context, concept, erasers) | {"others": others}
    return context.run.unit(f"left/{concept}", inputs, lambda: _measured_left(context, concept, erasers, before))


def _lost(context: ErasureContext, concept: str, erasers: Mapping[str, ConceptEraser]) -> Values:
    """What the live model loses, as a unit; its random controls depend on all texts and on the concept's number."""
    inputs = _inputs(context, concept, erasers) | {
        "settings": {name: getattr(context.config, name) for name in ("draws", "texts", "max_tokens")},
        "texts": context.concepts.texts_digest,
        "number": context.concepts.index(concept),
    }
    return context.run.unit(f"lost/{concept}", inputs, lambda: _measured_lost(context, concept, erasers))


def _inputs(context: ErasureContext, concept: str, erasers: Mapping[str, ConceptEraser]) -> dict[str, JSON]:
    """What a measurement of one concept's erasers depends on."""
    found: dict[str, JSON] = {method: eraser.content_digest for method, eraser in erasers.items()}
    return context.inputs | {"items": context.digests[concept], "erasers": found, "version": 3}


def _measured_left(
    context: ErasureContext, concept: str, erasers: Mapping[str, ConceptEraser], before: Mapping[str, float]
) -> Values:
    """What readers find in the text states, before and after."""
    whole = context.parts(concept)
    others = [other.name for other in context.concepts.targets if other.name != concept]
    found: Values = {}

    def put(method: str, **values: float) -> None:
        for metric, value in values.items():
            found.setdefault(metric, {})[method] = value

    put("none", **_readings(whole))
    if others:
        put("none", others=fmean(before[other] for other in others))
    for method, fitted in erasers.items():
        eraser = fitted.eraser
        put(method, **_readings(whole.erased(eraser)), rank=float(eraser.rank), edit=edit_share(whole.test, eraser))
        if others:
            put(method, others=fmean(_linear(context.parts(other).erased(eraser)) for other in others))
    return found


def _readings(parts: Parts) -> dict[str, float]:
    return {
        "linear": _linear(parts),
        "fresh": fresh(parts.test),
        "network": accuracy(network(parts), parts.test.y),
        "clusters": clusters(parts),
    }


def _linear(parts: Parts) -> float:
    return accuracy(linear(parts), parts.test.y)


def _measured_lost(context: ErasureContext, concept: str, erasers: Mapping[str, ConceptEraser]) -> Values:
    """What the live model loses on texts with the concept (`carriers`) and without (`neutral`)."""
    found: Values = {}
    for kind, label in (("carriers", Label.POSITIVE), ("neutral", Label.NEGATIVE)):
        rows = context.concepts.rows(concept, "evaluation", label)[: context.config.texts]
        tokens = _answers(context, [int(row) for row in rows])
        found |= {f"{metric}.{kind}": values for metric, values in _losses(context, concept, tokens, erasers).items()}
    return found


def controls(data: States, concept: str, ranks: Iterable[int], draws: int) -> dict[tuple[int, int], Eraser]:
    """Random erasers of one concept by rank and draw, around the mean of all tokens; every concept draws its own."""
    mean, seed = data.x.double().mean(0), data.dataset.index(concept)
    return {
        (rank, draw): eraser
        for rank in sorted(set(ranks))
        for draw, eraser in enumerate(random_erasers(rank, mean, draws, seed))
    }


def _losses(context: ErasureContext, concept: str, tokens: Tokens, erasers: Mapping[str, ConceptEraser]) -> Values:
    """Mean KL, rise of the loss and fall of top-1 accuracy, of each eraser and of random subspaces of its rank."""
    drawn = controls(context.data, concept, (each.eraser.rank for each in erasers.values()), context.config.draws)
    edits = [each.edit() for each in erasers.values()]
    edits += [control.edit(context.site) for control in drawn.values()]
    before, *after = effects(context.model, tokens, edits)
    changes = [
        {
            "kl": float(effect.kl.mean()),
            "loss": float((effect.loss - before.loss).mean()),
            "top1": float((before.top1 - effect.top1).mean()),
        }
        for effect in after
    ]
    own, random = dict(zip(erasers, changes, strict=False)), dict(zip(drawn, changes[len(erasers) :], strict=True))
    found: Values = {}
    for method, each in erasers.items():
        for metric, value in own[method].items():
            found.setdefault(metric, {})[method] = value
            others = [random[each.eraser.rank, draw][metric] for draw in range(context.config.draws)]
            found.setdefault(f"random.{metric}", {})[method] = fmean(others)
    return found


def _answers(context: ErasureContext, rows: Sequence[int]) -> Tokens:
    """Texts whose responses end after `max_tokens` tokens."""
    tokens = context.model.encode([context.concepts.items[row].conversation for row in rows])
    cut = context.config.max_tokens
    return Tokens(tuple(TokenRow(row.ids[: row.response + cut], row.prefix, row.response) for row in tokens))
