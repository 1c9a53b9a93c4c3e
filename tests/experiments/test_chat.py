"""The chat in the terminal: through a pipe, in a tiny model, and its columns."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from experiments.chat.columns import GrowingColumns, cells, wrapped
from experiments.chat.config import Config
from experiments.chat.session import Session
from experiments.serve.engine import Engine
from tests.experiments.serving import save_vectors, tiny_double, vector
from tests.tiny import tiny_folder
from workbench.artifacts.layer_vectors import LayerVectors
from workbench.models.conversation import Conversation, Turn
from workbench.models.load import load
from workbench.models.sampling import Sampling

CONFIG = Config(max_tokens=12, strength=4.0, seed=2)


@given(st.text(alphabet="ab c\n日e\u0301", max_size=60), st.integers(4, 12), st.integers(0, 60))
def test_lines_fit_and_only_the_last_one_changes_as_the_text_goes_on(text: str, width: int, seen: int) -> None:
    lines = wrapped(text, width)
    assert all(cells(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace("\n", "")
    before = wrapped(text[:seen], width)
    assert lines[: len(before) - 1] == before[:-1]


def test_columns_stand_side_by_side_in_what_is_printed() -> None:
    out = io.StringIO()
    columns = GrowingColumns(["unsteered", "the sea"], out, 44, live=False)
    for piece in ("one two three ", "four five six ", "seven"):
        columns.write(0, piece)
        columns.write(1, "\x1b[2J" + piece.upper())
    columns.end(1)
    columns.end(0)
    head, rule, *lines = out.getvalue().splitlines()
    assert head == "unsteered            │ the sea"
    assert len(rule) == 43
    assert lines[0] == "one two three four   │ ␛[2JONE TWO THREE"
    assert [line.partition("│")[0].strip() for line in lines][1] == "five six seven"
    assert "\x1b" not in out.getvalue()


def test_both_sides_go_on_from_their_own_answers(tmp_path: Path) -> None:
    model = tiny_double()
    (name, saved_vector), *_ = save_vectors(model, tmp_path).items()
    file, saved = str(tmp_path / f"{name}.safetensors"), tmp_path / "chat.json"
    out = io.StringIO()
    with Engine(model, rows=2) as engine:
        session = Session(CONFIG, model, engine, out, is_live=False)
        session.run(iter([f"/vector {file}", "hello", "/strength -2", "again", f"/save {saved}", "/quit", "never"]))
    told = json.loads(saved.read_text())["exchanges"]
    assert [(each["question"], each["strength"]) for each in told] == [("hello", 4.0), ("again", -2.0)]
    for side, strengths in (("unsteered", (0.0, 0.0)), ("steered", (4.0, -2.0))):
        turns: list[Turn] = []
        for at, each in enumerate(told):
            turns.append(Turn("user", each["question"]))
            sampling = Sampling(12, CONFIG.temperature, CONFIG.top_p, CONFIG.seed + at)
            (alone,) = model.generate(
                [Conversation(tuple(turns))], edits=saved_vector.edit(strengths[at]), sampling=sampling
            )
            assert each[side] == alone.text
            turns.append(Turn("assistant", alone.text))
    assert told[0]["steered"] != told[0]["unsteered"]
    assert "never" not in out.getvalue()


def test_vectors_of_several_layers_steer_together(tmp_path: Path) -> None:
    model = tiny_double()
    both = LayerVectors(vector(model, 0).origin, (vector(model, 0), vector(model, 1, layer=2)))
    both.save(tmp_path / "both.safetensors")
    saved, lines = tmp_path / "chat.json", [f"/vector {tmp_path}/both.safetensors", "hello"]
    with Engine(model, rows=2) as engine:
        session = Session(CONFIG, model, engine, io.StringIO(), is_live=False)
        session.run(iter([*lines, f"/save {saved}"]))
    (told,) = json.loads(saved.read_text())["exchanges"]
    sampling = Sampling(12, CONFIG.temperature, CONFIG.top_p, CONFIG.seed)
    (alone,) = model.generate(["hello"], edits=both.edits(CONFIG.strength), sampling=sampling, chat=True)
    assert told["steered"] == alone.text != told["unsteered"]


def test_what_cannot_be_done_is_said_and_the_chat_goes_on(tmp_path: Path) -> None:
    out = io.StringIO()
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    lines = [
        "/strenght 2",
        "/strength much",
        "/positions last",
        f"/vector {tmp_path}/no.safetensors",
        "/vector 'x",
        "x" * 300,
    ]
    with Engine(tiny_double(), rows=2) as engine:
        Session(CONFIG, engine.model, engine, out, is_live=False).run(iter([*lines, "hi"]))
    said = [line for line in out.getvalue().splitlines() if line.startswith("error: ")]
    assert len(said) == len(lines)
    assert "did you mean '/strength'?" in said[0]
    assert "reads at most 256" in said[-1]
    assert len(out.getvalue().splitlines()) > len(lines)


def test_without_a_vector_there_is_one_column() -> None:
    out = io.StringIO()
    with Engine(tiny_double(), rows=2) as engine:
        Session(CONFIG, engine.model, engine, out, is_live=False).run(iter(["hello"]))
    assert "unsteered" not in out.getvalue()
    assert len("".join(out.getvalue().split())) > 3


def test_through_a_pipe(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    save_vectors(load(folder, dtype="float32"), tmp_path, 1)
    flags = ["--model", str(folder), "--max-tokens", "8", "--dtype", "float32"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.chat", *flags, "--vector", str(tmp_path / "layer" / "v0.safetensors")],
        input="hello\n\udcff\n/strength 2\nonce more",
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        env=os.environ | {"COLUMNS": "60"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("> hello\nunsteered")
    assert "concept 0 x 2 at all" in done.stdout
    assert "> once more\n" in done.stdout
    assert done.stderr == ""
