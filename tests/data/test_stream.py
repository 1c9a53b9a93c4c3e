"""Streams of states: planted states say which text and token they are of, so that every one can be followed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.interrupted import SITES, TEXTS
from workbench.data.dataset import Dataset
from workbench.data.items import DataError, Item
from workbench.data.states import States
from workbench.data.stream import ActivationStream, StreamBatch
from workbench.models.activations import Activations
from workbench.models.edits import Add
from workbench.models.model import Model
from workbench.models.readspec import ReadSpec
from workbench.models.sites import Site

ONE, TWO = Site(0), Site(1)
SPEC = ReadSpec.at(*SITES)
SIZES = dict(batch_size=7, buffer_batches=5)


def planted(n_texts: int = 60) -> States:
    """Texts of 0 to 9 states; each holds its text's number and its own number, at the second site times 10."""
    lengths = torch.arange(n_texts) * 7 % 10
    row = torch.arange(n_texts).repeat_interleave(lengths)
    x = torch.stack([row, torch.arange(len(row))], 1).double()
    position = torch.arange(len(row)) - (lengths.cumsum(0) - lengths)[row]
    dataset = Dataset("planted", tuple(Item.bare(f"text {number}") for number in range(n_texts)))
    read = Activations({ONE: x, TWO: 10 * x}, row, n_texts, position)
    return States(dataset, read, ReadSpec((ONE, TWO)))


def numbers(batches: Iterator[StreamBatch]) -> list[int]:
    """Which state each is, in the order in which they come."""
    return [int(number) for batch in batches for number in batch.x(ONE)[:, 1]]


def bits(batches: Iterator[StreamBatch]) -> list[str]:
    """Every bit of some batches."""
    return [
        "".join(x.numpy().tobytes().hex() for x in (*batch.states.values(), batch.row)) for batch in islice(batches, 40)
    ]


def test_an_epoch_has_every_state_once_but_the_incomplete_batch() -> None:
    stream = ActivationStream.from_states(planted(), **SIZES)
    n_dropped = stream.n_states % 7
    assert stream.n_states == 270
    assert n_dropped == 4
    assert stream.batches_per_epoch == 38
    epochs = numbers(stream.batches(epochs=2))
    first, second = epochs[: 38 * 7], epochs[38 * 7 :]
    for epoch in (first, second):
        assert len(epoch) == len(set(epoch)) == stream.n_states - n_dropped
    assert first != second
    assert set(first) != set(second)  # the second drops others


def test_sites_and_rows_stay_aligned_in_float32() -> None:
    for batch in ActivationStream.from_states(planted(), **SIZES).batches(epochs=1):
        assert batch.x(ONE).dtype == torch.float32
        assert torch.equal(batch.x(TWO), 10 * batch.x(ONE))
        assert torch.equal(batch.x(ONE)[:, 0], batch.row.float())
        assert len(batch.row) == 7


def test_states_are_mixed_within_a_buffer_and_texts_over_the_epoch() -> None:
    stream = ActivationStream.from_states(planted(2000), batch_size=50, buffer_batches=60)
    order = np.array(numbers(stream.batches(epochs=1)))
    text = planted(2000).row.numpy()[order]
    place = np.arange(3000)
    assert abs(np.corrcoef(place, text[:3000])[0, 1]) < 0.06  # three standard errors
    assert abs(np.corrcoef(np.arange(len(text)), text)[0, 1]) < 0.07  # of 2000 texts
    neighbours = np.abs(np.diff(text[:3000])) == 0
    assert neighbours.mean() < 0.01  # states of one text lie apart; unshuffled, 4 of 5 would be neighbours


def test_each_seed_is_an_order_of_its_own() -> None:
    one, same, other = (ActivationStream.from_states(planted(), seed=seed, **SIZES) for seed in (0, 0, 1))
    assert numbers(one.batches(epochs=1)) == numbers(same.batches(epochs=1))
    assert numbers(one.batches(epochs=1)) != numbers(other.batches(epochs=1))


@pytest.mark.parametrize("start", [1, 5, 37, 38, 40, 79])
def test_a_resumed_stream_goes_on_as_if_never_stopped(start: int) -> None:
    stream = ActivationStream.from_states(planted(), **SIZES)
    assert bits(islice(stream.batches(), start, None)) == bits(stream.batches(start=start))
    assert len(list(stream.batches(start=start, epochs=2))) == max(0, 2 * 38 - start)


@pytest.mark.parametrize("stored", [False, True])
def test_states_of_a_model_come_as_they_were_read(llama: Model, tmp_path: Path, stored: bool) -> None:
    data = Dataset("texts", tuple(map(Item.bare, TEXTS)))
    states = States.read(data, llama, SPEC, store=tmp_path if stored else None)
    streams = ActivationStream.from_states(states, **SIZES), ActivationStream.from_model(llama, TEXTS, SPEC, **SIZES)
    assert torch.equal(streams[0].counts, streams[1].counts)
    for one, other in zip(*(stream.batches(epochs=2) for stream in streams), strict=True):
        assert torch.equal(one.row, other.row)
        for site in SITES:
            torch.testing.assert_close(one.x(site), other.x(site), rtol=1e-5, atol=1e-5)


FRESH = """
import sys, json
import torch
torch.set_num_threads(int(sys.argv[1]))
from tests.data.test_stream import SIZES, SPEC, TEXTS, bits
from tests.tiny import tiny_model
from workbench.data.stream import ActivationStream
stream = ActivationStream.from_model(tiny_model(), TEXTS, SPEC, **SIZES)
print(json.dumps([stream.batches_per_epoch, bits(stream.batches(start=13, epochs=2))]))
"""


def test_a_fresh_process_goes_on_bit_for_bit(llama: Model) -> None:
    command = [sys.executable, "-c", FRESH, str(torch.get_num_threads())]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    per_epoch, fresh = json.loads(done.stdout)
    stream = ActivationStream.from_model(llama, TEXTS, SPEC, **SIZES)
    assert per_epoch == stream.batches_per_epoch
    assert fresh == bits(islice(stream.batches(epochs=2), 13, None))


def test_one_buffer_is_read_at_a_time_and_none_before_it_is_wanted() -> None:
    whole, reads = planted().activations, []

    def read(rows: list[int]) -> Activations:
        reads.append(rows)
        return whole.select(rows)

    stream = ActivationStream(ActivationStream.from_states(planted(), **SIZES).counts, read, **SIZES)
    batches = stream.batches()
    assert reads == []
    for number in range(2 * stream.batches_per_epoch):
        next(batches)
        epoch, within = divmod(number, stream.batches_per_epoch)
        assert len(reads) == 8 * epoch + within // 5 + 1
    needed = (int(stream.counts[rows].sum()) for rows in reads)
    assert max(needed) <= 5 * 7 + 2 * 8  # a buffer, and what the texts at its borders have besides


def test_what_cannot_be_streamed_is_refused(llama: Model) -> None:
    with pytest.raises(DataError, match="mean of each row pools them; leave the pool out"):
        ActivationStream.from_model(llama, TEXTS, replace(SPEC, pool="mean"))
    with pytest.raises(DataError, match="leave the pool out"):
        ActivationStream.from_states(replace(planted(), spec=ReadSpec((ONE,), pool="last")))
    with pytest.raises(DataError, match="60 texts with 270 states do not fill a batch of 1024"):
        ActivationStream.from_states(planted())
    for wrong in (dict(batch_size=0), dict(buffer_batches=0), dict(seed=-1)):
        with pytest.raises(DataError, match=rf"{next(iter(wrong))} is .*; expected numbers at least"):
            ActivationStream.from_states(planted(), **wrong)
    stream = ActivationStream.from_states(planted(), **SIZES)
    with pytest.raises(DataError, match="there is none at -1"):
        stream.batches(-1)
    with pytest.raises(DataError, match=r"does not have blocks\.2\.hook_resid_post; it has blocks\.0"):
        next(stream.batches()).x(Site(2))
    with pytest.raises(ValueError, match=r"'at\(20\)' select no token of row 0"):
        ActivationStream.from_model(llama, TEXTS, ReadSpec.at(*SITES, positions="at(20)"))
    live = ActivationStream.from_model(llama, TEXTS, SPEC, **SIZES).batches()
    with llama.edited(Add(site=ONE, direction=torch.ones(32))), pytest.raises(ValueError, match="is being edited"):
        next(live)
