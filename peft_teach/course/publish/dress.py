"""What a build does to each lesson's cells so that its notebook reads well.

    below its title, and at its end    links to the lesson before, to START, to the next
    set-up, a picture, a result        their code is folded to one line: # @title Picture: …
    arXiv 2106.09685, doi 10.…         links
"""

import ast
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..lessons import START, in_two
from .colab import FOLDED, added
from .source import SourceCell

TITLE = "# @title "    # JupyterLab and Colab show of a folded cell its first line

_LONGEST = 80
# What a cell may call and still be read for its result alone; and what is the reader's own.
_SHOWS = ("pt.compare", "pt.plots", "pt.drawing", "pt.course", "pt.board.scores", "pt.verdict")
_READERS = (".train", ".watch", ".Guess", ".commit", ".sentence")
# A number of arXiv or a doi in a text; what stands in code, a link or an address stays as it is.
_CITED = re.compile(r"(?P<other>```.*?```|`[^`\n]*`|\[[^]\n]*\]\([^)\n]*\)|https?://\S+)"
                    r"|(?P<arxiv>(?:arXiv[ :])?\b(?P<number>\d\d(?:0\d|1[0-2])\.\d{5})(?:v\d+)?\b)"
                    r"|(?P<older>arXiv[ :](?P<old>\d{4}\.\d{4}|[a-z-]+/\d{7})\b)"
                    r"|(?P<doi>doi[ :](?P<id>10\.\d{4,}/[^\s;,)]*[^\s;,.)]))", re.DOTALL)


def dressed(cells: Sequence[SourceCell], name: str, titles: Mapping[str, str]) -> list[SourceCell]:
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


def _links(name: str, titles: Mapping[str, str]) -> str:
    names = list(titles)
    at = names.index(name)
    before = [f"[← {in_two(titles[each])[0]}]({each}.ipynb)" for each in names[:at][-1:]]
    after = [f"[{in_two(titles[each])[0]} →]({each}.ipynb)" for each in names[at + 1:][:1]]
    return " · ".join([*before, f"[{START}]({START}.ipynb)", *after])


def _cited(cell: SourceCell) -> SourceCell:
    text = _CITED.sub(_link, cell.source)
    return replace(cell, source=text, stub=text)


def _link(found: re.Match) -> str:
    if found["other"]:
        return found[0]
    if found["doi"]:
        return f"[{found[0]}](https://doi.org/{found['id']})"
    return f"[{found[0]}](https://arxiv.org/abs/{found['number'] or found['old']})"


def _folded(cell: SourceCell) -> SourceCell:
    """Fold set-up, and what is read for its result: a captioned picture, what a bet is compared to.
    """
    if cell.kind != "code" or cell.exercise is not None:
        return cell
    first = cell.source.partition("\n")[0]
    title = first.removeprefix(TITLE) if first.startswith(TITLE) else (
        "Set-up" if cell.metadata.get("jupyter", {}).get("source_hidden") else _title(cell.source))
    if not title:
        return cell
    text = cell.source if first.startswith(TITLE) else f"{TITLE}{title}\n{cell.source}"
    return replace(cell, source=text, stub=text, metadata=cell.metadata | FOLDED)


def _title(source: str) -> str:
    """Return the line under which a cell is folded; nothing for what a reader would write.

    A cell that draws is open if it defines or trains, too; one that only tells what a bet is
    compared with, if it calls torch or the library for that.
    """
    tree = ast.parse(source)
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body):
        return ""
    calls = {ast.unparse(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    draws = len(getattr(calls.get("pt.plots.show"), "args", ())) > 1
    computes = any(name.startswith(("torch.", "pt.")) and not name.startswith(_SHOWS)
                   for name in calls)
    if (computes and not draws) or any(name.endswith(_READERS) for name in calls):
        return ""
    if "pt.compare" in calls and len(calls["pt.compare"].args) > 2:
        return f"Result: {_words(calls['pt.compare'].args[2])}"
    return f"Picture: {_words(calls['pt.plots.show'].args[1])}" if draws else ""


def _words(text: ast.expr) -> str:
    """Return the first sentence of a text, as far as it is written out; or its beginning."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    words = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
    words = re.split(r"(?<=\w)[.?;] ", f"{words} ")[0].strip()
    return textwrap.shorten(words, _LONGEST, placeholder=" …")
