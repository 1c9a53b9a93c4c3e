"""On the default model a vector from ten heads turns verbs into their past, and a random one does not."""

import torch

from steering.function_vectors.effects import attributed_effects, strongest
from steering.function_vectors.last_token import LastTokenRun, each_alone
from steering.function_vectors.means import TaskMeans, function_vector
from steering.function_vectors.prompts import AnswerScores, InContextPrompts, Shown, encode_shown
from workbench.data.in_context import SplitPairs, in_context_tasks
from workbench.data.templates import Template
from workbench.data.word_pairs import pairs_of
from workbench.models.edits import Add
from workbench.models.model import Model
from workbench.models.sites import Site


def test_present_past_is_done_without_demonstrations(default_model: Model) -> None:
    data, template = in_context_tasks("packaged"), Template()
    split = SplitPairs.draw(pairs_of(data, data.relation("present-past")), 0)
    shown = Shown.draw(split.train, split.train[:6], 5, 0)
    means = TaskMeans.read(default_model, encode_shown(default_model, template, shown).tokens)
    corrupt = encode_shown(default_model, template, [each.shuffled(0) for each in shown[:2]])
    runs = zip(each_alone(default_model, corrupt.tokens), corrupt.target.tolist(), strict=True)
    effects = torch.stack([attributed_effects(run, target, means) for run, target in runs]).mean(0)
    vector = function_vector(default_model, means, strongest(effects, 10))
    random = torch.randn(len(vector), generator=torch.Generator().manual_seed(0))
    directions = (vector, random * (vector.norm() / random.norm()))
    asked = InContextPrompts.ask(default_model, template, split.test[:10])
    assert default_model.tokenizer.decode(asked.tokens.rows[0].ids[:1]) == "<|endoftext|>"  # as published
    run, rows = LastTokenRun.of(default_model, asked.tokens), range(len(asked))
    edits = [Add(site=Site(18), direction=each) for each in directions for _ in rows]
    steered, control = run.edited(edits, [*rows, *rows]).split(len(asked))
    right = [float(AnswerScores.of(each, asked.target).correct.mean()) for each in (run.logits, steered, control)]
    assert right[0] == 0
    assert right[1] >= 0.6
    assert right[2] == 0
