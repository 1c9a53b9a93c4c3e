"""Interchange on a network whose attributes lie in known coordinates, and against a hook of torch's own."""

from dataclasses import replace
from string import ascii_uppercase, digits
from typing import Any

import pytest
import torch

from probes.sae.interchange import (
    EntityAttribute,
    KnownEntities,
    cause_and_isolation,
    known_entities,
    telling_latents,
)
from tests.artifacts.examples import ORIGIN
from tests.tiny import tiny_model
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.models.model import Model
from workbench.models.sites import Site

NAMES = ascii_uppercase + digits
FIRST = EntityAttribute("first", "x", "", {name: "abcdef"[at % 6] for at, name in enumerate(NAMES)})
SECOND = EntityAttribute("second", "y", "", {name: "uvwxyz"[at // 6] for at, name in enumerate(NAMES)})
SITE = Site(1)


def identity(extra: float = 0.0) -> SparseAutoencoder:
    """A latent for each coordinate; the first attribute's also write `extra` of the second's."""
    decoder = torch.eye(32)
    decoder[range(6), range(6, 12)] = extra
    return SparseAutoencoder(ORIGIN, SITE, torch.eye(32), torch.zeros(32), decoder, torch.zeros(32), torch.zeros(32))


@pytest.fixture(scope="module")
def planted() -> Model:
    """Blocks add nothing; coordinates 0 to 5 of an entity say the first attribute, 6 to 11 the second."""
    model = tiny_model()
    module: Any = model.module
    with torch.no_grad():
        for block in module.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        module.model.embed_tokens.weight.zero_()
        module.lm_head.weight.zero_()
        for name in NAMES:
            (row,) = model.tokenize([name]).rows
            for offset, letters, one in ((0, "abcdef", FIRST), (6, "uvwxyz", SECOND)):
                module.model.embed_tokens.weight[row.ids[-1], offset + letters.index(one.answers[name])] = 1.0
        for at, letter in enumerate("abcdefuvwxyz"):
            (row,) = model.tokenize([letter]).rows
            module.lm_head.weight[row.ids[-1], at] = 1.0
    return model


@pytest.fixture(scope="module")
def known(planted: Model) -> KnownEntities:
    return known_entities(planted, SITE, (FIRST, SECOND))


def test_only_what_the_model_knows_is_kept(planted: Model, known: KnownEntities) -> None:
    assert sorted(known.names) == sorted(NAMES)
    wrong = replace(FIRST, answers=dict(FIRST.answers) | {"A": "b", "B": "a"})
    fewer = known_entities(planted, SITE, (wrong, SECOND))
    assert sorted(fewer.names) == sorted(set(NAMES) - {"A", "B"})
    assert fewer.n_asked == len(NAMES)
    alike = replace(FIRST, answers=dict(FIRST.answers) | {"A": "abc"})  # begins as "a"
    assert set(NAMES) - set(known_entities(planted, SITE, (alike, SECOND)).names) == {
        n for n in NAMES if FIRST.answers[n] == "a"
    }


def test_pairs_differ_in_everything_and_are_not_fitted_on(known: KnownEntities) -> None:
    assert len(known.pairs) == int((~known.fitted).sum())
    for base, other in known.pairs.tolist():
        assert not known.fitted[base]
        assert not known.fitted[other]
        assert all(one.right[base] != one.right[other] for one in known.attributes)


def test_the_planted_latents_of_an_attribute_move_it_and_nothing_else(known: KnownEntities) -> None:
    dictionary = identity()
    for at, asked in enumerate(known.attributes):
        assert set(telling_latents(dictionary, asked, known.fitted)[:6]) == set(range(6 * at, 6 * at + 6))
    found = cause_and_isolation(known, dictionary, (0, 6, 12))
    expected = {0: (0.0, 1.0), 6: (1.0, 1.0), 12: (1.0, 0.0)}  # cause and isolation: nothing, its own, both
    for count, (cause, isolation) in expected.items():
        assert torch.tensor(found[count].cause).eq(cause).all()
        assert torch.tensor(found[count].isolation).eq(isolation).all()
    whole = cause_and_isolation(known, None, ())[0]
    assert torch.tensor(whole.cause).eq(1).all()
    assert torch.tensor(whole.isolation).eq(0).all()


def test_latents_that_write_the_other_attribute_too_are_not_isolated(known: KnownEntities) -> None:
    found = cause_and_isolation(known, identity(extra=2.0), (6,))[6]
    assert torch.tensor(found.isolation[0]).mean() < 0.5  # the first one's latents
    assert torch.tensor(found.cause[0]).eq(1).all()


def test_answers_are_those_of_a_hook() -> None:
    """A random network, entities of several tokens behind which a prompt goes on, and a dictionary with rivals."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(40, 32, generator=generator), dim=1)
    dictionary = SparseAutoencoder(ORIGIN, SITE, rows.T, torch.zeros(40), rows, torch.zeros(32), torch.zeros(40), k=9)
    names = [f"{first}{second}" for first in "KLMNOP" for second in ("", "rs", "t")]
    first = EntityAttribute("first", "In ", " is", {name: "ab"[at % 2] for at, name in enumerate(names)})
    second = EntityAttribute("second", "To ", " go", {name: "uvw"[at % 3] for at, name in enumerate(names)})
    asked = [said_by(model, one) for one in (first, second)]  # whatever it says is right
    known = known_entities(model, SITE, asked)
    assert len(known.names) > 10
    assert len(known.pairs) >= 3
    found = cause_and_isolation(known, dictionary, (5,))[5]
    for target, _ in enumerate(asked):
        latents = telling_latents(dictionary, known.attributes[target], known.fitted)[:5]
        for at, one in enumerate(known.attributes):
            for number, (base, source) in enumerate(known.pairs.tolist()):
                said = hooked(model, one, base, dictionary, latents, one.state[source])
                if at == target:
                    assert found.cause[target][number] == float(said == one.right[source])
                else:
                    assert found.isolation[target][number] == float(said == one.right[base])


def said_by(model: Model, one: EntityAttribute) -> EntityAttribute:
    """The same attribute with what the model answers, of its own candidates."""
    options = sorted(set(one.answers.values()))
    ids = [row.ids[-1] for row in model.tokenize(options)]
    said = model.next_logits(model.tokenize([one.before + name + one.after for name in one.answers]))[:, ids].argmax(1)
    return replace(
        one, answers={name: options[number] for name, number in zip(one.answers, said.tolist(), strict=True)}
    )


def hooked(model: Model, one: Any, base: int, dictionary: Any, latents: list[int], other: torch.Tensor) -> int:
    module: Any = model.module
    place = one.place[base]

    def exchange(block: Any, inputs: Any, output: Any) -> Any:
        h = (output[0] if isinstance(output, tuple) else output).clone()
        mine, theirs = (dictionary.encode(state)[latents] for state in (h[0, place], other))
        h[0, place] = h[0, place] + (theirs - mine) @ dictionary.W_dec[latents]
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = module.model.layers[SITE.layer].register_forward_hook(exchange)
    try:
        with torch.no_grad():
            logits = module(torch.tensor([one.tokens.rows[base].ids])).logits[0, -1]
    finally:
        handle.remove()
    return int(logits[one.candidates].argmax())


def test_what_cannot_be_exchanged_is_refused(planted: Model) -> None:
    with pytest.raises(ValueError, match="give two or more"):
        known_entities(planted, SITE, (FIRST,))
    none = replace(FIRST, answers={"A": "b", "B": "a"})
    known = known_entities(planted, SITE, (none, SECOND))
    assert (known.names, known.n_asked) == ((), 2)
    with pytest.raises(ValueError, match="0 known entities make no pair"):
        cause_and_isolation(known, identity(), (1,))
