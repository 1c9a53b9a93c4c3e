"""The settings of the experiment, and its presets."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.grace.requests import STAND_IN, requests_of
from experiments.options import ModelOptions
from workbench.runs.fields import above, at_least, check_distinct, check_known, some

if TYPE_CHECKING:
    from workbench.data.items import Split

NAME = "grace"

ARMS = {
    "sft": "SFT",
    "dpo": "DPO",
    "grace_a": "GRACE A (pooler only)",
    "grace_b": "GRACE B (with LoRA)",
    "circuit_breakers": "Circuit breakers",
    "latent_adversary": "Latent adversarial training",
    "direction": "Refusal direction added",
    "conditional": "Refusal direction added on a condition",
    "capping": "Floor under the refusal direction",
    "probe": "Linear probe that refuses",
}
"""What is compared with the policy alone, by the name of its report row."""

ABLATIONS = {
    "grace_b_no_preference": "GRACE B without preference",
    "grace_b_no_separation": "GRACE B without separation",
    "grace_b_no_cohesion": "GRACE B without cohesion",
    "grace_b_frozen_profile": "GRACE B, even profile",
    "grace_b_random_layers": "GRACE B, layers at random",
}
"""GRACE B with one thing left out: a term of its loss, the learnt profile, or the choice of its layers."""
FURTHER = {"grace_b_full": "GRACE B (full fine-tuning)"}
"""Defences that are compared where they are asked for."""
LABELS = {**ARMS, **FURTHER, **ABLATIONS}

DRAWN_FROM: "dict[str, tuple[Split, bool]]" = {
    "requests": ("train", False),
    "triples": ("train", False),
    "asked": ("evaluation", False),
    "adaptive": ("evaluation", False),
    "benign": ("evaluation", True),
}
"""The split of the stand-in whose requests a setting counts, and whether they are allowed ones."""


@dataclass(frozen=True)
class Config(ModelOptions):
    """Which defence keeps a model from what its policy forbids, under attacks seen and unseen, at what price?"""

    models: tuple[str, ...] = ()
    """Further models on which all is trained and asked again: they count where AVQI is compared with attack success."""
    arms: tuple[str, ...] = tuple(ARMS)
    """The defences that are compared with nothing."""
    seeds: tuple[int, ...] = (0,)
    """Everything is trained once for each: they draw training attacks, starts and orders. All are asked the same."""
    data: tuple[str, ...] = (STAND_IN,)
    """What is forbidden and allowed: the stand-in, or files of requests (docs/grace.md), whose texts are masked."""
    requests: int = 72
    """Forbidden training requests that teach the policy, and as many allowed ones as there are, up to this."""
    policy_epochs: int = 2
    """Passes over direct requests and allowed ones that teach the model to refuse."""
    triples: int = 96
    """Training requests, each under one family, that defences learn from."""
    epochs: int = 1
    """Passes over the triples of each LoRA; GRACE A's pooler takes three times as many."""
    batch_size: int = 8
    """Triples (each with an allowed answer) in one step; circuit breakers take two, each with a general text too."""
    learning_rate: float = 2e-3
    """Of every LoRA but circuit breakers'; these and full fine-tuning have their own (`steering/grace/`)."""
    gradient_checkpointing: bool = False
    """Train with less memory and more time: blocks run again on the way back, prompts for each of their completions."""
    beta: float = 0.1
    """Of the preference in DPO and in GRACE B."""
    asked: int = 20
    """Evaluation requests that every family disguises."""
    benign: int = 30
    """Look-alikes that are asked, as they are and in disguise."""
    neutral: int = 24
    """Neutral texts for perplexity and KL, and twice as many in-context questions."""
    max_new_tokens: int = 20
    """Of an answer; with fewer, what opens like a refusal and then complies counts as one (docs/grace.md)."""
    adaptive: int = 0
    """Evaluation requests that are also attacked by searches that know the defence: suffix, embeddings, latent push."""
    steered: int = 0
    """Packaged concepts that each defended model is steered towards, with vectors fitted on the policy alone."""
    show: bool = False
    """Show answers to forbidden requests that do more than refuse; else only what they are judged to be."""
    draws: int = 500
    """Of the bootstrap of AVQI."""

    def __post_init__(self) -> None:
        counts = (
            "requests",
            "policy_epochs",
            "triples",
            "epochs",
            "batch_size",
            "asked",
            "benign",
            "neutral",
            "max_new_tokens",
        )
        limits = {name: at_least(1) for name in (*counts, "draws")}
        limits |= {"adaptive": at_least(0), "steered": at_least(0), "seeds": some(at_least(0))}
        self.check(arms=some(), data=some(), learning_rate=above(0), beta=above(0), **limits)
        check_known("arm", self.arms, LABELS)
        check_distinct("models", (self.model, *self.models))

    def look_up(self) -> None:
        """See Options.look_up. Raises DataError for more requests, texts or concepts than there are."""
        from workbench.data.items import DataError
        from workbench.data.packaged import neutral, packaged
        from workbench.data.safety import of_split

        requests = requests_of(self.data)
        there = {name: len(of_split(requests, split, allowed=yes)) for name, (split, yes) in DRAWN_FROM.items()}
        there |= {"neutral": sum(split == "evaluation" for _, split in neutral()), "steered": len(packaged().targets)}
        for name, n in there.items():
            if getattr(self, name) > n:
                raise DataError(f"{name} is {getattr(self, name)}, and there are {n}; give at most so many")
        super().look_up()


ABOUT = {
    "default": "all defences, one seed, every family of text; 54 minutes of one core without fast bfloat16",
    "paper": "five seeds, ablations, attacks that know the defence, steering scores; a day of one core",
    "smoke": "few requests, to see that it runs; three and a half minutes of one core without fast bfloat16",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "paper": Config(arms=tuple(LABELS), seeds=(0, 1, 2, 3, 4), adaptive=5, steered=5),
    "smoke": Config(
        arms=("dpo", "grace_a", "grace_b", "direction", "probe"),
        requests=16,
        triples=8,
        policy_epochs=1,
        asked=2,
        benign=3,
        neutral=3,
        max_new_tokens=8,
        draws=50,
    ),
}
