"""The server's page in a real browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.experiments.serving import Served, serving, vector
from tests.report.chrome import chromium
from tests.report.test_document_browser import complaints

HOSTILE = "<img src=x onerror=window.pwned=1>"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("vectors")
    with serving(folder) as made:
        hostile = vector(made.model, 7)
        replace(hostile, origin=replace(hostile.origin, concept=HOSTILE)).save(folder / "hostile.safetensors")
        yield made


def test_both_answers_stream_side_by_side_and_are_shaded(served: Served, tmp_path: Path) -> None:
    with chromium(tmp_path) as browser:
        wait = WebDriverWait(browser, 240)

        def find(selector: str) -> list[Any]:
            return browser.find_elements("css selector", selector)

        def answered() -> list[Any]:
            assert [each.text for each in find("#problem:not([hidden])")] == []
            return find("#key:not([hidden])") and find("#send:not(:disabled)")

        browser.get(served.url)
        wait.until(lambda _: find("#vectors select"))
        Select(find("#vectors select")[0]).select_by_value("hostile")
        (strength,) = find("#vectors input[type=number]")
        strength.clear()
        strength.send_keys("5")
        browser.execute_script("document.getElementById('max_tokens').value = 24")
        for question in (HOSTILE, "again"):
            find("#question")[0].send_keys(question, "\n")
            wait.until(lambda _: answered())
        assert [each.text for each in find(".question")] == [HOSTILE, "again"]
        assert [each.text for each in find(".who")] == ["as it is", f"{HOSTILE} × 5"] * 2
        plain, steered, *more = find(".text")
        assert len(more) == 2
        assert plain.text != steered.text
        assert len(find(".text span")) > 60
        assert {each.get_attribute("class") for each in find(".text span")} > {"s0"}
        reads = max(find(".text span"), key=lambda each: each.get_attribute("class"))
        reads.click()
        assert reads.get_attribute("title") in find("#reading")[0].text
        assert browser.execute_script("return window.pwned") is None
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        )
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        assert complaints(browser) == []
    served.settle()
    assert served.engine.counts.rows_ended == 4


HELD = """
const sent = window.sent = [], plain = window.fetch;
window.fetch = (path, options = {}) => {
  if (path !== "/v1/chat/completions") return plain(path, options);
  sent.push(JSON.parse(options.body).messages.map((message) => message.content));
  const first = new TextEncoder().encode('data: {"choices": [{"delta": {"content": "begun"}}]}\\n\\n');
  const body = new ReadableStream({ start(stream) {
    stream.enqueue(first);
    options.signal.addEventListener("abort", () => stream.error(new DOMException("stopped", "AbortError")));
  } });
  return Promise.resolve(new Response(body));
};
"""
"""Answers that begin and never end, and what they were asked with."""


def test_a_talk_that_is_begun_anew_during_an_answer_knows_nothing_of_it(served: Served, tmp_path: Path) -> None:
    with chromium(tmp_path) as browser:
        wait = WebDriverWait(browser, 240)

        def find(selector: str) -> list[Any]:
            return browser.find_elements("css selector", selector)

        def ask(question: str) -> None:
            wait.until(lambda _: find("#send:not(:disabled)"))
            find("#question")[0].send_keys(question, "\n")

        browser.get(served.url)
        wait.until(lambda _: find("#vectors select"))
        browser.execute_script(HELD)
        for question, button in (("first", "#anew"), ("second", "#stop")):
            ask(question)
            wait.until(lambda _: [each.text for each in find(".text")] == ["begun"] * 2)
            find(button)[0].click()
        ask("third")
        wait.until(lambda _: browser.execute_script("return sent.length") == 6)
        asked = browser.execute_script("return sent")
    assert asked == [*[["first"]] * 2, *[["second"]] * 2, *[["second", "begun", "third"]] * 2]
