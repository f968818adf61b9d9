"""A lesson as a page to read: of its executed notebook, with nothing on it that needs a kernel.

What a reader of the notebook does stands here as it would look: a bet as buttons or a field, which
open its result where the lesson tells it, an exercise as its stub, the card of a usual slip, and a
solution that is folded. What nobody has done yet (a prediction, a sentence, a training of one's
own) has no output here, nor has what only a kernel needs.
"""

import ast
import base64
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from typing import Any

from ..checks.examination import silent
from ..desk.learner import card_of
from ..lessons import START
from . import authored, moving
from .colab import ADDED
from .execution import stored
from .notebooks import Lesson
from .source import CHECK, GRADE, SOLUTION

GLOSSARY = Path("assets/site/glossary.md")
FOLDED, NONE = "folded", "none"
BETS = {"Guess", "commit"}

_NAVIGATION = re.compile(rf"^\[.*\({START}\.ipynb\).*\n*", re.MULTILINE)    # the theme has its own
# What is true where cells run: marked in the lesson's prose, and not on its page.
_OF_NOTEBOOKS = re.compile(r'<(\w+) class="notebook">.*?</\1>', re.DOTALL)
NEED_A_KERNEL = {"progress", "offer"}    # calls that show nothing without one
_DATA = re.compile(r'data:image/png;base64,([^" ]+)')
_PICTURE = re.compile(r'(?:<picture>(<source[^>]*>)?)?(<img[^>]*width="\d+"[^>]*?) '
                      rf'src="{_DATA.pattern}">(?:</picture>)?')
_NO_PROSE = (r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\[[^]\n]*\]\([^)\n]*\)"
             r"|<(code|summary)>.*?</\1>|<[^>]*>|^[#|][^\n]*|\*\*Sources\*\*.*")
_TIME = re.compile(r" \(([^()]*minutes?)\)$")    # of an exercise: below its heading
# An output that says what the reader has not done, or whose pieces run.
_UNDONE = re.compile(r"\(no prediction\)|\((no|not) [\w ]+ yet\)|not trained here yet"
                     r"|No test .* yet|^Lesson \d\d \(|\A(yours: .*\n?)+\Z")
_STILL = re.compile(r'class="peft-teach-still"')    # of a bet, where it holds no picture
_SURE = '<label>How sure, 0 to 1: <input placeholder="0.5" size="4"></label> '
_SET_UP = "# @title Set-up\n"    # imports, records, a model: nothing to read
_DRAWS = re.compile(r"(pt\.)?(plots\.show|pictures\.explore_\w+|drawing\.\w+)\(")


def page(lesson: Lesson, root: Path, solutions: str = FOLDED,
         pictures: Mapping[str, str] | None = None) -> Any:
    """Return the notebook that becomes the page of a lesson.

    `solutions` is "folded" or "none"; `pictures` has the HTML of those with controls, by their
    cell's id.
    """
    notebook = stored(root / lesson.solved)
    results = _results(notebook)
    waiting, questions = _waiting(notebook, results), _questions(notebook, results)
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
            cell.outputs = [_output(_slip((root / lesson.solved).parent, known.exercise.id))]
            cell.metadata = {"tags": ["remove-input"]}
            shown.append(cell)
            if solutions == NONE:
                continue
            cell = _folded(solution, "Show a solution", "Hide the solution")
            cell.id += "-folded"    # the stub has the same
        elif not _read(cell, known.id, results, pictures or {}):
            continue
        elif cell.id in waiting and cell.outputs:
            _wait(cell, waiting[cell.id], questions)
        shown.append(cell)
    title, _, rest = shown[0].source.partition("\n")
    launch = f" or [open it in Colab]({lesson.launch})" if lesson.launch else ""
    shown[0].source = (f'{title}\n\n*A page to read: "you" in its results is a reader whose '
                       "answers all pass. To write the exercises yourself, [start here]"
                       f"(../start.md){launch}.*\n{rest}")
    _gloss(shown, glossary(root))
    notebook.cells = shown
    return notebook


def take_pictures_out(notebook: Any, static: Path, phones: Mapping[str, str]) -> None:
    """Put a notebook's pictures into files beside its page, which loads each when it is seen.

    `phones` has what a phone takes instead, by what a picture says; of others, the notebook.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if html := output.get("data", {}).get("text/html"):
                output.data["text/html"] = _PICTURE.sub(
                    lambda found: _out(found, static, phones), html)


def _out(found: re.Match, static: Path, phones: Mapping[str, str]) -> str:
    def file(data: str) -> str:
        return f"../_static/{static.name}/{moving.filed(base64.b64decode(data), static)}"

    kept, image, data = found.groups(default="")
    size = base64.b64decode(data[:32])    # of a PNG
    across, down = (int.from_bytes(size[at:at + 4], "big") for at in (16, 20))
    width = int(re.search(r'width="(\d+)"', image)[1])
    phone = phones.get(unescape(re.search(r'alt="(.*?)"', image, re.DOTALL)[1])) or _DATA.sub(
        lambda each: file(each[1]), kept)
    image = (image.replace('style="', f'style="{moving.sized(width)}; ') +
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


def glossary(root: Path) -> list[str]:
    """Return the terms of the site's glossary."""
    return re.findall(r"^(\w.*)\n  ", (root / GLOSSARY).read_text("utf-8"), re.MULTILINE)


def _gloss(cells: Iterable[Any], terms: Iterable[str]) -> None:
    """Link the first use of each term in a lesson's prose to the glossary."""
    each = "|".join(sorted(map(re.escape, terms), key=len, reverse=True))
    wanted = re.compile(rf"{_NO_PROSE}|\b(?P<term>{each})\b", re.DOTALL | re.I | re.M)
    used = set()

    def link(found: re.Match) -> str:
        term = (found["term"] or "").lower()
        if not term or term in used:
            return found[0]
        used.add(term)
        return f"{{term}}`{found[0]}`"

    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = wanted.sub(link, cell.source)


# ── cells of code ────────────────────────────────────────────────────────────────────────────


def _read(cell: Any, id: str, results: Container[str], pictures: Mapping[str, str]) -> bool:
    """Make of a cell of code what is read of it; return whether anything is."""
    if cell.source.startswith(_SET_UP):
        return False
    calls = _calls(cell)
    asked = {_name(call) for call in calls}
    bets = [_output(bet) for call in calls if _name(call) in BETS
            if (bet := _bet(call, cell, results))]
    kept = sorted((output for output in cell.outputs if not _is_undone(output)),
                  key=lambda output: _compared(output) is None)    # first what was measured
    cell.outputs = bets + [_told(output) for output in kept if id not in pictures
                           or _compared(output)]
    if id in pictures:
        picture = pictures[id]
        if bets and "when you have guessed" not in picture:    # it may show the answer
            picture = (f'<details class="after-bet"><summary>Bet first, then open the picture'
                       f"</summary>{picture}</details>")
        cell.outputs.append(_output(picture))
        _folded(cell)
    elif asked and asked <= BETS:
        cell.metadata = {"tags": ["remove-input"]}
        return bool(bets)
    elif asked == {"sentence"}:
        yours = re.search("# yours: (.+)", cell.source)
        cell.metadata, cell.outputs = {"tags": ["remove-input"]}, [_output(
            f"<p>In a sentence of your own: {escape(yours[1])}</p>")] if yours else []
        return bool(yours)
    elif cell.metadata.get("jupyter", {}).get("source_hidden") or _DRAWS.match(cell.source):
        _folded(cell)
    return not asked & NEED_A_KERNEL


def _is_undone(output: Any) -> bool:
    """Whether an output is a reader's own: a bet or a training not done, a piece, a warning."""
    text, html = _text(output), output.get("data", {}).get("text/html", "")
    return bool(output.get("name") == "stderr" or _UNDONE.search(text or output.get("text", ""))
                or (_STILL.search(html) and "<figure" not in html))


def _bet(call: ast.Call, cell: Any, results: Container[str]) -> str:
    """Return a bet: its question and its buttons, if it has any, and where its answer stands."""
    name = _about(call, results)
    told = f'<a href="#measured-{name}">The answer</a> comes below.' if name else ""
    if _name(call) == "commit":
        sure = "how sure" in cell.source.splitlines()[call.end_lineno - 1].partition("# ")[2]
        form = escape(_form(call, sure))
        return told and _asked("", f'<label>Your bet: <input required placeholder="{form}" '
                               f'size="{max(12, len(form))}"></label> {_SURE * sure}'
                               '<button type="button">Bet</button>', told, name)
    values = _values(call)
    question = values[0].value
    return buttons(question, _options(question, values[1], cell), told, name)


def _form(call: ast.Call, sure: bool) -> str:
    """How an answer looks: that of `like=`, without how sure one is."""
    like = next((ast.literal_eval(each.value) for each in call.keywords if each.arg == "like"), [])
    if isinstance(like, dict):
        like = [f"{name}: {value}" for name, value in like.items()]
    like = like if isinstance(like, list) else [like]
    return ", ".join(str(each) or "–" for each in like[:1 if sure else None])


def buttons(question: str, options: Iterable[str], told: str, name: str | None = None) -> str:
    """Return a question and a button for each option; any of them shows what is `told`."""
    each = "".join(f'<button type="button" aria-pressed="false">{escape(option)}</button>'
                   for option in options)
    return _asked(question, each, told, name)


def _asked(question: str, answers: str, told: str, name: str | None) -> str:
    """Return a bet; a screen reader hears what appears in a status that was there before."""
    if told:
        told = f'<div role="status"><p hidden><span class="said"></span>{told}</p></div>'
    opens = f' data-name="{name}"' if name else ""
    head = f"<p><strong>{escape(question)}</strong></p>" if question else ""
    return (f'<div class="bet" role="group" aria-label="{escape(question) or "A bet"}"{opens}>'
            f"{head}<div>{answers}</div>{told}</div>")


def _about(call: ast.Call, results: Container[str]) -> str | None:
    """Return the name of a bet of which something was measured."""
    return next((value.value for value in reversed(_values(call))
                 if isinstance(value, ast.Constant) and value.value in results), None)


def _options(question: str, given: ast.expr, cell: Any) -> list[str]:
    try:
        return [str(option) for option in ast.literal_eval(given)]
    except ValueError:    # a name: as the notebook shows them
        still = next(_text(output) for output in cell.outputs if question in _text(output))
        return [option.strip() for option in still.partition(question)[2].split(" / ")]


def _results(notebook: Any) -> dict[str, int]:
    """Return which cell tells what was measured, by the name of the bet; the last that does."""
    return {card[0]: n for n, cell in enumerate(notebook.cells)
            for output in cell.get("outputs", ()) if (card := _compared(output))}


def _compared(output: Any) -> tuple[str, str] | None:
    """The name of a bet and what was measured, as HTML, from the text of `pt.compare`'s card."""
    heading, *lines = _text(output).split("\n")
    if len(lines) < 2 or "you said" not in lines[-2]:
        return None
    note, _, name = heading.removesuffix(")").rpartition(" (")
    note, _, sure = note.partition("; and how sure")
    value = lines[-1][lines[-2].index("measured"):]
    value = value.partition(" · ")[0] if sure else value    # how sure: nobody measures that
    return name, f"<strong>{escape(note or 'Measured')}:</strong> {escape(value)}"


def _waiting(notebook: Any, results: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the cells whose outputs wait for bets, by id, and the names of these.

    They are the cell of what was measured and, where no prose stands between, those from the bet.
    Bets that are made on the way are waited for, too: their answer may stand there. A tag of the
    lesson's own, "after-lora.rank", says it of any cell.
    """
    cells = notebook.cells
    waiting = {cell.id: names for cell in cells if (names := [
        tag.removeprefix("after-") for tag in cell.metadata.get("tags", ())
        if tag.startswith("after-")])}
    asks = {n: [call for call in _calls(cell) if _name(call) in BETS]
            for n, cell in enumerate(cells) if cell.cell_type == "code"}
    asked = {name: n for n, bets in asks.items() for call in bets
             if (name := _about(call, results))}
    for name, n in asked.items():
        between = range(n + 1, results[name] + 1)
        if not all(each in asks for each in between):
            between = [results[name]]
        waiting |= {cells[at].id: [each for each in asked if n <= asked[each] < at <= results[each]]
                    for at in between if not asks[at]}
    return waiting


def _questions(notebook: Any, results: Container[str]) -> dict[str | None, str]:
    """Return what stands above the buttons of each bet, by its name: the last sentence."""
    return {_about(call, results): _values(call)[0].value.rpartition(". ")[2].rstrip(":")
            for cell in notebook.cells if cell.cell_type == "code"
            for call in _calls(cell) if _name(call) == "Guess"}


def _wait(cell: Any, names: Sequence[str], questions: Mapping[str | None, str]) -> None:
    """Fold a cell's outputs until the bets are made, under the last one's question.

    site.js opens them.
    """
    folded = ["remove-input"] * ("hide-input" in cell.metadata.get("tags", ()))
    prompt = f"After the bet: {questions.get(names[-1], 'the result')}"
    cell.metadata = {"tags": [*folded, "hide-output", *(f"after-{name}" for name in names)],
                     "mystnb": {"code_prompt_show": prompt, "code_prompt_hide": prompt}}


def _told(output: Any) -> Any:
    card = _compared(output)
    return output if card is None else _output(
        f'<p class="measured" id="measured-{card[0]}"><span class="said"></span>{card[1]}</p>')


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


def _calls(cell: Any) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]


def _values(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _text(output: Any) -> str:
    return str(output.get("data", {}).get("text/plain", ""))


def _output(html: str) -> Any:
    from nbformat.v4 import new_output

    return new_output("display_data", data={"text/html": html})
