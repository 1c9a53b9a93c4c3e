"""A lookup model that is known in every weight: one head carries the task, and the answer is the task of the word.

Word i is e_i, its answer under task k shows the task alone, u_k, and the unembedding of that answer reads word and
task. Attention is uniform; head HEAD of layer LAYER moves u_k from the answers to the last token. The other heads write
the same in every prompt, along directions that nothing reads.
"""

from typing import Any

import torch
import transformers

from steering.function_vectors.prompts import InContextPrompts
from tests.tiny import tiny_tokenizer
from workbench.models.model import Model, wrap
from workbench.models.tokens import Row, Tokens

WORDS, TASKS, D, D_HEAD = 8, 3, 64, 24
LAYER, HEAD = 1, 2
VOCAB = WORDS * (1 + TASKS)
IDLE = 0.1
"""What the other heads make of a constant."""


def answer(task: int, word: int) -> int:
    """The token that answers a word."""
    return WORDS * (1 + task) + word


def lookup_model() -> Model:
    """Two layers of four heads over two groups, wider together than the stream."""
    config = transformers.LlamaConfig(
        hidden_size=D,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=D_HEAD,
        vocab_size=VOCAB,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
    )
    module: Any = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
        for name, weight in module.named_parameters():
            if "norm" in name:
                weight.fill_(1.0)
        axes = torch.eye(D)
        words, tasks = axes[:WORDS], axes[WORDS : WORDS + TASKS]
        read, write = module.model.embed_tokens.weight, module.lm_head.weight
        read[:WORDS], write[:WORDS] = words, 1.2 * words  # without a task a word is repeated
        for task in range(TASKS):
            block = slice(WORDS * (1 + task), WORDS * (2 + task))
            read[block], write[block] = tasks[task].expand(WORDS, D), words + tasks[task]
        for layer, block in enumerate(module.model.layers):
            attention = block.self_attn
            for group in range(2):  # a head's values: the tasks, then a constant that every token has
                rows = attention.v_proj.weight[group * D_HEAD :]
                rows[:TASKS] = tasks
                rows[TASKS] = words.sum(0) + tasks.sum(0)
            for head in range(4):
                columns = attention.o_proj.weight[:, head * D_HEAD : (head + 1) * D_HEAD]
                if (layer, head) == (LAYER, HEAD):
                    columns[WORDS : WORDS + TASKS, :TASKS] = torch.eye(TASKS)
                else:
                    columns[40 + 4 * layer + head, TASKS] = IDLE
    return wrap(module, tiny_tokenizer(), "lookup")


def task_vector(task: int, shots: int = 4) -> torch.Tensor:
    """What the head writes behind so many demonstrations.

    A token is 1 long and each of the four heads of layer 0 adds IDLE sqrt(D) at a right angle, before the norm makes it
    sqrt(D) long; of the 2 shots + 1 tokens that attention averages, `shots` are answers.
    """
    vector = torch.zeros(D)
    vector[WORDS + task] = shots / (2 * shots + 1) * (D / (1 + 4 * IDLE**2 * D)) ** 0.5
    return vector


def prompt(demonstrations: list[tuple[int, int]], word: int) -> Row:
    """Words with their answers' tasks, and the word that is asked for."""
    ids = [token for asked, task in demonstrations for token in (asked, answer(task, asked))]
    return Row((*ids, word))


def shown(task: int | None, shots: int = 4) -> InContextPrompts:
    """A prompt for each word; without a task, the demonstrations are of all tasks in turn, and task 0 is asked for."""
    rows, target = [], []
    for word in range(WORDS):
        others = [(word + 1 + k) % WORDS for k in range(shots)]
        rows.append(prompt([(other, k % TASKS if task is None else task) for k, other in enumerate(others)], word))
        target.append(answer(task or 0, word))
    return InContextPrompts(Tokens(tuple(rows)), torch.tensor(target))


def zero_shot(task: int) -> InContextPrompts:
    """The words alone."""
    rows = Tokens(tuple(Row((word,)) for word in range(WORDS)))
    return InContextPrompts(rows, torch.tensor([answer(task, word) for word in range(WORDS)]))
