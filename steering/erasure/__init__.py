"""Taking concepts out of representations: LEACE, mean projection, INLP, hard debiasing, and what a model then loses."""

from workbench.registry import Entry

ERASURES = {
    "leace": Entry("steering.erasure.leace:Leace"),
    "mean_projection": Entry("steering.erasure.projection:MeanProjection"),
    "inlp": Entry("steering.erasure.inlp:Inlp"),
}
"""Registered name to erasure; hard debiasing is for word vectors only and stands beside them."""
