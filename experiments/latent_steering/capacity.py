"""How many tokens vectors hold: texts of growing length, natural and random (cramming, arXiv:2502.13063)."""

from dataclasses import dataclass
from statistics import fmean

from experiments.latent_steering.study import SentenceStudy
from steering.optimised.decode import recall
from steering.optimised.optimise import optimise
from workbench.models.tokens import Row, Tokens
from workbench.runs.files import JSON

TEXT_KINDS = ("natural text", "random words")
FULL = 0.99
"""The mean accuracy from which on a length counts as held."""


@dataclass(frozen=True)
class Filled:
    """What a site holds of one text, all of its tokens predicted from the vectors, the first one too."""

    name: str
    n_vectors: int
    kind: str
    number: int
    n_tokens: int
    accuracy: float
    plain_accuracy: float
    """Without vectors."""
    nll: float
    """Of the text, in nats."""
    plain_nll: float
    done: bool
    """Whether each token became likelier than not."""

    @property
    def token_gain(self) -> float:
        """Tokens that are right because of the vectors."""
        return (self.accuracy - self.plain_accuracy) * self.n_tokens

    @property
    def information_gain(self) -> float:
        """Nats of the text that the vectors tell."""
        return self.plain_nll - self.nll


def fill_sites(study: SentenceStudy) -> list[Filled]:
    """Every text at every site whose capacity is asked for."""
    found = []
    for name in dict.fromkeys(study.config.capacity):
        place, rows = study.place(name), _rows(study)
        ids: JSON = [list(row.ids) for _, _, row in rows]
        inputs = study.inputs(place, ()) | {"ids": ids}
        values = study.run.unit(f"capacity/{name.replace(':', '-')}", inputs, lambda name=name: _filled(study, name))
        found += [Filled(**each) for each in values]
    return found


def _rows(study: SentenceStudy) -> list[tuple[str, int, Row]]:
    """Kind, number and tokens of each text."""
    config, model, texts = study.config, study.model, study.texts
    longest, rows = max(config.lengths), []
    for number in range(config.repeats):
        natural = texts.passages[number % len(texts.passages)]
        for kind, text in zip(TEXT_KINDS, (natural, texts.random_words(longest, config.seed + number)), strict=True):
            [row] = model.tokenize([text], chat=False)
            own = row.ids[row.prefix :]
            lengths = [length for length in dict.fromkeys(config.lengths) if length <= len(own)]
            rows += [(kind, number, Row(own[:length])) for length in lengths]
    return rows


def _filled(study: SentenceStudy, name: str) -> list[dict[str, JSON]]:
    place, rows = study.place(name), _rows(study)
    tokens = Tokens(tuple(row for _, _, row in rows))
    found = optimise(study.model, place, tokens, study.optimiser)
    with_them, plain = (recall(study.model, place, each, tokens) for each in (found.vectors, None))
    return [
        {
            "name": name,
            "n_vectors": place.n_vectors,
            "kind": kind,
            "number": number,
            "n_tokens": len(row.ids),
            "accuracy": float(with_them.accuracy[at]),
            "plain_accuracy": float(plain.accuracy[at]),
            "nll": float(with_them.nll[at]),
            "plain_nll": float(plain.nll[at]),
            "done": bool(found.done[at]),
        }
        for at, (kind, number, row) in enumerate(rows)
    ]


def longest_held(filled: list[Filled], name: str, kind: str) -> int:
    """L_max: the largest length whose texts are right to 99 % on average; 0 where none is."""
    lengths = sorted({each.n_tokens for each in filled})
    held = [
        length
        for length in lengths
        if (mine := [each.accuracy for each in filled if (each.name, each.kind, each.n_tokens) == (name, kind, length)])
        and fmean(mine) >= FULL
    ]
    return max(held, default=0)
