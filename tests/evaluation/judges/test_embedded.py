import math
from dataclasses import replace

import numpy as np
import pytest

from tests.data.sets import few
from tests.evaluation.judges.worded import NAMES, SIGNS, WordEncoder, sentence, world
from workbench.data.dataset import Dataset
from workbench.data.items import Label
from workbench.data.packaged import packaged
from workbench.evaluation.judges.base import NOTHING, JudgedText, JudgeError, Rating
from workbench.evaluation.judges.embedded import EmbeddedJudge
from workbench.evaluation.judges.encoder import SentenceEncoder
from workbench.evaluation.judges.fluency import ReferenceTexts
from workbench.evaluation.metrics import auroc
from workbench.models.conversation import Conversation

FLUENT, BROKEN = np.linspace(2, 8, 40), np.linspace(60, 140, 40)


def references(fluent: np.ndarray = FLUENT, broken: np.ndarray = BROKEN) -> list[ReferenceTexts]:
    """One source of texts whose perplexity says all."""
    return [ReferenceTexts(*([("A text to read.", value) for value in some.tolist()] for some in (fluent, broken)))]


SEA = SIGNS["sea"].split()


@pytest.fixture(scope="module")
def judge() -> EmbeddedJudge:
    return EmbeddedJudge.fit(world(), WordEncoder(), references())


def item(
    text: str, *, concept: str = "sea", about: str = "coffee", perplexity: float = 3.0, references: tuple[str, ...] = ()
) -> JudgedText:
    return JudgedText(concept, f"all about {concept}", f"Tell me about {about}?", text, perplexity, references)


def rated(judge: EmbeddedJudge, one: JudgedText) -> Rating:
    (rating,) = judge.rate([one])
    return rating


def test_a_text_that_does_all_three_gets_all_three(judge: EmbeddedJudge) -> None:
    assert rated(judge, item(sentence("coffee", *SEA))) == Rating(2.0, 2.0, 2.0)


GOOD = sentence("coffee", *SEA)
ECHO = "Tell me about coffee? Tell me about coffee."
TRICKS = {
    "the instruction again": (item(f"{ECHO} {sentence(*SEA)}"), (2, 0, 2)),
    "nothing but the instruction": (item("Tell me about coffee."), (0, 0, 2)),
    "bare words": (item(f"{sentence('coffee')} Ship. Sail. Harbour."), (0, 2, 2)),
    "a list of words": (item(f"{sentence('coffee')} Ship, sail, harbour, ship, sail."), (0, 2, 2)),
    "a denial": (item(f"{sentence('coffee')} It is not about ship sail harbour."), (0, 2, 2)),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_seen_through(judge: EmbeddedJudge, trick: str) -> None:
    tricky, expected = TRICKS[trick]
    np.testing.assert_allclose(np.array(rated(judge, tricky).values, dtype=float), expected, atol=0.4)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_with_too_few_texts_it_says_how_many_it_needs(split: str) -> None:
    concepts = world()
    few = np.array([number % 16 < 4 for number in range(len(concepts))]) | (concepts.split != split)
    with pytest.raises(JudgeError, match=r"needs 8 training texts .* 8 validation texts .* 20 that do not"):
        EmbeddedJudge.fit(concepts.take(np.flatnonzero(few)), WordEncoder(), references())


FAULTS = {
    "no concept": (item(sentence("coffee")), (0, 2, 2)),
    "another concept": (item(GOOD, concept="trains"), (0, 1.2, 2)),  # only the part along trains' direction is excused
    "another topic": (item(GOOD, about="pencil"), (2, 0, 2)),
    "unlikely words": (item(GOOD, perplexity=500.0), (2, 2, 0)),
    "a loop": (item("coffee ship sail harbour " * 9), (2, 2, 0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_rating_sees_its_own_fault_only(judge: EmbeddedJudge, fault: str) -> None:
    faulty, expected = FAULTS[fault]
    np.testing.assert_allclose(np.array(rated(judge, faulty).values, dtype=float), expected, atol=0.3)


def test_an_unsteered_answer_says_what_the_instruction_is_about(judge: EmbeddedJudge) -> None:
    text = sentence("espresso", "beans", *SEA)
    without, with_one = (rated(judge, item(text, references=one)) for one in ((), (sentence("espresso", "beans"),)))
    assert (without.instruction or 0) < (with_one.instruction or 0)
    further = rated(judge, item(text, references=(sentence("pencil"), sentence("espresso", "beans"))))
    assert further.instruction == with_one.instruction


@pytest.mark.parametrize("text", ["", "  \n"])
@pytest.mark.parametrize("perplexity", [math.nan, 1.0])
def test_an_empty_text_is_rated_zero_and_is_not_missing(judge: EmbeddedJudge, text: str, perplexity: float) -> None:
    assert rated(judge, item(text, perplexity=perplexity)) == NOTHING


def test_without_a_perplexity_only_the_fluency_is_missing(judge: EmbeddedJudge) -> None:
    rating = rated(judge, item(sentence("coffee", *SEA), perplexity=math.nan))
    assert rating.values == (2.0, 2.0, None)
    assert rating.error == "fluency: the text has no perplexity"


def test_an_unknown_concept_is_an_error(judge: EmbeddedJudge) -> None:
    with pytest.raises(JudgeError, match="'cars'"):
        judge.rate([item("Some text."), item("Some text.", concept="cars")])


def test_many_are_rated_as_one_is_and_twice_alike(judge: EmbeddedJudge) -> None:
    items = [
        item(sentence(*SEA[:n], "coffee"), concept=name, perplexity=3.0 + 9 * n) for n in range(4) for name in NAMES
    ]
    together = judge.rate(items)
    assert together == judge.rate(items)
    alone = [rated(judge, one).values for one in items]
    np.testing.assert_allclose(np.array([one.values for one in together], dtype=float), np.array(alone, dtype=float))
    assert judge.rate([]) == []


def test_nine_good_texts_in_ten_are_fluent_and_half_of_the_broken_ones_are_not_at_all(judge: EmbeddedJudge) -> None:
    def fluency(perplexity: float) -> float:
        return rated(judge, item(GOOD, perplexity=perplexity)).fluency or 0.0

    assert fluency(float(np.quantile(FLUENT, 0.89))) == 2 > fluency(8.0)
    assert fluency(float(np.median(BROKEN)) + 1) == 0 < fluency(60.0)


def test_a_text_by_another_is_fluent_though_it_surprises_the_model() -> None:
    sources = references() + references(np.linspace(90, 110, 20), np.linspace(900, 990, 20))
    alone, both = (EmbeddedJudge.fit(world(), WordEncoder(), some) for some in (sources[:1], sources))
    text = item(GOOD, perplexity=100.0)
    assert (rated(alone, text).fluency, rated(both, text).fluency) == (0, 2)


@pytest.mark.parametrize(
    ("fluent", "broken"), [(FLUENT[:0], BROKEN), (FLUENT, BROKEN[:0]), (np.array([1.0, np.nan]), BROKEN)]
)
def test_perplexities_must_be_there(fluent: np.ndarray, broken: np.ndarray) -> None:
    with pytest.raises(JudgeError, match="missing"):
        EmbeddedJudge.fit(world(), WordEncoder(), references(fluent, broken))


def test_perplexities_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(JudgeError, match="exchanged"):
        EmbeddedJudge.fit(world(), WordEncoder(), references(BROKEN, FLUENT))


def edited(split: str) -> Dataset:
    """The planted world with every response of a split ended by other words."""
    pairs = zip(world().items, world().split == split, strict=True)
    items = tuple(
        item.with_response(f"{item.response} Of brass and glass it sings.") if hit else item for item, hit in pairs
    )
    return replace(world(), items=items)


def test_no_evaluation_text_is_learnt_from_and_no_validation_text_says_what_a_concept_is(judge: EmbeddedJudge) -> None:
    fits = {
        split: EmbeddedJudge.fit(edited(split), WordEncoder(), references())
        for split in ("train", "validation", "evaluation")
    }
    assert fits["evaluation"].thresholds == judge.thresholds != fits["validation"].thresholds
    for split in ("validation", "evaluation"):
        np.testing.assert_array_equal(fits[split].classifier.weight, judge.classifier.weight)
    assert not np.allclose(fits["train"].classifier.weight, judge.classifier.weight)


def test_held_out_texts_are_as_relevant_as_their_threshold_says() -> None:
    """What sets the ramp is what is rated, of answers in which one sentence of two carries the concept."""
    carries = (world().labels == Label.POSITIVE).any(1)
    items = tuple(
        item.with_response(f"{sentence(*item.instruction[14:-1].split(), seed=n)} {item.response}") if hit else item
        for n, (item, hit) in enumerate(zip(world().items, carries, strict=True))
    )
    concepts = replace(world(), items=items)
    judge = EmbeddedJudge.fit(concepts, WordEncoder(), references())
    held_out = concepts.part("validation")
    plain = {
        held_out.items[row].instruction: held_out.items[row].response
        for row in held_out.rows(0, "validation", Label.NEGATIVE)
    }
    carrying = [(held_out.items[row], NAMES[k]) for row, k in np.argwhere(held_out.labels == Label.POSITIVE)]
    ratings = judge.rate(
        [JudgedText(name, "", one.instruction, one.response, 3.0, (plain[one.instruction],)) for one, name in carrying]
    )
    assert np.mean([rating.instruction == 2 for rating in ratings]) == pytest.approx(0.85, abs=0.05)


def test_relevance_is_taken_from_the_packaged_set_where_texts_answer_nothing() -> None:
    concepts = world()
    bare = replace(
        concepts, items=tuple(replace(one, conversation=Conversation.bare(one.response)) for one in concepts.items)
    )
    judge = EmbeddedJudge.fit(bare, WordEncoder(), references())
    own, whole = (EmbeddedJudge.fit(some, WordEncoder(), references()) for some in (concepts, packaged()))
    ramps = [
        np.array([fitted.thresholds.instruction.zero, fitted.thresholds.instruction.two])
        for fitted in (judge, whole, own)
    ]
    assert np.abs(ramps[0] - ramps[1]).max() < 0.05 < np.abs(ramps[0] - ramps[2]).max()
    assert judge.identity != own.identity


def test_the_name_says_that_no_llm_judges(judge: EmbeddedJudge) -> None:
    assert judge.name == "embedded (MiniLM classifier, no LLM)"


def test_on_real_texts_it_agrees_with_their_labels() -> None:
    concepts = few(packaged().select(["sea", "music", "sql"]), 16)
    judge = EmbeddedJudge.fit(concepts, SentenceEncoder.load(), references())
    labels, examples = concepts.labels, concepts.items
    for k, concept in enumerate(concepts.targets):
        kinds = (Label.POSITIVE, Label.NEGATIVE)
        rows = [row for kind in kinds for row in concepts.rows(k, "evaluation", kind)]
        items = [JudgedText(concept.name, "", examples[row].instruction, examples[row].response, 3.0) for row in rows]
        ratings = judge.rate(items)
        carried = labels[rows, k] == Label.POSITIVE
        assert auroc(np.array([rating.concept for rating in ratings], dtype=float), carried) > 0.9
        assert np.mean([rating.instruction for rating in ratings]) > 1  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_its_ratings_depend_on_what_it_was_fitted_on_and_not_on_evaluation_texts(judge: EmbeddedJudge) -> None:
    def identity(concepts: Dataset, fluent: np.ndarray = FLUENT) -> object:
        return EmbeddedJudge.fit(concepts, WordEncoder(), references(fluent)).identity

    assert identity(world()) == identity(edited("evaluation")) == judge.identity
    assert identity(world(), FLUENT + 1) != judge.identity
    assert identity(edited("train")) != judge.identity
    assert identity(edited("validation")) != judge.identity
