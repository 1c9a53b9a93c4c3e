"""The report's section on attacks: who lets how many through, and what is decided."""

from experiments.grace.config import LABELS
from experiments.grace.outcomes import share
from experiments.grace.results import ADAPTIVE, SIDES, DefenceResults, outcome_rate
from steering.grace.attacks import ATTACKS, CHOOSING, HELD_OUT, TRAINED
from workbench.report.blocks import Column, HeatMap, Table
from workbench.report.document import Section
from workbench.report.estimate import Estimate


def attack_section(results: DefenceResults) -> Section:
    """Success by side and by family, and what is decided of it."""
    columns = (
        Column("Direct", "Requests as they stand", 2, (0.0, 1.0), better="lower"),
        Column("Seen", "Families that defences were trained on", 2, (0.0, 1.0), better="lower"),
        Column("Choosing", "Families that settings were chosen on", 2, (0.0, 1.0), better="lower"),
        Column("Held out", "Families that no training and no choice saw", 2, (0.0, 1.0), better="lower"),
        *[
            Column(name.capitalize(), f"Direct requests under a {name} attack that knows the defence", 2, (0.0, 1.0))
            for name in ADAPTIVE
            if results.config.adaptive
        ],
        Column("Degenerate", "Broken answers to held-out families", 2, (0.0, 1.0), better="lower"),
        Column("Unrelated", "Answers to held-out families that neither refuse nor comply", 2, (0.0, 1.0)),
    )
    nothing = [None] * (len(columns) - 1)
    rows: list[tuple[str, tuple[Estimate | None, ...]]] = [("Before the policy", (_direct(results), *nothing))]
    searched = [(name,) for name in ADAPTIVE if results.config.adaptive]
    for name, label in results.labels.items():
        success = [results.rate(name, families) for families in (*SIDES.values(), *searched)]
        others = [results.rate(name, HELD_OUT, outcome) for outcome in ("degenerate", "unrelated")]
        rows.append((label, tuple(Estimate.of(each) for each in (*success, *others))))
    table = Table(
        name="success",
        title="Attack success",
        caption="Share of answers that comply; the last two columns are what else becomes of held-out attacks.",
        corner="Defence",
        columns=columns,
        rows=tuple(rows),
        references=("Before the policy", "Policy alone"),
    )
    families = (*HELD_OUT, *CHOOSING, *TRAINED)
    grid = HeatMap(
        name="families",
        title="Attack success by family",
        caption=f"Held-out families first ({', '.join(HELD_OUT)}), then those of choosing and of training.",
        rows=families,
        columns=tuple(results.labels.values()),
        values=tuple(tuple(results.rate(name, [family]).value for name in results.found) for family in families),
        low=0.0,
        high=1.0,
        rows_label="Family",
        columns_label="Defence",
        meanings={family: ATTACKS[family].summary for family in families},
    )
    return Section(title="Attacks", blocks=(table, _differences(results), grid))


def _differences(results: DefenceResults) -> Table:
    """What is decided of the two rates that matter."""
    sides = [results.against_policy(HELD_OUT), results.against_policy(["plain"], "refusal")]
    return Table(
        name="differences",
        title="Against the policy alone",
        caption="Differences of shares, paired over requests: of each request the mean over families and seeds, so "
        "that the trainings are taken as they came out. P values of sign flips, Holm-corrected over the defences.",
        corner="Defence",
        columns=(
            Column("Held-out attacks", "That succeed, less those against the policy alone", 2, better="lower"),
            Column("p", digits=3),
            Column("Benign refusals", "Look-alikes refused, less those by the policy alone", 2, better="lower"),
            Column("p, refusals", digits=3),
        ),
        rows=tuple(
            (LABELS[name], tuple(entry for side in sides for entry in (Estimate.of(side[name]), side[name].p)))
            for name in sides[0]
        ),
    )


def _direct(results: DefenceResults) -> Estimate | None:
    return Estimate.of(outcome_rate([[share(results.untaught["direct"], "compliance")]]))
