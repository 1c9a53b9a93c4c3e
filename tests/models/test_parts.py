"""Parts of a state: what is taken and put back is exactly the named numbers, for reading and editing alike."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.tiny import FAMILIES, Family, tiny_model
from workbench.models.edits import Add, Clamp, Edit, Patch, ProjectOut, Replace
from workbench.models.low_rank_edits import LowRankMap
from workbench.models.model import Model
from workbench.models.parts import Latents
from workbench.models.positions import ALL, Layout
from workbench.models.sites import Part, Site, SiteError
from workbench.models.stacking import per_row, stack
from workbench.models.tokens import Row, Tokens

D, SITE = 6, Site(1)
LAYOUT = Layout.of(Tokens((Row((1, 2, 3)), Row((4, 5, 6)), Row((7, 8, 9)))), [0, 1, 2])
H = torch.randn(3, 3, D, generator=torch.Generator().manual_seed(0))


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("blocks.5.attn.hook_z[head 3]", Site(5, "z").head(3)),
        ("blocks.5.attn.hook_z[heads 3,1]", Site(5, "z").head(3, 1)),
        ("blocks.2.hook_resid_post[coordinates 0, 7]", Site(2).coordinate(0, 7)),
    ],
)
def test_a_part_is_written_behind_its_site(name: str, site: Site) -> None:
    assert Site.parse(name) == site
    assert Site.parse(str(site)) == site
    assert site.whole.part is None
    assert site != site.whole
    assert sorted([site, site.whole]) == [site.whole, site]


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_a_part_is_reading_the_place_and_keeping_some_of_it(family: Family) -> None:
    model, z = tiny_model(family), Site(1, "z")
    whole = model.read(["text", "more text"], z).x(z)
    found = model.read(["text", "more text"], [z.head(2, 0), z, SITE.coordinate(5)])
    assert torch.equal(found.x(z.head(2, 0)), whole[:, [*range(16, 24), *range(8)]])  # heads are 8 wide
    assert torch.equal(found.x(z), whole)
    assert torch.equal(found.x(SITE.coordinate(5))[:, 0], model.read(["text", "more text"], SITE).x(SITE)[:, 5])


PARTIAL: dict[str, Edit] = {
    "add": Add(site=SITE.coordinate(4, 1), direction=normal(2), strength=2.0),
    "project out": ProjectOut(site=SITE.coordinate(4, 1), direction=normal(2)),
    "clamp": Clamp(site=SITE.coordinate(4, 1), direction=normal(2), target=3.0, strength=0.5),
    "replace": Replace(site=SITE.coordinate(4, 1), value=normal(2)),
    "patch": Patch(site=SITE.coordinate(4, 1), values=normal(3, 2, 2)),
}


@pytest.mark.parametrize("name", PARTIAL)
def test_an_edit_of_a_part_is_the_edit_of_a_smaller_state_and_leaves_the_rest(name: str) -> None:
    edit = PARTIAL[name]
    assert (edit.site, edit.part) == (SITE, Part("coordinate", (4, 1)))
    small = type(edit)(**{key: value for key, value in vars(edit).items() if key != "part"})
    found = edit.apply(H, LAYOUT)
    assert torch.equal(found[..., [4, 1]], small.apply(H[..., [4, 1]], LAYOUT))
    assert torch.equal(found[..., [0, 2, 3, 5]], H[..., [0, 2, 3, 5]])


def test_rows_of_one_edit_may_have_parts_of_their_own() -> None:
    rows = [Add(site=SITE.coordinate(k), direction=torch.ones(1), strength=k + 1.0) for k in range(3)]
    edit = stack(rows)
    expected = torch.zeros(3, 3, D)
    for row in range(3):
        expected[row, :, row] = row + 1
    torch.testing.assert_close(edit.apply(H, LAYOUT) - H, expected, atol=1e-6, rtol=0)
    assert len(per_row([[rows[0]], [], [rows[2]]])) == 1
    mixed = per_row([[rows[0]], [Add(site=SITE.coordinate(0, 1), direction=torch.ones(2))], []])
    assert len(mixed) == 2  # parts of two sizes are two edits


def test_latents_change_the_state_by_their_decoder_and_keep_what_they_do_not_explain() -> None:
    latents = Latents(normal(2, D), normal(2, D, seed=2), normal(2, seed=3))
    codes = (H @ latents.encoder.T + latents.bias).relu()
    clamped = Replace(site=SITE, part=latents, value=torch.tensor([5.0, 0.0])).apply(H, LAYOUT)
    expected = H + (torch.tensor([5.0, 0.0]) - codes) @ latents.decoder
    torch.testing.assert_close(clamped, expected)
    torch.testing.assert_close(Add(site=SITE, part=latents, direction=torch.zeros(2)).apply(H, LAYOUT), H)
    other = Latents(normal(2, D, seed=7), normal(2, D, seed=8), torch.zeros(2))
    both = stack([Replace(site=SITE, part=one, value=normal(2)) for one in (latents, other, latents)])
    alone = [Replace(site=SITE, part=one, value=normal(2)).apply(H, LAYOUT) for one in (latents, other, latents)]
    torch.testing.assert_close(both.apply(H, LAYOUT), torch.stack([alone[row][row] for row in range(3)]))
    first = LAYOUT.select(torch.tensor([0]))
    mine = Replace(site=SITE, part=other, value=normal(2)).apply(H[:1], first)
    torch.testing.assert_close(both.select([1]).apply(H[:1], first), mine)


def test_heads_of_a_model_are_edited_where_they_lie(llama: Model) -> None:
    z, value = Site(1, "z"), normal(8)
    edit = Replace(site=z.head(2), value=value)
    with llama.edited(edit):
        found = llama.read(["text"], [z, SITE], positions=ALL)
    plain = llama.read(["text"], z, positions=ALL).x(z)
    plain[:, 16:24] = value
    torch.testing.assert_close(found.x(z), plain, atol=1e-6, rtol=0)
    with llama.edited(Patch(site=z, values=plain[None])):
        torch.testing.assert_close(llama.read(["text"], SITE, positions=ALL).x(SITE), found.x(SITE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Part("head", ()), "distinct heads"),
        (lambda: Part("coordinate", (1, 1)), "distinct coordinates"),
        (lambda: Site.parse("blocks.1.hook_z[latent 3]"), "names no site"),
        (lambda: Add(site=SITE.coordinate(9), direction=torch.ones(1)).apply(H, LAYOUT), "ends at coordinate 9"),
        (lambda: Add(site=SITE.coordinate(1), direction=torch.ones(2)).apply(H, LAYOUT), "has width 2"),
        (lambda: Add(site=Site(1, "z").head(0), direction=torch.ones(2)).apply(H, LAYOUT), "heads lie side by side"),
        (
            lambda: Add(site=SITE.coordinate(1), part=Part("coordinate", (1,)), direction=torch.ones(1)),
            "give it there or as `part`, not both",
        ),
        (lambda: LowRankMap(site=SITE.coordinate(1), down=torch.ones(1, 1), up=torch.ones(1, 1)), "takes no part"),
    ],
)
def test_parts_that_cannot_be_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_head_that_the_model_does_not_have_is_refused(llama: Model) -> None:
    with pytest.raises(SiteError, match=r"\[head 4\] ends at coordinate 39, but the state there has 32"):
        llama.read(["text"], Site(1, "z").head(4))
    for site in (SITE.head(0), Site(1, "mlp_out").head(0)):
        edit = Add(site=site, direction=torch.ones(8))
        with pytest.raises(SiteError, match="and in no other state"), llama.edited(edit):
            llama.read(["text"], SITE)
        with pytest.raises(SiteError, match="and in no other state"):
            llama.read(["text"], site)


def test_keys_and_values_have_heads_of_their_own(llama: Model) -> None:
    """Four heads of queries and two of keys, all 8 wide."""
    for stream, width in (("q", 32), ("k", 16), ("v", 16)):
        site = Site(1, stream)
        whole = llama.read(["text"], site).x(site)
        assert whole.shape[1] == width
        assert torch.equal(llama.read(["text"], site.head(1)).x(site.head(1)), whole[:, 8:16])
