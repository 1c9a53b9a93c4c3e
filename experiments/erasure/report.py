"""What the erasure experiment tells its readers."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.erasure.concepts import ErasureContext
from experiments.erasure.config import METHODS, PRESETS
from experiments.erasure.verdict import verdict
from experiments.erasure.words import METHODS as BY_WORDS
from experiments.smoke import smoke_banner
from workbench.evaluation.differences import paired_difference
from workbench.report.blocks import Column, HeatMap, Table, paragraphs
from workbench.report.document import Document, Section
from workbench.report.estimate import Estimate
from workbench.runs.rows import Row
from workbench.text import number_of

LABELS = {"none": "Nothing erased"} | {name: one.label for name, one in METHODS.items()}
OF_WORDS = LABELS | {"inlp": "INLP", "hard_debias": "Hard debias"}
LEFT = {
    "linear": "Linear probe, same texts",
    "fresh": "Linear probe, fresh texts",
    "network": "Small network",
    "clusters": "Clusters (Rand)",
    "others": "Other concepts",
    "rank": "Directions",
    "edit": "Edit size",
}
LOST = {
    "kl": "KL",
    "random.kl": "KL, random",
    "loss": "Loss rise",
    "random.loss": "Loss rise, random",
    "top1": "Top-1 fall",
}
WORDS = {name: LEFT[name] for name in ("linear", "fresh", "network", "clusters")} | {
    "direct_bias": "Direct bias",
    "rank": "Directions",
    "edit": "Edit size",
}
KINDS = {"carriers": "texts with the concept", "neutral": "texts without it"}
NOTES = (
    "States are the means over each text's tokens without chat header. LEACE and mean projection learn from tokens, "
    "every text weighing the same; as an affine map commutes with means, this makes the classes' mean texts equal too. "
    "The methods marked 'text means' learn from the mean states.",
    "The linear probe is L2 logistic regression on standardised states, refitted after erasing: on the training texts "
    "that the eraser knows (penalty chosen on validation texts), or on one half of the evaluation texts to judge the "
    "other. The small network has one hidden layer of 64. Both classes count the same: 0.5 is chance. Clusters are "
    "two of k-means on evaluation texts, against the labels: an adjusted Rand index of 0 is chance.",
    "Edit size is the mean squared length of the change over the total variance of the evaluation texts. Other "
    "concepts: mean accuracy of refitted probes for all other concepts.",
    "On the live model the eraser acts on every token but the chat header. KL(untouched || edited) of the next token "
    "and the rise of the loss are in nats, the mean over each response's first tokens. Random is the mean over draws "
    "of as many random directions, taken out around the mean of all tokens.",
    "Intervals are widened percentile bootstraps over concepts, 95 %; those of word vectors are over words.",
)


def build_report(bench: ErasureContext) -> Document:
    """The report of a finished run, from its rows."""
    rows = bench.run.rows()
    headline = {
        (row.metric, row.method): Estimate(row.value, row.low, row.high, row.n, row.note)
        for row in rows
        if row.concept is None and row.value is not None
    }
    config = bench.config
    return Document(
        title="Erasing concepts",
        lead=(
            f"What is left of a concept in {bench.model.name} after it is erased at {bench.site}, what erasing costs "
            f"other concepts, and what the model then loses: {number_of(len(bench.concepts.targets), 'concept')} of "
            f"the set {bench.concepts.name!r}; and gender in word vectors."
        ),
        verdict=verdict(rows),
        banner=smoke_banner(config, PRESETS),
        command=bench.run.command,
        facts=(
            ("Model", bench.model.name),
            ("Precision", str(bench.model.dtype).removeprefix("torch.")),
            ("Site", str(bench.site)),
            ("Concepts", str(len(bench.concepts.targets))),
            ("Texts", str(len(bench.concepts.items))),
            ("Word vectors", "input embeddings" if config.vectors == "model" else config.vectors),
        ),
        sections=(_left(bench, rows, headline), _lost(bench, rows, headline), _words(headline)),
        notes=NOTES,
    )


def _left(bench: ErasureContext, rows: Sequence[Row], headline: Mapping[tuple[str, str], Estimate]) -> Section:
    methods = ("none", *bench.config.methods)
    table = Table(
        name="left",
        title="What readers find after erasing",
        caption="Accuracy of readers trained anew; 0.5 is chance. Low is well erased; of other concepts, high is good.",
        corner="Erased by",
        columns=tuple(Column(label, digits=2) for label in LEFT.values()),
        rows=_table(headline, methods, LEFT),
    )
    concepts = tuple(concept.name for concept in bench.concepts.targets)
    found = {(row.concept, row.method): row.value for row in rows if row.metric == "fresh"}
    grid = HeatMap(
        name="fresh",
        title="Linear probes on fresh texts, concept by concept",
        caption="Accuracy of probes that are trained and judged on texts that the eraser has not seen.",
        rows=concepts,
        columns=tuple(LABELS[method] for method in methods),
        values=tuple(tuple(found.get((concept, method)) for method in methods) for concept in concepts),
        low=0.5,
        high=1.0,
        rows_label="Concept",
        columns_label="Erased by",
    )
    return Section(title="What is left", blocks=(table, grid))


def _lost(bench: ErasureContext, rows: Sequence[Row], headline: Mapping[tuple[str, str], Estimate]) -> Section:
    tables = []
    for kind, said in KINDS.items():
        found = _table(headline, bench.config.methods, {f"{metric}.{kind}": name for metric, name in LOST.items()})
        beyond = [_beyond(rows, method, kind) for method in bench.config.methods]
        tables.append(
            Table(
                name=f"lost-{kind}",
                title=f"What the model loses on {said}",
                caption="The last column is the KL beyond that of random directions, paired over concepts.",
                corner="Erased by",
                columns=tuple(Column(label, digits=3) for label in (*LOST.values(), "KL beyond random")),
                rows=tuple((head, (*cells, more)) for (head, cells), more in zip(found, beyond, strict=True)),
            )
        )
    return Section(
        title="What the model loses",
        blocks=(
            paragraphs(
                "Amnesic probing: a property that the model uses should cost it more than as many random directions."
            ),
            *tables,
        ),
    )


def _words(headline: Mapping[tuple[str, str], Estimate]) -> Section:
    count, pairs = (int(headline[f"words.{name}", "none"].value) for name in ("words", "pairs"))
    table = Table(
        name="words",
        title="Gender in word vectors",
        caption="Accuracy of telling the side that a word leaned to; direct bias is that of professions.",
        corner="Erased by",
        columns=tuple(Column(label, digits=2) for label in WORDS.values()),
        rows=_table(
            headline, ("none", *BY_WORDS), {f"words.{metric}": name for metric, name in WORDS.items()}, OF_WORDS
        ),
    )
    text = (
        "Vectors have length 1, without the mean and the d/100 strongest directions, which hold how frequent a word is "
        f"(arXiv:1702.01417). The direction is that of {pairs} pairs such as woman and man. The {count} words that "
        "lean most to either side of it are labelled by it: three fifths train erasers and probes, one chooses, one "
        "judges.",
    )
    return Section(title="Word vectors", blocks=(paragraphs(*text), table))


def _table(
    headline: Mapping[tuple[str, str], Estimate],
    methods: Sequence[str],
    metrics: Mapping[str, str],
    labels: Mapping[str, str] = LABELS,
) -> tuple[tuple[str, tuple[Estimate | None, ...]], ...]:
    return tuple((labels[method], tuple(headline.get((metric, method)) for metric in metrics)) for method in methods)


def _beyond(rows: Sequence[Row], method: str, kind: str) -> Estimate | None:
    """How much more the eraser moves the model than random directions do, paired over concepts."""
    own, random = (
        {row.concept: row.value for row in rows if row.concept and (row.metric, row.method) == (metric, method)}
        for metric in (f"kl.{kind}", f"random.kl.{kind}")
    )
    found = paired_difference(*(np.array([side[concept] for concept in own], dtype=float) for side in (own, random)))
    return Estimate.of(found)
