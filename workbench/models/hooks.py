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
class InputOutputHook:
    """A hook at a module's input that changes the module's output, having seen both.

    It sees the input as the module does, after all changes made to it.
    """

    change: Callable[[Tensor, Tensor], Tensor]
    """From input [batch, pos, d_in] and output [batch, pos, d_out] to a new output."""


Hook = Change | InputOutputHook
"""What is done at a place in each forward pass."""


@contextmanager
def hooked(hooks: list[tuple[tuple[nn.Module, Side], Hook]]) -> Iterator[None]:
    """Let every hook see its place in each forward pass inside the `with`, in the order given.

    All hooks are removed on the way out, whatever is raised, also while registering them. Raises ValueError for an
    `InputOutputHook` at an output.
    """
    handles = []
    try:
        for (module, side), hook in hooks:
            handles.append(_register(module, side, hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _register(module: nn.Module, side: Side, hook: Hook) -> Any:
    if isinstance(hook, InputOutputHook):
        if side != "hook_in":
            raise ValueError(f"what changes a {type(module).__name__} from its input needs the site of that input")
        return module.register_forward_hook(lambda _module, args, output: _input_output(hook, args, output))
    if side == "hook_out":
        return module.register_forward_hook(lambda _module, _args, output: _after(hook, output))
    return module.register_forward_pre_hook(lambda _module, args, kwargs: _before(hook, args, kwargs), with_kwargs=True)


def _input_output(hook: InputOutputHook, args: tuple[Any, ...], output: Any) -> Any:
    return hook.change(args[0], output)


def _after(hook: Change, output: Any) -> Any:
    """Blocks return a bare tensor or a tuple that begins with it, depending on the transformers version."""
    if isinstance(output, Tensor):
        return hook(output)
    changed = hook(output[0])
    return None if changed is None else (changed, *output[1:])


def _before(
    hook: Change, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The hidden state is the first positional argument, or the keyword `hidden_states`."""
    if args:
        changed = hook(args[0])
        return None if changed is None else ((changed, *args[1:]), kwargs)
    changed = hook(kwargs["hidden_states"])
    return None if changed is None else (args, {**kwargs, "hidden_states": changed})
