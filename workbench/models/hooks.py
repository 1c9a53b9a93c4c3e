"""PyTorch hooks that see one tensor at a module's input or output, and never outlive their `with`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from workbench.models.places import Side

Change = Callable[[Tensor], Tensor | None]
"""Sees the hidden state [batch, pos, d]; returns a new one to put in its place, or None to leave it."""


@dataclass(frozen=True)
class Across:
    """A tap at a module's input that changes the module's output, having seen both.

    It sees the input as the module does, after all changes made to it.
    """

    change: Callable[[Tensor, Tensor], Tensor]
    """From input [batch, pos, d_in] and output [batch, pos, d_out] to a new output."""


Tap = Change | Across
"""What is done at a place in each forward pass."""


@contextmanager
def tapped(taps: list[tuple[tuple[nn.Module, Side], Tap]]) -> Iterator[None]:
    """Let every tap see its place in each forward pass inside the `with`, in the order given.

    All hooks are removed on the way out, whatever is raised, also while registering them. Raises ValueError for an
    `Across` at an output.
    """
    handles = []
    try:
        for (module, side), tap in taps:
            handles.append(_register(module, side, tap))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _register(module: nn.Module, side: Side, tap: Tap) -> Any:
    if isinstance(tap, Across):
        if side != "hook_in":
            raise ValueError(f"what changes a {type(module).__name__} from its input needs the site of that input")
        return module.register_forward_hook(lambda _module, args, output: _across(tap, args, output))
    if side == "hook_out":
        return module.register_forward_hook(lambda _module, _args, output: _after(tap, output))
    return module.register_forward_pre_hook(lambda _module, args, kwargs: _before(tap, args, kwargs), with_kwargs=True)


def _across(tap: Across, args: tuple[Any, ...], output: Any) -> Any:
    return tap.change(args[0], output)


def _after(tap: Change, output: Any) -> Any:
    """Blocks return a bare tensor or a tuple that begins with it, depending on the transformers version."""
    if isinstance(output, Tensor):
        return tap(output)
    changed = tap(output[0])
    return None if changed is None else (changed, *output[1:])


def _before(
    tap: Change, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The hidden state is the first positional argument, or the keyword `hidden_states`."""
    if args:
        changed = tap(args[0])
        return None if changed is None else ((changed, *args[1:]), kwargs)
    changed = tap(kwargs["hidden_states"])
    return None if changed is None else (args, {**kwargs, "hidden_states": changed})
