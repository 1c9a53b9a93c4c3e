"""The report of a run: the verdict, what each way does, for which behaviour, where, and what else it moves."""

from collections.abc import Iterable

import numpy as np

from experiments.behaviours.config import CONTROLS, PRESETS
from experiments.behaviours.evaluation import CHOSEN, at_level
from experiments.behaviours.open_answers import RATINGS, TRUSTED, UNSTEERED
from experiments.behaviours.preferences import MEASURES
from experiments.behaviours.results import SHOWN, BehaviourResults
from experiments.behaviours.sweep import CHOSEN_BY
from experiments.smoke import smoke_banner
from workbench.evaluation.differences import Difference
from workbench.evaluation.summary import stored_numbers
from workbench.report.blocks import Bullets, Card, Cards, Column, HeatMap, Missing, Table, headings
from workbench.report.document import Block, Document, Section
from workbench.report.estimate import Estimate
from workbench.text import listed

SAID = {
    "answers": "log-probability a token of the matching answer less the other's, in nats",
    "letters": "p(matching letter) / (p(A) + p(B))",
}
SHORT = {"answers": "Answers (nats a token)", "letters": "Letters (probability)"}
NOT_REACHED = Missing("no strength has this side effect")
NOTES = (
    "Every pair is a question with an answer that shows the behaviour and one that does not. The measure of answers is "
    "the mean log-probability of a token of the matching answer less that of the other, behind the question alone. "
    "The measure of letters shows the model both answers under (A) and (B) and compares the probabilities of the two "
    "letters; as often as not the matching answer stands under (A). A shift is the measure less that of the unsteered "
    "model on the same pair.",
    "Vectors are fitted on training pairs; validation pairs give units and choose, for each way and behaviour, the "
    "layer and strength of the largest mean shift of answers; the other pairs count. Topics are apart: none of the "
    "packaged pairs' topics is in two of these. The controls choose their layer and strength in the same way.",
    "At equal side effect the strength at the chosen layer is the one at which the mean KL on neutral text, "
    "unsteered to steered, is the same for all ways; neutral texts are the packaged ones.",
    "Intervals are widened 95 % bootstraps: over behaviours in rows of all behaviours, over pairs in those of one. "
    "Behaviours were not drawn at random; the intervals do not say how others would come out. Intervals are not "
    "corrected for how many ways there are; the verdict is, by Holm's p values of sign-flip tests.",
)


def build_report(results: BehaviourResults) -> Document:
    """Everything on the page."""
    context, config = results.context, results.context.config
    return Document(
        title="Which ways of steering move behaviours?",
        lead=f"{len(context.names)} behaviours as pairs of answers, and {len(context.ways)} ways of finding a vector "
        f"in them, two of which are controls. {context.model.name} is steered at the tokens behind the question.",
        verdict=_in_a_sentence(results),
        banner=smoke_banner(config, PRESETS),
        command=context.run.command,
        facts=(
            ("Model", context.model.name),
            ("Precision", str(context.model.dtype).removeprefix("torch.")),
            ("Pairs", f"{config.source}; at most {config.train}, {config.validation} and {config.test} a behaviour"),
            ("Blocks tried", ", ".join(map(str, context.layers))),
            ("Strengths tried", ", ".join(f"{one:g}" for one in config.strengths)),
        ),
        sections=tuple(
            Section(title=title, blocks=tuple(blocks))
            for title, blocks in (
                ("Verdict", [Bullets(tuple(_verdict(results)))]),
                ("What each way does", _ways(results)),
                ("At equal side effect", _equal(results)),
                ("By behaviour", _by_behaviour(results)),
                ("At which layer and strength", _maps(results)),
                ("Beyond what they were made for", _transfer(results)),
                ("Open answers", _open(results)),
            )
            if blocks
        ),
        notes=NOTES,
    )


def _level(results: BehaviourResults) -> tuple[str, str]:
    """Where ways are compared with the controls, and how that is said."""
    level = results.context.config.levels[-1]
    return at_level(level), f"at a side effect of {level:g} nats"


def _in_a_sentence(results: BehaviourResults) -> str:
    """Which ways are shown to do something."""
    level, where = _level(results)
    ways = [way for way in results.context.ways if way.name not in CONTROLS]
    both = set.intersection(*({*results.shown_beyond(one, level, CHOSEN_BY)} for one in CONTROLS))
    shown = [way.title for way in ways if way.name in both]
    verdict = f"Shown to move answers further than both controls {where}: {listed(shown) if shown else 'no way'}."
    n, least = len(results.context.names), len(ways) * 2.0 ** (1 - len(results.context.names))
    if shown or least <= SHOWN:
        return verdict
    return (
        f"{verdict} None could be: of {n} behaviours and {len(ways)} ways no corrected p is below {min(least, 1):.2g}."
    )


def _verdict(results: BehaviourResults) -> Iterable[str]:
    titles = {way.name: way.title for way in results.context.ways}
    for measure in MEASURES:
        yield f"Unsteered, {SAID[measure]}: {results.unsteered(measure)}, mean over pairs."
    for way in titles:
        shifts = [str(results.shift(way, CHOSEN, measure)) for measure in MEASURES]
        wrong = results.wrong_way(way, CHOSEN, CHOSEN_BY)
        yield (
            f"{titles[way]}: answers {shifts[0]}, letters {shifts[1]}, at its chosen strengths; {wrong} of the pairs "
            f"move the wrong way; side effect {results.side_effect(way)} nats a token."
        )
    level, where = _level(results)
    for way in titles:
        if way not in CONTROLS:
            found = [f"less {titles[one]}: {_said(results.beyond(way, one, level, CHOSEN_BY))}" for one in CONTROLS]
            yield f"{titles[way]}, answers {where}, {'; '.join(found)}."


def _said(found: Difference) -> str:
    if found.value is None or found.low is None or found.high is None:
        return f"{found}, without an interval"
    if found.low <= 0 <= found.high:
        return f"{found}, which may be chance"
    return f"{found}, {'more' if found.low > 0 else 'less'}"


def _ways(results: BehaviourResults) -> list[Block]:
    columns, rows = [], []
    for measure in MEASURES:
        columns += [
            Column(f"{SHORT[measure]}: shift", f"Steered less unsteered: {SAID[measure]}.", 3, better="higher"),
            Column("moved the wrong way", "Share of pairs.", 2, span=(0.0, 1.0), chance=0.5, better="lower"),
            Column("reworded", "The shift where the questions are put in other words.", 3, better="higher"),
        ]
    columns.append(Column("Side effect", "KL on neutral text, nats a token; the geometric mean.", 3, better="lower"))
    for way in results.context.ways:
        cells = []
        for measure in MEASURES:
            cells += [
                Estimate.of(results.shift(way.name, CHOSEN, measure)),
                Estimate.of(results.wrong_way(way.name, CHOSEN, measure)),
                Estimate.of(results.reworded(way.name, measure)),
            ]
        rows.append((way.title, (*cells, Estimate.of(results.side_effect(way.name)))))
    return [
        Table(
            name="ways",
            title="At the chosen layer and strength",
            caption="Mean over behaviours; n are behaviours, in the columns of reworded questions pairs.",
            corner="Way",
            columns=tuple(columns),
            rows=tuple(rows),
            references=_controls(results),
        ).ranked(0)
    ]


def _controls(results: BehaviourResults) -> tuple[str, ...]:
    return tuple(way.title for way in results.context.ways if way.name in CONTROLS)


def _equal(results: BehaviourResults) -> list[Block]:
    levels = results.context.config.levels
    columns, rows = [], []
    for level in levels:
        for measure in MEASURES:
            columns.append(Column(f"{SHORT[measure]} at {level:g}", f"The shift: {SAID[measure]}.", 3, better="higher"))
        columns.append(Column(f"Wrong way at {level:g}", "Share of pairs, by answers.", 2, (0.0, 1.0), 0.5, "lower"))
    for way in results.context.ways:
        cells = []
        for level in levels:
            cells += [
                Estimate.of(results.shift(way.name, at_level(level), measure)) or NOT_REACHED for measure in MEASURES
            ]
            cells.append(Estimate.of(results.wrong_way(way.name, at_level(level), CHOSEN_BY)) or NOT_REACHED)
        rows.append((way.title, tuple(cells)))
    return [
        Table(
            name="equal-side-effect",
            title="At equal side effect",
            caption="At the strength whose KL on neutral text is that of the column's head, in nats a token; n are the "
            "behaviours for which there is one.",
            corner="Way",
            columns=tuple(columns),
            rows=tuple(rows),
            references=_controls(results),
        ).ranked(0)
    ]


def _by_behaviour(results: BehaviourResults) -> list[Block]:
    ways = results.context.ways
    blocks: list[Block] = []
    for measure in MEASURES:
        rows = tuple(
            (name, tuple(Estimate.of(results.of_behaviour(name, way.name, CHOSEN, measure)) for way in ways))
            for name in results.context.names
        )
        blocks.append(
            Table(
                name=f"behaviours-{measure}",
                title=f"{SHORT[measure]}: the shift of each behaviour",
                caption="At the chosen layer and strength; intervals are over pairs.",
                corner="Behaviour",
                columns=headings(way.title for way in ways),
                rows=rows,
            )
        )
    picked = tuple(
        (
            name,
            tuple(f"block {one.layer}, {one.strength:g}" for way in ways for one in (results.choices[way.name, name],)),
        )
        for name in results.context.names
    )
    blocks.append(
        Table(
            name="choices",
            title="Layers and strengths that validation pairs chose",
            caption="Strengths are in units of each vector.",
            corner="Behaviour",
            columns=headings(way.title for way in ways),
            rows=picked,
            folded=True,
        )
    )
    return blocks


def _maps(results: BehaviourResults) -> list[Block]:
    context, blocks = results.context, []
    for measure in MEASURES:
        values = {
            way.name: tuple(
                tuple(results.validation(way.name, layer, strength, measure) for strength in context.config.strengths)
                for layer in context.layers
            )
            for way in context.ways
        }
        known = [value for rows in values.values() for row in rows for value in row if value is not None]
        blocks += [
            HeatMap(
                name=f"map-{measure}-{number}",
                title=f"{way.title}: shift of validation pairs",
                caption=f"{SHORT[measure]}; mean over behaviours. Shades are the same for all ways; below 0 is palest.",
                rows=tuple(map(str, context.layers)),
                columns=tuple(f"{strength:g}" for strength in context.config.strengths),
                values=values[way.name],
                low=0.0,
                high=max([1e-3, *known]),
                rows_label="Block",
                columns_label="Strength",
            )
            for number, way in enumerate(context.ways)
        ]
    return blocks


def _transfer(results: BehaviourResults) -> list[Block]:
    names, top = results.context.names, float(np.abs(np.nan_to_num(results.transfer)).max())
    return [
        HeatMap(
            name="transfer",
            title="The vector of one behaviour on the pairs of another",
            caption=f"{SHORT[CHOSEN_BY]}: mean shift with the vectors of {results.context.ways[0].title}, each at its "
            "chosen layer and strength. Below 0 is palest.",
            rows=names,
            columns=names,
            values=tuple(map(tuple, stored_numbers(results.transfer))),
            low=0.0,
            high=max(top, 1e-3),
            rows_label="Vector of",
            columns_label="Pairs of",
        )
    ]


def _open(results: BehaviourResults) -> list[Block]:
    answers, titles = results.answers, {way.name: way.title for way in results.context.ways}
    if answers is None:
        return []
    trusted = [name for name, share in answers.trust.items() if share >= TRUSTED]
    labels = {UNSTEERED: "Unsteered model", **titles}
    columns = (
        Column("Behaviour", "How much of the behaviour the judge sees.", 2, (0.0, 2.0), better="higher"),
        Column("Fluency", "", 2, (0.0, 2.0), better="higher"),
        Column("Overall", "Harmonic mean of behaviour, relevance and fluency.", 2, (0.0, 2.0), better="higher"),
    )
    rows = tuple(
        (label, tuple(Estimate.of(results.rated(way, part)) for part in RATINGS)) for way, label in labels.items()
    )
    cards = tuple(
        Card(
            method=labels[trial.method],
            concept=trial.concept,
            instruction=trial.instruction,
            text=sample.text,
            strength=trial.strength,
            ratings=tuple((part, getattr(answers.ratings[trial], part)) for part in RATINGS),
        )
        for trial, sample in answers.samples.items()
    )
    shares = tuple((name, (share, "yes" if name in trusted else "no")) for name, share in answers.trust.items())
    level = f"{results.context.config.levels[-1]:g}"
    return [
        Table(
            name="open",
            title="Open answers, rated from 0 to 2",
            caption=f"Greedy answers at a side effect of {level} nats a token where it is reached. Means over the "
            "behaviours that the judge is trusted with.",
            corner="Way",
            columns=columns,
            rows=rows,
            references=(labels[UNSTEERED], *_controls(results)),
        ),
        Table(
            name="trust",
            title="Which behaviours the judge is trusted with",
            caption="The embedded judge learns behaviours from the training pairs. Of held-out pairs it must rate the "
            f"matching answer higher in {TRUSTED:.0%}, equal ratings counted half, or the behaviour is not rated.",
            corner="Behaviour",
            columns=headings(("Pairs in the right order", "Trusted")),
            rows=shares,
            folded=True,
        ),
        Cards(name="answers", caption="Answers side by side.", cards=cards, judged=True),
    ]
