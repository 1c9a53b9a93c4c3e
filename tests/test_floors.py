"""There are four layers, imports point down, and only `workbench/models` knows the network's modules."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("workbench", "probes", "steering", "experiments")


def imported(path: Path) -> set[str]:
    """The first word of every module that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add((node.module or "").partition(".")[0])
    return found


FACE = ROOT / "workbench" / "__init__.py"
"""Holds names of all layers, imports what is behind one when it is asked for, and has no logic of its own."""


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_down(floor):
    above = set(FLOORS[FLOORS.index(floor) + 1 :]) | {"tests", "notebooks", "benchmarks"}
    files = sorted({*(ROOT / floor).rglob("*.py")} - {FACE})
    assert files
    for path in files:
        assert not imported(path) & above, f"{path.relative_to(ROOT)} imports from a floor above"


MESSAGES = "workbench/runs/workers.py"
"""Unpickles what its own parent process sends it, and nothing else."""

STATE_DICTS = "workbench/exchange/dictionary_learning.py"
"""Reads another project's tensors from a pickle, with `weights_only`, which runs nothing."""


def test_nothing_unpickles_or_runs_remote_code():
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            text = path.read_text()
            assert "pickle" not in imported(path) or path == ROOT / MESSAGES, path
            assert text.count("torch.load(") == (path == ROOT / STATE_DICTS), path
            assert "trust_remote_code=True" not in text, path
    assert "weights_only=True)" in (ROOT / STATE_DICTS).read_text()


POSIX = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "posix", "crypt", "spwd", "readline"}
"""Absent on other systems."""
OF_POSIX = {
    *("fork", "forkpty", "killpg", "setsid", "setpgid", "getpgid", "getuid", "geteuid", "getgid", "chown", "chroot"),
    *("sched_getaffinity", "sched_setaffinity", "sysconf", "statvfs", "uname", "getloadavg", "mkfifo", "nice"),
    *("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGQUIT", "alarm", "setitimer"),
    *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"),
}
"""What `os` and `signal` have on some systems only."""


def test_nothing_needs_posix():
    assert run_when_imported(ast.parse("if a:\n import pwd\nelse:\n def f():\n  import pty")) == {"pwd"}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            tree = ast.parse(path.read_text())
            assert not run_when_imported(tree) & POSIX, path
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert node.value.id not in ("os", "signal") or node.attr not in OF_POSIX, (path, node.attr)


def run_when_imported(node: ast.AST) -> set[str]:
    """The modules that are imported when a file is, also inside an `if`, a `try` or a class."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            found |= {(child.module or "").partition(".")[0]}
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found |= run_when_imported(child)
    return found


def test_processes_are_spawned_as_everywhere():
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and getattr(node.func, "id", getattr(node.func, "attr", "")) == "get_context"
                ):
                    assert [ast.literal_eval(argument) for argument in node.args] == ["spawn"], path
                assert "ProcessPoolExecutor" not in {getattr(node, "id", ""), getattr(node, "attr", "")}, path


MODULES = {"module", "get_submodule", "get_output_embeddings", "get_input_embeddings"}


def test_nothing_above_models_touches_the_networks_modules():
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            if path.is_relative_to(ROOT / "workbench" / "models"):
                continue
            touched = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
            assert not touched & MODULES, f"{path.relative_to(ROOT)} uses .{(touched & MODULES).pop()}; see Backend"


@cache
def graph() -> dict[str, set[str]]:
    """The project's files that each of its files names in an import: at the top, in a function or for type checking."""
    files = {path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")}
    return {_name(path): {_name(other) for other in _targets(path, files)} for path in files}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _targets(path: Path, files: set[Path]) -> set[Path]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            place = ROOT.joinpath(*name.split("."))
            tried = (place.with_suffix(".py"), place / "__init__.py", place.parent.with_suffix(".py"))
            found |= {next((each for each in (*tried, place.parent / "__init__.py") if each in files), path)}
    return found - {path}


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The sets of files that all reach each other."""
    reached = {start: _reached(start, edges) for start in edges}
    every = {frozenset({start, *(other for other in reached[start] if start in reached[other])}) for start in edges}
    return sorted((set(each) for each in every if len(each) > 1), key=sorted)


def _reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    found, waiting = set(), [start]
    while waiting:
        new = edges[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}) == [
        {"a", "b", "c"},
        {"e", "f"},
    ]
    edges = graph()
    assert "workbench/models/core.py" in edges["workbench/models/reading.py"]  # at the top
    assert "workbench/models/model.py" in edges["workbench/models/load.py"]
    assert any(len(targets) > 5 for targets in edges.values())


PACKAGES = ("runs", "models", "data", "artifacts", "methods", "evaluation", "report", "exchange")


def test_the_packages_of_the_workbench_import_downwards():
    place = {f"workbench/{name}": number for number, name in enumerate(PACKAGES)}
    seen = 0
    for path, targets in graph().items():
        for target in targets:
            here, there = (place.get("/".join(each.split("/")[:2])) for each in (path, target))
            if here is not None and there is not None:
                assert there <= here, f"{path} imports {target}"
                seen += here != there
    assert seen > 100


def test_no_files_import_each_other():
    assert circles(graph()) == []


OF_EVERY_EXPERIMENT = {"main", "run", "build_report", "stages", "verdict", "Config"}
"""Names that each experiment has. Registries and presets are values, and not looked at."""
TWICE = {
    "Origin": "of an artifact, and of a report",
    "Place": "in a module, in a figure, and in the layer sweep",
    "Row": "of a table, of tokens, and of results.json",
    "slug": "for people, and for files",
    "spread": "labels of a figure, and the fields of a row",
}
"""Names that have two homes, and what they are there."""

IN_CAMEL_CASE = re.compile(r"[A-Z]\w*[a-z]\w*")
"""How classes are written, and names of types: neither a constant nor a type variable of one letter."""


def public_names(node: ast.stmt) -> list[str]:
    """The public classes, functions, type aliases and type variables that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [] if node.name.startswith("_") else [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [each.id for each in targets if isinstance(each, ast.Name)]
    return [name for name in names if IN_CAMEL_CASE.fullmatch(name)]


def test_public_names_are_found():
    source = """class A1: ...\ndef f(): ...\nclass _B: ...\nStates = dict\nOwn: TypeAlias = dict\nItem = TypeVar("Item")
log = 1\nT = TypeVar("T")\nJSON = dict\nMOST = 2\n_Line = dict\nStates.attribute = 1"""
    found = [name for node in ast.parse(source).body for name in public_names(node)]
    assert found == ["A1", "f", "States", "Own", "Item"]


def homes() -> dict[str, list[str]]:
    """Public class, function, type alias or type variable to the files that define it."""
    found: dict[str, dict[str, None]] = {}
    for path in graph():
        for node in ast.parse((ROOT / path).read_text()).body:
            for name in public_names(node):
                found.setdefault(name, {})[path] = None  # an overloaded function has one home
    return {name: list(paths) for name, paths in found.items()}


def test_a_public_name_is_used_once():
    assert len(homes()) > 600
    double = {name: files for name, files in homes().items() if len(files) > 1 and name not in OF_EVERY_EXPERIMENT}
    new = {name: files for name, files in double.items() if name not in TWICE}
    assert not new, f"rename all but one: {new}"
    assert not TWICE.keys() - double.keys(), "these have one home now: take them off the list"
