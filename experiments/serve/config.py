"""The settings of the server."""

import os
from dataclasses import dataclass
from pathlib import Path

from experiments.options import ModelOptions
from workbench.runs.fields import at_least, some

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, kw_only=True)
class Config(ModelOptions):
    """Answer OpenAI's clients over HTTP, each request steered by vectors of its own, all in one running batch."""

    vectors: str | None = None
    """The folder of the vectors that requests may name; artifacts in folders below it count."""
    host: str = "127.0.0.1"
    """Where to listen. Other machines reach any other address than this one, which needs a token."""
    port: int = 8000
    """0 takes a free one."""
    token_variable: str = "WORKBENCH_TOKEN"
    """The environment variable that holds the bearer token; without one everybody on this machine may ask."""
    rows: int = 32
    """Texts that are written together."""
    waiting: int = 256
    """Texts that may wait for their turn; requests for more are refused with 429."""
    max_prompt: int = 4096
    """Tokens of a prompt."""
    max_tokens: int = 1024
    """Tokens of an answer."""
    max_rows: int = 64
    """Texts that one request may ask for: its prompts times `n`."""
    max_vectors: int = 8
    """Vectors that one request may be steered with."""
    max_body: int = 2**20
    """Bytes of a request."""

    def __post_init__(self) -> None:
        counts = ("rows", "waiting", "max_prompt", "max_tokens", "max_rows", "max_vectors", "max_body")
        self.check(
            vectors=some(),
            host=some(),
            port=at_least(0, high=65535),
            token_variable=some(),
            **{name: at_least(1) for name in counts},
        )
        if self.max_rows > self.waiting:
            raise ValueError(f"max_rows is {self.max_rows}, and only {self.waiting} may wait")

    def look_up(self) -> None:
        """See Options.look_up; and as `token`."""
        self.token()
        if self.vectors is not None and not Path(self.vectors).expanduser().is_dir():
            raise ValueError(f"there is no folder {self.vectors} to take vectors from")
        super().look_up()

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK

    def token(self) -> str | None:
        """The bearer token. Raises ValueError where there must be one and is none."""
        token = os.environ.get(self.token_variable, "").strip()
        if not token and not self.is_local:
            raise ValueError(
                f"host {self.host} can be reached by other machines, so clients must show a token: put one into the "
                f"environment variable {self.token_variable}"
            )
        return token or None
