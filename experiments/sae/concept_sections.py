"""The report's sections on what happens where the latents of a concept are taken out."""

from experiments.sae.perturbing import TAKEN
from experiments.sae.results import DictionaryResults
from experiments.sae.verdict import against
from workbench.report.blocks import Column, Table, paragraphs
from workbench.report.document import Block, Section
from workbench.report.estimate import Estimate


def perturbation_blocks(results: DictionaryResults) -> list[Block]:
    """The table of targeted probe perturbation; none for one concept."""
    if not results.perturbing:
        return []
    most = TAKEN[-1]
    wanted = [*((count, "targeted") for count in TAKEN), (most, "own"), (most, "others")]
    columns = (
        *(Column(f"{count} latents", span=(-1.0, 1.0), better="higher") for count in TAKEN),
        Column(f"Own probe, {most}", "What the concept's own probe loses.", span=(-1.0, 1.0)),
        Column(f"Others, {most}", "What the other concepts' probes lose on average.", span=(-1.0, 1.0)),
    )
    rows = tuple((one.name, tuple(Estimate.of(one.interval(*each)) for each in wanted)) for one in results.perturbing)
    return [
        Table(
            name="perturbation",
            title="Concepts taken out by their latents",
            caption="Targeted probe perturbation: balanced accuracy that a concept's own probe loses without its "
            "latents, less what the others lose; the mean over concepts. Probes read the mean state of a text.",
            corner="Dictionary",
            columns=columns,
            rows=rows,
        )
    ]


def removal_sections(results: DictionaryResults) -> list[Section]:
    """Spurious correlation removal; none without two concepts of one genre."""
    if not results.removing:
        return []
    most = TAKEN[-1]
    wanted = [("before", 0), *(("score", count) for count in TAKEN), ("after", most), ("oracle", 0)]
    columns = (
        Column("Before", "Of the probe that confuses two concepts.", span=(0.0, 1.0), chance=0.5),
        *(Column(f"Score, {count} latents", "Share of what is missing that comes back.", better="higher")
          for count in TAKEN),
        Column(f"After, {most} latents", span=(0.0, 1.0), chance=0.5, better="higher"),
        Column("Oracle", "Of a probe whose texts do not correlate the two.", span=(0.0, 1.0), chance=0.5),
    )  # fmt: skip
    tables = [
        Table(
            name=f"removal-{metric}",
            title=f"A spurious concept taken out by its latents: {label}",
            caption="A probe is trained where two concepts are always together, and judged where they are not, without "
            "the latents of the one that is not wanted; means over all ordered pairs of concepts of a genre, intervals "
            "over concepts. A text is two passages read apart. The score is (after - before) / (oracle - before).",
            corner="Dictionary",
            columns=columns,
            rows=tuple(
                (one.name, tuple(Estimate.of(one.interval(*each)) for each in wanted))
                for one in results.removing
                if one.metric == metric
            ),
        )
        for metric, label in REMOVAL_METRICS.items()
    ]
    said = [_removal_verdict(results, metric, label) for metric, label in REMOVAL_METRICS.items()]
    return [Section(title="Spurious correlations removed", blocks=(paragraphs(*said), *tables))]


REMOVAL_METRICS = {"auroc": "AUROC", "accuracy": "balanced accuracy"}


def _removal_verdict(results: DictionaryResults, metric: str, label: str) -> str:
    scores = {one.name: one.interval("score", TAKEN[-1]) for one in results.removing if one.metric == metric}
    said = against(scores.get(title) for title in results.first_titles())
    return (
        f"Of the {label} that a probe loses to a correlation, taking out {TAKEN[-1]} latents of the spurious concept "
        f"brings back a share of {said}."
        if said
        else f"No probe loses {label} to a correlation here, or too few concepts could be compared."
    )
