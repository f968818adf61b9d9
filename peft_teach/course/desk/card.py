"""What a learner sees of an exercise: a card in a notebook, the same as plain text elsewhere.

The card takes its text colour and background from the page around it, so it is readable in light
and dark themes; the coloured edge only repeats what the words say.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

# Mid-tones, with a contrast of 3 or more against white and against a dark theme's background.
EDGE = {"passed": "#1a9850", "wrong": "#d9480f", "not attempted": "#7c7c7c", "reference": "#3b7dd8"}
SIGN = {"passed": "✓", "wrong": "✗", "not attempted": "○", "reference": "→"}

_CARD = ("border: 1px solid {edge}; border-left: 6px solid {edge}; border-radius: 4px; "
         "padding: 8px 14px; margin: 6px 0; max-width: 56em; line-height: 1.5; "
         "color: inherit; background: transparent")
_PRE = ("white-space: pre; overflow: auto; max-height: 26em; padding: 8px; margin: 8px 0; "
        "border: 1px solid #7c7c7c; color: inherit; background: transparent; font-size: 90%")
_CELL = "text-align: left; padding: 2px 14px 2px 0; color: inherit; background: transparent"


@dataclass(frozen=True)
class Html:
    """What stands on a page as HTML, and the same as text."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Card:
    """A heading with a state, some paragraphs, perhaps a table or code, and what to do next."""

    title: str
    state: str = ""
    note: str = ""                              # beside the state: "3 of 3 points"
    paragraphs: tuple[str, ...] = ()
    table: tuple[Sequence[Any], ...] = ()       # the first row is the header
    code_label: str = ""
    code: str = ""                              # a traceback or a stub
    next: str = ""

    def _repr_html_(self) -> str:
        style = _CARD.format(edge=EDGE.get(self.state, EDGE["not attempted"]))
        parts = [f"<div><strong>{escape(self._heading())}</strong></div>"]
        parts += [f'<div style="white-space: pre-line; margin-top: 4px">{with_code(text)}</div>'
                  for text in self.paragraphs if text]
        if self.table:
            parts.append(_html_table(self.table))
        if self.code:
            parts.append(f'<div style="margin-top: 4px">{escape(self.code_label)}</div>'
                         f'<pre style="{_PRE}" tabindex="0">{escape(self.code)}</pre>')
        if self.next:
            parts.append(f'<div style="margin-top: 4px">Next: <code style="color: inherit; '
                         f'background: transparent">{escape(self.next)}</code></div>')
        return (f'<div role="group" aria-label="{escape(self._heading())}" style="{style}">'
                + "".join(parts) + "</div>")

    def __repr__(self) -> str:
        blocks = [*self.paragraphs, _text_table(self.table)]
        if self.code:
            blocks += [self.code_label, self.code]
        if self.next:
            blocks.append(f"Next: {self.next}")
        body = "\n".join(block.rstrip() for block in blocks if block)
        return "\n".join([self._heading(), *(f"  {line}".rstrip() for line in body.splitlines())])

    def _heading(self) -> str:
        sign = f"{SIGN[self.state]} " if self.state in SIGN else ""
        state = f": {self.state}" if self.state else ""
        return f"{sign}{self.title}{state}" + (f" ({self.note})" if self.note else "")


def show(card: object, may_change: bool = False) -> Any:
    """Display in IPython, print elsewhere; never to stderr, which nbgrader takes for a failure.

    Returns what can update it, if it may change; None where it is printed.
    """
    if shell() is None:
        print(card)
        return None
    from IPython.display import display

    return display(card, display_id=True) if may_change else display(card)


def shell() -> Any | None:
    """The running IPython shell, or None. Does not import IPython where nothing else has."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def cells() -> list[str]:
    """The source of all cells that ran in this notebook, the running one last; [] elsewhere."""
    history = getattr(shell(), "history_manager", None)
    return list(history.input_hist_raw) if history else []


def with_code(text: str) -> str:
    """Return a text as HTML, with what stands between backticks as code."""
    return re.sub("`([^`\n]+)`", r'<code style="color: inherit; background: transparent">\1</code>',
                  escape(text))


def _html_table(table: Sequence[Sequence[Any]]) -> str:
    header, *rows = table
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(str(x))}</th>' for x in header)
    body = "".join("<tr>" + "".join(
        f'<td style="{_CELL}">{x.html if isinstance(x, Html) else escape(str(x))}</td>'
        for x in row) + "</tr>" for row in rows)
    return (f'<table style="border-collapse: collapse; margin: 6px 0; color: inherit; '
            f'background: transparent"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table>")


def _text_table(table: Sequence[Sequence[Any]]) -> str:
    widths = [max(len(str(x)) for x in column) for column in zip(*table)]
    return "\n".join("  ".join(str(x).ljust(width) for x, width in zip(row, widths)).rstrip()
                     for row in table)
