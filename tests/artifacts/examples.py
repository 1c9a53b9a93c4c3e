"""A small artifact of each registered kind."""

import torch

from workbench.artifacts.adapter import Adapter, AdapterPart
from workbench.artifacts.artifact import Artifact, Origin
from workbench.artifacts.attention import AttentionReadout
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.bag_of_words import BagOfWordsWeights
from workbench.artifacts.classifier_head import ClassifierHead
from workbench.artifacts.conditional import ConditionalVector
from workbench.artifacts.crosscoder import Crosscoder
from workbench.artifacts.dictionary import Dictionary
from workbench.artifacts.eraser import ConceptEraser, Eraser
from workbench.artifacts.function_vector import FunctionVector
from workbench.artifacts.latent import SparseLatent
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.artifacts.linear_readout import LinearReadout
from workbench.artifacts.optimised_vectors import Injection, OptimisedVectors
from workbench.artifacts.position_vectors import PositionVectors
from workbench.artifacts.prompt import Prompt
from workbench.artifacts.vector import Vector
from workbench.models.positions import Positions
from workbench.models.sites import Site

ORIGIN = Origin("DiffMean", "{}", "sea", "tiny", "0", "1", 3, "0.1.0+g1234567")
SITE = Site(1)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def double(*shape: int) -> torch.Tensor:
    return normal(*shape, dtype=torch.float64)


def examples() -> dict[str, Artifact]:
    names = ("sea", "cooking")
    parts = (
        AdapterPart("low_rank", SITE, {"rotation": torch.eye(4)[:2], "weight": normal(2, 4), "bias": normal(2)}),
        AdapterPart("low_rank_map", Site(0, "z"), {"down": normal(2, 4), "up": normal(2, 3)}),
    )
    head = (normal(3, 4), normal(3), normal(2, 3), normal(2), normal(4))
    made = (
        Vector(ORIGIN, SITE, normal(4), 0.5, 2.0),
        Dictionary(ORIGIN, SITE, normal(2, 4), double(2), double(2).exp(), names, ("ships", "food"), ("1", "2")),
        Adapter(ORIGIN, parts, Positions("prompt"), 2.0, {"lm_head.weight": normal(5, 4)}),
        ConceptEraser(ORIGIN, SITE, Eraser.orthogonal(torch.eye(4, dtype=torch.float64)[:1], double(4))),
        AttentionReadout(ORIGIN, SITE, normal(4), normal(4, seed=1), 0.5, 2.0),
        LinearReadout(ORIGIN, SITE, normal(4, 2), normal(2), "class", names),
        ClassifierHead(ORIGIN, SITE, *head),
        BagOfWordsWeights(ORIGIN, ("sea", "land"), double(2), 0.5),
        Prompt(ORIGIN, "Write about the sea."),
        SparseAutoencoder(
            ORIGIN, SITE, normal(4, 6), normal(6), normal(6, 3), normal(3), normal(6).abs(), 2, Site(1, "mlp_out")
        ),
        Crosscoder(
            ORIGIN, (SITE, Site(2)), normal(2, 4, 6), normal(6), normal(6, 2, 4), normal(2, 4), normal(6).abs(), 2
        ),
        SparseLatent(
            ORIGIN,
            3,
            "1",
            SparseAutoencoder(ORIGIN, SITE, normal(4, 1), normal(1), torch.eye(4)[:1], normal(4), normal(1).abs()),
            2.0,
        ),
        FunctionVector(ORIGIN, SITE, normal(4), normal(2), (Site(1, "z").head(2), Site(0, "z").head(3))),
        LayerVectors(ORIGIN, (Vector(ORIGIN, SITE, normal(4), 0.5, 2.0), Vector(ORIGIN, Site(0), normal(3)))),
        PositionVectors(ORIGIN, SITE, normal(3, 4), 5.0),
        ConditionalVector(ORIGIN, Vector(ORIGIN, SITE, normal(4), 0.5, 2.0), Site(0), normal(3), 0.25),
        OptimisedVectors(
            ORIGIN,
            Injection(SITE, (0, 5, 5), "first", 2),
            normal(3, 2, 4),
            ("sea", "boat", "tide"),
            (3, 4, 4),
            (True, False, True),
        ),
    )
    return {artifact.kind: artifact for artifact in made}
