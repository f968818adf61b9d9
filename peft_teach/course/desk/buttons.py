"""What a reader clicks: a bet before a result, `pt.widgets.Guess` to lessons; one more hint.

No button is disabled: the keyboard's place on the page would be lost with it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import ipywidgets as ipw

from ...widgets import GROUP, TOLD, Lasting
from . import predict, work
from .card import Card, shell

_CHOSEN = ("<style>.peft-teach-live .mod-active { font-weight: bold; "
           "outline: 2px solid currentColor; outline-offset: -2px; }</style>")


class Guess(Lasting):
    """A question with a few answers; what is chosen is kept in `value`, None until then.

    With a `name` the choice is a prediction, committed by a click as by `pt.commit`: it may be
    changed until `pt.compare(name, measured)` shows it beside the result, and then stands, in a
    later kernel too. A click after the result counts as none, and is told so. `on_result()` is
    called when the result is shown.
    """

    def __init__(self, question: str, options: Sequence, name: str | None = None):
        self.options, self.name, self.on_result = tuple(options), name, lambda: None
        longest = max(len(str(option)) for option in self.options)
        self.buttons = ipw.ToggleButtons(options=[(str(o), o) for o in options], value=None,
                                         style={"button_width": f"{max(72, 24 + 8 * longest)}px"})
        self.question, self._told = question, ipw.HTML().add_class(TOLD)
        asked = ipw.HTML(f"{_CHOSEN}<b>{question}</b>")
        super().__init__(ipw.VBox([asked, self.buttons, self._told]).add_class(GROUP))
        if name is not None:
            if (stands := work.committed(name)) in self.options:
                self.buttons.value = stands
            self._tell(name)
            predict.on_result(name, partial(self._resulted, name))
        self.buttons.observe(self._chosen, names="value")

    def _chosen(self, change: Mapping) -> None:
        if self.name is not None and change["new"] is not None:
            kept = predict.bet(self.name, change["new"], _clicked())
            if kept in self.options and kept != change["new"]:
                self.buttons.value = kept    # its result was shown: the first stands
                return
            self._tell(self.name)
        self._renew()

    def _resulted(self, name: str) -> None:
        self._tell(name)
        self.on_result()

    def _tell(self, name: str) -> None:
        """Say how the prediction stands; once its result is shown, it can no longer be changed."""
        kept, closed = work.committed(name), work.resolved(name)
        if kept in self.options:
            self._told.value = predict.STANDS if closed else f"Committed. {predict.OPEN}"
        else:
            self._told.value = predict.TOO_LATE if closed and self.value is not None else ""
        self._renew()

    def settle(self) -> None:
        """Say that the result is shown by now: the prediction stands."""
        if self.name is not None and self.value is not None:
            predict.settle(self.name)

    @property
    def value(self):
        """The chosen answer, or None."""
        return self.buttons.value

    def still(self) -> tuple[str, str]:
        """Return the question with its answers; the chosen one stands out."""
        choices = [str(option) for option in self.options]
        marked = [f"<b>[{c}]</b>" if o == self.value else c for o, c in zip(self.options, choices)]
        told = self._told.value
        if self.name is not None and self.value is None:    # where no buttons are shown
            told = f"No buttons? Run <code>pt.commit({self.name!r}, {self.options[0]!r})</code>."
        return (f"<b>{self.question}</b> {' / '.join(marked)} {told}".strip(),
                f"{self.question} {' / '.join(choices)}")


class HintButton(Lasting):
    """A button below a card, and the hints so far; `next_hint` returns the next one.

    A card that names nothing as next was the last, and the button says so.
    """

    def __init__(self, so_far: Sequence[Card], next_hint: Callable[[], Card]):
        self.button, self.shown = ipw.Button(description="Hint"), ipw.HTML().add_class(TOLD)
        self.left = True
        super().__init__(ipw.VBox([self.button, self.shown]))
        for card in so_far:
            self._add(card)
        self.button.on_click(lambda button: self.left and self._add(next_hint()))

    def _add(self, card: Card) -> None:
        self.shown.value += replace(card, next="")._repr_html_()
        self.left = bool(card.next)
        if not self.left:
            self.button.description = "No more hints"
        self._renew()

    def still(self) -> tuple[str, str]:
        """Return the hints that are shown."""
        return self.shown.value, ""


def _clicked() -> float | None:
    """Return when the click was made that the kernel hears of now, in seconds; None if unknown.

    It may have waited for cells: a message bears the time at which the page sent it.
    """
    parent = getattr(getattr(shell(), "kernel", None), "get_parent", dict)()
    header = parent.get("header", {})
    sent = header.get("date") if header.get("msg_type") == "comm_msg" else None
    return sent.timestamp() if isinstance(sent, datetime) else None
