"""Codes, losses and gradients of SAELens' own classes on small weights, as tensors for tests/probes/sae.

SAELens pins TransformerLens 3, so it has an environment of its own:

    python -m venv saelens && saelens/bin/pip install "torch<2.14" "transformer-lens<4" sae-lens==6.54.12
    saelens/bin/python benchmarks/sae_oracles.py tests/probes/sae/saelens

writes `losses.safetensors`, and for each architecture a folder that SAELens saved, with codes of the same states. It
imports nothing of this project.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig  # pyright: ignore
from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig  # pyright: ignore
from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig  # pyright: ignore
from sae_lens.saes.matryoshka_batchtopk_sae import (  # pyright: ignore
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from sae_lens.saes.sae import SAE, TrainStepInput  # pyright: ignore
from sae_lens.saes.standard_sae import (  # pyright: ignore
    StandardSAE,
    StandardSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
)
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig  # pyright: ignore
from sae_lens.saes.transcoder import Transcoder, TranscoderConfig  # pyright: ignore
from safetensors.torch import save_file

D, N, BATCH = 6, 14, 9
COEFFICIENTS = {"l1": 0.7, "l0": 0.4}
KINDS = {
    "standard": (StandardTrainingSAE, StandardTrainingSAEConfig, {}),
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig, {"k": 3}),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, {"k": 3}),
    "matryoshka_batchtopk": (
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
        {"k": 3, "matryoshka_widths": [4, 9, N]},
    ),
    "jumprelu": (
        JumpReLUTrainingSAE,
        JumpReLUTrainingSAEConfig,
        {"jumprelu_bandwidth": 0.4, "jumprelu_sparsity_loss_mode": "step", "pre_act_loss_coefficient": 0.3},
    ),
    "gated": (GatedTrainingSAE, GatedTrainingSAEConfig, {}),
}


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def set_weights(sae: torch.nn.Module) -> None:
    """Weights that favour nothing: no row of unit length, no bias of 0, thresholds between codes."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(sorted(sae.named_parameters())):
            value = 0.5 * normal(*parameter.shape, seed=number + 10)
            parameter.copy_(value.abs() if name == "threshold" else value)


def main(folder: Path) -> None:
    x, dead = normal(BATCH, D, seed=1), torch.arange(N) % 3 == 0
    tensors = {"x": x, "dead": dead.float()}
    for name, (kind, config, options) in KINDS.items():
        sae = kind(config(d_in=D, d_sae=N, **options))
        set_weights(sae)
        out = sae.training_forward_pass(TrainStepInput(x, COEFFICIENTS, dead, 5, False))
        out.loss.backward()
        for key, parameter in sae.named_parameters():
            tensors[f"{name}.weight.{key}"] = parameter.detach().clone()
            tensors[f"{name}.gradient.{key}"] = parameter.grad
        tensors |= {f"{name}.loss.{key}": torch.as_tensor(value).detach() for key, value in out.losses.items()}
        tensors[f"{name}.codes"], tensors[f"{name}.output"] = out.feature_acts.detach(), out.sae_out.detach()
        tensors[f"{name}.loss"] = out.loss.detach()
        if name == "batchtopk":
            sae.topk_threshold.fill_(0.35)
        where = folder / name
        sae.cfg.metadata.hook_name, sae.cfg.metadata.model_name = "blocks.1.hook_resid_post", "tiny"
        sae.save_inference_model(where)
        tensors[f"{name}.saved_codes"] = SAE.load_from_disk(where).encode(x).detach()
    heads = StandardSAE(StandardSAEConfig(d_in=D, d_sae=N, reshape_activations="hook_z"))
    set_weights(heads)
    heads.cfg.metadata.hook_name, heads.cfg.metadata.model_name = "blocks.1.attn.hook_z", "tiny"
    heads.save_model(folder / "standard_z")
    tensors["standard_z.saved_codes"] = heads.encode(x.unflatten(1, (2, -1))).detach()
    tensors["standard_z.output"] = heads(x.unflatten(1, (2, -1))).detach().flatten(1)
    transcoder = Transcoder(TranscoderConfig(d_in=D, d_sae=N, d_out=4, apply_b_dec_to_input=False))
    set_weights(transcoder)
    transcoder.cfg.metadata.hook_name = "blocks.1.ln2.hook_normalized"
    transcoder.cfg.metadata.hook_name_out = "blocks.1.hook_mlp_out"
    transcoder.save_model(folder / "transcoder")
    tensors["transcoder.saved_codes"] = transcoder.encode(x).detach()
    tensors["transcoder.output"] = transcoder(x).detach()
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "losses.safetensors")
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*.*"))}
    print(json.dumps(sizes, indent=1), asdict(transcoder.cfg))


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    main(Path(sys.argv[1]))
