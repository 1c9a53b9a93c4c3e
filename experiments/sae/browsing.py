"""The page of all latents of the run's first dictionary."""

from pathlib import Path

from experiments.sae.fitting import FittedDictionary
from experiments.sae.material import OUTLIER
from probes.sae.browser import LatentSet, browse, write_browser
from probes.sae.browser.describe import Ask
from probes.sae.browser.page import VERSION, BrowserOptions
from workbench.evaluation.judges.endpoint import EndpointJudge
from workbench.runs.files import copy_file

PAGE = "latents.html"


def write_page(fit: FittedDictionary) -> Path:
    """Stage: the browser of a dictionary's latents, over the passages that it was trained on."""
    source = fit.source
    options = BrowserOptions(generations=source.config.browsed, outlier=OUTLIER)
    inputs = source.inputs(dictionary=fit.dictionary.content_digest, browsed=source.config.browsed, version=VERSION)
    ask = _describer(fit)
    if ask is not None:
        inputs = {**inputs, "describer": [source.config.describer, source.config.describer_model]}

    def write(path: Path) -> None:
        write_browser(browse(LatentSet.of(fit.dictionary), source.model, source.states, options, ask), path)

    made = source.run.unit_file(f"browser/{fit.title}", inputs, write, ".html")
    page = source.run.folder / PAGE
    copy_file(made, page)
    return page


def _describer(fit: FittedDictionary) -> Ask | None:
    """The language model behind the endpoint, whose replies the run keeps; None where none is named."""
    config, folder = fit.source.config, fit.source.run.folder
    if not config.describer:
        return None
    judge = EndpointJudge(config.describer, config.describer_model, max_tokens=48, cache=folder / "describer")
    return lambda prompts: [reply.text for reply in judge.answer(prompts)]
