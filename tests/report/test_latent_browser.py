"""The page of all latents: what it holds, and in a real browser that it can be searched, sorted and read."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.report.chrome import open_whole
from tests.report.synthetic import HOSTILE
from tests.report.test_browser import complaints, find
from workbench.report.latent_browser import LatentBrowser, LatentCard, TokenContext, browser_html, write_browser


def card(number: int, **more: object) -> LatentCard:
    """A latent that is active on its number."""
    context = TokenContext(("the ", f"word{number}", " here"), (0.0, float(number), number / 2))
    made = LatentCard("", f"on word{number}", number / 1000, float(number), number / 2, (context,), (context,),
                      ((f"up{number}", 1.5),), ((f"down{number}", -1.5),), (((number + 1) % 250, 0.5),))  # fmt: skip
    return replace(made, **more)  # pyright: ignore[reportArgumentType]


def browser_of(*cards: LatentCard) -> LatentBrowser:
    return LatentBrowser("Latents of a test", "A lead.", (("Latents", str(len(cards))),), cards, "How it was made.")


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(text)


def test_the_page_holds_every_number_and_each_token_once() -> None:
    data = data_of(browser_html(browser_of(card(3), card(8))))
    assert data["tokens"][:3] == ["the ", "word3", " here"]
    assert len(set(data["tokens"])) == len(data["tokens"])
    first = data["latents"][0]
    assert first[:5] == ["", "on word3", 0.003, 3.0, 1.5]
    assert first[5] == [[[0, 1, 2], "095", 3.0]]
    assert first[7:] == [[[3, 1.5]], [[4, -1.5]], [[4, 0.5]], None]


def test_only_its_own_style_and_script_are_allowed() -> None:
    page = browser_html(browser_of(card(1)))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    for text in (style, script):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy.replace("&#43;", "+")
    assert "unsafe" not in policy


def test_hostile_text_leaves_no_markup() -> None:
    hostile = card(1, name=HOSTILE, description=HOSTILE, generation=HOSTILE, promoted=((HOSTILE, 1.0),),
                   top=(TokenContext((HOSTILE, "<!--", "\u2028", "\x00"), (1.0, 0.0, 0.0, 0.0)),))  # fmt: skip
    page = browser_html(replace(browser_of(hostile), title=HOSTILE, lead=HOSTILE))
    assert page.count("</script>") == 2
    assert "<img" not in page
    assert data_of(page)["tokens"][:4] == [HOSTILE, "<!--", "\u2028", "␀"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cards = [card(number) for number in range(250)]
    cards[7] = replace(cards[7], generation="a text of seven", name="seven")
    cards[9] = card(9, name=HOSTILE, description=HOSTILE, generation=HOSTILE, promoted=((HOSTILE, 1.0),),
                    top=(TokenContext((HOSTILE, "\n"), (9.0, 0.0)),))  # fmt: skip
    return write_browser(browser_of(*cards), tmp_path_factory.mktemp("latents") / "latents.html")


@pytest.fixture
def opened(browser: Chrome, page: Path) -> Chrome:
    open_whole(browser, page)
    return browser


def numbers(opened: Chrome) -> list[int]:
    return [int(each.text) for each in find(opened, "#list .number")]


def test_latents_are_found_by_what_they_are_about(opened: Chrome) -> None:
    (field,) = find(opened, "input[type=search]")
    assert find(opened, "output")[0].text == "249 latents"  # latent 0 is silent
    field.send_keys("up17")
    assert numbers(opened) == [17, *range(170, 180)]
    field.clear()
    field.send_keys("seven")
    assert numbers(opened) == [7]
    find(opened, "input[type=checkbox]")[0].click()
    field.clear()
    field.send_keys("word0")
    assert numbers(opened) == [0]
    assert complaints(opened) == []


def test_latents_are_sorted_and_come_in_portions(opened: Chrome) -> None:
    assert numbers(opened) == list(range(1, 101))
    Select(find(opened, "select")[0]).select_by_value("density")
    assert numbers(opened) == list(range(249, 149, -1))
    (more,) = find(opened, "#more")
    more.click()
    more.click()
    assert numbers(opened) == list(range(249, 0, -1))
    assert not more.is_displayed()
    Select(find(opened, "select")[0]).select_by_value("rare")
    assert numbers(opened)[:2] == [1, 2]
    assert complaints(opened) == []


def wait_for(opened: Chrome, title: str) -> None:
    """The page shows another latent once it hears of its place, which may be after the click has come back."""
    waiting = WebDriverWait(opened, 10, ignored_exceptions=[StaleElementReferenceException])
    waiting.until(lambda _: [heading.text for heading in find(opened, "#latent h2")] == [title], title)


def test_a_latent_shows_contexts_words_neighbours_and_its_text(opened: Chrome) -> None:
    find(opened, "#list a")[6].click()
    wait_for(opened, "Latent 7")
    strongest = find(opened, "#latent .shade-9")[0]
    assert strongest.text == "word7"
    colour = strongest.value_of_css_property("background-color")
    assert colour not in (
        "rgba(0, 0, 0, 0)",
        find(opened, "#latent .shade-5")[0].value_of_css_property("background-color"),
    )
    assert [each.text for each in find(opened, ".words li")][:2] == ["up7 1.5", "down7 -1.5"]
    assert find(opened, "#generation")[0].text == "a text of seven"
    assert str(find(opened, "a[aria-current]")[0].get_attribute("href")).endswith("#7")
    find(opened, "#neighbours a")[0].click()
    wait_for(opened, "Latent 8")
    assert not find(opened, "#generation")
    assert complaints(opened) == []


def test_in_a_browser_hostile_tokens_stay_inert(opened: Chrome) -> None:
    opened.execute_script("location.hash = '9'")
    wait_for(opened, "Latent 9")
    assert HOSTILE in find(opened, "#latent .context")[0].text
    assert "↵" in find(opened, "#latent .context")[0].text
    assert HOSTILE in find(opened, "#generation")[0].text
    assert opened.execute_script("return window.pwned") is None
    assert complaints(opened) == []


def test_a_phone_shows_the_page_without_scrolling_sideways(opened: Chrome) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        for latent in (7, 9):
            opened.execute_script(f"location.hash = '{latent}'")
            assert opened.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
