"""Guest 7, other targets: five classes, a number, a label a token; probes, metrics and intervals take them, and a new
metric of one's own gets the same interval.
"""

from pathlib import Path

import numpy as np

import workbench as wb
from probes import TargetProbe
from tests.tiny import tiny_model

VOWEL = wb.Target("vowel", "the vowel of the text", kind="class", classes=tuple("aeiou"))
DIGITS = wb.Target("digits", "how many digits there are", kind="number")
MARK = wb.Target("mark", "what a character is", kind="token", classes=("consonant", "vowel", "digit"))
N, LENGTH = 240, 16


def written() -> wb.Dataset:
    """Texts of consonants, one of five vowels, and some digits, a third of the texts in each split."""
    rng = np.random.default_rng(0)
    vowel, digits = rng.integers(0, 5, N), rng.integers(0, 9, N)
    marks = np.empty(N, dtype=object)
    items = []
    for k in range(N):
        kinds = rng.permutation([2] * digits[k] + [1] * 4 + [0] * (LENGTH - 4 - digits[k]))
        letters = {0: "bcdfgh", 1: VOWEL.classes[vowel[k]], 2: "0123456789"}
        text = "".join(rng.choice(list(letters[kind])) for kind in kinds)
        items.append(wb.Item.exchange("Write.", text))
        marks[k] = kinds
    columns = (vowel, digits.astype(float), marks)
    return wb.Dataset(
        "written",
        tuple(items),
        (VOWEL, DIGITS, MARK),
        columns,
        np.array(["train", "validation", "evaluation"])[np.arange(N) * 3 // N],
    )


def test_classes_numbers_and_labels_of_tokens_are_probed_and_judged(tmp_path: Path) -> None:
    tokens = wb.States.read(written(), tiny_model(), wb.ReadSpec.at(wb.Site(0), positions="response"))
    texts = tokens.at(wb.ReadSpec.at(wb.Site(0), positions="response", pool="mean"))
    found = {}
    for states, target in ((texts, "vowel"), (texts, "digits"), (tokens, "mark")):
        readout = TargetProbe().fit(states, target)
        assert wb.LinearReadout.load(readout.save(tmp_path / target)).digest == readout.digest
        test, train = states.samples(target, "evaluation"), states.samples(target, "train")
        mean = float(train.y.double().mean()) if target == "digits" else None
        found[target] = wb.evaluate(test, readout.scores(test.x), train_mean=mean)
        assert all(interval.n == N // 3 for interval in found[target].values())  # texts are drawn, not tokens
        right = (readout.predict(test.x) - test.y).abs().numpy() < 0.5  # a metric of one's own
        [own] = wb.bootstrap_clusters(test.group.numpy(), wb.weighted_mean(right.astype(float)), bounds=(0.0, 1.0))
        assert target == "digits" or own == found[target]["accuracy"]
    assert found["vowel"]["balanced_accuracy"].low > 0.8
    assert found["digits"]["r2"].low > 0.7
    assert found["mark"]["balanced_accuracy"].low > 0.9
    assert all(name in ("accuracy", "balanced_accuracy", "log_loss") for name in found["mark"])
