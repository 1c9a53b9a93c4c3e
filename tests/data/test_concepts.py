import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from workbench.data.concepts import ConceptError

from .sets import SEA, SQL, A, H, N, P, changed, relabelled, small


def test_rows_give_the_planted_labels_by_name_and_by_number() -> None:
    data = small()
    assert data.rows("sea", "train", P).tolist() == [0]
    assert data.rows("sql", "train", P).tolist() == data.rows(1, "train", P).tolist() == [1]
    assert data.rows("sea", "evaluation", N).tolist() == [8]
    assert data.rows("sql", "evaluation", H).tolist() == [9]
    assert data.rows(0, "evaluation", H).tolist() == []
    assert len(data) == 2


@pytest.mark.parametrize("unknown", ["ocean", 2, -1])
def test_unknown_concept_is_named_with_those_there_are(unknown: str | int) -> None:
    with pytest.raises(ConceptError, match=rf"set 'small' has no concept {unknown!r}; it has sea, sql"):
        small().rows(unknown, "train", P)


def test_split_restricts_rows_and_keeps_everything_else() -> None:
    part = small().split("validation")
    assert [e.instruction for e in part.examples] == [f"Instruction {row}?" for row in (3, 4, 5)]
    assert part.labels.tolist() == [[P, A], [A, P], [N, N]]
    assert part.concepts == (SEA, SQL)
    assert part.splits == ("validation",)
    assert part.steering_instructions == ("Say something.",)
    with pytest.raises(ConceptError, match=r"has no split 'train'; it has validation"):
        part.split("train")


def test_select_reorders_concepts_and_drops_rows_that_none_uses() -> None:
    data = small()
    assert data.select(["sql", "sea"]).labels.tolist() == data.labels[:, ::-1].tolist()
    one = data.select([0])
    assert one.concepts == (SEA,)
    assert [e.response for e in one.examples] == [f"Response {row}." for row in (0, 2, 3, 5, 6, 8)]
    with pytest.raises(ConceptError, match=r"has concept 'sea' 2 times"):
        data.select(["sea", 0])
    with pytest.raises(ConceptError, match=r"has no concept; give at least one"):
        data.select([])


def test_subset_takes_the_first_concepts() -> None:
    assert small().subset(1).digest == small().select(["sea"]).digest
    assert small().subset(5).digest == small().digest
    with pytest.raises(ConceptError, match=r"a subset of 0 concepts is empty"):
        small().subset(0)


def test_labels_cannot_be_changed_from_outside() -> None:
    source = small().labels.copy()
    data = replace(small(), labels=source)
    source[0, 0] = H
    assert data.labels[0, 0] == P
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0, 0] = H
    with pytest.raises(FrozenInstanceError):
        data.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_digest_follows_content_and_order_but_not_the_name() -> None:
    digest = small().digest
    assert len(bytes.fromhex(digest)) == 32
    assert replace(small(), name="other").digest == digest
    others = [
        changed(0, response="Another response."),
        changed(9, word="join"),
        relabelled(9, 0, H),
        relabelled(9, 1, N),
        replace(small(), steering_instructions=()),
        small().select(["sql", "sea"]),
        replace(small(), concepts=(replace(SEA, description="boats"), SQL)),
        replace(small(), examples=small().examples[::-1], labels=small().labels[::-1]),
    ]
    assert len({digest, *(other.digest for other in others)}) == len(others) + 1


def test_digest_is_the_same_in_another_process() -> None:
    code = "from workbench.data.packaged import packaged; print(packaged().digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_html_counts_and_escapes() -> None:
    data = replace(small(), name="<img src=x onerror=alert(1)>")
    page = data._repr_html_()
    assert "<td>sql</td><td>code</td><td>1 / 1 / 0</td><td>1 / 1 / 0</td><td>1 / 1 / 1</td>" in page
    assert 'title="SQL &lt;queries&gt; &amp; joins"' in page
    assert "<img" not in page


def test_repr_is_short() -> None:
    assert repr(small()) == "ConceptSet('small', 2 concepts, 10 examples)"
