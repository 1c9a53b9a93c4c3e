"""PyTorch hooks that see one tensor at a module's input or output, and never outlive their `with`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from workbench.models.backend import Change, Hook, InputOutputHook
from workbench.models.places import Side

_INSIDE: ContextVar[tuple[object, ...]] = ContextVar("inside", default=())
"""The `hooked` contexts that this thread (or asyncio task) is in."""


@contextmanager
def hooked(hooks: list[tuple[tuple[nn.Module, Side], Hook]]) -> Iterator[None]:
    """Let every hook see its place in each forward pass of this thread inside the `with`, in the order given.

    All hooks are removed on the way out, whatever is raised, also while registering them. Raises ValueError for an
    `InputOutputHook` at an output.
    """
    handles, me = [], object()
    try:
        for (module, side), hook in hooks:
            handles.append(_register(module, side, hook, me))
        token = _INSIDE.set((*_INSIDE.get(), me))
        try:
            yield
        finally:
            _INSIDE.reset(token)
    finally:
        for handle in handles:
            handle.remove()


def _register(module: nn.Module, side: Side, hook: Hook, me: object) -> Any:
    """PyTorch shows every forward pass to every hook: one that belongs to another thread's context leaves it alone."""
    if isinstance(hook, InputOutputHook):
        if side != "hook_in":
            raise ValueError(f"what changes a {type(module).__name__} from its input needs the site of that input")
        return module.register_forward_hook(
            lambda _module, args, output: _input_output(hook, args, output) if me in _INSIDE.get() else None
        )
    if side == "hook_out":
        return module.register_forward_hook(
            lambda _module, _args, output: _after(hook, output) if me in _INSIDE.get() else None
        )
    return module.register_forward_pre_hook(
        lambda _module, args, kwargs: _before(hook, args, kwargs) if me in _INSIDE.get() else None, with_kwargs=True
    )


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
