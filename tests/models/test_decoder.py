"""What a decoder tells of the next step."""

import pytest
import torch

from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.decoder import Decoder
from workbench.models.edits import Add
from workbench.models.gates import Gate, GateCondition, GateRule
from workbench.models.model import wrap
from workbench.models.positions import ALL
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.tokens import Row, Tokens


def test_the_logits_are_those_that_the_next_step_chooses_from(llama):
    decoder, prompts = Decoder(llama), llama.tokenize(["the sea", "a longer prompt"])
    numbers = decoder.add(prompts, Sampling(4))
    assert torch.allclose(decoder.logits(), llama.next_logits(prompts), atol=1e-4)
    for _ in range(3):
        expected = decoder.logits().argmax(-1).tolist()
        decoder.step()
        assert [decoder.written(number)[-1] for number in numbers] == expected
    (alone, _) = llama.generate(prompts, sampling=Sampling(4))
    assert decoder.step()[numbers[0]] == alone


def test_without_rows_there_are_no_logits(llama):
    with pytest.raises(RuntimeError, match="no row is running"):
        Decoder(llama).logits()


@pytest.mark.parametrize("join", [None, "all", "any"])
def test_rows_that_share_a_gate_and_join_apart_are_each_edited_as_if_alone(join):
    """An older row stands idle beside the younger one's edit; the gate must not count its states there too."""
    model = wrap(tiny_module("llama").double(), tiny_tokenizer(), "tiny")
    acting, watched, other = torch.randn(3, model.d_model, generator=torch.Generator().manual_seed(0)).double() / 6
    older, younger, stranger = (Row(ids, 1) for ids in ((0, 70, 80, 90), (0, 99, 98), (0, 120, 130)))

    def gated(gate: GateCondition) -> Add:
        return Add(site=Site(0), direction=acting, strength=18.0, gate=gate)

    def written(decoder: Decoder, number: int) -> tuple[int, ...]:
        done = {}
        while number in decoder.running:
            done |= decoder.step()
        return done[number].ids

    seen = set()
    for below, threshold in [(below, threshold) for below in (False, True) for threshold in (-1.0, -0.25, 0.5)]:
        gate = Gate(site=Site(0), direction=watched, threshold=threshold, positions=ALL, below=below)
        shared = gate if join is None else GateRule((gate,), join)
        alone = Decoder(model)
        (expected,) = (written(alone, number) for number in alone.add(Tokens((older,)), Sampling(40), gated(shared)))
        decoder = Decoder(model)
        (number,) = decoder.add(Tokens((older,)), Sampling(40), gated(shared))
        decoder.step()
        joining = per_row([[Add(site=Site(0), direction=other, strength=2.0)], [gated(shared)]])
        decoder.add(Tokens((stranger, younger)), Sampling(40), joining)
        assert written(decoder, number) == expected
        seen.add(expected)
    assert len(seen) > 2


def test_rows_remember_no_gates_of_edits_that_are_gone(llama):
    gate = Gate(site=Site(0), direction=torch.ones(llama.d_model), threshold=0.0, positions=ALL)
    edit, decoder = Add(site=Site(1), direction=torch.ones(llama.d_model), gate=gate), Decoder(llama)
    decoder.add(llama.tokenize(["the sea"]), Sampling(20))
    sizes = []
    for _ in range(4):
        decoder.add(llama.tokenize(["x"]), Sampling(2), edit)
        decoder.step()
        decoder.step()
        assert decoder._batch is not None
        sizes.append(len(decoder._batch.layout.memory[0]))
    assert sizes == [sizes[0]] * 4
