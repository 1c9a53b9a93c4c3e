"""Attacks: what each does to a request, that it is the same every time, and that held-out families stay held out."""

import base64
import re
from dataclasses import replace

import pytest

from steering.grace.attacks import ATTACKS, CHOOSING, DISGUISES, HELD_OUT, TRAINED, attacked, disguised
from workbench.data.items import DataError
from workbench.data.safety import CATEGORIES, Request, of_split, stand_in

REQUESTS = stand_in()
SHOWN = of_split(REQUESTS, "train", allowed=False)
ASKED = of_split(REQUESTS, "evaluation", allowed=False)
HIDDEN = ("cipher", "encoding", "payload_splitting", "rare_language")
"""Families in whose prompts the request does not stand as it is."""


def test_families_are_held_out_choose_or_train_and_cover_the_taxonomy() -> None:
    assert len(ATTACKS) > 15
    assert (len(HELD_OUT), len(CHOOSING)) == (5, 3)
    assert not {*HELD_OUT} & {*CHOOSING} | {*TRAINED} & {*HELD_OUT, *CHOOSING}
    assert {*HELD_OUT, *CHOOSING, *TRAINED, "direct"} == {*ATTACKS}
    assert {attack.subtype for attack in ATTACKS.values()} == {*CATEGORIES}


@pytest.mark.parametrize("family", ATTACKS)
def test_an_attack_carries_the_request_and_shows_others_of_training_only(family: str) -> None:
    triples = attacked(ASKED, [family], SHOWN)
    assert triples == attacked(ASKED, [family], SHOWN)
    assert triples != attacked(ASKED, [family], SHOWN, seed=1) or family in ("payload_splitting", "tool_output")
    for triple, request in zip(triples, ASKED, strict=True):
        if "pineapple" in request.prompt:
            assert (request.prompt in triple.prompt) != (family in HIDDEN)
        assert request.answer in triple.jailbreak
        assert (triple.safe, triple.unsafe, triple.request) == (request.refusal, request.answer, request.prompt)
        assert not any(other.prompt in triple.prompt for other in ASKED if other.prompt not in request.prompt)
    assert len({triple.prompt for triple in triples}) == len(ASKED)


def test_what_is_said_of_a_family_is_what_it_does() -> None:
    """Of a reason and of a rare language: neither rewords the request."""
    for family, said in (("rewriting", "the request as it is"), ("rare_language", "the rest in English")):
        assert said in ATTACKS[family].summary
        for triple, request in zip(attacked(ASKED, [family], SHOWN), ASKED, strict=True):
            kept = [word for word in request.prompt.split() if "pineapple" not in word.lower()]
            assert all(word in triple.prompt for word in kept)


def test_ciphers_and_encodings_can_be_undone() -> None:
    for triple, request in zip(attacked(ASKED, ["encoding"], SHOWN), ASKED, strict=True):
        coded = re.search(r"answer it: (\S+)$", triple.prompt)
        if coded:
            assert base64.b64decode(coded[1]).decode() == request.prompt
        else:
            assert triple.prompt.partition(": ")[2].replace("-", "") == request.prompt.replace("-", "")


def test_allowed_requests_wear_a_disguise_without_the_topic() -> None:
    allowed = of_split(REQUESTS, "evaluation", allowed=True)
    worn = disguised(allowed, DISGUISES)
    assert {request.kind for request in worn} == {*DISGUISES}
    assert not any("pineapple" in request.prompt.lower() for request in worn)
    with pytest.raises(DataError, match="there is no disguise 'many_shot'"):
        disguised(allowed, ["many_shot"])


def test_what_cannot_be_attacked_is_refused() -> None:
    with pytest.raises(DataError, match="did you mean 'cipher'"):
        attacked(ASKED, ["cipher", "ciphr"], SHOWN)
    with pytest.raises(DataError, match="no answer or no refusal"):
        attacked([Request("a?", False)], ["cipher"], SHOWN)
    with pytest.raises(DataError, match="up to 4 other requests"):
        attacked(ASKED, ["many_shot"], SHOWN[:4])


def test_a_request_of_one_word_is_split_too_and_what_cannot_be_shown_is_not() -> None:
    short = replace(ASKED[0], prompt="Pineapples?")
    [triple] = attacked([short], ["payload_splitting"], SHOWN)
    assert re.findall(r'"(.*?)"', triple.prompt) == ["Pinea", "pples?"]
    bare = [Request(f"how {k}?", allowed=False, split="train") for k in range(9)]
    for shown in ([SHOWN[0]] * 10, bare):
        with pytest.raises(DataError, match=r"with answers and refusals; got [01] to choose from"):
            attacked([ASKED[0]], ["many_shot"], shown)
