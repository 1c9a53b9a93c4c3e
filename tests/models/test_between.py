"""An edit between two marks acts in the same places however a text is run: random models in float64."""

from dataclasses import dataclass, replace

import pytest
import torch

from tests.tiny import tiny_module, tiny_tokenizer
from workbench.models.decoder import Decoder
from workbench.models.edits import Add
from workbench.models.model import Model, wrap
from workbench.models.positions import Layout, Positions
from workbench.models.running import RereadRows, RunningRows
from workbench.models.sampling import Sampling
from workbench.models.scoring import predicting
from workbench.models.sites import Site
from workbench.models.stacking import per_row
from workbench.models.stored_run import StoredRun
from workbench.models.tokens import Row, Tokens

TEXTS = ["hello", "hi there you", "hello", "a much longer text than the others"]
STEPS = 18
NEVER = 299
"""No text has it."""


def add(positions: str, seed: int) -> Add:
    direction = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    return Add(site=Site(0), direction=direction, positions=Positions(positions))


def reread(model: Model, prompt: Row, edit: Add) -> tuple[int, ...]:
    """Greedy text of a row by itself, read as a whole for each token."""
    ids = prompt.ids
    with model.edited(edit):
        for _ in range(STEPS):
            ids = (*ids, int(model.logits(Tokens((Row(ids, prompt.prefix, prompt.response),)))[0][-1].argmax()))
    return ids[len(prompt.ids) :]


@dataclass(frozen=True)
class Case:
    """Prompts, and an edit for each that begins and ends inside what is written under it."""

    model: Model
    prompts: Tokens
    edits: list[Add]
    texts: list[tuple[int, ...]]
    """What each prompt is continued by, when it is read alone."""


@pytest.fixture(scope="module")
def model() -> Model:
    return wrap(tiny_module("llama").double(), tiny_tokenizer())


@pytest.fixture(scope="module")
def case(model: Model) -> Case:
    """Row i is edited from its token 2 + i on; the mark of row 1 is two tokens long."""
    prompts, edits, texts = model.tokenize(TEXTS, chat=True), [], []
    for at, prompt in enumerate(prompts):
        plain = reread(model, prompt, add("at(250)", at))
        opening = ",".join(map(str, plain[2 + at - (at == 1) : 3 + at]))
        always = reread(model, prompt, add(f"between({opening};{NEVER})", at))
        closing = next(place for place in range(5 + at, STEPS) if always[place] not in always[:place])
        edits.append(add(f"between({opening};{always[closing]})", at))
        texts.append(reread(model, prompt, edits[-1]))
        assert plain[: 3 + at] == texts[-1][: 3 + at]
        assert always[: closing + 1] == texts[-1][: closing + 1]
        assert len({plain, always, texts[-1]}) == 3
    return Case(model, prompts, edits, texts)


@pytest.fixture(params=[0, 10_000], ids=["header", "no header"])
def pass_tokens(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Whether what rows share runs by itself."""
    monkeypatch.setattr("workbench.models.prompts.PASS_TOKENS", request.param)
    return request.param


@pytest.mark.usefixtures("pass_tokens")
@pytest.mark.parametrize("kind", [RunningRows, RereadRows])
def test_a_batch_is_continued_as_each_row_read_alone(case: Case, kind: type[RunningRows]) -> None:
    written = []
    with torch.no_grad(), case.model.edited(per_row([[edit] for edit in case.edits])):
        rows = kind.start(case.model, case.prompts)
        for _ in range(STEPS):
            rows = rows.advanced(case.model)
            assert rows.logits is not None
            written.append(rows.logits.argmax(1))
            rows = rows.written(written[-1])
    assert list(map(tuple, torch.stack(written, 1).tolist())) == case.texts


@pytest.mark.usefixtures("pass_tokens")
@pytest.mark.parametrize("kind", [RunningRows, RereadRows])
def test_rows_that_join_late_and_leave_keep_their_marks(
    case: Case, kind: type[RunningRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.models.decoder.start", kind.start)
    decoder, found = Decoder(case.model), {}
    for at, steps in ((3, 4), (0, 5), (2, 3), (1, STEPS)):
        (number,) = decoder.add(case.prompts[[at]], Sampling(STEPS), case.edits[at])
        found[number] = at
        for _ in range(steps):
            for done, generation in decoder.step().items():
                assert generation.ids == case.texts[found.pop(done)]
    while decoder.running:
        for done, generation in decoder.step().items():
            assert generation.ids == case.texts[found.pop(done)]
    assert not found


IN_THE_HEADER = add("between(61,87;90)-prefix-prompt", 0)
"""Opened by the "[u" of the header, which runs once for all rows; edited is the answer up to its first "x"."""


@pytest.fixture(scope="module")
def answered(model: Model) -> Tokens:
    rows = model.tokenize(TEXTS, responses=["one x two", "it is", "x", "is it x or not"], chat=True)
    assert all(row.ids[1:3] == (61, 87) for row in rows)
    return rows


def behind_answers(model: Model, tokens: Tokens, row: int) -> torch.Tensor:
    """Logits that predict the answer of a row, which is read alone and whole."""
    return model.logits(tokens[[row]])[0][tokens.rows[row].response - 1 : -1]


def test_rows_are_scored_as_each_alone(model: Model, answered: Tokens) -> None:
    with model.edited(IN_THE_HEADER):
        found = model.score(answered).nll
        for row, nll in enumerate(found):
            ids = torch.tensor(answered.rows[row].ids[answered.rows[row].response :])
            expected = torch.nn.functional.cross_entropy(behind_answers(model, answered, row), ids, reduction="sum")
            assert float(nll) == pytest.approx(float(expected), rel=1e-5)
    assert not torch.allclose(found, model.score(answered).nll, atol=0.1)


def test_a_stored_run_goes_on_as_each_row_alone(model: Model, answered: Tokens) -> None:
    whole = Layout.of(answered, [*range(len(answered))])
    wanted = predicting(whole.mask & (whole.index >= whole.response))
    trial = (IN_THE_HEADER,)
    run = StoredRun.begin(model, answered, wanted, [trial])
    assert run.prefix.length > 3
    found = run.under([trial] * len(answered), range(len(answered)))
    with model.edited(IN_THE_HEADER):
        expected = torch.cat([behind_answers(model, answered, row) for row in range(len(answered))])
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)
    assert not torch.allclose(found, run.logits, atol=0.1)


def test_asking_twice_in_a_pass_changes_nothing(case: Case) -> None:
    """Two halves of an edit are the whole."""
    halves = [[replace(edit, strength=0.5)] * 2 for edit in case.edits]
    found = case.model.generate(case.prompts, edits=per_row(halves), sampling=Sampling(STEPS))
    assert [one.ids for one in found] == case.texts
