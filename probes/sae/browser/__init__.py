"""What every latent of a dictionary does, as one page to look through. Needs no JAX.

    page = browse(LatentSet.of(dictionary), model, texts, BrowserOptions(generations=100))
    write_browser(page, Path("latents.html"))

The texts are read once. A `Dictionary` of concept directions is browsed in the same way.
"""

from typing import TYPE_CHECKING

from workbench.registry import lazy

if TYPE_CHECKING:
    from probes.sae.browser.latent_set import LatentSet
    from probes.sae.browser.page import BrowserOptions, browse
    from workbench.report.latent_browser import write_browser

__all__ = ["BrowserOptions", "LatentSet", "browse", "write_browser"]

__getattr__ = lazy(
    __name__,
    {
        "BrowserOptions": "probes.sae.browser.page:BrowserOptions",
        "LatentSet": "probes.sae.browser.latent_set:LatentSet",
        "browse": "probes.sae.browser.page:browse",
        "write_browser": "workbench.report.latent_browser:write_browser",
    },
)
