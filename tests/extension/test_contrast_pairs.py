"""Guest 1, contrast pairs: a difference of means over a pair relation, read at one position, with "(A)" and "(B)" as
answers in every split. A method of ten lines finds the pairs in its data; steering with its direction flips answers.
"""

from typing import ClassVar

import numpy as np
import torch

import workbench as wb
from steering import DiffMean
from tests.tiny import tiny_module, tiny_tokenizer

SITE, N = wb.Site(2), 40  # the last layer, and 40 pairs


class PairedMean(wb.AdditiveMethod):
    """The mean over pairs of positive minus negative."""

    label: ClassVar[str] = "Paired mean"
    source: ClassVar[str] = "arXiv:2312.06681"

    def reads(self, site: wb.Site) -> wb.ReadSpec:
        return wb.ReadSpec.at(site, positions="response[-1]")

    def fit(self, data: wb.Labelled) -> wb.Vector:
        sides = data.related("pair")
        return self.vector(data, (sides["positive"] - sides["negative"]).mean(0))


def test_the_direction_of_contrast_pairs_is_found_and_flips_the_answer() -> None:
    truth, nuisance = torch.linalg.qr(torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))[0].T
    module, tokenizer = tiny_module("llama"), tiny_tokenizer()
    answers = tokenizer("AB", add_special_tokens=False)["input_ids"]
    module.lm_head.weight.data[answers] = torch.stack([9 * truth, -9 * truth])  # planted: truth says A, else B
    model = wb.load(module, tokenizer)
    asked = [f"Question {k}: is it {('sea', 'land', 'sky')[k % 3]}? (A) or (B)?" for k in range(N)]
    items = tuple(wb.Item.exchange(asked[k], f"({letter})") for k in range(N) for letter in ("AB", "BA")[k % 2])
    items += tuple(wb.Item.exchange(f"Question {k} without a pair", "(A)") for k in range(N))
    label = np.array([1, 0] * N + [1] * N, dtype=np.int8)  # the positive comes first in each pair
    split = np.array((["train"] * 40 + ["validation"] * 20 + ["evaluation"] * 20) + ["train"] * N)
    pairs = wb.Relation("pair", ("positive", "negative"), np.arange(2 * N).reshape(N, 2))
    data = wb.Dataset("choices", items, (wb.Target("yes", "says yes"),), (label,), split, relations=(pairs,))
    # Planted states: the label moves a state along truth, and texts without a pair lie elsewhere along a nuisance.
    moved = torch.from_numpy(label)[:, None] * 8 * truth + (torch.arange(3 * N) >= 2 * N)[:, None] * 30 * nuisance
    with model.edited(wb.Add(site=SITE, direction=moved)):
        states = wb.States.read(data, model, PairedMean().reads(SITE))
    vector = PairedMean().fit(states["yes"])
    assert float(vector.direction @ truth) > 0.95
    assert float(DiffMean().fit(states["yes"]).direction @ truth) < 0.6  # without the pairs the nuisance wins
    for strength, answer in ((3.0, "A"), (-3.0, "B")):
        assert {one.text[0] for one in model.generate(asked[:6], edits=PairedMean().edit(vector, strength))} == {answer}
