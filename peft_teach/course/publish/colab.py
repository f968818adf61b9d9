"""What a build adds to each lesson for places where the course is not installed, Colab above all.

A badge that opens the lesson there, once `address` in pyproject.toml names the git repository, and
a cell that installs the course.
"""

from collections.abc import Sequence
from typing import Any

from .address import on_colab
from .source import Cell

ADDED = "added"    # the part of these cells, instead of solution, check or grade

_FIRST = "# Nothing happens here where the course is installed. On Colab, this installs it, once."
_INSTALL = f"""{_FIRST}
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

if importlib.util.find_spec("peft_teach") is None:
    colab = Path("/content")
    places = [Path.cwd().parent, colab / "peft-teach", colab / "drive/MyDrive/peft-teach"]
    course = next((p for p in places if (p / "peft_teach").is_dir()), ADDRESS)
    if course is None:
        raise SystemExit("Put the course's folder at /content/peft-teach, then run this again.")
    pip = [sys.executable, "-m", "pip"]
    there = Path(tempfile.mkdtemp(), "there.txt")    # what pip may not move
    with there.open("w") as file:
        subprocess.run([*pip, "list", "--format=freeze"], stdout=file, check=True)
    subprocess.run([*pip, "install", "-q", "-c", there, course], check=True)
    importlib.invalidate_caches()"""


def add(cells: Sequence[Cell], lesson: str, address: str) -> list[Cell]:
    """Return a lesson's cells with the badge on top and the install cell before the first code.

    `address` is that of the git repository, or empty.
    """
    first = next((n for n, cell in enumerate(cells) if cell.kind == "code"), len(cells))
    badge = []
    if link := on_colab(lesson, address):
        badge = [added("badge", "markdown", "[![Open in Colab](https://colab.research.google.com/"
                       f"assets/colab-badge.svg)]({link})")]
    return [*badge, *cells[:first], install(address), *cells[first:]]


def install(address: str) -> Cell:
    """Return the cell that installs the course: from a checkout, or from the address."""
    source = repr(f"git+{address}") if address else "None"
    return added("install", "code", _INSTALL.replace("ADDRESS", source),
                 jupyter={"source_hidden": True})


def installs(cell: Any) -> bool:
    """Whether a notebook's cell installs the course, in this build or an earlier one."""
    return cell.source.startswith(_FIRST)


def added(id: str, kind: str, source: str, **metadata: Any) -> Cell:
    """Return a cell that no source has."""
    return Cell(id, kind, source, source, metadata, None, ADDED, "the cells that the build adds")
