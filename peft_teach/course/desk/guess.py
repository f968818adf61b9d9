"""A bet before a result: a question with a few answers, `pt.widgets.Guess` to lessons."""

from collections.abc import Mapping, Sequence

import ipywidgets as ipw

from ...widgets import Lasting
from . import work

# What was chosen stands out, and not in grey: JupyterLab fades buttons that are disabled.
_CHOSEN = ("<style>.peft-teach-live .mod-active { opacity: 1; font-weight: bold; "
           "outline: 2px solid currentColor; outline-offset: -2px; }</style>")


class Guess(Lasting):
    """A question with a few answers; what is chosen is kept in `value`, None until then.

    With a `name` the choice is a prediction, committed by the first click as by `pt.commit`: it
    stands, in a later kernel too, and `pt.compare(name, measured)` shows it beside the result.
    """

    def __init__(self, question: str, options: Sequence, name: str | None = None):
        self.options, self.name = tuple(options), name
        longest = max(len(str(option)) for option in self.options)
        self.buttons = ipw.ToggleButtons(options=[(str(o), o) for o in options], value=None,
                                         style={"button_width": f"{max(72, 24 + 8 * longest)}px"})
        self.question, self._told = question, ipw.HTML()
        asked = ipw.HTML(f"{_CHOSEN}<b>{question}</b>")
        super().__init__(ipw.VBox([asked, self.buttons, self._told]))
        if name is not None and (stands := work.committed(name)) in self.options:
            self.buttons.value = stands
            self._close()
        self.buttons.observe(self._chosen, names="value")

    def _chosen(self, change: Mapping) -> None:
        if self.name is not None and change["new"] is not None and not self.buttons.disabled:
            work.commit(self.name, change["new"])
            self._close()
        self._renew()

    def _close(self) -> None:
        self.buttons.disabled = True
        self._told.value = "Committed: your prediction stands."

    @property
    def value(self):
        """The chosen answer, or None."""
        return self.buttons.value

    def still(self) -> tuple[str, str]:
        """Return the question with its answers; the chosen one stands out."""
        choices = [str(option) for option in self.options]
        marked = [f"<b>[{c}]</b>" if o == self.value else c for o, c in zip(self.options, choices)]
        return (f"<b>{self.question}</b> {' / '.join(marked)} {self._told.value}".strip(),
                f"{self.question} {' / '.join(choices)}")
