"""Guest 2, heads: each head of each layer is replaced by a given mean, a row a head, in one pass of one token."""

import pytest
import torch

import workbench as wb
from tests.tiny import FAMILIES, Family, blocks_of, tiny_model

LAST = wb.Positions("prompt[-1]")


@pytest.mark.parametrize("family", FAMILIES)
def test_each_head_is_replaced_in_a_row_of_its_own(family: Family) -> None:
    model, n_heads = tiny_model(family), 4
    sites = [wb.Site(layer, "z").head(head) for layer in range(model.n_layers) for head in range(n_heads)]
    prompt = model.tokenize(["big small, hot"])
    mean = {site: model.read(["up down", "in out"], site, pool="last").x(site).mean(0) for site in sites}
    edits = wb.per_row([[wb.Replace(site=site, value=mean[site], positions=LAST)] for site in sites])
    assert len(edits) == model.n_layers  # the heads of a layer are rows of one edit
    rows, widths = model.tokenize(["big small, hot"] * len(sites)), []
    handle = blocks_of(model)[0].register_forward_pre_hook(lambda _, args: widths.append(args[0].shape[:2]))
    with model.edited(edits):
        together = model.next_logits(rows)
    handle.remove()
    assert widths == [(1, len(prompt.rows[0].ids) - 1), (len(sites), 1)]  # the prompt once, then one token a head
    for row, site in enumerate(sites):
        with model.edited(wb.Replace(site=site, value=mean[site], positions=LAST)):
            alone = model.logits(prompt)[0][-1]
        torch.testing.assert_close(together[row], alone.float(), atol=1e-5, rtol=1e-5)
    assert len({tuple(one.tolist()) for one in together}) == len(sites)
