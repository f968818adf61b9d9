"""The pictures of lesson 06: places in a block, stretch or turn, the mixing desk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from .... import data, plots
from ....adapter import adapters
from ....ink import Page, across
from ....plots import COLOURS, SERIES, claim, figure, in_percent
from ....widgets import Explorer
from ... import records
from . import block

apart, VECTORS = block.apart, block.VECTORS
PLACES = {"key": "keys", "value": "values", "ffn_out": "after"}
ALL = "all"
TURNS = {-1.0: "−1\nreversed", 0.0: "0\noff", 0.5: "0.5", 1.0: "1\nas learned", 1.5: "1.5",
         2.0: "2\ndoubled"}


# ── places in a block ────────────────────────────────────────────────────────────────────────


def draw_block() -> Figure:
    """Draw a block of a post-norm encoder: its six matrices, to scale, and places for a vector.

    On a phone its feed-forward part stands below.
    """
    page = Page(across(), (3.3, 5.8))
    top = page.head("Five places for a scaling vector: which matrix can take it in?", [
        ("trained", "scaling vector"), ("frozen", "frozen"), ("passing", "only passes through")])
    page.figure.set_label(
        f"A block with 6 matrices and 5 places for a vector: {', '.join(VECTORS)}.")
    d, wide, y = 0.32, 1.28, top + 1.4    # inches of 384 and of 1,536; the block's line
    up, over = {"query": y - 0.68, "key": y, "value": y + 0.68}, y - 1.12

    def on(x: float, at: float = y) -> tuple[float, float]:
        return (x - 3.53, at + 2.5) if page.narrow and x > 3.6 else (x, at)

    for place, at in up.items():
        page.flow((0.3, y), (0.42, y), (0.42, at), (0.62, at))
        page.part(0.62 + d / 2, at, d, d, "frozen")
        page.text(0.62 + d / 2, at, place[0])
        page.flow((0.62 + d, at), (1.76, at))
    page.text(0.2, y, "x")
    page.part(1.95, y, 0.38, 1.75, "passing")
    page.text(1.95, y, "softmax", rotation=90)
    for x, width, high, name, below in (
            (2.58, d, d, "out", d), (3.74, 0.1, d, "norm", d), (4.26, d, wide, "ffn_in", wide),
            (6.25, wide, d, "ffn_out", d)):
        page.part(*on(x), width, high, "frozen")
        page.text(*on(x, y + below / 2 + 0.07), name, va="top")
    page.part(*on(5.06), 0.24, wide, "passing")
    page.text(*on(5.06), "gelu", rotation=90)
    page.flow((3.2, y), *((3.67, y), (3.67, y + 1), (0.05, y + 1), (0.05, y + 2.5)) * page.narrow,
              on(3.69))
    for start, end in ((2.14, 2.42), (2.74, 3.0), (3.79, 4.1), (4.42, 4.94),
                       (5.18, 5.61), (6.89, 6.97), (7.17, 7.27)):
        page.flow(on(start), on(end), arrow=end - start > 0.15)
    for start, sum_, name in ((0.42, 3.1, "attention"), (3.92, 7.07, "feed-forward")):
        page.flow(on(start), on(start, over), on(sum_, over), on(sum_, y - 0.1))
        page.plus(*on(sum_), 0.1)
        page.text(*on((start + sum_) / 2, over - 0.05), name, va="bottom")
    for name, x, at, high in (("key", 1.38, y, d), ("value", 1.38, up["value"], d),
                              ("sum", 3.42, y, d), ("before", 4.7, y, wide),
                              ("after", 5.4, y, wide)):
        page.part(*on(x, at), 0.08, high, "trained")
        page.text(*on(x, at - high / 2 - 0.05), name, va="bottom", weight="bold")
    return page.figure


# ── stretch, or turn ─────────────────────────────────────────────────────────────────────────

ROW, PUSH = torch.tensor([1.6, 0.8]), torch.tensor([-0.6, 1.2])    # a row w; a row of LoRA's A


def _arrow(ax, end: Tensor, colour: str, width: float = 2.5) -> None:
    ax.annotate("", tuple(end.tolist()), (0, 0), zorder=3, arrowprops={
        "arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0})


def _plane(ax, title: str, reach: float) -> None:
    ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[],
           yticks=[])
    ax.axhline(0, color=COLOURS["quiet"], lw=0.8)
    ax.axvline(0, color=COLOURS["quiet"], lw=0.8)


@dataclass(frozen=True)
class Rows:
    """One row of a matrix, as a factor and as LoRA change it."""

    gain: tuple[float, float]
    lora: tuple[float, float]

    def angle(self, name: str) -> str:
        """How far a way turned the row, in words."""
        row = Tensor(getattr(self, name))
        if row.norm() < 0.01:
            return "silent"
        cosine = (row @ ROW / row.norm() / ROW.norm()).clamp(-1, 1)
        turned, stretched = torch.rad2deg(cosine.arccos()), row.norm() / ROW.norm()
        return f"turned by {turned:.0f}°, {stretched:.2g} times as long"


def rows(l: float, b: float) -> Rows:
    """Multiply the row by a factor; add a push to it."""
    return Rows(tuple((l * ROW).tolist()), tuple((ROW + b * PUSH).tolist()))


def draw_rows(found: Rows) -> Figure:
    """Draw the row, where each way can bring it, and where it is."""
    made, *axes = figure(7.4, 3.9, columns=2)
    for ax, row, title, name, origin, along, colour in (
            (axes[0], found.gain, "a factor", "l · w", 0 * ROW, ROW, "yours"),
            (axes[1], found.lora, "LoRA", "w + b · a", ROW, PUSH, "lora")):
        _plane(ax, title, 3.4)
        ax.plot(*zip((origin - 9 * along).tolist(), (origin + 9 * along).tolist()), ":",
                color=COLOURS[colour], lw=1.5)
        _arrow(ax, ROW, COLOURS["quiet"], 5)
        ax.text(*(ROW + torch.tensor([-0.45, -0.6])).tolist(), "w", color=COLOURS["head"],
                fontsize=12)
        if Tensor(row).norm() > 0.01:
            _arrow(ax, Tensor(row), COLOURS[colour])
        else:
            ax.plot(0, 0, "o", color=COLOURS[colour], ms=8)
        x, y = row
        if name == "w + b · a":    # its line falls: beside the tip, off line and arrow
            aside, up, ha, va = (0.25, 0.1, "left", "bottom") if x <= ROW[0] else (
                -0.25, -0.1, "right", "top")
        else:
            aside, up, ha, va = -0.25, 0.15, "right", "baseline"
        ax.text(x + aside, y + up, name, color=COLOURS[colour], fontsize=12, ha=ha, va=va,
                weight="bold")
    claim(made, "A factor moves a row along its own line, LoRA along another", "One row of W: by "
          f"the factor {found.angle('gain')}; by LoRA {found.angle('lora')}.")
    return made


def explore_row() -> Explorer:
    """Return one row of a matrix, a factor that multiplies it and a push that LoRA adds to it."""
    quarters = [(f"{n / 4:g}", n / 4) for n in range(-8, 9)]
    controls = {
        "l": ipw.SelectionSlider(options=quarters, value=1.5, description="factor l"),
        "b": ipw.SelectionSlider(options=quarters, value=1.0, description="LoRA b")}
    return Explorer(controls, rows, draw_rows, lambda found: (
        "Grey: a row w of W. Dotted: everywhere it can go. Factor: "
        f"{found.angle('gain')}; LoRA: {found.angle('lora')}."))


def learn(layer: nn.Module, wanted: Tensor, steps: int = 400) -> Tensor:
    """Train a layer towards a matrix (n_out, n_in), on the squared error; return its matrix."""
    eye = torch.eye(wanted.shape[1])
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(eye).T - wanted).square().sum().backward()
        optimizer.step()
    return layer(eye).T.detach()


def draw_swap(matrices: Mapping[str, Tensor]) -> Figure:
    """Draw matrices of two rows, a panel each; a row keeps its colour.

    The claim says which come near to the one called "wanted".
    """
    made, *axes = figure(2.3 * len(matrices), 3, columns=len(matrices))
    for ax, (name, W) in zip(axes, matrices.items()):
        _plane(ax, name, 2.7)
        ax.set(xlim=(-0.4, 2.7), ylim=(-0.4, 2.7))
        for row, (colour, _, _), number in zip(W, SERIES[1:], ("1", "2")):
            _arrow(ax, row, colour)
            ax.text(*(row * (1 + 0.3 / row.norm())).tolist(), number, color=colour, fontsize=11,
                    ha="center", va="center")
    near = {name: torch.allclose(W, matrices["wanted"], atol=0.1) for name, W in matrices.items()
            if name not in ("start", "wanted")}
    claim(made, "The rows are to be swapped: " + ", ".join(
        f"{name} {'can' if can else 'cannot'}" for name, can in near.items()), "; ".join(
        f"{name}: {[[round(v, 2) for v in row] for row in W.tolist()]}"
        for name, W in matrices.items()) + ".")
    return made


# ── what they learned ────────────────────────────────────────────────────────────────────────


def rates(model: nn.Module) -> pandas.DataFrame:
    """Return the size of the factors and of the entries that they scale, and their best rates."""
    weights = torch.cat([a.base.weight.flatten() for a in adapters(model).values()])
    best = {row["method"]: row["lr"] for row in records.load("ladder")["runs"]
            if row["group"] == "final"}
    return pandas.DataFrame(
        {"typical size": [f"{weights.square().mean().sqrt().item():.3f}", "1"],
         "best rate": [f"{best['full']:g}", f"{best['ia3']:g}"]},
        ["an entry, full fine-tuning", "a factor"])


# ── the mixing desk ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Desk:
    """The desk at one setting: accuracy over f, and what flipped."""

    f: float
    turned: str
    curve: tuple[tuple[float, float], ...]                        # (f, accuracy)
    accuracy: float
    learned: float
    flips: tuple[tuple[str, int, bool], ...]                      # text, label, now right
    sentences: int


def answers_at(record: Mapping, f: float, turned: str = ALL) -> str:
    """Return the recorded answers, a 0 or 1 a sentence."""
    table = record["desk"]["answers"]
    return table["1.0 all"] if f == 1 else table[f"{float(f)} {turned}"]


def desk(record: Mapping, sentences: Sequence, f: float, turned: str = ALL) -> Desk:
    """Return the desk with l = 1 + f (l − 1) for a place, a block (as "0"), or all of them."""
    truth, learned = record["desk"]["truth"], answers_at(record, 1)

    def accuracy(said: str) -> float:
        return mean(a == b for a, b in zip(said, truth))

    said = answers_at(record, f, turned)
    flips = tuple((sentences[i].text, sentences[i].label, said[i] == truth[i])
                  for i in range(len(truth)) if said[i] != learned[i])
    return Desk(f, turned, tuple((u, accuracy(answers_at(record, u, turned))) for u in TURNS),
                accuracy(said), accuracy(learned), flips, len(truth))


def draw_desk(found: Desk) -> Figure:
    """Draw accuracy against f, over a band that guessing keeps to in 95 of 100 cases."""
    made, ax = figure(7.2, 3.8)
    chance = 1.96 * records.standard_error(0.5, found.sentences)
    ax.axhspan(0.5 - chance, 0.5 + chance, color=COLOURS["band"], zorder=0)
    ax.text(2, 0.5, "guessing", ha="right", va="center", color=COLOURS["head"], fontsize=11)
    ax.plot(*zip(*found.curve), "-o", color=COLOURS["ink"], ms=5)
    plots.ring(ax, found.f, found.accuracy)
    ax.set(xlabel="f, how far the desk is turned", ylabel=f"right, of {found.sentences} sentences",
           xticks=[*TURNS], xticklabels=TURNS.values(), ylim=(0.35, 0.95))
    in_percent(ax.yaxis)
    other, told = (0.0, "switched off") if found.f == 1 else (1.0, "as learned")
    claim(made, f"{TURNED[found.turned].capitalize()} at f = {found.f:g}: {found.accuracy:.1%} "
          f"right; {told} {dict(found.curve)[other]:.1%}", "Over f: " + ", ".join(
              f"{f:g}: {a:.1%}" for f, a in found.curve) + ".")
    return made


TURNED = {ALL: "everything", **PLACES, **{str(b): f"block {b}" for b in range(6)}}


def caption_of(found: Desk) -> str:
    """Say what the setting does to the answers, with some of the sentences that flipped."""
    gained = sum(right for *_, right in found.flips)
    error = 1.96 * records.standard_error(found.learned, found.sentences)
    told = (f"As learned, the 95% interval is ± {error:.1%}. The band: guessing.")
    if found.flips:
        told += (f" Beside f = 1, {len(found.flips)} answers flip: {gained} are now right, "
                 f"{len(found.flips) - gained} wrong.")
    for text, label, right in sorted(found.flips, key=lambda flip: len(flip[0]))[:2]:
        told += (f" Now {'right' if right else 'wrong'}: “{text}” "
                 f"({'liked' if label else 'not liked'}).")
    return told


def explore_desk(record: Mapping, sentences: Sequence) -> Explorer:
    """Return the mixing desk: f, and what is turned."""
    controls = {
        "f": ipw.SelectionSlider(options=[(f"{f:g}", f) for f in TURNS], value=1.0,
                                 description="f"),
        "turned": ipw.Dropdown(options=[(name, key) for key, name in TURNED.items()], value=ALL,
                               description="turn"),
    }
    return Explorer(controls, lambda f, turned: desk(record, sentences, f, turned), draw_desk,
                    caption_of)


# ── few sentences ────────────────────────────────────────────────────────────────────────────

def few(record: Mapping) -> pandas.DataFrame:
    """Return all that was tried on few sentences, a row a draw."""
    frozen, = records.select(record, group="frozen")
    return pandas.concat([pandas.DataFrame(frozen["thresholds"]).assign(method="threshold"),
                          record.runs.query("group == 'few'")])


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "block": draw_block,
    "row": explore_row,
    "swap": lambda: draw_swap({"start": torch.tensor([[2.0, 1.0], [1.0, 2.0]]),
                               "wanted": torch.tensor([[1.0, 2.0], [2.0, 1.0]]),
                               "IA³": torch.tensor([[1.6, 0.8], [0.8, 1.6]])}),
    "desk": lambda: explore_desk(records.load("ia3"), data.load("movies").test),
}
