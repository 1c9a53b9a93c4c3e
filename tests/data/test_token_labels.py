import numpy as np
import pytest

from tests.tokenizer_kinds import KINDS
from workbench.data.token_labels import NONE, token_classes
from workbench.models.encoding import encode


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["The capital of", "The capital of "])
def test_a_response_has_its_classes_however_it_is_cut(kind: str, prompt: str) -> None:
    tokenizer, response = KINDS[kind](), "France is Paris"
    tokens = encode(tokenizer, [prompt], [response])
    starts = np.array([character.isupper() for character in response], dtype=int)
    (classes,) = token_classes(tokenizer, tokens, [response], [starts])
    (row,) = tokens
    assert (classes[: row.response] == NONE).all()
    pieces = [tokenizer.decode([token]).strip() for token in row.ids[row.response :]]
    for piece, found in zip(pieces, classes[row.response :], strict=True):
        assert found == (NONE if not piece else piece[0].isupper())
