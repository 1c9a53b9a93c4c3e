import html
import re

import pytest

from tests.report.synthetic import synthetic_document
from workbench.report.blocks import Column, HeatMap, Missing, Table, headings
from workbench.report.cells import Cell, ShownTable, marks, show_heat_map, show_table
from workbench.report.estimate import Estimate
from workbench.report.shading import HEAT_STEPS


def table(*cells: tuple[str, tuple], columns: tuple[Column, ...] = headings("ab")) -> Table:
    return Table(name="t", title="T", caption="c.", corner="Method", columns=columns, rows=cells)


def heat_map(*values: tuple, low: float = 0.0, columns: tuple[str, ...] = ()) -> HeatMap:
    return HeatMap(
        name="h",
        title="H",
        caption="c.",
        rows=tuple(f"row {i}" for i in range(len(values))),
        columns=columns or tuple(str(j) for j in range(len(values[0]))),
        values=values,
        low=low,
        high=1.0,
        rows_label="fitted on",
        columns_label="tested on",
    )


def unescaped(markdown):
    """The cells of a Markdown table, as a renderer shows them."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if not line.startswith("| :--")]
    return [[html.unescape(re.sub(r"\\(.)", r"\1", cell)).strip() for cell in line] for line in cells]


def test_markdown_holds_the_same_cells():
    blocks = [block for section in synthetic_document().sections for block in section.blocks]
    shown = [show_table(block) for block in blocks if isinstance(block, Table)]
    shown += [show_heat_map(block) for block in blocks if isinstance(block, HeatMap)]
    assert len(shown) == 12
    for one in shown:
        expected = [[one.corner, *(each.label for each in one.columns)]]
        for head, cells in zip(one.heads, one.cells, strict=True):
            expected.append([head, *(f"{cell.read} {cell.detail}".strip() for cell in cells)])
        assert unescaped(one.markdown()) == expected


def test_markdown_keeps_hostile_names_in_their_cell():
    name = "a | b </td><script> [x](y) `c`\nd"
    shown = ShownTable("t", "T", "caption", "Concept", (Column(name),), (name,), ((Cell("1"),),))
    assert unescaped(shown.markdown()) == [["Concept", " ".join(name.split())], [" ".join(name.split()), "1"]]


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(0.5, 0.25, 0.75, 10), {"low": 25.0, "value": 50.0, "high": 75.0, "chance": 50.0}),
        (Estimate(0.5, n=10), None),
        (None, None),
    ],
)
def test_marks_are_percentages_of_the_range(estimate, expected):
    column = Column("AUROC", span=(0.0, 1.0), chance=0.5)
    assert marks(column, Cell(estimate=estimate)) == expected


def test_columns_are_rounded_by_their_largest_number_or_as_they_say():
    cells = show_table(table(("x", (266.4, 1.0)), ("y", (3.14159, 0.5)))).cells
    assert [[cell.text for cell in row] for row in cells] == [["266.4", "1.00"], ["3.1", "0.50"]]
    cells = show_table(table(("x", (266.4,)), columns=(Column("a", digits=3),))).cells
    assert cells[0][0].text == "266.400"


def test_small_numbers_are_not_shown_as_nothing_unless_their_interval_says_more():
    tiny, near = Estimate(0.0004, 0.0002, 0.0006, 3), Estimate(0.0004, -0.02, 0.02, 3)
    cells = show_table(table(("x", (0.9,)), ("y", (tiny,)), ("z", (near,)), columns=headings("a"))).cells
    assert [row[0].text for row in cells] == ["0.900", "0.0004", "0.000"]
    assert cells[1][0].detail == "[0.0002, 0.0006] n = 3"
    assert cells[2][0].detail == "[−0.020, 0.020] n = 3"


def test_zero_is_a_number_and_what_is_missing_says_why():
    (row,) = show_table(table(("x", (0, 0.0, None, Missing("Detects only."))), columns=headings("abcd"))).cells
    assert [(cell.text, cell.value, cell.why) for cell in row] == [
        ("0", 0.0, ""),
        ("0.00", 0.0, ""),
        ("–", None, "Not measured in this run."),
        ("–", None, "Detects only."),
    ]


def test_words_stand_left_only_where_a_column_has_nothing_else():
    shown = show_table(table(("x", ("word", "word", None)), ("y", (None, 1.0, None)), columns=headings("abc")))
    assert [shown.is_words(i) for i in range(3)] == [True, False, False]


def test_captions_say_what_stands_in_the_cells():
    plain = show_table(table(("x", (1.0, 2.0))))
    assert plain.caption == "c."
    full = show_table(table(("x", (Estimate(1.0, 0.5, 1.5), None))))
    assert full.caption == "c. Brackets are 95 % intervals. – is missing, never zero."


def test_a_heat_map_runs_through_all_steps():
    shown = show_heat_map(heat_map(tuple((i + 0.5) / HEAT_STEPS for i in range(HEAT_STEPS)), (0.0,) * HEAT_STEPS))
    assert [cell.step for cell in shown.cells[0]] == list(range(HEAT_STEPS))
    assert shown.ends == ("0", "1")
    assert shown.corner == "fitted on ↓ tested on →"


def test_a_heat_map_has_a_number_in_every_cell_its_interval_in_the_tip_and_a_reason_where_it_is_missing():
    cells = (Estimate(0.934, 0.9, 0.97, 36), 0.5, None, Missing("Steers only."))
    (row,) = show_heat_map(heat_map(cells, low=0.5)).cells
    assert [cell.text for cell in row] == ["0.93", "0.50", "–", "–"]
    assert [cell.tip for cell in row] == ["row 0, 0: 0.93 [0.90, 0.97] n = 36", "row 0, 1: 0.50", "", ""]
    assert [cell.step for cell in row] == [8, 0, None, None]
    assert [cell.why for cell in row[2:]] == ["Not measured in this run.", "Steers only."]


def test_values_beyond_the_ends_have_the_nearest_shade_and_are_said():
    shown = show_heat_map(heat_map((None, -1.0, 2.0)))
    assert [cell.step for cell in shown.cells[0]] == [None, 0, 9]
    assert "Palest is 0 or less, strongest 1 or more. – in a dashed cell is missing" in shown.caption
    assert "or" not in show_heat_map(heat_map((0.5,))).caption


def test_many_wide_heads_of_a_heat_map_are_written_upward():
    assert not show_table(table(("x", (1.0,) * 9), columns=headings(["a long label"] * 9))).upright
    assert show_heat_map(heat_map((0.5,) * 9, columns=("a long label",) * 9)).upright
    assert not show_heat_map(heat_map((0.5,) * 9)).upright
    assert not show_heat_map(heat_map((0.5,) * 2, columns=("a long label",) * 2)).upright


def placed(better, *cells, references=()):
    """How a column whose cells are these shows them, by row."""
    rows = tuple((f"row {i}", (cell,)) for i, cell in enumerate(cells))
    made = Table(
        name="t", title="T", caption="c.", corner="Method", columns=(Column("a", better=better, digits=1),),
        rows=rows, references=references,
    )  # fmt: skip
    return [row[0].read for row in show_table(made).cells]


def test_the_best_of_a_column_is_marked_and_lightly_what_lies_in_its_interval():
    cells = (Estimate(0.9, 0.6, 1.0), 0.7, 0.5, None)
    assert placed("higher", *cells) == ["● 0.9", "○ 0.7", "0.5", "–"]
    assert placed("lower", *cells) == ["0.9", "0.7", "● 0.5", "–"]
    assert placed(None, *cells) == ["0.9", "0.7", "0.5", "–"]
    caption = show_table(
        table(("x", (Estimate(1.0, 0.5, 1.5),)), ("y", (0.8,)), columns=(Column("a", better="higher"),))
    )
    assert "● is the best of its column. ○ lies in the interval of the best" in caption.caption


def test_where_all_are_equal_or_alone_none_is_the_best():
    assert placed("higher", 0.0, 0.0) == ["0.0", "0.0"]
    assert placed("higher", 0.4, None) == ["0.4", "–"]
    assert placed("higher", 0.4, 0.4, 0.1) == ["● 0.4", "● 0.4", "0.1"]


def test_a_row_that_stands_for_comparison_only_is_never_the_best():
    assert placed("lower", 0.0, 0.5, 0.7, references=("row 0",)) == ["0.0", "● 0.5", "0.7"]


def ordered(*cells, by=(0, 1)):
    columns = (Column("score", better="higher"), Column("cost", better="lower"))
    made = table(*((f"row {i}", pair) for i, pair in enumerate(cells)), columns=columns).ranked(*by)
    return [head for head, _ in made.rows], made.sorted_by


def test_rows_are_ranked_by_the_first_column_that_has_numbers_and_missing_ones_stand_last():
    assert ordered((None, 3.0), (0.2, 9.0), (0.8, 5.0), (None, 1.0)) == (["row 2", "row 1", "row 3", "row 0"], 0)
    assert ordered((None, 3.0), (None, 1.0)) == (["row 1", "row 0"], 1)
    assert ordered((None, None), (None, None)) == (["row 0", "row 1"], None)


def test_the_column_that_rows_are_ordered_by_is_told():
    made = table(
        ("x", (1.0, 2.0)), ("y", (3.0, 1.0)), columns=(Column("a", better="higher"), Column("b", better="lower"))
    )
    assert show_table(made).sorted is None
    assert (show_table(made.ranked(0)).sorted, show_table(made.ranked(0)).direction) == (0, "descending")
    assert (show_table(made.ranked(1)).sorted, show_table(made.ranked(1)).direction) == (1, "ascending")
