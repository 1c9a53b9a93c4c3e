"""Text of models and data, made fit to be shown: as characters one can see, and as Markdown that stays text."""

import difflib
import math
import re
from collections.abc import Iterable

_REPLACEMENT = 0xFFFD
_SHOWN = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], _REPLACEMENT)
)
_MARKDOWN = re.compile(r"[\\`*_\[\]#|~$]|^[-+=]|^\d+(?=[.)])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_MESSAGE = 1000

MISSING = "–"
"""What stands for a number that is not there."""


def visible(text: str) -> str:
    """`text` with every character that HTML, XML or UTF-8 cannot hold replaced by one that can be seen.

    Control characters become their pictures (NUL is ␀), lone surrogates U+FFFD; tabs and line ends stay, those of
    Windows as plain ones.
    """
    return text.replace("\r\n", "\n").translate(_SHOWN)


def markdown(text: str) -> str:
    """`text` as one line of Markdown that shows exactly it: no markup, no HTML, no table cell ends early."""
    line = " ".join(visible(text).split())
    return _MARKDOWN.sub(_escaped, line.translate(_ENTITIES))


def number(value: float, digits: int | None = None) -> str:
    """`value` with `digits` decimals; when `digits` is None, three significant figures without zeros at the end.

    A minus is U+2212, and nothing is written as minus zero. Raises ValueError for a NaN or an infinity: a missing
    number is None and never comes here.
    """
    if not math.isfinite(value):
        raise ValueError(f"cannot show {value}: a missing number must be None")
    if digits is None:
        decimals = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        shown = f"{value:.{min(decimals, 9)}f}"
        shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    else:
        shown = f"{value:.{digits}f}"
    return shown.replace("-", "−") if shown.strip("-0.") else shown.lstrip("-")


def decimals(values: Iterable[float]) -> int:
    """Decimals that give the largest of these numbers three significant figures, at least one: 3 for 0.954, 2 for 1."""
    largest = max((abs(value) for value in values), default=0.0)
    return 2 if largest == 0 else min(9, max(1, 2 - math.floor(math.log10(largest))))


class OneLineError(Exception):
    """An error whose message is one line that can be printed and read, whatever names and values stand in it.

    Of a longer one the middle is left out: in front stands what it is about, at the end what to do.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(visible(message).split())
        half = _MESSAGE // 2
        super().__init__(line if len(line) <= _MESSAGE else f"{line[:half]} … {line[-half:]}")


def tied(text: str) -> str:
    """`text` with `95 %`, `n = 10`, `[0.1, 0.3]` and a number's arrow kept on one line."""
    together = r"(?<=\d) (?=%)|(?<=,) (?=[−\d.]+\])|(?<=\bn) (?== )|(?<=\bn =) (?=\d)| (?=[↑↓]$)"
    return re.sub(together, "\N{NO-BREAK SPACE}", text)


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def number_of(n: int, one: str, many: str = "") -> str:
    """`1 concept`, `2 concepts`; `many` for a plural that is not made with an s."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'resid_post'?)` for a name that is like one of the known ones, nothing for any other."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for a name that is none of those known: what it may have meant, and all there are."""
    names = list(known)
    return f"there is no {kind} {name!r}{did_you_mean(name, names)}; the {kind}s are {', '.join(names)}"


def shortened(text: str, length: int) -> str:
    """`text` on one line, cut to `length` characters with an ellipsis when it is longer."""
    line = " ".join(visible(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _escaped(match: re.Match[str]) -> str:
    found = match[0]
    return f"{found}\\" if found.isdecimal() else f"\\{found}"  # 1\\. is no list item, \\1 is not an escape
