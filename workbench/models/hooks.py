"""PyTorch hooks that see one tensor at a module's input or output, and never outlive their `with`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from workbench.models.backend import Change, Hook, InputOutputHook
from workbench.models.places import Side
from workbench.models.sites import SiteError

_INSIDE: ContextVar[tuple[object, ...]] = ContextVar("inside", default=())
"""The `hooked` contexts that this thread (or asyncio task) is in."""


@contextmanager
def hooked(hooks: list[tuple[tuple[nn.Module, Side], Hook]]) -> Iterator[None]:
    """Let every hook see its place in each forward pass of this thread inside the `with`, in the order given.

    All hooks are removed on the way out, whatever is raised, also while registering them. The place of an
    `InputOutputHook` is the input of a linear map; the caller sees to that.
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
    """PyTorch shows every forward pass to every hook: one that belongs to another thread's context leaves it alone.

    That thread may see a hook while it is being registered or removed, and then without its keyword arguments.
    """

    def mine(act: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *seen: act(*seen) if me in _INSIDE.get() else None

    if isinstance(hook, InputOutputHook):
        return module.register_forward_hook(mine(lambda _module, args, output: _input_output(hook, args, output)))
    if side == "hook_out":
        return module.register_forward_hook(
            mine(lambda module, args, kwargs, output: _after(hook, module, _first(args, kwargs), output)),
            with_kwargs=True,
        )
    return module.register_forward_pre_hook(
        mine(lambda module, args, kwargs: _before(hook, module, args, kwargs)), with_kwargs=True
    )


def _input_output(hook: InputOutputHook, args: tuple[Any, ...], output: Any) -> Any:
    return hook.change(args[0], output)


def _after(hook: Change, module: nn.Module, source: Any, output: Any) -> Any:
    """Blocks return a bare tensor, or several things of which it is the first, depending on the architecture."""
    if isinstance(output, Tensor):
        return _changed(hook, module, output, source)
    changed = _changed(hook, module, output[0], source)
    return None if changed is None else (changed, *output[1:])


def _before(
    hook: Change, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    changed = _changed(hook, module, _first(args, kwargs), None)
    if changed is None:
        return None
    return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The hidden state is the first positional argument, or the keyword `hidden_states`."""
    return args[0] if args else kwargs.get("hidden_states")


def _changed(hook: Change, module: nn.Module, state: Any, source: Any) -> Tensor | None:
    """What the hook makes of a state, which it sees as [batch, pos, d] although some mixtures of experts flatten it.

    The tokens of their output are those of what went in. Raises SiteError for what is not one vector a token.
    """
    flat = isinstance(state, Tensor) and state.ndim == 2 and isinstance(source, Tensor) and source.ndim == 3
    seen = state.view(*source.shape[:2], -1) if flat else state
    if not isinstance(seen, Tensor) or seen.ndim != 3:
        shape = list(seen.shape) if isinstance(seen, Tensor) else type(seen).__name__
        raise SiteError(f"the state at a {type(module).__name__} is {shape}, not one vector a token; use model.bridge")
    changed = hook(seen)
    return changed.flatten(0, 1) if flat and changed is not None else changed
