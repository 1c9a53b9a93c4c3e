"""How much each head alone brings a task back: exactly, and by one backward pass (arXiv:2310.15213, section 2.3)."""

from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from steering.function_vectors.last_token import ROWS_AT_ONCE, LastTokenRun
from steering.function_vectors.means import Head, TaskMeans
from workbench.models.backend import Hook
from workbench.models.edits import Edit, Replace
from workbench.models.positions import Layout
from workbench.models.scoring import logits_at
from workbench.models.sites import Site
from workbench.models.training import frozen


def all_heads(means: TaskMeans) -> list[Head]:
    """Every head, layer by layer."""
    n_layers, n_heads = means.heads.shape[:2]
    return [(layer, head) for layer in range(n_layers) for head in range(n_heads)]


def exact_effects(
    run: LastTokenRun, target: int, means: TaskMeans, heads: Sequence[Head], at_once: int = ROWS_AT_ONCE
) -> Float[Tensor, "head"]:
    """The rise of the answer's probability when a head holds its mean at the last token; the run is of one prompt.

    The mean over prompts with shuffled answers is the average indirect effect (AIE, eq. 4). All heads run as rows of
    batches of `at_once`.
    """
    edits: list[Edit] = [
        Replace(site=Site(layer, "z").head(number), value=means.heads[layer, number]) for layer, number in heads
    ]
    logits = run.edited(edits, at_once=at_once)
    return logits.softmax(1)[:, target] - run.logits[0].softmax(0)[target]


def attributed_effects(run: LastTokenRun, target: int, means: TaskMeans) -> Float[Tensor, "layer head"]:
    """The same to first order: (mean - z) . dp/dz at the last token, all heads by one backward pass.

    Attribution patching: exact for small changes only, which makes it a shortlist. The run is of one prompt.
    """
    model, found = run.model, {}
    layout = Layout.of(run.tokens, [0]).after(run.prefix.length).to(model.device)

    def keep(layer: int) -> Hook:
        def hook(h: Tensor) -> Tensor:
            found[layer] = h if h.requires_grad else h.detach().requires_grad_()
            return found[layer]

        return hook

    layers = range(model.n_layers)
    with (
        frozen(model),
        torch.enable_grad(),
        model.backend.hooked([(Site(layer, "z"), keep(layer)) for layer in layers]),
    ):
        logits = logits_at(model, layout, run.wanted, **run.prefix.options(layout))
        slopes = torch.autograd.grad(logits[0].float().softmax(0)[target], [found[layer] for layer in layers])
    z, slope = (torch.stack([h[0, -1].detach().float().cpu() for h in each]) for each in (found.values(), slopes))
    missing = rearrange(means.heads, "layer head d_head -> layer (head d_head)") - z
    return reduce(missing * slope, "layer (head d_head) -> layer head", "sum", head=means.heads.shape[1])


def strongest(effects: Float[Tensor, "layer head"], n: int) -> list[Head]:
    """The heads of the `n` largest effects, strongest first; NaN, not measured, is none of them."""
    known = int(effects.isfinite().sum())
    order = effects.nan_to_num(nan=-torch.inf).flatten().argsort(descending=True, stable=True)[: min(n, known)]
    return [(int(at) // effects.shape[1], int(at) % effects.shape[1]) for at in order]
