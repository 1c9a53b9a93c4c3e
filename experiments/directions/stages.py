"""The stages of the experiment, from top to bottom."""

from pathlib import Path
from tempfile import TemporaryFile

from experiments.directions.config import METHODS, Config
from experiments.directions.fit import fit_dictionary
from experiments.directions.source import choose_source
from experiments.options import note_model
from workbench.runs.run import Run


def stages(config: Config, run: Run, out: Path | None) -> list[Path]:
    """Fit the directions, and save them as one dictionary."""
    source, method = choose_source(config.concepts, config.limit), METHODS[config.method].make()
    if out is not None:  # hours of fitting must not end at a folder that cannot be written to
        out.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out.parent).close()
    model = config.load_model()
    note_model(run, model)
    dictionary = fit_dictionary(run, model, source, method, config.site(model), config.block)
    paths = [run.artifacts / "dictionary.safetensors", *([] if out is None else [out])]
    return [dictionary.save(path) for path in paths]
