"""A lesson as a page to read: of its executed notebook, with nothing on it that needs a kernel.

What a reader of the notebook does stands here as it would look: a bet as buttons or a field, which
open its result where the lesson tells it, an exercise as its stub, the card of a usual slip, and a
solution that is folded. What nobody has done yet (a prediction, a sentence, a training of one's
own) has no output here, nor has what only a kernel needs.
"""

import base64
import re
from collections.abc import Container, Mapping
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from typing import Any

from ..checks.examination import silent
from ..desk.learner import card_of
from ..lessons import START
from . import authored, bets, recorded_widgets
from .colab import ADDED
from .execution import stored
from .glossary import link_terms, terms
from .notebooks import Lesson
from .source import CHECK, GRADE, SOLUTION

FOLDED, NONE = "folded", "none"

_NAVIGATION = re.compile(rf"^\[.*\({START}\.ipynb\).*\n*", re.MULTILINE)    # the theme has its own
# What is true where cells run: marked in the lesson's prose, and not on its page.
_OF_NOTEBOOKS = re.compile(r'<(\w+) class="notebook">.*?</\1>', re.DOTALL)
NEED_A_KERNEL = {"progress", "offer"}    # calls that show nothing without one
_DATA = re.compile(r'data:image/png;base64,([^" ]+)')
_PICTURE = re.compile(r'(?:<picture>(<source[^>]*>)?)?(<img[^>]*width="\d+"[^>]*?) '
                      rf'src="{_DATA.pattern}">(?:</picture>)?')
_TIME = re.compile(r" \(([^()]*minutes?)\)$")    # of an exercise: below its heading
# An output that says what the reader has not done, or whose pieces run.
_UNDONE = re.compile(r"\(no prediction\)|\((no|not) [\w ]+ yet\)|not trained here yet"
                     r"|No test .* yet|^Lesson \d\d \(|\A(yours: .*\n?)+\Z")
_STILL = re.compile(r'class="peft-teach-still"')    # of a bet, where it holds no picture
_SET_UP = "# @title Set-up\n"    # imports, records, a model: nothing to read
_DRAWS = re.compile(r"(pt\.)?(plots\.show|pictures\.explore_\w+|drawing\.\w+)\(")


def page(lesson: Lesson, root: Path, solutions: str = FOLDED,
         pictures: Mapping[str, str] | None = None) -> Any:
    """Return the notebook that becomes the page of a lesson.

    `solutions` is "folded" or "none"; `pictures` has the HTML of those with controls, by their
    cell's id.
    """
    notebook = stored(root / lesson.solved)
    results = bets.results_of(notebook)
    waiting, questions = bets.waiting_for(notebook, results), bets.questions_of(notebook, results)
    shown, solution, further = [], None, False
    for cell, known, student in zip(notebook.cells, lesson.cells, lesson.student.cells):
        if known.part in (GRADE, ADDED):
            continue
        if cell.cell_type == "markdown":
            cell.source, further = _prose(cell.source, bool(shown), further)
        elif known.part == SOLUTION:
            cell.outputs = []
            solution, cell = cell, student
        elif known.part == CHECK:
            cell.outputs = [bets.output_of(_slip((root / lesson.solved).parent, known.exercise.id))]
            cell.metadata = {"tags": ["remove-input"]}
            shown.append(cell)
            if solutions == NONE:
                continue
            cell = _folded(solution, "Show a solution", "Hide the solution")
            cell.id += "-folded"    # the stub has the same
        elif not _read(cell, known.id, results, pictures or {}):
            continue
        elif cell.id in waiting and cell.outputs:
            bets.wait(cell, waiting[cell.id], questions)
        shown.append(cell)
    title, _, rest = shown[0].source.partition("\n")
    launch = f" or [open it in Colab]({lesson.launch})" if lesson.launch else ""
    shown[0].source = (f'{title}\n\n*A page to read: "you" in its results is a reader whose '
                       "answers all pass. To write the exercises yourself, [start here]"
                       f"(../start.md){launch}.*\n{rest}")
    link_terms(shown, terms(root))
    notebook.cells = shown
    return notebook


def take_pictures_out(notebook: Any, static: Path, phones: Mapping[str, str]) -> None:
    """Put a notebook's pictures into files beside its page, which loads each when it is seen.

    `phones`: phone version by alt text; a picture without one keeps the notebook's.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if html := output.get("data", {}).get("text/html"):
                output.data["text/html"] = _PICTURE.sub(
                    lambda found: _out(found, static, phones), html)


def _out(found: re.Match, static: Path, phones: Mapping[str, str]) -> str:
    def file(data: str) -> str:
        return f"../_static/{static.name}/{recorded_widgets.filed(base64.b64decode(data), static)}"

    kept, image, data = found.groups(default="")
    size = base64.b64decode(data[:32])    # of a PNG
    across, down = (int.from_bytes(size[at:at + 4], "big") for at in (16, 20))
    width = int(re.search(r'width="(\d+)"', image)[1])
    phone = phones.get(unescape(re.search(r'alt="(.*?)"', image, re.DOTALL)[1])) or _DATA.sub(
        lambda each: file(each[1]), kept)
    image = (image.replace('style="', f'style="{recorded_widgets.sized(width)}; ') +
             f' height="{round(width * down / across)}" loading="lazy" src="{file(data)}">')
    return f"<picture>{phone}{image}</picture>"


# ── prose ────────────────────────────────────────────────────────────────────────────────────


def _prose(text: str, below: bool, further: bool) -> tuple[str, bool]:
    """Return a text with one title a page, and headings in their order below it.

    A second title, *Further*, becomes a section, and those in it its subsections: `further` says
    whether it has begun.
    """
    text = _OF_NOTEBOOKS.sub("", _NAVIGATION.sub("", text))
    lines, fenced = [], False
    for line in text.replace(f"({START}.ipynb)", "(../start.md)").split("\n"):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and re.match("#+ ", line):
            further |= below and line.startswith("# ")
            line = _TIME.sub(r"\n\n*\1*\n", "#" * further + line)
        lines.append(line)
    return "\n".join(lines), further


# ── cells of code ────────────────────────────────────────────────────────────────────────────


def _read(cell: Any, id: str, results: Container[str], pictures: Mapping[str, str]) -> bool:
    """Make of a cell of code what is read of it; return whether anything is."""
    if cell.source.startswith(_SET_UP):
        return False
    calls = bets.calls(cell)
    names = {bets.called(call) for call in calls}
    buttons = [bets.output_of(html) for call in calls if bets.called(call) in bets.BETS
               if (html := bets.bet(call, cell, results))]
    kept = sorted((output for output in cell.outputs if not _is_undone(output)),
                  key=lambda output: bets.compared(output) is None)    # first what was measured
    cell.outputs = buttons + [bets.answer_of(output) for output in kept if id not in pictures
                              or bets.compared(output)]
    if id in pictures:
        picture = pictures[id]
        if buttons and "when you have guessed" not in picture:    # it may show the answer
            picture = (f'<details class="after-bet"><summary>Bet first, then open the picture'
                       f"</summary>{picture}</details>")
        cell.outputs.append(bets.output_of(picture))
        _folded(cell)
    elif names and names <= bets.BETS:
        cell.metadata = {"tags": ["remove-input"]}
        return bool(buttons)
    elif names == {"sentence"}:
        yours = re.search("# yours: (.+)", cell.source)
        cell.metadata, cell.outputs = {"tags": ["remove-input"]}, [bets.output_of(
            f"<p>In a sentence of your own: {escape(yours[1])}</p>")] if yours else []
        return bool(yours)
    elif cell.metadata.get("jupyter", {}).get("source_hidden") or _DRAWS.match(cell.source):
        _folded(cell)
    return not names & NEED_A_KERNEL


def _is_undone(output: Any) -> bool:
    """Whether an output is a reader's own: a bet or a training not done, a piece, a warning."""
    text, html = bets.text_of(output), output.get("data", {}).get("text/html", "")
    return bool(output.get("name") == "stderr" or _UNDONE.search(text or output.get("text", ""))
                or (_STILL.search(html) and "<figure" not in html))


def _slip(home: Path, id: str) -> str:
    """The card of the most usual wrong answer to an exercise; it is nobody's, so without marks."""
    _, text = authored.usual(home, id)
    with silent():
        card = card_of(id, authored.define(id, text))
    return replace(card, title="What the check says of a usual slip", state="", note="",
                   next="")._repr_html_()


def _folded(cell: Any, show: str = "Show the code", hide: str = "Hide the code") -> Any:
    cell.metadata = {"tags": ["hide-input"],
                     "mystnb": {"code_prompt_show": show, "code_prompt_hide": hide}}
    return cell
