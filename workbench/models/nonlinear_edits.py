"""Edits whose size depends on the state: by its sign along a direction, or by an angle."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.edits import Along, Edit
from workbench.models.positions import Layout


@dataclass(frozen=True, eq=False, kw_only=True)
class AddSigned(Along):
    """h + strength * sign(h . direction) direction: more of whatever side the state is on.

    The piecewise linear operator of representation engineering (arXiv:2310.01405, section 3.2).
    """

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """The direction, turned round where the state projects below 0."""
        direction = self.vector(self.direction, layout, h)
        return (h.float() * direction).sum(-1, keepdim=True).sign() * direction


@dataclass(frozen=True, eq=False, kw_only=True)
class Rotate(Along):
    """Turn the state by `strength` radians towards the direction, in the plane of the two; its length stays.

    It stops at the direction; a negative strength turns away, as far as the opposite. A state along the direction or
    against it has no such plane, and stays. `RotateWithin` fixes one plane for all states and the angle within it.
    """

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """What a turn by one radian changes."""
        return (self._turned(h, h.new_ones(1, 1, 1), layout) - h.double()).float()

    def move(self, h: Tensor, strength: Tensor, layout: Layout) -> Tensor:
        """The turned state, in the precision of the state."""
        return self._turned(h, strength, layout).to(h.dtype)

    def _turned(self, h: Tensor, radians: Tensor, layout: Layout) -> Tensor:
        state, unit = h.double(), torch.nn.functional.normalize(self.unit(layout, h).double(), dim=-1)
        along = (state * unit).sum(-1, keepdim=True)
        across = state - along * unit
        aside, length = across.norm(dim=-1, keepdim=True), state.norm(dim=-1, keepdim=True)
        angle = (torch.atan2(aside, along) - radians).clamp(0, torch.pi)
        turned = length * (angle.cos() * unit + angle.sin() * across / aside)
        return torch.where(aside > 1e-6 * length, turned, state)


@dataclass(frozen=True, eq=False, kw_only=True)
class RotateWithin(Edit):
    """Turn the state's part in a plane to an angle: h - P h + |P h| (b1 cos a + b2 sin a), P = b1 b1^T + b2 b2^T.

    Angular Steering (arXiv:2510.26243). `plane` has b1 and b2 as its orthonormal rows; `angle` a is in radians from b1
    towards b2. Strength 1 turns all of the way, the shorter way round, and so does more; 0.5 turns half of it, and a
    negative strength turns away, as far as the opposite. The state's length stays. With `adaptive`, states with
    h . b1 <= 0 stay as they are.
    """

    plane: Float[Tensor, "*_row 2 d"] = field(metadata={"ndim": 2})
    angle: float | Float[Tensor, "*_row"] = field(default=0.0, metadata={"ndim": 0})
    adaptive: bool = False

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """What strength 1 changes."""
        return self.move(h, h.new_ones(1, 1, 1), layout).float() - h.float()

    def move(self, h: Tensor, strength: Tensor, layout: Layout) -> Tensor:
        """The turned state, in the precision of the state."""
        plane, target = self.matrix(self.plane, layout, h).double(), self.scalar(self.angle, layout).double()
        inside = h.double() @ plane.mT  # [batch, pos, 2]
        beyond = torch.remainder(torch.atan2(inside[..., 1:], inside[..., :1]) - target + torch.pi, 2 * torch.pi)
        beyond = beyond - torch.pi
        angle = target + beyond.sign() * (beyond.abs() * (1 - strength.double())).clamp(0, torch.pi)
        turned = inside.norm(dim=-1, keepdim=True) * torch.cat([angle.cos(), angle.sin()], -1)
        moves = inside[..., :1] > 0 if self.adaptive else torch.ones_like(angle, dtype=torch.bool)
        return torch.where(moves, h.double() + (turned - inside) @ plane, h.double()).to(h.dtype)
