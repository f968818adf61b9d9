"""The outputs of a solution notebook: created, kept, and freed of traces of the machine."""

import ast
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..desk import work
from . import colab
from .source import first_line, wrong

CELL_SECONDS = 600  # the longest that a cell may take
WIDGET = "application/vnd.jupyter.widget-view+json"

_LOCAL_PATH = r"/home/|/root/|/tmp/|/Users/|/var/folders/|[A-Z]:\\Users"


def execute(notebook: Any, path: Path, desk: Path) -> None:
    """Run the notebook in its own folder; its outputs are then in it.

    `desk` is where its reader works: there stands what earlier lessons built and trained.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    # Without the state of live widgets: GitHub shows no notebook that has it.
    client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3",
                            record_timing=False, store_widget_state=False, coalesce_streams=True,
                            resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute(env={**os.environ, work.VARIABLE: str(desk), work.BUILD: "1"})
    except CellExecutionError as error:
        raise wrong(f"{path.name} stopped with an error:\n{error}",
                    "correct that cell in the source and execute again") from None


def keep(notebook: Any, path: Path) -> bool | None:
    """Take over the stored outputs if all code is as it was then; return whether there are any.

    None if the code is another, or nothing is stored. Comments may differ, and the cell that
    installs the course, which has no output.
    """
    if not path.exists():
        return None
    old, new = (sorted(code_cells(one), key=colab.installs) for one in (stored(path), notebook))
    before, now = ([_code(cell.source) for cell in cells if not colab.installs(cell)]
                   for cells in (old, new))
    if before != now:
        return None
    for before, after in zip(old, new):
        after.outputs, after.execution_count = before.outputs, before.execution_count
    return any(cell.execution_count for cell in old)


def _code(source: str) -> str:
    """Return what a cell computes, whatever its comments."""
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:    # somebody's magic
        return source


def clean(notebook: Any, path: Path, root: Path) -> None:
    """Keep only what would be the same on another machine."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in code_cells(notebook):
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET, None)  # no widget lives on in a file
            for holder, key in _texts(output):
                holder[key] = _shorten(holder[key], root)
        cell.outputs = [output for output in cell.outputs if output.get("data", "no data")]
    for found in local_paths(notebook, root, sys.prefix):
        raise wrong(f"{path.name}: {found}", "print the names of files, not their paths")


def local_paths(notebook: Any, *folders: Path | str) -> list[str]:
    """The outputs that contain a path of the machine on which they ran, or one of `folders`."""
    here = "|".join([_LOCAL_PATH, *(re.escape(str(folder)) for folder in folders)])
    local = re.compile(rf"(?<![\w.:/])({here})\S*")
    return [f"the output of the cell {first_line(cell.source)!r} names {found.group()}"
            for cell in code_cells(notebook) for output in cell.outputs
            for holder, key in _texts(output)
            if (found := local.search("\n".join(_lines(holder[key]))))]


def code_cells(notebook: Any) -> list[Any]:
    """The cells that can have outputs."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def stored(path: Path) -> Any:
    """The notebook in a file."""
    import nbformat

    return nbformat.read(path, as_version=4)


def _texts(output: Any) -> Iterator[tuple[Any, str]]:
    """Where an output has text, as (holder, key). A picture's bytes are not text."""
    if output.output_type == "stream":
        yield output, "text"
    elif output.output_type == "error":
        yield output, "traceback"
    else:
        for kind in output.data:
            if kind.startswith("text/") or kind == "image/svg+xml":
                yield output.data, kind


def _shorten(text: str | list[str], root: Path) -> str | list[str]:
    """Shorten the paths of a traceback: those of cells, of the checkout and of installed files.

    How long a bar took goes, too: it says how busy the machine was.
    """
    if isinstance(text, list):
        return [_shorten(line, root) for line in text]
    text = re.sub(r", \d+ s in all\b", "", text)
    if "ipykernel_" in text:    # since on a picture's long line the pattern takes minutes
        text = re.sub(r"[^\s\"'&;<>]*[/\\]ipykernel_\d+[/\\]\w+\.py", "cell", text)
    for folder in (root, sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")):
        text = text.replace(f"{folder}/", "")
    return text


def _lines(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text
