"""Whether latents carry one attribute of an entity and leave its others alone: interchange (arXiv:2402.17700)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.models.edits import Replace
from workbench.models.model import Model
from workbench.models.positions import Positions
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.models.tokens import Tokens
from workbench.runs.files import digest


@dataclass(frozen=True)
class EntityAttribute:
    """One attribute of entities: a prompt, which the model is to continue with the answer of each."""

    name: str
    before: str
    """What stands in front of the entity."""
    after: str
    """What follows it."""
    answers: Mapping[str, str]
    """By entity, with the space that an answer begins with, if it does."""


@dataclass(frozen=True, eq=False)
class AskedAttribute:
    """An attribute of the entities that are known, as the model reads it."""

    name: str
    tokens: Tokens
    """The prompt of each entity."""
    place: list[int]
    """The position of each entity's last token."""
    state: Float[Tensor, "entity d"]
    """There, at the site."""
    candidates: Int[Tensor, "answer"]
    """The first tokens of all answers."""
    right: Int[Tensor, "entity"]
    """Each entity's among them."""


@dataclass(frozen=True, eq=False)
class KnownEntities:
    """Entities whose attributes a model all knows, half of them to choose latents on and half to exchange."""

    model: Model
    site: Site
    names: tuple[str, ...]
    n_asked: int
    """Entities that it was asked about, known or not."""
    attributes: tuple[AskedAttribute, ...]
    fitted: Bool[Tensor, "entity"]
    pairs: Int[Tensor, "pair 2"]
    """Of entities that are not fitted on: one whose state is changed, and one that it is exchanged with."""


@dataclass(frozen=True)
class Exchanged:
    """What the model answered under exchanged latents of each attribute; a list for each attribute, over pairs."""

    cause: list[list[float]]
    """1 where the attribute's answer became the other entity's."""
    isolation: list[list[float]]
    """The share of the other attributes whose answers stayed."""


def known_entities(model: Model, site: Site, attributes: Sequence[EntityAttribute]) -> KnownEntities:
    """The entities that the model answers right about all attributes: its most likely answer is theirs.

    Answers are told apart by their first tokens; an entity is left out where another answer begins like its own. A pair
    differs in all attributes. There may be none. Raises ValueError for fewer than two attributes.
    """
    if len(attributes) < 2:
        raise ValueError(f"{len(attributes)} attributes have no others that could be left alone; give two or more")
    common = [name for name in attributes[0].answers if all(name in one.answers for one in attributes)]
    asked = [_Asked(model, one, sorted(common, key=digest)) for one in attributes]
    clear = [row for row in range(len(common)) if all(one.is_clear(row) for one in asked)]
    known = clear
    for one in asked:
        candidates = one.candidates(clear)
        known = [row for row, same in zip(known, one.right(known, candidates), strict=True) if same]
    read = tuple(one.read(known, one.candidates(clear), site) for one in asked) if known else ()
    fitted = torch.arange(len(known)) % 2 == 0
    names = tuple(asked[0].names[row] for row in known)
    return KnownEntities(model, site, names, len(common), read, fitted, _pairs(read, ~fitted))


def cause_and_isolation(
    known: KnownEntities, dictionary: SparseAutoencoder | None, counts: Sequence[int]
) -> dict[int, Exchanged]:
    """What exchanging the latents of each attribute does to it and to the others, by how many are exchanged.

    Interchange interventions of arXiv:2402.17700 (section 3), as arXiv:2503.09532 uses them: in a prompt about one
    entity, the codes of some latents at its last token become those of another entity in the same prompt; what the
    dictionary does not reconstruct stays. The latents of an attribute are those whose codes vary most between its
    answers, in units of what they write, in its prompt about the entities that are fitted on. Without a dictionary the
    whole state is exchanged: what could be had, and what it costs. `counts` do not matter then, and the result stands
    at 0.

    Ours: the answer is the likeliest of the attribute's own, by its first token, instead of a generated text; latents
    are ranked by variance, not trained. Raises ValueError without a pair.
    """
    if not len(known.pairs):
        raise ValueError(f"{len(known.names)} known entities make no pair that differs in all attributes")
    found: dict[int, Exchanged] = {}
    for count in (0,) if dictionary is None else counts:
        cause, isolation = [], []
        for target in known.attributes:
            latents = None if dictionary is None else telling_latents(dictionary, target, known.fitted)[:count]
            kept = []
            for asked in known.attributes:
                said = _answers(known, asked, dictionary, latents)
                if asked is target:
                    cause.append((said == asked.right[known.pairs[:, 1]]).float().tolist())
                else:
                    kept.append((said == asked.right[known.pairs[:, 0]]).float())
            isolation.append(torch.stack(kept).mean(0).tolist())
        found[count] = Exchanged(cause, isolation)
    return found


def telling_latents(dictionary: SparseAutoencoder, asked: AskedAttribute, use: Bool[Tensor, "entity"]) -> list[int]:
    """Latents by how much of the variance of what they write lies between answers, most first; none without any."""
    written = dictionary.encode(asked.state[use]) * dictionary.W_dec.float().norm(dim=1)  # [entity, latent]
    kinds = torch.nn.functional.one_hot(asked.right[use], len(asked.candidates)).float()  # [entity, answer]
    sizes = kinds.sum(0)
    means = kinds.T @ written / sizes.clamp_min(1)[:, None]  # [answer, latent]
    between = sizes @ (means - written.mean(0)).square() / len(written)
    order = between.argsort(descending=True, stable=True)
    return order[between[order] > 0].tolist()


def _answers(
    known: KnownEntities, asked: AskedAttribute, dictionary: SparseAutoencoder | None, latents: list[int] | None
) -> Int[Tensor, "pair"]:
    """What the model answers about the first entity of each pair, by number, with latents of the second."""
    base, source = known.pairs.T
    value = asked.state[source]
    if dictionary is not None and latents is not None:
        value = dictionary.encode(value)[:, latents]
    edit = Replace(
        site=known.site,
        positions=tuple(Positions(f"at({asked.place[row]})") for row in base.tolist()),
        part=None if dictionary is None or latents is None else dictionary.latents(*latents),
        value=value,
    )
    with known.model.edited(edit if latents != [] else ()):
        return known.model.next_logits(asked.tokens[base.tolist()])[:, asked.candidates].argmax(1)


class _Asked:
    """An attribute with the tokens of all its prompts and the first token of each answer."""

    def __init__(self, model: Model, about: EntityAttribute, names: list[str]):
        self.model, self.about, self.names = model, about, names
        prompts, answers = (
            [about.before + name + about.after for name in names],
            [about.answers[name] for name in names],
        )
        whole = model.tokenize(prompts, answers, chat=False) if names else ()
        self.first = [row.ids[row.response] for row in whole]

    def is_clear(self, row: int) -> bool:
        """Whether no other answer begins as that of a name does."""
        alike = (name for name, first in zip(self.names, self.first, strict=True) if first == self.first[row])
        return len({self.about.answers[name] for name in alike}) == 1

    def candidates(self, rows: list[int]) -> Int[Tensor, "answer"]:
        """The first tokens of the answers about some names."""
        return torch.tensor([self.first[row] for row in rows], dtype=torch.long).unique()

    def tokens(self, rows: list[int], after: str) -> Tokens:
        """The prompts of some names up to the name, and what is `after` it."""
        return self.model.tokenize([self.about.before + self.names[row] + after for row in rows])

    def right(self, rows: list[int], candidates: Int[Tensor, "answer"]) -> list[bool]:
        """Whether the likeliest of the candidates is the name's own."""
        if not rows:
            return []
        said = candidates[self.model.next_logits(self.tokens(rows, self.about.after))[:, candidates].argmax(1)]
        return [token == self.first[row] for row, token in zip(rows, said.tolist(), strict=True)]

    def read(self, rows: list[int], candidates: Int[Tensor, "answer"], site: Site) -> AskedAttribute:
        """What is asked about the names that are known, and their states."""
        upto = self.tokens(rows, "")
        state = self.model.read(upto, ReadSpec.at(site, positions="all[-1]")).x(site).float()
        numbers = torch.searchsorted(candidates, torch.tensor([self.first[row] for row in rows]))
        place = [length - 1 for length in upto.lengths]
        return AskedAttribute(self.about.name, self.tokens(rows, self.about.after), place, state, candidates, numbers)


def _pairs(asked: Sequence[AskedAttribute], use: Bool[Tensor, "entity"]) -> Int[Tensor, "pair 2"]:
    """Each entity in use with the next one that differs in all attributes, where there is one."""
    rows = use.nonzero()[:, 0].tolist()
    found = []
    for at, base in enumerate(rows):
        others = (
            other for other in rows[at + 1 :] + rows[:at] if all(one.right[base] != one.right[other] for one in asked)
        )
        found += [(base, other) for other in others][:1]
    return torch.tensor(found, dtype=torch.long).reshape(-1, 2)
