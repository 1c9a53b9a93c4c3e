"""What looks like a key or a login: a configuration is written to disk, to reports and to W&B, and may carry none."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

REMEDY = "leave it out; a key is read from the environment, such as OPENAI_API_KEY"

# One slash is what a Path leaves of two; a scheme of one letter would be a drive.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/+(?P<host>[^/?#\s]*)(?P<path>[^?#\s]*)(?P<rest>[?#]\S)?", re.IGNORECASE)
_PREFIX = r"(?:sk-|pk-|rk-|xai-|glpat-|nvapi-|xox[a-z]-|hf_|gsk_|r8_|gh[a-z]_|github_pat_|AKIA|AIza|eyJ)"
_KEY = re.compile(rf"(?<![\w-]){_PREFIX}[\w-]*?(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{{16}}")
_SEGMENT = re.compile(rf"^{_PREFIX}|=|(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{{20}}")


def secret_in(value: object) -> str | None:
    """What in a text, a path, or a list of these looks like a secret, in words that do not repeat it; None if nothing.

    A URL may have no login, query or fragment, and no part of its path that looks like a key.
    """
    return next((found for text in _texts(value) for found in _secrets(text)), None)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _texts(item)


def _secrets(text: str) -> Iterator[str]:
    for url in _URL.finditer(text):
        if "@" in unquote(url["host"]):
            yield "a URL with a login in it"
        if url["rest"]:
            yield "a URL with a query or fragment, where keys are put"
        if any(_SEGMENT.search(part) for part in unquote(url["path"]).split("/")):
            yield "a URL with what looks like a key in its path"
    if _KEY.search(text):
        yield "what looks like a key"
