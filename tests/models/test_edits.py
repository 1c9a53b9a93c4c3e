from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.models.edits import Add, Bound, Clamp, Edit, Patch, ProjectOut, Replace
from workbench.models.low_rank_edits import LowRank
from workbench.models.positions import Layout, Positions
from workbench.models.sites import Site
from workbench.models.stacking import per_row, stack
from workbench.models.tokens import Row, Tokens

D, LENGTHS = 6, (4, 2, 3)
SITE = Site(1)
TOKENS = Tokens(tuple(Row(tuple(range(10, 10 + length)), 1, 2) for length in LENGTHS))
LAYOUT = Layout.of(TOKENS, [0, 1, 2])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


H = normal(3, 4, D, seed=9)
ROTATION = torch.linalg.qr(normal(D, 2, seed=8))[0].T.contiguous()

SHARED: dict[str, Callable[[], Edit]] = {
    "add": lambda: Add(site=SITE, direction=normal(D)),
    "project": lambda: ProjectOut(site=SITE, direction=normal(D)),
    "clamp": lambda: Clamp(site=SITE, direction=normal(D), target=3.0),
    "clamp at least": lambda: Clamp(site=SITE, direction=normal(D), target=0.2, bound="at_least"),
    "clamp at most": lambda: Clamp(site=SITE, direction=normal(D), target=0.2, bound="at_most"),
    "replace": lambda: Replace(site=SITE, value=normal(D)),
    "low rank": lambda: LowRank(site=SITE, rotation=ROTATION, weight=normal(2, D), bias=normal(2)),
    "part": lambda: Add(site=SITE.coordinate(4, 1), direction=normal(2)),
}
BY_ROW: dict[str, Callable[[], Edit]] = {
    "add": lambda: Add(site=SITE, direction=normal(3, D)),
    "project": lambda: ProjectOut(site=SITE, direction=normal(3, D)),
    "clamp": lambda: Clamp(site=SITE, direction=normal(3, D), target=torch.tensor([3.0, -1.0, 0.0])),
    "replace": lambda: Replace(site=SITE, value=normal(3, D)),
    "patch": lambda: Patch(site=SITE, values=normal(3, 4, D)),
    "low rank": lambda: LowRank(site=SITE, rotation=ROTATION, weight=normal(3, 2, D), bias=normal(3, 2)),
}
KINDS = [pytest.param(build, id=f"{name} {how}") for how, kinds in (("shared", SHARED), ("by row", BY_ROW))
         for name, build in kinds.items()]  # fmt: skip


def tensors(edit: Edit) -> dict[str, Tensor]:
    return {item.name: value for item in fields(edit) if isinstance(value := getattr(edit, item.name), Tensor)}


def test_add_adds_strength_times_direction() -> None:
    moved = Add(site=SITE, direction=normal(D), strength=-2.0).apply(H, LAYOUT)
    torch.testing.assert_close(moved[LAYOUT.mask], H[LAYOUT.mask] - 2 * normal(D))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_project_out_leaves_nothing_along_the_direction(scale: float) -> None:
    direction = normal(D)
    moved = ProjectOut(site=SITE, direction=scale * direction).apply(H, LAYOUT)[LAYOUT.mask]
    assert (moved @ direction).abs().max() < 1e-5
    lost = H[LAYOUT.mask] - moved  # all of it along the direction
    torch.testing.assert_close(lost @ direction[:, None] * direction / direction.square().sum(), lost)


@pytest.mark.parametrize("target", [3.0, 0.0, torch.tensor([3.0, -1.0, 0.5])])
def test_clamp_reaches_its_target_and_moves_nothing_else(target: float | Tensor) -> None:
    direction = normal(D)
    unit = direction / direction.norm()
    moved = Clamp(site=SITE, direction=direction, target=target).apply(H, LAYOUT)
    wanted = torch.as_tensor(target).expand(3)[:, None].expand(3, 4)
    torch.testing.assert_close((moved @ unit)[LAYOUT.mask], wanted[LAYOUT.mask])
    torch.testing.assert_close(moved - (moved @ unit)[..., None] * unit, H - (H @ unit)[..., None] * unit)


@pytest.mark.parametrize(("bound", "limit"), [("at_least", {"min": 0.2}), ("at_most", {"max": 0.2})])
def test_caps_and_floors_leave_what_keeps_to_them(bound: Bound, limit: dict[str, float]) -> None:
    unit = torch.eye(D)[0]
    moved = Clamp(site=SITE, direction=5 * unit, target=0.2, bound=bound).apply(H, LAYOUT)
    torch.testing.assert_close((moved @ unit)[LAYOUT.mask], (H @ unit).clamp(**limit)[LAYOUT.mask])
    kept = (moved == H).all(-1) & LAYOUT.mask
    assert 0 < kept.sum() < LAYOUT.mask.sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_edit_that_keeps_the_norm_turns_the_state(dtype: torch.dtype) -> None:
    h, direction = H.to(dtype), normal(D)
    moved = Add(site=SITE, direction=direction, strength=3.0, keep_norm=True).apply(h, LAYOUT)
    plain = (H.to(dtype) + (3 * direction).to(dtype)).float()
    expected = plain * (h.float().norm(dim=-1, keepdim=True) / plain.norm(dim=-1, keepdim=True))
    assert moved.dtype == dtype
    torch.testing.assert_close(moved.float()[LAYOUT.mask], expected[LAYOUT.mask], atol=1e-6, rtol=2**-7)
    zero = torch.zeros_like(h)
    assert torch.equal(ProjectOut(site=SITE, direction=direction, keep_norm=True).apply(zero, LAYOUT), zero)


def test_where_nothing_is_left_no_norm_is_kept() -> None:
    """A state that lies along what is taken out, however long it is."""
    h = torch.zeros_like(H)
    h[..., 0] = 1000.0
    alone = SITE.coordinate(0)
    for edit in (
        ProjectOut(site=SITE, direction=torch.eye(D)[0], keep_norm=True),
        ProjectOut(site=alone, direction=torch.ones(1), keep_norm=True),
        Replace(site=SITE, value=torch.zeros(D), keep_norm=True),
        Add(site=SITE, direction=-1000 * torch.eye(D)[0], keep_norm=True),
    ):
        assert torch.equal(edit.apply(h, LAYOUT)[LAYOUT.mask], torch.zeros_like(h)[LAYOUT.mask])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_replace_and_patch_are_exact(dtype: torch.dtype) -> None:
    h, values = (1e3 * H).to(dtype), normal(3, 4, D)
    replaced = Replace(site=SITE, value=values[:, 0]).apply(h, LAYOUT)
    assert torch.equal(replaced[LAYOUT.mask], values[:, :1].expand(3, 4, D).to(dtype)[LAYOUT.mask])
    patched = Patch(site=SITE, values=values).apply(h, LAYOUT)
    assert torch.equal(patched[LAYOUT.mask], values.to(dtype)[LAYOUT.mask])


def test_patch_leaves_positions_for_which_nothing_was_recorded() -> None:
    patched = Patch(site=SITE, values=normal(3, 2, D)).apply(H, LAYOUT)
    assert torch.equal(patched[:, 2:], H[:, 2:])
    assert not torch.isclose(patched[:, :2], H[:, :2]).all(-1).any()


def test_patch_goes_by_absolute_position_and_not_by_column() -> None:
    values, left = normal(3, 4, D), Layout.of(TOKENS, [2, 1, 0], "left")
    patched = Patch(site=SITE, values=values).apply(H, left)
    assert torch.equal(patched[1, 2:], values[1, :2])  # two tokens behind two of padding
    assert torch.equal(patched[1, :2], H[1, :2])


def test_low_rank_with_w_equal_to_r_and_no_bias_is_the_identity() -> None:
    edit = LowRank(site=SITE, rotation=ROTATION, weight=ROTATION.clone(), bias=torch.zeros(2))
    assert torch.equal(edit.apply(H, LAYOUT), H)


def test_low_rank_is_equation_2_of_loreft() -> None:
    weight, bias = normal(2, D, seed=1), normal(2, seed=2)
    moved = LowRank(site=SITE, rotation=ROTATION, weight=weight, bias=bias).apply(H, LAYOUT)
    h = H[2, 1]
    torch.testing.assert_close(moved[2, 1], h + ROTATION.T @ (weight @ h + bias - ROTATION @ h))


@pytest.mark.parametrize("build", KINDS)
def test_rows_at_strength_0_are_bit_equal_and_half_strength_goes_half_the_way(build: Callable[[], Edit]) -> None:
    mixed = replace(build(), strength=torch.tensor([0.0, 1.0, 0.5])).apply(H, LAYOUT)
    whole = build().apply(H, LAYOUT)
    assert torch.equal(mixed[0], H[0])
    assert torch.equal(mixed[1], whole[1])
    torch.testing.assert_close(mixed[2], (H[2] + whole[2]) / 2)
    assert not torch.equal(whole[0], H[0])
    assert torch.equal(replace(build(), strength=0.0).apply(H, LAYOUT), H)


@pytest.mark.parametrize("build", KINDS)
def test_only_the_chosen_positions_move(build: Callable[[], Edit]) -> None:
    moved = replace(build(), positions=Positions("response[0]")).apply(H, LAYOUT)
    touched = (moved != H).any(-1)
    allowed = torch.zeros(3, 4, dtype=torch.bool)
    allowed[0, 2] = allowed[2, 2] = True  # row 1 has no response
    assert torch.equal(touched & ~allowed, torch.zeros(3, 4, dtype=torch.bool))
    assert touched.any()


@pytest.mark.parametrize("vector_dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("build", KINDS)
def test_the_state_keeps_its_dtype_and_nothing_given_is_changed(
    build: Callable[[], Edit], dtype: torch.dtype, vector_dtype: torch.dtype
) -> None:
    edit = build()
    edit = replace(edit, **{name: value.to(vector_dtype) for name, value in tensors(edit).items()})  # type: ignore[arg-type]
    h, given = H.to(dtype), {name: value.clone() for name, value in tensors(edit).items()}
    before = h.clone()
    moved = edit.apply(h, LAYOUT)
    assert moved.dtype == dtype
    assert moved.shape == h.shape
    assert torch.equal(h, before)
    assert all(torch.equal(value, given[name]) for name, value in tensors(edit).items())
    reference = build().apply(h.float(), LAYOUT)
    torch.testing.assert_close(moved.float(), reference, atol=0.05, rtol=0.02)  # bfloat16 keeps 8 bits


@pytest.mark.parametrize("build", KINDS)
def test_rows_of_one_batch_equal_one_by_one(build: Callable[[], Edit]) -> None:
    spots = tuple(Positions(text) for text in ("all", "prompt[-1]", "all-prefix"))
    together = replace(build(), strength=torch.tensor([1.0, -2.0, 0.5]), positions=spots)
    moved = together.apply(H, LAYOUT)
    for row in range(3):
        layout = Layout.of(TOKENS, [row])
        alone = together.apply(H[row : row + 1, : LENGTHS[row]], layout)  # the layout says which row this is
        torch.testing.assert_close(alone[0], moved[row, : LENGTHS[row]])


@pytest.mark.parametrize("name", SHARED)
def test_a_stack_equals_its_parts(name: str) -> None:
    spots = [Positions("all"), Positions("prompt"), Positions("response")]
    parts = [replace(SHARED[name](), strength=0.5 + row, positions=spots[row]) for row in range(3)]
    one = stack(parts)
    assert one.n_rows() == 3
    for row, part in enumerate(parts):
        torch.testing.assert_close(one.apply(H, LAYOUT)[row], part.apply(H, LAYOUT)[row])


def test_patches_of_one_row_stack() -> None:
    parts = [Patch(site=SITE, values=normal(1, 4, D, seed=row)) for row in range(3)]
    assert torch.equal(stack(parts).apply(H, LAYOUT)[2, :3], normal(1, 4, D, seed=2)[0, :3])


def test_per_row_gives_each_row_its_own_edits_in_its_own_order() -> None:
    """Add then project differs from project then add; rows also differ in number, kind, site and settings."""
    add, project = Add(site=SITE, direction=normal(D)), ProjectOut(site=SITE, direction=normal(D, seed=1) + normal(D))
    floor = Clamp(site=SITE, direction=normal(D), target=0.2, bound="at_least")
    other = ProjectOut(site=SITE, direction=normal(D, seed=2) + normal(D))
    rows = [[add, project, add], [project, other, add], [replace(floor, bound="exactly"), floor]]
    batch = per_row(rows)
    moved = H
    for edit in batch:
        moved = edit.apply(moved, LAYOUT)
    for row, edits in enumerate(rows):
        alone = H
        for edit in edits:
            alone = edit.apply(alone, LAYOUT)
        torch.testing.assert_close(moved[row], alone[row])


def test_per_row_leaves_rows_without_edits_bit_equal_and_keeps_sites_apart() -> None:
    there = Site(2)
    edits = per_row([[Add(site=SITE, direction=normal(D))], [], [Add(site=there, direction=normal(D))]])
    assert [edit.site for edit in edits] == [SITE, there]
    assert all(edit.n_rows() == 3 for edit in edits)
    assert torch.equal(edits[0].apply(H, LAYOUT)[1:], H[1:])
    assert per_row([[], []]) == ()


ADD: dict[str, Any] = {"site": SITE, "direction": normal(D)}
DIFFERENT: dict[str, list[Edit]] = {
    "none": [],
    "kind": [Add(**ADD), ProjectOut(**ADD)],
    "site": [Add(**ADD), Add(site=Site(2), direction=normal(D))],
    "width": [Add(**ADD), Add(site=SITE, direction=normal(D + 1))],
    "model": [Add(**ADD, model="a"), Add(**ADD, model="b")],
    "setting": [Clamp(**ADD, target=1.0), Clamp(**ADD, target=1.0, bound="at_least")],
}


@pytest.mark.parametrize("edits", DIFFERENT.values(), ids=DIFFERENT)
def test_edits_that_differ_cannot_be_stacked(edits: list[Edit]) -> None:
    with pytest.raises(ValueError, match="only edits of one kind, site and shape can be stacked"):
        stack(edits)


def test_an_edit_for_several_rows_cannot_become_one_row() -> None:
    with pytest.raises(ValueError, match="speaks about 3 rows; a stack wants one"):
        stack([Add(**ADD), Add(**ADD, strength=torch.ones(3))])


def test_fields_for_different_numbers_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the Add at blocks\.1\.hook_resid_post has fields for \[2, 3\] rows"):
        Add(site=SITE, direction=normal(3, D), positions=(Positions("all"),) * 2).n_rows()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["direction", "strength", "target"])
def test_numbers_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    given = {"direction": normal(D), "strength": 1.0, "target": 1.0}
    given[name] = torch.full((D,), bad) if name == "direction" else bad
    with pytest.raises(ValueError, match=f"the {name} of the Clamp at blocks.1.hook_resid_post is not finite"):
        Clamp(site=SITE, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [ProjectOut, lambda **given: Clamp(**given, target=1.0)])
def test_a_direction_of_length_0_is_refused_where_only_its_line_counts(kind: Callable[..., Edit]) -> None:
    with pytest.raises(ValueError, match="has a direction of length 0"):
        kind(site=SITE, direction=torch.zeros(D))


def test_a_direction_of_another_width_is_refused() -> None:
    """Also one whose length is the batch size times the width, which a reshape would take apart."""
    with pytest.raises(ValueError, match=r"the Add at blocks\.1\.hook_resid_post has width 18, the state there 6"):
        Add(site=SITE, direction=normal(3 * D)).apply(H, LAYOUT)
