"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.sae.agreeing import measure_agreement
from experiments.sae.browsing import write_page
from experiments.sae.config import Config
from experiments.sae.exchanging import exchange_facts
from experiments.sae.fitting import fit_baselines, fit_dictionaries
from experiments.sae.material import load_concepts, load_sources
from experiments.sae.measure import measure_quality
from experiments.sae.probing import probe_all
from experiments.sae.report import build_report
from experiments.sae.results import DictionaryResults
from experiments.sae.spelling import spelled_words, tell_first_letters
from workbench.report.render import write_report
from workbench.runs.run import Run
from workbench.runs.tracking import Tracker


def stages(config: Config, run: Run) -> list[Path]:
    """Train, measure beside baselines, and make the page of all latents.

    Raises DataError for too little text and a vocabulary of too few words, and ValueError for a training that diverges.
    """
    sources = load_sources(config, run)
    words = spelled_words(sources[0].model, config.spelled)
    with Tracker.start(run) as tracker:
        trained = [fit for source in sources for fit in fit_dictionaries(source, tracker)]
        fits = [*trained, *fit_baselines(trained)]
        quality = measure_quality(fits)
        probing, perturbing, removing = probe_all(fits, sources, load_concepts(config))
        spelling = tell_first_letters(fits, words)
        exchanging = exchange_facts(fits) if config.facts else []
        page = write_page(trained[0])
        agreement = measure_agreement(fits)
        results = DictionaryResults(
            config, run, sources, quality, probing, perturbing, removing, spelling, exchanging, agreement
        )
        for fit in trained:
            fit.dictionary.save(run.artifacts / fit.file_name)
        run.record(results.rows())
        run.settle()
        write_report(run.folder, build_report(results))
        tracker.log_metrics(run.rows())
        for path in (run.report, page):
            tracker.log_report(path)
    return [run.report, page]
