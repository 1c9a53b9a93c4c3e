"""The loaders of published files and of experiments' own, which `benchmarks.fuzz` attacks beside the others."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fuzz_loaders import Loader
from experiments.function_vectors.config import Config as FunctionConfig
from experiments.latent_steering.config import Config as SentenceConfig
from experiments.latent_steering.texts import Texts
from experiments.linear_hypothesis.data import contexts
from steering.erasure.debias import WordVectors
from tests.artifacts.examples import SITE
from tests.exchange.test_dictionaries import WRITERS, dictionary
from workbench.artifacts.file import ArtifactError
from workbench.data.behaviour_files import QUESTIONS, behaviours_of
from workbench.data.behaviours import behaviour_dataset
from workbench.data.cast_files import COMPLIES, REFUSES
from workbench.data.contrast_files import condition_pairs, folder_pairs, opening_pairs, persona_pairs, text_pairs
from workbench.data.items import DataError
from workbench.data.safety import Triple
from workbench.data.safety_files import read_requests, read_triples, write_triples
from workbench.exchange.dictionaries import load_dictionary


def written(name: str, content: Any, folder: Path) -> Path:
    """A file of this name with a text, or with a value as JSON."""
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / name


def many(contents: dict[str, Any], folder: Path) -> Path:
    """A folder of several files."""
    for name, content in contents.items():
        written(name, content, folder)
    return folder


LETTERED = [
    {
        "question": f"q{k}?\n\nChoices:\n (A) yes {k}\n (B) no {k}",
        "answer_matching_behavior": f" ({'AB'[k % 2]})",
        "answer_not_matching_behavior": f" ({'BA'[k % 2]})",
    }
    for k in range(14)
]
OPTIONS = [{"question": f"q{k}", "options": {f"yes {k}": 1, f"no {k}": 0}} for k in range(14)]
OWN = "".join(
    json.dumps(
        {"topic": topic, "question": f"{topic} {k}?", "matching": f"yes {k}", "other": f"no {k}", "letter": "AB"[k % 2]}
    )
    + "\n"
    for topic in ("home", "money", "sport")
    for k in range(3)
)
OPENED = "behaviour.json"
OPENINGS = {
    OPENED: {REFUSES: [f"no {k}" for k in range(12)], COMPLIES: [f"yes {k}" for k in range(12)]},
    QUESTIONS: {"train": [{"question": f"q{k}"} for k in range(13)], "test": []},
}
TASK = [{"input": f"a{k}", "output": f"b{k}"} for k in range(14)]
LISTS = {f"{name}.json": [f"{name} {k}" for k in range(10)] for name in ("joy", "fear", "anger")}
CONDITIONS = {
    part: [{"harmful": f"{part} h{k}", "harmless": f"{part} l{k}"} for k in range(n)]
    for part, n in (("train", 10), ("test", 4))
}
XSTEST = "prompt,type,label\n" + "".join(f"p{k},t,{('safe', 'unsafe')[k % 2]}\n" for k in range(8))
SPLIT = [{"instruction": f"x{k}", "category": "c"} for k in range(6)]
STS = "\n".join(f"a\tb\tc\td\t{k / 2}\tone {k}\ttwo {k}" for k in range(6))
CONTEXTS = "".join(
    json.dumps(
        {"lang0": "en", "lang1": "fr", "word0": f"a{k}", "word1": f"b{k}"}
        | {f"contexts{side}": [f"x {'ab'[side]}{k}"] for side in (0, 1)}
    )
    + "\n"
    for k in range(4)
)
VECTORS = "4 3\n" + "".join(f"w{k} {k} 1.5 -2e-1\n" for k in range(4))


def triples(name: str, folder: Path) -> Path:
    write_triples(
        [Triple(f"p{k}", f"s{k}", f"u{k}", f"j{k}", "direct", "fam", "train", f"p{k}") for k in range(5)], folder / name
    )
    return folder / name


def read_behaviour_pairs(path: Path) -> None:
    for behaviour in behaviours_of(str(path)):
        for form in ("answers", "letters"):
            behaviour_dataset([behaviour], form)


def look_up_tasks(path: Path) -> None:
    FunctionConfig(source=str(path), tasks=(), exact=()).look_up()


def read_texts(setting: str, path: Path) -> None:
    changed: Any = {setting: str(path)}
    Texts.of(SentenceConfig(sentences=2, exemplars=2, transfers=1, pairs=3, **changed))


def exchanged(writer: str, folder: Path) -> Path:
    """A small dictionary as another project writes it."""
    write, place, kinds = WRITERS[writer]
    return write(dictionary(kinds[0]), folder / place)


_DATA = (DataError,)
PUBLISHED: tuple[Loader, ...] = (
    Loader(
        "in-context tasks", partial(many, {"first-task.json": TASK, "second-task.json": TASK}), look_up_tasks, _DATA
    ),
    Loader("behaviours lettered", partial(written, "lettered.json", LETTERED), read_behaviour_pairs, _DATA),
    Loader("behaviours options", partial(written, "options.json", OPTIONS), read_behaviour_pairs, _DATA),
    Loader("behaviours openings", partial(many, OPENINGS), lambda folder: read_behaviour_pairs(folder / OPENED), _DATA),
    Loader("behaviours own", partial(written, "own-pairs.jsonl", OWN), read_behaviour_pairs, _DATA),
    Loader("contrast folder", partial(many, LISTS), folder_pairs, _DATA),
    Loader(
        "contrast lists",
        partial(many, LISTS),
        lambda folder: text_pairs(folder / "joy.json", folder / "fear.json"),
        _DATA,
        lambda name: name != "anger.json",
    ),
    Loader(
        "contrast personas",
        partial(written, "texts.json", LISTS["joy.json"]),
        lambda path: persona_pairs(path, "You are glad.", "You are sad."),
        _DATA,
    ),
    Loader(
        "contrast openings",
        partial(many, OPENINGS),
        lambda folder: opening_pairs(folder / OPENED, folder / QUESTIONS),
        _DATA,
    ),
    Loader("conditions", partial(written, "condition.json", CONDITIONS), condition_pairs, _DATA),
    Loader("requests of conditions", partial(written, "condition.json", CONDITIONS), read_requests, _DATA),
    Loader("requests of XSTest", partial(written, "xstest.csv", XSTEST), read_requests, _DATA),
    Loader("requests of a split", partial(written, "harmful_train.json", SPLIT), read_requests, _DATA),
    Loader("requests of a list", partial(written, "wild.json", LISTS["joy.json"]), read_requests, _DATA),
    Loader("triples jsonl", partial(triples, "triples.jsonl"), read_triples, _DATA),
    Loader("triples parquet", partial(triples, "triples.parquet"), read_triples, _DATA, share=0.5),
    Loader("graded pairs", partial(written, "graded.tsv", STS), partial(read_texts, "sts"), _DATA),
    Loader(
        "sentences", partial(written, "sentences.txt", "One.\nTwo.\nThree.\n"), partial(read_texts, "source"), _DATA
    ),
    Loader("contexts", partial(many, {"en-fr.jsonl": CONTEXTS}), lambda path: contexts(str(path)), _DATA),
    Loader(
        "word vectors", partial(written, "lexicon.txt", VECTORS), lambda path: WordVectors.read(path, 4), (ValueError,)
    ),
    *(
        Loader(
            f"dictionary {writer}",
            partial(exchanged, writer),
            partial(load_dictionary, site=SITE),
            (ArtifactError,),
            share=0.3,
        )
        for writer in WRITERS
        if writer != "workbench"
    ),
)
"""A new reader of published files enters itself here."""
