"""The page of all latents of the run's first dictionary."""

from pathlib import Path

from experiments.sae.fitting import FittedDictionary
from experiments.sae.material import OUTLIER
from probes.sae.browser import LatentSet, browse, write_browser
from probes.sae.browser.page import VERSION, BrowserOptions
from workbench.runs.files import copy_file

PAGE = "latents.html"


def write_page(fit: FittedDictionary) -> Path:
    """Stage: the browser of a dictionary's latents, over the passages that it was trained on."""
    source = fit.source
    options = BrowserOptions(generations=source.config.browsed, outlier=OUTLIER)
    inputs = source.inputs(dictionary=fit.dictionary.content_digest, browsed=source.config.browsed, version=VERSION)

    def write(path: Path) -> None:
        write_browser(browse(LatentSet.of(fit.dictionary), source.model, source.states, options), path)

    made = source.run.unit_file(f"browser/{fit.title}", inputs, write, ".html")
    page = source.run.folder / PAGE
    copy_file(made, page)
    return page
