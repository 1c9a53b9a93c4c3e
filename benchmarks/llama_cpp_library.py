"""llama.cpp through the library in xllamacpp's wheel, whose Python classes take no control vector: by ctypes.

Parameters are taken from llama.cpp's own defaults and handed back unread, as memory of at least their size: this layout
is the same for structures of every size above 16 bytes (System V ABI), so that it does not change with their fields.
"""

import ctypes as c
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

_LOADER = "_Z26common_control_vector_loadRKSt6vectorI31common_control_vector_load_infoSaIS0_EE"
_Log = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)


class _Opaque(c.Structure):
    """Some structure of llama.cpp's."""

    _fields_ = (("memory", c.c_uint64 * 128),)


class _Vector(c.Structure):
    """A std::vector."""

    _fields_ = (("begin", c.c_void_p), ("end", c.c_void_p), ("capacity", c.c_void_p))


class _LoadInfo(c.Structure):
    """A strength and the name of a file; a std::string of manylinux2014 is one pointer to its characters."""

    _fields_ = (("strength", c.c_float), ("name", c.c_char_p))


class _Loaded(c.Structure):
    """What llama.cpp's loader of control vectors returns: width, and what is added from block 1 on."""

    _fields_ = (("width", c.c_int32), ("data", _Vector))


class LlamaCpp:
    """A model run by llama.cpp, one text at a time, in one thread."""

    def __init__(self, library: Path, model: Path) -> None:
        self.library = c.CDLL(str(library))
        self.quiet = _Log(lambda level, text, data: None)  # kept, since llama.cpp keeps a pointer to it
        self._call("llama_log_set", None, self.quiet, None)
        self._call("llama_backend_init", None)
        loaded = self._call("llama_model_load_from_file", c.c_void_p, str(model).encode(), self._defaults("model"))
        if loaded is None:
            raise ValueError(f"llama.cpp cannot load {model}")
        self.model = c.c_void_p(loaded)
        self.context = c.c_void_p(
            self._call("llama_init_from_model", c.c_void_p, self.model, self._defaults("context"))
        )
        self._call("llama_set_n_threads", None, self.context, c.c_int32(1), c.c_int32(1))
        vocabulary = c.c_void_p(self._call("llama_model_get_vocab", c.c_void_p, self.model))
        self.n_tokens = self._call("llama_vocab_n_tokens", c.c_int32, vocabulary)
        self.n_layers = self._call("llama_model_n_layer", c.c_int32, self.model)

    def _call(self, name: str, result: Any, *arguments: Any) -> Any:
        function = self.library[name]
        function.restype = result
        return function(*arguments)

    def _defaults(self, name: str) -> _Opaque:
        return self._call(f"llama_{name}_default_params", _Opaque)

    def apply(self, path: Path | None) -> None:
        """Add a GGUF control vector to every pass, as `--control-vector` does, or none. Raises ValueError.

        All blocks are given: of those that a shorter vector leaves out llama.cpp would keep the directions set before.
        """
        width, data = (1, np.zeros(0, np.float32)) if path is None else self._load(path)
        whole = np.zeros(width * (self.n_layers - 1), np.float32)
        whole[: len(data)] = data
        start = None if path is None else whole.ctypes.data_as(c.c_void_p)
        sizes = (c.c_size_t(len(whole)), c.c_int32(width), c.c_int32(1), c.c_int32(self.n_layers))
        if self._call("llama_set_adapter_cvec", c.c_int32, self.context, start, *sizes):
            raise ValueError(f"llama.cpp cannot add {path}")

    def _load(self, path: Path) -> tuple[int, Float32[np.ndarray, "number"]]:
        """The width and what is added, from block 1 to the last one that the file names."""
        info = _LoadInfo(1.0, str(path).encode())
        start = c.addressof(info)
        infos = _Vector(start, start + c.sizeof(info), start + c.sizeof(info))
        loaded = self._call(_LOADER, _Loaded, c.byref(infos))
        if loaded.width < 0:
            raise ValueError(f"llama.cpp refuses {path}")
        size = ((loaded.data.end or 0) - (loaded.data.begin or 0)) // 4
        numbers = c.cast(c.c_void_p(loaded.data.begin), c.POINTER(c.c_float))
        return loaded.width, np.ctypeslib.as_array(numbers, (size,)).copy()

    def next_log_probabilities(self, ids: Sequence[int]) -> Float32[Tensor, "vocab"]:
        """Of the token after these ones."""
        memory = c.c_void_p(self._call("llama_get_memory", c.c_void_p, self.context))
        self._call("llama_memory_clear", None, memory, c.c_bool(True))
        tokens = (c.c_int32 * len(ids))(*ids)  # the batch only points to it
        batch = self._call("llama_batch_get_one", _Opaque, tokens, c.c_int32(len(ids)))
        if self._call("llama_decode", c.c_int32, self.context, batch):
            raise ValueError(f"llama.cpp cannot run {len(ids)} tokens")
        logits = self._call("llama_get_logits_ith", c.POINTER(c.c_float), self.context, c.c_int32(-1))
        return torch.from_numpy(np.ctypeslib.as_array(logits, (self.n_tokens,)).copy()).log_softmax(0)
