from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import pytest
import torch

from tests.planted import concept_set
from workbench.data.packaged import packaged
from workbench.data.steering_task import split_instructions
from workbench.evaluation.steering import Neutral, Plan, Trial, cut, perplexities, run_trials
from workbench.models.edits import Add
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.runs.run import Run

SAMPLING = Sampling(max_new_tokens=6, temperature=1.0, top_p=0.9)


@dataclass(frozen=True)
class Nothing:
    """A configuration without settings."""


@pytest.fixture
def run(tmp_path):
    with Run.open("test", Nothing(), tmp_path) as opened:
        yield opened


def plan(trial: Trial) -> Plan:
    """An edit whose direction depends on the method and whose strength is the trial's."""
    seed = {"one": 1, "two": 2, "none": 0}[trial.method]
    direction = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    edits = (Add(site=Site(1), direction=direction, strength=trial.strength or 0.0),) if seed else ()
    return Plan(trial.instruction, edits)


def trials() -> list[Trial]:
    return [
        Trial(method, "sea", text, strength, 1, 0)
        for method, strength in (("one", 0.5), ("one", 3.0), ("two", 3.0), ("none", None))
        for text in ("Why?", "How does a longer question go?")
    ]


def test_no_instruction_chooses_for_one_concept_and_is_judged_by_in_another():
    concepts = packaged()
    halves = split_instructions(concepts, len(concepts.instructions), 0)
    first, second = ({text for concept in halves.values() for text in concept[half]} for half in (0, 1))
    assert not first & second
    assert first | second == set(concepts.instructions)


def test_halves_are_disjoint_and_reproducible():
    concepts = packaged()
    chosen = split_instructions(concepts, 10, seed=0)
    for first, second in chosen.values():
        assert len(first) == len(second) == 5
        assert not set(first) & set(second)
        assert set(first) | set(second) <= set(concepts.instructions)
    assert split_instructions(concepts, 10, seed=0) == chosen
    assert split_instructions(concepts, 10, seed=1) != chosen
    assert chosen["sea"] != chosen["music"]


@pytest.mark.parametrize("count", [1, 41])
def test_too_few_or_too_many_instructions_are_refused(count):
    with pytest.raises(ValueError, match="expected 2 to 40"):
        split_instructions(packaged(), count, seed=0)


def test_trials_in_one_batch_equal_trials_alone(llama, run):
    together = run_trials(run, "all", {}, llama, trials(), plan, SAMPLING)
    for trial in trials():
        alone = run_trials(run, f"alone/{trial.method}/{trial.strength}", {}, llama, [trial], plan, SAMPLING)
        assert alone[trial].text == together[trial].text
    texts = {trial.strength: together[trial].text for trial in trials() if trial.instruction == "Why?"}
    assert texts[3.0] != texts[None]


def test_done_blocks_are_not_done_again(llama, run):
    first = run_trials(run, "all", {"directions": 1}, llama, trials(), plan, SAMPLING)

    def other(trial: Trial) -> Plan:
        return Plan(trial.instruction.upper(), plan(trial).edits)

    # The inputs do not say that the planner is another one: what comes back is what was stored.
    assert run_trials(run, "all", {"directions": 1}, llama, trials(), other, SAMPLING) == first
    assert run_trials(run, "all", {"directions": 2}, llama, trials(), other, SAMPLING) != first


def test_blocks_are_done_again_for_other_sampling(llama, run):
    first = run_trials(run, "all", {}, llama, trials(), plan, SAMPLING)
    colder = replace(SAMPLING, temperature=0.1)
    assert run_trials(run, "all", {}, llama, trials(), plan, colder) != first


def test_equal_draws_for_every_method_and_strength():
    one, two = Trial("one", "sea", "Why?", 0.5, 1, 0), Trial("two", "sea", "Why?", 3.0, 1, 0)
    assert one.row_seed == two.row_seed
    assert one.row_seed != replace(one, seed=1).row_seed
    assert one.row_seed != replace(one, concept="music").row_seed


def test_perplexity_is_that_of_the_unsteered_model_and_missing_for_no_text(llama):
    found = perplexities(llama, ["Why?", "Why?", "How?"], ["because", " ", "so"])
    assert found[1] is None
    alone = llama.perplexity(llama.tokenize(["How?"], ["so"], chat=True))
    assert found[2] == pytest.approx(float(alone[0]), rel=1e-4)


def test_divergence_is_zero_unsteered_and_grows_with_strength(llama):
    neutral = Neutral.of(llama, concept_set().dataset, 2, max_tokens=5)
    assert len(neutral.texts) == 2

    def effect(strength: float) -> float:
        edit = Add(site=Site(1), direction=torch.ones(32), strength=strength)
        return float(neutral.divergence(llama, [Plan(text, (edit,)) for text in neutral.instructions]).mean())

    assert effect(0.0) == pytest.approx(0, abs=1e-6)
    assert 0 < effect(0.1) < effect(1.0)


@dataclass(frozen=True)
class Turned:
    """Other weights: those of a norm, some more than before."""

    by: float

    @contextmanager
    def __call__(self, model: Model) -> Iterator[Model]:
        norm = "model.norm.weight"
        more = model.backend.parameters()[norm].detach() + self.by * torch.linspace(-1, 1, 32)
        with model.backend.with_weights({norm: more}):
            yield model


def test_rows_within_other_weights_share_no_batch_and_answer_as_those_do(llama, run):
    weights = {"one": Turned(0.5), "two": Turned(3.0)}

    def within(trial: Trial) -> Plan:
        return replace(plan(trial), within=weights.get(trial.method))

    assert sorted(sorted({trial.method for trial in block}) for block in cut(llama, trials(), within)) == [
        ["none"],
        ["one"],
        ["two"],
    ]
    found = run_trials(run, "all", {}, llama, trials(), within, SAMPLING)
    for trial in trials():
        turned = weights.get(trial.method)
        sampling = replace(SAMPLING, row_seeds=(trial.row_seed,))
        with turned(llama) if turned else nullcontext():
            (alone,) = llama.generate([trial.instruction], edits=plan(trial).edits, sampling=sampling)
        assert found[trial].text == alone.text
        (plain,) = perplexities(llama, [trial.instruction], [alone.text])
        assert found[trial].perplexity == pytest.approx(plain, rel=1e-5)
    assert len({sample.text for sample in found.values()}) == len(trials())


EFFECTS = {
    "at every token": ("", [Add(site=Site(1), direction=torch.ones(32), strength=0.5)]),
    "in the first block": ("", [Add(site=Site(0), direction=torch.ones(32), strength=0.5)]),
    "asked for": ("Talk about the sea. ", []),
    "asked for and steered": ("Talk about the sea. ", [Add(site=Site(1), direction=torch.ones(32), strength=0.5)]),
}
TURNED = {"within other weights": Turned(0.5)}


@pytest.mark.parametrize("effect", [*EFFECTS, *TURNED])
def test_divergence_equals_sums_by_hand(llama, effect):
    (asked, edits), within = EFFECTS.get(effect, ("", [])), TURNED.get(effect)
    neutral = Neutral.of(llama, concept_set().dataset, 2, max_tokens=3)

    def expected(prompt: str, text: str) -> torch.Tensor:
        tokens = llama.tokenize([prompt], [text], chat=True)
        start = tokens.rows[0].response
        return llama.logits(tokens)[0][start - 1 : start + 2].log_softmax(-1)

    by_hand = []
    for instruction, text in zip(neutral.instructions, neutral.texts, strict=True):
        before = expected(instruction, text)
        with within(llama) if within else llama.edited(edits):
            after = expected(asked + instruction, text)
        by_hand.append(float((before.exp() * (before - after)).sum(-1).mean()))
    plans = [Plan(asked + text, tuple(edits), within) for text in neutral.instructions]
    assert neutral.divergence(llama, plans * 2) == pytest.approx(by_hand * 2, rel=1e-3)
    assert min(by_hand) > 1e-4
