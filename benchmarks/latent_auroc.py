"""AUROC of every latent of a dictionary: all at once against a loop of scikit-learn's roc_auc_score, as SAE-A needs it.

144 texts, 4608 latents, codes of which nine tenths are 0, so that most ranks are shared. Both give the same areas.

python -m benchmarks.latent_auroc --cpu
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.timing import arguments, race, table
from workbench.evaluation.metrics import auroc


def main() -> None:
    chosen = arguments(__doc__ or "")
    n_texts, n_latents = (24, 64) if chosen.smoke else (144, 4608)
    generator = np.random.default_rng(0)
    codes = generator.exponential(size=(n_texts, n_latents)).astype(np.float32)
    codes *= generator.random(codes.shape) < 0.1
    labels = np.arange(n_texts) % 2 == 0

    def loop() -> np.ndarray:
        return np.array([roc_auc_score(labels, column) for column in codes.T])

    np.testing.assert_allclose(auroc(codes, labels), loop(), atol=1e-12)
    contestants = {"all latents at once": lambda: auroc(codes, labels), "scikit-learn, one by one": loop}
    times = race(contestants, chosen.rounds, cpu=chosen.cpu)
    table(f"AUROC of {n_latents} latents over {n_texts} texts", times, n_latents, "latents", "all latents at once")


if __name__ == "__main__":
    main()
