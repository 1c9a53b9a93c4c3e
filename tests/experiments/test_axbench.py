"""The whole path at a small size: text to report, in one process and in several, and read back from W&B."""

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from experiments.axbench import EXPERIMENT, METHODS, PRESETS, Config, run
from experiments.axbench.context import ComparisonContext
from tests.data.sets import few
from tests.experiments.small import ByLength, RatedByLength, cache_of_its_own, write_concepts
from tests.runs.wandb_log import logged
from tests.tiny import tiny_folder
from workbench.data.packaged import packaged
from workbench.data.saving import write_jsonl
from workbench.evaluation.judges import choose, embedded
from workbench.methods.capabilities import detects
from workbench.runs.rows import Row, read_rows

FLAGS = [
    *("--preset", "smoke", "--limit", "2", "--strengths", "0.5", "1.0", "--instructions", "2"),
    *("--max-new-tokens", "4", "--neutral", "1", "--layers", "10", "--dtype", "float32"),
]


CONFIG = EXPERIMENT.parse(FLAGS).config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the default model, which is the last line that the command prints."""
    root, said = tmp_path_factory.mktemp("runs"), io.StringIO()
    write_jsonl(few(packaged().subset(2), 20), root / "concepts.jsonl")
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said):
        patched.setenv("WANDB_MODE", "offline")
        patched.setattr(choose, "N_REFERENCES", 6)  # enough to see that the judge is set up
        patched.setattr(embedded, "N_TEXTS", 24)
        EXPERIMENT.main(["--root", str(root), "--concepts", str(root / "concepts.jsonl"), *FLAGS])
    page, folder = (Path(line) for line in said.getvalue().strip().splitlines()[-2:])
    assert page == folder / "report.html"
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Another number of threads, which the workers have, may round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def timeless(folder: Path) -> list[Row]:
    """The results but for how long things took."""
    return [row for row in read_rows(folder / "results.json") if not row.metric.startswith("cost.")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_method_is_reported(finished: Path):
    rows = read_rows(finished / "results.json")
    headline = {(row.method, row.metric) for row in rows if row.concept is None}
    for name in CONFIG.methods:
        method = METHODS[name].make()
        assert ("detection.auroc" in {metric for m, metric in headline if m == name}) == detects(method)
    for name in CONFIG.steered:
        assert {"steering.score", "side_effect.kl", "steering.perplexity"} <= {m for n, m in headline if n == name}
    assert all(row.n for row in rows if row.metric == "detection.auroc")


def test_report_is_written_and_names_the_judge(finished: Path):
    page, text = (finished / "report.html").read_text(), (finished / "report.md").read_text()
    for written in (page, text):
        assert "embedded (MiniLM classifier, no LLM)" in written
        assert "DiffMean" in written
    assert "python -m experiments.axbench --config" in text


def test_wandb_holds_config_metrics_tables_artifacts_and_report(finished: Path):
    (run,) = logged(finished)
    assert run.project == "axbench"
    assert run.config["max_new_tokens"] == 4
    assert any(key.startswith("detection.auroc/diffmean") for step in run.history for key in step)
    assert run.media("report").read_bytes() == (finished / "report.html").read_bytes()
    table = json.loads(run.media("generations").read_text())
    assert table["columns"][:2] == ["method", "concept"]
    assert len(table["data"]) == 2 * 2 * len(CONFIG.steered)  # concepts, instructions
    assert "vectors-layer10" in run.artifacts


@pytest.mark.usefixtures("one_thread")
def test_processes_leave_the_same_results_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One method that is trained, one that is computed from states, one that writes a prompt, and the baseline."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("experiments.axbench.context.choose_judge", lambda *_: ByLength())
    recipe = ComparisonContext.recipe
    monkeypatch.setattr(ComparisonContext, "recipe", lambda context: RatedByLength(recipe(context)))
    write_concepts(tmp_path, "sea", "rain")
    config = Config(
        model=str(tiny_folder(tmp_path)),
        concepts=str(tmp_path / "concepts.jsonl"),
        methods=("diffmean", "reft_r1", "prompt", "random"),
        steered=("diffmean", "reft_r1", "prompt", "random"),
        layers=(1,),
        strengths=(0.5, 1.0),
        instructions=2,
        max_new_tokens=8,
        neutral=1,
        dtype="float32",
    )
    folders = []
    for executor in ("local", "processes"):
        monkeypatch.setenv("WORKBENCH_CACHE", str(cache_of_its_own(tmp_path / f"cache-{executor}")))  # each reads
        folders.append(run(config, tmp_path / executor, executor=executor, workers=2))
    here, there = folders
    assert here.name == there.name  # where the work is done is no part of the configuration
    assert timeless(here) == timeless(there)
    assert contents(here / "artifacts") == contents(there / "artifacts")
    assert contents(here / "artifacts")
    assert not list((here / "units").glob("read-*"))
    read, fits = (list((there / "units").glob(f"{kind}-*")) for kind in ("read", "fit"))
    assert read  # the workers read, too
    assert len(fits) == 2 * len(config.methods)  # one a concept


def test_config_of_a_run_can_be_given_back(finished: Path):
    config = EXPERIMENT.parse(["--config", str(finished / "config.json")]).config
    assert config.strengths == (0.5, 1.0)
    again = EXPERIMENT.parse(["--config", str(finished / "config.json"), "--seeds", "0", "1"])
    assert again.config == dataclasses.replace(config, seeds=(0, 1))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "diffmeen"], "there is no method 'diffmeen'"),
        (["--methods", "pca", "--steered", "lat"], "cannot steer without being among the methods"),
        (["--strengths", "-1"], "strengths is (-1.0,); expected numbers at least 0"),
        (["--baseline", "nosuch"], "the baseline 'nosuch' is not among the steered methods"),
        (["--steered", "diffmean", "--baseline", "random"], "the baseline 'random' is not among"),
        (["--methods", "bag_of_words", "--steered", "diffmean"], "cannot steer without being among the methods"),
        (["--preset", "huge"], "huge"),
        (["--no-such-flag"], "no-such-flag"),
        (["--executor", "cloud"], "invalid choice 'cloud'"),
        (["--workers", "-1"], "workers is -1; expected numbers at least 1"),
    ],
)
def test_bad_flags_end_with_one_clear_message(flags, message, capsys):
    with pytest.raises(SystemExit) as ended:
        EXPERIMENT.parse(flags)
    said = capsys.readouterr()
    assert ended.value.code != 0
    line = said.err.strip() or str(ended.value.code)
    assert message in line
    assert line.startswith("error: ")
    assert not {"\n", "─"} & set(line)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_without_flags_is_as_it_stands(preset: str):
    assert EXPERIMENT.parse(["--preset", preset]).config == PRESETS[preset]


def test_the_preset_of_the_paper_has_every_form_and_steers_with_all_that_can():
    paper, full = PRESETS["paper"], PRESETS["full"]
    assert {name for name in METHODS if name.removesuffix("_compat") in paper.methods} <= {*paper.methods}
    assert {*paper.steered} == {*EXPERIMENT.parse(["--methods", *paper.methods]).config.steered}
    assert len(paper.seeds) == 3
    for setting in ("methods", "steered", "seeds", "match", "also"):
        assert getattr(full, setting) == getattr(paper, setting)


@pytest.mark.parametrize(
    ("flags", "steered", "baseline"),
    [
        ("--methods diffmean", ("diffmean",), "diffmean"),
        ("--methods bag_of_words lat random", ("lat", "random"), "random"),
        ("--methods bag_of_words", (), "random"),
        ("--methods sft diffmean", ("sft", "diffmean"), "sft"),
        ("--methods pca lat --steered lat", ("lat",), "lat"),
        ("--steered diffmean", ("diffmean",), "diffmean"),
        ("--methods pca lat --baseline lat", ("pca", "lat"), "lat"),
    ],
)
def test_what_is_steered_follows_what_is_compared_and_the_baseline_what_is_steered(flags, steered, baseline):
    config = EXPERIMENT.parse(["--preset", "smoke", *flags.split()]).config
    assert (config.steered, config.baseline) == (steered, baseline)


@pytest.mark.parametrize(
    ("flags", "left_out"),
    [
        ("", False),
        ("--model other.gguf", True),
        ("--preset smoke --layers 10", True),
        ("--model other.gguf --dictionary its-own", False),
        ("--layers 10 --methods sae random", False),  # which is refused when the dictionary is looked at
    ],
)
def test_methods_with_a_dictionary_go_where_it_is_not_that_of_the_model(flags, left_out):
    config = EXPERIMENT.parse(flags.split()).config
    assert ("sae" not in config.methods) == left_out
    assert left_out <= ("sae" not in config.steered)
    assert "diffmean" in config.methods or "--methods" in flags


def test_help_imports_no_torch():
    script = "import sys; import experiments.axbench; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_concept10_runs_through_the_same_stages(shared_data: Path, tmp_path: Path):
    config = Config(
        concepts=str(shared_data / "axbench" / "concept10" / "prod_2b_l20_v1"),
        limit=1,
        methods=("diffmean", "random"),
        steered=(),
        layers=(10,),
        instructions=2,
        max_new_tokens=8,
    )
    rows = read_rows(run(config, tmp_path) / "results.json")
    assert any(row.metric == "detection.auroc" and row.method == "diffmean" and row.value is not None for row in rows)
