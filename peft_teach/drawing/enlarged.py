"""One place of a block enlarged, to scale: a matrix, a bottleneck, or vectors before the text."""

from typing import NamedTuple

import numpy as np

from ..ink import TRAINED, Page
from ..methods.bottleneck import OutputAdapter
from .trained import BESIDE_WORDS, Adapted, Shapes

Panel = tuple[float, float, float, float]    # inches: left, top, right, bottom

# By the name of what trains beside W: what stands between the two, and what closes it.
SIGNS = {"weight": ("+", ""), "A": ("+ s", ""), "b": ("x +", ""), "l": ("x ⊙", ""),
         "l, of inputs": ("(x ⊙", ")")}


def draw(page: Page, on: Adapted, place: str, panel: Panel) -> tuple[float | None, float]:
    """Draw a place; return where a note may begin, None where none has room, and its height."""
    side = 1.02 if page.narrow else 1.42    # inches of d_model
    y = panel[3] - 0.5 - side / 2
    of_kind = _in_front if place == on.front else _bottleneck if place in on.loops else _matrix
    return of_kind(page, on, place, panel, side, y), y


class Matrix(NamedTuple):
    """A matrix enlarged: its middle, its size in inches, how many inches a number takes."""

    x: float
    y: float
    width: float
    height: float
    scale: float
    rows: int
    columns: int

    @property
    def top(self) -> float:
        """Where its upper edge is."""
        return self.y - self.height / 2

    @property
    def shape(self) -> str:
        """How large it is, in words."""
        return f"{self.rows} × {self.columns}"


def _matrix(page: Page, on: Adapted, place: str, panel: Panel, side: float, y: float
            ) -> float | None:
    """Draw W, and to its right what is trained there.

    Returns where a note may begin, None where none has room.
    """
    rows, columns = on.layout.shapes[place]
    here, d_model = on.at(place), on.layout.d_model
    of_inputs = (columns,) in here.values() and rows != columns    # scaled: they stand as high
    scale = side / max(d_model, rows, columns)
    scale *= 1.25 if columns > max(rows, d_model) and not of_inputs else 1
    gap, width = 0.34 if page.narrow else 0.5, columns * scale
    cell, start = max(width, 1), panel[0] + (0.22 if page.narrow else 0.6 if here else 2.2)
    W = Matrix(start + cell / 2, y, width, rows * scale, scale, rows, columns)
    x = start + cell + gap
    if on.packed:
        _packed(page, W, start)
    else:
        name, kind = ("W₀, the start", "not held") if "weight" in here else ("W", "frozen")
        page.part(W.x, y, width, W.height, kind)
        page.named(W.x, y + W.height / 2, name, W.shape)
    if not here:
        _at_work(page, W)
        return None
    first = next((name for name in SIGNS if name in here), "")
    sign, closed = SIGNS.get(f"{first}, of inputs" if of_inputs else first, ("", ""))
    page.text(x - gap / 2, y, sign, fontsize=12 if page.narrow else 14)
    if "weight" in here:
        return _moved(page, W, x)
    if here.keys() >= {"A", "B"}:
        right = _product(page, W, here, x)
        if "m" not in here:
            return right
        _turned(page, W, start, right, side)
        return None
    return _vectors(page, W, here, x, closed)


def _packed(page: Page, W: Matrix, start: float) -> None:
    """Draw W in four bits: its blocks of 64, and to the left their scales."""
    page.part(W.x, W.y, W.width, W.height, "four bits")
    page.named(W.x, W.y + W.height / 2, "W, packed", W.shape)
    page.part(W.x - W.width / 2 - 0.1, W.y, 0.06, W.height, "frozen", lw=0.8)
    for i in range(1, W.columns // 64):
        edge = W.x - W.width / 2 + i * 64 * W.scale
        page.flow((edge, W.top), (edge, W.top + W.height), arrow=False, color=page.ink, lw=0.7,
                  zorder=4)
    page.text(start - 0.14, W.top - 0.1, f"{W.columns // 64} scales a row", "left", "bottom")


def _at_work(page: Page, W: Matrix) -> None:
    """Draw what W does, where nothing trains: a row of it makes an output from all inputs."""
    row, out = W.y - 0.2 * W.height, W.x + W.width / 2 + 0.5
    page.part(W.x, W.top - 0.13, W.width, 0.08, "passing")     # x, along the inputs
    page.text(W.x - W.width / 2 - 0.1, W.top - 0.13, "x", style="italic")
    page.part(out, W.y, 0.08, W.height, "passing")             # y, along the outputs
    page.text(out, W.top - 0.13, "y", style="italic")
    page.part(W.x, row, W.width, 0.05, "passing", ec=page.ink, lw=1)
    page.part(out, row, 0.08, 0.05, "passing", ec=page.ink, lw=1)
    page.flow((W.x + W.width / 2, row), (out - 0.04, row), color=page.ink)
    page.text(out + 0.2, row, f"each row makes\none output from\nall {W.columns} inputs", "left")


def _moved(page: Page, W: Matrix, x: float) -> float:
    """Draw how far all of W moved; return where that ends."""
    page.part(x + W.width / 2, W.y, W.width, W.height, "trained")
    page.named(x + W.width / 2, W.y + W.height / 2, "ΔW", W.shape)
    return x + W.width + 0.3


def _product(page: Page, W: Matrix, here: Shapes, x: float) -> float:
    """Draw the strips B and A, and their product between them; return where that ends."""
    strip = here["A"][0] * W.scale
    page.part(x + strip / 2, W.y, strip, W.height, "trained", lw=0)
    page.named(x + 0.06, W.y + W.height / 2, "B", "{} × {}".format(*here["B"]))
    x += strip + 0.07 + W.width / 2
    page.part(x, W.top - 0.07 - strip / 2, W.width, strip, "trained", lw=0)
    page.text(x - 0.3, W.top - 0.12 - strip, "A", "right", "bottom", weight="bold")
    page.size(x - 0.24, W.top - 0.12 - strip, "{} × {}".format(*here["A"]), "left", "bottom")
    page.part(x, W.y, W.width, W.height, "product")
    page.text(x, W.y - 0.1 * (W.width > 0.9), "B A", weight="bold")
    if W.width > 0.9 and page.narrow:
        page.size(x, W.y + 0.1, W.shape, va="center")
    elif W.width > 0.9:
        page.text(x, W.y + 0.1, "as large as W")
    return x + max(W.width / 2, 0.5) + 0.3


def _vectors(page: Page, W: Matrix, here: Shapes, x: float, closed: str) -> float:
    """Draw each vector, what is added with either sign; return where they end."""
    for name, shape in here.items():
        if len(shape) == 1:
            signed, long = name == "b", W.scale * shape[0]
            page.comb(x + 0.22 * signed, W.y, long, 0.36, signed)
            page.named(x + 0.2, W.y + long / 2, name, f"{shape[0]:,}", style="italic")
            page.text(x + 0.5, W.y, closed, fontsize=12 if page.narrow else 14)
            x += 0.7
    return x


def _turned(page: Page, W: Matrix, start: float, x: float, side: float) -> None:
    """Draw DoRA's second half: each row, turned by B A, becomes as long as m says."""
    y, width = W.y, 0.24 if page.narrow else 0.36
    page.bracket(start - 0.13, y, 1.06 * W.height, -1)
    page.bracket(x - 0.17, y, 1.06 * W.height, 1)
    page.text(x - 0.05, y, "to length", rotation=90)
    page.comb(x + 0.1, y, W.height, width)
    page.named(x + 0.1 + width / 2, y + W.height / 2, "m", f"{W.rows}", style="italic")
    if not page.narrow:
        _row_turned(page, x + 0.74, y + 0.42 * side, 0.95 * side)


def _row_turned(page: Page, x: float, y: float, r: float) -> None:
    """Draw a row of W and what becomes of it, as two arrows from one point, of length r at most."""
    def to(angle: float, far: float) -> tuple[float, float]:
        return x + far * r * np.cos(np.radians(angle)), y - far * r * np.sin(np.radians(angle))

    page.flow((x, y), to(14, 0.72), lw=1.8)
    page.flow((x, y), to(58, 1), lw=2.4, color=TRAINED)
    page.flow(*(to(angle, 0.5) for angle in np.linspace(16, 53, 20)), color=TRAINED)
    for right, up, text in ((0.73, 0.16, "a row of W"), (0.46, 0.36, "B A turns it"),
                            (0.58, 0.84, "as long as m")):
        page.text(x + right * r, y - up * r, text, "left")


def _bottleneck(page: Page, on: Adapted, place: str, panel: Panel, side: float, y: float) -> float:
    """Draw an adapter below the line: a vector through a narrow middle and back, and added.

    Without sizes the narrow middle is "size", as the setting is called. Returns where a note may
    begin.
    """
    here = on.at(place)
    size, d = here["A.W_down"]
    width, step, small = (0.72, 0.16, side / 6) if page.narrow else (1.0, 0.3, side * size / d)
    x, top = panel[0] + (0.35 if page.narrow else 1.0), y - side / 2
    near = x + 0.05 + step
    middle, far = near + width + 0.15, near + 2 * width + 0.3
    end = far + step + 0.22
    page.flow((x + 0.05, y), (near, y))
    line = top - 0.2
    page.flow((far, y), (end, y), (end, line + 0.12))
    if any(p.place == place and p.wrapper is OutputAdapter for p in on.parts):
        page.flow((x - 0.3, line), (end - 0.12, line))
        page.flow((x, line), (x, top), arrow=False)
    else:    # it reads one thing, and is added to another
        page.text(end - 0.52, line, "the sum", "right")
        page.flow((end - 0.47, line), (end - 0.12, line))
    page.flow((end + 0.12, line), (end + 0.42, line))
    page.plus(end, line, 0.11)
    page.part(x, y, 0.1, side, "passing")
    page.part(middle, y, 0.1, small, "passing")
    page.bow(middle, y, far - near, side, small, "trained", gap=0.3)
    narrow = f"{size}" if page.sized else "size"
    for x_, name, shape in ((x, "u", f"{d}"), (near + width / 2, "W_down", f"{narrow} × {d}"),
                            (far - width / 2, "W_up", f"{d} × {narrow}")):
        page.named(x_, y + side / 2, name)
        page.text(x_, y + side / 2 + 0.25, shape, va="top")
    page.size(middle, y + small / 2 + 0.12, f"{size}")
    page.text(middle, y - small / 2 - 0.08, "act", va="bottom")
    return end + 0.75


def _in_front(page: Page, on: Adapted, place: str, panel: Panel, side: float, y: float
              ) -> float | None:
    """Draw trained vectors in front of the words': a column each, d_model high.

    Returns where a note may begin, None where none has room.
    """
    here, words = on.at(place), 6
    kinds = {"P": "words"} if place == BESIDE_WORDS else {"K": "k", "V": "v"}    # ours, theirs
    length, d = here[next(iter(kinds))][-2:]
    side *= d / on.layout.d_model
    left = panel[0] + (0.22 if page.narrow else 0.6)
    room = (panel[2] - left - 0.2 - 2.1 * (len(kinds) == 1 and not page.narrow)) / len(kinds) - 0.3
    step = min(room / (length + words), 0.21)
    x = left
    for ours, theirs in kinds.items():
        for i in range(length + words):
            page.part(x + step * (i + 0.5) + 0.1 * (i >= length), y, 0.77 * step, side,
                      "trained" if i < length else "passing", lw=0.8)
        page.named(x + step * length / 2, y + side / 2, ours, f"{length} × {d}")
        x += 0.1 + step * length
        page.named(x + step * words / 2, y + side / 2, theirs, f"{words} × {d}")
        x += step * words + 0.3
    if len(kinds) == 2:
        queries, keys = on.layout.heads["query"], on.layout.heads["key"]
        shared = (f": {queries} heads of queries share {keys} of keys and values"
                  if keys < queries and not page.narrow else "")
        page.text(page.width / 2, y - side / 2 - 0.1, f"every query looks at all of these{shared}",
                  va="bottom")
        return None
    return x
