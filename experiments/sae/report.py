"""The report of a run: what was trained, its numbers beside baselines, and where its latents can be seen."""

from experiments.sae.browsing import PAGE
from experiments.sae.concept_sections import exchange_sections, perturbation_blocks, removal_sections, spelling_sections
from experiments.sae.config import PRESETS
from experiments.sae.fitting import BASELINES, level_name
from experiments.sae.measure import BINS, Quality
from experiments.sae.probing import COORDINATES, COUNTS, WHOLE
from experiments.sae.results import DictionaryResults
from experiments.sae.verdict import verdict
from experiments.smoke import smoke_banner
from probes.sae.source import OUTLIER
from workbench.evaluation.intervals import Interval
from workbench.report.blocks import Column, Table, TableEntry, headings, paragraphs
from workbench.report.charts import Line, LineChart, Point
from workbench.report.document import Block, Document, Section
from workbench.report.estimate import Estimate

METRICS = {
    "l0": Column("L0", "Active latents of a token, on average."),
    "explained_variance": Column("Explained variance", "Share of all held-out states' variance.", better="higher"),
    "loss_recovered": Column(
        "Loss recovered", "1: the model predicts as well on reconstructions; 0: as badly as on states of 0.",
        better="higher",
    ),
    "loss_added": Column("Loss added", "Cross-entropy that the model loses, in nats a token.", better="lower"),
    "kl": Column("KL", "Divergence of the predictions on reconstructions from the clean ones, in nats.",
                 better="lower"),
    "dead_share": Column("Silent", "Share of latents that are never active in the sample of training states."),
    "dense_share": Column("Dense", "Share of latents active at more than 10 % of tokens."),
    "twice_share": Column("Twice", "Share of latents whose direction another one has with a cosine above 0.9."),
}  # fmt: skip

NOTES = (
    "Intervals are expanded 95 % bootstraps over held-out passages, for probes over concepts. Held-out passages are of "
    "modules, rows or chapters of which nothing was trained on.",
    f"States more than {OUTLIER:g} times as long as the median one, such as attention sinks, are left out of training "
    "and of explained variance. Reconstructions are put in place of all states but that of the first token.",
    "Random directions and principal components are dictionaries of the same form, as many latents active: codes are "
    "projections, of which the largest are kept. Principal components come with their opposites.",
    "Probes on few features take those whose means over texts differ most between training texts with and without the "
    "concept. Latents that are taken out are those that move the probe most towards it there: the difference of their "
    "means times how far the probe moves with their direction. Probes are judged on evaluation texts, hard negatives "
    "among them.",
)


def build_report(results: DictionaryResults) -> Document:
    """Everything on the page."""
    config, source = results.config, results.sources[0]
    return Document(
        title="A sparse dictionary of hidden states",
        lead=f"{config.architecture} with {config.latents} latents, trained on {config.steps * config.batch} states of "
        f"{source.model.name} at {source.site}, from {len(source.train)} passages of {source.train.name}, and measured "
        f"on {len(source.held_out)} others.",
        verdict=verdict(results),
        banner=smoke_banner(config, PRESETS),
        command=results.run.command,
        facts=(
            ("Model", source.model.name),
            ("Site", str(source.site)),
            ("Text", f"{source.train.name}, {len(source.train)} passages"),
            ("Latents", str(config.latents)),
            ("States trained on", str(config.steps * config.batch)),
        ),
        sections=(
            *(_quality(results), _training(results), _probing(results)),
            *(*removal_sections(results), *spelling_sections(results), *exchange_sections(results)),
            *(*_agreement(results), _latents(results)),
        ),
        notes=NOTES,
    )


def _quality(results: DictionaryResults) -> Section:
    rows = tuple((one.fit.title, tuple(_cell(one, metric) for metric in METRICS)) for one in results.quality)
    table = Table(
        name="quality",
        title="Held-out text",
        caption="Random directions and principal components have as many active latents as the dictionary that they "
        "are named after. The model with random weights has no loss worth recovering.",
        corner="Dictionary",
        columns=tuple(METRICS.values()),
        rows=rows,
        references=tuple(one.fit.title for one in results.quality if one.fit.source.random),
    )
    return Section(title="What is lost", blocks=(table, *_pareto(results)))


def _cell(one: Quality, metric: str) -> TableEntry:
    value = one.numbers.get(metric)
    return Estimate.of(value) if isinstance(value, Interval) else value


def _pareto(results: DictionaryResults) -> list[Block]:
    """Loss recovered and explained variance over L0, where there are several levels."""
    if len(results.config.levels) < 2:
        return []
    charts: list[Block] = []
    for metric in ("loss_recovered", "explained_variance"):
        lines = []
        for method in (results.config.architecture, *BASELINES):
            of_level = [one for level in results.config.levels if (one := results.of(method, level)) is not None]
            points = [_point(one, metric) for one in of_level]
            lines.append(Line(method, tuple(sorted((point for point in points if point), key=lambda one: one.x))))
        charts.append(
            LineChart(
                name=f"pareto-{metric.replace('_', '-')}",
                title=f"{METRICS[metric].label} over the number of active latents",
                caption=f"{METRICS[metric].meaning} Intervals over passages.",
                x="L0",
                y=METRICS[metric].label,
                lines=tuple(lines),
            )
        )
    return charts


def _point(one: Quality, metric: str) -> Point | None:
    l0, value = (Estimate.of(one.interval(name)) for name in ("l0", metric))
    return None if l0 is None or value is None else Point(l0.value, value.value, value.low, value.high)


def _training(results: DictionaryResults) -> Section:
    trained = [one for one in results.quality if one.fit.trained]
    curves = [
        Line(one.fit.title, tuple(Point(entry["step"], entry["explained_variance"]) for entry in one.fit.curve))
        for one in trained
        if one.fit.curve
    ]
    shown = [one for one in results.quality if one.fit.seed == results.config.seeds[0] and any(one.density)]
    densities = [
        Line(one.fit.title, tuple(Point(float(edge), share) for edge, share in zip(BINS, one.density, strict=False)))
        for one in shown
        if one.fit.level == results.config.levels[0]
    ]
    blocks: list[Block] = []
    if curves:
        blocks.append(
            LineChart(
                name="curve",
                title="Explained variance while training",
                caption="Of the batch that is trained on.",
                x="Step",
                y="Explained variance",
                lines=tuple(curves[:8]),
            )
        )
    if densities:
        blocks.append(
            LineChart(
                name="density",
                title="How often latents are active",
                caption="Share of latents by the share of tokens at which they are active, as a power of 10, in steps "
                "of a quarter; silent latents are not shown.",
                x="log10 of the share of tokens",
                y="Share of latents",
                lines=tuple(densities),
            )
        )
    return Section(title="Training and density", blocks=tuple(blocks))


def _probing(results: DictionaryResults) -> Section:
    counts = (*COUNTS, 0)
    rows = tuple(
        (one.name, tuple(Estimate.of(one.interval(count)) if count in one.aurocs else None for count in counts))
        for one in results.probing
    )
    columns = [f"{count} feature{'s' * (count > 1)}" if count else "All" for count in counts]
    return Section(
        title="Concepts in few latents",
        blocks=(
            Table(
                name="probing",
                title="Logistic probes on few features",
                caption=f"Mean AUROC over {results.config.probed} concepts. {COORDINATES.capitalize()} are chosen as "
                f"latents are; {WHOLE} is a probe on all coordinates.",
                corner="Features",
                columns=tuple(Column(label, span=(0.0, 1.0), chance=0.5, better="higher") for label in columns),
                rows=rows,
                references=tuple(head for head, _ in rows if head.endswith(WHOLE)),
            ),
            *perturbation_blocks(results),
        ),
    )


def _agreement(results: DictionaryResults) -> list[Section]:
    if not results.agreement:
        return []
    rows = tuple((f"{one.title} and {other.title}", (found.cosine, found.shared))
                 for one, other, found in results.agreement)  # fmt: skip
    table = Table(
        name="agreement",
        title="Latents paired one to one",
        caption="Mean cosine of the directions of a pair, and the share of pairs above 0.7. The pairs with random "
        "directions say what chance gives.",
        corner="Dictionaries",
        columns=headings(("Mean cosine", "Share above 0.7")),
        rows=rows,
    )
    return [Section(title="What another seed finds again", blocks=(table,))]


def _latents(results: DictionaryResults) -> Section:
    return Section(
        title="All latents",
        blocks=(
            paragraphs(
                f"All {results.config.latents} latents of {results.quality[0].fit.title} can be looked through in "
                f"{PAGE}, beside this page: where each is active, what it makes likelier, which are like it, and what "
                f"the model writes under {results.config.browsed} of them. The dictionaries themselves are in "
                f"artifacts/; sparsity is set by {level_name(results.config)}."
            ),
        ),
    )
