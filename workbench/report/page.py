"""The report of a comparison: report.html, which needs no file beside it; report.md with its tables; figures/*.svg.

The page carries a Content-Security-Policy that lets only its own style sheet and script, pinned by their sha256, take
effect: whatever text a model or a data set brings along can only be shown. The same run and story give the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

from workbench.report.drawing import Figure
from workbench.report.figures import figures
from workbench.report.findings import findings, gaps
from workbench.report.paper import Origin, publish, render
from workbench.report.published import published_tables
from workbench.report.results import Results
from workbench.report.shading import Group, groups
from workbench.report.story import Story
from workbench.report.tables import Table, details, headline, per_concept
from workbench.runs.run import Run


@dataclass(frozen=True)
class Content:
    """All that is said by the page and by the Markdown file, beside the story."""

    headline: Table
    details: tuple[Table, ...]
    per_concept: tuple[Table, ...]
    figures: tuple[Figure, ...]
    findings: tuple[str, ...]
    missing: tuple[str, ...]
    groups: tuple[Group, ...]
    published: tuple[Table, ...]

    @property
    def charts(self) -> tuple[Figure, ...]:
        """The figures over all concepts."""
        return tuple(figure for figure in self.figures if not figure.name.startswith("heat-"))

    @property
    def heat_maps(self) -> tuple[Figure, ...]:
        """The figures concept by concept."""
        return tuple(figure for figure in self.figures if figure.name.startswith("heat-"))


def write_report(folder: Path, story: Story) -> Path:
    """Write the report of the run in `folder` and return the path of report.html; also story.json, to make it again.

    `folder` may lie inside the run's own folder: one layer of several has a folder to itself. Raises ReportError when
    rows and story do not fit together, StorageError when the folder is no run or not writable.
    """
    inside = (folder.parent / "config.json").exists() and not (folder / "config.json").exists()
    run = Run.load(folder.parent if inside else folder)
    content = gather(run, story)
    story.save(folder)
    told = {"told": story, "content": content, "origin": Origin.of(run)}
    return publish(folder, content.figures, render("report.md.jinja", **told), render("page.html.jinja", **told))


def rewrite_report(folder: Path) -> Path:
    """Write the report again from what the run folder holds. Raises as write_report and Story.load."""
    return write_report(folder, Story.load(folder))


def gather(run: Run, story: Story) -> Content:
    """Everything the report of a run says. Raises as write_report."""
    results = Results.of(run.rows(), story)
    return Content(
        headline=headline(results, story),
        details=details(results, story),
        per_concept=per_concept(results, story),
        figures=figures(results, story),
        findings=(*story.conclusions, *findings(results, story)),
        missing=(*story.failures, *gaps(results, story)),
        groups=groups(story),
        published=published_tables() if story.published else (),
    )
