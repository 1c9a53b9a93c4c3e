"""A server of a tiny model in float64 on loopback, and what its texts must be."""

import itertools
import socket
import string
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from experiments.serve.config import Config
from experiments.serve.engine import Engine
from experiments.serve.server import build_server
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.artifacts.artifact import Origin
from workbench.artifacts.vector import Vector
from workbench.models.model import Model, wrap
from workbench.models.sampling import Sampling
from workbench.models.sites import Site

NAME = "tiny"


@dataclass(frozen=True)
class Served:
    """A server that listens."""

    model: Model
    folder: Path
    vectors: dict[str, Vector]
    url: str
    engine: Engine

    def client(self, **options: Any) -> Any:
        return openai.OpenAI(**{"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0, **options})

    def alone(self, question: str, sampling: Sampling, edits: Any = ()) -> str:
        """The text that `generate` gives for a question by itself."""
        (generation,) = self.model.generate([question], edits=edits, sampling=sampling)
        return generation.text

    def settle(self) -> None:
        """Wait until no row is left. Fails if that does not come."""
        for _ in range(400):
            counts = self.engine.counts
            if counts.rows_running == counts.rows_waiting == 0:
                return
            time.sleep(0.025)
        raise AssertionError(f"rows are left: {self.engine.counts}")


def tiny_double() -> Model:
    """In float64, where a row's numbers do not depend on its neighbours by more than rounding that no choice sees."""
    return wrap(tiny_module("llama").double(), tiny_tokenizer(), NAME)


def wide_tokenizer() -> Any:
    """ASCII in tokens of up to four characters, so that a text may end or be held back inside of one."""
    texts = [each for size in (2, 3) for each in map("".join, itertools.product("abcdeĠ", repeat=size))]
    words = ["<bos>", "<eos>", "<pad>", *map(chr, range(33, 127)), "Ġ", "Ċ", *texts]
    inner = Tokenizer(models.BPE(vocab={word: at for at, word in enumerate(words[:300])}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def sentencepiece_tokenizer() -> Any:
    """As Llama 2 has it: a space in front of every text, which decoding takes away again; bytes for what is missing."""
    letters = ["▁", *string.ascii_lowercase, *(f"▁{each}" for each in "abcdefg")]
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocab = {word: at for at, word in enumerate(words[:300])}
    merges = [("▁", each) for each in "abcdefg" if f"▁{each}" in vocab]
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def vector(model: Model, seed: int, layer: int = 1) -> Vector:
    """A random direction that changes what the tiny model says."""
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    origin = Origin("diffmean", "{}", f"concept {seed}", model.name, model.digest, "")
    return Vector(origin, Site(layer), direction / direction.norm(), bias=0.25, unit=3.0)


def save_vectors(model: Model, folder: Path, n: int = 4) -> dict[str, Vector]:
    """`v0` and so on, in a folder of the folder."""
    made = {f"layer/v{seed}": vector(model, seed, layer=seed % 3) for seed in range(n)}
    for name, each in made.items():
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        each.save(path)
    return made


@contextmanager
def serving(folder: Path, model: Model | None = None, **settings: Any) -> Iterator[Served]:
    """A server on a free port of loopback, until the end of the `with`."""
    model = tiny_double() if model is None else model
    vectors = save_vectors(model, folder)
    config = replace(Config(vectors=str(folder), port=0, max_rows=16, waiting=64), **settings)
    server = build_server(config, model)
    with socket.create_server((config.host, 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.http.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.http.started:
                time.sleep(0.01)
            yield Served(model, folder, vectors, url, server.engine)
        finally:
            server.http.should_exit = True
            thread.join()


def get(url: str, **options: Any) -> httpx.Response:
    return httpx.get(url, timeout=10, **options)
