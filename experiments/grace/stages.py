"""The stages of the experiment, from top to bottom."""

from collections.abc import Sequence
from pathlib import Path

from experiments.grace.arms import arms
from experiments.grace.config import Config
from experiments.grace.context import UNDEFENDED, GraceContext
from experiments.grace.measure import MeasuredDefence, measure, projections, untaught
from experiments.grace.report import build_report
from experiments.grace.results import DefenceResults, Defences
from experiments.grace.steered import SteeringTask
from workbench.report.render import write_report
from workbench.runs.progress import progress
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Teach the policy, train every defence from there, ask all of them the same, and tell; once a model and seed."""
    models = GraceContext.of(config, run)
    contexts = next(models)
    first, found = untaught(contexts[0]), _of_model(contexts)
    places = projections(contexts[0], found[UNDEFENDED][0].arm, shown[0].arm) if (shown := found.get("grace_b")) else {}
    others = {name: _of_model(its) for name, its in zip(config.models, models, strict=True)}
    results = DefenceResults(config, found, first, places, others)
    run.record(results.rows())
    run.settle()
    write_report(run.folder, build_report(results, run, contexts[0].model.name))
    return [run.report]


def _of_model(contexts: Sequence[GraceContext]) -> Defences:
    """Every defence, one a seed."""
    seeds = [_of_seed(context) for context in contexts]
    return {name: tuple(seed[name] for seed in seeds) for name in seeds[0]}


def _of_seed(context: GraceContext) -> dict[str, MeasuredDefence]:
    """Everything that was measured of each defence."""
    task = SteeringTask.of(context, context.concepts) if context.concepts is not None else None
    found: dict[str, MeasuredDefence] = {}
    for arm in progress(f"defences, {context.model.name}, seed {context.seed}", arms(context), unit="defence"):
        found[arm.name] = measure(context, arm, task, found.get(UNDEFENDED))
    return found
