"""What every test can ask for, and the guard that no test leaves global state changed.

Nothing of the workbench is imported at the top: its modules must be imported after pytest has set up shape checking.
"""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
# tests compile many small programs and run each for a moment
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads make tiny tensors very slow on a busy machine

import jax  # noqa: F401 (it draws from numpy's global generator when it is loaded: not within a test that is guarded)
import torch  # after the settings that it reads when it is loaded

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


CALLED_OFTEN = {
    *("workbench.data.checks", "workbench.data.items", "workbench.evaluation.judges.classifier"),
    *("workbench.evaluation.judges.embedded", "workbench.evaluation.judges.sentences"),
    *("workbench.models.backend", "workbench.models.core"),
    *("workbench.models.decoder", "workbench.models.edits", "workbench.models.huggingface"),
    *("workbench.models.huggingface_cache", "workbench.models.low_rank_edits", "workbench.models.positions"),
    *("workbench.models.reading", "workbench.models.running", "workbench.models.sampling", "workbench.models.tokens"),
}
"""Modules that are called, or make functions, so often that their checks cost as much as what they check."""


def _with_shapes() -> list[str]:
    """The modules of the project that say what shapes their arrays have, but those of CALLED_OFTEN."""
    root, packages = Path(__file__).parents[1], ("workbench", "probes", "steering")
    files = [path for package in packages for path in (root / package).rglob("*.py")]
    typed = [path for path in files if "from jaxtyping import" in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in typed]
    return sorted({*names} - CALLED_OFTEN)


install_import_hook(_with_shapes(), "beartype.beartype")  # every call of these is checked, and of no others


@pytest.fixture(scope="session")
def shared_models() -> list[Any]:
    """The models that tests share; the guard sees to it that each stays as it was."""
    return []


@pytest.fixture(scope="session")
def tiny(shared_models: list[Any]) -> Callable[[str], Any]:
    """`tiny("gpt2")`: the tiny random model of a family, built once."""
    from tests.tiny import FAMILIES, tiny_model

    built = {family: tiny_model(family) for family in FAMILIES}
    shared_models.extend(built.values())
    return built.__getitem__


@pytest.fixture(scope="session", params=["llama", "gpt2", "gemma3"])
def model(request: pytest.FixtureRequest, tiny: Callable[[str], Any]) -> Any:
    """The tiny model of each family in turn."""
    return tiny(request.param)


@pytest.fixture(scope="session")
def llama(tiny: Callable[[str], Any]) -> Any:
    """One tiny model, for what does not depend on the architecture."""
    return tiny("llama")


@pytest.fixture(scope="session")
def default_model(shared_models: list[Any]) -> Any:
    """The real default model; its weights are fetched on first use."""
    from workbench.models.load import load

    shared_models.append(load("smollm2-135m-instruct"))
    return shared_models[-1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets: $WORKBENCH_SHARED_DATA, or `shared/data` beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("WORKBENCH_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set WORKBENCH_SHARED_DATA to the folder that has them")
    return folder


@pytest.fixture
def seeded() -> Iterator[None]:
    """Seeds the global generators and gives them back: for a test of code that can draw from nothing else."""
    numpy_state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        yield
    np.random.set_state(numpy_state)


@pytest.fixture
def types_unchecked() -> Iterator[None]:
    """Arguments of the wrong type come through, as they do for users: for tests of how these are refused."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def hook_count() -> Callable[[Any], int]:
    """`hook_count(module)`: how many forward hooks a module and its parts carry."""
    return _hook_count


@pytest.fixture(autouse=True)
def _global_state(shared_models: list[Any]) -> Iterator[None]:
    """Fails a test that leaves a global switch, a global generator or a shared model changed."""
    models = list(shared_models)
    before = _state(models)
    yield
    after = _state(models)
    changed = [name for name, value in after.items() if value != before[name]]
    assert not changed, (
        f"the test left changed: {', '.join(changed)}. Draw from a generator of your own (torch.Generator, "
        "numpy.random.default_rng) or ask for the fixture `seeded`; put hooks and switches inside a `with`"
    )


def _state(models: list[Any]) -> dict[str, Any]:
    state = {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": [np.asarray(part).tobytes() for part in np.random.get_state()],
    }
    for model in models:
        state[f"the hooks of {model.name}"] = _hook_count(model.module)
        state[f"the training mode of {model.name}"] = model.module.training
        state[f"the padding side of {model.name}'s tokenizer"] = model.tokenizer.padding_side
    return state


def _hook_count(module: Any) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in _parts(module))


@cache
def _parts(module: Any) -> list[Any]:
    """Asked for before and after each test, and the same each time."""
    return list(module.modules())


LONG = (
    *("test_benchmarks", "experiments/test_axbench", "test_contract", "test_readme", "test_face"),
    *("experiments/test_grace", "experiments/test_erasure", "experiments/test_sae", "experiments/test_stale"),
)
"""Files that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that of several workers none is left with one at the end."""
    root = Path(__file__).parent
    order = {root / f"{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path, len(LONG)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    what = "try every architecture and trained method in tests/models/test_architectures.py, not only the usual ones"
    parser.addoption("--all-architectures", action="store_true", help=what)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for an `architecture` or a `trained_method` runs on each in turn."""
    every = metafunc.config.getoption("all_architectures")
    if "architecture" in metafunc.fixturenames:
        from tests.architectures import ARCHITECTURES, CORE

        metafunc.parametrize("architecture", ARCHITECTURES if every else CORE, scope="module")
    if "trained_method" in metafunc.fixturenames:
        methods = ("reft_r1", "ssv", "loreft", "reps", "sft") if every else ("reft_r1",)
        metafunc.parametrize("trained_method", methods)
