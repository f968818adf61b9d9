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
from ....plots import COLOURS, SERIES, figure, in_percent
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
    """Draw a block of a post-norm encoder: its six matrices, and five places for a vector."""
    made, ax = figure(9.2, 3.0)
    ax.axis("off")
    ax.set(xlim=(0, 15.6), ylim=(0.1, 5.2))

    def line(*points: tuple[float, float]) -> None:
        ax.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "->", "lw": 1,
                                                            "color": COLOURS["rest"]})
        ax.plot(*zip(*points), color=COLOURS["rest"], lw=1)

    for x, y, width, height, text, fill in (
            (0.9, 4.2, 1.1, 0.66, "query", "frozen"), (0.9, 2.4, 1.1, 0.66, "key", "frozen"),
            (0.9, 0.9, 1.1, 0.66, "value", "frozen"),
            (3.25, 2.55, 1.2, 3.9, "softmax\nmean", "paper"),
            (4.85, 2.4, 1.35, 0.66, "attention\nout", "frozen"),
            (7.8, 2.4, 0.85, 0.66, "norm", "frozen"), (11.0, 2.4, 0.8, 0.66, "gelu", "paper"),
            (9.05, 2.4, 1.0, 0.66, "ffn_in", "frozen"),
            (12.75, 2.4, 1.1, 0.66, "ffn_out", "frozen")):
        plots.box(ax, x, y - height / 2, width, height, text, fc=COLOURS[fill],
                  ec=COLOURS["rest"], lw=1)
    for y in (4.2, 2.4, 0.9):
        line((0.35, 2.4), (0.6, 2.4), (0.6, y), (0.9, y))
        line((2.05, y), (3.2, y))
    for start, end in ((4.5, 4.8), (6.25, 6.6), (6.9, 7.75), (8.7, 9.0), (10.1, 10.95),
                       (11.85, 12.7), (13.9, 14.3), (14.6, 15.4)):
        line((start, 2.4), (end, 2.4))
    for start, low, plus, top in ((0.6, 4.2, 6.75, 4.95), (8.85, 2.4, 14.45, 3.8)):
        line((start, low), (start, top), (plus, top), (plus, 2.55))    # what is added unchanged
        ax.plot(plus, 2.4, "o", ms=13, color=COLOURS["rest"], mfc=COLOURS["paper"])
        ax.text(plus, 2.4, "+", fontsize=12, ha="center", va="center")
    for name, x, y in (("key", 2.6, 2.4), ("value", 2.6, 0.9), ("sum", 7.3, 2.4),
                       ("before", 10.5, 2.4), ("after", 12.25, 2.4)):
        ax.plot(x, y, "D", color=COLOURS["trained"], ms=8)
        ax.text(x, y + 0.36, name, ha="center", va="bottom", fontsize=11,
                color=COLOURS["trained"])
    ax.text(0.1, 2.4, "x", fontsize=11, va="center")
    made.set_label(f"A block with 6 matrices and 5 places for a vector: {', '.join(VECTORS)}.")
    return made


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
    made, *axes = figure(7.4, 3.4, columns=2)
    for ax, row, title, origin, along, colour in (
            (axes[0], found.gain, "a factor: l · w", 0 * ROW, ROW, "yours"),
            (axes[1], found.lora, "LoRA: w + b · a", ROW, PUSH, "lora")):
        _plane(ax, title, 3.4)
        ax.plot(*zip((origin - 9 * along).tolist(), (origin + 9 * along).tolist()), ":",
                color=COLOURS[colour], lw=1.5)
        _arrow(ax, ROW, COLOURS["quiet"], 5)
        if Tensor(row).norm() > 0.01:
            _arrow(ax, Tensor(row), COLOURS[colour])
        else:
            ax.plot(0, 0, "o", color=COLOURS[colour], ms=8)
    made.set_label(f"One row of W: by the factor {found.angle('gain')}; by LoRA "
                   f"{found.angle('lora')}.")
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
    """Draw matrices of two rows, a panel each; a row keeps its colour."""
    made, *axes = figure(2.4 * len(matrices), 2.6, columns=len(matrices))
    for ax, (name, W) in zip(axes, matrices.items()):
        _plane(ax, name, 2.7)
        ax.set(xlim=(-0.4, 2.7), ylim=(-0.4, 2.7))
        for row, (colour, _, _), number in zip(W, SERIES[1:], ("1", "2")):
            _arrow(ax, row, colour)
            ax.text(*(row * (1 + 0.3 / row.norm())).tolist(), number, color=colour, fontsize=11,
                    ha="center", va="center")
    made.set_label("Two rows. " + "; ".join(
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
    """The desk at one setting: accuracy over t, and what flipped."""

    t: float
    turned: str
    curve: tuple[tuple[float, float], ...]                        # (t, accuracy)
    accuracy: float
    learned: float
    flips: tuple[tuple[str, int, bool], ...]                      # text, label, now right
    sentences: int


def answers_at(record: Mapping, t: float, turned: str = ALL) -> str:
    """Return the recorded answers, a 0 or 1 a sentence."""
    table = record["desk"]["answers"]
    return table["1.0 all"] if t == 1 else table[f"{float(t)} {turned}"]


def desk(record: Mapping, sentences: Sequence, t: float, turned: str = ALL) -> Desk:
    """Return the desk with l = 1 + t (l − 1) for a place, a block (as "0"), or all of them."""
    truth, learned = record["desk"]["truth"], answers_at(record, 1)

    def accuracy(said: str) -> float:
        return mean(a == b for a, b in zip(said, truth))

    said = answers_at(record, t, turned)
    flips = tuple((sentences[i].text, sentences[i].label, said[i] == truth[i])
                  for i in range(len(truth)) if said[i] != learned[i])
    return Desk(t, turned, tuple((u, accuracy(answers_at(record, u, turned))) for u in TURNS),
                accuracy(said), accuracy(learned), flips, len(truth))


def draw_desk(found: Desk) -> Figure:
    """Draw accuracy against t."""
    made, ax = figure(6, 3.5)
    ax.axhline(0.5, color=COLOURS["rest"], ls=":", lw=1.5)
    ax.text(2, 0.49, "chance", ha="right", va="top", color=COLOURS["rest"], fontsize=11)
    ax.plot(*zip(*found.curve), "-o", color=COLOURS["ink"], ms=5)
    plots.ring(ax, found.t, found.accuracy)
    ax.set(xlabel="t", ylabel="accuracy", xticks=[*TURNS], xticklabels=TURNS.values(),
              ylim=(0.35, 0.95),
              title=f"{TURNED[found.turned]} at t = {found.t:g}: {found.accuracy:.1%} right")
    in_percent(ax.yaxis)
    made.set_label(f"Desk at t = {found.t:g}, {TURNED[found.turned]}: accuracy "
                   f"{found.accuracy:.1%} on {found.sentences} sentences. Over t: " + ", ".join(
                       f"{t:g}: {a:.1%}" for t, a in found.curve) + ".")
    return made


TURNED = {ALL: "everything", **PLACES, **{str(b): f"block {b}" for b in range(6)}}


def caption_of(found: Desk) -> str:
    """Say what the setting does to the answers, with some of the sentences that flipped."""
    gained = sum(right for *_, right in found.flips)
    error = 1.96 * records.standard_error(found.learned, found.sentences)
    told = (f"Right: {found.accuracy:.1%} of {found.sentences} test sentences; as learned "
            f"{found.learned:.1%} (95 %: ± {error:.1%}). {len(found.flips)} answers flip: "
            f"{gained} are now right, {len(found.flips) - gained} wrong.")
    for text, label, right in sorted(found.flips, key=lambda flip: len(flip[0]))[:2]:
        told += (f" Now {'right' if right else 'wrong'}: “{text}” "
                 f"({'liked' if label else 'not liked'}).")
    return told


def explore_desk(record: Mapping, sentences: Sequence) -> Explorer:
    """Return the mixing desk: t, and what is turned."""
    controls = {
        "t": ipw.SelectionSlider(options=[(f"{t:g}", t) for t in TURNS], value=1.0,
                                 description="t"),
        "turned": ipw.Dropdown(options=[(name, key) for key, name in TURNED.items()], value=ALL,
                               description="turn"),
    }
    return Explorer(controls, lambda t, turned: desk(record, sentences, t, turned), draw_desk,
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
                               "IA³": torch.tensor([[1.6, 0.8], [0.8, 1.6]])}),
    "desk": lambda: explore_desk(records.load("ia3"), data.load("movies").test),
}
