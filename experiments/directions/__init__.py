"""Fit a direction for every concept of a list, block by block, into one dictionary.

Only the texts of one block are read at a time, and a finished block is on disk: memory does not grow with the number of
concepts, and a killed run goes on where it stopped. A folder of AxBench's is itself read a block at a time.
"""

from experiments.directions.config import ABOUT, METHODS, NAME, PRESETS, Config, OutputOptions
from experiments.experiment import Experiment
from workbench.registry import Entry

__all__ = ["EXPERIMENT", "METHODS", "NAME", "PRESETS", "Config", "main", "run"]

EXPERIMENT = Experiment(
    NAME,
    Config,
    PRESETS,
    Entry("experiments.directions.stages:stages"),
    OutputOptions,
    {"method": METHODS},
    "--method diffmean --out d.safetensors",
    ABOUT,
)
run, main = EXPERIMENT.run, EXPERIMENT.main
