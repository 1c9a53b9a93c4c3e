"""The bench: `import workbench as wb`. What is behind a name is imported when it is first asked for."""

from typing import TYPE_CHECKING

from workbench.registry import lazy

if TYPE_CHECKING:
    from experiments.face import compare, sweep
    from steering.fit import fit, fit_all
    from workbench.artifacts.artifact import Artifact
    from workbench.artifacts.dictionary import Dictionary
    from workbench.artifacts.layer_vectors import LayerVectors
    from workbench.artifacts.linear_readout import LinearReadout
    from workbench.artifacts.vector import Vector
    from workbench.data.dataset import Dataset
    from workbench.data.items import Item, Label, Relation, Target
    from workbench.data.labelled import Labelled, ModelAccess, Samples
    from workbench.data.own import concepts
    from workbench.data.running_text import load_text
    from workbench.data.states import States
    from workbench.data.stream import ActivationStream, StreamBatch
    from workbench.evaluation.calibrate import calibrate
    from workbench.evaluation.count_statistics import weighted_mean
    from workbench.evaluation.intervals import bootstrap_clusters
    from workbench.evaluation.metrics import auroc
    from workbench.evaluation.targets import evaluate
    from workbench.methods.method import AdditiveMethod, Method
    from workbench.models.conversation import Conversation
    from workbench.models.decoder import Decoder, Generation
    from workbench.models.edits import Add, Clamp, Edit, Patch, ProjectOut, Replace
    from workbench.models.gates import Gate, GateRule
    from workbench.models.load import load
    from workbench.models.low_rank_edits import LowRank, LowRankMap
    from workbench.models.model import Model
    from workbench.models.parts import Latents
    from workbench.models.pooling import pool_rows
    from workbench.models.positions import Positions
    from workbench.models.readspec import ReadSpec
    from workbench.models.sampling import Sampling
    from workbench.models.sites import Site
    from workbench.models.stacking import per_row, stack
    from workbench.report.blocks import Table, headings
    from workbench.report.charts import Line, LineChart, Point
    from workbench.report.document import Document, Section
    from workbench.report.render import write_report
    from workbench.runs.environment import __version__
    from workbench.runs.rows import Row
    from workbench.runs.run import Run

NAMES = {
    "ActivationStream": "workbench.data.stream",
    "Add": "workbench.models.edits",
    "AdditiveMethod": "workbench.methods.method",
    "Artifact": "workbench.artifacts.artifact",
    "Clamp": "workbench.models.edits",
    "Conversation": "workbench.models.conversation",
    "Dataset": "workbench.data.dataset",
    "Decoder": "workbench.models.decoder",
    "Dictionary": "workbench.artifacts.dictionary",
    "Document": "workbench.report.document",
    "Edit": "workbench.models.edits",
    "Gate": "workbench.models.gates",
    "GateRule": "workbench.models.gates",
    "Generation": "workbench.models.decoder",
    "Item": "workbench.data.items",
    "Label": "workbench.data.items",
    "Labelled": "workbench.data.labelled",
    "Latents": "workbench.models.parts",
    "LayerVectors": "workbench.artifacts.layer_vectors",
    "Line": "workbench.report.charts",
    "LineChart": "workbench.report.charts",
    "LinearReadout": "workbench.artifacts.linear_readout",
    "LowRank": "workbench.models.low_rank_edits",
    "LowRankMap": "workbench.models.low_rank_edits",
    "Method": "workbench.methods.method",
    "Model": "workbench.models.model",
    "ModelAccess": "workbench.data.labelled",
    "Patch": "workbench.models.edits",
    "Point": "workbench.report.charts",
    "Positions": "workbench.models.positions",
    "ProjectOut": "workbench.models.edits",
    "ReadSpec": "workbench.models.readspec",
    "Relation": "workbench.data.items",
    "Replace": "workbench.models.edits",
    "Row": "workbench.runs.rows",
    "Run": "workbench.runs.run",
    "Samples": "workbench.data.labelled",
    "Sampling": "workbench.models.sampling",
    "Section": "workbench.report.document",
    "Site": "workbench.models.sites",
    "States": "workbench.data.states",
    "StreamBatch": "workbench.data.stream",
    "Table": "workbench.report.blocks",
    "Target": "workbench.data.items",
    "Vector": "workbench.artifacts.vector",
    "__version__": "workbench.runs.environment",
    "auroc": "workbench.evaluation.metrics",
    "bootstrap_clusters": "workbench.evaluation.intervals",
    "calibrate": "workbench.evaluation.calibrate",
    "compare": "experiments.face",
    "concepts": "workbench.data.own",
    "evaluate": "workbench.evaluation.targets",
    "fit": "steering.fit",
    "fit_all": "steering.fit",
    "headings": "workbench.report.blocks",
    "load": "workbench.models.load",
    "load_text": "workbench.data.running_text",
    "per_row": "workbench.models.stacking",
    "pool_rows": "workbench.models.pooling",
    "stack": "workbench.models.stacking",
    "sweep": "experiments.face",
    "weighted_mean": "workbench.evaluation.count_statistics",
    "write_report": "workbench.report.render",
}
"""The module of each public name."""

__all__ = [*NAMES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = lazy(__name__, {name: f"{module}:{name}" for name, module in NAMES.items()})


def __dir__() -> list[str]:
    return sorted(NAMES)
