"""Descriptions of latents without a language model: words of their contexts, and words that they promote."""

import re
from collections import Counter
from collections.abc import Sequence
from math import log

_WORD = re.compile(r"[^\W\d_]{2,}")

N_WORDS = 3


def describe_latents(
    peaks: Sequence[Sequence[str]], contexts: Sequence[Sequence[str]], promoted: Sequence[Sequence[str]]
) -> list[str]:
    """A line for each latent, "on `import`, near module, path, promotes os, sys", as far as there is something to say.

    `peaks[i]` are the tokens where latent i is most active, `contexts[i]` the texts around them, `promoted[i]` the
    tokens that it makes likelier, each with the strongest first. Words near are those that its contexts have more often
    than other latents' contexts (tf-idf).
    """
    counts = [Counter(word.lower() for text in texts for word in set(_WORD.findall(text))) for texts in contexts]
    spread = Counter(word for one in counts for word in one)
    return [
        _line(tokens, _keywords(one, spread, len(counts), tokens), made)
        for tokens, one, made in zip(peaks, counts, promoted, strict=True)
    ]


def _keywords(words: Counter[str], spread: Counter[str], n: int, peaks: Sequence[str]) -> list[str]:
    shown = {token.strip().lower() for token in peaks}
    weight = {word: count * log(n / spread[word]) for word, count in words.items() if count > 1 and word not in shown}
    return sorted((word for word in weight if weight[word] > 0), key=lambda word: (-weight[word], word))[:N_WORDS]


def _line(peaks: Sequence[str], keywords: Sequence[str], promoted: Sequence[str]) -> str:
    common = [token for token, _ in Counter(token.strip() or repr(token)[1:-1] for token in peaks).most_common(2)]
    made = list(dict.fromkeys(token.strip() for token in promoted if token.strip()))[:N_WORDS]
    parts = {"on": common, "near": keywords, "promotes": made}
    return "; ".join(f"{what} {', '.join(words)}" for what, words in parts.items() if words)
