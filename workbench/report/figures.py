"""Every figure of a report, in the order of the page."""

from workbench.report.curves import parts_against_strength, score_against_strength
from workbench.report.drawing import Figure
from workbench.report.heatmap import heat_map
from workbench.report.results import Results
from workbench.report.scatter import detection_against_steering
from workbench.report.story import Story


def figures(results: Results, story: Story) -> tuple[Figure, ...]:
    """The figures that the rows allow; the same rows give the same bytes."""
    drawn = (
        detection_against_steering(results, story),
        score_against_strength(results, story),
        parts_against_strength(results, story),
        heat_map(results, story, "detection.auroc"),
        heat_map(results, story, "steering.score"),
    )
    return tuple(figure for figure in drawn if figure is not None)
