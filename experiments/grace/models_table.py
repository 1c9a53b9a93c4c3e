"""What the page tells of AVQI as an index of safety: whether it follows attack success, and on which models."""

from collections.abc import Sequence

from experiments.grace.results import FORMS, DefenceResults
from steering.grace.attacks import HELD_OUT
from workbench.report.blocks import Column, Table
from workbench.report.document import Block
from workbench.report.estimate import Estimate

SAID = {"paper": "AVQI, the paper's form", "two_cluster": "AVQI, two clusters"}
"""What each form is called."""


def following_table(results: DefenceResults) -> Block:
    """Whether the index says what it is for."""
    found = {form: results.followed(form) for form in FORMS}
    return Table(
        name="following",
        title="Does AVQI follow attack success?",
        caption="Spearman's correlation with the success of held-out attacks, over defences with states of their own. "
        "Lower AVQI is better, so that an index that keeps its promise has a correlation near 1.",
        corner="Index",
        columns=(Column("Rank correlation", digits=2), Column("Models", digits=0)),
        rows=tuple((SAID[form], (Estimate.of(each), each.n)) for form, each in found.items()),
    )


def further_models(results: DefenceResults) -> Sequence[Block]:
    """Every defence of every further model, in the numbers that the comparison of index and success is made of."""
    rows = tuple(
        (
            f"{label}, {model}",
            tuple(
                Estimate.of(each)
                for each in (
                    own.rate(name, ["direct"]),
                    own.rate(name, HELD_OUT),
                    own.rate(name, ["plain"], "refusal"),
                    *(own.separation(name, "mean", form) for form in FORMS if own.found[name][0].separation),
                )
            ),
        )
        for model, own in results.further.items()
        for name, label in own.labels.items()
    )
    columns = (
        Column("Direct", "Requests as they stand that succeed", 2, (0.0, 1.0), better="lower"),
        Column("Held out", "Attacks of held-out families that succeed", 2, (0.0, 1.0), better="lower"),
        Column("Benign refusals", "Look-alikes that are refused", 2, (0.0, 1.0), better="lower"),
        *(Column(SAID[form], digits=2, better="lower") for form in FORMS),
    )
    if not rows:
        return ()
    return (
        Table(
            name="further",
            title="The same on further models",
            caption="Each was taught the policy and defended as the first model was.",
            corner="Defence and model",
            columns=columns,
            rows=tuple((label, (*cells, *[None] * (len(columns) - len(cells)))) for label, cells in rows),
            folded=True,
        ),
    )
