"""The pages of `peft-teach mark`, as HTML: one student's, and the list of all.

Their style and script are in the files beside this one. What students wrote is escaped.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ..lessons import parts
from . import written

EACH = 3                   # points of a part, one for each thing that the rubric names
_STYLE, _SCRIPT = (Path(__file__).with_name(f"marking.{kind}").read_text("utf-8")
                   for kind in ("css", "js"))
_FRAME = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body>{body}{script}</body></html>
"""
_KEYS = ("<kbd>0</kbd>–<kbd>3</kbd> points, then the next part · <kbd>j</kbd> <kbd>k</kbd> parts · "
         "<kbd>c</kbd> comment, <kbd>Esc</kbd> out · <kbd>n</kbd> <kbd>p</kbd> students · "
         "<kbd>l</kbd> list")


class Given(NamedTuple):
    """What stands for a page so far: points by part, None for none yet; and a comment."""

    points: tuple[int | None, ...]
    comment: str
    total: float | None    # by hand, however it came there


def most(page: Mapping[str, Any]) -> int:
    """The points that one part of a page can have."""
    return page["maximum"] if len(page["parts"]) == 1 else EACH


def shown(pages: Sequence[Mapping[str, Any]], index: int, now: Given, nonce: str) -> str:
    """One student's page, to be marked."""
    page = pages[index]
    rubric = {heading: rest for part in parts() for heading, *rest in part.rubric}
    links = [f'<a rel="up" href="./">all {len(pages)}</a>']
    if index:
        links.append(f'<a rel="prev" href="{index}">← before</a>')
    if index + 1 < len(pages):
        links.append(f'<a rel="next" href="{index + 2}">next →</a>')
    by_hand = "" if now.total is None or None not in now.points else (
        f"<span>by hand: {now.total:g} points</span>")
    body = [f"<header><h1>{escape(page['student'])}</h1><span>{index + 1} of {len(pages)}</span>"
            f'<strong id="sum" aria-live="polite"></strong>{by_hand}{" ".join(links)}</header>',
            *(f"<p>Measured: {escape(each)}</p>" for each in page["measured"])]
    for number, (part, points) in enumerate(zip(page["parts"], now.points)):
        buttons = "".join(f'<button aria-pressed="{str(points == n).lower()}">{n}</button>'
                          for n in range(most(page) + 1))
        earns, zero = rubric.get(part["heading"], ("", ""))
        items = "".join(f"<li>{escape(each)}</li>" for each in filter(None, earns.split("; ")))
        runs = "".join(f"<pre tabindex=0 aria-label='cell {cell}'>cell {cell}\n"
                       f"{_cited(text, part['text'])}</pre>" for cell, text in part["runs"])
        missing = "" if not part["missing"] else (
            f"<p class=missing>In no output of the notebook: {escape(', '.join(part['missing']))}"
            "</p>")
        body.append(
            f"<section data-part={number} aria-label='{escape(part['heading'])}'>"
            f"<h2>{escape(part['heading'])} <span>{buttons}</span></h2>"
            f"<div><div class=said>{escape(part['text'] or '…')}</div><ul class=rubric>{items}</ul>"
            f"<p class='rubric zero'>{escape(f'Zero: {zero}' if zero else '')}</p></div>"
            f"<div>{missing}{runs}</div></section>")
    body.append(f"<section><h2>Comment</h2><textarea rows=3 aria-label='Comment'>"
                f"{escape(now.comment)}</textarea></section>"
                f"<footer>{_KEYS} · <span id=told role=status></span></footer>")
    return _FRAME.format(title=escape(page["student"]), style=_STYLE, body="\n".join(body),
                         script=f'<script nonce="{nonce}">{_SCRIPT}</script>')


def listed(pages: Sequence[Mapping[str, Any]], now: Sequence[Given]) -> str:
    """All students, with what they have."""
    lines = []
    for number, (page, each) in enumerate(zip(pages, now), 1):
        points = "" if each.total is None else f"{each.total:g} of {page['maximum']}"
        lines.append(f'<tr><td><a href="{number}">{escape(page["student"])}</a></td>'
                     f"<td>{points}</td></tr>")
    done = sum(each.total is not None for each in now)
    first = next((n for n, each in enumerate(now, 1) if each.total is None), 1)
    return _FRAME.format(
        title="Pages to mark", style=_STYLE, script="",
        body=f'<header><h1>{done} of {len(pages)} pages are marked</h1>'
             f'<a href="{first}" autofocus>Go on</a></header><table>{"".join(lines)}</table>'
             "<p>Then run <code>peft-teach grade</code> again: it applies them.</p>")


def _cited(text: str, said: str) -> str:
    return "".join(f"<mark>{escape(piece)}</mark>" if cited else escape(piece)
                   for piece, cited in written.marked_up(text, said))
