import math
import re

import pytest

from tests.report.drawn import at, explained, parts, texts, titles
from workbench.report.charts import Dot, ScatterPlot
from workbench.report.drawing import Figure
from workbench.report.errors import ReportError
from workbench.report.estimate import Estimate
from workbench.report.scatter_plot import draw_dots


def figure_of(*dots: Dot, chance: float | None = 0.5) -> Figure:
    return draw_dots(
        ScatterPlot(name="p", title="P", caption="c.", x="AUROC", y="score", dots=dots, beside="no x", chance=chance)
    )


def dot(label: str, x: float | None, y: float, series: int = 0, half: float = 0.0) -> Dot:
    across = None if x is None else Estimate(x, x - half, x + half, 10)
    return Dot(label, across, Estimate(y, y - half, y + half, 10), series)


def test_dots_stand_where_their_numbers_say():
    figure = figure_of(dot("probe", 0.6, 0.5), dot("lat", 0.8, 0.5, 1), dot("pca", 0.8, 1.0, 2))
    place = {name: at(use) for name, use in explained(figure, "use").items()}
    assert place["probe"][0] < place["lat"][0] == pytest.approx(place["pca"][0])
    assert place["probe"][1] == pytest.approx(place["lat"][1])
    assert place["pca"][1] < place["lat"][1], "upward is smaller in SVG"


def bars(figure: Figure, paint: str) -> list[float]:
    """The lengths of the straight lines of a colour."""
    found = []
    for path in parts(figure, "path"):
        numbers = [float(each) for each in re.findall(r"[\d.]+", path.get("d", ""))]
        if path.get("class") == paint and len(numbers) == 4:
            found.append(math.dist(numbers[:2], numbers[2:]))
    return found


def test_bars_are_as_long_as_their_intervals():
    figure = figure_of(dot("a", 0.7, 0.5, 1, half=0.05), dot("b", 0.8, 0.6, 3, half=0.1))
    (across, up), (twice_across, twice_up) = (bars(figure, paint) for paint in ("s-s1", "s-s3"))
    assert across > 20
    assert twice_across == pytest.approx(2 * across, rel=1e-3)
    assert twice_up == pytest.approx(2 * up, rel=1e-3)


def test_dots_without_x_stand_beside_and_all_are_named_and_read_out():
    figure = figure_of(dot("probe", 0.9, 0.5), dot("prompt", None, 0.7, 1))
    assert {"probe", "prompt", "no x"} <= set(texts(figure))
    assert "prompt: no AUROC, score 0.70 [0.70, 0.70] n = 10" in titles(figure)
    assert "probe: AUROC 0.90 [0.90, 0.90] n = 10, score 0.50 [0.50, 0.50] n = 10" in figure.alt
    places = {text.text: at(text)[0] for text in parts(figure, "text")}
    assert places["prompt"] > places["probe"]


def test_chance_and_intervals_are_said_only_where_there_are_any():
    plain = figure_of(Dot("a", Estimate(0.7), Estimate(0.5), 0), chance=None)
    assert plain.caption == "c."
    assert figure_of(dot("a", 0.7, 0.5)).caption == "c. Bars are 95 % intervals. The dotted line is chance, 0.5."


def test_names_are_drawn_as_they_are():
    name = "$\\frac{1}{0}$ & <b>"
    assert name in texts(figure_of(dot(name, 0.7, 0.5)))


def test_a_plot_without_a_pair_is_refused():
    with pytest.raises(ReportError, match="no dot of the figure 'p' has both numbers"):
        figure_of(dot("prompt", None, 0.7))
    with pytest.raises(ReportError, match="a number of 'a' is nan"):
        Dot("a", Estimate(math.nan), Estimate(0.5), 0)
