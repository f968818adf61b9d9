"""The lessons' pictures, for pages without a kernel and for phones.

Each picture is made as its lesson makes it, from the cells that it needs and no others, and one
with controls is drawn once for each of their settings. A page then only chooses among files: on a
phone, among those drawn for it. What needs a training first stays as it stands in the notebook,
which has it for a phone, too: `ink.both`.
"""

import ast
import dis
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import product
from math import prod
from pathlib import Path
from types import CodeType
from typing import Any
from unittest import mock

import ipywidgets as ipw
from matplotlib.figure import Figure

from ... import plots
from ...ink import COLOURS, on_a_phone
from ...widgets import Explorer
from ..checks.examination import silent
from ..desk import work
from .source import CHECK, GRADE, SourceCell

FILES = "moving"     # in `_static`
MOST = 120           # settings of one picture that are drawn; of longer sliders every other stop
LEAST = 0.75         # of its width a picture keeps, if not drawn for a phone: letters of ten pixels
LARGEST = 1.21       # of its width a picture takes, to be as wide as the text
SHARP = 192          # dots an inch: twice a page's own

_TRAINS = re.compile(r"\bpt\.board\.train\(")    # minutes, by the protocol of the ladder
_DRAWS = re.compile(r"\b(explore_\w+|pt\.plots\.show)\(")


def draw(cells: Sequence[SourceCell], static: Path, most: int = MOST
         ) -> tuple[dict[str, str], dict[str, str]]:
    """Write the files of a lesson's pictures, and return their HTML.

    Of those with controls it is a whole picture, by its cell's id; of the others, what a phone
    takes instead, by what the picture says. `static` is the site's folder `_static`; `most`, how
    many settings of one picture are drawn.
    """
    (static / FILES).mkdir(parents=True, exist_ok=True)
    # Nobody reads here: a picture that waits for a bet would be drawn waiting.
    with mock.patch.dict(os.environ, {work.VARIABLE: ""}), silent():
        moving, still = made(cells)
        return ({id: _html(picture, static, most) for id, picture in moving.items()},
                {figure.get_label(): _source(_file(figure, static)) for figure in still})


def made(cells: Sequence[SourceCell]) -> tuple[dict[str, Explorer], list[Figure]]:
    """Make a lesson's pictures: those with controls, by the id of their cell, and the others.

    These are drawn for a phone: all others have them from the notebook.
    """
    code = [cell for cell in cells if cell.kind == "code" and cell.part not in (CHECK, GRADE)]
    source = [cell.source for cell in code]
    namespace: dict[str, Any] = {"__name__": "lesson"}
    ran: set[int] = set()
    moving, still = {}, []
    for n, text in enumerate(source):
        if not _DRAWS.search(text):
            continue
        needed = needs(source, n)
        if any(_TRAINS.search(source[each]) for each in needed):
            continue
        for each in sorted(needed - ran - {n}):
            exec(compile(source[each], code[each].where, "exec"), namespace)
        ran |= needed
        with on_a_phone(), mock.patch.object(plots, "show", lambda *shown: still.append(shown[0])):
            shown = _value(text, code[n].where, namespace)
        if isinstance(shown, Explorer):
            moving[code[n].id] = shown
    return moving, still


def needs(source: Sequence[str], n: int) -> set[int]:
    """Return which cells give cell `n` its names, and those of these cells, `n` included."""
    names = [_names(text) for text in source]
    found, wanted = set(), [n]
    while wanted:
        found.add(here := wanted.pop())
        for name in names[here][0]:
            gives = next((each for each in reversed(range(here)) if name in names[each][1]), None)
            if gives is not None and gives not in found:
                wanted.append(gives)
    return found


def _names(text: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell takes from above it, and those that it gives."""
    top, takes, gives = compile(text, "cell", "exec"), set(), set()
    for step in dis.get_instructions(top):
        if step.opname == "STORE_NAME":
            gives.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in gives:
            takes.add(step.argval)
    return takes | (set(_asked_within(top)) - gives), gives


def _asked_within(code: CodeType) -> Iterator[str]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from (step.argval for step in dis.get_instructions(inner)
                        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
            yield from _asked_within(inner)


def _value(text: str, where: str, namespace: dict[str, Any]) -> Any:
    """Run a cell; return the value of its last line."""
    lines = ast.parse(text).body
    value = lines.pop().value if isinstance(lines[-1], ast.Expr) else None
    exec(compile(ast.Module(lines, []), where, "exec"), namespace)
    return value and eval(compile(ast.Expression(value), where, "eval"), namespace)


# ── onto the page ────────────────────────────────────────────────────────────────────────────


def _html(picture: Explorer, static: Path, most: int) -> str:
    stops = thinned({name: stops_of(control) for name, control in picture.controls.items()}, most)
    drawn = [_setting(picture, dict(zip(stops, (value for _, value in chosen))), static)
             for chosen in product(*(each for each, _ in stops.values()))]
    at = 0
    for each, stands in stops.values():
        at = at * len(each) + stands
    (file, width, height), phone, told, caption = drawn[at]
    controls = "".join(_control(picture.controls[name], each, stands)
                       for name, (each, stands) in stops.items() if len(each) > 1)
    if any(isinstance(widget, ipw.Play) for widget in picture.box.children):
        controls += '<button type="button">Play</button>'
    shown = json.dumps([(wide[0], narrow[0], *texts) for wide, narrow, *texts in drawn])
    shown = shown.replace("</", r"<\/")    # no text ends the script
    return (f'<div class="moving"><form hidden>{controls}</form><figure>'
            f'<picture>{_source(phone)}<img class="peft-teach-figure" '
            f'src="../_static/{FILES}/{file}" width="{width}" height="{height}" '
            f'style="{sized(width)}" alt="{escape(told)}"></picture>'
            f'<figcaption aria-live="polite">{escape(caption)}</figcaption></figure>'
            f'<script type="application/json">{shown}</script></div>')


Stops = tuple[list[tuple[str, Any]], int]    # (label, value) each, and which one stands


def stops_of(control: Any) -> Stops:
    """Return what a control can be set to; one that takes anything stays as it is."""
    if hasattr(control, "options"):
        pairs = [o if isinstance(o, tuple) else (str(o), o) for o in control.options]
        return pairs, control.index
    if isinstance(control, ipw.IntSlider):
        values = range(control.min, control.max + 1, control.step)
        return [(str(value), value) for value in values], values.index(control.value)
    if isinstance(control, ipw.Checkbox):
        return [("no", False), ("yes", True)], int(control.value)
    return [(str(control.value), control.value)], 0


def thinned(stops: dict[str, Stops], most: int = MOST) -> dict[str, Stops]:
    """Return every other stop of the longest control, again, until there are few settings."""
    stops = dict(stops)
    while prod(len(each) for each, _ in stops.values()) > most:
        name = max(stops, key=lambda name: len(stops[name][0]))
        each, stands = stops[name]
        stops[name] = each[stands % 2::2], stands // 2
    return stops


File = tuple[str, int, int]    # its name, and its size on a page


def _setting(picture: Explorer, settings: dict[str, Any], static: Path
             ) -> tuple[File, File, str, str]:
    """Draw one setting; return its file, that for a phone, and what it says."""
    data = picture.compute(**settings)
    figure = picture.draw(data)
    with on_a_phone():
        phone = picture.draw(data)
    return (_file(figure, static), _file(phone, static), str(figure.get_label()),
            picture.caption(data))


def _file(figure: Figure, static: Path) -> File:
    return filed(png(figure), static / FILES), *plots.pixels(figure)


def _source(phone: File) -> str:
    name, *size = phone
    return plots.for_a_phone(f"../_static/{FILES}/{name}", *size)


def sized(width: int) -> str:
    """Return how wide a picture is on a page: as the text, but for small ones and where it scrolls.
    """
    return f"min-width: {LEAST * width:.0f}px; width: {LARGEST * width:.0f}px"


def png(figure: Figure, dpi: int = SHARP, ground: str = COLOURS["paper"], mode: str = "RGB",
        kept: Any = None) -> bytes:
    """Return a figure as a file, by default on paper, in 64 colours; `kept` is text in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set(dpi=dpi, facecolor=ground)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    made = io.BytesIO()
    Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert(
        mode).quantize(64).save(made, "png", optimize=True, pnginfo=kept)
    return made.getvalue()


def filed(png: bytes, folder: Path) -> str:
    """Write a picture under a name that its bytes give; return the name."""
    name = f"{hashlib.sha256(png).hexdigest()[:16]}.png"
    (folder / name).write_bytes(png)
    return name


def _control(control: Any, stops: list[tuple[str, Any]], stands: int) -> str:
    name, labels = escape(control.description.strip(" :")), [escape(label) for label, _ in stops]
    if isinstance(control, ipw.ToggleButtons) and len(labels) <= 6:
        group = f"choice-{id(control)}"
        choices = "".join(f'<label><input type="radio" name="{group}"{" checked" * (i == stands)}>'
                          f"<span>{label}</span></label>" for i, label in enumerate(labels))
        return f'<fieldset class="control"><legend>{name}</legend>{choices}</fieldset>'
    if isinstance(control, ipw.Dropdown | ipw.ToggleButtons):
        options = "".join(f"<option{' selected' * (i == stands)}>{label}</option>"
                          for i, label in enumerate(labels))
        return f'<label class="control">{name} <select>{options}</select></label>'
    return (f'<label class="control">{name} <input type="range" max="{len(labels) - 1}" '
            f'value="{stands}" data-labels="{escape(json.dumps(labels))}">'
            f"<output>{labels[stands]}</output></label>")
