"""Pictures that move: controls, a pure function of their settings, a figure of what it returns.

Each lesson keeps its own in `course/lessons/<name>/pictures.py`; here is what they share.
Core ipywidgets only (7.7 on Colab, 8.1 elsewhere). Behind every box of widgets is a still copy
of it, for the day when no kernel moves the box any more. A control that fails raises where its
value was set; where a front end set it, the picture says so.
"""

import asyncio
import functools
import os
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Generic, TypeVar

import ipywidgets as ipw
import traitlets
from matplotlib.figure import Figure

from . import plots, progress_bar
from .errors import PeftTeachError, TrainingStopped
from .training import Step

Found = TypeVar("Found")    # what a run returns

REST = 0.15    # seconds without a move after which a picture is drawn
_LINE_SECONDS, _CURVE_SECONDS, _CURVE_SHARE = 1.0, 3.0, 20

# Which of the two outputs of a cell is seen: the live box where there is one, otherwise the still
# copy behind it, and not the message that the box has no kernel. Where a page has no message, as
# nbconvert's, nothing is hidden: what stands before the copy is a text or another copy.
LIVE, STILL = "peft-teach-live", "peft-teach-still"
# Of a widget: a screen reader hears what changes in it; its first words name what follows in it.
TOLD, GROUP = "peft-teach-told", "peft-teach-group"
# JupyterLab's and Notebook 7's; Notebook 6's (tried in 6.5.7: live, moved, reopened without kernel)
_OUTPUT = ":is(.jp-OutputArea-child, .output_area)"
_VIEW = ".jupyter-widgets, .jupyter-widgets-view"    # also of a box that has lost its kernel
# That of ipywidgets is black in a dark theme, too.
_ARROW = """url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'%3E\
%3Cpath d='M2 3h5L4.5 6z' fill='%23ccc'/%3E%3C/svg%3E")"""
_RULES = f"""<style>
{_OUTPUT}:has(.{LIVE}) + {_OUTPUT}:has(.{STILL}),
{_OUTPUT}:not(:has(.{LIVE})):has({_VIEW}):has(+ {_OUTPUT} .{STILL}) {{ display: none; }}
.{LIVE} .widget-toggle-buttons {{ display: flex; flex-wrap: wrap; gap: 0 8px; }}
.{LIVE} .widget-toggle-button {{ min-width: max-content; }}
[data-jp-theme-light="false"] .{LIVE} {{ --jp-widgets-dropdown-arrow: {_ARROW}; }}
</style>"""
# What ipywidgets draws and does not say: a slider's name and value, which button is chosen, what
# belongs together, that something has changed. A copy says it of its box, at each change anew.
_SAYS = f"""<script>(() => {{
  const box = document.currentScript?.closest("{_OUTPUT}")?.previousElementSibling;
  if (!box || box.says) return;
  const all = (where, of = box) => of.querySelectorAll(where);
  const text = (where, of) => of.querySelector(where)?.textContent.trim();
  const say = (of, what) => {{    // what stands there already would be a change, again
    for (const name in what) if (of[name] !== what[name]) of[name] = what[name];
  }};
  box.says = () => {{
    for (const slider of all(".widget-slider")) {{
      const ariaLabel = text(".widget-label", slider);
      const ariaValueText = text(".widget-readout", slider);
      for (const each of all("[role=slider]", slider)) say(each, {{ ariaLabel, ariaValueText }});
      say(slider.querySelector(".widget-readout"), {{ role: "textbox", ariaLabel }});
    }}
    for (const button of all(".widget-toggle-button"))
      say(button, {{ ariaPressed: String(button.matches(".mod-active")) }});
    for (const group of all(".{GROUP}, .widget-toggle-buttons:has(> label:not(:empty))"))
      say(group, {{ role: "group", ariaLabel: text("b, .widget-label:not(:empty)", group) }});
    for (const told of all(".{TOLD}")) say(told, {{ ariaLive: "polite" }});
  }};
  box.says();
  new MutationObserver(box.says).observe(box, {{ subtree: true, childList: true,
    characterData: true, attributeFilter: ["class", "aria-valuetext"] }});
}})();</script>"""
_SLIDERS = (ipw.IntSlider, ipw.FloatSlider, ipw.SelectionSlider, ipw.IntRangeSlider,
            ipw.SelectionRangeSlider)


def __getattr__(name: str) -> object:
    """Bring `Guess`, which lessons ask for here: what it keeps is the course's."""
    if name != "Guess":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .course.desk.buttons import Guess

    return Guess


class Lasting:
    """A box of widgets, and behind it a still copy that stays when its kernel has ended.

    The copy follows the box while the page is open in which the cell ran. Once that page is loaded
    anew, the box still works, and the copy stays as it was: a notebook's file does not keep its
    display id. So a copy says all of its settings, and running the cell again makes a new one.
    """

    def __init__(self, box: ipw.Box):
        self.box = box
        self._still = None    # the name of the still copy's output, once it is shown
        box.add_class(LIVE)

    def still(self) -> tuple[str, str]:
        """Return the still copy as HTML and as text."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        from IPython.display import display

        html, text = self.still()
        widget = {"application/vnd.jupyter.widget-view+json": {
            "version_major": 2, "version_minor": 0, "model_id": self.box.model_id}}
        if "google.colab" in sys.modules:      # the box alone, as ipywidgets 7 itself would send it
            display(widget | {"text/plain": text}, raw=True)
        elif "VSCODE_PID" in os.environ:       # its outputs have other classes than the rules know
            display(widget | {"text/plain": text, "text/html": html}, raw=True)
        else:
            self._still = self._still or uuid.uuid4().hex
            display(widget, raw=True)
            display(self._copy(), raw=True, display_id=self._still)

    def _renew(self) -> None:
        """Let the still copy show what the box shows."""
        if self._still is not None:
            from IPython.display import update_display

            update_display(self._copy(), raw=True, display_id=self._still)

    def _copy(self) -> dict[str, str]:
        html, text = self.still()
        return {"text/html": f'<div class="{STILL}">{_RULES}{_SAYS}{html}</div>',
                "text/plain": text}


class Explorer(Lasting):
    """Controls above a picture. `controls` are widgets with a value, by the name of their setting.

    `compute(**settings)` returns what is shown; `draw` makes a figure of it, and `caption` the
    sentences below. Other widgets may be `above` and `below` the controls. In a notebook the
    picture is drawn when the controls rest; `data` and `figure` always fit the controls as they
    are now.
    """

    def __init__(self, controls: Mapping[str, Any], compute: Callable[..., Any],
                 draw: Callable[[Any], Figure], caption: Callable[[Any], str],
                 above: Sequence[ipw.Widget] = (), below: Sequence[ipw.Widget] = ()):
        self.controls, self.compute, self.draw, self.caption = controls, compute, draw, caption
        self.picture = ipw.HTML().add_class(TOLD)
        row = ipw.HBox([*controls.values()], layout=_row())    # low: in sight with the picture
        super().__init__(ipw.VBox([*above, row, *below, self.picture]))
        self._timer: asyncio.TimerHandle | None = None
        for control in controls.values():
            control.observe(self._moved, names="value")
        self.refresh()

    @property
    def data(self) -> object:
        """What is shown, as `compute` returned it."""
        self._catch_up()
        return self._data

    @property
    def figure(self) -> Figure:
        """The figure that is shown."""
        self._catch_up()
        return self._figure

    def refresh(self) -> None:
        """Compute and draw for the controls as they are set."""
        self._cancel()
        self._data = self.compute(**{name: c.value for name, c in self.controls.items()})
        self._figure = self.draw(self._data)
        self.picture.value = plots.html(self._figure, self._settings() + self.caption(self._data))
        self._renew()

    def still(self) -> tuple[str, str]:
        """Return the picture with its caption and all settings, and its alternative text."""
        self._catch_up()
        told = [f"{c.description.strip(' :')}: {_setting_text(c)}"
                for c in self.controls.values() if not isinstance(c, _SLIDERS)]
        rest = f"<div>{escape('; '.join(told))}.</div>" if told else ""
        return rest + self.picture.value, str(self._figure.get_label())

    def _moved(self, change: object) -> None:
        """Draw once the controls rest; at once where no loop could do it later."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.refresh()
            return
        self._cancel()
        self._timer = loop.call_later(REST, self._rested)

    def _rested(self) -> None:
        try:
            self.refresh()
        except Exception as error:    # nobody called: nobody else would hear of it
            self.picture.value = f"<b>{type(error).__name__}</b>: {escape(str(error))}"

    def _catch_up(self) -> None:
        if self._timer is not None:
            self.refresh()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settings(self) -> str:
        """Say how the sliders are set: a still copy has none."""
        told = [f"{c.description.removesuffix(', %')} = {_slider_text(c)}"
                + "%" * c.description.endswith(", %")
                for c in self.controls.values() if isinstance(c, _SLIDERS)]
        return f"Drawn at {', '.join(told)}. " if told else ""


def _row() -> ipw.Layout:
    return ipw.Layout(flex_flow="row wrap")


def _slider_text(slider: Any) -> str:
    value = slider.label if isinstance(slider, ipw.SelectionSlider) else slider.value
    return " to ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _setting_text(control: Any) -> str:
    match control:
        case Choices():
            names = [box.description for thing, box in control.boxes.items()
                     if thing in control.value]
            return ", ".join(names) or "none"
        case ipw.Checkbox():
            return "yes" if control.value else "no"
    return str(getattr(control, "label", control.value))    # an option's name, where it has one


class Choices(ipw.HBox):
    """A checkbox for each of `options`, things or (name, thing) pairs; `value`: those checked."""

    value = traitlets.Tuple()

    def __init__(self, options: Sequence, value: Sequence = (), description: str = ""):
        pairs = [o if isinstance(o, tuple) else (str(o), o) for o in options]
        self.boxes = {thing: ipw.Checkbox(value=thing in value, description=name, indent=False,
                                          layout=ipw.Layout(width="auto", margin="0 1em 0 0"))
                      for name, thing in pairs}
        self.description, self._setting = description, False
        label = ipw.Label(description, layout=ipw.Layout(margin="2px 8px 2px 2px"))
        super().__init__([label, *self.boxes.values()], value=self._checked(), layout=_row())
        self.add_class(GROUP)
        for box in self.boxes.values():
            box.observe(self._box_moved, names="value")

    @traitlets.validate("value")
    def _known(self, proposal: dict) -> tuple:
        wrong = [thing for thing in proposal["value"] if thing not in self.boxes]
        if wrong:
            raise traitlets.TraitError(f"{self.description}: there is no {wrong[0]!r}")
        return tuple(thing for thing in self.boxes if thing in proposal["value"])

    @traitlets.observe("value")
    def _value_moved(self, change: dict) -> None:
        self._setting = True
        for thing, box in self.boxes.items():
            box.value = thing in change["new"]
        self._setting = False

    def _box_moved(self, change: dict) -> None:
        if not self._setting:
            self.value = self._checked()

    def _checked(self) -> tuple:
        return tuple(thing for thing, box in self.boxes.items() if box.value)


# ── something long, at a button ──────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Progress:
    """How far something long has come: `done` of `total`, in words, and the loss if it trains."""

    done: int
    total: int
    text: str
    loss: float | None = None


class Shown:
    """Where something long shows how far it has come: `line` and `curve` put html on the page.

    The line of progress moves each second, or with each step where one takes longer; the curve
    every three seconds, or every twenty times as long as drawing it takes; both at the end.
    `draw` makes the curve of all losses so far.
    """

    def __init__(self, line: Callable[[str], object], curve: Callable[[str], object] | None,
                 draw: Callable[[Sequence[float]], str]):
        self.line, self.curve, self.draw, self.losses = line, curve, draw, []
        self.start = time.perf_counter()
        self.next_line, self.next_curve = self.start + _LINE_SECONDS, self.start + _CURVE_SECONDS

    def step(self, at: Progress) -> None:
        """Show that it has come this far, where the line or the curve is due."""
        now, ended = time.perf_counter(), at.done == at.total
        if ended or now >= self.next_line:
            self.line(progress_bar.line(at.done, at.total, at.text, now - self.start))
            self.next_line = now + _LINE_SECONDS
        if at.loss is not None:
            self.losses.append(at.loss)
        if self.losses and self.curve is not None and (ended or now >= self.next_curve):
            self.curve(self.draw(self.losses))
            drawn = time.perf_counter()
            self.next_curve = drawn + max(_CURVE_SECONDS, _CURVE_SHARE * (drawn - now))


class Run(Generic[Found]):
    """A button that starts something long, and one that stops it; meanwhile the page lives.

    `start()` returns a generator that yields a `Progress` after each step and returns a result;
    `ended(result)` receives it. A task of the kernel's loop takes the steps, one at a time, so that
    controls move between them; without a loop they are taken at once. Neither button is ever
    disabled: the keyboard's place on the page would be lost with it.
    """

    def __init__(self, text: str, start: Callable[[], Generator[Progress, None, Found]],
                 ended: Callable[[Found], None]):
        self.start, self.ended = start, ended
        self.start_button = ipw.Button(description=text, layout=ipw.Layout(width="auto"))
        self.stop_button = ipw.Button(description="Stop")
        self.line, self.curve = ipw.HTML().add_class(TOLD), ipw.HTML()
        self.box = ipw.VBox([ipw.HBox([self.start_button, self.stop_button, self.line],
                                      layout=_row()), self.curve])
        self.start_button.on_click(self._begin)
        self.stop_button.on_click(self._stop)
        self.task: asyncio.Task | None = None

    def _begin(self, button: object) -> None:
        if self.task is not None:    # it runs already
            return
        steps = self.start()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._go(steps))
            self._rest(steps)
        else:
            self.task = loop.create_task(self._go(steps))
            self.task.add_done_callback(lambda task: self._rest(steps))

    def _stop(self, button: object) -> None:
        if self.task is not None:
            self.task.cancel()

    def _rest(self, steps: Generator[Progress, None, Found]) -> None:
        """Let it be started again, after any end: also of a task stopped before it began."""
        steps.close()
        self.task = None

    async def _go(self, steps: Generator[Progress, None, Found]) -> None:
        progress = Progress(0, 1, "it begins")
        self.line.value = progress_bar.line(0, 1, progress.text, 0)
        shown = Shown(functools.partial(setattr, self.line, "value"),
                      functools.partial(setattr, self.curve, "value"), _curve)
        try:
            while True:
                await asyncio.sleep(0.001)    # here the page is heard
                progress = next(steps)
                shown.step(progress)
        except StopIteration as end:
            self.line.value = self.curve.value = ""
            self.ended(end.value)
        except asyncio.CancelledError:
            self.curve.value = ""
            self.line.value = f"Stopped at {escape(progress.text)}. Nothing of it is kept."
        except PeftTeachError as error:
            self.line.value = escape(error.found)
        except Exception as error:    # nobody called: nobody else would hear of it
            self.line.value = f"<b>{type(error).__name__}</b>: {escape(str(error))}"


# ── a training that can be watched ───────────────────────────────────────────────────────────


def watch(steps: Iterable[Step], total: int, beside: Mapping[str, Sequence[float]] | None = None,
          colours: Mapping[str, str] | None = None, window: int = 20,
          name: str = "this run", curve: bool = True) -> list[Step]:
    """Run a training to its end and show it: progress, loss, time left, the curve as it falls.

    `beside` are recorded losses to compare with, by name: dashed, on top. Each point is a mean of
    `window` steps; `name` is in the title. Without `curve` there is the line alone. Returns the
    steps. Raises `TrainingStopped`, with the steps that were done, when it is interrupted.
    """
    from IPython.display import HTML, display

    def place(html: str) -> Callable[[str], object] | None:
        handle = display(HTML(html), display_id=True)    # None outside of a notebook
        return handle and (lambda html: handle.update(HTML(html)))

    done = []
    line = place(progress_bar.line(0, total, f"step 0 of {total}", 0))
    shown = Shown(line or (lambda html: None), place("") if curve else None, functools.partial(
        _curve, beside=beside or {}, colours=colours or {}, window=window, name=name))
    try:
        for step in steps:
            done.append(step)
            recent = [step.loss for step in done[-20:]]
            spent = time.perf_counter() - shown.start
            ended = f", {spent:.0f} s in all" if len(done) == total else ""
            shown.step(Progress(len(done), total, f"step {len(done)} of {total}, loss "
                                f"{sum(recent) / len(recent):.3f}{ended}", step.loss))
    except KeyboardInterrupt:    # between two steps: within one, a training of ours says so itself
        if isinstance(steps, Generator):
            steps.close()
        raise TrainingStopped(done, total) from None
    return done


def _curve(losses: Sequence[float], beside: Mapping = {}, colours: Mapping = {},
           window: int = 20, name: str = "this run") -> str:
    colours = {name: plots.COLOURS["yours"], **colours}
    figure = plots.curves({name: losses, **beside}, colours, dashed=beside, window=window)
    return plots.html(figure, "The loss, step by step.")
