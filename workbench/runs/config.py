"""What makes two runs the same: the experiment's name and its frozen configuration, without secrets."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from workbench.runs.errors import DamagedFile, RunError
from workbench.runs.files import digest, plain, read_json
from workbench.runs.secrets import REMEDY, secret_in

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SECRET_ANYWHERE = {"password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "apikey"}
_SECRET_AT_END = {"key", "token"}


def describe(experiment: str, config: object) -> dict[str, Any]:
    """The content of config.json: experiment, config, the classes nested in it, and the digest of these three.

    The classes are part of the digest because two configurations of different classes may have equal fields.
    Raises RunError when the name cannot be a folder name, the config is no frozen dataclass, or a field looks like a
    secret; StorageError when a field cannot be JSON.
    """
    if not _NAME.fullmatch(experiment):
        raise RunError(f"experiment {experiment!r} must be lower-case words joined by - or _, such as layer_sweep")
    if not _is_frozen(config):
        raise RunError(f"the config of {experiment} must be a frozen dataclass instance, not {type(config).__name__}")
    classes = {}
    for where, value in _walk(config, "config"):
        _refuse_secret(where, value)
        if dataclasses.is_dataclass(value):
            classes[where] = type(value).__qualname__
    identity = {"experiment": experiment, "config": plain(config, "config"), "classes": classes}
    return identity | {"digest": digest(identity)}


def read_described(path: Path) -> dict[str, Any]:
    """The content of a run's config.json.

    Raises StorageError when it cannot be read, RunError when it is that of no run, DamagedFile when it was changed.
    """
    stored = read_json(path)
    names = {"experiment": str, "config": dict, "classes": dict, "digest": str}
    if not isinstance(stored, dict) or any(not isinstance(stored.get(name), kind) for name, kind in names.items()):
        raise RunError(f"{path} describes no run, which has {', '.join(names)}; choose the folder of a run")
    if stored["digest"] != digest({name: stored[name] for name in names if name != "digest"}):
        raise DamagedFile(f"{path} is damaged or edited: delete it and run with the same flags, which write it again")
    return stored


def read_config(kind: type[T], path: Path) -> T:
    """Build the configuration of class `kind` that a run wrote to config.json.

    Raises RunError when the file describes another class or a field was added, removed or retyped; StorageError when it
    cannot be read.
    """
    stored = read_json(path)
    if not isinstance(stored, dict) or not {"experiment", "config"} <= {*stored}:
        raise RunError(f"{path} does not describe a {kind.__qualname__}, nor any run; give the config.json of a run")
    try:
        config = _build(kind, stored["config"])
        same = describe(stored["experiment"], config) == stored
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise RunError(
            f"{path} does not describe a {kind.__qualname__} of {kind.__module__}: it is of a run of "
            f"{stored['experiment']!r}, and its settings are others ({type(error).__name__}: {error})"
        ) from error
    if not same:
        raise RunError(f"{path} does not describe a {kind.__qualname__}: its values or classes differ; was it edited?")
    return config


def _build(kind: Any, value: Any) -> Any:
    """Undo `plain` for the field types a configuration has; read_config checks the result against the digest."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if value is None:
        return None
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _build(hints[name], item) for name, item in value.items()})
    if origin in (typing.Union, types.UnionType):
        return _build(next(option for option in arguments if option is not types.NoneType), value)
    if origin is tuple:
        parts = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_build(part, item) for part, item in zip(parts, value, strict=True))
    return Path(value) if kind is Path else value


def _is_frozen(config: object) -> bool:
    parameters = getattr(type(config), "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


def _walk(value: object, where: str) -> Iterator[tuple[str, object]]:
    yield where, value
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _walk(getattr(value, field.name), f"{where}.{field.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _walk(item, f"{where}[{i}]")


def _refuse_secret(where: str, value: object) -> None:
    if not isinstance(value, str | bytes | Path) or not value:
        return
    words = [word.lower() for word in _WORD.findall(where.rpartition(".")[2])]
    if _SECRET_ANYWHERE.intersection(words) or _SECRET_AT_END.intersection(words[-1:]):
        raise RunError(f"{where} looks like a secret and would be saved; {REMEDY}")
    if found := secret_in(value):
        raise RunError(f"{where} is {found}, and would be saved; {REMEDY}")
