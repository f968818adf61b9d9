"""What a build adds to each lesson for places where the course is not installed, Colab above all.

A badge that opens the lesson there, once `address` in pyproject.toml names the git repository, and
a cell that installs the course.
"""

from collections.abc import Sequence
from typing import Any

from .address import on_colab
from .source import SourceCell

FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}    # JupyterLab's, and Colab's
ADDED = "added"    # the part of these cells, instead of solution, check or grade

SET_UP = "setup"                  # the tag of the cell that installs
FOLDER = "/content/peft-teach"    # where one puts the course while it has no address
# What is installed there binds pip: it may not move.
_INSTALL = """\
# @title On Colab, this installs the course; elsewhere, nothing happens
from importlib.util import find_spec

if find_spec("peft_teach") is None:
    get_ipython().system("pip list --format=freeze >there.txt; pip install -q -c there.txt COURSE")\
"""


def add(cells: Sequence[SourceCell], lesson: str, address: str) -> list[SourceCell]:
    """Return a lesson's cells with the badge on top and the install cell before the first code.

    `address` is that of the git repository, or empty.
    """
    first = next((n for n, cell in enumerate(cells) if cell.kind == "code"), len(cells))
    badge = []
    if link := on_colab(lesson, address):
        badge = [added("badge", "markdown", "[![Open in Colab](https://colab.research.google.com/"
                       f"assets/colab-badge.svg)]({link})")]
    return [*badge, *cells[:first], install(address), *cells[first:]]


def install(address: str) -> SourceCell:
    """Return the cell that installs the course: from the address, or from its folder there."""
    source = _INSTALL.replace("COURSE", f"git+{address}" if address else FOLDER)
    if not address:
        source = source.replace("None:", "None:    # the course's folder is to be there")
    return added("install", "code", source, tags=[SET_UP], **FOLDED)


def installs(cell: Any) -> bool:
    """Whether a notebook's cell installs the course, which has no output."""
    return SET_UP in cell.metadata.get("tags", ())


def added(id: str, kind: str, source: str, **metadata: Any) -> SourceCell:
    """Return a cell that no source has."""
    return SourceCell(id, kind, source, source, metadata, None, ADDED, "what the build adds")
