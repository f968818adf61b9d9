"""Pictures that move: controls, a pure function of their settings, a figure of what it returns.

Each lesson's own stand with it, in `course/lessons/<name>/pictures.py`; here is what they share.
Core ipywidgets only (7.7 on Colab, 8.1 elsewhere). Without a front end a still picture stands in
their place. A control that fails raises where its value was set.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import ipywidgets as ipw
from matplotlib.figure import Figure

from . import plots
from .training import Step


class Explorer:
    """Controls above a picture. `controls` are ipywidgets by the name of their setting.

    `compute(**settings)` returns what is shown, a record; `draw(record)` the figure of it, and
    `caption(record)` the sentences below.
    """

    def __init__(self, controls: Mapping[str, ipw.Widget], compute: Callable[..., object],
                 draw: Callable[[object], Figure], caption: Callable[[object], str]):
        self.controls, self.compute, self.draw, self.caption = controls, compute, draw, caption
        self.picture = ipw.HTML()
        self.box = ipw.VBox([*controls.values(), self.picture])
        for control in controls.values():
            control.observe(self.refresh, names="value")
        self.refresh()

    def refresh(self, change: object = None) -> None:
        """Compute and draw for the controls as they stand."""
        self.data = self.compute(**{name: c.value for name, c in self.controls.items()})
        self.figure = self.draw(self.data)
        self.picture.value = plots.html(self.figure, self.caption(self.data))

    def _ipython_display_(self) -> None:
        _display(self.box, self.picture.value, self.figure.get_label())


class Guess:
    """A question with a few answers; what is chosen is kept in `value`, None until then."""

    def __init__(self, question: str, options: Sequence):
        self.options = tuple(options)
        self.buttons = ipw.ToggleButtons(options=[(str(o), o) for o in options], value=None,
                                         style={"button_width": "72px"})
        self.box = ipw.VBox([ipw.HTML(f"<b>{question}</b>"), self.buttons])
        self.question = question

    @property
    def value(self):
        """The chosen answer, or None."""
        return self.buttons.value

    def _ipython_display_(self) -> None:
        choices = " / ".join(map(str, self.options))
        _display(self.box, f"<b>{self.question}</b> {choices}", f"{self.question} {choices}")


def watch(steps: Iterable[Step], total: int, beside: Mapping[str, Sequence[float]] | None = None,
          colours: Mapping[str, str] | None = None, every: int = 12) -> list[Step]:
    """Run a training to its end and show it: progress, loss, time left, the curve as it falls.

    `beside` are recorded losses to compare with, by name: dashed, on top. Returns the steps.
    """
    from IPython.display import HTML, display

    beside, done, start = dict(beside or {}), [], time.perf_counter()
    colours = {"this run": plots.COLOURS["yours"], **(colours or {})}
    handle = display(HTML(_progress([], total, start)), display_id=True)
    for step in steps:
        done.append(step)
        if step.index % every == 0 or len(done) == total:
            figure = plots.curves({"this run": [s.loss for s in done]} | beside, colours,
                                  dashed=beside)
            picture = plots.html(figure, "The loss, step by step.")
            if handle is not None:
                handle.update(HTML(_progress(done, total, start) + picture))
    return done


def _progress(done: Sequence[Step], total: int, start: float) -> str:
    spent = time.perf_counter() - start
    left = f", about {spent / len(done) * (total - len(done)):.0f} s left" if done else ""
    loss = f", loss {_recent(done):.3f}" if done else ""
    if len(done) == total:
        left = f", {spent:.0f} s in all"
    return (f'<div><progress value="{len(done)}" max="{total}" style="width: 20em" '
            f'aria-label="training"></progress> step {len(done)} of {total}{loss}{left}</div>')


def _recent(done: Sequence[Step]) -> float:
    recent = [s.loss for s in done[-20:]]
    return sum(recent) / len(recent)


def _display(box: ipw.Widget, still: str, text: str) -> None:
    """Display a widget, with a still picture for where there is no front end to draw it.

    On Colab the widget goes alone, as ipywidgets 7 itself would send it.
    """
    from IPython.display import display

    bundle = {"text/plain": text, "application/vnd.jupyter.widget-view+json": {
        "version_major": 2, "version_minor": 0, "model_id": box.model_id}}
    if "google.colab" not in sys.modules:
        bundle["text/html"] = still
    display(bundle, raw=True)
