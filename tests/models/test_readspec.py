from itertools import permutations
from typing import Any

import pytest
import torch

from workbench.models.positions import ALL, CONTENT, Layout, Positions
from workbench.models.readspec import ReadSpec, union
from workbench.models.sites import Site
from workbench.models.tokens import Row, Tokens

LAST = Positions("prompt[-1]")
LAYOUT = Layout.of(Tokens((Row(tuple(range(10, 19)), 2, 5), Row((3, 4, 5, 6), 1, 2))), [0, 1])


def test_sites_and_positions_may_be_written() -> None:
    spec = ReadSpec.at("blocks.1.hook_resid_post", "blocks.0.attn.hook_z", positions="prompt[-1]", pool="mean")
    assert spec == ReadSpec((Site(1), Site(0, "z")), LAST, "mean")
    assert len({spec, ReadSpec.at(Site(1))}) == 2
    assert ReadSpec.at(Site(1)).positions == CONTENT


def test_a_spec_can_be_read_aloud() -> None:
    assert (
        str(ReadSpec.at(Site(1), Site(2))) == "blocks.1.hook_resid_post, blocks.2.hook_resid_post at all-prefix-at(0)"
    )
    assert str(ReadSpec.at(Site(0), positions=LAST, pool="max")).endswith("at prompt[-1], max of each row")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ReadSpec(()), "at least one"),
        (lambda: ReadSpec.at(Site(1), "blocks.1.hook_resid_post"), "distinct sites"),
        (lambda: ReadSpec.at("block 1"), "names no site"),
        (lambda: ReadSpec.at(Site(1), positions="nowhere"), "cannot read positions"),
        (lambda: union([]), "no union of no ReadSpecs"),
    ],
)
def test_what_is_no_spec_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_union_keeps_what_all_agree_on() -> None:
    one, two = ReadSpec((Site(3), Site(1)), LAST, "mean"), ReadSpec((Site(1), Site(2)), LAST, "mean")
    assert union([one, two]) == ReadSpec((Site(3), Site(1), Site(2)), LAST, "mean")
    assert union([one]) == one
    assert union([one, ReadSpec((Site(1),), LAST)]) == ReadSpec((Site(3), Site(1)), LAST)


WRITTEN = ["all-prefix", "prefix", "response[1:]", "prompt-tokens(13)", "at(0)"]


@pytest.mark.parametrize("texts", list(permutations(WRITTEN, 3)))
def test_a_union_has_every_token_of_its_parts(texts: tuple[str, ...]) -> None:
    parts = [ReadSpec.at(Site(0), positions=text) for text in texts]
    mask = union(parts).positions.mask(LAYOUT)
    expected = torch.stack([spec.positions.mask(LAYOUT) for spec in parts]).any(0)
    assert not bool((expected & ~mask).any())
    if len({"all-prefix", "prompt-tokens(13)"} & {*texts}) < 2:
        assert torch.equal(mask, expected)


def test_all_is_the_union_of_all_and_anything() -> None:
    assert union([ReadSpec.at(Site(0), positions=LAST), ReadSpec.at(Site(0), positions=ALL)]).positions == ALL


def test_reading_a_spec_is_reading_its_parts(llama: Any) -> None:
    texts = ["a b c", "defg"]
    spec = ReadSpec.at(Site(0), Site(2), positions="all[1:]", pool="mean")
    found, expected = llama.read(texts, spec), llama.read(texts, spec.sites, positions="all[1:]", pool="mean")
    assert all(torch.equal(found.arrays[site], expected.arrays[site]) for site in spec.sites)
    for options in ({"positions": "all"}, {"pool": "mean"}):
        with pytest.raises(ValueError, match="part of the ReadSpec"):
            llama.read(texts, spec, **options)
