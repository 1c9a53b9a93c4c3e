"""Keys and logins in configurations: refused when the configuration is made, and not repeated."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.runs.test_fields import CONFIGS
from workbench.runs.secrets import secret_in

pytestmark = pytest.mark.usefixtures("types_unchecked")
KEY = "sk-proj-Ab3dEf6hIj9kLm2nOp5q"
URLS = [
    f"https://{KEY}@judge.example/v1",
    "https://me:hunter2@judge.example/v1",
    "https://me%3Ahunter2%40judge.example/v1",
    "https://judge.example/v1?key=hunter2",
    "https://judge.example/v1?api-version=1&sig=hunter2",
    "https://judge.example/v1#hunter2",
    f"https://judge.example/{KEY}/v1",
    "https://judge.example/sk-hunter2/v1",
    "https://judge.example/sk%2Dhunter2/v1",
    "https://judge.example/v1;key=hunter2",
    "https://judge.example/t0k3n4b5c6d7e8f9g0h1i2/v1",
    "HTTPS://me:hunter2@judge.example/v1",
    "s3://key:hunter2@bucket/texts.jsonl",
    "see https://judge.example/v1?key=hunter2 for more",
]
KEYS = [KEY, f"m {KEY}", "hf_abcdefghij0123456789", "ghp_abcdefghij0123456789", "AKIAIOSFODNN7EXAMPLE12"]
HARMLESS = [
    "http://127.0.0.1:8000/v1",
    "https://api.openai.com/v1",
    "https://user-repo.hf.space:8443/v1/",
    "https://api.example.com/openai/deployments/gpt-4o-mini-2024-07-18",
    "https://host/accounts/fireworks/models/llama-v3p1-70b-instruct/123e4567-e89b-12d3-a456-426614174000",
    "https://host/projects/1234567890123456789012/v1",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "hf-internal-testing/tiny-random-LlamaForCausalLM",
    "local:smollm2-135m-instruct",
    "C:/Users/me/data?.csv",
    "/data/hf_models_llama3_8b_2024_checkpoint/x#1.gguf",
    "/tmp/pytest-of-me/pytest-1900/test_one0123456789abcdef0123456789/concepts.jsonl",
    "scikit-learn, sk-learn and mask-1234567890123456",
    "prompt[-1]+response",
    "",
]


@pytest.mark.parametrize("text", [*URLS, *KEYS])
def test_a_secret_is_found_and_not_repeated(text: str) -> None:
    for value in (text, ("plain", text), [(text,)]):
        said = secret_in(value)
        assert said is not None
        assert "hunter2" not in said
        assert KEY not in said


def test_a_path_is_looked_at_too() -> None:
    assert secret_in(Path("https://me:hunter2@host/data.csv")) == "a URL with a login in it"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_resembles_a_secret_passes(text: str) -> None:
    assert secret_in(text) is None
    assert secret_in(Path(text)) is None


@pytest.mark.parametrize(("name", "config"), CONFIGS.items(), ids=CONFIGS)
def test_every_field_of_every_configuration_refuses_one_when_it_is_made(name: str, config: Any) -> None:
    for field in fields(config):
        value = getattr(config, field.name)
        if not field.init or not isinstance(value, str | Path | tuple):
            continue
        secret = URLS[1] if isinstance(value, str | Path) else (URLS[1],)
        given = {one.name: getattr(config, one.name) for one in fields(config) if one.init}
        with pytest.raises(Exception, match=f"{field.name} is a URL with a login in it") as caught:
            type(config)(**given | {field.name: secret})
        assert "hunter2" not in str(caught.value)
