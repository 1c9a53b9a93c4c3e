from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel

from workbench.evaluation.judges import encoder as encoder_file
from workbench.evaluation.judges.encoder import SentenceEncoder
from workbench.models.weights import encoder_folder

TEXTS = (
    "The ship left the harbour at dawn.",
    "A vessel sailed out of port early in the morning.",
    "def add(a, b):\n    return a + b",
    "",
    "naïve café ☕ 数学",
    "word " * 400,
)


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder.load()


@pytest.fixture(scope="module")
def embeddings(encoder: SentenceEncoder) -> np.ndarray:
    return encoder.encode(TEXTS)


def test_it_is_the_recipe_of_sentence_transformers(embeddings: np.ndarray) -> None:
    folder = encoder_folder()
    tokenizer, module = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    for text, got in zip(TEXTS, embeddings, strict=True):
        encoded = tokenizer(text, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            states = module(**encoded).last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1).float()
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        want = torch.nn.functional.normalize(mean, p=2, dim=1)[0].numpy()
        np.testing.assert_allclose(got, want, atol=2e-6)  # other padding sums in another order


def test_vectors_are_float32_and_of_unit_length(embeddings: np.ndarray) -> None:
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_what_means_the_same_lies_close(embeddings: np.ndarray) -> None:
    same, other = embeddings[0] @ embeddings[1], embeddings[0] @ embeddings[2]
    assert same > 0.6 > 0.2 > other


def test_order_neighbours_and_repetition_change_nothing(encoder: SentenceEncoder, embeddings: np.ndarray) -> None:
    shuffled = encoder.encode([TEXTS[2], TEXTS[0], TEXTS[2], "another text altogether"])
    np.testing.assert_allclose(shuffled[:3], embeddings[[2, 0, 2]], atol=2e-6)
    np.testing.assert_array_equal(shuffled[0], shuffled[2])


def test_what_follows_token_256_is_ignored(encoder: SentenceEncoder, embeddings: np.ndarray) -> None:
    (longer,) = encoder.encode(["word " * 500])
    np.testing.assert_allclose(longer, embeddings[5], atol=2e-6)


def test_no_texts_give_no_vectors(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_many_texts_are_encoded_once_a_machine(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(encoder_file, "MANY", 2)
    monkeypatch.setattr(encoder_file, "KEPT", 2)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    wanted = encoder.encode(TEXTS)
    assert np.array_equal(encoder.remembering(TEXTS).encode(TEXTS), wanted)

    nothing = SentenceEncoder(None, encoder.tokenizer)  # it cannot encode
    nothing.__dict__["digest"] = encoder.digest
    assert np.array_equal(nothing.remembering(TEXTS).encode(TEXTS[::-1]), wanted[::-1])

    for more in ("one", "two"):
        encoder.remembering([*TEXTS, more])
    assert len(list(tmp_path.glob("sentences/*/manifest.json"))) == 2
    with pytest.raises(AttributeError):  # the first was the oldest, and is gone
        nothing.remembering(TEXTS)


def test_a_cache_that_cannot_be_written_is_no_hindrance(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(encoder_file, "MANY", 2)
    (tmp_path / "file").touch()
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file"))
    assert np.array_equal(encoder.remembering(TEXTS).encode(TEXTS), encoder.encode(TEXTS))
