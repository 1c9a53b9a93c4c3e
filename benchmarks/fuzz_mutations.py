"""What is done to the files that `benchmarks.fuzz` gives to the loaders: bytes are damaged, and values exchanged.

A value is exchanged where the format lets one do it: in JSON and JSON lines, in the header of a safetensors file, its
metadata and its numbers, in the keys and tensors of a GGUF file, in the columns of a parquet file.
"""

import io
import json
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

Mutate = Callable[[bytes, DataObject], bytes]


class Payload:
    """What would run a command if anybody unpickled it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo this ran",)


NUMBERS = (0, -1, 1, 2, 3, 0.7, -0.0, 1e-300, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**400)
NUMBERS = (0, -1, 1, 2, 3, 0.7, -0.0, 1e-300, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**400)
TEXTS = ("", " ", "a", "0", "\ud800", "\0", "\n", "\N{RIGHT-TO-LEFT OVERRIDE}", "../../x", "x" * 5000, "É", "train")
SCALARS = st.sampled_from((None, True, False, *NUMBERS, *TEXTS))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "kind", "", "\ud800"]), inner),
    max_leaves=4,
)
DTYPES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
} | {"I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8}
"""Bytes of a number, by the names of safetensors."""
DEEP = 100_000
WHOLE = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xff" * 64,
        b"\xef\xbb\xbf",
        b"null",
        b"[]",
        b"{}",
        b"0",
        b'"\\ud800"',
        b"9" * 5000,
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        pickle.dumps(Payload()),
        b"PK\x03\x04" + b"\0" * 40,
        b"GGUF\x03\0\0\0",
        b"PAR1PAR1",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
    ]
)
MARKS = (b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"\n\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8")
PIECES = (b"{", b"}", b"[", b"]", b"\\", b"\\ud800", b"NaN", b"1e999", b"-", b"0.7", b"9" * 5000, b"x" * 200_000)
FRAGMENTS = st.sampled_from((*MARKS, *PIECES))


def mutated(name: str, content: bytes, data: DataObject) -> bytes:
    """The content of a file of this name, damaged or with another value in it."""
    structured = BY_SUFFIX.get(Path(name).suffix)
    if structured is not None and data.draw(st.integers(0, 3)):
        return structured(content, data)
    return _bytes(content, data)


def _bytes(content: bytes, data: DataObject) -> bytes:
    """Damage that any file can suffer."""
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "overwrite", "whole"]))
    if kind == "whole":
        return data.draw(WHOLE)
    at = data.draw(st.integers(0, max(0, len(content) - 1)))
    n = data.draw(st.integers(1, 64))
    if kind == "flip":
        changed = bytearray(content)
        for place in data.draw(st.lists(st.integers(0, max(0, 8 * len(content) - 1)), min_size=1, max_size=8)):
            if content:
                changed[place // 8] ^= 1 << place % 8
        return bytes(changed)
    if kind == "cut":
        return content[:at]
    if kind == "insert":
        return content[:at] + data.draw(FRAGMENTS) + content[at:]
    if kind == "remove":
        return content[:at] + content[at + n :]
    if kind == "repeat":
        return content[: at + n] + content[at:]
    return content[:at] + data.draw(st.binary(min_size=n, max_size=n)) + content[at + n :]


def _json(content: bytes, data: DataObject) -> bytes:
    return json.dumps(_exchanged(json.loads(content), data)).encode()


def _json_lines(content: bytes, data: DataObject) -> bytes:
    lines = content.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    return b"\n".join([*lines[:at], _json(lines[at], data), *lines[at + data.draw(st.integers(0, 1)) :]])


def _exchanged(tree: Any, data: DataObject) -> Any:
    """The tree with one of its values exchanged, renamed, left out or there once more."""
    places = list(_places(tree))
    if not places:
        return data.draw(VALUES)
    parent, key = places[data.draw(st.integers(0, len(places) - 1))]
    kind = data.draw(st.sampled_from(["exchange", "exchange", "exchange", "remove", "rename", "again"]))
    if kind == "exchange":
        text = parent[key]
        within = isinstance(text, str) and text.startswith("{")  # JSON in JSON, as in the metadata of safetensors
        parent[key] = _json(text.encode(), data).decode() if within else data.draw(VALUES)
    elif kind == "remove":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[data.draw(st.sampled_from(["a", "", "\ud800", "x" * 300, *map(str, parent)]))] = parent[key]
        if kind == "rename":
            parent.pop(key, None)
    return tree


def _places(tree: Any) -> Any:
    children = enumerate(tree) if isinstance(tree, list) else tree.items() if isinstance(tree, dict) else ()
    for key, child in list(children):
        yield tree, key
        yield from _places(child)


def _safetensors(content: bytes, data: DataObject) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.pop("__metadata__", {})
    kind = data.draw(st.sampled_from(["header", "metadata", "metadata", "tensor", "tensor", "numbers"]))
    name = data.draw(st.sampled_from(sorted(header) or [""]))
    if kind == "header":
        header = _exchanged(header, data)
    elif kind == "metadata" or not header:
        metadata = _exchanged(metadata, data)
    elif kind == "tensor":
        header = _other_layout(header, name, data)
    else:
        start, end = header[name]["data_offsets"]
        byte = data.draw(st.sampled_from([b"\xff", b"\0", b"\x7f", b"\x80"]))
        numbers = numbers[:start] + byte * (end - start) + numbers[end:]
    described = json.dumps({"__metadata__": metadata, **header} if isinstance(header, dict) else header).encode()
    return len(described).to_bytes(8, "little") + described + numbers


def _other_layout(header: dict[str, Any], name: str, data: DataObject) -> dict[str, Any]:
    """The same bytes as numbers of another type or shape, or under another name."""
    entry = header.pop(name)
    start, end = entry["data_offsets"]
    kind = data.draw(st.sampled_from(["dtype", "shape", "name"]))
    if kind == "name":
        return {data.draw(st.sampled_from(["", "a", f"{name}.x", name[1:], *header])): entry, **header}
    if kind == "dtype":
        entry["dtype"] = data.draw(st.sampled_from(sorted(DTYPES)))
    n = (end - start) // DTYPES[entry["dtype"]]
    shape = data.draw(st.sampled_from([entry["shape"], [n], [n, 1], [1, n], [1, 1, n], [2, n // 2], [n // 2, 2]]))
    return {name: {**entry, "shape": shape}, **header}


def _parquet(content: bytes, data: DataObject) -> bytes:
    table = pq.read_table(io.BytesIO(content))
    at = data.draw(st.integers(0, table.num_columns - 1))
    name, n = table.column_names[at], table.num_rows
    kind = data.draw(st.sampled_from(["drop", "rename", "retype", "cell", "cell", "empty", "twice"]))
    if kind == "drop":
        table = table.drop_columns([name])
    elif kind == "rename":
        table = table.rename_columns(["\0" if each == name else each for each in table.column_names])
    elif kind == "empty":
        table = table.slice(0, 0)
    elif kind == "twice":
        table = pa.concat_tables([table, table])
    elif kind == "retype":
        value = data.draw(st.sampled_from([None, True, 0.7, float("nan"), 2**40, b"\xff\0", [1], {"a": 1}, "x"]))
        table = table.set_column(at, name, pa.array([value] * n))
    else:
        cells = table.column(at).to_pylist()
        values = (
            [None, "", "a", "\0", "x" * 200_000] if pa.types.is_string(table.schema.types[at]) else [None, -1, 2**40]
        )
        cells[data.draw(st.integers(0, n - 1))] = data.draw(st.sampled_from(values))
        table = table.set_column(at, name, pa.array(cells, table.schema.types[at]))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _gguf(content: bytes, data: DataObject) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "in.gguf").write_bytes(content)
        reader = GGUFReader(Path(scratch) / "in.gguf")
        values = {
            key: (field.contents(), field.types) for key, field in reader.fields.items() if not key.startswith("GGUF.")
        }
        tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
        if data.draw(st.integers(0, 3)):
            key = data.draw(st.sampled_from(sorted(values)))
            values = _other_key(values, key, data)
        else:
            tensors = _other_tensor(tensors, data.draw(st.sampled_from(sorted(tensors))), data)
        writer = GGUFWriter(Path(scratch) / "out.gguf", "llama")
        writer.kv_data = [{}]
        for key, (value, types) in values.items():
            writer.add_key_value(key, value, types[0], sub_type=types[-1] if len(types) > 1 else None)
        for name, array in tensors.items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return (Path(scratch) / "out.gguf").read_bytes()


def _other_key(values: dict[str, Any], key: str, data: DataObject) -> dict[str, Any]:
    value, types = values.pop(key)
    kind = data.draw(st.sampled_from(["remove", "rename", "value", "value", "value", "value"]))
    if kind == "rename":
        values[key + data.draw(st.sampled_from(["x", ".x", "é"]))] = value, types
    elif kind == "value" and isinstance(value, list):
        # an empty list cannot be written
        values[key] = data.draw(st.sampled_from([value[:1], value[:-1], value * 2, [value[0]] * len(value)])), types
    elif kind == "value":
        text, whole = GGUFValueType.STRING, GGUFValueType.UINT32
        options = [("", text), ("é" * 9, text), ("x" * 5000, text), (0, whole), (1, whole), (2**31, whole)]
        options += [(2**32 - 1, whole), (-1, GGUFValueType.INT32), (2**63, GGUFValueType.UINT64)]
        options += [(bad, GGUFValueType.FLOAT32) for bad in (0.0, -1.0, 0.7, float("nan"), float("inf"))]
        options += [(True, GGUFValueType.BOOL), (False, GGUFValueType.BOOL)]
        option, kind_of = data.draw(st.sampled_from(options))
        values[key] = option, [kind_of]
    return values


def _other_tensor(tensors: dict[str, np.ndarray], name: str, data: DataObject) -> dict[str, np.ndarray]:
    array = tensors.pop(name)
    options = [array[:1], array.reshape(-1), array.astype(np.float16), array.astype(np.int32), array * np.nan, array.T]
    chosen = data.draw(st.sampled_from([None, *options]))
    return tensors if chosen is None else {**tensors, name: np.ascontiguousarray(chosen)}


BY_SUFFIX: dict[str, Mutate] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".gguf": _gguf,
}
"""What knows a format, by the ending of the file's name."""
