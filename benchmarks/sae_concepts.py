"""What the shipped dictionary's latents are worth on concepts, first letters and facts, beside what learnt nothing.

    python -m benchmarks.sae_concepts runs

The stages of `python -m experiments.sae` on a dictionary that is there; the sources of the running Python fit the
principal components. Prints the rows, which docs/dictionaries.md shows. Five minutes of one slow core.
"""

import sys
from pathlib import Path

from experiments.sae.config import Config
from experiments.sae.exchanging import exchange_facts
from experiments.sae.fitting import FittedDictionary, fit_baselines
from experiments.sae.material import load_concepts, load_sources
from experiments.sae.probing import probe_all
from experiments.sae.results import DictionaryResults
from experiments.sae.spelling import spelled_words, tell_first_letters
from workbench.exchange.dictionaries import load_dictionary
from workbench.runs.run import Run


def main(root: Path) -> None:
    """Measure and print."""
    config = Config(passages=110, held_out=1)
    with Run.open("sae_concepts", config, root) as run:
        (source,) = load_sources(config, run)
        shipped = FittedDictionary(source, "topk", 32, 0, load_dictionary(config.model))
        fits = [shipped, *fit_baselines([shipped])]
        words = spelled_words(source.model, config.spelled)
        found = DictionaryResults(
            config, run, [source], [], *probe_all(fits, [source], load_concepts(config)),
            tell_first_letters(fits, words), exchange_facts(fits), [],
        )  # fmt: skip
        for row in found.rows():
            print(f"{row.method:40} {row.metric:28} {row.value} [{row.low}, {row.high}] n = {row.n}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
