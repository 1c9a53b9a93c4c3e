"""The report of a run: the verdict, what each way does, where, which heads, and what else the vectors do."""

from statistics import fmean

import numpy as np
import torch

from experiments.function_vectors.config import PRESETS
from experiments.function_vectors.evaluation import SWEPT, WAYS, summary
from experiments.function_vectors.fitting import TaskFit
from experiments.function_vectors.results import LABELS, METRICS, StudyResults, known
from experiments.function_vectors.verdict import task_findings, verdict
from experiments.smoke import smoke_banner
from steering.function_vectors.effects import strongest
from workbench.report.blocks import Bullets, Column, HeatMap, Missing, Table, headings, paragraphs
from workbench.report.charts import Line, LineChart, Point
from workbench.report.document import Block, Document, Section
from workbench.report.estimate import Estimate

SHOWN_HEADS = 24
"""Rows of the heads' heat map."""
NOTES = (
    "An answer counts as its first token behind the prompt: top-1 is whether that is the likeliest token, rank how "
    "many are likelier. Half of a task's pairs are demonstrations and questions that vectors are made from, a fifth "
    "choose the layer of each way, the rest is for the test. All test questions count, also those that the model does "
    "not answer in context; the published figure, on the others alone, stands in a table of its own.",
    "Vectors act at the last token of the prompt. In natural text they also act at every token that is written, which "
    "are greedy; an answer counts when it is among them.",
    "The effect of a head is the rise of the answer's probability when the head holds its mean over right prompts at "
    "the last token of a prompt with shuffled answers, averaged over prompts (arXiv:2310.15213, AIE): exact of all "
    "heads or of a shortlist, which comes from the same to first order. A function vector is the sum of what the "
    "strongest heads write on average, without the output projection's bias. Heads of other tasks are the strongest "
    "to first order, which every task has of every head.",
    "Intervals are widened 95 % bootstraps: over tasks and the seeds within them, in tables of one task over its "
    "questions, each the mean of the seeds that ask it. Tasks were not drawn at random; the intervals do not say how "
    "other kinds would come out.",
)


def build_report(results: StudyResults) -> Document:
    """Everything on the page."""
    context = results.context
    config = context.config
    return Document(
        title="Do a few heads carry a task?",
        lead=f"{len(results.tasks)} in-context tasks, shown to {context.model.name} with {config.shots} "
        f"demonstrations. The mean output of the {config.heads} heads that bring a task back most is added to "
        "prompts without demonstrations (function vectors, arXiv:2310.15213), beside the mean residual stream "
        "(arXiv:2310.15916) and vectors that should do nothing.",
        verdict=verdict(context.run.rows()),
        banner=smoke_banner(config, PRESETS),
        command=context.run.command,
        facts=(
            ("Model", context.model.name),
            ("Precision", str(context.model.dtype).removeprefix("torch.")),
            ("Tasks", f"{len(results.tasks)}, {config.source}"),
            ("Seeds", str(len(config.seeds))),
            ("All heads measured of", ", ".join(task for task in results.tasks if task in config.exact) or "none"),
        ),
        sections=tuple(
            Section(title=title, blocks=tuple(blocks))
            for title, blocks in (
                ("Verdict", [Bullets(tuple(task_findings(results)))]),
                ("What the vectors do", _answers(results)),
                ("At which layer", _layers(results)),
                ("Which heads", _heads(results)),
                ("Beyond the form they were made with", _further(results)),
            )
        ),
        notes=NOTES,
    )


def _answers(results: StudyResults) -> list[Block]:
    columns = (
        *(Column(f"{name}, zero-shot", digits=digits) for name, digits in _NAMES.values()),
        *(Column(f"{name}, shuffled answers", digits=digits) for name, digits in _NAMES.values()),
    )
    settings = ("zero_shot", "shuffled_labels")
    rows = [
        (LABELS[way], tuple(Estimate.of(results.metric(setting, way, m)) for setting in settings for m in METRICS))
        for way in WAYS
    ]
    shown = [Estimate.of(results.over_tasks(lambda each, m=m: summary(each.in_context)[m], m)) for m in METRICS]
    rows.append(("Right demonstrations, no vector", (*shown, None, None, None)))
    by_task = tuple(
        (
            *(Estimate.of(results.of_task(task, lambda each, w=way: each.answers["zero_shot"][w])) for way in WAYS),
            Estimate.of(results.of_task(task, lambda each: each.in_context)),
        )
        for task in results.tasks
    )
    published = tuple(
        (
            LABELS[way],
            tuple(
                Estimate.of(results.over_tasks(lambda each, way=way, s=s: each.restricted(s, way))) for s in settings
            ),
        )
        for way in WAYS
    )
    heads = (*(LABELS[way] for way in WAYS), "In context, no vector")
    return [
        Table(
            name="answers",
            title="Answers to test questions",
            caption="Each way at the layer that validation questions chose; controls at the function vector's. "
            "Log-probabilities in nats; mean over tasks, of ranks the mean of medians.",
            corner="Steered by",
            columns=columns,
            rows=tuple(rows),
        ),
        HeatMap(
            name="tasks",
            title="Top-1 without demonstrations, task by task",
            caption="Intervals are over test questions.",
            rows=results.tasks,
            columns=heads,
            values=by_task,
            low=0.0,
            high=1.0,
            rows_label="Task",
            columns_label="Steered by",
        ),
        Table(
            name="restricted",
            title="Top-1 on the questions that are answered in context, as published",
            caption="Tasks without such questions are left out.",
            corner="Steered by",
            columns=tuple(Column(label, digits=2, span=(0.0, 1.0)) for label in ("Zero-shot", "Shuffled answers")),
            rows=published,
        ),
    ]


_NAMES = {"top1": ("Top-1", 2), "log_p": ("Log-probability", 2), "rank": ("Rank", 0)}


def _layers(results: StudyResults) -> list[Block]:
    tried = next(iter(results.evaluations.values())).tried
    charts: list[Block] = []
    for metric, title in (("top1", "Top-1"), ("log_p", "Log-probability in nats")):
        lines = []
        for way in (*SWEPT, "random"):
            points = []
            for at, layer in enumerate(tried):
                found = results.over_tasks(lambda each, way=way, at=at: each.curves[way][metric][at], metric)  # noqa: B023
                if found.value is not None:
                    points.append(Point(layer, found.value, found.low, found.high))
            if points:
                lines.append(Line(LABELS[way], tuple(points)))
        charts.append(
            LineChart(
                name=f"layers-{metric.replace('_', '-')}",
                title=f"{title} on validation questions, by the block whose output is steered",
                caption="Without demonstrations; mean over tasks.",
                x="block",
                y=title,
                lines=tuple(lines),
            )
        )
    return charts


def _heads(results: StudyResults) -> list[Block]:
    fits = {task: [fit for (name, _), fit in results.fits.items() if name == task] for task in results.tasks}
    exact = {task: _mean([fit.exact for fit in each]) for task, each in fits.items()}
    every = torch.stack([effects.nan_to_num(nan=-torch.inf) for effects in exact.values()]).amax(0)
    heads = strongest(every, SHOWN_HEADS)
    why = Missing("not on the shortlist")
    values = tuple(
        tuple(float(effects[head]) if effects[head].isfinite() else why for effects in exact.values()) for head in heads
    )
    top = max(value for row in values for value in row if isinstance(value, float))
    rows = tuple((task, _agreement(each, results.context.config.heads)) for task, each in fits.items())
    return [
        HeatMap(
            name="heads",
            title="Average indirect effect, heads and tasks",
            caption=f"The {len(heads)} heads of the largest effects in any task, as layer.number, counted from 0.",
            rows=tuple(f"{layer}.{number}" for layer, number in heads),
            columns=results.tasks,
            values=values,
            low=0.0,
            high=max(top, 1e-3),
            rows_label="Head",
            columns_label="Task",
        ),
        Table(
            name="shortlist",
            title="What attribution patching is worth as a shortlist",
            caption="Over the heads whose effect was measured: correlation with the estimate to first order, and how "
            "many of the strongest heads the estimate has among its own.",
            corner="Task",
            columns=headings(("Heads measured", "Correlation", "Strongest in common", "Largest effect")),
            rows=rows,
        ),
    ]


def _mean(effects: list[torch.Tensor]) -> torch.Tensor:
    """Over seeds, of the heads that were measured with any; NaN elsewhere."""
    return torch.stack(effects).nanmean(0)


def _agreement(fits: list[TaskFit], n: int) -> tuple[float, float, float, float]:
    measured, correlations, common = [], [], []
    for fit in fits:
        there = fit.exact.isfinite()
        measured.append(float(there.sum()))
        correlations.append(float(np.corrcoef(fit.exact[there].numpy(), fit.attributed[there].numpy())[0, 1]))
        estimated = torch.where(there, fit.attributed, torch.nan)
        common.append(float(len({*strongest(fit.exact, n)} & {*strongest(estimated, n)})))
    largest = max(float(fit.exact.nan_to_num(nan=-torch.inf).max()) for fit in fits)
    return fmean(measured), fmean(correlations), fmean(common), largest


def _further(results: StudyResults) -> list[Block]:
    ways = ("none", "function_vector")
    rows = []
    for label, value in (
        ("Natural text: answer written", lambda each: each.natural),
        ("Other templates: top-1", lambda each: each.templates),
    ):
        rows.append((label, tuple(Estimate.of(results.of_further(value, way)) for way in ways)))
    first = results.context.config.seeds[0]
    read = tuple(
        (task, (" ".join(f"“{token}”" for token in results.further[task, first].read),)) for task in results.tasks
    )
    blocks: list[Block] = [
        Table(
            name="elsewhere",
            title="In natural text and in other templates",
            caption="The vector was made with one template and tried in twelve others without demonstrations; in "
            "natural text, the mean over sentences of whether the answer is written. n are tasks.",
            corner="Where",
            columns=headings(LABELS[way] for way in ways),
            rows=tuple(rows),
        ),
        Table(
            name="read",
            title="What the vectors read in the vocabulary",
            caption="The likeliest tokens of softmax(W_U norm(v)), the likeliest first.",
            corner="Task",
            columns=headings(("Tokens",)),
            rows=read,
        ),
    ]
    rebuilt = {key: each.rebuilt for key, each in results.further.items() if each.rebuilt is not None}
    if rebuilt:
        rows = []
        for (task, seed), found in rebuilt.items():
            own = results.evaluations[task, seed].metrics("zero_shot", "function_vector")["top1"]
            rows.append((f"{task}, seed {seed}", (own, *(summary(answers)["top1"] for answers in found.values()))))
        blocks.append(
            Table(
                name="rebuilt",
                title="Vectors rebuilt from what they read",
                caption="Top-1 without demonstrations. A rebuilt vector reads the same over its 100 likeliest tokens, "
                "or over all, and is as long; what it does not do is carried by something else than the vocabulary.",
                corner="Case",
                columns=headings(("Function vector", "Rebuilt, 100 tokens", "Rebuilt, all tokens")),
                rows=tuple(rows),
            )
        )
    return [*blocks, *_composition(results)]


def _composition(results: StudyResults) -> list[Block]:
    if not results.compositions:
        return [paragraphs("Sums of vectors were not tried: they need the four tasks about lists.")]
    labels = {
        "none": "No vector",
        "own": "Its own: last word, capitalised",
        "composed": "Composed: first capitalised + last - first",
        "summed": "First capitalised + last",
        "capital": "First capitalised alone",
        "last": "Last alone",
    }
    rows = []
    for way, label in labels.items():
        scores = [summary(each.answers[way]) for each in results.compositions]
        rows.append(
            (
                label,
                (
                    Estimate.of(results.composed(way)),
                    *(known(fmean(one[m] for one in scores)) for m in METRICS[1:]),
                ),
            )
        )
    cosine = fmean(each.cosine for each in results.compositions)
    return [
        Table(
            name="composition",
            title="The last word of a list, capitalised, from three other tasks",
            caption=f"Without demonstrations; the interval is over questions. The composed vector's cosine with the "
            f"task's own is {cosine:.2f}.",
            corner="Vector",
            columns=headings(name for name, _ in _NAMES.values()),
            rows=tuple(rows),
        )
    ]
