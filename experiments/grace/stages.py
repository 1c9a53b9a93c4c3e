"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.grace.arms import arms
from experiments.grace.config import Config
from experiments.grace.context import UNDEFENDED, GraceContext
from experiments.grace.measure import MeasuredDefence, measure, projections, untaught
from experiments.grace.report import build_report
from experiments.grace.results import DefenceResults
from workbench.report.render import write_report
from workbench.runs.progress import progress
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Teach the policy, train every defence from there, ask all of them the same, and tell."""
    context = GraceContext.of(config, run)
    first = untaught(context)
    found: dict[str, MeasuredDefence] = {}
    for arm in progress("defences", arms(context), unit="defence"):
        before = found[UNDEFENDED].answers if found else None
        found[arm.name] = measure(context, arm, before)
    shown = found.get("grace_b")
    places = projections(context, found[UNDEFENDED].arm, shown.arm) if shown else {}
    results = DefenceResults(config, found, first, places)
    run.record(results.rows())
    run.settle()
    write_report(run.folder, build_report(results, run, context.model.name))
    return [run.report]
