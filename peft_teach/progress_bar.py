"""A progress bar: how far a loop has come, and how much time is left.

    for rate in pt.bar(rates, "rates"):
        ...

The bar is tqdm's. It appears after a second and goes when the loop ends; in a notebook it is a line
of the page, and an inner loop's bar is below the outer one's. Where nobody would see it there
is none: without a terminal or page, where PEFT_TEACH_WORK is empty, as in tests, and in a build.
"""

import os
import sys
from collections.abc import Iterable
from html import escape
from typing import Any, ClassVar

from tqdm.std import tqdm

FEW = 10    # steps after which a pace tells how much time is left


class bar(tqdm):
    """A bar over `items`; `text` says what they are, `total` how many, where `len` does not."""

    monitor_interval = 0    # no thread of its own: each step looks at the clock
    _lines: ClassVar[dict[tuple[int, int], Any]] = {}    # by cell and depth, so that none piles up

    def __init__(self, items: Iterable | None = None, text: str = "", total: int | None = None,
                 **more: Any):
        self._shell = _shell_of_a_page()
        self._page = self._shell is not None
        nobody = os.environ.get("PEFT_TEACH_WORK") == "" or "PEFT_TEACH_BUILD" in os.environ
        if nobody or not (self._page or sys.stderr.isatty()):
            more["disable"] = True
        super().__init__(items, text, total, leave=False, delay=1, mininterval=0.3, miniters=1,
                         gui=self._page, **more)

    def display(self, *args: Any, **more: Any) -> None:
        """Show how far the loop has come."""
        if not self._page:
            super().display(*args, **more)
            return
        word = tqdm.format_sizeof if self.unit_scale else str
        done = word(self.n) if self.total is None else f"{word(self.n)} of {word(self.total)}"
        text = f"{self.desc}: {done}" if self.desc else done
        self._show(line(self.n, self.total, text, self.format_dict["elapsed"]))

    def clear(self, *args: Any, **more: Any) -> None:
        """Make room for another line, in a terminal."""
        if not self._page:
            super().clear(*args, **more)

    def close(self) -> None:
        """End the bar, and clear its line."""
        shown = not self.disable and self.last_print_t >= self.start_t + self.delay
        super().close()
        if shown and self._page:
            self._show("")

    def _show(self, html: str) -> None:
        from IPython.display import display

        shown, key = {"text/html": html}, (self._shell.execution_count, abs(self.pos))
        if key in self._lines:
            self._lines[key].update(shown, raw=True)
        else:
            self._lines[key] = display(shown, raw=True, display_id=True)


def line(done: float, total: float | None, text: str, spent: float) -> str:
    """Return a bar as HTML, with the time left at the pace so far; `spent` is in seconds.

    The time left is told from the tenth item on: before that the pace is not known.
    """
    rest = total - done if total and done >= FEW else 0
    left = f", about {spent / done * rest:.0f} s left" if rest else ""
    value = f'value="{done}" max="{total}" ' if total is not None else ""
    return (f'<div aria-live="off"><progress {value}style="width: 20em" aria-label="progress">'
            f"</progress> {escape(text)}{left}</div>")


def _shell_of_a_page() -> Any:
    """Return the shell of a notebook's kernel; None in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None
