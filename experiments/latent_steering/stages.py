"""The stages of the experiment, from top to bottom."""

from pathlib import Path

from experiments.latent_steering.capacity import cut_texts, fill_sites
from experiments.latent_steering.config import Config
from experiments.latent_steering.report import build_report
from experiments.latent_steering.results import SentenceResults
from experiments.latent_steering.sites import decode_sites
from experiments.latent_steering.space import change_sentiment, compare_similarity, mix
from experiments.latent_steering.study import SentenceStudy
from workbench.evaluation.judges.encoder import SentenceEncoder
from workbench.report.render import write_report
from workbench.runs.run import Run


def stages(config: Config, run: Run) -> list[Path]:
    """Write sentences from every site, look at their vectors, then fill the sites with longer texts."""
    study = SentenceStudy.of(config, run)
    cut = cut_texts(study) if config.capacity else []
    decoded = decode_sites(study)
    mixtures = mix(study)
    encoder = SentenceEncoder.load()
    sentiment, similarity = change_sentiment(study, encoder), compare_similarity(study, encoder)
    results = SentenceResults(study, decoded, mixtures, sentiment, similarity, fill_sites(study, cut))
    run.record(results.rows())
    run.settle()
    write_report(run.folder, build_report(results))
    return [run.report]
