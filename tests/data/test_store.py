import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.fingerprint import fingerprint
from tests.data.interrupted import SITES, TEXTS
from tests.tiny import tiny_module, tiny_tokenizer
from workbench.data.moments import Moments
from workbench.data.store import iterate, mapped
from workbench.models.activations import Activations
from workbench.models.edits import Add
from workbench.models.huggingface import HuggingFaceBackend
from workbench.models.model import Model, wrap
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens
from workbench.runs.errors import StorageError

SHARD_ROWS = 5
SPEC = ReadSpec.at(*SITES)
N_SHARDS = 5


@pytest.fixture
def reads(llama: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of model.read was given, so far."""
    calls, read = [], llama.read

    def counted(tokens: Any, *args: Any, **options: Any) -> Activations:
        calls.append(len(tokens))
        return read(tokens, *args, **options)

    monkeypatch.setattr(llama, "read", counted)
    return calls


def keep(model: Model, folder: Path, **options: Any) -> Activations:
    how = {name: options.pop(name) for name in ("positions", "pool") if name in options}
    texts, spec = options.pop("texts", TEXTS), ReadSpec.at(*SITES, **how)
    return mapped(model, texts, spec, folder=folder, shard_rows=SHARD_ROWS, **options).whole()


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize("pool", [None, "mean", "last", "max"])
def test_equals_reading_everything_at_once(model: Model, tmp_path: Path, pool: Any) -> None:
    held, expected = keep(model, tmp_path, pool=pool), model.read(TEXTS, SITES, pool=pool)
    assert held.sites == expected.sites
    assert torch.equal(held.row, expected.row)
    assert held.n_rows == expected.n_rows
    assert (held.position is None) == (expected.position is None) == (pool is not None)
    if held.position is not None and expected.position is not None:
        assert torch.equal(held.position, expected.position)
    for site in held.sites:
        # Not bit-equal: the batches have other shapes, and matrix products round differently.
        torch.testing.assert_close(held.arrays[site], expected.arrays[site], rtol=1e-5, atol=1e-5)


def test_a_second_call_reads_nothing_and_returns_the_same_bits(llama: Model, tmp_path: Path, reads: list[int]) -> None:
    first = fingerprint(keep(llama, tmp_path))
    assert reads == [5, 5, 5, 5, 3]
    assert fingerprint(keep(llama, tmp_path)) == first
    assert fingerprint(keep(llama, tmp_path, budget=64)) == first
    assert len(reads) == N_SHARDS


def test_bfloat16_survives_bit_by_bit(tmp_path: Path) -> None:
    low = wrap(tiny_module("llama").to(torch.bfloat16), tiny_tokenizer(), "low")
    held, expected = mapped(low, TEXTS, SPEC, folder=tmp_path).whole(), low.read(TEXTS, SITES)
    for site in held.sites:
        assert held.arrays[site].dtype == torch.bfloat16
        assert torch.equal(held.arrays[site].view(torch.int16), expected.arrays[site].view(torch.int16))
        assert torch.equal(held.x(site), expected.x(site))


def test_a_longer_list_of_texts_reuses_the_full_shards(llama: Model, tmp_path: Path, reads: list[int]) -> None:
    keep(llama, tmp_path)
    longer = keep(llama, tmp_path, texts=[*TEXTS, "one more"])
    assert reads == [5, 5, 5, 5, 3, 4]
    assert longer.n_rows == len(TEXTS) + 1


def test_sites_in_another_order_are_the_same_shards(llama: Model, tmp_path: Path, reads: list[int]) -> None:
    one = mapped(llama, TEXTS, SPEC, folder=tmp_path).whole()
    two = mapped(llama, TEXTS, ReadSpec.at(*SITES[::-1]), folder=tmp_path).whole()
    assert len(reads) == 1
    assert two.sites == one.sites[::-1]
    assert all(torch.equal(one.x(site), two.x(site)) for site in SITES)


def test_whatever_changes_the_result_changes_the_shard(tmp_path: Path, llama: Model) -> None:
    row = llama.tokenize(["some text"]).rows[0]
    other_weights = wrap(tiny_module("llama", seed=1), tiny_tokenizer(), llama.name)
    low = Model(HuggingFaceBackend(tiny_module("llama").to(torch.bfloat16)), llama.tokenizer, llama.name, llama.digest)
    calls: list[tuple[Model, Row, str, dict[str, Any]]] = [
        (llama, row, SITES[0], {}),
        (other_weights, row, SITES[0], {}),
        (low, row, SITES[0], {}),
        (llama, Row((*row.ids[:-1], 0), row.prefix), SITES[0], {}),
        (llama, Row(row.ids, 0), SITES[0], {}),
        (llama, Row(row.ids, row.prefix, 3), SITES[0], {}),
        (llama, row, SITES[1], {}),
        (llama, row, SITES[0], {"positions": "all"}),
        (llama, row, SITES[0], {"pool": "last"}),
        (llama, row, SITES[0], {"pool": "mean"}),
    ]
    for number, (model, changed, site, options) in enumerate(calls):
        mapped(model, Tokens((changed,)), ReadSpec.at(site, **options), folder=tmp_path)
        assert len(shards(tmp_path)) == number + 1


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def _exchange(path: Path) -> None:
    shutil.copy(next(other for other in shards(path.parent) if other != path), path)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "zero bytes": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-64]),
    "header cut": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "one bit": _flip,
    "pickle": lambda path: torch.save({"x": torch.ones(3)}, path),
    "another shard": _exchange,
    "no seal": lambda path: path.write_bytes(_foreign()),
}


def _foreign() -> bytes:
    from safetensors.torch import save

    return save({"scalar": torch.tensor(1.0), "row": torch.arange(3)})


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_is_reported_and_rebuilt(
    llama: Model, tmp_path: Path, reads: list[int], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    whole = fingerprint(keep(llama, tmp_path))
    bad = shards(tmp_path)[2]
    good_bytes = bad.read_bytes()
    DAMAGE[damage](bad)
    reads.clear()
    with caplog.at_level(logging.WARNING):
        assert fingerprint(keep(llama, tmp_path)) == whole
    assert len(reads) == 1
    assert str(bad) in caplog.text
    assert bad.read_bytes() == good_bytes


@pytest.mark.parametrize("blocked", ["the folder is a file", "a shard is a folder"])
def test_what_cannot_be_repaired_is_one_error_with_the_path(llama: Model, tmp_path: Path, blocked: str) -> None:
    folder = tmp_path / "store"
    if blocked == "the folder is a file":
        folder.write_text("")
    else:
        keep(llama, folder)
        shards(folder)[0].unlink()
        keep(llama, tmp_path / "other")
        (folder / next(p.name for p in shards(tmp_path / "other") if not (folder / p.name).exists())).mkdir()
    with pytest.raises(StorageError, match=str(folder)):
        keep(llama, folder)


def test_a_full_disk_is_a_storage_error(llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        keep(llama, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_parts_keep_the_texts_numbers_and_make_up_the_whole(llama: Model, tmp_path: Path) -> None:
    parts = list(iterate(llama, TEXTS, SPEC, folder=tmp_path, shard_rows=SHARD_ROWS))
    assert [part.row.unique().tolist() for part in parts[::4]] == [[0, 1, 2, 3, 4], [20, 21, 22]]
    assert {part.n_rows for part in parts} == {len(TEXTS)}
    whole = keep(llama, tmp_path)
    assert torch.equal(torch.cat([part.x(SITES[0]) for part in parts]), whole.x(SITES[0]))


def test_moments_of_the_stream_equal_those_of_the_whole(llama: Model, tmp_path: Path) -> None:
    moments = Moments.empty(llama.d_model)
    for part in iterate(llama, TEXTS, ReadSpec.at(SITES[0]), folder=tmp_path, shard_rows=SHARD_ROWS):
        moments = moments.update(part.x(SITES[0]))
    x = keep(llama, tmp_path).x(SITES[0]).double()
    torch.testing.assert_close(moments.covariance, torch.cov(x.T, correction=0), rtol=1e-10, atol=1e-10)


def test_changing_what_was_returned_does_not_change_what_is_stored(llama: Model, tmp_path: Path) -> None:
    before = fingerprint(keep(llama, tmp_path))
    for part in iterate(llama, TEXTS, SPEC, folder=tmp_path, shard_rows=SHARD_ROWS):
        part.arrays[Site.parse(SITES[0])].zero_()
    assert fingerprint(keep(llama, tmp_path)) == before


def test_progress_is_shown_on_a_terminal_only(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(llama, tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    keep(llama, tmp_path)
    assert "0/23" in capsys.readouterr().err


def test_no_part_is_kept(llama: Model, tmp_path: Path) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    for part in iterate(llama, TEXTS, SPEC, folder=tmp_path, shard_rows=SHARD_ROWS):
        assert sum(ref() is not None for ref in alive) <= 1
        alive.append(weakref.ref(part.arrays[Site.parse(SITES[0])]))
    assert len(alive) == N_SHARDS


def test_stopping_early_stores_what_was_read(llama: Model, tmp_path: Path, reads: list[int]) -> None:
    parts: Iterator[Activations] = iterate(llama, TEXTS, SPEC, folder=tmp_path, shard_rows=SHARD_ROWS)
    next(parts)
    next(parts)
    del parts
    assert len(shards(tmp_path)) == 2
    keep(llama, tmp_path)
    assert len(reads) == N_SHARDS


def test_edited_activations_are_never_stored(llama: Model, tmp_path: Path) -> None:
    parts = iterate(llama, TEXTS, SPEC, folder=tmp_path, shard_rows=SHARD_ROWS)
    next(parts)
    with llama.edited(Add(site=Site(0), direction=torch.ones(32))):
        with pytest.raises(ValueError, match="is being edited"):
            next(parts)
        with pytest.raises(ValueError, match="is being edited"):
            keep(llama, tmp_path)
    assert len(shards(tmp_path)) == 1


def test_errors_speak_of_the_text_among_all_texts_and_come_first(
    llama: Model, tmp_path: Path, reads: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"'at\(20\)' select no token of row 0"):
        iterate(llama, TEXTS, ReadSpec.at(*SITES, positions="at(20)"), folder=tmp_path)
    short = [*(["long enough for all"] * 13), "x"]
    with pytest.raises(ValueError, match="select no token of row 13"):
        keep(llama, tmp_path, texts=short, positions="at(5)")
    with pytest.raises(ValueError, match="0 texts in shards of 5"):
        keep(llama, tmp_path, texts=[])
    with pytest.raises(ValueError, match="23 texts in shards of 0"):
        mapped(llama, TEXTS, SPEC, folder=tmp_path, shard_rows=0)
    assert reads == []


def test_killed_while_writing_then_resumed_by_two_processes_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.data.interrupted", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["killed"] == -signal.SIGKILL
    assert [name.startswith(".scratch-") for name in report["left"]] == [True, False, False, False]
    assert report["exits"] == [0, 0]
    assert len(set(report["results"])) == 1
