"""The page of all latents of the run's first dictionary, and what they stand for as a file that SAE reads."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from experiments.sae.fitting import FittedDictionary
from probes.sae.browser import LatentSet, browse, write_browser
from probes.sae.browser.page import VERSION, BrowserOptions
from workbench.evaluation.judges.base import JudgeError
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.runs.files import JSON, copy_file, write_json

PAGE, DESCRIPTIONS = "latents.html", "latents.json"
UNANSWERED = 0.05
"""The share of questions about latents that may stay without an answer."""


def write_page(fit: FittedDictionary) -> Path:
    """Stage: the browser of a dictionary's latents, over the passages that it was trained on.

    Beside it stands DESCRIPTIONS, an object from numbers of latents to descriptions, for SAE's `descriptions`.
    A page on which the describer did not answer for all latents is written again by the next run, which asks it again
    for those. Raises JudgeError, and writes none, where it failed for more than 5 % of them.
    """
    source = fit.source
    options = BrowserOptions(generations=source.config.browsed)
    inputs = source.inputs(dictionary=fit.dictionary.content_digest, browsed=source.config.browsed, version=VERSION)
    judge = _describer(fit)
    if judge is not None:
        inputs = {**inputs, "describer": [source.config.describer, source.config.describer_model]}

    name = f"browser/{fit.title}"

    def write(paths: Mapping[str, Path]) -> dict[str, JSON]:
        ask = None if judge is None else partial(_phrases, judge)
        browser = browse(LatentSet.of(fit.dictionary), source.model, source.states, options, ask)
        write_browser(browser, paths[name])
        said = {str(number): one.description for number, one in enumerate(browser.latents) if one.description}
        return {name: {"failed": 0 if judge is None else judge.usage.failed, "descriptions": said}}

    # the page of an earlier version, which has no note, is written again
    stored = source.run.units.files({name: inputs}, write, ".html", lambda note: bool(note) and not note["failed"])
    page = source.run.folder / PAGE
    copy_file(stored[name].path, page)
    write_json(source.run.folder / DESCRIPTIONS, stored[name].note["descriptions"])
    return page


def _describer(fit: FittedDictionary) -> EndpointJudge | None:
    """The language model behind the endpoint, whose replies the run keeps; None where none is named."""
    config, folder = fit.source.config, fit.source.run.folder
    if not config.describer:
        return None
    return EndpointJudge(config.describer, config.describer_model, max_tokens=48, cache=folder / "describer")


def _phrases(judge: EndpointJudge, prompts: list[str]) -> list[str | None]:
    replies, failed = judge.answer(prompts), judge.usage.failed
    if failed > UNANSWERED * len(prompts):
        reason = next(reply.error for reply in replies if reply.error)
        raise JudgeError(
            f"{judge.name} left {failed} of {len(prompts)} questions about latents without an answer (allowed are "
            f"{UNANSWERED:.0%}), one because: {reason}. Repair it; the same command then asks for those alone"
        )
    return [reply.text for reply in replies]
