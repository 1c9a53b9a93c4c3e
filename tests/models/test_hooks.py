from collections.abc import Callable, Generator
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from workbench.models.hooks import Hook, hooked
from workbench.models.sites import SiteError

H = torch.arange(12.0).reshape(2, 3, 2)  # [batch, pos, d]


class Bare(nn.Module):
    """A block as transformers 5 has it."""

    def forward(self, hidden_states: Tensor, scale: float = 2.0) -> Any:
        return hidden_states * scale


class Tupled(Bare):
    """A block as transformers 4 had it: the state comes first in a tuple."""

    def forward(self, hidden_states: Tensor, scale: float = 2.0) -> Any:
        return (hidden_states * scale, "attention", None)


def state(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


@pytest.fixture(params=[Bare, Tupled])
def block(request: pytest.FixtureRequest) -> nn.Module:
    return request.param()


@pytest.mark.parametrize(("side", "seen", "after"), [("hook_out", 2 * H, 2 * H + 1), ("hook_in", H, 2 * (H + 1))])
@pytest.mark.parametrize("keyword", [False, True])
def test_a_hook_sees_the_whole_batch_and_replaces_it(
    block: nn.Module, side: Literal["hook_in", "hook_out"], seen: Tensor, after: Tensor, keyword: bool
) -> None:
    given = []

    def hook(h: Tensor) -> Tensor:
        given.append(h)
        return h + 1

    with hooked([((block, side), hook)]):
        output = block(hidden_states=H, scale=2.0) if keyword else block(H, scale=2.0)
    assert torch.equal(given[0], seen)
    assert torch.equal(state(output), after)
    assert output[1:] == ("attention", None) if isinstance(block, Tupled) else isinstance(output, Tensor)
    assert torch.equal(state(block(H)), 2 * H)


class Flattening(Bare):
    """Experts as Llama 4 has them: tokens of all rows in one list, and the router's scores behind them."""

    def forward(self, hidden_states: Tensor, scale: float = 2.0) -> Any:
        return (hidden_states.flatten(0, 1) * scale, "scores")


@pytest.mark.parametrize("keyword", [False, True])
def test_a_hook_sees_a_flattened_state_as_its_input_has_it(keyword: bool) -> None:
    block, given = Flattening(), []

    def hook(h: Tensor) -> Tensor:
        given.append(h)
        return h + 1

    with hooked([((block, "hook_out"), hook)]):
        changed, scores = block(hidden_states=H) if keyword else block(H)
    assert torch.equal(given[0], 2 * H)
    assert torch.equal(changed, (2 * H + 1).flatten(0, 1))
    assert scores == "scores"


@pytest.mark.parametrize("state", [H[0], H[None], H[0, 0]])
def test_what_is_not_one_vector_a_token_is_refused(state: Tensor) -> None:
    for side in ("hook_in", "hook_out"):
        block = Bare()
        shape = str(list(state.shape)).replace("[", r"\[")
        with (
            hooked([((block, side), lambda h: h)]),  # type: ignore[list-item]
            pytest.raises(SiteError, match=f"the state at a Bare is {shape}, not one vector a token"),
        ):
            block(state)


@pytest.mark.parametrize("side", ["hook_out", "hook_in"])
def test_a_hook_that_returns_none_leaves_the_state(block: nn.Module, side: Literal["hook_in", "hook_out"]) -> None:
    with hooked([((block, side), lambda _: None)]):
        assert torch.equal(state(block(H)), 2 * H)
        assert torch.equal(state(block(hidden_states=H)), 2 * H)


def test_hooks_on_one_module_act_in_order() -> None:
    block = Bare()
    with hooked([((block, "hook_out"), lambda h: h + 1), ((block, "hook_out"), lambda h: h * 10)]):
        assert torch.equal(block(H), (2 * H + 1) * 10)


def raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def hook(h: Tensor) -> Tensor:
        raise error

    return hook


class Stubborn(Bare):
    """A module that cannot be hooked."""

    def register_forward_hook(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no hooks here")


@pytest.mark.parametrize("error", [ValueError("in the hook"), KeyboardInterrupt(), StopIteration()])
def test_hooks_go_when_a_tap_raises(hook_count: Any, error: BaseException) -> None:
    block = Bare()
    hooks = [((block, "hook_out"), raising(error)), ((block, "hook_in"), torch.neg)]
    with pytest.raises(type(error)), hooked(hooks):  # type: ignore[arg-type]
        block(H)
    assert hook_count(block) == 0


def test_hooks_go_when_the_second_cannot_be_registered(hook_count: Any) -> None:
    first, hooks = Bare(), [torch.neg, torch.neg]
    with (
        pytest.raises(RuntimeError, match="no hooks here"),
        hooked([((first, "hook_out"), hooks[0]), ((Stubborn(), "hook_out"), hooks[1])]),
    ):
        raise AssertionError("the body must not run")
    assert hook_count(first) == 0


def test_hooks_go_when_a_generator_is_closed_early(hook_count: Any) -> None:
    block = Bare()

    def steps() -> Generator[Tensor]:
        with hooked([((block, "hook_out"), torch.neg)]):
            while True:
                yield block(H)

    running = steps()
    assert torch.equal(next(running), -2 * H)
    assert hook_count(block) == 1
    running.close()
    assert hook_count(block) == 0


def test_hooks_of_others_stay_and_fire(hook_count: Any) -> None:
    block, fired = Bare(), []
    theirs = block.register_forward_hook(lambda *_: fired.append("before"))
    hook: Hook = torch.neg
    with hooked([((block, "hook_out"), hook)]):
        during = block.register_forward_hook(lambda *_: fired.append("during"))
        with hooked([((block, "hook_out"), hook)]):
            block(H)
        assert torch.equal(block(H), -2 * H)
    block(H)
    assert fired == ["before", "during"] * 3
    assert hook_count(block) == 2
    theirs.remove()
    during.remove()
