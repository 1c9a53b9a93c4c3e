"""The settings of the experiment, and its presets."""

from dataclasses import dataclass

from experiments.options import ModelOptions
from probes.sae.config import COMPETING, DictionaryArchitecture
from workbench.runs.fields import above, at_least, some

NAME = "sae"


@dataclass(frozen=True)
class Config(ModelOptions):
    """Train a sparse dictionary of a model's states on running text, and measure what it is worth beside baselines."""

    layer: int | None = None
    """The block after which states are read; none means the one at 0.6 of the depth."""
    text: str = "standard-library"
    """`standard-library` (the sources of the running Python), a .jsonl or .csv file with `text`, or a text file."""
    passages: int = 500
    """Passages that are drawn from it for training, of about 150 tokens each."""
    held_out: int = 32
    """Passages that dictionaries are measured on, from other modules, rows or chapters."""
    architecture: DictionaryArchitecture = "topk"
    latents: int = 4608
    """Width of the dictionary."""
    k: tuple[int, ...] = (32,)
    """How many latents of a state are active, for each of the dictionaries that are trained in one pass; TopK kinds."""
    sparsity: tuple[float, ...] = (1.0,)
    """The penalty's coefficient for each of them; kinds with a penalty."""
    activations: int = 400_000
    """States that are trained on; more than the passages have go through them again in another order."""
    batch: int = 2048
    learning_rate: float = 1e-3
    seeds: tuple[int, ...] = (0,)
    """Of a dictionary's first weights; with several, the experiment says how much of them agrees."""
    random_model: bool = False
    """Whether the same dictionary is trained on the model with random weights too."""
    probed: int = 6
    """Packaged concepts that few latents are to tell."""
    spelled: int = 40
    """Words of the vocabulary with each first letter, which latents are to tell, 10 or more; 0 leaves this out."""
    facts: bool = True
    """Whether latents that tell facts about countries are exchanged between them."""
    browsed: int = 40
    """Latents under which the browser shows a generation."""
    describer: str = ""
    """The base URL of an OpenAI-compatible endpoint whose model describes the liveliest hundred latents; see docs."""
    describer_model: str = ""
    """The name of that model."""

    def __post_init__(self) -> None:
        counts = ("passages", "held_out", "latents", "activations", "probed")
        self.check(
            text=some(),
            k=some(at_least(1)),
            sparsity=some(at_least(0.0)),
            batch=at_least(1),
            learning_rate=above(0.0),
            seeds=some(at_least(0)),
            spelled=at_least(0),
            browsed=at_least(0),
            **{name: at_least(1) for name in counts},
        )
        if 0 < self.spelled < 10:
            raise ValueError(f"spelled is {self.spelled}; expected numbers of 10 or more, or 0 for no first letters")
        if bool(self.describer) != bool(self.describer_model):
            raise ValueError("describer and describer_model go together: an endpoint's base URL, and a model's name")
        if self.describer and not self.describer.startswith(("http://", "https://")):
            raise ValueError(f"describer is {self.describer!r}; expected an address such as http://127.0.0.1:8000/v1")
        if self.architecture in COMPETING and max(self.k) > self.latents:
            raise ValueError(f"k is {max(self.k)}, more than the {self.latents} latents")

    def look_up(self) -> None:
        """See Options.look_up."""
        from workbench.data.items import DataError
        from workbench.data.packaged import packaged
        from workbench.data.running_text import check_passages
        from workbench.evaluation.judges.names import check_judge

        if self.probed > (n := len(packaged().targets)):
            raise DataError(f"probed is {self.probed}, and there are {n} packaged concepts; give at most so many")
        check_passages(self.text)
        if self.describer:
            check_judge(self.describer)
        super().look_up()

    @property
    def steps(self) -> int:
        """Batches that are trained on."""
        return max(1, self.activations // self.batch)

    @property
    def levels(self) -> tuple[float, ...]:
        """How sparse the dictionaries are: `k`, or `sparsity` for those with a penalty."""
        return self.k if self.architecture in COMPETING else self.sparsity


ABOUT = {
    "default": "one dictionary of 4608 latents, 400,000 activations; 13 minutes of one core without fast bfloat16",
    "smoke": "a small dictionary of few texts, to see that it runs; 45 seconds",
    "paper": "three numbers of active latents, two seeds and the model with random weights; hours",
}
"""What each preset is for and how long it takes."""

PRESETS = {
    "default": Config(),
    "smoke": Config(
        passages=80,
        held_out=8,
        latents=1024,
        activations=16_384,
        batch=1024,
        probed=2,
        spelled=10,
        facts=False,
        browsed=4,
        k=(32,),
    ),
    "paper": Config(
        passages=20_000,
        held_out=400,
        k=(16, 32, 64),
        activations=10_000_000,
        seeds=(0, 1),
        random_model=True,
        probed=30,
        browsed=100,
    ),
}
