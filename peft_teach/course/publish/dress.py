"""What a build does to each lesson's cells so that its notebook reads well.

    below its title, and at its end    links to the lesson before, to START, to the next
    a picture with a caption           its code is folded to one line: # @title Picture: …
    arXiv 2106.09685, doi 10.…         links
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..lessons import START
from .colab import FOLDED, added
from .source import Cell

TITLE = "# @title "    # JupyterLab and Colab show of a folded cell its first line

_SET_UP = "Set-up"
_LONGEST = 80
# A number of arXiv or a doi in a text; what stands in code, a link or an address stays as it is.
_CITED = re.compile(r"(?P<other>```.*?```|`[^`\n]*`|\[[^]\n]*\]\([^)\n]*\)|https?://\S+)"
                    r"|(?P<arxiv>(?:arXiv[ :])?\b(?P<number>\d\d(?:0\d|1[0-2])\.\d{5})(?:v\d+)?\b)"
                    r"|(?P<older>arXiv[ :](?P<old>\d{4}\.\d{4}|[a-z-]+/\d{7})\b)"
                    r"|(?P<doi>doi[ :](?P<id>10\.\d{4,}/[^\s;,)]*[^\s;,.)]))", re.DOTALL)


def dressed(cells: Sequence[Cell], name: str, titles: Mapping[str, str]) -> list[Cell]:
    """Return a lesson's cells as its notebook has them; `titles` are those of all, in order."""
    cells = [_cited(cell) if cell.kind == "markdown" else _folded(cell) for cell in cells]
    links = _links(name, titles)
    first = next((n for n, cell in enumerate(cells)
                  if cell.kind == "markdown" and cell.source.startswith("# ")), None)
    if first is not None:
        title, _, rest = cells[first].source.partition("\n")
        text = "\n\n".join(filter(None, (title, links, rest.strip("\n"))))
        cells[first] = replace(cells[first], source=text, stub=text)
    return [*cells, added("links", "markdown", links)]


def short(title: str) -> str:
    """Return a lesson's title up to its question: "07 · LoRA"."""
    return re.split(r"[:,?]", title)[0].strip()


def _links(name: str, titles: Mapping[str, str]) -> str:
    names = list(titles)
    at = names.index(name)
    before = [f"[← {short(titles[each])}]({each}.ipynb)" for each in names[:at][-1:]]
    after = [f"[{short(titles[each])} →]({each}.ipynb)" for each in names[at + 1:][:1]]
    return " · ".join([*before, f"[{START}]({START}.ipynb)", *after])


def _cited(cell: Cell) -> Cell:
    text = _CITED.sub(_link, cell.source)
    return replace(cell, source=text, stub=text)


def _link(found: re.Match) -> str:
    if found["other"]:
        return found[0]
    if found["doi"]:
        return f"[{found[0]}](https://doi.org/{found['id']})"
    return f"[{found[0]}](https://arxiv.org/abs/{found['number'] or found['old']})"


def _folded(cell: Cell) -> Cell:
    """Fold set-up, and a cell that draws a picture with a caption: it is read, and its code not."""
    if cell.kind != "code" or cell.exercise is not None:
        return cell
    if cell.metadata.get("jupyter", {}).get("source_hidden"):
        title = _own_title(cell.source) or _SET_UP
    elif caption := _caption(cell.source):
        title = _own_title(cell.source) or f"Picture: {caption}"
    else:
        return cell
    text = cell.source if cell.source.startswith(TITLE) else f"{TITLE}{title}\n{cell.source}"
    return replace(cell, source=text, stub=text, metadata=cell.metadata | FOLDED)


def _own_title(source: str) -> str:
    first = source.partition("\n")[0]
    return first.removeprefix(TITLE) if first.startswith(TITLE) else ""


def _caption(source: str) -> str:
    """Return the first sentence of the caption that a cell shows; none where it trains or defines.
    """
    tree = ast.parse(source)
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body):
        return ""
    calls = [(ast.unparse(node.func), node) for node in ast.walk(tree)
             if isinstance(node, ast.Call)]
    if any(name.endswith((".train", ".watch", ".Guess", ".commit", ".sentence"))
           for name, _ in calls):
        return ""
    for name, call in calls:
        if name == "pt.plots.show" and len(call.args) > 1:
            text = "".join(part.value for part in ast.walk(call.args[1]) if isinstance(
                part, ast.Constant) and isinstance(part.value, str))
            sentence = re.split(r"(?<=\w)[.?;] ", f"{text} ")[0].strip()
            return sentence if len(sentence) <= _LONGEST else (
                sentence[:_LONGEST].rsplit(" ", 1)[0] + " …")
    return ""
