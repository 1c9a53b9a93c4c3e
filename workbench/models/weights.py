"""Where a model's weights come from: a built-in name, a GGUF file, a local folder or a Hugging Face hub id."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import HFValidationError, validate_repo_id

from workbench.models.builtin import BUILTIN, ENCODER, Builtin
from workbench.models.cache import WeightsError, cached_folder, records_of, remembered_sha256, say, sha256_of
from workbench.models.gguf import CONVERSION, config_of, convert
from workbench.models.gguf_architectures import architecture_of
from workbench.models.gguf_reader import Gguf
from workbench.models.packages import fetch
from workbench.text import did_you_mean

CONFIG, ADAPTER = "config.json", "adapter_config.json"
_HUB_TIMEOUT_S = 10.0
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""What configurations call the number of blocks."""


@dataclass(frozen=True)
class Resolved:
    """Weights that `from_pretrained` can load."""

    folder_or_id: str
    """A local folder, or a hub id."""
    name: str
    digest: str | None
    """sha256 of weights and configuration (`folder_digest`); None for a hub id, see `hub_digest`."""
    terms: str | None
    """What the weights' licence asks to tell every user, with the path of its text; None where it asks nothing."""


def resolve(source: str | Path, revision: str | None = None) -> Resolved:
    """Find the weights that `source` names, fetching and converting what is not yet in the cache.

    In this order: a name in `BUILTIN`; a path ending in `.gguf`; a folder; a hub id, which is returned as it is, if the
    hub's cache has it (at `revision`) or the hub says, asked once, that it has it. Fetching tells the user on standard
    error, and shows the terms that come with a model. Raises `WeightsError`.
    """
    name, path = str(source), Path(source).expanduser()
    if name in BUILTIN:
        return _resolve_builtin(name, BUILTIN[name])
    if path.suffix == ".gguf":
        return _resolve_gguf(path)
    if path.is_dir():
        if (path / ADAPTER).exists():
            raise adapter_found(str(path))
        return Resolved(str(path), path.resolve().name, folder_digest(path), None)
    _require_on_hub(name, revision)
    return Resolved(name, name, None, None)


def stated_layers(source: str | Path) -> int | None:
    """How many blocks a model has, as its configuration says in so many words; None where only its class can tell.

    Of a GGUF file the header is read, and nothing converted. Raises WeightsError as `resolve`.
    """
    config = _configuration(source)
    config = inner if isinstance(inner := config.get("text_config"), dict) else config
    return next((config[name] for name in _LAYERS if isinstance(config.get(name), int)), None)


def _configuration(source: str | Path) -> dict[str, Any]:
    """The content of a model's config.json; of a model that is on the hub alone nothing."""
    if (path := Path(source).expanduser()).suffix == ".gguf" and str(source) not in BUILTIN:
        gguf = Gguf.open(_present(path))
        return config_of(gguf, architecture_of(gguf))
    found = resolve(source)
    folder = Path(found.folder_or_id)
    path = folder / CONFIG if folder.is_dir() else try_to_load_from_cache(found.folder_or_id, CONFIG)
    if not isinstance(path, str | Path):
        return {}
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # what loads it says what is wrong with it
    return config if isinstance(config, dict) else {}


def _require_on_hub(name: str, revision: str | None) -> None:
    """Raises WeightsError for a name that is no hub id, or of a model that cannot be had now."""
    cause: Exception
    try:
        validate_repo_id(name)
        if not isinstance(try_to_load_from_cache(name, CONFIG, revision=revision), str):
            get_hf_file_metadata(hf_hub_url(name, CONFIG, revision=revision), timeout=_HUB_TIMEOUT_S)
        return
    except HFValidationError as error:
        cause, reason = error, "no name that the hub could have"
    except HfHubHTTPError as error:
        cause, reason = error, "not on the hub, or only for those who are logged in (hf auth login)"
    except Exception as error:  # noqa: BLE001 (those of whatever network library the hub's client uses)
        cause, reason = error, f"not to be had from the hub, which cannot be reached ({type(error).__name__})"
    raise WeightsError(
        f"there is no model {name!r}{did_you_mean(name, BUILTIN)}: it is no built-in one ({', '.join(BUILTIN)}), no "
        f"folder and no .gguf file here, and {reason}"
    ) from cause


def adapter_found(source: str) -> WeightsError:
    """The error for a model that comes with an adapter.

    Where peft is installed transformers puts it on the model without a word, on another one if it says so, and no
    digest knows of it.
    """
    return WeightsError(
        f"{source} holds {ADAPTER}, an adapter for a model; load the model that it was trained on, and the adapter "
        "with workbench.artifacts.peft_files.read_peft"
    )


def encoder_folder() -> Path:
    """The folder of the sentence encoder all-MiniLM-L6-v2, fetched on first use; raises `WeightsError`."""
    return (fetch(ENCODER) / ENCODER.members[0]).parent


def folder_digest(folder: Path) -> str:
    """sha256 over the names and contents of `config.json` and all weight files of a Hugging Face folder.

    Contents are read once and remembered until a file's size, time or first bytes change. Raises `WeightsError` when
    the folder has no configuration or no weights.
    """
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights or not (folder / CONFIG).is_file():
        raise WeightsError(
            f"{folder} is not a Hugging Face model folder: expected config.json and *.safetensors (or *.bin)."
        )
    return _digest({path.name: remembered_sha256(path) for path in (folder / CONFIG, *weights)})


def weights_digest(source: str | Path) -> str:
    """The digest of the weights that `source` names, in the hub's cache where it is a hub id. No weights are loaded.

    Raises `WeightsError` as `resolve`, and for a model of the hub that was never loaded.
    """
    found = resolve(source)
    return found.digest or hub_digest(found.folder_or_id, "main")


def hub_digest(repo_id: str, commit: str, cache_dir: Path | None = None) -> str:
    """`folder_digest` of a hub model that transformers has loaded; `commit` is its `model.config._commit_hash`.

    `cache_dir` is the hub's cache, by default the user's. Raises `WeightsError` when the model is not in it.
    """
    config = try_to_load_from_cache(repo_id, CONFIG, cache_dir=cache_dir, revision=commit)
    if not isinstance(config, str):
        raise WeightsError(f"{repo_id} at {commit} is not in the hub's cache; load it first.")
    return folder_digest(Path(config).parent)


def _resolve_builtin(name: str, model: Builtin) -> Resolved:
    terms = model.terms.text() if model.terms else None
    folder = _converted_folder(name, model.sha256, partial(_build_builtin, name, model, terms))
    return Resolved(str(folder), name, _digest_of_entry(folder), terms)


def _build_builtin(name: str, model: Builtin, terms: str | None, folder: Path) -> None:
    if terms:
        say(terms)
    parts = [fetch(package) / package.members[0] for package in model.packages]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # inside the entry: a kill leaves nothing elsewhere
        file = parts[0] if len(parts) == 1 else _joined(parts, Path(scratch) / f"{name}.gguf")
        if (found := sha256_of(file)) != model.sha256:
            raise WeightsError(f"{name}.gguf has sha256 {found}, expected {model.sha256}: its packages do not fit.")
        _convert(file, name, folder)


def _joined(parts: list[Path], target: Path) -> Path:
    with target.open("wb") as sink:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, sink, 1 << 20)
    return target


def _resolve_gguf(path: Path) -> Resolved:
    folder = _converted_folder(path.stem, remembered_sha256(_present(path)), partial(_convert, path, path.stem))
    return Resolved(str(folder), path.stem, _digest_of_entry(folder), None)


def _present(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; expected a GGUF file.")
    return path


def _convert(file: Path, name: str, folder: Path) -> None:
    say(f"Converting {name} to float32 safetensors, once ...")
    convert(file, folder)


def _converted_folder(name: str, sha256: str, build: Callable[[Path], None]) -> Path:
    stem = re.sub(r"[^\w.-]", "_", name)
    return cached_folder(f"models/{stem}-{sha256[:12]}-v{CONVERSION}", build)


def _digest_of_entry(folder: Path) -> str:
    """`folder_digest` from the manifest, without reading the weights."""
    files = records_of(folder).items()
    return _digest(
        {name: record.sha256 for name, record in files if Path(name).suffix == ".safetensors" or name == CONFIG}
    )


def _digest(sha256_by_name: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(sha256_by_name.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
