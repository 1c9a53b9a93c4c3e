from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from workbench.runs.config import describe, read_config
from workbench.runs.errors import RunError, StorageError
from workbench.runs.files import read_json, write_json


@dataclass(frozen=True)
class Judge:
    threshold: float = 0.5


@dataclass(frozen=True)
class OtherJudge:
    threshold: float = 0.5


@dataclass(frozen=True)
class Config:
    model: str = "tiny"
    layers: tuple[int, ...] = (0, 12)
    split: tuple[str, float] = ("half", 0.5)
    strengths: tuple[float, ...] = ()
    seed: int = 0
    data: Path | None = Path("data/concept10")
    cache: Path | None = None
    judge: Judge | OtherJudge = field(default_factory=Judge)
    rating: Literal["mean", "max"] = "max"


def stored(tmp_path: Path, config: object) -> Path:
    write_json(tmp_path / "config.json", describe("axbench", config))
    return tmp_path / "config.json"


def test_a_config_comes_back_equal(tmp_path):
    config = Config(layers=(3,), strengths=(0.0, 1.0), data=None, judge=Judge(0.0))
    assert read_config(Config, stored(tmp_path, config)) == config
    assert read_config(Config, stored(tmp_path, Config())) == Config()


def test_every_value_class_and_name_changes_the_digest():
    variants = [
        describe("axbench", Config()),
        describe("layer_sweep", Config()),
        describe("axbench", Config(seed=1)),
        describe("axbench", Config(layers=(0,))),
        describe("axbench", Config(judge=OtherJudge())),
    ]
    assert len({described["digest"] for described in variants}) == len(variants)
    assert describe("axbench", Config()) == variants[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored["config"].update(seed=1),
        lambda stored: stored["config"].update(unknown=1),
        lambda stored: stored["config"].pop("seed"),
        lambda stored: stored["config"].update(layers=3),
        lambda stored: stored["config"].update(split=["half"]),
        lambda stored: stored["classes"].update({"config.judge": "OtherJudge"}),
        lambda stored: stored.pop("digest"),
        lambda stored: stored.pop("config"),
    ],
)
def test_an_edited_config_file_is_refused(tmp_path, change):
    path = stored(tmp_path, Config())
    content = read_json(path)
    change(content)
    write_json(path, content)
    with pytest.raises(RunError, match=r"config\.json does not describe a Config"):
        read_config(Config, path)


def test_a_config_of_another_class_is_refused(tmp_path):
    path = stored(tmp_path, Judge())
    with pytest.raises(RunError, match=r"does not describe a OtherJudge"):
        read_config(OtherJudge, path)
    with pytest.raises(StorageError, match="could not read"):
        read_config(Judge, tmp_path / "missing.json")


@dataclass
class Thawed:
    seed: int = 0


@pytest.mark.parametrize("config", [Thawed(), {"seed": 0}, None, Config])
def test_only_a_frozen_dataclass_instance_is_a_config(config):
    with pytest.raises(RunError, match="must be a frozen dataclass instance"):
        describe("axbench", config)


@pytest.mark.parametrize("name", ["", "Ax", "../axbench", "a b", "a/b", ".a", "a-", "é"])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(RunError, match="must be lower-case words"):
        describe(name, Config())


@dataclass(frozen=True)
class Holder:
    """A config whose only field is a mapping, so that any name can be tried."""

    judge: dict[str, Any]


@pytest.mark.parametrize("name", ["api_key", "openaiApiKey", "hf_token", "password", "client_secret", "key", "APIKey"])
def test_a_secret_is_refused_by_name_and_not_shown(name):
    with pytest.raises(RunError, match=rf"config\.judge\.{name} looks like a secret") as caught:
        describe("axbench", Holder({name: "sk-123456"}))
    assert "sk-123456" not in str(caught.value)


def test_a_password_in_a_url_is_refused_and_not_shown():
    with pytest.raises(RunError, match=r"config\.judge\.base_url is a URL with a login in it") as caught:
        describe("axbench", Holder({"base_url": "https://me:hunter2@judge.example/v1"}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "harmless",
    [
        {"api_key": ""},
        {"api_key": None},
        {"api_key_env": "OPENAI_API_KEY"},
        {"max_new_tokens": 64},
        {"n_token": 5},
        {"tokenizer": "bytes"},
        {"monkey": "yes"},
        {"base_url": "http://127.0.0.1:8000/v1"},
    ],
)
def test_what_only_resembles_a_secret_is_accepted(harmless):
    assert describe("axbench", Holder(harmless))["config"] == {"judge": harmless}
