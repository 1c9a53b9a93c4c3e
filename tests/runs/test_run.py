import errno
import logging
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from workbench.runs.config import describe, read_config
from workbench.runs.errors import DamagedFile, RunError, StorageError
from workbench.runs.files import digest, write_json, write_text
from workbench.runs.rows import Row, read_rows
from workbench.runs.run import Run


@dataclass(frozen=True)
class Config:
    model: str = "tiny"
    layers: tuple[int, ...] = (0, 12)


def row(value: float | None = 0.5, **settings) -> Row:
    return Row(**({"experiment": "axbench", "method": "diffmean", "metric": "auroc", "value": value} | settings))


INPUTS = {"model": "digest", "version": 1}


def fail(*_: Path):
    pytest.fail("done a second time")


# --- opening, continuing, reading


def test_a_run_is_a_folder_named_by_experiment_and_config_digest(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        assert run.folder == tmp_path / f"axbench-{describe('axbench', Config())['digest'][:10]}"
        assert run.config == {"model": "tiny", "layers": [0, 12]}
    with Run.open("axbench", Config(model="other"), tmp_path) as other:
        assert other.folder != run.folder
    assert read_config(Config, run.folder / "config.json") == Config()


def test_the_command_of_a_run_gives_its_config_back_whatever_the_root_is_called(tmp_path):
    root = tmp_path / "my runs; $(more)"
    with Run.open("axbench", Config(layers=(3,)), root) as run:
        pass
    assert Run.load(run.folder).command == run.command
    *call, flag, config = shlex.split(run.command)
    assert [*call, flag] == ["python", "-m", "experiments.axbench", "--config"]
    assert config == f"{root.name}/{run.folder.name}/config.json"
    assert read_config(Config, tmp_path / config) == Config(layers=(3,))
    with Run.open("axbench", Config(layers=(3,)), tmp_path / "runs") as plain:
        assert plain.command == f"python -m experiments.axbench --config runs/{plain.folder.name}/config.json"


def test_a_relative_root_lies_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Run.open("axbench", Config()) as run:
        assert run.folder.parent == tmp_path / "runs"


def test_continuing_keeps_units_rows_and_log(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        assert run.unit("a", INPUTS, lambda: (1, 2)) == [1, 2]
        made = run.unit_file("b", INPUTS, lambda path: path.write_bytes(b"data"), ".bin")
        run.record([row()])
        run.log.info("first time")
    with Run.open("axbench", Config(), tmp_path) as run:
        assert run.unit("a", INPUTS, fail) == [1, 2]
        assert run.unit_file("b", INPUTS, fail, ".bin") == made
        assert run.rows() == (row(),)
        run.log.info("second time")
    text = (run.folder / "log.txt").read_text()
    assert text.index("started") < text.index("first time") < text.index("continued") < text.index("second time")


def test_a_unit_whose_inputs_changed_is_done_again_and_the_log_says_which(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.unit("fit/sea", {"items": "some", "model": "m"}, lambda: 1)
    with Run.open("axbench", Config(), tmp_path) as run:
        assert run.unit("fit/sea", {"items": "others", "model": "m"}, lambda: 2) == 2
    assert "INFO workbench.runs.run." in (text := (run.folder / "log.txt").read_text())
    assert "unit 'fit/sea' is done again: its items changed" in text


def test_units_of_the_earlier_format_are_counted_and_done_again(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        assert "earlier format" not in (run.folder / "log.txt").read_text()
    for name in ("a", "b"):
        write_json(run.folder / "units" / name / "unit.json", {"key": name, "value": 1, "sha256": digest([name, 1])})
    with Run.open("axbench", Config(), tmp_path) as run:
        assert run.unit("a", INPUTS, lambda: 2) == 2
    text = (run.folder / "log.txt").read_text()
    assert "2 units are of an earlier format, which held no inputs: they are done again" in text
    assert "unit 'a' is done again: it is of an earlier format" in text


def test_a_loaded_run_can_be_read_and_not_written(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row()])
        assert run.state == "open"
    for read_only in (run, Run.load(run.folder)):
        assert read_only.rows() == (row(),)
        assert read_only.state == "finished"
        assert (read_only.experiment, read_only.config) == ("axbench", {"model": "tiny", "layers": [0, 12]})
        for write in (
            lambda r: r.record([row()]),
            lambda r: r.unit("a", INPUTS, fail),
            lambda r: r.note(dtype="float32"),
        ):
            with pytest.raises(RunError, match=r"is read-only here; Run\.open"):
                write(read_only)


def test_a_folder_without_a_run_is_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match=r"could not read .*config\.json"):
        Run.load(tmp_path)
    write_text(tmp_path / "config.json", '{"experiment": "axbench"}')
    with pytest.raises(RunError, match=r"config\.json describes no run, which has experiment, config"):
        Run.load(tmp_path)


def test_a_changed_config_file_is_not_continued(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        pass
    path = run.folder / "config.json"
    write_text(path, path.read_text().replace("tiny", "other"))
    with pytest.raises(RunError, match=r"config\.json was changed since the run began"):
        Run.open("axbench", Config(), tmp_path)


def test_a_secret_never_reaches_the_disk(tmp_path):
    @dataclass(frozen=True)
    class Leaky:
        api_key: str = "sk-123456"

    with pytest.raises(RunError, match=r"config\.api_key looks like a secret"):
        Run.open("axbench", Leaky(), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- results


def test_recording_adds_sorts_and_replaces_rows_of_an_earlier_opening(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row(0.5), row(0.1, concept="sea")])
        run.record(iter([row(0.2, concept="rain"), row(0.5)]))
    expected = (row(0.6), row(0.2, concept="rain"), row(0.1, concept="sea"))
    run = Run.open("axbench", Config(), tmp_path)
    run.record([row(0.6)])
    assert run.rows() == expected
    with pytest.raises(RunError, match="two results for one question"):
        run.record([row(0.7)])
    run.close("interrupted")
    assert Run.load(run.folder).rows() == expected


def test_a_finished_run_has_the_rows_of_its_last_opening_only(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row(0.5), row(0.1, concept="sea")])
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row(0.6)])
        assert len(run.rows()) == 2
        run.settle()
        assert run.rows() == (row(0.6),)  # what a report shows
        run.record([row(0.2, concept="rain")])
    assert Run.load(run.folder).rows() == (row(0.6), row(0.2, concept="rain"))
    with Run.open("axbench", Config(), tmp_path) as run:
        pass
    assert run.rows() == (row(0.6), row(0.2, concept="rain"))  # nothing recorded, nothing taken away
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row(0.7)])
    assert run.rows() == (row(0.7),)


def test_a_row_of_another_experiment_is_refused(tmp_path):
    with (
        Run.open("axbench", Config(), tmp_path) as run,
        pytest.raises(RunError, match="a row of experiment 'erasure' was recorded in a run of 'axbench'"),
    ):
        run.record([row(experiment="erasure")])


def test_a_run_without_results_has_no_rows(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        assert run.rows() == ()


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", "null", "[{}]"])
def test_damaged_results_and_environments_are_set_aside_and_made_again(tmp_path, text):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row()])
    names = ("results.json", "environment.json")
    for name in names:
        write_text(run.folder / name, text)
    assert Run.load(run.folder).state == "damaged"
    for read in (run.rows, run.environments):
        with pytest.raises(DamagedFile, match=r"`python -m experiments\.axbench --config .*` writes it again"):
            read()
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row(0.6)])
    assert run.rows() == (row(0.6),)
    assert [each["outcome"] for each in run.environments()] == ["finished"]
    for name in names:
        assert (run.folder / name).with_suffix(".damaged.json").read_text() == text
        assert f"{name} is damaged" in (run.folder / "log.txt").read_text()


def test_a_config_that_is_not_as_it_was_written_is_refused_with_the_remedy(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        pass
    path = run.folder / "config.json"
    for text in (path.read_text().replace("tiny", "tinz"), path.read_text()[:-9], "{}", ""):
        write_text(path, text)
        with pytest.raises(RunError, match="or delete it: the same settings"):
            Run.open("axbench", Config(), tmp_path)
        with pytest.raises((RunError, StorageError), match=r"config\.json"):
            Run.load(run.folder)
    path.unlink()
    with Run.open("axbench", Config(), tmp_path) as run:
        assert Run.load(run.folder).config == run.config


# --- environment, log, state


def test_each_opening_has_an_environment_entry_with_its_facts_and_end(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.note(dtype="float32", threads=2)
    with pytest.raises(ValueError, match="planted"), Run.open("axbench", Config(), tmp_path) as run:
        raise ValueError("planted")
    first, second = Run.load(run.folder).environments()
    assert (first["dtype"], first["threads"], first["outcome"]) == ("float32", 2, "finished")
    assert second["outcome"] == "failed: ValueError"
    assert "dtype" not in second
    assert "stopped by ValueError: planted" in (run.folder / "log.txt").read_text()


def test_a_stop_from_the_keyboard_is_an_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt), Run.open("axbench", Config(), tmp_path) as run:
        raise KeyboardInterrupt
    assert Run.load(run.folder).state == "interrupted"


def test_a_changed_environment_is_reported(tmp_path, monkeypatch):
    with Run.open("axbench", Config(), tmp_path) as run:
        pass
    monkeypatch.setattr("workbench.runs.environment.platform.python_version", lambda: "3.99")
    with Run.open("axbench", Config(), tmp_path):
        pass
    text = (run.folder / "log.txt").read_text()
    assert f"python was {sys.version.split()[0]} -> 3.99: finished units are from before" in text


def test_warnings_of_any_library_reach_the_log_only_while_the_run_is_open(tmp_path):
    handlers = list(logging.getLogger().handlers)
    with Run.open("axbench", Config(), tmp_path) as run:
        logging.getLogger("some.library").warning("a <warning>")
    logging.getLogger("some.library").warning("too late")
    text = (run.folder / "log.txt").read_text()
    assert "WARNING some.library: a <warning>" in text
    assert "too late" not in text
    assert logging.getLogger().handlers == handlers


def test_the_notebook_view_escapes_everything_and_links_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Run.open("axbench", Config(model="<script>alert(1)</script>"), tmp_path) as run:
        run.record([row(0.91234, method="<img onerror=x>", low=0.8), row(0.1, method="of one concept", concept="sea")])
        write_text(run.report, "<html>")
        html = run._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<td>0.912</td><td>0.8</td><td>–</td>" in html
    assert "of one concept" not in html
    assert f'href="{run.folder.name}/report.html"' in html
    assert "open" in html
    assert "report.html" not in Run.load(Path(run.folder)).__repr__()


def test_the_notebook_view_shows_a_few_of_many_rows(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        assert "metric</th>" not in run._repr_html_()
        run.record(row(layer=layer) for layer in range(30))
        html = run._repr_html_()
    assert html.count("<td>diffmean</td>") == 12
    assert "and 18 more in results.json" in html


# --- disks that refuse


def full_disk(handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_clear_error_and_an_old_run_survives(tmp_path, monkeypatch):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.unit("a", INPUTS, lambda: 1)
        run.record([row()])
    with monkeypatch.context() as disk, Run.open("axbench", Config(), tmp_path) as run:
        disk.setattr("workbench.runs.files.os.fsync", full_disk)
        with pytest.raises(StorageError, match=r"could not write .*results\.json"):
            run.record([row(0.6)])
        with pytest.raises(StorageError, match=r"could not write .*unit\.json: .*No space left on device"):
            run.unit("b", INPUTS, lambda: 2)
        disk.undo()
    with Run.open("axbench", Config(), tmp_path) as run:
        assert run.unit("a", INPUTS, fail) == 1
        assert run.unit("b", INPUTS, lambda: 2) == 2
        assert run.rows() == (row(),)
        assert not list(run.folder.rglob(".scratch-*"))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let the kernel refuse to write in `folder`, also to the superuser, who is somebody else for the time being."""
    user = os.geteuid()
    folder.chmod(0o555)
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def test_a_read_only_folder_is_one_clear_error(tmp_path):
    with read_only(tmp_path), pytest.raises(StorageError, match=r"could not lock .*Permission denied.*writable folder"):
        Run.open("axbench", Config(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_error_that_stopped_a_run_is_the_one_that_is_shown(tmp_path, monkeypatch):
    run = Run.open("axbench", Config(), tmp_path)
    with monkeypatch.context() as disk:
        disk.setattr("workbench.runs.files.os.fsync", full_disk)
        with pytest.raises(ValueError, match="planted"), run:
            raise ValueError("planted")
    assert Run.load(run.folder).state == "unfinished"
    with Run.open("axbench", Config(), tmp_path):
        pass


def test_a_second_opening_waits_for_the_first(tmp_path):
    with Run.open("axbench", Config(), tmp_path) as run:
        run.record([row()])
        timer = threading.Timer(0.2, run.close)
        timer.start()
        with Run.open("axbench", Config(), tmp_path, wait_s=60.0) as second:
            assert run.state != "open"
            assert read_rows(second.folder / "results.json") == (row(),)
        timer.join()
