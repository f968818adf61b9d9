"""A model's block at large: every part at its place, and what a method adds as a sign."""

from collections.abc import Iterator

import numpy as np

from ..ink import INK, Page
from .layouts import IN_FRONT, WORDS
from .trained import BESIDE_KEYS, BESIDE_WORDS, Adapted


class Large:
    """A block on a page: u inches a unit, its left end, and the height of its line."""

    def __init__(self, page: Page, on: Adapted, u: float, left: float, line: float):
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
