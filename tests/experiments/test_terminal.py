"""What a command shows and how it ends: one line for whatever the user can mend, and for Ctrl-C and SIGTERM."""

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from experiments import EXPERIMENTS, TOOLS
from experiments.experiment import Experiment
from experiments.terminal import ends_in_one_line, hushed, routed_logs
from workbench.runs.run import Run

SEMICOLONS = "concept;category;response;split\nsea;positive;waves;train\n"
MISTAKES = {
    "axbench --concepts cooking": "'cooking' is one of the packaged concepts and no set of them; the set is `packaged`",
    "axbench --concepts cokking": "there is no dataset 'cokking' (did you mean 'cooking'?)",
    "axbench --concepts no/such/folder": "there is no dataset 'no/such/folder'; give `packaged`",
    "axbench --concepts semicolons.csv": "semicolons.csv has ';' between its cells; save it with commas",
    "axbench --concepts .": "metadata",
    "axbench --layers 40": "smollm2-135m-instruct has no block 40; its 30 blocks are numbered from 0 to 29",
    "axbench --layers -1": "layers is (-1,); expected numbers at least 0",
    "axbench --methods diffmeen": "there is no method 'diffmeen' (did you mean 'diffmean'?); the methods are diffmean,",
    "axbench --positions last": "the terms, joined by + and -, are all, prefix, prompt and response",
    "axbench --instructions 500": "500 instructions a concept: expected 2 to",
    "axbench --neutral 500": "has 36 evaluation texts without any concept, fewer than 500: give more",
    "axbench --judge embeded": "there is no judge 'embeded'; use 'embedded'",
    "axbench --judge local:smolm2": "there is no model 'smolm2'",
    "axbench --model smolm2": "no built-in one (smollm2-135m-instruct, gemma-3-270m), no folder and no .gguf file here",
    "axbench --model ./no/such": "there is no model './no/such'",
    "axbench --model nowhere.gguf": "nowhere.gguf does not exist",
    "axbench --device gpu": "device 'gpu' cannot be used here",
    "axbench --config nowhere.json": "nowhere.json",
    "axbench --root file/runs": "file",
    "directions --layer 40": "has no block 40",
    "directions --out file/d.safetensors": "file: ",
    "layer_sweep --layers 40": "has no block 40",
    "layer_sweep --data citis": "there is no dataset 'citis' (did you mean 'cities'?)",
    "layer_sweep --models smolm2": "there is no model 'smolm2'",
    "erasure --methods leice": "there is no eraser 'leice' (did you mean 'leace'?)",
    "erasure --layer 40": "has no block 40",
    "erasure --vectors nowhere.txt": "nowhere.txt: No such file or directory",
    "erasure --vectors file --concepts cooking": "'cooking' is one of the packaged concepts",
    "linear_hypothesis --pairs nowhere": "'nowhere' is neither `packaged` nor a folder",
    "linear_hypothesis --contexts nowhere": "'nowhere' is neither `packaged` nor a folder",
    "linear_hypothesis --model smolm2": "there is no model 'smolm2'",
    "function_vectors --tasks antonim": "there is no task 'antonim' (did you mean 'antonym'?)",
    "function_vectors --tasks antonym": "antonym is the only task; give two or more",
    "function_vectors --tasks antonym hypernym --exact present-past": "exact names present-past, which is not among",
    "function_vectors --source five": "task 'a' of five: a task of 5 inputs cannot be split; give at least 10",
    "function_vectors --source nowhere": "'nowhere' is neither `packaged` nor a .json file nor a folder",
    "linear_origins --steps 30": "steps is 30; expected a multiple of 20",
    "linear_origins --extra 1 1": "extra (1, 1) name one twice",
    "latent_steering --source nowhere.txt": "nowhere.txt: No such file or directory",
    "latent_steering --source file --sentences 3": "3 sentences of file are needed, there are 1",
    "latent_steering --sentences 1": "sentences is 1; expected numbers at least 2",
    "latent_steering --lengths 8 5000": "lengths are up to 5000 tokens",
    "latent_steering --model smolm2": "there is no model 'smolm2'",
    "behaviours --methods diffmeen/letters": "there is no method 'diffmeen' (did you mean 'diffmean'?)",
    "behaviours --behaviours hegding": "there is no behaviour 'hegding' (did you mean 'hedging'?)",
    "behaviours --source nowhere.json": "'nowhere.json' is neither `packaged` nor a .json or .jsonl file",
    "behaviours --source home.jsonl": "home.jsonl: behaviour 'home' has no pair for validation; give it pairs of",
    "behaviours --layers 40": "has no block 40",
    "behaviours --positions last": "the terms, joined by + and -, are all, prefix, prompt and response",
    "behaviours --device cuda:77": "device 'cuda:77' cannot be used here",
    "sae --text nowhere.txt": "nowhere.txt: No such file or directory",
    "sae --layer 40": "has no block 40",
    "grace --models smolm2": "there is no model 'smolm2'",
    "grace --arms dop": "there is no arm 'dop' (did you mean 'dpo'?)",
    "chat --vector nowhere.safetensors": "nowhere.safetensors: No such file or directory",
    "chat --vector file": "file",
    "chat --model smolm2": "there is no model 'smolm2'",
    "chat --positions last": "the terms, joined by + and -, are all, prefix, prompt and response",
    "serve --vectors nowhere": "there is no folder nowhere to take vectors from",
    "serve --host 0.0.0.0": "put one into the environment variable WORKBENCH_TOKEN",
}
NEED_LIBRARIES = {
    *("axbench --positions last", "axbench --device gpu"),
    *("behaviours --positions last", "behaviours --device cuda:77", "chat --positions last"),
    "chat --vector file",
    *("axbench --root file/runs", "directions --out file/d.safetensors"),
}
"""Those of them that only torch or the stages can tell: a second or ten, where the others take a moment."""


def arguments(mistake: str) -> tuple[str, list[str]]:
    """The experiment or tool, and its flags."""
    name, *flags = mistake.split()
    return name, [*(["--preset", "smoke"] if name in EXPERIMENTS else []), *flags]


def write_files(folder: Path) -> None:
    """What some mistakes name."""
    (folder / "semicolons.csv").write_text(SEMICOLONS)
    (folder / "file").write_text("no folder, and no word vectors")
    (folder / "five").mkdir()
    for name in ("a", "b"):
        (folder / "five" / f"{name}.json").write_text(json.dumps([{"input": str(k), "output": name} for k in range(5)]))
    pair = {"topic": "home", "question": "Q?", "matching": "yes", "other": "no", "letter": "A"}
    (folder / "home.jsonl").write_text(f"{json.dumps(pair)}\n" * 3)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_before_any_model_is_loaded(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    for kind in (AutoModel, AutoModelForCausalLM, AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, **__: pytest.fail("something was loaded"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_TOKEN", raising=False)
    write_files(tmp_path)
    name, flags = arguments(mistake)
    with pytest.raises(SystemExit) as ended:
        (EXPERIMENTS | TOOLS)[name].resolve().main(flags)
    line = str(ended.value.code)
    assert line.startswith("error: ")
    assert MISTAKES[mistake] in line
    assert "\n" not in line
    assert not list(tmp_path.glob("runs/*/wandb"))
    assert mistake in NEED_LIBRARIES or not Path("runs").exists()


ONE_AFTER_THE_OTHER = """
import json, sys
from experiments import EXPERIMENTS, TOOLS

for name, flags in json.load(sys.stdin):
    try:
        (EXPERIMENTS | TOOLS)[name].resolve().main(flags)
    except SystemExit as ended:
        print(ended.code)
    if heavy := {"torch", "transformers", "sklearn", "jax"} & sys.modules.keys():
        sys.exit(f"{name} {flags} took {heavy}")
"""


def test_a_name_that_there_is_not_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    write_files(tmp_path)
    quick = [mistake for mistake in MISTAKES if mistake not in NEED_LIBRARIES]
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER]
    environment = {name: value for name, value in os.environ.items() if name != "WORKBENCH_TOKEN"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    asked = json.dumps([arguments(mistake) for mistake in quick])
    done = subprocess.run(
        command, input=asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for mistake, line in zip(quick, done.stdout.splitlines(), strict=True):
        assert line.startswith("error: ")
        assert MISTAKES[mistake] in line


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As in a terminal: what a shell starts in the background ignores SIGINT."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line_and_afterwards_signals_are_as_before(stop: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ends_in_one_line():
        signal.raise_signal(stop)
    assert ended.value.code == "stopped; the same command goes on from here"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_device_is_one_line_as_full_memory_is() -> None:
    for full in (MemoryError, torch.OutOfMemoryError):
        with pytest.raises(SystemExit) as ended, ends_in_one_line():
            raise full("out of memory.\nTried to allocate 2 GiB")
        assert ended.value.code == "error: out of memory. Tried to allocate 2 GiB"


def test_what_nobody_expects_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), ends_in_one_line():
        raise KeyError("a fault of ours")


SLOW = """
import shutil, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from experiments.experiment import Experiment
from workbench.runs.files import replacing

@dataclass(frozen=True)
class Config:
    "Waits."

def stages(config, run):
    run.unit("one", {}, lambda: 1)
    if sys.argv[2] == "vanish":
        shutil.rmtree(run.folder)
        run.unit("two", {}, lambda: 2)
        return []
    with replacing(run.folder / "half") as scratch:
        scratch.write_text("half")
        print("ready", flush=True)
        time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background passes on that it is ignored
Experiment("slow", Config, {"default": Config()}, stages).main(["--root", sys.argv[1]])
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_notes_it_and_leaves_no_scratch(stop: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path), "wait"]
    at_work = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert at_work.stdout is not None
    assert at_work.stdout.readline() == "ready\n"
    at_work.send_signal(stop)
    said = at_work.communicate(timeout=60)[1]
    assert (at_work.returncode, said.splitlines()) == (1, ["stopped; the same command goes on from here"])
    (folder,) = tmp_path.iterdir()
    assert Run.load(folder).state == "interrupted"
    assert not list(folder.rglob(".scratch-*"))
    assert "KeyboardInterrupt" in (folder / "log.txt").read_text()


def test_a_run_whose_folder_vanishes_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path), "vanish"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "is gone, or was emptied, while its run was at work; the same command begins it anew" in line


@dataclass(frozen=True)
class Settings:
    """None."""


def chatter() -> None:
    """What libraries say: on their own handler, by the warnings module, and through the root logger; and we."""
    library = logging.getLogger("somelibrary")
    library.addHandler(logging.StreamHandler())
    library.propagate = False
    with routed_logs():
        library.warning("their weights")
        warnings.warn("their deprecation", stacklevel=1)
        logging.getLogger("other.part").warning("their advice")
        logging.getLogger("workbench.models").warning("our warning")
    assert not library.propagate
    library.handlers.clear()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("verbose", [False, True])
def test_libraries_speak_in_the_log_and_on_the_terminal_if_asked(
    verbose: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger().handlers[:]

    def stages(config: object, run: Run) -> list[Path]:
        chatter()
        return []

    with hushed(verbose):
        folder = Experiment("loud", Settings, {}, stages).run(Settings(), tmp_path)
    shown, log = capfd.readouterr().err, (folder / "log.txt").read_text()
    for line in ("their weights", "UserWarning: their deprecation", "their advice"):
        assert (line in shown) == verbose
        assert log.count(line) == 1
    assert shown.count("our warning") == log.count("our warning") == 1
    assert logging.getLogger().handlers == handlers
