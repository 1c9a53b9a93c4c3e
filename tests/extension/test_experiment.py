"""Guest 8, an experiment in 40 lines: config, read, fit, table, figure, resume, W&B and `--help`, on a tiny model."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import workbench as wb
from experiments import ConceptOptions, Experiment
from steering import DiffMean
from tests.experiments.small import write_concepts
from tests.tiny import tiny_folder


@dataclass(frozen=True)
class Config(ConceptOptions):
    """At which layer does the difference in means tell a concept best?"""

    layers: tuple[int, ...] = (0, 1)


def stages(config: Config, run: wb.Run) -> list[Path]:
    model, concepts, name = config.load_model(), config.load_concepts(), "sea"

    def area(layer: int) -> float:
        states = wb.States.read(concepts, model, wb.Site(layer))
        vector, test = DiffMean().fit(states[name]), states.samples(name, "evaluation")
        return float(wb.auroc(vector.detect(test.x).numpy(), test.y.numpy()))

    inputs = {**model.identity, **DiffMean().identity, "items": concepts.digest}
    areas = {layer: run.unit(f"layer{layer}", inputs, lambda k=layer: area(k)) for layer in config.layers}
    run.record(
        wb.Row(experiment="layers", method="diffmean", metric="auroc", value=v, layer=k) for k, v in areas.items()
    )
    lines = (wb.Line(name, tuple(map(wb.Point, areas, areas.values()))),)
    rows = tuple((f"Layer {layer}", (value,)) for layer, value in areas.items())
    table = wb.Table(name="areas", title="AUROC", caption="", corner="", columns=wb.headings([name]), rows=rows)
    chart = wb.LineChart(name="curve", title="AUROC", caption="", x="Layer", y="AUROC", lines=lines)
    sections = (wb.Section(title="Layers", blocks=(table, chart)),)
    return [wb.write_report(run.folder, wb.Document(title="Layers", lead="", command="", facts=(), sections=sections))]


def test_an_experiment_runs_goes_on_and_explains_itself(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    write_concepts(tmp_path, "sea")
    experiment = Experiment("layers", Config, {"default": Config()}, stages, tracked=True)
    flags = f"--model {tiny_folder(tmp_path)} --concepts {tmp_path}/concepts.jsonl --root {tmp_path}/runs".split()
    for _ in range(2):  # the second time nothing is done
        experiment.main(flags)
        assert "AUROC" in Path(capsys.readouterr().out.split()[-2]).read_text()
        monkeypatch.setattr(wb.States, "read", lambda *_: pytest.fail("the model was read again"))
    assert list(tmp_path.glob("runs/*/wandb/offline-run-*/*.wandb"))
    with pytest.raises(SystemExit):
        experiment.main(["--help"])
    assert "Example: python -m experiments.layers --preset" in capsys.readouterr().out
