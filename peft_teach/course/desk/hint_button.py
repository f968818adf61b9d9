"""A button below a card that does what `pt.hint` does: each click shows the next hint."""

from collections.abc import Callable

import ipywidgets as ipw

from ...widgets import Lasting
from .card import Card


class HintButton(Lasting):
    """The button, and below it the last hint that it gave; `next_hint` returns the next one."""

    def __init__(self, next_hint: Callable[[], Card]):
        self.next_hint = next_hint
        self.button, self.shown = ipw.Button(description="Hint"), ipw.HTML()
        super().__init__(ipw.VBox([self.button, self.shown]))
        self.button.on_click(self._clicked)

    def _clicked(self, button: object) -> None:
        self.shown.value = self.next_hint()._repr_html_()
        self._renew()

    def still(self) -> tuple[str, str]:
        """Return the hint that is shown."""
        return self.shown.value, ""
