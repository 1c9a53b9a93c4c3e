"""What the server counts, in the text format that Prometheus reads."""

from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass, field

from experiments.serve.engine import Counts

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""
_NOW = {"rows_running": "Rows being written", "rows_waiting": "Rows waiting to be run"}
_SO_FAR = {
    "steps": "Steps of the decoder, each a token in every row",
    "prompt_tokens": "Tokens of prompts that were run",
    "written_tokens": "Tokens that were written",
    "rows_ended": "Rows that came to their end",
    "rows_failed": "Rows that could not go on",
    "rows_cancelled": "Rows whose client left",
}


@dataclass
class Metrics:
    """Requests by route and status, and the seconds until the first token of each."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    first_tokens: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def first_token(self, seconds: float) -> None:
        """A request got its first token so many seconds after it came."""
        self.first_tokens[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def text(self, counts: Counts) -> str:
        """All of it, with the engine's counts."""
        numbers = asdict(counts)
        lines: list[str] = []
        for name, about in _NOW.items():
            lines += [*_head(name, "gauge", about), f"workbench_{name} {numbers[name]}"]
        for name, about in _SO_FAR.items():
            lines += [*_head(f"{name}_total", "counter", about), f"workbench_{name}_total {numbers[name]}"]
        lines += _head("requests_total", "counter", "HTTP requests that were answered")
        lines += [
            f'workbench_requests_total{{route="{route}",status="{status}"}} {n}'
            for (route, status), n in sorted(self.requests.items())
        ]
        name = "first_token_seconds"
        lines += _head(name, "histogram", "Seconds from a request to its first token")
        total = 0
        for bound, n in zip([*map(str, BUCKETS), "+Inf"], self.first_tokens, strict=True):
            total += n
            lines.append(f'workbench_{name}_bucket{{le="{bound}"}} {total}')
        lines += [f"workbench_{name}_sum {self.seconds}", f"workbench_{name}_count {total}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP workbench_{name} {about}.", f"# TYPE workbench_{name} {kind}"]
