"""A document with a block of every kind in a real browser."""

from tests.report.chrome import open_whole
from tests.report.synthetic import HOSTILE
from tests.report.test_browser import complaints, find, style
from tests.report.test_document import document, hostile_blocks, run_folder
from workbench.report.render import write_report

__all__ = ["run_folder"]


def test_in_a_browser_all_is_visible_in_both_themes_and_on_a_phone(browser, run_folder):
    open_whole(browser, write_report(run_folder, document()))
    charts = find(browser, "figure .wide svg[role=img]")
    assert [chart.rect["width"] > 400 and chart.rect["height"] > 90 for chart in charts] == [True] * 2
    light = style(browser, "#transfer .heat-9", "backgroundColor")
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    assert style(browser, "#transfer .heat-9", "backgroundColor") != light
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert complaints(browser) == []


def test_in_a_browser_words_and_numbers_sort(browser, run_folder):
    open_whole(browser, write_report(run_folder, document()))

    def sorted_by(column: int) -> list[str]:
        find(browser, "#methods-table thead button")[column].click()
        return [cell.text for cell in find(browser, "#methods-table tbody th")]

    assert sorted_by(2) == ["Mass mean", "Logistic regression", "Nearest mean"]
    assert sorted_by(3) == ["Logistic regression", "Mass mean", "Nearest mean"]
    assert sorted_by(3) == ["Mass mean", "Logistic regression", "Nearest mean"]


def test_in_a_browser_no_text_of_a_figure_leaves_its_sheet_or_meets_another(browser, run_folder):
    open_whole(browser, write_report(run_folder, document()))
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].map((svg) => { const b = svg.getBoundingClientRect();"
        "return [...svg.querySelectorAll('text')].map((t) => { const r = t.getBoundingClientRect();"
        "return [t.textContent, r.left - b.left, r.top - b.top, r.right - b.left, r.bottom - b.top,"
        " b.width, b.height]; }); })"
    )
    for figure in boxes:
        for text, left, top, right, bottom, width, height in figure:
            assert left >= -1, text
            assert top >= -1, text
            assert right <= width + 1, text
            assert bottom <= height + 1, text
        for i, (text, left, top, right, bottom, *_) in enumerate(figure):
            for other, left_2, top_2, right_2, bottom_2, *_ in figure[:i]:
                wide, high = min(right, right_2) - max(left, left_2), min(bottom, bottom_2) - max(top, top_2)
                assert wide <= 1 or high <= 4, (text, other)  # lines of text have some air in their boxes


def test_in_a_browser_hostile_text_stays_inert(browser, run_folder):
    open_whole(browser, write_report(run_folder, hostile_blocks()))
    assert browser.execute_script("return window.pwned") is None
    assert HOSTILE in find(browser, "h1")[0].text
    assert complaints(browser) == []
