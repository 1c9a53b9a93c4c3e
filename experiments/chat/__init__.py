"""A chat in the terminal, steered and unsteered side by side."""

from experiments.chat.config import Config
from experiments.tool import Tool
from workbench.registry import Entry

__all__ = ["TOOL", "Config", "main"]

TOOL = Tool("chat", Config, Entry("experiments.chat.session:chat"), "--vector cooking.safetensors --strength 0.8")
main = TOOL.main
