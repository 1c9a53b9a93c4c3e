"""What reads representations: one file a probe. The order here is the order of the report's rows."""

from workbench.registry import Entry

METHODS = {
    "probe": Entry("probes.linear:LinearProbe"),
    "bag_of_words": Entry("probes.bag_of_words:BagOfWords"),
}
"""Registered name to method."""
