"""What Concept16K on Gemma-2-9B costs on 1, 8 and 64 GPUs: a model on paper, from the constants below.

python -m benchmarks.cluster_cost
"""

from dataclasses import dataclass
from math import ceil

# The task: AxBench's Concept16K (arXiv:2501.17148), every concept with every method.
CONCEPTS = 16_000
TRAIN_TEXTS = 72  # of a concept, with it
SHARED_TEXTS = 216  # without any concept, the same for all
EVALUATION_TEXTS = 77  # of a concept: 36 with it, 36 without, 5 hard negatives
TEXT_TOKENS = 90  # instruction, chat header and a response of
RESPONSE_TOKENS = 64
INSTRUCTIONS = 10  # a concept; each half chooses the strength for the other
STRENGTHS = 14
RACE_STRENGTHS = 9  # answers to an instruction: the rounds rate 8.6, and some chosen ones are missing
STEERED = 3  # methods with a strength, say DiffMean, probe and ReFT-r1
PROMPT_TOKENS = 30
NEW_TOKENS = 128

# The model: Gemma-2-9B in bfloat16, read and edited after block 20 of 42.
PARAMETERS = 9.24e9
VOCABULARY = 256_000
WIDTH = 3584
BLOCKS = 42
BLOCKS_READ = 21
CACHE_BYTES = 2 * BLOCKS * 8 * 256 * 2  # of the KV cache, a token: keys and values, 8 heads of 256, 2 bytes
BYTES = 2  # a weight or activation

# Fits on stored states, on the CPU, in float32. Dense algebra on one node's share of cores.
PRINCIPAL_FLOPS = 10 * WIDTH**3  # an eigendecomposition, for PCA and LAT each
PROBE_PASSES = 4 * 100 * 2  # four C, a hundred steps, forward and gradient
HOST_FLOPS = 5e11  # a second, 8 cores

# ReFT-r1: trained from the stored states through the blocks above, weights frozen.
TRAINED_TEXTS = 2 * TRAIN_TEXTS * 3  # with and without the concept, three epochs

# The judge: a model of the same size and kind, asked three prompts, its answers generated in LocalJudge's batches.
JUDGE_PROMPTS = 3
JUDGE_PROMPT_TOKENS = 350
JUDGE_NEW_TOKENS = 80
JUDGE_BATCH = 16

# The machine: H100 SXM, eager PyTorch.
PEAK_FLOPS = 989e12  # a second, bfloat16
PREFILL_SHARE = 0.4  # of the peak that reading and scoring reach
TRAINING_SHARE = 0.25  # that training reaches
PEAK_BANDWIDTH = 3.35e12  # bytes a second
BANDWIDTH_SHARE = 0.6
STEP_S = 0.03  # least time of one decoding step: launching the kernels of 42 blocks from Python
GENERATION_BATCH = 64  # rows of a unit of work
DISK = 2e9  # bytes a second that one worker gets from the shared folder, and
DISK_TOTAL = 20e9  # that all of them get
DISPATCH_S = 0.01  # of the driver, a unit of work; units go out one after the other
START_S = 60.0  # of a worker: processes, imports, kernels; the weights come on top
PRICE = 2.5  # US dollars a GPU-hour

GPUS = (1, 8, 64)
HOUR = 3600.0
BLOCK_PARAMETERS = (PARAMETERS - VOCABULARY * WIDTH) / BLOCKS
STATE_BYTES = WIDTH * BYTES  # of a token, at one site


@dataclass(frozen=True)
class Stage:
    """One kind of work, divided over GPUs into units."""

    name: str
    flops: float
    n_bytes: float
    """Read from or written to the shared folder."""
    gpu_s: float
    """Seconds of one worker, without the shared folder."""
    units: int

    def wall_s(self, n_gpus: int) -> float:
        """The work divided, the last unit that others wait for, and no faster than the folder or the driver allow."""
        disk = self.n_bytes / min(DISK * n_gpus, DISK_TOTAL)
        whole = self.gpu_s / n_gpus + disk
        return max(whole, self.units * DISPATCH_S) + self.gpu_s / self.units


def forward_flops(tokens: float, blocks: float = BLOCKS, labels: float = 0.0) -> float:
    """Two for each weight and token, of the unembedding for each label only; attention scores (below 1 %) left out."""
    return 2 * tokens * blocks * BLOCK_PARAMETERS + 2 * labels * VOCABULARY * WIDTH


def prefill_s(flops: float) -> float:
    """Seconds of a pass over many tokens at once."""
    return flops / (PEAK_FLOPS * PREFILL_SHARE)


def step_s(batch: int, context: float) -> float:
    """Seconds of one decoding step: launched, computed, or all weights and the cache read, whichever takes longest."""
    moved = (PARAMETERS * BYTES + batch * context * CACHE_BYTES) / (PEAK_BANDWIDTH * BANDWIDTH_SHARE)
    return max(STEP_S, moved, prefill_s(forward_flops(batch, labels=batch)))


def reading() -> Stage:
    """Every text once, up to the block that is read; all states are stored."""
    n_texts = CONCEPTS * (TRAIN_TEXTS + EVALUATION_TEXTS) + SHARED_TEXTS
    flops = forward_flops(n_texts * TEXT_TOKENS, BLOCKS_READ)
    n_bytes = n_texts * TEXT_TOKENS * STATE_BYTES
    return Stage("reading", flops, n_bytes, prefill_s(flops), ceil(n_texts / 256))


def fitting() -> Stage:
    """Means, PCA and LAT, and the linear probe; each concept's states are fetched once."""
    tokens, others = TRAIN_TEXTS * TEXT_TOKENS, SHARED_TEXTS * TEXT_TOKENS
    principal = 2 * (2 * tokens * WIDTH**2 + PRINCIPAL_FLOPS)
    probe = 2 * (tokens + others) * WIDTH * PROBE_PASSES
    flops = CONCEPTS * (principal + probe)
    n_bytes = CONCEPTS * tokens * STATE_BYTES
    return Stage("closed-form fits and probe (CPU)", flops, n_bytes, flops / HOST_FLOPS, 4 * CONCEPTS // 16)


def training() -> Stage:
    """Forward, and as much again backward: frozen weights have no gradient of their own."""
    texts = CONCEPTS * TRAINED_TEXTS
    flops = 2 * forward_flops(texts * TEXT_TOKENS, BLOCKS - BLOCKS_READ, texts * RESPONSE_TOKENS)
    n_bytes = CONCEPTS * 2 * TRAIN_TEXTS * TEXT_TOKENS * STATE_BYTES
    return Stage("ReFT-r1 training", flops, n_bytes, flops / (PEAK_FLOPS * TRAINING_SHARE), CONCEPTS // 16)


def generations(strengths: int) -> int:
    """Texts to generate and judge: so many strengths on every instruction; what is reported is among them."""
    return CONCEPTS * STEERED * INSTRUCTIONS * strengths


def generating(strengths: int) -> Stage:
    """Prompts, decoding, and one pass over each text for its perplexity."""
    n = generations(strengths)
    passes = forward_flops(n * PROMPT_TOKENS, labels=n) + forward_flops(
        n * (PROMPT_TOKENS + NEW_TOKENS), labels=n * NEW_TOKENS
    )
    steps, units = n * NEW_TOKENS / GENERATION_BATCH, ceil(n / GENERATION_BATCH)
    decoding = steps * step_s(GENERATION_BATCH, PROMPT_TOKENS + NEW_TOKENS / 2)
    flops = passes + forward_flops(n * NEW_TOKENS, labels=n * NEW_TOKENS)
    return Stage("generation", flops, n * 2e3, prefill_s(passes) + decoding, units)


def judging(strengths: int) -> Stage:
    """Three prompts a text, each read and answered."""
    n = generations(strengths) * JUDGE_PROMPTS
    reading = forward_flops(n * JUDGE_PROMPT_TOKENS, labels=n)
    answers = n * JUDGE_NEW_TOKENS
    decoding = answers / JUDGE_BATCH * step_s(JUDGE_BATCH, JUDGE_PROMPT_TOKENS + JUDGE_NEW_TOKENS / 2)
    units = ceil(generations(strengths) / GENERATION_BATCH)
    flops = reading + forward_flops(answers, labels=answers)
    return Stage("judging", flops, n * 1e3, prefill_s(reading) + decoding, units)


def start_s(n_gpus: int) -> float:
    """Until every worker has the model and the judge."""
    return START_S + 2 * PARAMETERS * BYTES * n_gpus / min(DISK * n_gpus, DISK_TOTAL)


def table(strengths: int) -> list[str]:
    """Lines of a Markdown table: stages, and their sum."""
    stages = [reading(), fitting(), training(), generating(strengths), judging(strengths)]
    head = "| stage | FLOPs | bytes | worker-hours | " + " | ".join(f"hours on {n}" for n in GPUS) + " |"
    lines = [head, "| :-- |" + " --: |" * (3 + len(GPUS))]
    for one in stages:
        lines.append(_line(one.name, one.flops, one.n_bytes, one.gpu_s, [one.wall_s(n) for n in GPUS]))
    walls = [start_s(n) + sum(one.wall_s(n) for one in stages) for n in GPUS]
    flops, n_bytes = sum(one.flops for one in stages), sum(one.n_bytes for one in stages)
    lines.append(_line("all, with start", flops, n_bytes, sum(one.gpu_s for one in stages), walls))
    prices = " | ".join(f"{wall / HOUR * n * PRICE:,.0f} $" for wall, n in zip(walls, GPUS, strict=True))
    return [*lines, f"| rented throughout | | | | {prices} |"]


def _line(name: str, flops: float, n_bytes: float, gpu_s: float, walls: list[float]) -> str:
    hours = " | ".join(f"{wall / HOUR:.3g}" for wall in walls)
    return f"| {name} | {flops:.1e} | {_size(n_bytes)} | {gpu_s / HOUR:.3g} | {hours} |"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e12:.2f} TB" if n_bytes >= 1e11 else f"{n_bytes / 1e9:.1f} GB"


def main() -> None:
    for search, strengths in (("race", RACE_STRENGTHS), ("grid", STRENGTHS)):
        print(f"--search {search}: {generations(strengths):,} generations\n")
        print("\n".join(table(strengths)) + "\n")


if __name__ == "__main__":
    main()
