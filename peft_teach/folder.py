"""Files that are moved into place together, and an adapter's folder of them, read without trust.

One holds tensors (safetensors), another says in json what they are. No two files can be replaced
in one move, so a file of tensors may hold that json, too, in its metadata: then this one counts,
and a reader gets one whole save, whatever came between. Nothing here unpickles.
"""

import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from .errors import AdapterFileError
from .valid import FLOATS

LARGEST_JSON = 32 * 2**20    # bytes; what describes a model of 100,000 tensors has 25 MB


def as_path(path: str | Path) -> Path:
    """Return a path with "~" expanded; raise `AdapterFileError` for what is no path."""
    try:
        expanded = Path(path).expanduser()
        expanded.is_file()    # a name that no file can have: too long, or with a nul in it
        if str(path) and "\0" not in str(path):
            return expanded
        reason = "it is empty, or holds a nul"
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        reason = str(error)
    raise AdapterFileError(f"{path!r:.80} is no path: {reason:.120}.",
                           expected="a folder's, as text or a Path")


def pack(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Return the bytes of a file of tensors; raise `AdapterFileError` if one is not finite."""
    broken = [name for name, t in tensors.items() if not t.isfinite().all()]
    if broken:
        raise AdapterFileError(f"{broken[0]} holds nan or infinity, so nothing was saved.",
                               expected="finite numbers",
                               hint="train a fresh model at a smaller lr")
    return write_tensors(tensors, metadata)


def write(path: str | Path, contents: dict[str, bytes]) -> Path:
    """Write files whole, by name, into the folder `path`, which may be new; return it.

    Raises `AdapterFileError`.
    """
    folder = as_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdapterFileError(f"{folder} cannot be a folder: {error.strerror}.",
                               expected="a folder, new or old") from error
    taken = [name for name in contents if (folder / name).is_dir()]
    if taken:
        raise AdapterFileError(f"{folder / taken[0]} is a folder.", expected="a file, or nothing")
    try:
        write_whole({folder / name: content for name, content in contents.items()})
    except OSError as error:
        raise AdapterFileError(f"{' and '.join(contents)} could not be written into {folder}: "
                               f"{error.strerror}.",
                               hint="make room on the disk, or save elsewhere") from error
    return folder


def write_whole(contents: Mapping[Path, bytes | str], mode: int | None = None) -> None:
    """Write files, text in UTF-8, so that each is the old one or the new one, and whole.

    All are written beside their places first, under names of their own, and then moved there in
    this order: a full disk leaves the old ones, and of two processes that write at once the last
    one to move a file wins. A `mode` is set before anything is written. Raises `OSError`.
    """
    mine = uuid.uuid4().hex    # another process may be writing here
    beside = {file: file.with_name(f"{file.name}.{mine}.part") for file in contents}
    try:
        for part, content in zip(beside.values(), contents.values()):
            if mode is not None:
                part.touch(mode)
            part.write_bytes(content.encode() if isinstance(content, str) else content)
        for file, part in beside.items():
            os.replace(part, file)
    finally:
        for part in beside.values():
            part.unlink(missing_ok=True)


def read(path: str | Path, description: str, tensors: str, writer: str,
         hint: str) -> tuple[Any, dict[str, Tensor]]:
    """Return the parsed json and the tensors of a folder that `writer` should have written.

    The json is what the tensors' metadata holds under its name, or the file of that name. Raises
    `AdapterFileError` if one of the two is missing, then with `hint`, or is damaged.
    """
    folder = as_path(path)
    try:
        text = _metadata(folder / tensors).get(description)
        loaded = parse_tensors((folder / tensors).read_bytes())    # it checks the header, too
        if text is None:
            with _opened(folder / description) as (file, size):
                text = _json(file, size)
        return json.loads(text), loaded
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AdapterFileError(f"{folder} has no {Path(error.filename).name}.",
                               expected=f"a folder that {writer} wrote", hint=hint) from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError,
            SafetensorError) as error:
        raise AdapterFileError(f"{folder} is damaged: {str(error)[:200]}.",
                               expected=f"the two files as {writer} wrote them",
                               hint="copy them again, or train again") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, and count its bytes; a pipe would never end. Raises `ValueError`."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is no file")
    with path.open("rb") as file:
        yield file, status.st_size


def _json(file: BinaryIO, size: int) -> bytes:
    """Read json of this many bytes, or raise `ValueError`: a small file may claim any number."""
    if size > LARGEST_JSON:
        raise ValueError(f"its json has {size:,} bytes, more than {LARGEST_JSON:,}")
    return file.read(size)


def _metadata(path: Path) -> dict[str, str]:
    """Return what a safetensors file says beside its tensors, in the json that it begins with."""
    with _opened(path) as (file, size):
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError(f"its header ends behind the file, which has {size:,} bytes")
        return json.loads(_json(file, length)).get("__metadata__") or {}


def check(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise `AdapterFileError` unless names and shapes are these, and all numbers finite.

    They must be finite in the dtype that they are to have, too: float16 ends at 65504.
    """
    problems = [f"missing {n}" for n in expected if n not in tensors]
    problems += [f"unexpected {n}" for n in tensors if n not in expected]
    problems += [f"{n} is {tuple(tensors[n].shape)}, not {tuple(p.shape)}"
                 for n, p in expected.items() if n in tensors and tensors[n].shape != p.shape]
    problems += [f"{n} holds nan or infinity" if t.dtype in FLOATS else f"{n} is {t.dtype}"
                 for n, t in tensors.items() if n in expected
                 and (t.dtype not in (expected[n].dtype, *FLOATS) or not t.isfinite().all())]
    problems = problems or [f"{n} holds {tensors[n].abs().max():.4g}, too much for {p.dtype}"
                            for n, p in expected.items()
                            if not tensors[n].to(p.dtype).isfinite().all()]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise AdapterFileError(f"{path} does not fit this model: {'; '.join(problems[:3])}{more}.",
                               expected=f"the {len(expected)} tensors of this method and head")
