r"""On one GPU: are its numbers those of the CPU, and how fast are reading, writing and training beside Hugging Face?

python -m benchmarks.device

Weights are random, at the shapes of three models, and prompts are random tokens, so nothing is downloaded. Embeddings
are not tied as those models' are: tied and random, a model repeats its last token. That takes memory, not time.

It prints two Markdown tables. The first is of float32: the largest difference between GPU and CPU, divided by the
largest value, of the logits and of the states behind every block, which may be 1e-4; and how many greedy rows are the
same, each under an edit of its own. A row may become another one only where the CPU's logits of the two tokens are as
close as that. The second is of bfloat16: tokens a second, by the median of the rounds. Ours runs as it is, in passes
that hold all rows; the peer has plain calls on the same rows, its static cache, and at the very end the decode step
that it compiles with CUDA graphs. Ours has neither of these.

What may not end within `--seconds` is not begun, and a row says so. `--shapes tiny` runs on a CPU too, where it
compares the CPU with itself. The exit status is 1 where GPU and CPU differ by more, or if there is no GPU.

A machine without a network, or with an older transformers, can be brought what it lacks as wheels (16 MiB). Beside
PyTorch and an older transformers it needs accelerate, einops, httpx, jaxtyping, pandas, pyarrow, scikit-learn,
sentencepiece and xxhash. Where there is a network:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --constraint constraints.txt --dest wheels \
        transformers transformer-lens gguf datasets dill multiprocess

and on that machine:

    pip install --no-index --no-deps --target site wheels/*.whl
    PYTHONPATH=site python -m benchmarks.device
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.generation import TEMPERATURE, TOP_P, continue_rows, hugging_face, one_hook, ours
from benchmarks.reading import random_tokens
from benchmarks.timing import race
from benchmarks.training import alone, hooked
from steering.methods.reft_r1 import LatentObjective
from steering.training.objective import TrainingConfig
from steering.training.trainer import train
from workbench.data.items import Item, Target
from workbench.data.labelled import Labelled, ModelAccess
from workbench.models.devices import choose_device
from workbench.models.edits import Add
from workbench.models.huggingface import HuggingFaceBackend
from workbench.models.model import Model
from workbench.models.positions import ALL
from workbench.models.sampling import Sampling
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

TOLERANCE = 1e-4
"""Of the largest value: sums of thousands of float32 terms in another order, through tens of blocks, stay below it."""

EQUALITY_S, SPEED_S, COMPILED_S = 40.0, 60.0, 70.0
"""Seconds that a shape may take for the first table, the second one, and the compiled step: guesses, to stop by."""


def llama(vocabulary: int, d_model: int, d_mlp: int, n_layers: int, n_heads: int, n_key_value: int) -> LlamaConfig:
    """Of a shape, with no token that ends a row."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=d_model,
        intermediate_size=d_mlp,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_key_value,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )


TINY = "tiny"
SHAPES = {
    TINY: llama(512, 64, 128, 3, 4, 2),
    "smollm2-135m": llama(49152, 576, 1536, 30, 9, 3),
    "llama-3.2-1b": llama(128256, 2048, 8192, 16, 32, 8),
    "gemma-2-2b": Gemma2Config(bos_token_id=None, eos_token_id=None, tie_word_embeddings=False),
}


@dataclass(frozen=True)
class Size:
    """How much is read, written and trained on."""

    rows: int = 128
    prompt: int = 38
    new: int = 32
    """Tokens that every row of a generation writes."""
    read: int = 64
    """Texts that are read."""
    trained: int = 24
    """Texts that each concept is trained on."""
    length: int = 128
    """Tokens of a text."""
    concepts: int = 4
    """Trained side by side; the plain loop trains one."""
    compared: int = 8
    """Prompts that CPU and GPU both run, and tokens that they write behind each."""
    rounds: int = 3


SMALL = Size(rows=3, prompt=6, new=2, read=2, trained=4, length=12, concepts=2, compared=3, rounds=1)


def build(shape: str, device: torch.device, dtype: torch.dtype) -> Model:
    """A model with random weights, made where it runs; its tokenizer writes ids as numbers."""
    with torch.random.fork_rng(), device:
        torch.manual_seed(0)
        module = AutoModelForCausalLM.from_config(copy.deepcopy(SHAPES[shape]), dtype=dtype).eval()
    # The pad token is no number: a special token is found inside others.
    numbers = {"pad": 0} | {str(number): number for number in range(1, module.config.vocab_size)}
    inner = Tokenizer(models.WordLevel(numbers, unk_token="pad"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="pad")
    return Model(HuggingFaceBackend(module), tokenizer, f"random {shape}", f"random {shape}")


def directions(model: Model, n_rows: int) -> Tensor:
    """A random direction for each row [row, d]."""
    return torch.randn(n_rows, model.d_model, generator=torch.Generator().manual_seed(0))


def on_cpu(model: Model) -> Model:
    """The same model on the CPU."""
    module = copy.deepcopy(model.module).to("cpu")
    return Model(HuggingFaceBackend(module), model.tokenizer, model.name, model.digest)


def equality(shape: str, cpu: Model, here: Model, size: Size) -> bool:
    """Print the shape's row of the first table; whether two devices agree within the tolerance."""
    prompts, sites = random_tokens(cpu, size.compared, size.prompt), [Site(layer) for layer in range(cpu.n_layers)]
    moved, strength = directions(cpu, size.compared), torch.linspace(0.5, 1.5, size.compared)
    edit, sampling = Add(site=cpu.site(), direction=moved, strength=strength), Sampling(size.compared)
    logits, states, written = [], [], []
    for model in (cpu, here):
        logits.append(torch.cat(model.logits(prompts)))
        states.append(model.read(prompts, sites, positions=ALL).arrays)
        written.append([row.ids for row in model.generate(prompts, edits=edit, sampling=sampling)])
    far = difference(*logits), max(difference(states[0][site], states[1][site]) for site in sites)
    other = [at for at in range(len(prompts)) if written[0][at] != written[1][at]]
    tied = [near_tie(cpu, edit.select([at]), prompts.rows[at], written[0][at], written[1][at]) for at in other]
    agree = max(far) <= TOLERANCE and all(tied)
    same = f"{len(prompts) - len(other)} of {len(prompts)}"
    print(f"| {shape} | {far[0]:.1e} | {far[1]:.1e} | {same} | {'yes' if agree else 'no'} |", flush=True)
    return agree


def difference(expected: Tensor, found: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def near_tie(cpu: Model, edit: Add, prompt: Row, expected: Sequence[int], found: Sequence[int]) -> bool:
    """Whether rounding can exchange the first two tokens that differ, by the CPU's own logits in front of them."""
    at = next(step for step, (one, other) in enumerate(zip(expected, found, strict=True)) if one != other)
    with cpu.edited(edit):
        logits = cpu.next_logits(Tokens((Row((*prompt.ids, *expected[:at])),)))[0]
    return bool(logits[expected[at]] - logits[found[at]] <= 2 * TOLERANCE * logits.abs().max())


@torch.no_grad()
def hidden_states(model: Model, texts: Tokens, sites: Sequence[Site], *, means: bool = False) -> list[Tensor]:
    """Hugging Face's `output_hidden_states` of texts of one length, on the CPU: of all tokens, or means of texts."""
    output = model.module.model(texts.pad().ids.to(model.device), output_hidden_states=True, use_cache=False)
    states = [output.hidden_states[site.layer + 1] for site in sites]
    return [(h.float().mean(1) if means else h.flatten(0, 1)).cpu() for h in states]


def concepts(model: Model, size: Size) -> list[Labelled]:
    """Concepts with texts of their own, every second one positive; a text is half instruction, half response."""
    words = [
        [str(number) for number in row.ids] for row in random_tokens(model, size.concepts * size.trained, size.length)
    ]
    half = size.length // 2
    items = [Item.exchange(" ".join(text[:half]), " ".join(["", *text[half:]])) for text in words]
    return [
        Labelled(
            x=directions(model, size.trained),  # the published form does not start from the states
            y=torch.arange(size.trained) % 2 == 0,
            row=torch.arange(size.trained),
            target=Target(f"concept-{number}", "any"),
            site=model.site(),
            items=tuple(items[number * size.trained : (number + 1) * size.trained]),
            through=ModelAccess(model),
        )
        for number in range(size.concepts)
    ]


@dataclass(frozen=True, eq=False)
class Races:
    """Ours against Hugging Face at one shape: a row of the second table for each peer."""

    shape: str
    model: Model
    size: Size

    def read(self) -> None:
        """Both run all texts in one pass and leave their arrays on the CPU."""
        model, texts = self.model, random_tokens(self.model, self.size.read, self.size.length)
        n_tokens = sum(texts.lengths)
        sites, site = [Site(layer) for layer in range(model.n_layers)], model.site()
        self.race(
            f"read {len(sites)} blocks, every token",
            lambda: model.read(texts, sites, positions=ALL, budget=n_tokens),
            {"output_hidden_states": lambda: hidden_states(model, texts, sites)},
            n_tokens,
        )
        self.race(
            f"read block {site.layer}, means of texts",
            lambda: model.read(texts, site, positions=ALL, pool="mean", budget=n_tokens),
            {"output_hidden_states": lambda: hidden_states(model, texts, [site], means=True)},
            n_tokens,
        )

    def generate(self) -> float:
        """Ours with another direction and strength in each row; returns its tokens a second, greedily."""
        model, moved, prompts = self.model, directions(self.model, self.size.rows), self.prompts
        drawn, greedy = Sampling(self.size.new, TEMPERATURE, TOP_P), Sampling(self.size.new)
        static = {"cache_implementation": "static", "disable_compile": True}
        n_tokens = self.size.rows * self.size.new
        self.race(
            f"generate {self.size.rows} rows, sampled from {TOP_P:.0%}",
            lambda: ours(model, prompts, moved, drawn),
            {"generate": lambda: hugging_face(model, prompts, moved[0], drawn)},
            n_tokens,
        )
        return self.race(
            f"generate {self.size.rows} rows, greedily",
            lambda: ours(model, prompts, moved, greedy),
            {
                "generate": lambda: hugging_face(model, prompts, moved[0], greedy),
                "generate, static cache": lambda: hugging_face(model, prompts, moved[0], greedy, **static),
            },
            n_tokens,
        )

    def compiled(self, mine: float) -> None:
        """Hugging Face's compiled decode step beside the speed that ours had; its hook stays, or it compiles anew."""
        greedy, prompts = Sampling(self.size.new), self.prompts
        with one_hook(self.model, directions(self.model, 1)[0]):
            run = self.finished(lambda: continue_rows(self.model, prompts, greedy, cache_implementation="static"))
            (seconds,) = race({"compiled": run}, self.size.rounds).values()
        torch.compiler.reset()
        work = f"generate {self.size.rows} rows, greedily"
        self.report(work, "generate, static cache, compiled", mine, self.size.rows * self.size.new / seconds)

    def train(self) -> None:
        """ReFT-r1 with the published numerics: concepts side by side, and one after the other in a plain loop."""
        model, data = self.model, concepts(self.model, self.size)
        step = TrainingConfig().batch_size * self.size.length
        recipe = TrainingConfig(epochs=1, budget=len(data) * step)
        objective = LatentObjective(recipe, model.site(), form="compat")
        with model.backend.with_weights({}):
            self.race(
                f"train {len(data)} concepts, ReFT-r1",
                lambda: train(objective, data),
                {"plain loop": lambda: [alone(hooked, objective, one) for one in data]},
                len(data) * self.size.trained * self.size.length,
            )

    @property
    def prompts(self) -> Tokens:
        """They share nothing, so that ours saves nothing by it."""
        return random_tokens(self.model, self.size.rows, self.size.prompt)

    def race(
        self, work: str, mine: Callable[[], object], peers: Mapping[str, Callable[[], object]], n_tokens: int
    ) -> float:
        """Print a row for each peer; returns our tokens a second."""
        contestants = {"workbench": mine, **peers}
        times = race({name: self.finished(run) for name, run in contestants.items()}, self.size.rounds)
        speed = n_tokens / times["workbench"]
        for name in peers:
            self.report(work, name, speed, n_tokens / times[name])
        return speed

    def finished(self, run: Callable[[], object]) -> Callable[[], None]:
        """The same, ending only when the GPU has done its work."""

        def waited() -> None:
            run()
            if self.model.device.type == "cuda":
                torch.cuda.synchronize()

        return waited

    def report(self, work: str, peer: str, mine: float, theirs: float) -> None:
        """Print a row of the second table."""
        print(f"| {self.shape} | {work} | {mine:,.0f} | {peer} | {theirs:,.0f} | {mine / theirs:.2f} x |", flush=True)


def time_for(seconds: float, end: float, shape: str) -> bool:
    """Whether so many seconds are left before `end`, of the monotonic clock; if not, prints a row that says so."""
    left = end - time.monotonic()
    if left < seconds:
        print(f"| {shape} | not begun: may take {seconds:.0f} s, {max(left, 0):.0f} are left |", flush=True)
    return left >= seconds


def compare(shapes: Sequence[str], device: torch.device, end: float) -> bool:
    """Print both tables; whether GPU and CPU agree. Compiling comes last: it takes longest."""
    sizes = {shape: SMALL if shape == TINY else Size() for shape in shapes}
    print(f"| float32 | logits | states | same rows | at most {TOLERANCE:.0e} |\n|---|---|---|---|---|")
    agree = True
    for shape in shapes:
        if time_for(EQUALITY_S, end, shape):
            here = build(shape, device, torch.float32)
            agree &= equality(shape, on_cpu(here), here, sizes[shape])
    print("\n| bfloat16 | work | ours, tokens a second | peer | tokens a second | ours is |\n|---|---|---|---|---|---|")
    speeds = {}
    for shape in shapes:
        if time_for(SPEED_S, end, shape):
            races = Races(shape, build(shape, device, torch.bfloat16), sizes[shape])
            races.read()
            speeds[shape] = races.generate()
            races.train()
    for shape, mine in speeds.items():
        if device.type == "cuda" and time_for(COMPILED_S, end, shape):
            Races(shape, build(shape, device, torch.bfloat16), sizes[shape]).compiled(mine)
    return agree


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[shape for shape in SHAPES if shape != TINY])
    parser.add_argument("--smoke", dest="shapes", action="store_const", const=[TINY], help="the same as --shapes tiny")
    parser.add_argument("--seconds", type=float, default=280.0, help="what may end later is not begun")
    chosen, start = parser.parse_args(), time.monotonic()
    device = choose_device("auto")
    if device.type == "cpu" and {*chosen.shapes} != {TINY}:
        sys.exit("there is no GPU here; `--shapes tiny` runs on a CPU")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}\n")
    agree = compare(chosen.shapes, device, start + chosen.seconds)
    print(f"\nIt took {time.monotonic() - start:.0f} s")
    sys.exit(not agree)


if __name__ == "__main__":
    main()
