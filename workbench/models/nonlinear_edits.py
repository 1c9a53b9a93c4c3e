"""Edits along a direction whose size depends on the state: by its sign, or by an angle."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.models.edits import Along
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
    against it has no such plane, and stays. Norm-preserving steering as in Angular Steering (arXiv:2510.26243), which
    fixes one plane for all states and the angle within it.
    """

    def delta(self, h: Tensor, layout: Layout) -> Tensor:
        """What a turn by one radian changes."""
        return self._turned(h, h.new_ones(1, 1, 1).float(), layout) - h.float()

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
        return torch.where(aside > 1e-6 * length, turned, state).float()
