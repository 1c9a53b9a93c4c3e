"""One self-contained page to look through all latents of a dictionary: search, contexts, effects, neighbours."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from workbench.report.render import render
from workbench.report.shading import shade
from workbench.runs.files import write_text
from workbench.text import visible


@dataclass(frozen=True)
class TokenContext:
    """A stretch of text in tokens, and how active a latent is at each."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class LatentCard:
    """All that the page says of a latent."""

    name: str
    """What it is known as beforehand; empty where nothing is known."""
    description: str
    density: float
    """The share of tokens at which it is active."""
    largest: float
    mean: float
    """Where it is active."""
    top: tuple[TokenContext, ...] = ()
    middle: tuple[TokenContext, ...] = ()
    promoted: tuple[tuple[str, float], ...] = ()
    """Tokens, and by how many logits."""
    suppressed: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[tuple[int, float], ...] = ()
    """Numbers and cosines."""
    generation: str | None = None
    """What the model wrote while it was held at a value."""


@dataclass(frozen=True)
class LatentBrowser:
    """The page; a latent's number is its place."""

    title: str
    lead: str
    """One paragraph: of which model, with which texts."""
    facts: tuple[tuple[str, str], ...]
    latents: tuple[LatentCard, ...]
    generated: str = ""
    """How the generations were made."""


def write_browser(browser: LatentBrowser, path: Path) -> Path:
    """Write the page, a file that needs none beside it. Raises StorageError."""
    write_text(path, browser_html(browser))
    return path


def browser_html(browser: LatentBrowser) -> str:
    """The page under a Content-Security-Policy that admits its own style sheet and script only.

    Latents are JSON in a script element that no browser runs, and the script writes them as text.
    """
    return render(
        "latent_browser.html.jinja",
        sheet="latent_browser.css",
        code="latent_browser.js",
        browser=browser,
        data=_inert(_compact(browser)),
    )


def _inert(value: object) -> Markup:
    """JSON in which nothing can end the element that holds it or open another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escapes = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}
    return Markup(text.translate(escapes))


def _compact(browser: LatentBrowser) -> object:
    """Every token once, in a table; latents as lists of what LatentCard has, in its order."""
    table: dict[str, int] = {}

    def number(token: str) -> int:
        return table.setdefault(visible(token), len(table))

    def context(one: TokenContext, largest: float) -> list[object]:
        steps = (shade(value / largest if largest > 0 else 0.0) for value in one.activations)
        return [list(map(number, one.tokens)), "".join(map(str, steps)), _short(max(one.activations, default=0.0))]

    def words(pairs: Sequence[tuple[str, float]]) -> list[object]:
        return [[number(token), _short(value)] for token, value in pairs]

    latents = [
        [
            visible(one.name),
            visible(one.description),
            *map(_short, (one.density, one.largest, one.mean)),
            [context(each, one.largest) for each in one.top],
            [context(each, one.largest) for each in one.middle],
            words(one.promoted),
            words(one.suppressed),
            [[at, _short(cosine)] for at, cosine in one.neighbours],
            None if one.generation is None else visible(one.generation),
        ]
        for one in browser.latents
    ]
    return {"tokens": list(table), "latents": latents, "generated": visible(browser.generated)}


def _short(value: float) -> float:
    """Three significant figures."""
    return float(f"{value:.3g}")
