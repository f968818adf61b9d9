"""What each picture shows, in a lesson's `drawn.py`: its marks, from the record or a closed form.

    def cuts(shown):                      the name of the example; of an explorer, at its start
        ax, = shown.panels
        ax.named("With eight directions, …", "directions", "accuracy", log="x")
        ax.line("lora", "-o", ks, accuracies)
        ax.text("LoRA of rank 8", "lora", (8, 0.8))

What is drawn is read off the artists, and nothing is taken from the picture's own code. Each mark
is claimed by what it ought to be, once: one that is missing, or stands elsewhere, or has another
colour is claimed in vain, and one that nobody claims is left over. `box`, `wire` and `piece` are
for drawings without numbers: what stands in what, and what leads where.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import lesson_files
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import AxLine, Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Annotation, Text
from matplotlib.transforms import BboxTransformTo

from peft_teach.plots import COLOURS, SERIES

SEED = 1234   # before an example is made; the pictures' own generators begin at 0
NEAR = 0.1    # of a panel's width or height: a name stands beside its line, not on it
MARKERS = "os^v<>DPX*"


def hue(colour: Any) -> str:
    """A colour's code; it may be a name of `COLOURS`, "series 0" or what matplotlib takes."""
    if isinstance(colour, str) and colour.startswith("series"):
        colour = SERIES[int(colour[-1])][0]
    return to_hex(COLOURS.get(colour, colour) if isinstance(colour, str) else colour)


def alike(a: Any, b: Any) -> bool:
    """Whether two rows of numbers are equal, whatever their types."""
    a, b = (np.asarray([*x] if isinstance(x, Iterable) else [x], dtype=float) for x in (a, b))
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-9)


class Panel:
    """The axes of a figure, and those of their marks that nobody has claimed."""

    def __init__(self, ax: Any):
        ax.get_xlim(), ax.get_ylim()    # the limits stand from now on
        self.ax = ax
        self.lines: list[Line2D] = [*ax.lines]
        self.shapes = [p for p in ax.patches if not isinstance(p, FancyArrowPatch)]
        self.heads = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
        self.texts = [t for t in ax.texts if t.get_text()]
        self.arrows = [t for t in ax.texts if not t.get_text() and getattr(t, "arrow_patch", None)]
        self.many, self.images = [*ax.collections], [*ax.images]
        self.names: dict[str, str] = {}    # of the legend: label and colour

    # ── numbers ──────────────────────────────────────────────────────────────────────────

    def named(self, title: str = "", x: str = "", y: str = "", log: str = "") -> None:
        """Its title, what its axes are called, and which of them are logarithmic."""
        ax = self.ax
        found = ax.get_title() or ax.get_title("left"), ax.get_xlabel(), ax.get_ylabel()
        assert found == (title, x, y), f"{found}, and not {(title, x, y)}"
        scaled = "".join(n for n in "xy" if getattr(ax, f"get_{n}scale")() == "log")
        assert scaled == log, f"logarithmic are {scaled!r}, and not {log!r}: `named(…, log=…)`"

    def ticks(self, axis: str, names: Mapping[str, float] | Sequence[str]) -> None:
        """Which names stand where along an axis; of a sequence, at 0, 1, 2 …"""
        if not isinstance(names, Mapping):
            names = dict(zip(names, range(len(names)))) if len(set(names)) == len(names) else names
        labels = [t.get_text() for t in getattr(self.ax, f"get_{axis}ticklabels")()]
        places = getattr(self.ax, f"get_{axis}ticks")()
        assert labels == [*names], (labels, names)
        assert alike(places, names.values() if isinstance(names, Mapping) else range(len(names)))

    def line(self, colour: Any, style: str, x: Any, y: Any, name: str = "", fill: Any = None,
             across: str = "") -> None:
        """A line or marks: `style` as in "--s"; `across` as the ticks of the axis "x" or "y"."""
        marker = style[-1] if style[-1:] and style[-1] in MARKERS else "None"
        dash = style.removesuffix(marker) or "None"
        transform = getattr(self.ax, f"get_{across}axis_transform")("grid") if across else (
            self.ax.transData)

        def right(line: Line2D) -> bool:
            label = line.get_label()
            return (alike(line.get_xdata(), x) and alike(line.get_ydata(), y)
                    and hue(line.get_color()) == hue(colour)
                    and (line.get_linestyle(), line.get_marker() or "None") == (dash, marker)
                    and line.get_transform() == transform
                    and ("" if label.startswith("_") else label) == name
                    and (fill is None or to_hex(line.get_markerfacecolor(), keep_alpha=True)
                         == to_hex(hue(fill) if fill != "none" else (0, 0, 0, 0), keep_alpha=True)))

        self._claim(self.lines, right, f"line {colour} {style} {name} {x} {y}")
        if name:
            self.names[name] = hue(colour)

    def level(self, colour: Any, y: float, style: str = "-") -> None:
        """A line across the whole panel."""
        self.line(colour, style, (0, 1), (y, y), across="y")

    def at(self, colour: Any, x: float, style: str = "-") -> None:
        """A line from the bottom of the panel to its top."""
        self.line(colour, style, (x, x), (0, 1), across="x")

    def ring(self, x: float, y: float) -> None:
        """The ring around the chosen point."""
        self.line("ink", "o", x, y, fill="none")

    def slope(self, colour: Any, style: str, point: tuple[float, float], slope: float) -> None:
        """A line through a point without an end."""
        self._claim(self.lines, lambda line: isinstance(line, AxLine) and alike(
            [*line.get_xy1(), line.get_slope()], [*point, slope]) and hue(
            line.get_color()) == hue(colour) and line.get_linestyle() == style, f"slope {slope}")

    def shape(self, colour: Any, x: float, y: float, width: float, height: float,
              across: str = "", edge: Any = None) -> None:
        """A bar, a box or a band: its lower left corner and its size."""
        transform = getattr(self.ax, f"get_{across}axis_transform")("grid") if across else (
            self.ax.transData)
        self._claim(self.shapes, lambda shape: alike(bounds(shape), (x, y, width, height)) and hue(
            shape.get_facecolor()) == hue(colour) and shape.get_data_transform() == transform
            and (edge is None or hue(shape.get_edgecolor()) == hue(edge)),
            f"shape {colour} {x} {y} {width} {height}")

    def band(self, colour: Any, low: float, high: float, axis: str) -> None:
        """A band across the whole panel, from low to high along an axis."""
        corner = (low, 0, high - low, 1) if axis == "x" else (0, low, 1, high - low)
        self.shape(colour, *corner, across=axis)

    def image(self, numbers: Any, lowest: float, highest: float, colours: Mapping[float, Any]
              ) -> None:
        """A table of shades: their ends, and the colours of some numbers."""
        def right(image: Any) -> bool:
            found = np.asarray(image.get_array())
            return (found.shape == np.shape(numbers) and alike(found.ravel(), np.ravel(numbers))
                    and alike(image.get_clim(), (lowest, highest))
                    and image.origin == "upper"
                    and all(hue(image.to_rgba(v)) == hue(c) for v, c in colours.items()))

        self._claim(self.images, right, "image")

    # ── texts ────────────────────────────────────────────────────────────────────────────

    def text(self, text: str, colour: Any = "ink", at: tuple | None = None,
             near: float = NEAR) -> None:
        """A text, which begins or has its middle near a point; None where it may be anywhere."""
        def right(found: Text) -> bool:
            return found.get_text() == text and hue(found.get_color()) == hue(colour) and (
                at is None or all(abs(a - b) <= near for a, b in zip(
                    self.place(found), self.within(at)) if np.isfinite(b)))

        self._claim(self.texts, right, f"text {text!r} {colour} near {at}")

    def ends(self, names: Mapping[str, tuple[float, Any]]) -> None:
        """Names at the right of a panel, in the order of their lines' ends: (end, colour)."""
        found = {t.get_text(): self.place(t) for t in self.texts if t.get_text() in names}
        assert sorted(found, key=lambda name: found[name][1]) == sorted(
            names, key=lambda name: names[name][0])
        for name, (y, colour) in names.items():
            assert found[name][0] > 1
            self.text(name, colour, (None, y), near=0.16)

    def within(self, point: Sequence[float | None]) -> tuple[float, ...]:
        """A point of the panel's numbers in shares of its width and height."""
        low = self.ax.get_xlim()[0], self.ax.get_ylim()[0]
        place = [b if a is None else a for a, b in zip(point, low)]
        onto = self.ax.transData + self.ax.transAxes.inverted()
        return tuple(np.nan if a is None else b for a, b in zip(point, onto.transform(place)))

    def place(self, text: Text) -> tuple[float, float]:
        """Where a text is anchored, in shares of the panel's width and height."""
        if isinstance(text, Annotation):
            at, frame = text.xy, text.xycoords
            transform = (self.ax.transData if frame == "data" else
                         BboxTransformTo(frame(None)) if callable(frame) else frame)
        else:
            at, transform = text.get_unitless_position(), text.get_transform()
        return tuple(self.ax.transAxes.inverted().transform(transform.transform(at)))

    # ── drawings ─────────────────────────────────────────────────────────────────────────

    def box(self, text: str, colour: Any, ink: Any = "ink", edge: Any = None) -> np.ndarray:
        """A box with a text in its middle, or the first from the left; its x, y, width, height."""
        found = sorted((t for t in self.texts if t.get_text() == text),
                       key=lambda t: t.get_position())
        assert found, f"no text {text!r}"
        middle = found[0].get_position()
        boxes = [s for s in self.shapes if alike(
            [bounds(s)[i] + bounds(s)[i + 2] / 2 for i in (0, 1)], middle)]
        assert boxes, f"{text!r} stands in no box"
        self.texts.remove(found[0])
        self.shapes.remove(boxes[0])
        assert hue(found[0].get_color()) == hue(ink)
        assert hue(boxes[0].get_facecolor()) == hue(colour)
        assert edge is None or hue(boxes[0].get_edgecolor()) == hue(edge)
        return np.array(bounds(boxes[0]))

    def arrow(self, colour: Any, start: Sequence[float], end: Sequence[float]) -> None:
        """An arrow without a text."""
        self._claim(self.arrows, lambda arrow: alike(arrow.xyann, start) and alike(
            arrow.xy, end) and hue(arrow.arrow_patch.get_edgecolor()) == hue(colour),
            f"arrow {colour} from {start} to {end}")

    def wire(self, colour: Any, style: str, begins: tuple, ends: tuple, near: float = 0.06) -> None:
        """A line of a drawing, or an arrow's, style "->": from near one point to near another."""
        def right(artist: Any) -> bool:
            if isinstance(artist, Line2D):
                xy = artist.get_xydata()
                first, last, drawn = xy[0], xy[-1], artist.get_color()
                told = artist.get_linestyle(), artist.get_marker() or "None"
                if told != (style if style in ("-", "--", ":") else "None",
                            style if style in MARKERS else "None"):
                    return False
            elif isinstance(artist, FancyArrowPatch):
                (first, last), drawn = artist._posA_posB, artist.get_edgecolor()
            else:
                first, last, drawn = artist.xyann, artist.xy, artist.arrow_patch.get_edgecolor()
            return hue(drawn) == hue(colour) and self.close(first, begins, near) and self.close(
                last, ends, near)

        among = self.lines if style != "->" else self.heads if self.heads else self.arrows
        self._claim(among, right, f"{colour} {style} from {begins} to {ends}")

    def piece(self, colour: Any, middle: tuple, near: float = 0.06) -> np.ndarray:
        """A shape of a drawing around about a point; its x, y, width and height."""
        def right(shape: Any) -> bool:
            x, y, width, height = bounds(shape)
            return hue(shape.get_facecolor()) == hue(colour) and self.close(
                (x + width / 2, y + height / 2), middle, near)

        found = next(filter(right, self.shapes), None)
        self._claim(self.shapes, right, f"piece {colour} at {middle}")
        return np.array(bounds(found))

    def close(self, a: Sequence[float], b: Sequence[float], near: float) -> bool:
        """Whether two points are near each other, in shares of the panel."""
        return all(abs(x - y) <= near for x, y in zip(self.within(a), self.within(b)))

    # ── the end ──────────────────────────────────────────────────────────────────────────

    def legend(self, names: Mapping[str, Any]) -> None:
        """Names that stand in the legend for more than a line with this label."""
        self.names |= {name: hue(colour) for name, colour in names.items()}

    def _claim(self, among: list, right: Any, told: str) -> None:
        found = next(filter(right, among), None)
        assert found is not None, f"{told}: not drawn, but {[*map(_say, among)]}"
        among.remove(found)

    def nothing_is_left(self) -> None:
        """Each mark was claimed, and the legend names what was."""
        left = [*self.lines, *self.shapes, *self.heads, *self.texts, *self.arrows, *self.many,
                *self.images]
        assert not left, f"drawn, and claimed by nothing: {[*map(_say, left)]}"
        assert_legend(self.ax.get_legend(), self.names)


class Shown:
    """A figure's panels, from left to right, and what stands over all of them."""

    def __init__(self, figure: Figure):
        self.figure = figure
        self.panels = [*map(Panel, figure.axes)]
        self.title = " ".join(figure.get_suptitle().split("\n"))    # of a claim in two lines
        self.names: dict[str, str] = {}

    def nothing_is_left(self) -> None:
        """Each mark of each panel was claimed."""
        for panel in self.panels:
            panel.nothing_is_left()
        if self.figure.legends:
            every = {n: c for panel in self.panels for n, c in panel.names.items()} | self.names
            assert_legend(self.figure.legends[0], every)


def assert_legend(legend: Any, names: Mapping[str, str]) -> None:
    """A legend names each of these, beside its colour."""
    if legend is not None:
        def colour(handle: Any) -> Any:
            return handle.get_color() if isinstance(handle, Line2D) else handle.get_facecolor()

        assert {text.get_text(): hue(colour(handle)) for text, handle in zip(
            legend.get_texts(), legend.legend_handles, strict=True)} == names


def strips(ax: Panel, rows: Mapping[str, tuple[Sequence[float], Any, str]],
           references: Mapping[str, tuple[float, Any]]) -> None:
    """Accuracies, a row a setting: marks of a colour, a bar at their mean; and lines across."""
    ax.named(x="test accuracy")
    ax.ticks("y", [*rows])
    for y, (values, colour, marker) in enumerate(rows.values()):
        ax.line(colour, marker, values, [y] * len(values))
        ax.line(colour, "-", [np.mean(values)] * 2, [y - 0.3, y + 0.3])
    for name, (value, colour) in references.items():
        ax.at(colour, value, "--")
        ax.text(name, colour, (value, None))


def running_mean(values: Sequence[float], window: int = 20) -> list[float]:
    """The mean of the last values, at each."""
    return [np.mean(values[max(0, end - window):end]) for end in range(1, len(values) + 1)]


def bounds(shape: Any) -> tuple[float, float, float, float]:
    """The lower left corner of a shape, its width and its height."""
    if hasattr(shape, "get_x"):
        x, y, width, height = (getattr(shape, f"get_{n}")() for n in ("x", "y", "width", "height"))
        return min(x, x + width), min(y, y + height), abs(width), abs(height)
    return shape.get_path().get_extents(shape.get_patch_transform()).bounds


def check(name: str, figure: Figure) -> None:
    """A figure shows what the function of this name says, as "lora.cuts", and nothing besides."""
    lesson, _, picture = name.partition(".")
    shown = Shown(figure)
    import drawn_plots  # it takes its tools from here

    claims = drawn_plots if lesson == "plots" else lesson_files.module(lesson, "drawn")
    getattr(claims, picture.replace(" ", "_"))(shown)
    shown.nothing_is_left()


def _say(artist: Any) -> str:
    match artist:
        case AxLine():
            return f"slope {artist.get_slope()}"
        case Line2D():
            at = [f"{np.asarray(v, float).round(4).tolist()}"[:60] for v in artist.get_data()]
            return (f"{hue(artist.get_color())} {artist.get_linestyle()} {artist.get_marker()} "
                    f"{artist.get_label()} {' '.join(at)}")
        case Annotation() if artist.arrow_patch and not artist.get_text():
            return f"arrow {artist.xyann} to {artist.xy} {hue(artist.arrow_patch.get_edgecolor())}"
        case Text():
            return f"{artist.get_text()!r} {hue(artist.get_color())} {artist.get_position()}"
        case _ if hasattr(artist, "get_facecolor") and hasattr(artist, "get_patch_transform"):
            return (f"{type(artist).__name__} {[round(float(v), 4) for v in bounds(artist)]} "
                    f"{to_hex(artist.get_facecolor())}")
        case _:
            return type(artist).__name__
