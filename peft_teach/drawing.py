"""One transformer block, drawn alike for every method: what is frozen, what is trained, and where.

    show(block("lora"), "Six such blocks.")             `show` is `plots.show`
    block("lora", pt.lora.Config(rank=64))              another rank
    block("bottleneck", pt.bottleneck.HOULSBY)          another placement
    block("lora", zoom="query")                         enlarge another place
    methods()                                           all methods on one page
    parts("lora")                                       what is drawn, as a data frame

Above, MiniLM's block at large: every part stands at one place for every method, and frozen matrices
are to scale, one to another; what a method adds is a sign. Below, one place enlarged, to scale.
Nothing about a method is kept here but its words: it is put on MiniLM as shapes alone (`outlines`),
and what it trains there, where, and how large, is read off. So a method that is not known here can
be drawn, too: by what it registers.
"""

import functools
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from . import models, outlines
from .adapter import adapters
from .contents import adapter_parameters
from .errors import NotSupported, unknown
from .ink import INK, PIXELS, TRAINED, WIDE, Page
from .methods import METHODS
from .valid import Settings

if TYPE_CHECKING:
    import pandas

MODEL = "minilm"
# A method's name, what its picture says, and what is said beside its enlarged place.
NAMES = {"full": "Full fine-tuning", "bitfit": "BitFit", "prompt": "Prompt tuning",
         "prefix": "Prefix tuning", "bottleneck": "Bottleneck adapters", "ia3": "IA³",
         "lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA"}
CLAIMS = {
    "": "A block: six matrices, and two sums that keep what came in",
    "full": "every number may move",
    "bitfit": "only the vectors that are added train",
    "prompt": "{length} trained vectors in front of the words",
    "prefix": "{length} trained keys and values in each block",
    "bottleneck": "a trained bottleneck beside frozen layers",
    "ia3": "three trained vectors scale what passes",
    "lora": "two trained strips beside a frozen matrix",
    "dora": "strips turn each row, a trained number sets its length",
    "qlora": "the same strips beside a matrix in four bits",
}
NOTES = {
    "full": "{all:,} numbers move: as many as W has",
    "bitfit": "one number a row, added to its output",
    "prompt": "{few:,} numbers, and every block reads them",
    "bottleneck": "{few:,} numbers, biases among them; {times} in a block",
    "ia3": "one number a row, multiplies its output",
    "lora": "{few:,} numbers in place of {all:,}",
    "qlora": "W: {bits:.3g} bits a number with its scales; A and B: 32 bits",
}
SIGNS = {"b": "x +", "l": "×"}    # how a vector comes to W, where that is known; of A and B: "+ s"

# ── where everything stands ──────────────────────────────────────────────────────────────────
# Middle, up from the line, width, height, in units of which five are as long as d_model.

LENGTH = 121
MATRICES = {"query": (19, 9, 5, 5), "key": (19, 0, 5, 5), "value": (19, -9, 5, 5),
            "attention_out": (45, 0, 5, 5), "ffn_in": (70, 0, 5, 20), "ffn_out": (86.5, 0, 20, 5)}
NORMS = {"attention_norm": (62, 0, 1.6, 5), "ffn_norm": (110, 0, 1.6, 5)}
SHAPES = dict.fromkeys(MATRICES, (384, 384)) | {"ffn_in": (1536, 384), "ffn_out": (384, 1536)}
SUMS, SKIPS, TOP = (58, 106), (13.5, 65), 15.5
WORDS, IN_FRONT = (5.5, 7, 8.5, 10), (1, 2.5, 4)
# Bottlenecks: by their class and what they wrap, where they read and where they add, and how deep
# below the line they hang.
LOOPS = {
    ("OutputAdapter", "attention_out"): (49.1, 58, 9), ("OutputAdapter", "ffn_out"): (97.1, 106, 9),
    ("OutputAdapter", "ffn_norm"): (112.3, 118.5, 9), ("NormedAdapter", "ffn_norm"): (114, 106, 9),
    ("NormedAdapter", "attention_norm"): (66, 58, 9), ("InputAdapter", "ffn"): (65, 106, 13.5)}


# ── what a method does to the model ──────────────────────────────────────────────────────────


class Part(NamedTuple):
    """A tensor that a method trains: of which block, at which place, in what, and its shape."""

    block: int | None      # None: outside of the blocks
    place: str
    wrapper: str           # the adapter's class; "" where the model's own tensor trains
    name: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


class Dressed(NamedTuple):
    """A model as shapes, with a method on it."""

    parts: tuple[Part, ...]
    frozen: int            # numbers of the base that do not train
    packed: int            # of these, in four bits, and how many bits that is with the scales
    bits: float

    @property
    def trained(self) -> int:
        """How many numbers train, the task's head left out."""
        return sum(part.numbers for part in self.parts)

    def at(self, place: str) -> dict[str, tuple[int, ...]]:
        """What trains at a place of the first block, or of all blocks at once: names and shapes."""
        return {part.name: part.shape for part in self.parts
                if part.block in (0, None) and part.place == place}

    @property
    def loops(self) -> dict[str, tuple[float, float, float]]:
        """By place, the wires of bottlenecks: where they read, where they add, how deep they hang.

        Raises `NotSupported` for one that lies outside of a block.
        """
        found = {}
        for part in self.parts:
            if part.block in (0, None) and part.name == "A.W_up":
                if (part.wrapper, part.place) not in LOOPS:
                    raise NotSupported(f"A bottleneck at {part.place!r} is not drawn.",
                                       expected="one inside of a block, as in HOULSBY, PFEIFFER, "
                                                "BAPNA or PARALLEL of pt.bottleneck")
                found[part.place] = LOOPS[part.wrapper, part.place]
        return found


def parts(method: str = "", config: Settings | None = None) -> "pandas.DataFrame":
    """Return what a method trains on MiniLM: block, place, wrapper, name, shape and numbers."""
    import pandas

    found = dressed(method, config).parts
    return pandas.DataFrame(found, columns=Part._fields).assign(
        numbers=[part.numbers for part in found])


@functools.cache
def dressed(method: str = "", config: Settings | None = None) -> Dressed:
    """Put a method on MiniLM as shapes alone, and read off what trains there.

    Without a config it is the method's own.
    """
    bare = outlines.outline(MODEL)
    head = {*models.head(bare)}
    total = sum(p.numel() for name, p in bare.named_parameters() if name not in head)
    if not method:
        return Dressed((), total, 0, 32)
    # of a module: its place and its block; the last state's module is a block's, too
    stands = {name: (place, i if len(names) > 1 else None)
              for place, names in sorted(models.places(bare).items(), key=lambda at: len(at[1]))
              for i, name in enumerate(names)}
    model = outlines.adapted(MODEL, method, config)
    found = [(name, type(adapter).__name__, own, p) for name, adapter in adapters(model).items()
             for own, p in adapter.own_parameters().items()]
    if not found:      # full fine-tuning: the model's own
        found = [(name.rpartition(".")[0], "", name.rpartition(".")[2], p)
                 for name, p in adapter_parameters(model).items()]
    trained = tuple(
        Part(block, place, wrapper, own, tuple(p.shape)) for name, wrapper, own, p in found
        for place, block in [stands.get(name, (name, None))])
    packed = [layer.quantized for layer in models.quantized(model).values()]
    numbers = sum(prod(q.shape) for q in packed)
    own = sum(part.numbers for part in trained if not part.wrapper)
    return Dressed(trained, total - own, numbers,
                   8 * sum(q.size_bytes for q in packed) / numbers if packed else 32)


# ── the picture of one method ────────────────────────────────────────────────────────────────


def block(method: str = "", config: Settings | None = None, *, zoom: str = "",
          pixels: int = WIDE, theme: str = "light", counts: bool = True) -> Figure:
    """Draw MiniLM's block with a method on it, and one place of it enlarged.

    Without a method it is the block as it came. `zoom` names a place as targets do; by default the
    value, or the first place at which something trains. `pixels` is how wide the picture is on the
    page, `theme` is "light" or "dark". Without `counts`, the sizes of what is enlarged are left
    out. Raises `UnknownName` for a method or a place that is not there, `NotSupported` for a
    bottleneck at a place that lies outside of a block.
    """
    on = dressed(method, config)
    place = _zoomed(on, zoom)
    page = Page(pixels, (5.8, 4.72), theme, sized=counts)
    top = page.head(_claim(method, config), _legend(on, page.narrow))
    page.figure.set_label(f"{_claim(method, config)}. {_told(on)}")
    u = (page.width - 0.2) / LENGTH
    large = Large(page, on, u, 0.1, top + 0.36 + TOP * u)
    large.draw(named=True, zoomed=place)
    frame = large.frame(place)
    panel = (0.1, large.line + u * 14 + 0.42, page.width - 0.1, page.height - 0.08)
    page.enlarge(frame, panel)
    page.text(panel[0] + 0.1, panel[1] + 0.07, f"enlarged: {place}", "left", "top")
    side = 1.02 if page.narrow else 1.42    # inches of d_model
    draw = (_in_front if place in ("words", "keys and values") else
            _bottleneck if place in on.loops else _matrix)
    x, y = draw(page, on, method, place, panel, side, panel[3] - 0.5 - side / 2)
    if counts:
        page.note(x, y, _note(on, method, place), panel[2] - 0.1)
    return page.figure


def _claim(method: str, config: Settings | None) -> str:
    """Say what a picture shows: of a method without words here, the first line of its file."""
    if method in NAMES:
        told = CLAIMS[method].format_map(vars(config or METHODS[method].Config()))
        return f"{NAMES[method]}: {told}"
    return _first_line(method) if method else CLAIMS[""]


def _first_line(method: str) -> str:
    """Return the first line of a method's file: its name, a colon, and what it learns."""
    return str(METHODS[method].__doc__).partition("\n")[0].rstrip(".")


def _legend(on: Dressed, narrow: bool) -> list[tuple[str, str]]:
    """Return what the fills mean, with counts: of the base's numbers, which stand still."""
    legend = [("trained", f"trained {on.trained:,}")] if on.trained else []
    if on.packed:
        legend.append(("four bits", f"{'4 bits' if narrow else 'frozen in 4 bits'} {on.packed:,}"))
    elif on.frozen:
        legend.append(("frozen", f"frozen {on.frozen:,}" if on.parts else f"numbers {on.frozen:,}"))
    return [*legend, ("passing", "only passes through")]


def _told(on: Dressed) -> str:
    """Say in words what a picture shows: how many numbers train, and at which places."""
    if not on.parts:
        return f"MiniLM's six such blocks, embeddings and pooler have {on.frozen:,} numbers."
    places = dict.fromkeys(part.place for part in on.parts if part.block in (0, None)
                           and part.place in {*MATRICES, *NORMS, "ffn", "backbone"})
    where = ", ".join(places).replace("backbone", "front of the text")
    bits = f", {on.packed:,} of them in {on.bits:.3g} bits" if on.packed else ""
    return (f"Trained: {on.trained:,} numbers, at {where}. Frozen: {on.frozen:,} numbers{bits}.")


def _note(on: Dressed, method: str, place: str) -> str:
    here = on.at({"words": "backbone"}.get(place, place))
    every = sum(prod(shape) for shape in here.values())
    if place == "ffn_out" and method == "ia3":
        return "one number a column, multiplies what is read"
    return NOTES.get(method, "").format(
        few=every, all=prod(SHAPES.get(place, (0,))), bits=on.bits, times={1: "one", 2: "two"}.get(
            len({p.place for p in on.parts if p.block == 0 and p.name == "A.W_up"})))


def _zoomed(on: Dressed, zoom: str) -> str:
    """Return the place to enlarge."""
    inside = {part.place for part in on.parts if part.block == 0}
    if zoom:
        known = [*MATRICES, *(place for place in on.loops if place not in MATRICES)]
        if zoom not in known:
            raise unknown("place to enlarge", zoom, known)
        return zoom
    if front := on.at("backbone"):
        return "words" if "P" in front else "keys and values"
    return next((place for place in ("value", *MATRICES, *on.loops) if place in inside), "value")


# ── the block at large ───────────────────────────────────────────────────────────────────────


class Large:
    """A block on a page: u inches a unit, its left end, and the height of its line."""

    def __init__(self, page: Page, on: Dressed, u: float, left: float, line: float):
        self.page, self.on, self.u, self.left, self.line = page, on, u, left, line
        self.narrow = u < 0.04
        self.own = {part.place for part in on.parts if part.name == "weight" and not part.wrapper}

    def at(self, x: float, up: float = 0) -> tuple[float, float]:
        """Return where a point of the block stands on the page."""
        return self.left + self.u * x, self.line - self.u * up

    def draw(self, named: bool, zoomed: str = "") -> None:
        """Draw the block and what trains in it; with the names of its parts, or none."""
        self._flows()
        if named:
            self._names(zoomed)
        held = "four bits" if self.on.packed else "frozen"
        for places, kind in ((MATRICES, held), (NORMS, "frozen")):
            for place, box in places.items():
                self._part(box, "trained" if place in self.own else kind)
        for box in self.added():
            self._part(box, "trained")
        for loop in self.on.loops.values():
            self._loop(*loop)

    def _part(self, box: tuple[float, float, float, float], kind: str) -> None:
        x, up, width, height = box
        thin = 0.035 if kind == "trained" else 0    # inches: it is to be seen on a small block, too
        self.page.part(*self.at(x, up), max(self.u * width, thin), max(self.u * height, thin), kind,
                       lw=0.8)

    def _flows(self) -> None:
        """Draw what no method changes: the words' vectors, lines, sums and the softmax."""
        page, at, u = self.page, self.at, self.u
        for x in WORDS:
            page.part(*at(x), 1.1 * u, 5 * u, "passing", lw=0.8)
        for up in (9, 0, -9):
            page.flow(at(13.5), at(13.5, up), at(16.4, up))
            page.flow(at(21.6, up), at(32.8, up))
        page.part(*at(36), 6 * u, 25 * u, "passing")
        for a, b in ((11.2, 13.5), (39, 42.4), (47.6, 56.4), (59.6, 61), (63, 67.3), (72.6, 76.4),
                     (96.6, 104.4), (107.6, 109), (111, LENGTH)):
            page.flow(at(a), at(b), arrow=b - a > 3)
        for start, end in zip(SKIPS, SUMS):
            page.flow(at(start), at(start, TOP), at(end, TOP), at(end, 1.7))
            page.plus(*at(end), self.radius)

    @property
    def radius(self) -> float:
        """How large the circle of a sum is, in inches."""
        return max(1.6 * self.u, 0.05)

    def _names(self, zoomed: str) -> None:
        page, at = self.page, self.at
        for start, end, name in zip(SKIPS, SUMS, ("attention", "feed-forward")):
            page.text(*at((start + end) / 2, TOP + 0.8), name, va="bottom")
        page.text(*at(36), "softmax", rotation=90)
        for name, place in zip("qkvo"[:3 + self.narrow], MATRICES):
            page.text(*at(*MATRICES[place][:2]), name,
                      color=INK["light"] if place in self.own else page.ink)
        page.text(*at(7.7, 4.2), "x" if self.narrow else "words", va="bottom")
        page.text(*at(86.5, -3.9), "ffn_out", va="top")
        below = zoomed in ("ffn_in", "ffn_out") and zoomed not in self.on.loops
        if not below and "ffn" not in self.on.loops:    # else other lines run there
            page.text(*at(70, -11.4), "ffn_in", va="top")
        if not self.narrow:
            page.text(*at(45, -3.9), "out", va="top")
            page.text(*at(63.9, -3.9), "norm", va="top")
            page.text(*at(111.5, 3.9), "norm", va="bottom")

    def added(self) -> Iterator[tuple[float, float, float, float]]:
        """Return the boxes of what a method adds to matrices and norms, and in front of words."""
        for place, (x, up, width, height) in (MATRICES | NORMS).items():
            rows, columns = SHAPES.get(place, (384, 384))
            right = x + width / 2 + 1
            for name, shape in self.on.at(place).items():
                if name in ("weight", "bias") or place in self.on.loops:
                    continue
                match shape:
                    case (_, n) if n == columns:             # a map from the inputs: on top
                        yield x, up + height / 2 + 1, width, 1.1
                    case (n, _) if n == rows:                # to the outputs: beside
                        yield right, up, 1.1, height
                    case (n,) if n == rows:                  # added beside; a scale in the flow
                        yield right + 3.5 * (name != "b"), up, 1.1, height
                    case (n,) if n == columns:
                        yield x - width / 2 - 1.6, up, 1.1, 5 * columns / 384
        here = self.on.at("backbone")
        for heights, names in (((0,), {"P"}), ((0, -9), {"K", "V"})):
            if here.keys() >= names:
                yield from ((x + 24.5 * (len(heights) - 1), up, 1.1, 5)
                            for x in IN_FRONT for up in heights)

    def _loop(self, read: float, add: float, deep: float) -> None:
        page, at, u = self.page, self.at, self.u
        if add not in SUMS:
            page.plus(*at(add), self.radius)
        page.flow(at(read), at(read, -deep), at(add, -deep), at(add, -1.7))
        page.bow(*at((read + add) / 2, -deep), 4.4 * u, 5 * u, u, "trained", lw=0.8)

    def frame(self, place: str) -> tuple[float, float, float, float]:
        """Return a frame around a place and what is added there: left, top, right, bottom."""
        if place in self.on.loops:
            read, add, deep = self.on.loops[place]
            left, right = sorted((read, add))
            if right - left > 20:    # the adapter alone
                left, right, top = (left + right) / 2 - 3, (left + right) / 2 + 2, 3.5 - deep
            else:
                top = 2.8
            return *self.at(left - 1.3, top), *self.at(right + 2.4, -deep - 3.5)
        boxes = [(6.8, 0, 6, 5)] if place == "words" else [(MATRICES | NORMS)[p] for p in (
            ("key", "value") if place == "keys and values" else (place,))]
        boxes += [(x, up, w, h) for x, up, w, h in self.added() if any(
            -c / 2 - 3 < x - a < c / 2 + 8 and abs(up - b) < d / 2 + 2 for a, b, c, d in boxes)]
        x, up, w, h = np.array(boxes).T
        return (*self.at(min(x - w / 2) - 0.9, max(up + h / 2) + 0.9),
                *self.at(max(x + w / 2) + 1.2, min(up - h / 2) - 0.9))


# ── a place enlarged ─────────────────────────────────────────────────────────────────────────


def _matrix(page: Page, on: Dressed, method: str, place: str, panel, side: float, y: float):
    """Draw W, and to its right what is trained there; return where a note may begin."""
    rows, columns = SHAPES[place]
    here = on.at(place)
    inputs = (columns,) in here.values() and rows != columns    # scaled: they stand as high as that
    scale = side / max(rows, columns) * (1.25 if rows < columns and not inputs else 1)
    h, w, gap = rows * scale, columns * scale, 0.34 if page.narrow else 0.5
    cell, start = max(w, 1), panel[0] + (0.22 if page.narrow else 0.6)
    x, top = start + cell / 2, y - h / 2
    moves = "weight" in here
    page.part(x, y, w, h, "not held" if moves else "four bits" if on.packed else "frozen")
    page.named(x, y + h / 2, "W₀, the start" if moves else "W, packed" if on.packed else "W",
               f"{rows} × {columns}")
    if on.packed:    # its blocks of 64, and their scales, to the left
        page.part(x - w / 2 - 0.1, y, 0.06, h, "frozen", lw=0.8)
        for i in range(1, columns // 64):
            edge = x - w / 2 + i * 64 * scale
            page.flow((edge, top), (edge, top + h), arrow=False, color=page.ink, lw=0.7, zorder=4)
        page.text(start - 0.14, top - 0.1, f"{columns // 64} scales a row", "left", "bottom")
    x += cell / 2 + gap
    if not here:
        row = y - 0.2 * h
        page.part(start + cell / 2, row, w, 0.05, "passing", ec=page.ink, lw=1)
        page.flow((start + cell / 2 + w / 2, row), (x - 0.08, row), color=page.ink)
        page.text(x, row, f"each row makes\none output from\nall {columns} inputs", "left")
        return x + 9, y
    sign = "+" if moves else "+ s" if "A" in here else SIGNS.get(next(iter(here)), "")
    page.text(x - gap / 2, y, sign, fontsize=12 if page.narrow else 14)
    if moves:
        page.part(x + w / 2, y, w, h, "trained")
        page.named(x + w / 2, y + h / 2, "ΔW", f"{rows} × {columns}")
        return x + w + 0.3, y
    if {"A", "B"} <= here.keys():
        strip = here["A"][0] * scale
        page.part(x + strip / 2, y, strip, h, "trained", lw=0)
        page.named(x + 0.06, y + h / 2, "B", "{} × {}".format(*here["B"]))
        x += strip + 0.07 + w / 2
        page.part(x, top - 0.07 - strip / 2, w, strip, "trained", lw=0)
        page.text(x - 0.3, top - 0.12 - strip, "A", "right", "bottom", weight="bold")
        page.size(x - 0.24, top - 0.12 - strip, "{} × {}".format(*here["A"]), "left", "bottom")
        page.part(x, y, w, h, "product")
        page.text(x, y - 0.1 * (w > 0.9), "B A", weight="bold")
        if w > 0.9 and page.narrow:
            page.size(x, y + 0.1, f"{rows} × {columns}", va="center")
        elif w > 0.9:
            page.text(x, y + 0.1, "as large as W")
        x += max(w / 2, 0.5) + 0.3
        if "m" in here:
            page.bracket(start - 0.13, y, 1.06 * h, -1)
            page.bracket(x - 0.17, y, 1.06 * h, 1)
            _turn(page, x, y, h)
            x += 9
        return x, y
    for name, shape in here.items():
        if len(shape) == 1:
            signed = name == "b"
            long = scale * shape[0]
            page.comb(x + 0.22 * signed, y, long, 0.36, signed)
            page.named(x + 0.2, y + long / 2, name, f"{shape[0]:,}", style="italic")
            x += 0.7
    return x, y


def _turn(page: Page, x: float, y: float, h: float) -> None:
    """Draw DoRA's second half: each row, turned by B A, becomes as long as m says."""
    width = 0.24 if page.narrow else 0.36
    page.text(x - 0.05, y, "to length", rotation=90)
    page.comb(x + 0.1, y, h, width)
    page.named(x + 0.1 + width / 2, y + h / 2, "m", "384", style="italic")
    if page.narrow:
        return
    x, y, r = x + 0.74, y + 0.42 * h, 0.95 * h

    def to(angle: float, far: float) -> tuple[float, float]:
        return x + far * r * np.cos(np.radians(angle)), y - far * r * np.sin(np.radians(angle))

    page.flow((x, y), to(14, 0.72), lw=1.8)
    page.flow((x, y), to(58, 1), lw=2.4, color=TRAINED)
    page.flow(*(to(angle, 0.5) for angle in np.linspace(16, 53, 20)), color=TRAINED)
    for right, up, text in ((0.73, 0.16, "a row of W"), (0.46, 0.36, "B A turns it"),
                            (0.58, 0.84, "as long as m")):
        page.text(x + right * r, y - up * r, text, "left")


def _bottleneck(page: Page, on: Dressed, method: str, place: str, panel, side: float, y: float):
    """Draw an adapter: a vector through a narrow middle and back, added to what it came from."""
    here = on.at(place)
    size, d = here["A.W_down"]
    width, step, small = (0.72, 0.16, side / 6) if page.narrow else (1.0, 0.3, side * size / d)
    x, top = panel[0] + (0.35 if page.narrow else 1.0), y - side / 2
    near = x + 0.05 + step
    middle, far = near + width + 0.15, near + 2 * width + 0.3
    end = far + step + 0.22
    page.flow((x + 0.05, y), (near, y))
    page.flow((far, y), (end - 0.12, y))
    if any(p.place == place and p.wrapper == "OutputAdapter" for p in on.parts):
        page.flow((x, top), (x, top - 0.2), (end, top - 0.2), (end, y - 0.12))
    else:    # it reads one thing, and is added to another
        page.text(end, top - 0.05, "the sum", va="bottom")
        page.flow((end, top), (end, y - 0.12))
    page.flow((end + 0.12, y), (end + 0.42, y))
    page.plus(end, y, 0.11)
    page.part(x, y, 0.1, side, "passing")
    page.part(middle, y, 0.1, small, "passing")
    page.bow(middle, y, far - near, side, small, "trained", gap=0.3)
    for x_, name, shape in ((x, "u", f"{d}"), (near + width / 2, "W_down", f"{size} × {d}"),
                            (far - width / 2, "W_up", f"{d} × {size}")):
        page.named(x_, y + side / 2, name, shape)
    page.size(middle, y + small / 2 + 0.12, f"{size}")
    page.text(middle, y - small / 2 - 0.08, "act", va="bottom")
    return end + 0.75, y


def _in_front(page: Page, on: Dressed, method: str, place: str, panel, side: float, y: float):
    """Draw trained vectors in front of the words': a column each, d_model high."""
    here, words = on.at("backbone"), 6
    kinds = {"P": ("P", "words")} if "P" in here else {"K": ("Pₖ", "K"), "V": ("Pᵥ", "V")}
    length, d = here[next(iter(kinds))][-2:]
    left = panel[0] + (0.22 if page.narrow else 0.6)
    room = (panel[2] - left - 0.2 - 2.1 * (len(kinds) == 1 and not page.narrow)) / len(kinds) - 0.3
    step = min(room / (length + words), 0.21)
    x = left
    for ours, theirs in kinds.values():
        for i in range(length + words):
            page.part(x + step * (i + 0.5) + 0.1 * (i >= length), y, 0.77 * step, side,
                      "trained" if i < length else "passing", lw=0.8)
        page.named(x + step * length / 2, y + side / 2, ours, f"{length} × {d}")
        x += 0.1 + step * length
        page.named(x + step * words / 2, y + side / 2, theirs, f"{words} × {d}")
        x += step * words + 0.3
    if len(kinds) == 2:
        page.text(page.width / 2, y - side / 2 - 0.1, "every query looks at all of these",
                  va="bottom")
        return x + 9, y
    return x, y


# ── all methods on a page ────────────────────────────────────────────────────────────────────


def methods(pixels: int = WIDE, theme: str = "light") -> Figure:
    """Draw the block without a method, and then with each, and how many numbers of it train."""
    columns, gap, title, names = 1 if pixels < 500 else 2, 0.3, 0.36, 0.24
    width = (pixels / PIXELS - 0.2 - gap * (columns - 1)) / columns
    u, cells = width / LENGTH, ("", *METHODS)
    high = title + (TOP + 16) * u + 0.12
    height = names + -(-len(cells) // columns) * high
    page = Page(pixels, (0.75 + height, 0.96 + height), theme)
    top = 0.12 + page.head("One block, all methods: what each of them trains", [
        ("trained", "trained"), ("frozen", "frozen"), ("four bits", "in 4 bits"),
        ("passing", "only passes through")])
    for i, method in enumerate(cells):
        on = dressed(method)
        left = 0.1 + i % columns * (width + gap)
        y = top + i // columns * high + names * (i >= columns)    # the first row's parts are named
        name, count = _counted(method)
        page.text(left, y, name, "left", "top", weight="bold")
        page.text(left + width, y, count, "right", "top")
        Large(page, on, u, left, y + title + names * (i < columns) + TOP * u).draw(
            named=not method)
    page.figure.set_label(counts_in_words())
    return page.figure


def counts_in_words() -> str:
    """Say what the page of all methods shows, for those who do not see it."""
    told = "; ".join(": ".join(_counted(method)) for method in ("", *METHODS))
    return f"One block, all methods: how many numbers each of them trains, and where. {told}."


def _counted(method: str) -> tuple[str, str]:
    """Return a method's name, and how many numbers train, of how many."""
    on = dressed(method)
    if not method:
        return "A block of MiniLM", f"{on.frozen:,} in all"
    share = on.trained / (on.trained + on.frozen)
    name = NAMES.get(method, _first_line(method).partition(":")[0])
    return name, f"{on.trained:,}" + f" · {100 * share:.2f} %" * (share < 1)
