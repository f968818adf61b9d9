"""A button below a card that does what `pt.hint` does: each click shows one more hint."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import ipywidgets as ipw

from ...widgets import Lasting
from .card import Card


class HintButton(Lasting):
    """The button, and below it the hints so far; `next_hint` returns the next one.

    A card that names nothing as next was the last: then the button rests.
    """

    def __init__(self, so_far: Sequence[Card], next_hint: Callable[[], Card]):
        self.button, self.shown = ipw.Button(description="Hint"), ipw.HTML()
        super().__init__(ipw.VBox([self.button, self.shown]))
        for card in so_far:
            self._add(card)
        self.button.on_click(lambda button: self._add(next_hint()))

    def _add(self, card: Card) -> None:
        self.shown.value += replace(card, next="")._repr_html_()
        self.button.disabled = not card.next
        self._renew()

    def still(self) -> tuple[str, str]:
        """Return the hints that are shown."""
        return self.shown.value, ""
