"""Plain data across a trust boundary: JSON for the tree, safetensors for the tensors.

    to_bytes(value) ──> one frame ──> from_bytes(frame)

Numbers (NumPy's as Python's), text, None, lists, tuples, dicts, dtypes and tensors arrive as what
they are, without their subclasses: what a learner's own class claims to be does not cross.
Everything else arrives as a `Foreign` that holds only the name of its type. Nothing is unpickled.

Frames are validated: one that is too large, too deep, of another form or inconsistent raises
`Malformed`.
"""

import json
import math
import re
import struct
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

DEEPEST = 40             # levels of containers
MOST_NODES = 200_000     # numbers, texts and containers in one frame
MOST_TENSORS = 2_000
LARGEST_INT = 4_000      # bits; Python writes no number that is much larger
# What is of a plain type and is not taken all the same: its type's name alone would say nothing.
REFUSED = {"int": "int too large to be read", "Tensor": "tensor of a kind that is not read"} | {
    name: f"{name} too deep to be read" for name in ("list", "tuple", "dict")}
LENGTHS = struct.Struct(">II")    # of the JSON and of the tensors, in bytes, before them

NUMPY_NUMBERS = (np.bool_, np.float16, np.float32, np.float64, *(
    np.dtype(code).type for code in "bBhHiIlLqQ"))    # some systems have two types of int64
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool)}


class Malformed(ValueError):
    """Bytes that `to_bytes` did not write."""


class Foreign:
    """Something that is not plain data. Its type has the name of the original's."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def to_bytes(value: Any) -> bytes:
    """One frame that holds a value; what is not plain data becomes a `Foreign`."""
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_encode(value, tensors, 0), allow_nan=False).encode()
    data = save(tensors)
    return LENGTHS.pack(len(tree), len(data)) + tree + data


def split(data: bytes) -> list[bytes]:
    """The complete frames at the start of `data`, without a last one that was cut off."""
    frames, start = [], 0
    while start + LENGTHS.size <= len(data):
        end = start + LENGTHS.size + sum(LENGTHS.unpack_from(data, start))
        if end > len(data):
            break
        frames.append(data[start:end])
        start = end
    return frames


def from_bytes(frame: bytes) -> Any:
    """The value in a frame. Raises `Malformed`, and nothing else."""
    try:
        n_tree, n_data = LENGTHS.unpack_from(frame)
        start = LENGTHS.size
        if len(frame) != start + n_tree + n_data:
            raise ValueError("its length is not what its head says")
        tensors = load(frame[start + n_tree:]) if n_data else {}
        if len(tensors) > MOST_TENSORS or any(t.dtype not in DTYPES.values()
                                              for t in tensors.values()):
            raise ValueError("tensors of other kinds, or too many")
        tree = json.loads(frame[start:start + n_tree], parse_constant=_refuse)
        return _decode(tree, tensors, 0, count(1))
    except Exception as error:    # from struct, json or safetensors, of many types
        raise Malformed(f"{type(error).__name__}: {str(error)[:200]}") from None


def _encode(value: Any, tensors: dict[str, Tensor], depth: int) -> Any:
    """The JSON of a value: scalars and lists as they are, all else as {kind: content}.

    It goes by the type, since a class can make `isinstance` lie.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind in NUMPY_NUMBERS:
        return _encode(value.item(), tensors, depth)
    if issubclass(kind, int) and int.bit_length(value) <= LARGEST_INT:
        return int.__add__(value, 0)
    if issubclass(kind, float):
        value = float.__add__(value, 0.0)
        return value if math.isfinite(value) else {"float": repr(value)}
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, torch.dtype) and value in DTYPES.values():
        return {"dtype": str(value).removeprefix("torch.")}
    if issubclass(kind, Tensor) and value.dtype in DTYPES.values() and (
            value.layout == torch.strided and value.device.type != "meta"):
        key = str(len(tensors))
        tensors[key] = value.detach().as_subclass(Tensor).cpu().contiguous().clone()
        return {"tensor": key}
    if depth < DEEPEST:
        if issubclass(kind, list):
            return [_encode(each, tensors, depth + 1) for each in list.__iter__(value)]
        if issubclass(kind, tuple):
            return {"tuple": [_encode(each, tensors, depth + 1) for each in tuple.__iter__(value)]}
        if issubclass(kind, dict):
            return {"dict": [[_encode(k, tensors, depth + 1), _encode(v, tensors, depth + 1)]
                             for k, v in dict.items(value)]}
    return {"foreign": str(kind.__name__)}


def _decode(tree: Any, tensors: dict[str, Tensor], depth: int, nodes: Iterator[int]) -> Any:
    """The value of a JSON that `_encode` wrote. `nodes` counts the values read."""
    if next(nodes) > MOST_NODES or depth > 2 * DEEPEST:
        raise ValueError("it is too large or too deep")

    def inner(each: Any) -> Any:
        return _decode(each, tensors, depth + 1, nodes)

    if isinstance(tree, list):
        return [inner(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    (kind, content), = tree.items()
    if kind == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if kind == "dtype":
        return DTYPES[content]
    if kind == "tensor":
        return tensors[content]
    if kind == "foreign":
        name = re.sub(r"\W", "_", str(content))[:60]    # as a class may have it
        return type(REFUSED.get(name, name) or "object", (Foreign,), {})()
    if kind == "tuple" and isinstance(content, list):
        return tuple(inner(content))
    if kind == "dict" and isinstance(content, list):
        pairs = [(inner(k), inner(v)) for k, v in content]
        if any(not isinstance(k, str | int | float | tuple | None) for k, _ in pairs):
            raise ValueError("a key that is not plain")
        return dict(pairs)
    raise ValueError(f"no such kind: {str(kind)[:50]!r}")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} in JSON")
