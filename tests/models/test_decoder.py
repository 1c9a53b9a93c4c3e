"""What a decoder tells of the next step."""

import pytest
import torch

from workbench.models.decoder import Decoder
from workbench.models.sampling import Sampling


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
