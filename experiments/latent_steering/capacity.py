"""How many tokens vectors hold: texts of growing length, natural and random (cramming, arXiv:2502.13063)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from experiments.latent_steering.study import SentenceStudy
from steering.optimised.decode import recall
from steering.optimised.optimise import optimise
from workbench.data.items import DataError
from workbench.models.tokens import Row, Tokens
from workbench.runs.files import JSON

CutText = tuple[str, int, Row]
"""Kind, number and tokens."""
TEXT_KINDS = ("natural text", "random words")
FULL = Fraction(99, 100)
"""The mean accuracy from which on a length counts as held: exact, as it is compared with counts of tokens."""


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
    """Without vectors, behind the opening of the published form, whatever the site's own is."""
    nll: float
    """Of the text, in nats."""
    plain_nll: float
    done: bool
    """Whether each token became likelier than not."""

    @property
    def n_correct(self) -> int:
        """Tokens that are right with the vectors; their share was rounded, as it is stored in float32."""
        return round(self.accuracy * self.n_tokens)

    @property
    def token_gain(self) -> float:
        """Tokens that are right because of the vectors."""
        return (self.accuracy - self.plain_accuracy) * self.n_tokens

    @property
    def information_gain(self) -> float:
        """Nats of the text that the vectors tell."""
        return self.plain_nll - self.nll


def fill_sites(study: SentenceStudy, rows: Sequence[CutText]) -> list[Filled]:
    """Every text at every site whose capacity is asked for."""
    found = []
    for name in dict.fromkeys(study.config.capacity):
        place = study.place(name)
        ids: JSON = [list(row.ids) for _, _, row in rows]
        inputs = study.inputs(place, ()) | {"ids": ids}
        values = study.run.unit(
            f"capacity/{name.replace(':', '-')}", inputs, lambda name=name: _filled(study, rows, name)
        )
        found += [Filled(**each) for each in values]
    return found


def cut_texts(study: SentenceStudy) -> list[CutText]:
    """Texts of every kind at every length. Raises DataError for one that is shorter than the longest length."""
    config, model, texts = study.config, study.model, study.texts
    longest, rows = max(config.lengths), []
    for number in range(config.repeats):
        words = texts.random_words(longest, config.seed + number)
        for kind, text in zip(TEXT_KINDS, (texts.passages[number], words), strict=True):
            [row] = model.tokenize([text], chat=False)
            own = row.ids[row.prefix :]
            if len(own) < longest:
                raise DataError(
                    f"{kind} {number} has {len(own)} tokens, fewer than the {longest} of the longest length"
                )
            rows += [(kind, number, Row(own[:length])) for length in dict.fromkeys(config.lengths)]
    return rows


def _filled(study: SentenceStudy, rows: Sequence[CutText], name: str) -> list[dict[str, JSON]]:
    place = study.place(name)
    tokens = Tokens(tuple(row for _, _, row in rows))
    found = optimise(study.model, place, tokens, study.optimiser)
    with_them = recall(study.model, place, found.vectors, tokens)
    plain = recall(study.model, study.place("published"), None, tokens)
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
        if (mine := [each for each in filled if (each.name, each.kind, each.n_tokens) == (name, kind, length)])
        and sum(each.n_correct for each in mine) >= FULL * length * len(mine)
    ]
    return max(held, default=0)
