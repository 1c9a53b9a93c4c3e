"""The kinds of artifacts: which class reads a file of each, imported when one is read."""

from workbench.registry import Entry

ARTIFACTS = {
    "vector": Entry("workbench.artifacts.vector:Vector"),
    "dictionary": Entry("workbench.artifacts.dictionary:Dictionary"),
    "adapter": Entry("workbench.artifacts.adapter:Adapter"),
    "eraser": Entry("workbench.artifacts.eraser:ConceptEraser"),
    "attention": Entry("workbench.artifacts.attention:AttentionReadout"),
    "linear_readout": Entry("workbench.artifacts.linear_readout:LinearReadout"),
    "head": Entry("workbench.artifacts.classifier_head:ClassifierHead"),
    "lexicon": Entry("workbench.artifacts.bag_of_words:BagOfWordsWeights"),
    "prompt": Entry("workbench.artifacts.prompt:Prompt"),
    "sparse_autoencoder": Entry("workbench.artifacts.autoencoder:SparseAutoencoder"),
    "crosscoder": Entry("workbench.artifacts.crosscoder:Crosscoder"),
    "sparse_latent": Entry("workbench.artifacts.latent:SparseLatent"),
    "function_vector": Entry("workbench.artifacts.function_vector:FunctionVector"),
    "layer_vectors": Entry("workbench.artifacts.layer_vectors:LayerVectors"),
    "position_vectors": Entry("workbench.artifacts.position_vectors:PositionVectors"),
    "conditional": Entry("workbench.artifacts.conditional:ConditionalVector"),
    "optimised_vectors": Entry("workbench.artifacts.optimised_vectors:OptimisedVectors"),
}
"""The `kind` in a file's header to the class. A new class of artifacts adds its line here."""
