"""A latent of a trained dictionary as the concept: AxBench's SAE and SAE-A (arXiv:2501.17148, appendix on SAEs)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from steering.output_scores import output_scores
from workbench.artifacts.autoencoder import SparseAutoencoder
from workbench.artifacts.latent import SparseLatent
from workbench.data.items import DataError
from workbench.data.labelled import Labelled
from workbench.data.states import States
from workbench.evaluation.metrics import auroc
from workbench.exchange.dictionaries import load_dictionary
from workbench.methods.capabilities import ScoresStates, Steers
from workbench.methods.fitting import unit_of
from workbench.methods.method import Method
from workbench.methods.readers import LatentReader, Reader
from workbench.models.edits import Bound, Edit
from workbench.models.load import DEFAULT
from workbench.models.pooling import Pooling, pool_rows
from workbench.models.positions import ALL, Positions
from workbench.models.sites import Site
from workbench.models.weights import resolve
from workbench.runs.fields import at_least, some
from workbench.runs.files import file_digest
from workbench.text_index import TextIndex

Selection = Literal["mean", "auroc", "description"]
LatentWriting = Literal["add", "clamp", "min_clamp"]
UNKNOWN = "unknown"
"""The model's digest in a dictionary from elsewhere, which is taken at its word."""
_BOUNDS: dict[LatentWriting, Bound] = {"clamp": "exactly", "min_clamp": "at_least"}
_TITLES = {"add": "", "clamp": "clamping", "min_clamp": "clamping from below"}


@dataclass(frozen=True)
class SAE(Method[SparseLatent], ScoresStates[SparseLatent], Steers[SparseLatent]):
    """One latent of a dictionary that was trained without the concept: the fit only chooses it.

    Latents are read one by one, as AxBench's pruned dictionaries have it: those of a TopK dictionary do not compete.
    Raises ValueError for settings that do not fit each other.
    """

    label: ClassVar[str] = "SAE"
    source: ClassVar[str] = "arXiv:2501.17148"

    dictionary: Annotated[str, some()] = DEFAULT
    """Which dictionary: a name, file, folder or hub id that `load_dictionary` takes."""
    select: Selection = "mean"
    """`mean`: the largest difference between both classes of the mean code over a text's tokens (SAEBench's sparse
    probing, arXiv:2503.09532). `auroc`: the largest AUROC of the maximal code (SAE-A). `description`: the description
    most like the concept's, by TF-IDF."""
    descriptions: str = ""
    """A JSON file with an object from numbers of latents to what they stand for, for `description`."""
    candidates: Annotated[int, at_least(1)] = 1
    """Of so many best latents, the one that most promotes the tokens it stands for (`output_scores`). With 1, the best;
    more need the live model."""
    writes: LatentWriting = "add"
    """Add the latent's row of the decoder, set its code, or raise it to at least so much."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.select == "description") != bool(self.descriptions):
            raise ValueError("select='description' and a file of `descriptions` go together: give both or neither")

    @property
    def title(self) -> str:
        """SAE-A where AUROC chooses, and what else is not usual."""
        notes = ["by description"] * (self.select == "description") + ["by output score"] * (self.candidates > 1)
        notes += [_TITLES[self.writes]] * (self.writes != "add")
        name = "SAE-A" if self.select == "auroc" else self.label
        return f"{name} ({', '.join(notes)})" if notes else name

    @property
    def cost(self) -> float:
        """All texts are encoded."""
        return 5.0

    @property
    def identity(self) -> dict[str, Any]:
        """With digests of the files, which may change."""
        described = {"described": file_digest(Path(self.descriptions))} if self.descriptions else {}
        return {**super().identity, "dictionary": self._dictionary.content_digest, **described}

    @property
    def additive(self) -> bool:
        """Not where it clamps."""
        return self.writes == "add"

    def check_place(self, model: str, layers: Sequence[int]) -> None:
        """Refuse a dictionary that is not there, and one of another model or site. See Method.check_place."""
        dictionary, found = self._dictionary, resolve(model)
        origin = dictionary.origin
        same = found.digest == origin.model_digest if found.digest else found.name == origin.model
        if origin.model_digest != UNKNOWN and not same:
            raise ValueError(
                f"{self.title} needs a dictionary of {model}, and {self.dictionary} is of {origin.model}; give the "
                "method a `dictionary` of the model, or leave it out"
            )
        for layer in layers:
            if Site(layer) != dictionary.site:
                raise ValueError(
                    f"{self.title} reads {dictionary.site}, where its dictionary was trained, and not {Site(layer)}; "
                    "give the method a `dictionary` of that site, or leave it out"
                )

    def reader(self, artifact: SparseLatent) -> Reader:
        """The latent's code, in activation units; a text is its largest."""
        return LatentReader(artifact)

    def edit(self, artifact: SparseLatent, strength: float, positions: Positions | str = ALL) -> tuple[Edit, ...]:
        """Add `strength` units of the latent's row, or bring its code to so many; strength 0 changes nothing."""
        if self.writes == "add":
            return (artifact.alone.vector(0, artifact.unit).edit(strength, positions),)
        bound, on = _BOUNDS[self.writes], float(strength != 0)
        return (artifact.alone.clamp(0, strength * artifact.unit, bound=bound, strength=on, positions=positions),)

    def fit(self, data: Labelled) -> SparseLatent:
        """The latent that is chosen. Raises DataError for data of another model or site than the dictionary's."""
        return self._fit([data])[0]

    def fit_all(self, data: States) -> list[SparseLatent]:
        """As `fit` for each concept; every text is encoded once."""
        return self._fit(list(data))

    @cached_property
    def _dictionary(self) -> SparseAutoencoder:
        return load_dictionary(self.dictionary)

    @cached_property
    def _descriptions(self) -> tuple[list[int], TextIndex]:
        path = Path(self.descriptions)
        try:
            known = {int(number): str(text) for number, text in json.loads(path.read_text()).items()}
            return list(known), TextIndex(list(known.values()))
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{path} holds no object from numbers of latents to descriptions: {error}") from error

    def _fit(self, parts: Sequence[Labelled]) -> list[SparseLatent]:
        dictionary = self._dictionary
        for part in parts:
            _check_data(dictionary, part)
        codes = {} if self.select == "description" else pooled_codes(dictionary, parts, _pool(self.select))
        return [self._latent(part, self._ranked(part, codes)) for part in parts]

    def _ranked(self, data: Labelled, codes: Mapping[int, Float[Tensor, "latent"]]) -> list[int]:
        """The best latents, the best one first."""
        if self.select == "description":
            return self._described(data)
        of_texts = torch.stack([codes[row] for row in data.row.unique().tolist()])  # [text, latent]
        y = data.row_y
        difference = (of_texts[y].mean(0) - of_texts[~y].mean(0)).numpy()
        area = auroc(of_texts.numpy(), y.numpy()) if self.select == "auroc" else np.zeros_like(difference)
        order = np.lexsort((-difference, -area))  # of equal AUROCs the larger difference
        return order[: self.candidates].tolist()

    def _described(self, data: Labelled) -> list[int]:
        numbers, index = self._descriptions
        scores = index.scores(data.target.description)
        order = np.argsort(-scores, kind="stable")[: self.candidates]
        found = [numbers[at] for at in order if scores[at] > 0]
        if not found:
            raise DataError(f"no description in {self.descriptions} is like {data.target.description!r}")
        return found

    def _latent(self, data: Labelled, ranked: Sequence[int]) -> SparseLatent:
        found = [self._alone(data, number) for number in ranked]
        if len(found) == 1:
            return found[0]
        if data.through is None:
            raise DataError(f"output scores of latents for {data.target.name!r} need the model: give `through`")
        return found[int(output_scores(data.through.model, found).argmax())]

    def _alone(self, data: Labelled, number: int) -> SparseLatent:
        latent = SparseLatent.of(self._dictionary, number, self.origin(data))
        return latent.with_unit(unit_of(data, latent.direction))


def pooled_codes(
    dictionary: SparseAutoencoder, parts: Sequence[Labelled], how: Pooling
) -> dict[int, Float[Tensor, "latent"]]:
    """The codes of each text, pooled over its tokens and in activation units; by row number, each text encoded once.

    Latents do not compete.
    """
    dictionary, length = replace(dictionary, k=None), dictionary.W_dec.float().norm(dim=1)
    found: dict[int, Tensor] = {}
    for part in parts:
        for row in part.row.unique().tolist():
            if row not in found:
                codes = dictionary.encode(part.x[part.row == row])
                found[row] = pool_rows(codes, torch.zeros(len(codes), dtype=torch.long), 1, how)[0] * length
    return found


def _pool(select: Selection) -> Pooling:
    return "max" if select == "auroc" else "mean"


def _check_data(dictionary: SparseAutoencoder, data: Labelled) -> None:
    """Raises DataError for states that are not the dictionary's; one of an unknown model is taken at its word."""
    origin = dictionary.origin
    if data.site != dictionary.site or data.d != dictionary.d_in:
        raise DataError(
            f"the dictionary reads {dictionary.site} of width {dictionary.d_in}, and the states of "
            f"{data.target.name!r} are of {data.site}, width {data.d}"
        )
    if origin.model_digest not in (UNKNOWN, data.model_digest):
        raise DataError(
            f"the dictionary is of {origin.model}, and the states of {data.target.name!r} of {data.model}; `adopt` it "
            "if the two models share their representation"
        )
