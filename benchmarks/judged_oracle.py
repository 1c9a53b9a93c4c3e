"""What the default model has to do with the judged cases, for their tests: its answers, and its perplexities of texts.

python -m benchmarks.judged_oracle tests/evaluation/judges/measured.json
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.judging import unsteered_answers
from workbench.data.packaged import packaged
from workbench.evaluation.judges.choose import reference_texts
from workbench.evaluation.judges.judged_cases import judged_cases
from workbench.evaluation.steering import perplexities
from workbench.models.load import load
from workbench.models.model import Model
from workbench.models.sampling import Sampling
from workbench.runs.files import write_json

SAMPLING = Sampling(max_new_tokens=24, temperature=0.7, top_p=0.95)
FEW = 24
"""Reference texts of each source: enough to see the order of the kinds."""


def measured(model: Model) -> dict[str, Any]:
    """The reference texts of the judge, and answers to and perplexities of the reported cases."""
    cases = judged_cases("report")
    with patch("workbench.evaluation.judges.choose.N_REFERENCES", FEW):
        references = reference_texts(packaged(), model, SAMPLING)
    asked, texts = [case.instruction for case in cases], [case.text for case in cases]
    return {
        "references": [asdict(source) for source in references],
        "answers": unsteered_answers(model, asked, SAMPLING),
        "perplexities": perplexities(model, asked, texts),
    }


if __name__ == "__main__":
    write_json(Path(sys.argv[1]), measured(load("smollm2-135m-instruct", dtype="float32")))
