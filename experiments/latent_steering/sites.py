"""How well the sentences come back, from each site and from controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from experiments.latent_steering.study import SentenceStudy
from steering.optimised.decode import decode, recall
from workbench.artifacts.optimised_vectors import Injection, OptimisedVectors
from workbench.runs.files import JSON

METRICS = ("exact", "accuracy", "bleu")
CONTROLS = ("no vector", "random vector")


@dataclass(frozen=True)
class Decoded:
    """What came back, sentence by sentence, in the sentences' order."""

    name: str
    """Of the site, as the configuration has it."""
    site: str
    n_vectors: int
    depth: float | None
    """Where `block` was tried besides; None at the common depth."""
    control: str | None
    """Which control it is, if it is one."""
    exact: list[float]
    """1 where greedy decoding writes the sentence."""
    accuracy: list[float]
    """Share of tokens that are the likeliest ones behind the true earlier ones."""
    bleu: list[float]
    """Of each sentence, smoothed; from 0 to 100."""
    corpus_bleu: float
    norm: float
    """Mean length of a vector."""
    texts: list[str]


def bleu(texts: Sequence[str], references: Sequence[str]) -> tuple[list[float], float]:
    """BLEU-4 of each text with effective order, and of all together, by sacrebleu, whose 100 is a little more."""
    single, whole = BLEU(effective_order=True), BLEU()
    pairs = zip(texts, references, strict=True)
    scores = [single.sentence_score(text, [true]).score for text, true in pairs]
    return [min(score, 100.0) for score in scores], min(
        whole.corpus_score(list(texts), [list(references)]).score, 100.0
    )


def decode_sites(study: SentenceStudy) -> list[Decoded]:
    """Every site, `block` at other depths, and for `block` a random vector; none, once."""
    config, sentences = study.config, study.texts.sentences
    places = [(name, None) for name in dict.fromkeys(config.sites)] + [("block", depth) for depth in config.depths]
    found = []
    for name, depth in places:
        place = study.place(name, depth)
        label = f"{name.replace(':', '-')}{'' if depth is None else f'-{depth:g}'}"
        vectors = study.fitted(f"sentences/{label}", place, sentences)
        inputs = study.inputs(place, sentences) | {"digest": vectors.content_digest}

        def measured(
            vectors: OptimisedVectors = vectors, place: Injection = place, name: str = name, depth: float | None = depth
        ) -> list[JSON]:
            ways = {None: vectors.vectors}
            if name == "block" and depth is None:
                ways |= {"no vector": torch.zeros_like(vectors.vectors), "random vector": study.random(vectors.vectors)}
            return [_measured(study, place, each, name, depth, control) for control, each in ways.items()]

        found += [Decoded(**each) for each in study.run.unit(f"decoded/{label}", inputs, measured)]
    return found


def _measured(
    study: SentenceStudy,
    place: Injection,
    vectors: Float[Tensor, "row vector d"],
    name: str,
    depth: float | None,
    control: str | None,
) -> dict[str, JSON]:
    model, sentences = study.model, study.texts.sentences
    tokens = model.tokenize(list(sentences), chat=False)
    ids = [row.ids[row.prefix :] for row in tokens]
    written = decode(model, place, place.edits(vectors), [len(each) for each in ids])
    texts = [model.tokenizer.decode(each) for each in written]
    single, whole = bleu(texts, sentences)
    return {
        "name": name,
        "site": str(place.site),
        "n_vectors": place.n_vectors,
        "depth": depth,
        "control": control,
        "exact": [float(mine == true) for mine, true in zip(written, ids, strict=True)],
        "accuracy": recall(model, place, vectors, tokens).accuracy.tolist(),
        "bleu": single,
        "corpus_bleu": whole,
        "norm": float(vectors.norm(dim=-1).mean()),
        "texts": texts,
    }
