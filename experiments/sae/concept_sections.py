"""The report's sections on concepts in latents: taken out, exchanged, and said by others in their place."""

from experiments.sae.exchanging import EXCHANGED, PROMPTS
from experiments.sae.perturbing import TAKEN
from experiments.sae.results import DictionaryResults
from experiments.sae.spelling import FirstLetters
from experiments.sae.verdict import against
from probes.sae.absorption import ALIGNED, EXPLAINED
from workbench.report.blocks import Column, Table, paragraphs
from workbench.report.document import Block, Section
from workbench.report.estimate import Estimate
from workbench.text import number


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


def spelling_sections(results: DictionaryResults) -> list[Section]:
    """Absorption of first letters; none if it was not asked for."""
    if not results.spelling:
        return []
    columns = {
        "absorbed": Column("Absorbed", "Share of words in which another latent says the letter.", span=(0.0, 1.0)),
        "missed": Column("Missed", "Share of words in which no main latent is active.", span=(0.0, 1.0)),
        "main": Column("Main latents", "How many stand for a letter."),
        "f1": Column("F1 of these", "Of a probe on their codes.", span=(0.0, 1.0), better="higher"),
        "probe_f1": Column("F1 of the state", "Of a probe on the whole state.", span=(0.0, 1.0)),
    }
    one = results.spelling[0]
    n_words = sum(int(letter["told"]) for letter in one.found)
    table = Table(
        name="spelling",
        title="First letters of words",
        caption=f"Means over {len(one.letters)} letters, in held-out words of which a probe on the state tells the "
        f"letter ({n_words}). Absorbed: no main latent is active, and one other whose direction has a cosine of "
        f"{ALIGNED} or more with the probe's writes {EXPLAINED:.0%} or more of what the probe sees.",
        corner="Dictionary",
        columns=tuple(columns.values()),
        rows=tuple((one.name, tuple(Estimate.of(one.interval(what)) for what in columns)) for one in results.spelling),
    )
    return [Section(title="First letters, and absorption", blocks=(paragraphs(_spelling_verdict(one)), table))]


def _spelling_verdict(one: FirstLetters) -> str:
    missed, absorbed, f1, probe = (Estimate.of(one.interval(what)) for what in ("missed", "absorbed", "f1", "probe_f1"))
    if not any(letter["told"] for letter in one.found):
        return "The probe tells no first letter here, so that none can be absorbed."
    if missed is None or absorbed is None or f1 is None or probe is None:
        return f"No latent of {one.name} stands for a first letter that the probe tells, so that none can be absorbed."
    weak = "; a probe that finds so little says little of absorption" if probe.value < WEAK else ""
    return (
        f"{one.name}: of the words of which a probe on the state tells the first letter, its main latents are silent "
        f"in {missed.said(2)}, and in {absorbed.said(2)} another latent says it in their place. Main latents tell "
        f"first letters with an F1 of {number(f1.value, 2)}, the state with {number(probe.value, 2)}{weak}."
    )


WEAK = 0.5
"""The F1 of the probe on the state below which the page warns."""


def exchange_sections(results: DictionaryResults) -> list[Section]:
    """Cause and isolation of facts; none if they were not asked for."""
    if not results.exchanging:
        return []
    one = results.exchanging[0]
    known = f"The model answers all {len(PROMPTS)} facts about {one.n_known} of {one.n_asked} countries right"
    title = "Facts exchanged by their latents"
    if not one.cause:
        return [Section(title=title, blocks=(paragraphs(f"{known}: too few to exchange any."),))]
    most = EXCHANGED[-1]
    wanted = [(what, count) for count in EXCHANGED for what in ("cause", "isolation")] + [("disentangled", most)]
    labels = {"cause": "Cause", "isolation": "Isolation", "disentangled": "Mean"}
    table = Table(
        name="exchange",
        title="Latents of a fact exchanged between two countries",
        caption="Cause: the fact's answer became the other country's. Isolation: the share of the other facts whose "
        "answers stayed. Means over facts, intervals over pairs of countries that differ in all; latents are chosen on "
        "other countries. What a dictionary does not reconstruct stays; the last row "
        "exchanges all of the state, whatever the number.",
        corner="Dictionary",
        columns=tuple(
            Column(f"{labels[what]}, {count}", span=(0.0, 1.0), better="higher") for what, count in wanted
        ),
        rows=tuple(
            (row.name, tuple(Estimate.of(row.interval(what, count if count in row.cause else 0))
                             for what, count in wanted))
            for row in results.exchanging
        ),
        references=(results.exchanging[-1].name,),
    )  # fmt: skip
    return [Section(title=title, blocks=(paragraphs(f"{known}. {_exchange_verdict(results, most)}"), table))]


def _exchange_verdict(results: DictionaryResults, most: int) -> str:
    found = {one.name: one for one in results.exchanging}
    mine = [found[title] for title in results.first_titles()]
    cause, isolation = (against(one.interval(what, most) for one in mine) for what in ("cause", "isolation"))
    whole = Estimate.of(results.exchanging[-1].interval("cause", 0))
    if not cause or not isolation or whole is None:
        return ""
    return (
        f"With {most} latents exchanged, the fact follows in a share of {cause}; other facts stay in {isolation}. "
        f"Exchanging the whole state moves {number(whole.value, 2)}."
    )
