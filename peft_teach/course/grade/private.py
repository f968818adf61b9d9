"""Files with names and marks: written whole, and readable by their owner alone."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ...errors import PeftTeachError
from ...folder import write_whole

ONLY_MINE = stat.S_IRUSR | stat.S_IWUSR    # 0600; Windows goes by the folder
MY_FOLDER = stat.S_IRWXU                   # 0700, of a new one: names of files are names, too


def store(path: Path, content: str | bytes, mode: int | None = ONLY_MINE) -> None:
    """Write a file whole, "?" for what is not text; `mode` None leaves it to the system."""
    with _writing(path):
        path.parent.mkdir(mode=MY_FOLDER, parents=True, exist_ok=True)
        write_whole({path: content if isinstance(content, bytes) else
                     content.encode("utf-8", "replace")}, mode)


def must_be_writable(out: Path) -> None:
    """Raise `PeftTeachError` if nothing can be written there, before hours of grading."""
    with _writing(out):
        out.mkdir(mode=MY_FOLDER, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(bytes(2**16))


def make_private(path: Path) -> None:
    """Take a file of the instructor's own away from everybody else, where that can be done."""
    with contextlib.suppress(OSError):
        os.chmod(path, ONLY_MINE)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PeftTeachError(
            f"{path} cannot be written: {error.strerror}. What was graded is kept: make room or "
            "name another --out, and the same command goes on.") from None
