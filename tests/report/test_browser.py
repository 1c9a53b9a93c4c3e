"""The report in a real browser, opened as a file as its readers do."""

import base64
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.report.chrome import open_whole, program
from tests.report.synthetic import (
    CONCEPTS,
    HOSTILE,
    METHODS,
    hostile_document,
    hostile_rows,
    make_run,
    synthetic_document,
    synthetic_rows,
)
from workbench.report.render import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("report"), synthetic_rows()), synthetic_document())


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("hostile"), hostile_rows()), hostile_document())


@pytest.fixture
def opened(browser: Chrome) -> Iterator[Callable[[Path], Chrome]]:
    """Opens a file in a fresh page; whatever a test did must leave the console empty."""

    def open_file(path: Path) -> Chrome:
        open_whole(browser, path)
        return browser

    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]
    yield open_file
    assert complaints(browser) == []


@pytest.fixture
def page(opened: Callable[[Path], Chrome], report: Path) -> Chrome:
    return opened(report)


def complaints(browser: Chrome) -> list[Any]:
    return browser.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]


def find(page: Chrome, css: str) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, css)


def headings(page: Chrome) -> list[str]:
    return [cell.text for cell in find(page, "#headline-table tbody th")]


def sort_by(page: Chrome, column: int) -> WebElement:
    return find(page, "#headline-table thead button")[column]


def shown(page: Chrome, css: str) -> list[WebElement]:
    return [each for each in find(page, css) if each.is_displayed()]


def style(page: Chrome, css: str, name: str) -> str:
    return page.execute_script("return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", css, name)


def shade(page: Chrome, step: int) -> str:
    """The colour of a cell of a heat map."""
    return style(page, f"#heat-detection-auroc .heat-{step}", "backgroundColor")


def test_it_opens_without_a_complaint(page):
    assert page.title == synthetic_document().title
    assert page.execute_script("return document.documentElement.lang") == "en"


def test_every_chart_is_visible(page):
    charts = shown(page, "figure svg[role=img]")
    assert len(charts) == 3
    for chart in charts:
        assert chart.is_displayed()
        assert chart.rect["width"] > 400
        assert chart.rect["height"] > 150
        texts = chart.find_elements(By.CSS_SELECTOR, "text")
        assert len(texts) > 10
        assert all(text.rect["height"] > 8 for text in texts)


def test_charts_are_coloured_by_the_style_sheet(page):
    assert style(page, "#detection-steering .s-s2", "stroke") == style(page, "#score-strength .s-s2", "stroke")
    assert style(page, "#detection-steering .s-s2", "stroke") not in ("none", "rgb(0, 0, 0)")
    assert shade(page, 9) != shade(page, 0)


def test_a_click_sorts_and_another_turns_it_round(page):
    by_score = ["Prompt", "DiffMean", "LAT", "Linear probe", "PCA", "Random direction", "Bag of words"]
    assert headings(page) == by_score
    assert find(page, "#headline-table thead th")[2].get_attribute("aria-sort") == "descending"
    sort_by(page, 1).click()
    down = headings(page)
    assert down == ["Linear probe", "DiffMean", "Bag of words", "LAT", "PCA", "Random direction", "Prompt"]
    assert find(page, "#headline-table thead th")[1].get_attribute("aria-sort") == "descending"
    sort_by(page, 1).click()
    assert headings(page) == [*reversed(down[:-1]), "Prompt"], "what is missing stays last"
    assert find(page, "#headline-table thead th")[1].get_attribute("aria-sort") == "ascending"


def test_the_keyboard_sorts(page):
    sort_by(page, 2).send_keys(Keys.ENTER)
    assert headings(page)[-3:] == ["DiffMean", "Prompt", "Bag of words"], "it was in the other order before"
    sort_by(page, 0).send_keys(Keys.SPACE)
    assert headings(page) == sorted(note.label for note in METHODS)
    assert len(find(page, "#headline-table [aria-sort]")) == 1


def test_a_heat_map_sorts_and_every_cell_can_be_read(page):
    def heads() -> list[str]:
        return [cell.text for cell in find(page, "#heat-steering-score tbody th")]

    def column(at: int) -> list[str]:
        return [cell.text for cell in find(page, f"#heat-steering-score tbody td:nth-child({at})")]

    before = heads()
    assert set(before) == set(CONCEPTS)
    (place,) = [i for i, one in enumerate(find(page, "#heat-steering-score thead th")) if one.text == "PCA"]
    find(page, "#heat-steering-score thead button")[place].click()
    scores = column(place + 1)
    assert scores[-1].startswith("–"), "what is missing stays last"
    assert scores[:-1] == sorted(scores[:-1], reverse=True)
    assert heads() != before
    assert find(page, "#heat-steering-score thead th")[place].get_attribute("aria-sort") == "descending"


def test_generations_are_filtered_by_method(page):
    assert len(shown(page, ".card")) == 18
    find(page, ".filters [value='Random direction']")[0].click()
    assert {card.get_attribute("data-method") for card in shown(page, ".card")} == {
        note.label for note in METHODS if note.name not in ("random", "bow")
    }
    assert find(page, ".filters output")[0].text == "15 generations"


def test_generations_are_filtered_by_concept_and_text(page):
    Select(find(page, ".filters select")[0]).select_by_visible_text("ocean and tides")
    assert [group.get_attribute("data-concept") for group in shown(page, ".group")] == ["ocean and tides"]
    find(page, ".filters [type=search]")[0].send_keys("TIDE")
    assert len(shown(page, ".card")) == 5
    find(page, ".filters [type=search]")[0].send_keys(" no such words", Keys.ENTER)
    assert shown(page, ".group") == []
    assert find(page, ".filters output")[0].text == "0 generations"


def test_dark_differs_from_light(page):
    def look() -> list[str]:
        return [
            style(page, "body", "backgroundColor"),
            style(page, "body", "color"),
            style(page, "#detection-steering .f-muted", "fill"),
            shade(page, 9),
            style(page, ".shade-9", "backgroundColor"),
        ]

    light = look()
    dark_scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", dark_scheme)
    assert all(before != after for before, after in zip(light, look(), strict=True))


def test_it_prints_everything_readably(page, tmp_path):
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    (tmp_path / "report.pdf").write_bytes(base64.b64decode(printed["data"]))
    command = [program("pdftotext"), "-layout", str(tmp_path / "report.pdf"), "-"]
    text = " ".join(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    for said in (
        synthetic_document().title,
        "All methods at a glance",
        "Random direction",
        "detection AUROC",
        "Chosen strength by concept",
        "sarcasm and mockery in replies",
        "The parties hereby agree",
        "What failed",
        "python -m experiments.axbench",
    ):
        assert said in text, said
    assert text.count("n = 36") > 50, "the numbers of every concept are unfolded"
    assert "18 generations" not in text, "controls are of no use on paper"


def test_what_was_folded_is_folded_again_after_printing(page):
    page.execute_cdp_cmd("Page.printToPDF", {})
    assert find(page, "details")
    assert find(page, "details[open]") == []


def test_a_narrow_screen_needs_no_sideways_scrolling(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        assert [chart.rect["width"] <= 360 for chart in shown(page, "figure svg[role=img]")] == [True] * 3
        for figure in shown(page, "#detection-steering svg, #score-strength svg"):
            right = figure.rect["x"] + figure.rect["width"]
            for best in ("Prompt", "DiffMean"):
                (name,) = [text for text in figure.find_elements(By.CSS_SELECTOR, "text") if text.text == best]
                assert figure.rect["x"] <= name.rect["x"] < name.rect["x"] + name.rect["width"] <= right
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_a_laptop_no_table_needs_sideways_scrolling(page):
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 1280
        page.execute_script("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        wide = page.execute_script(
            "return [...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth)"
            ".map((each) => each.id)"
        )
        assert wide == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_scripts_it_can_still_be_read(browser, opened, report):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = opened(report)
        assert len(headings(page)) == len(METHODS)
        assert shown(page, ".filters") == []
        assert len(shown(page, ".card")) == 18
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_hostile_text_stays_inert_and_visible(opened, hostile_report):
    page = opened(hostile_report)
    assert page.execute_script("return window.pwned") is None
    assert find(page, "img, iframe, object, embed, base") == []
    assert len(find(page, "script")) == 1
    assert HOSTILE in find(page, "h1")[0].text
    assert find(page, "#heat-detection-auroc tbody th")
    card = ".card[data-method^='Linear probe'] .answer"
    answer = page.execute_script("return document.querySelector(arguments[0]).textContent", card)
    assert answer.count(HOSTILE) == 2
    sort_by(page, 1).click()
    Select(find(page, ".filters select")[0]).select_by_visible_text(HOSTILE)
    assert len(shown(page, ".card")) == 2
    assert page.execute_script("return window.pwned") is None


def test_the_policy_refuses_any_other_script_and_style(page, browser):
    page.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.injected = 1';"
        "const style = document.createElement('style'); style.textContent = 'body { color: rgb(1, 2, 3) }';"
        "document.body.append(script, style); document.body.insertAdjacentHTML('beforeend',"
        '\'<img src=x onerror="window.injected = 1"><p id=styled style="color: rgb(1, 2, 3)">x</p>\');'
    )
    assert page.execute_script("return window.injected") is None
    assert style(page, "body", "color") != "rgb(1, 2, 3)"
    assert style(page, "#styled", "color") != "rgb(1, 2, 3)"
    assert len(complaints(browser)) >= 4


@pytest.mark.parametrize("name", ["detection-steering", "score-strength", "score-parts"])
def test_figures_also_stand_alone(opened, report, name):
    page = opened(report.parent / "figures" / f"{name}.svg")
    assert page.execute_script("return document.documentElement.getBoundingClientRect().width") > 400
    assert style(page, ".f-muted, .f-ink", "fill") not in ("", "rgb(0, 0, 0)")
