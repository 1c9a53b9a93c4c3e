"""An OpenAI-compatible server whose requests are each steered by vectors of their own."""

from experiments.serve.config import Config
from experiments.tool import Tool
from workbench.registry import Entry

__all__ = ["TOOL", "Config", "main"]

TOOL = Tool(
    "serve",
    Config,
    Entry("experiments.serve.server:serve"),
    "--vectors runs/FOLDER/artifacts --port 8000",
    "serve",
)
main = TOOL.main
