"""Which judges there are, told without loading one."""

from importlib.util import find_spec

from workbench.evaluation.judges.base import JudgeError
from workbench.models.weights import stated_layers

LOCAL = "local:"
"""What stands before the name of a model that judges."""
ENDPOINTS = ("http://", "https://")
"""What the base URL of an endpoint begins with."""


def check_judge(name: str) -> None:
    """Raises JudgeError for a judge that there is not, and for an endpoint without the package that asks it.

    WeightsError for a local model that is not there.
    """
    if name.startswith(LOCAL):
        stated_layers(name.removeprefix(LOCAL))
    elif name.startswith(ENDPOINTS):
        if find_spec("openai") is None:
            raise JudgeError("an endpoint judge needs openai: pip install 'representation-workbench[judge]'")
    elif name != "embedded":
        raise no_such_judge(name)


def no_such_judge(name: str) -> JudgeError:
    """The error for a name that is no judge's."""
    return JudgeError(f"there is no judge {name!r}; use 'embedded', 'local:MODEL' or the base URL of an endpoint")
