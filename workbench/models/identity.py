"""Digests of a tokenizer and of its chat template: with the weights, what a model's results depend on."""

import hashlib
import json
from typing import Any

_PLACES = ("name_or_path", "tokenizer_file", "vocab_file", "special_tokens_map_file")


def tokenizer_digest(tokenizer: Any) -> str:
    """sha256 over all that turns text into ids and back, wherever the tokenizer lies and whatever it last encoded.

    Of a fast tokenizer, its pipeline, special and added tokens; of a slow one, its vocabulary and settings.
    """
    if getattr(tokenizer, "is_fast", False):
        how = json.loads(tokenizer.backend_tokenizer.to_str())
        how = {key: value for key, value in how.items() if key not in ("truncation", "padding")}  # of the last call
    else:
        places = {*_PLACES, *getattr(tokenizer, "vocab_files_names", ())}
        settings = {key: str(value) for key, value in tokenizer.init_kwargs.items() if key not in places}
        how = {"vocabulary": tokenizer.get_vocab(), "settings": settings}
    added = {str(number): repr(token) for number, token in tokenizer.added_tokens_decoder.items()}
    special = {role: str(token) for role, token in tokenizer.special_tokens_map.items()}
    return _sha256(json.dumps({"how": how, "special": special, "added": added}, sort_keys=True))


def template_digest(template: object) -> str:
    """sha256 of a chat template, or of several by name; "none" where there is none."""
    if not template:
        return "none"
    return _sha256(template if isinstance(template, str) else json.dumps(template, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
