"""The bets of a page: each as buttons or a field, and what waits for its answer."""

import ast
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape
from typing import Any

BETS = {"Guess", "commit"}    # the calls that ask for one
_SURE = (r'<label>How sure, 0 to 1: <input placeholder="0.5" size="4" title="From 0 to 1" '
         r'pattern="[01](\.0*)?|0?\.\d+"></label> ')


def bet(call: ast.Call, cell: Any, results: Container[str]) -> str:
    """Return a bet: its question and its buttons, if it has any, and where its answer stands."""
    name = _about(call, results)
    told = f'<a href="#measured-{name}">The answer</a> comes below.' if name else ""
    if called(call) == "commit":
        comment = cell.source.splitlines()[call.end_lineno - 1].partition("# ")[2]
        sure = "how sure" in comment
        share = " data-share" * bool(re.search("share|from 0 to 1$", comment))
        form = escape(_form(call, sure))
        return told and _asked("", f'<label>Your bet: <input required{share} placeholder="{form}" '
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
        still = next(text_of(output) for output in cell.outputs if question in text_of(output))
        return [option.strip() for option in still.partition(question)[2].split(" / ")]


def results_of(notebook: Any) -> dict[str, int]:
    """Return which cell tells what was measured, by the name of the bet; the last that does."""
    return {card[0]: n for n, cell in enumerate(notebook.cells)
            for output in cell.get("outputs", ()) if (card := compared(output))}


def compared(output: Any) -> tuple[str, str] | None:
    """The name of a bet and what was measured, as HTML, from the text of `pt.compare`'s card."""
    heading, *lines = text_of(output).split("\n")
    if len(lines) < 2 or "you said" not in lines[-2]:
        return None
    note, _, name = heading.removesuffix(")").rpartition(" (")
    note, _, sure = note.partition("; and how sure")
    value = lines[-1][lines[-2].index("measured"):]
    value = value.partition(" · ")[0] if sure else value    # how sure: nobody measures that
    return name, f"<strong>{escape(note or 'Measured')}:</strong> {escape(value)}"


def waiting_for(notebook: Any, results: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the cells whose outputs wait for bets, by id, and the names of these.

    They are the cell of what was measured and, where no prose stands between, those from the bet.
    Bets that are made on the way are waited for, too: their answer may stand there. A tag of the
    lesson's own, "after-lora.rank", says it of any cell.
    """
    cells = notebook.cells
    waiting = {cell.id: names for cell in cells if (names := [
        tag.removeprefix("after-") for tag in cell.metadata.get("tags", ())
        if tag.startswith("after-")])}
    asks = {n: [call for call in calls(cell) if called(call) in BETS]
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


def questions_of(notebook: Any, results: Container[str]) -> dict[str | None, str]:
    """Return what stands above the buttons of each bet, by its name: the last sentence."""
    return {_about(call, results): _values(call)[0].value.rpartition(". ")[2].rstrip(":")
            for cell in notebook.cells if cell.cell_type == "code"
            for call in calls(cell) if called(call) == "Guess"}


def wait(cell: Any, names: Sequence[str], questions: Mapping[str | None, str]) -> None:
    """Fold a cell's outputs until the bets are made, under the last one's question.

    site.js opens them.
    """
    folded = ["remove-input"] * ("hide-input" in cell.metadata.get("tags", ()))
    asked = questions.get(names[-1])
    told = f"The answer: {asked}" if asked else "The answer"
    cell.metadata = {"tags": [*folded, "hide-output", *(f"after-{name}" for name in names)],
                     "mystnb": {"code_prompt_show": f"After the bet: {asked or 'the result'}",
                                "code_prompt_hide": told}}


def answer_of(output: Any) -> Any:
    """Return what was measured as its page shows it; any other output as it is."""
    card = compared(output)
    return output if card is None else output_of(
        f'<p class="measured" id="measured-{card[0]}"><span class="said"></span>{card[1]}</p>')


# ── a cell and its outputs ───────────────────────────────────────────────────────────────────


def calls(cell: Any) -> list[ast.Call]:
    """Return all calls in a cell."""
    return [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]


def _values(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def text_of(output: Any) -> str:
    """Return an output as text."""
    return str(output.get("data", {}).get("text/plain", ""))


def output_of(html: str) -> Any:
    """Return an output that shows this HTML."""
    from nbformat.v4 import new_output

    return new_output("display_data", data={"text/html": html})
