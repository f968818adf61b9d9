"""The language of the pictures: what colours, lines and shapes mean, and a page to draw on.

    filled, orange    what training writes: in drawings this colour, and nowhere else
    filled, grey      frozen; hatched: frozen, in four bits
    empty             only passes through: words, keys, softmax
    dotted edge       never in memory: the product B A, the start W₀
    thin grey line    what flows, with an arrow at its end; a skip ends in the ⊕ that adds it

A matrix is a rectangle, its outputs high and its inputs wide; a vector is a strip, and enlarged a
comb, an entry a tooth; a map through a narrow middle is two trapezoids. Between themes only ink
changes. `COLOURS` holds those of records, too: one colour means one thing in every lesson, and the
ways to train can be told apart without red and green. Most are Okabe's and Ito's, or Tol's.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle
from matplotlib.textpath import TextPath

COLOURS = {
    # in drawings: what training writes. In pictures of results: the reader's own
    "trained": "#D55E00", "yours": "#006A49",
    # the ways to train
    "scratch": "#6B3F1D", "full": "#0072B2", "lora": "#8E1A5E", "head": "#707070",
    "subspace": "#5F6100", "random": "#976701",
    # what training holds in memory
    "weights": "#44546A", "gradients": "#C9A227", "optimizer": "#CC79A7", "activations": "#56B4E9",
    "working": "#536F3A",
    # the parts of a model
    "embeddings": "#117733", "attention": "#12355B", "feed_forward": "#AA4499",
    # text and levels, lines, what stands back, what does not train, a margin or range, the ground
    "ink": "#000000", "rest": "#747474", "quiet": "#b0b0b0", "frozen": "#c6c6c6",
    "band": "#eeeeee", "paper": "#ffffff",
    # in drawings: what flows; the same on light and dark, between which only ink changes
    "flow": "#808080",
}
SERIES = (("#332288", "-", "o"), ("#9D6631", "--", "s"), ("#0F7F8A", "-.", "^"),
          ("#4D7F13", ":", "D"))    # colour, dash, marker

TRAINED, LINE = COLOURS["trained"], COLOURS["flow"]
FROZEN = (0.5, 0.5, 0.5, 0.45)    # COLOURS' on white; half-transparent, it recedes on black, too
INK = {"light": COLOURS["ink"], "dark": "#EEEEEE"}
FONT, TYPE, HEAD = "DejaVu Sans", 11, 12          # points; nothing is smaller
THIN, THICK = 1.2, 1.4                            # points
DOTTED = (0, (1.5, 2))
PIXELS, DPI = 96, 192                             # an inch of the screen; and of a file, for sharp
WIDE, PHONE, PAGE = 700, 360, 948                 # pixels: of a lesson, a phone, a page alone

_NARROW = ContextVar("narrow", default=False)


@contextmanager
def on_a_phone() -> Iterator[None]:
    """Draw what is drawn within as wide as a phone."""
    before = _NARROW.set(True)
    try:
        yield
    finally:
        _NARROW.reset(before)


P = ParamSpec("P")
_PHONES: WeakKeyDictionary[Figure, Figure] = WeakKeyDictionary()


def both(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure for a phone, too, each time: `on_its_phone` has it.

    It is for what a training made, which nobody can draw again from a stored notebook.
    """
    @functools.wraps(draw)
    def drawn(*args: P.args, **named: P.kwargs) -> Figure:
        figure = draw(*args, **named)
        with on_a_phone():
            _PHONES[figure] = draw(*args, **named)
        return figure

    return drawn


def on_its_phone(figure: Figure) -> Figure | None:
    """Return what a phone shows in place of a figure, where `both` were drawn."""
    return _PHONES.get(figure)


def narrow() -> bool:
    """Whether what is drawn now is for a phone."""
    return _NARROW.get()


def across() -> int:
    """Return how many pixels a drawing of a lesson is wide."""
    return PHONE if narrow() else WIDE


class Page:
    """A transparent page, measured in inches from its upper left corner.

    An inch is 96 pixels of the screen, so that type is as large there as it says. `heights` are
    those of a wide page and of a phone's. Sizes are written where it is `sized`.
    """

    def __init__(self, pixels: int, heights: tuple[float, float], theme: str = "light",
                 sized: bool = True):
        self.narrow, self.ink, self.sized = pixels < 500, INK[theme], sized
        self.width, self.height = pixels / PIXELS, heights[self.narrow]
        self.figure = Figure(figsize=(self.width, self.height), facecolor="none")
        self.ax = self.figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
        self.ax.set_axis_off()
        self.styles: dict[str, dict[str, Any]] = {
            "trained": {"fc": TRAINED, "ec": self.ink, "lw": THICK},
            "frozen": {"fc": FROZEN, "ec": LINE, "lw": 0.8},
            "four bits": {"fc": FROZEN, "ec": LINE, "lw": 0.8, "hatch": "/////"},
            "passing": {"fc": "none", "ec": LINE, "lw": THIN},
            "product": {"fc": "none", "ec": TRAINED, "lw": THIN, "ls": DOTTED},
            "not held": {"fc": "none", "ec": LINE, "lw": THIN, "ls": DOTTED}}

    # ── text ─────────────────────────────────────────────────────────────────────────────

    def text(self, x: float, y: float, text: str, ha: str = "center", va: str = "center",
             **more) -> None:
        """Write a text."""
        self.ax.text(x, y, text, ha=ha, va=va, **{
            "color": self.ink, "linespacing": 1.25, "fontsize": TYPE, "family": FONT,
            "zorder": 6} | more)

    def named(self, x: float, y: float, name: str, shape: str = "", **more) -> None:
        """Write the name of what ends at y, in bold, and below it how large it is."""
        self.text(x, y + 0.06, name, va="top", weight="bold", **more)
        self.size(x, y + 0.25, shape)

    def size(self, x: float, y: float, text: str, ha: str = "center", va: str = "top") -> None:
        """Write how large something is."""
        if self.sized:
            self.text(x, y, text, ha, va)

    def note(self, x: float, y: float, text: str, right: float) -> None:
        """Write a sentence between x and `right`; where it has no room, the caption says it."""
        if right - x > 0.95:
            self.text(x, y, "\n".join(wrapped(text, min(right - x, 1.9))), "left")

    def head(self, claim: str, legend: Iterable[tuple[str, str]]) -> float:
        """Write what the picture shows, and below it what its fills mean.

        Returns where the drawing may begin. The claim is what the picture says to those who do
        not see it, too. What the legend has no room for is left out, from its end.
        """
        self.figure.set_label(claim)
        lines = wrapped(claim, self.width - 0.2, HEAD, "bold")
        self.text(0.1, 0.08, "\n".join(lines), "left", "top", fontsize=HEAD, weight="bold")
        x, y = 0.1, 0.27 + 0.21 * (2 if self.narrow else 1)    # a phone has room for two lines
        for kind, name in legend:
            end = x + 0.22 + wide(name)
            if end > self.width - 0.05:
                break
            self.part(x + 0.075, y, 0.15, 0.15, kind)
            self.text(x + 0.22, y, name, "left", "center_baseline")
            x = end + 0.2
        return y + 0.2

    # ── shapes ───────────────────────────────────────────────────────────────────────────

    def part(self, x: float, y: float, width: float, height: float, kind: str, **more) -> None:
        """Draw a matrix or a vector around its middle."""
        style = {"zorder": 3, "gid": kind} | self.styles[kind] | more
        if min(width, height) < 0.06 and style["fc"] != "none":    # its edge would drown it
            style["lw"] = 0
        self.ax.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, **style))

    def bow(self, x: float, y: float, width: float, high: float, low: float, kind: str,
            gap: float = 0, **more) -> None:
        """Draw a map down to a narrow middle and up again, around its own middle."""
        for side in (-1, 1):
            near, far = x + side * gap / 2, x + side * width / 2
            self.ax.add_patch(Polygon(
                [(near, y - low / 2), (far, y - high / 2), (far, y + high / 2),
                 (near, y + low / 2)], zorder=3, gid=kind, **self.styles[kind] | more))

    def comb(self, x: float, y: float, height: float, width: float, signed: bool = False) -> None:
        """Draw a trained vector, a tooth an entry, from x to the right. The entries are made up."""
        entries, count = _entries(signed)
        for i, entry in enumerate(entries):
            self.ax.add_patch(Rectangle(
                (x, y - height / 2 + i * height / count), width * entry, 0.72 * height / count,
                fc=TRAINED, lw=0, zorder=3, gid="trained"))
        self.flow((x, y - height / 2), (x, y + height / 2), arrow=False, color=self.ink, zorder=4)

    def flow(self, *points: tuple[float, float], arrow: bool = True, **more) -> None:
        """Draw a thin line through points, with an arrow at its end."""
        style = {"color": LINE, "lw": THIN, "solid_joinstyle": "round", "zorder": 2} | more
        self.ax.plot(*zip(*points), **style)
        if arrow:
            self.ax.annotate("", points[-1], points[-2], zorder=style["zorder"], arrowprops={
                "arrowstyle": "-|>", "color": style["color"], "lw": 0, "shrinkA": 0, "shrinkB": 0,
                "mutation_scale": 6.5 + 2.5 * style["lw"]})

    def plus(self, x: float, y: float, radius: float) -> None:
        """Draw a sum: the lines that meet in the circle are added."""
        self._circled(x, y, radius, ((0.6, 0), (0, 0.6)))

    def times(self, x: float, y: float, radius: float) -> None:
        """Draw a product: the lines that meet in the circle are multiplied, entry by entry."""
        self._circled(x, y, radius, ((0.45, 0.45), (0.45, -0.45)))

    def _circled(self, x: float, y: float, radius: float, strokes) -> None:
        self.ax.add_patch(Circle((x, y), radius, fc="none", ec=LINE, lw=THIN, zorder=3))
        for dx, dy in ((a * radius, b * radius) for a, b in strokes):
            self.flow((x - dx, y - dy), (x + dx, y + dy), arrow=False, color=self.ink, zorder=4)

    def bracket(self, x: float, y: float, height: float, side: int) -> None:
        """Draw a round bracket: side −1 opens, 1 closes."""
        t = np.linspace(-1, 1, 30)
        self.ax.plot(x - side * 0.09 * t**2, y + t * height / 2, color=self.ink, lw=THICK)

    def enlarge(self, frame: Sequence[float], panel: Sequence[float]) -> None:
        """Frame a place, and what it looks like enlarged: each is (left, top, right, bottom)."""
        for left, top, right, bottom in (frame, panel):
            self.ax.add_patch(FancyBboxPatch(
                (left, top), right - left, bottom - top, "round,pad=0,rounding_size=0.05",
                fc="none", ec=self.ink, lw=THIN, zorder=5))
        for side, out in ((0, -0.24), (2, 0.24)):
            foot = min(max(frame[side] + out, panel[0] + 0.05), panel[2] - 0.05)
            self.flow((frame[side] - out / 8, frame[3]), (foot, panel[1]), arrow=False,
                      color=self.ink, lw=0.8, zorder=1)


# ── type ─────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def wide(text: str, size: float = TYPE, weight: str = "normal") -> float:
    """Return how wide a text is, in inches."""
    if not text.strip():
        return 0.0
    letters = TextPath((0, 0), text, size=size, prop=FontProperties(family=FONT, weight=weight))
    ink = letters.vertices[letters.codes != TextPath.CLOSEPOLY]    # which has no place of its own
    return float(np.ptp(ink[:, 0])) / 72


def wrapped(text: str, room: float, size: float = TYPE, weight: str = "normal") -> list[str]:
    """Cut a text into lines that are no wider than `room` inches, if its words are not."""
    lines: list[str] = []
    for word in text.split(" "):    # not at a no-break space
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and wide(longer, size, weight) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@functools.cache
def _entries(signed: bool, count: int = 22) -> tuple[np.ndarray, int]:
    entries = np.random.default_rng(2).normal(0, 0.4, count)
    return entries if signed else 0.62 + 0.45 * entries, count
