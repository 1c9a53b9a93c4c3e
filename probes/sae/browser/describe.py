"""Descriptions of latents: of words of their contexts and words that they promote, or by a language model."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import log

from workbench.report.latent_browser import TokenContext
from workbench.text import shortened

_WORD = re.compile(r"[^\W\d_]{2,}")

N_WORDS = 3

Ask = Callable[[list[str]], list[str | None]]
"""A language model: from prompts to replies, None where there is none."""

_SHARE = 0.5
"""Of a context's largest activation, from which on a token is marked."""
_PROMPT = """\
A unit inside a language model is active at some tokens and silent at nearly all others. Below are passages in which \
it is active; tokens at which it is most active stand between << and >>. It also makes these tokens likelier to come \
next: {promoted}.

{passages}

What do the marked tokens have in common, in what they are or in what surrounds them? Answer with one phrase of at \
most twelve words, and nothing else."""


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


def explain_latents(
    contexts: Sequence[Sequence[TokenContext]], promoted: Sequence[Sequence[str]], ask: Ask
) -> list[str | None]:
    """A language model's phrase for each latent, from its contexts and the tokens it promotes; None without an answer.

    All are asked together. Tokens with at least half of a context's largest activation are marked (after Bills et al.
    2023, "Language models can explain neurons in language models", whose numbers for each token small models cannot
    read). A reply is cut to one line.
    """
    prompts = [
        _PROMPT.format(
            promoted=", ".join(repr(token) for token in made) or "none",
            passages="\n\n".join(f"Passage {k}: {_marked(one)}" for k, one in enumerate(some, 1)),
        )
        for some, made in zip(contexts, promoted, strict=True)
    ]
    replies = ask(prompts) if prompts else []
    lines = [next((line.strip() for line in (reply or "").splitlines() if line.strip()), "") for reply in replies]
    return [shortened(line.strip("\"'. "), 120) or None for line in lines]


def _marked(context: TokenContext) -> str:
    least = _SHARE * max(context.activations)
    shown = [
        f"<<{token}>>" if value >= least > 0 else token
        for token, value in zip(context.tokens, context.activations, strict=True)
    ]
    return "".join(shown)


def _keywords(words: Counter[str], spread: Counter[str], n: int, peaks: Sequence[str]) -> list[str]:
    shown = {token.strip().lower() for token in peaks}
    weight = {word: count * log(n / spread[word]) for word, count in words.items() if count > 1 and word not in shown}
    return sorted((word for word in weight if weight[word] > 0), key=lambda word: (-weight[word], word))[:N_WORDS]


def _line(peaks: Sequence[str], keywords: Sequence[str], promoted: Sequence[str]) -> str:
    common = [token for token, _ in Counter(token.strip() or repr(token)[1:-1] for token in peaks).most_common(2)]
    made = list(dict.fromkeys(token.strip() for token in promoted if token.strip()))[:N_WORDS]
    parts = {"on": common, "near": keywords, "promotes": made}
    return "; ".join(f"{what} {', '.join(words)}" for what, words in parts.items() if words)
