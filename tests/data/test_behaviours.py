"""Behaviours: the packaged pairs are complete, balanced and varied; datasets, limits and controls follow from them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.data.behaviours import (
    LETTERS,
    PAIR,
    ROLES,
    TOPICS,
    Behaviour,
    BehaviourPair,
    behaviour_dataset,
    chosen_behaviours,
    packaged_behaviours,
    shuffled,
    split_by_group,
)
from workbench.data.items import SPLITS, DataError, Label, Split, text_key
from workbench.data.labelled import Labelled
from workbench.models.sites import Site

PACKAGED = packaged_behaviours()
each_behaviour = pytest.mark.parametrize("behaviour", PACKAGED, ids=lambda each: each.name)


def pairs(n: int, group: str = "") -> tuple[BehaviourPair, ...]:
    return tuple(
        BehaviourPair(f"question {k}?", f"yes {k}", f"no {k}", LETTERS[k % 2], group or f"g{k // 2}", SPLITS[k % 3])
        for k in range(n)
    )


def test_there_are_eight_behaviours() -> None:
    assert len(PACKAGED) == 8
    assert len({each.name for each in PACKAGED}) == len({each.description for each in PACKAGED}) == 8


@each_behaviour
def test_a_behaviour_has_sixty_pairs_with_balanced_letters_in_every_topic(behaviour: Behaviour) -> None:
    assert [len(behaviour.part(split)) for split in SPLITS] == [30, 12, 18]
    letters = Counter((pair.group, pair.letter) for pair in behaviour.pairs)
    assert letters == {(topic, letter): 3 for topic in TOPICS for letter in "AB"}
    assert all(pair.split == TOPICS[pair.group] for pair in behaviour.pairs)


@each_behaviour
def test_nothing_is_asked_or_said_twice(behaviour: Behaviour) -> None:
    asked = [text_key(pair.question) for pair in behaviour.pairs]
    said = [text_key(text) for pair in behaviour.pairs for text in (pair.matching, pair.other)]
    openly = [text_key(text) for text in behaviour.open_questions]
    others = [text_key(pair.reworded) for pair in behaviour.pairs if pair.reworded]
    assert len({*asked, *openly, *others}) == len(asked) + len(openly) + len(others)
    assert len({*said}) == len(said)
    assert len(openly) >= 10
    assert [bool(pair.reworded) for pair in behaviour.pairs] == [pair.split == "evaluation" for pair in behaviour.pairs]


@each_behaviour
def test_length_does_not_tell_the_sides_apart(behaviour: Behaviour) -> None:
    matching, other = (
        np.array([len(getattr(pair, side).split()) for pair in behaviour.pairs]) for side in ("matching", "other")
    )
    assert matching.mean() == pytest.approx(other.mean(), rel=0.08)
    assert np.abs(matching - other).max() <= 5


@each_behaviour
def test_answers_do_not_follow_a_template(behaviour: Behaviour) -> None:
    """No three words open more than a tenth of the answers of one kind."""
    for side in ("matching", "other"):
        openings = Counter(" ".join(getattr(pair, side).lower().split()[:3]) for pair in behaviour.pairs)
        assert openings.most_common(1)[0][1] <= 6, openings.most_common(2)


def test_a_lettered_question_shows_both_answers_under_their_letters() -> None:
    pair = BehaviourPair("Sure?", "Yes.", "No.", "B")
    assert pair.lettered.endswith("(A) No.\n(B) Yes.")
    assert pair.lettered.startswith("Sure?\n")
    assert pair.said("letters") == ("(B)", "(A)")
    assert (pair.asked("answers"), pair.said("answers")) == ("Sure?", ("Yes.", "No."))
    assert replace(pair, letter="A").lettered.endswith("(A) Yes.\n(B) No.")


def test_equal_answers_and_few_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="the two answers to 'Sure\\?' are the same: 'Yes'"):
        BehaviourPair("Sure?", "Yes", " Yes ")
    with pytest.raises(DataError, match="behaviour 'sure' has 2 pairs; give at least 3"):
        Behaviour("sure", "being sure", pairs(2))


@pytest.mark.parametrize("form", ["answers", "letters"])
def test_a_dataset_holds_the_pairs_as_a_relation(form) -> None:
    data = behaviour_dataset(PACKAGED[:2], form)
    relation = data.relation(PAIR)
    assert relation.roles == ROLES
    assert len(relation.members) == 120
    for number, (positive, negative) in enumerate(relation.members.tolist()):
        pair = [*PACKAGED[0].pairs, *PACKAGED[1].pairs][number]
        assert (data.items[positive].response, data.items[negative].response) == pair.said(form)
        assert data.items[positive].instruction == data.items[negative].instruction == pair.asked(form)
        own = number // 60
        assert (data.labels[positive, own], data.labels[negative, own]) == (Label.POSITIVE, Label.NEGATIVE)
        assert (data.labels[[positive, negative], 1 - own] == Label.ABSENT).all()
        assert data.split[positive] == data.split[negative] == pair.split
        assert data.group[positive] == data.group[negative]


def test_a_limit_takes_topics_and_letters_in_turn() -> None:
    for behaviour in PACKAGED:
        limits: dict[Split, int] = {"train": 10, "validation": 4, "evaluation": 6}
        for split, limit in limits.items():
            some = behaviour.part(split, limit)
            assert len({(pair.group, pair.letter) for pair in some}) == len(some) == limit
            assert [pair for pair in behaviour.pairs if pair in some] == [*some]
    assert [len(PACKAGED[0].limited(train=4, evaluation=3).part(split)) for split in SPLITS] == [4, 12, 3]


def test_shuffled_pairs_are_exchanged_by_half_and_items_stay() -> None:
    data = behaviour_dataset(PACKAGED[:3], "answers")
    mixed = shuffled(data, 0)
    assert mixed.items == data.items
    before, after = data.relation(PAIR).members, mixed.relation(PAIR).members
    exchanged = (before != after).any(1)
    assert (after[exchanged] == before[exchanged][:, ::-1]).all()
    assert exchanged.reshape(3, 60).sum(1).tolist() == [30, 30, 30]
    for own in range(3):
        mine = after[60 * own : 60 * own + 60]
        assert (mixed.labels[mine[:, 0], own] == Label.POSITIVE).all()
        assert (mixed.labels[mine[:, 1], own] == Label.NEGATIVE).all()
    alone = shuffled(behaviour_dataset(PACKAGED[1:2], "answers"), 0)
    assert (alone.labels[:, 0] == mixed.labels[120:240, 1]).all()  # whichever behaviours stand beside it
    assert (shuffled(data, 1).labels != mixed.labels).any()


@pytest.mark.parametrize("seed", range(3))
def test_what_shuffled_training_pairs_share_cancels(seed: int) -> None:
    """The mean difference of the pairs of each split is 0 where all pairs differ alike."""
    limited = [each.limited(train=20, validation=4, evaluation=6) for each in PACKAGED]
    mixed = shuffled(behaviour_dataset(limited, "answers"), seed)
    matching = np.arange(len(mixed.items)) % 2 == 0
    sign = np.where(matching[mixed.relation(PAIR).members[:, 0]], 1, -1)
    split = mixed.split[mixed.relation(PAIR).members[:, 0]]
    assert {each: sign[split == each].reshape(8, -1).sum(1).tolist() for each in SPLITS} == dict.fromkeys(
        SPLITS, [0] * 8
    )


def test_fits_get_the_pairs_that_are_whole() -> None:
    behaviour = Behaviour("sure", "being sure", pairs(12))
    data = behaviour_dataset([behaviour], "answers")
    rows = torch.arange(len(data))
    states = Labelled(
        x=torch.arange(len(data)).float()[:, None].expand(-1, 2) + 1,
        y=torch.from_numpy(data.column(0) == Label.POSITIVE),
        row=rows,
        target=data.targets[0],
        site=Site(0),
        items=data.items,
        relations=data.relations,
    )
    sides = states.related(PAIR)
    assert (sides["negative"] - sides["positive"] == 1).all()
    assert len(sides["positive"]) == 12


def test_groups_are_never_split() -> None:
    found = split_by_group(pairs(60), seed=3)
    splits: dict[str, set[str]] = {}
    for pair in found:
        splits.setdefault(pair.group, set()).add(pair.split)
    assert {len(each) for each in splits.values()} == {1}
    assert Counter(next(iter(each)) for each in splits.values()) == {"train": 15, "validation": 6, "evaluation": 9}
    assert found == split_by_group(pairs(60), seed=3) != split_by_group(pairs(60), seed=4)
    with pytest.raises(DataError, match="9 groups of pairs cannot be split"):
        split_by_group(pairs(18))


def test_behaviours_are_chosen_by_name() -> None:
    assert [each.name for each in chosen_behaviours(PACKAGED, ("optimism", "hedging"))] == ["optimism", "hedging"]
    assert chosen_behaviours(PACKAGED, ()) == PACKAGED
    with pytest.raises(DataError, match=r"no behaviour 'optimist' \(did you mean 'optimism'\?\)"):
        chosen_behaviours(PACKAGED, ("optimist",))
