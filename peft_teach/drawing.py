"""One transformer block, drawn alike for every method: what is frozen, what is trained, and where.

    show(block("lora"), "Six such blocks.")             `show` is `plots.show`
    block("lora", pt.lora.Config(rank=64))              another rank
    block("bottleneck", pt.bottleneck.HOULSBY)          another placement
    block("lora", zoom="query")                         enlarge another place
    block("prefix", model="smollm2")                    in a decoder's block
    methods()                                           all methods on one page
    parts("lora")                                       what is drawn, as a data frame

Above, a model's block at large: every part stands at one place for every method (`layouts`), and
frozen matrices are to scale, one to another; what a method adds is a sign. Below, one place
enlarged, to scale. Nothing about a method is kept here but its words: it is put on the model as
shapes alone (`outlines`), and what it trains there, where, and how large, is read off. So a method
that is not known here can be drawn, too: by what it registers.
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
from .layouts import IN_FRONT, LENGTH, OUTLINES, WORDS, Layout, layout
from .methods import METHODS
from .valid import Settings

if TYPE_CHECKING:
    import pandas

MODEL = "minilm"
COUNT = {6: "six", 7: "seven", 30: "thirty"}
# A method's name, what its picture says, and what is said beside its enlarged place.
NAMES = {"full": "Full fine-tuning", "bitfit": "BitFit", "prompt": "Prompt tuning",
         "prefix": "Prefix tuning", "bottleneck": "Bottleneck adapters", "ia3": "IA³",
         "lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA"}
CLAIMS = {
    "": "A block: {matrices} matrices, and two sums that keep what came in",
    "full": "every number may move",
    "bitfit": "only the vectors that are added train",
    "prompt": "{length} trained vectors in front of the words",
    "prefix": "{length} trained keys and values in each block",
    "bottleneck": "trained bottlenecks, added to a frozen block",
    "ia3": "three trained vectors scale what passes",
    "lora": "two trained strips beside a frozen matrix",
    "dora": "strips turn each row, a trained number sets its length",
    "qlora": "the same strips beside a matrix in four bits",
}
NOTES = {
    "full": "{all:,} numbers move: as many as W has",
    "bitfit": "one number a row, added to its output, on top of the frozen bias",
    "prompt": "{few:,} numbers, and every block reads them",
    "bottleneck": "{few:,} numbers, biases among them; {times}",
    "ia3": "one number a row, multiplies its output",
    "ia3 at ffn_out": "one number a column, multiplies what is read",
    "lora": "{few:,} numbers in place of {all:,}",
    "qlora": "W: {bits:.3g} bits a number with its scales; A and B: 32 bits",
}
LABELS = {"attention_out": "out", "ffn": "feed-forward", "ffn_norm": "norm"}    # as in the block
# By the name of what trains beside W: what stands between the two, and what closes it.
SIGNS = {"weight": ("+", ""), "A": ("+ s", ""), "b": ("x +", ""), "l": ("x ⊙", ""),
         "l, of inputs": ("(x ⊙", ")")}

# Where what is put around the whole backbone stands in a picture.
BESIDE_WORDS, BESIDE_KEYS = "words", "keys and values"

# ── what a method does to the model ──────────────────────────────────────────────────────────


Shapes = dict[str, tuple[int, ...]]    # of what trains at a place, by name


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
    """A model as shapes, with a method on it, and where its block's parts stand."""

    layout: Layout
    parts: tuple[Part, ...]
    frozen: int            # numbers of the base that do not train
    packed: int            # of these, in four bits, and how many bits that is with the scales
    bits: float

    @property
    def trained(self) -> int:
        """How many numbers train, the task's head left out."""
        return sum(part.numbers for part in self.parts)

    @property
    def front(self) -> str | None:
        """What the trained vectors in front of the text stand beside; None without any."""
        return next((part.place for part in self.parts
                     if part.place in (BESIDE_WORDS, BESIDE_KEYS)), None)

    @property
    def low(self) -> float:
        """How deep the block reaches, with what hangs below it."""
        return max([self.layout.low, *(deep + 2.5 for *_, deep in self.loops.values())])

    def at(self, place: str) -> Shapes:
        """What trains at a place of the block, or of all blocks at once: names and shapes."""
        return {part.name: part.shape for part in self.drawn if part.place == place}

    @property
    def drawn(self) -> list[Part]:
        """What trains in the block that is drawn, the first in which something does, or outside."""
        first = min((part.block for part in self.parts if part.block is not None), default=None)
        return [part for part in self.parts if part.block in (first, None)]

    @property
    def loops(self) -> dict[str, tuple[float, float, float]]:
        """By place, the wires of bottlenecks: where they read, where they add, how deep they hang.

        Raises `NotSupported` for one that stands where none is drawn.
        """
        found = {}
        for part in self.drawn:
            if part.name == "A.W_up":
                if (part.wrapper, part.place) not in self.layout.loops:
                    raise NotSupported(f"A bottleneck at {part.place!r} is not drawn.",
                                       expected="one as in HOULSBY, PFEIFFER, BAPNA, PARALLEL or "
                                                "ENDS of pt.bottleneck")
                found[part.place] = self.layout.loops[part.wrapper, part.place]
        return found


def parts(method: str = "", config: Settings | None = None,
          model: str = MODEL) -> "pandas.DataFrame":
    """Return what a method trains on a model: block, place, wrapper, name, shape and numbers."""
    import pandas

    found = dressed(method, config, model).parts
    return pandas.DataFrame(found, columns=Part._fields).assign(
        numbers=[part.numbers for part in found])


@functools.cache
def dressed(method: str = "", config: Settings | None = None, model: str = MODEL) -> Dressed:
    """Put a method on a model as shapes alone, and read off what trains there.

    Without a config it is the method's own.
    """
    block = layout(model)
    if not method:
        return Dressed(block, (), block.total, 0, 32)
    stands = _stands(block, model)
    on = outlines.adapted(OUTLINES[model], method, config)
    found = [(name, type(adapter).__name__, own, p) for name, adapter in adapters(on).items()
             for own, p in adapter.own_parameters().items()]
    if not found:      # full fine-tuning: the model's own
        found = [(name.rpartition(".")[0], "", name.rpartition(".")[2], p)
                 for name, p in adapter_parameters(on).items()]
    front = BESIDE_WORDS if any(own == "P" for _, _, own, _ in found) else BESIDE_KEYS
    trained = tuple(
        Part(of, front if place == "backbone" else place, wrapper, own, tuple(p.shape))
        for name, wrapper, own, p in found for place, of in [stands.get(name, (name, None))])
    packed = [layer.quantized for layer in models.quantized(on).values()]
    numbers = sum(prod(q.shape) for q in packed)
    own = sum(part.numbers for part in trained if not part.wrapper)
    return Dressed(block, trained, block.total - own, numbers,
                   8 * sum(q.size_bytes for q in packed) / numbers if packed else 32)


def _stands(block: Layout, model: str) -> dict[str, tuple[str, int | None]]:
    """Return of each module its place and its block; the last state's is a block's, too."""
    names = models.places(outlines.outline(OUTLINES[model]))
    names |= {norm: tuple(f"{of}.{norm}" for of in names["block"]) for norm in block.norms
              if norm not in names}
    return {name: (place, i if len(every) > 1 else None)
            for place, every in sorted(names.items(), key=lambda at: len(at[1]))
            for i, name in enumerate(every)}


# ── the picture of one method ────────────────────────────────────────────────────────────────


def block(method: str = "", config: Settings | None = None, *, model: str = MODEL, zoom: str = "",
          pixels: int = WIDE, theme: str = "light", counts: bool = True) -> Figure:
    """Draw a model's block with a method on it, and one place of it enlarged.

    Without a method it is the block as it came. `model` is "minilm", an encoder, or "smollm2", a
    decoder. `zoom` names a place as targets do; by default the value, or the first place at which
    something trains. `pixels` is how wide the picture is on the page, `theme` is "light" or "dark".
    Without `counts`, the sizes that settings choose are left out. Raises `UnknownName` for a model,
    a method or a place that is not there, `NotSupported` for a bottleneck that stands where none is
    drawn, and what the method does where the model lacks what it trains.
    """
    on = dressed(method, config, model)
    place, claim = _zoomed(on, zoom), _claim(method, config, on)
    u = (pixels / PIXELS - 0.2) / LENGTH
    more = u * (on.layout.top + on.low - 29.5)    # how much higher this block is than MiniLM's
    page = Page(pixels, (5.8 + more, 4.72 + more), theme, sized=counts)
    top = page.head(claim, _legend(on, page.narrow))
    page.figure.set_label(f"{claim}. {_told(on)}")
    large = Large(page, on, u, 0.1, top + 0.36 + on.layout.top * u)
    large.draw(named=True, zoomed=place)
    frame = large.frame(place)
    panel = (0.1, large.line + u * on.low + 0.42, page.width - 0.1, page.height - 0.08)
    page.enlarge(frame, panel)
    label = f"an adapter at “{LABELS.get(place, place)}”" if place in on.loops else place
    page.text(panel[0] + 0.1, panel[1] + 0.07, f"enlarged: {label}", "left", "top")
    side = 1.02 if page.narrow else 1.42    # inches of d_model
    draw = (_in_front if place == on.front else
            _bottleneck if place in on.loops else _matrix)
    y = panel[3] - 0.5 - side / 2
    x = draw(page, on, place, panel, side, y)
    if counts and x is not None:
        page.note(x, y, _note(on, method, place), panel[2] - 0.1)
    return page.figure


def _claim(method: str, config: Settings | None, on: Dressed) -> str:
    """Say what a picture shows: of a method without words here, the first line of its file."""
    if not method:
        return CLAIMS[""].format(matrices=COUNT[len(on.layout.shapes)])
    if method in NAMES:
        told = CLAIMS[method].format_map(vars(config or METHODS[method].Config()))
        return f"{NAMES[method]}: {told}"
    return _first_line(method)


def _first_line(method: str) -> str:
    """Return the first line of a method's file: its name, a colon, and what it learns."""
    return str(METHODS[method].__doc__).partition("\n")[0].rstrip(".")


def _legend(on: Dressed, narrow: bool) -> list[tuple[str, str]]:
    """Return what the fills mean, with counts: of the base's numbers, which stand still."""
    legend = [("trained", f"trained {on.trained:,}")] if on.trained else []
    if on.packed:
        legend.append(("four bits", f"{'4 bits' if narrow else 'frozen in 4 bits'} {on.packed:,}"))
    elif on.frozen:
        legend.append(("frozen", f"frozen {on.frozen:,}" if on.parts else "holds parameters"))
    return [*legend, ("passing", "only passes through")]


def _told(on: Dressed) -> str:
    """Say in words what a picture shows: how many numbers train, and at which places."""
    block = on.layout
    if not on.parts:
        rest = "embeddings and pooler" if "ffn_norm" in block.norms else "embeddings and last norm"
        return (f"{block.name}'s {COUNT[block.blocks]} such blocks, {rest} have {on.frozen:,} "
                "numbers.")
    known = {*block.boxes, *on.loops, on.front}
    places = dict.fromkeys(part.place for part in on.drawn if part.place in known)
    where = ", ".join("front of the text" if place == on.front else place + _blocks(on, place)
                      for place in places)
    bits = f", {on.packed:,} of them in {on.bits:.3g} bits" if on.packed else ""
    return (f"Trained: {on.trained:,} numbers, at {where}."
            f" Frozen: {on.frozen:,} numbers{bits}.")


def _blocks(on: Dressed, place: str) -> str:
    """Say in which blocks something trains at a place, unless it is in all, or in none."""
    blocks = {part.block for part in on.parts if part.place == place} - {None}
    if len(blocks) in (0, on.layout.blocks):
        return ""
    return " of the last block" if blocks == {on.layout.blocks - 1} else (
        f" of {len(blocks)} of {on.layout.blocks} blocks")


def _note(on: Dressed, method: str, place: str) -> str:
    every = sum(prod(shape) for shape in on.at(place).values())
    inside = len({p.place for p in on.drawn if p.block is not None and p.name == "A.W_up"})
    times = (f"{('one', 'two')[inside > 1]} in a block" if "embeddings" not in on.loops else
             "one before the first block, one behind the last")
    note = NOTES.get(f"{method} at {place}", NOTES.get(method, ""))
    return note.format(few=every, all=prod(on.layout.shapes.get(place, (0,))), bits=on.bits,
                       times=times)


def _zoomed(on: Dressed, zoom: str) -> str:
    """Return the place to enlarge."""
    inside, matrices = {part.place for part in on.drawn}, on.layout.shapes
    if zoom:
        known = [*matrices, *(place for place in on.loops if place not in matrices)]
        if zoom not in known:
            raise unknown("place to enlarge", zoom, known)
        return zoom
    if on.front:
        return on.front
    first = next(place for place in ("value", "query") if len({*matrices[place]}) == 1)    # as wide
    return next((place for place in (first, *matrices, *on.loops) if place in inside), first)


# ── the block at large ───────────────────────────────────────────────────────────────────────


class Large:
    """A block on a page: u inches a unit, its left end, and the height of its line."""

    def __init__(self, page: Page, on: Dressed, u: float, left: float, line: float):
        self.page, self.on, self.u, self.left, self.line = page, on, u, left, line
        self.layout = on.layout
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
        for place, box in self.layout.boxes.items():
            kind = held if place in self.layout.shapes else "frozen"
            self._part(box, "trained" if place in self.own else kind)
        self._heads()
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
        page, at, u, stands = self.page, self.at, self.u, self.layout
        for x in WORDS:
            page.part(*at(x), 1.1 * u, 5 * u, "passing", lw=0.8)
        page.part(*at(stands.softmax), 6 * u, 25 * u, "passing")
        for line in stands.lines:
            (a, b), (c, d) = line[-2:]
            page.flow(*(at(*point) for point in line), arrow=abs(c - a) + abs(d - b) > 2.5)
        for start, end in zip(stands.skips, stands.sums):
            page.flow(at(start), at(start, stands.top), at(end, stands.top), at(end, 1.7))
            page.plus(*at(end), self.radius)
        for x in stands.products:
            page.times(*at(x), self.radius)

    def _heads(self) -> None:
        """Draw the borders of the heads, where several queries share a key and a value."""
        if len({*self.layout.heads.values()}) == 1 or self.narrow:
            return
        for place, heads in self.layout.heads.items():
            x, up, width, height = self.layout.matrices[place]
            for i in range(1, heads):
                edge = up - height / 2 + height * i / heads
                self.page.flow(self.at(x - width / 2, edge), self.at(x + width / 2, edge),
                               arrow=False, lw=0.5, zorder=4)

    @property
    def radius(self) -> float:
        """How large the circle of a sum is, in inches."""
        return max(1.6 * self.u, 0.05)

    def _names(self, zoomed: str) -> None:
        page, at, stands = self.page, self.at, self.layout
        for start, end, name in zip(stands.skips, stands.sums, ("attention", "feed-forward")):
            page.text(*at((start + end) / 2, stands.top + 0.8), name, va="bottom")
        page.text(*at(stands.softmax), "softmax", rotation=90)
        gated = "ffn_gate" in stands.shapes
        for name, place in zip("qkvo"[:3 + self.narrow], stands.shapes):
            x, up, _, height = stands.matrices[place]
            if gated and name != "o":    # above a box that is flat, or ruled into heads
                page.text(*at(x, up + height / 2 + 0.09 / self.u), name)
            else:
                page.text(*at(x, up), name, color=self._ink(place))
        page.text(*at(7.7, 4.2), "x" if self.narrow else "words", va="bottom")
        short = "" if gated and self.narrow else "ffn_"
        page.text(*at(stands.middles["ffn_out"][0], -3.9), f"{short}out", va="top")
        if gated:
            for name in ("gate", "in"):
                place = f"ffn_{name}"
                page.text(*at(*stands.middles[place]), short + name, rotation=90,
                          color=self._ink(place))
        elif "ffn" not in self.on.loops and (    # else other lines run there
                zoomed not in ("ffn_in", "ffn_out") or zoomed in self.on.loops):
            page.text(*at(70, -11.4), "ffn_in", va="top")
        if not self.narrow:
            page.text(*at(stands.middles["attention_out"][0], -3.9), "out", va="top")
            (first, *_), (second, *_) = stands.norms.values()
            if gated:    # lines fork behind the norms
                if "embeddings" not in self.on.loops:
                    page.text(*at(first - 1.4, -3.9), "norm", va="top")
                page.text(*at(second - 1, -3.9), "norm", va="top")
            else:
                page.text(*at(first + 1.9 * bool(self.on.loops), -3.9), "norm", va="top")
                page.text(*at(second + 1.5, 3.9), "norm", va="bottom")

    def _ink(self, place: str) -> str:
        """Return the colour of a name that stands on a matrix."""
        return INK["light"] if place in self.own else self.page.ink

    def added(self) -> Iterator[tuple[float, float, float, float]]:
        """Return the boxes of what a method adds to matrices and norms, and in front of words."""
        d_model = self.layout.d_model
        for place, (x, up, width, height) in self.layout.boxes.items():
            rows, columns = self.layout.shapes.get(place, (d_model, d_model))
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
                        yield x - width / 2 - 1.6, up, 1.1, 5 * columns / d_model
        if self.on.front == BESIDE_WORDS:
            yield from ((x, 0, 1.1, 5) for x in IN_FRONT)
        elif self.on.front == BESIDE_KEYS:
            matrices = [self.layout.matrices[place] for place in ("key", "value")]
            yield from ((x, up, 1.1, height) for x in self.layout.keys
                        for _, up, _, height in matrices)

    def _loop(self, read: float, add: float, deep: float) -> None:
        page, at, u = self.page, self.at, self.u
        if add not in self.layout.sums:
            page.plus(*at(add), self.radius)
        if read < WORDS[0]:
            page.flow(at(read), at(WORDS[0] - 0.6), arrow=False)
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
            return *self.at(left - 0.7, top), *self.at(right + 1.6, -deep - 3.5)
        boxes = [(6.8, 0, 6, 5)] if place == BESIDE_WORDS else [self.layout.boxes[p] for p in (
            ("key", "value") if place == BESIDE_KEYS else (place,))]
        boxes += [(x, up, w, h) for x, up, w, h in self.added() if any(
            -c / 2 - 3 < x - a < c / 2 + 8 and abs(up - b) < d / 2 + 2 for a, b, c, d in boxes)]
        x, up, w, h = np.array(boxes).T
        return (*self.at(min(x - w / 2) - 0.9, max(up + h / 2) + 0.9),
                *self.at(max(x + w / 2) + 1.2, min(up - h / 2) - 0.9))


# ── a place enlarged ─────────────────────────────────────────────────────────────────────────


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


def _matrix(page: Page, on: Dressed, place: str, panel, side: float, y: float) -> float | None:
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


def _bottleneck(page: Page, on: Dressed, place: str, panel, side: float, y: float) -> float:
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
    if any(p.place == place and p.wrapper == "OutputAdapter" for p in on.parts):
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


def _in_front(page: Page, on: Dressed, place: str, panel, side: float, y: float) -> float | None:
    """Draw trained vectors in front of the words': a column each, d_model high.

    Returns where a note may begin, None where none has room.
    """
    here, words = on.at(place), 6
    kinds = {"P": ("P", "words")} if place == BESIDE_WORDS else {"K": ("Pₖ", "K"), "V": ("Pᵥ", "V")}
    length, d = here[next(iter(kinds))][-2:]
    side *= d / on.layout.d_model
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
        queries, keys = on.layout.heads["query"], on.layout.heads["key"]
        shared = (f": {queries} heads of queries share {keys} of keys and values"
                  if keys < queries and not page.narrow else "")
        page.text(page.width / 2, y - side / 2 - 0.1, f"every query looks at all of these{shared}",
                  va="bottom")
        return None
    return x


# ── all methods on a page ────────────────────────────────────────────────────────────────────


def methods(pixels: int = WIDE, theme: str = "light") -> Figure:
    """Draw the block without a method, and then with each, and how many numbers of it train."""
    columns, gap, title, names = 1 if pixels < 500 else 2, 0.3, 0.36, 0.24
    width = (pixels / PIXELS - 0.2 - gap * (columns - 1)) / columns
    u, cells = width / LENGTH, ("", *METHODS)
    high = title + (layout(MODEL).top + 16) * u + 0.12
    height = names + -(-len(cells) // columns) * high
    page = Page(pixels, (0.75 + height, 0.96 + height), theme)
    top = 0.12 + page.head("One block, all methods: what each of them trains", [
        ("trained", "trained"), ("frozen", "frozen"), ("four bits", "in 4 bits"),
        ("passing", "only passes through")])
    for i, method in enumerate(cells):
        on = dressed(method)
        left = 0.1 + i % columns * (width + gap)
        y = top + i // columns * high + names * (i >= columns)    # the first row's parts are named
        name, count = counted(method)
        page.text(left, y, name, "left", "top", weight="bold")
        page.text(left + width, y, count, "right", "top")
        Large(page, on, u, left, y + title + names * (i < columns) + on.layout.top * u).draw(
            named=not method)
    page.figure.set_label(counts_in_words())
    return page.figure


def counts_in_words() -> str:
    """Say what the page of all methods shows, for those who do not see it."""
    told = "; ".join(": ".join(counted(method)) for method in ("", *METHODS))
    return f"One block, all methods: how many numbers each of them trains, and where. {told}."


def counted(method: str) -> tuple[str, str]:
    """Return a method's name, and how many numbers train, of how many."""
    on = dressed(method)
    if not method:
        return "The block", f"MiniLM: {on.frozen:,} in all"
    share = on.trained / (on.trained + on.frozen)
    name = NAMES.get(method, _first_line(method).partition(":")[0])
    return name, f"{on.trained:,}" + f" · {100 * share:.2f}%" * (share < 1)
