"""How far rows turn and stretch: four recorded clouds, Pythagoras, noise, and forged clouds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from matplotlib.figure import Figure

from ....plots import COLOURS, HALO, SERIES, figure, logarithmic
from ....widgets import Explorer
from ...guess import Guess
from .clouds import correlation, moves, point
from .recorded import NAMES, SIZES, clouds_of, pooled

WIDTH = 384                                        # inputs of a row in MiniLM
HIDDEN = dict(zip(("one", "two", "three", "four"), ("dora", "full", "random", "lora")))
METHOD_COLOURS = {"full": "full", "lora": "lora", "dora": "yours", "random": "random"}
ROWS = "rows of one matrix"
DOTS, NOISE_ROWS = 24, 64

Dots = Sequence[tuple[float, float]]               # (ΔD, ΔM) of each


def hidden(method: str) -> str:
    """Return under which number a method's cloud stands until it is guessed."""
    return next(number for number, name in HIDDEN.items() if name == method)


# ── four clouds ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cloud:
    """What an update does: its dots by place, and what their correlation is."""

    dots: Mapping[str, Dots]
    correlation: Mapping[str, float]


@dataclass(frozen=True)
class Clouds:
    """The clouds of four updates, by number, or by name once that may be seen."""

    shown: str
    seed: int
    named: bool
    clouds: Mapping[str, Cloud]


def clouds(record: Mapping, shown: str, seed: int, named: bool) -> Clouds:
    """Return four clouds: of all matrices as trained or rescaled, or the rows of one."""
    found = {}
    for number, method in HIDDEN.items():
        recorded = clouds_of(record)[method, seed]
        if shown == ROWS:
            change, turn = recorded["rows"]
            cloud = Cloud({"value": list(zip(turn, change))}, {"rows": correlation(
                torch.tensor(change), torch.tensor(turn))})
        else:
            dots = recorded[next(key for key, told in SIZES.items() if told == shown)]
            cloud = Cloud({place: [(dot["dd"], dot["dm"]) for dot in dots if dot["place"] == place]
                           for place in ("query", "value")},
                          {place: pooled(dots, place) for place in ("query", "value")})
        found[NAMES[method] if named else number] = cloud
    return Clouds(shown, seed, named, found)


def draw_clouds(found: Clouds) -> Figure:
    """Draw the four clouds, ΔM against ΔD, each in a frame of its own size."""
    made, *axes = figure(9.2, 3.0, columns=4)
    for ax, (name, cloud), method in zip(axes, found.clouds.items(), HIDDEN.values()):
        colour = COLOURS[METHOD_COLOURS[method] if found.named else "ink"]
        for place, dots in cloud.dots.items():
            ax.plot(*zip(*dots), "o", ms=3 if found.shown == ROWS else 5, color=colour,
                    mfc=colour if place == "query" else COLOURS["paper"], label=place)
        told = "".join(f"\n{part} {r:+.2f}" for part, r in cloud.correlation.items())
        ax.set_title(name + told if found.named else name, fontsize=11)
        turns, changes = zip(*(dot for dots in cloud.dots.values() for dot in dots))
        ax.set(xlim=(0, 1.08 * max(turns)), ylim=(0, 1.08 * max(changes)))
        ax.set_xlabel("ΔD", fontsize=11)
        for axis in (ax.xaxis, ax.yaxis):
            high = _round(axis.get_view_interval()[1])
            axis.set_ticks([0, high] if found.named else [], ["0", f"{high:g}"][:2 * found.named])
    axes[0].set_ylabel("ΔM", fontsize=11)
    made.set_label(f"{found.shown}, seed {found.seed}. Correlation of ΔM and ΔD: " + "; ".join(
        f"{name}: " + ", ".join(f"{part} {r:+.2f}" for part, r in cloud.correlation.items())
        for name, cloud in found.clouds.items()) + ".")
    return made


def _round(value: float) -> float:
    """Return the number of one digit below a value."""
    unit = 10 ** math.floor(math.log10(value))
    return math.floor(value / unit) * unit


def explore_clouds(record: Mapping, guess: Guess) -> Explorer:
    """Four clouds, without names until `guess` is made: which update is which?"""
    seeds = sorted({seed for _, seed in clouds_of(record)})
    controls = {
        "shown": ipw.ToggleButtons(options=[*SIZES.values(), ROWS], description="dots",
                                   style={"button_width": "170px"}),
        "seed": ipw.ToggleButtons(options=seeds, description="seed",
                                  style={"button_width": "48px"}),
    }
    made = Explorer(controls, lambda shown, seed: clouds(
        record, shown, seed, guess.value is not None), draw_clouds, _caption)
    guess.buttons.observe(lambda change: made.refresh(), names="value")
    return made


def _caption(found: Clouds) -> str:
    if found.shown == ROWS:
        dots = "A dot is a row: those of the value matrix of block 3, after training."
    else:
        dots = ("A dot is a matrix after a quarter, half, three quarters and all of training: "
                "queries filled, values hollow.")
    if found.shown == SIZES["rescaled"]:
        dots += (" Matrix by matrix, full fine-tuning has LoRA's size here, and the others have "
                 "that of full fine-tuning.")
    hint = "" if found.named else " The names come when you have guessed."
    return f"{dots} Frames are of different sizes: compare shapes.{hint}"


# ── Pythagoras ───────────────────────────────────────────────────────────────────────────────


# What a random piece of relative size x adds to the length of a row, relative to it: by its part
# along the row (0.8 is the mean of a normal number's absolute value), by its part at a right angle.
LAWS = {"chance: slope 1": lambda x: math.sqrt(2 / math.pi / WIDTH) * x,
        "Pythagoras: slope 2": lambda x: x**2 / 2}
CROSSING = 2 * math.sqrt(2 / math.pi / WIDTH)      # where both are equal


def random_rows() -> list[tuple[float, float]]:
    """Return relative size and mean relative change of length of random rows."""
    generator = torch.Generator().manual_seed(0)
    W, noise = torch.nn.functional.normalize(
        torch.randn(2, 400, WIDTH, generator=generator, dtype=torch.float64), dim=-1)
    return [(size, moves(W, W + size * noise)[0].mean().item())
            for size in torch.logspace(-2.3, 0, 24).tolist()]


def draw_crossing(record: Mapping) -> Figure:
    """Draw how much longer random rows become, against how much was added, and two laws for it."""
    made, ax = figure(8.6, 4.6)
    for (name, law), dash in zip(LAWS.items(), ("--", "-")):
        ax.plot((0.005, 1), (law(0.005), law(1)), dash, color=COLOURS["rest"], lw=1.8, label=name)
    ax.plot(*zip(*random_rows()), "o", color=COLOURS["random"], ms=6,
            label="random rows, measured")
    bands = {}
    for method in ("full", "lora"):
        sizes = [dot["size"] for (name, _), cloud in clouds_of(record).items() if name == method
                 for dot in cloud["dots"]]
        if sizes:
            bands[method] = min(sizes), max(sizes)
            ax.axvspan(*bands[method], color=COLOURS[method], alpha=0.16, lw=0)
            ax.text(math.sqrt(min(sizes) * max(sizes)), 0.98, NAMES[method], ha="center",
                    va="top", fontsize=11, color=COLOURS[method],
                    transform=ax.get_xaxis_transform(), path_effects=HALO)
    both = CROSSING, CROSSING**2 / 2
    ax.plot(*both, "o", ms=15, mfc="none", mew=1.8, color=COLOURS["ink"])
    ax.annotate(f"equal at {CROSSING:.2f}", both, xytext=(16, -18), fontsize=11,
                textcoords="offset points")
    logarithmic(ax)
    ax.set(ylim=(1.2e-5, 1))
    ax.set_xlabel("how much is added to a row: ‖δ‖ / ‖w‖", fontsize=11)
    ax.set_ylabel("how much its length changes", fontsize=11)
    ax.legend(frameon=False, fontsize=11, loc="lower right")
    made.set_label(f"Rows of {WIDTH} inputs: what chance does to their length and what "
                   f"Pythagoras does are equal where {CROSSING:.3f} of it is added. " + "; ".join(
                       f"{NAMES[m]}: {low:.3f} to {high:.3f}"
                       for m, (low, high) in bands.items()) + ".")
    return made


# ── noise, and forged clouds ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Noise:
    """A matrix to which noise was added: a dot each time, and the line that fits them best."""

    size: float
    length: float
    dots: Dots

    @property
    def correlation(self) -> float:
        """Pearson's, of ΔD and ΔM."""
        return correlation(*map(torch.tensor, zip(*self.dots)))

    @property
    def slope(self) -> float:
        """Of the best line."""
        return _slope(self.dots)


def _slope(dots: Dots) -> float:
    x, y = torch.tensor(dots, dtype=torch.float64).T
    return (((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()).item()


def noise(size: float, length: float) -> Noise:
    """Add noise to a random matrix, `DOTS` times, from a third of the relative `size` to all of it.
    """
    generator = torch.Generator().manual_seed(0)
    W, *added = torch.nn.functional.normalize(
        torch.randn(DOTS + 1, NOISE_ROWS, WIDTH, generator=generator), dim=-1) * length
    shares = torch.linspace(size / 3, size, DOTS)
    return Noise(size, length, [point(W, W + share * delta)[::-1]
                                for share, delta in zip(shares, added)])


def draw_noise(found: Noise) -> Figure:
    """Draw the cloud that noise makes, and the line of slope ‖w‖."""
    made, ax = figure(7, 3.8)
    x = max(turn for turn, _ in found.dots)
    ax.plot([0, x], [0, found.length * x], "--", color=COLOURS["rest"], lw=1.8,
            label="Pythagoras: slope ‖w‖")
    ax.plot(*zip(*found.dots), "o", color=COLOURS["random"], ms=6, label="W with noise added")
    ax.set(xlim=(0, 1.08 * x), ylim=(0, None))
    _name_axes(ax)
    ax.set_title(f"slope {found.slope:+.2g}, correlation {found.correlation:+.2f}", fontsize=12)
    ax.ticklabel_format(scilimits=(-9, 9))
    ax.legend(frameon=False, fontsize=11)
    made.set_label(f"Noise of up to {found.size:g} of the rows' length {found.length:g}: slope "
                   f"{found.slope:.2g}, correlation {found.correlation:.2f}.")
    return made


def _name_axes(ax) -> None:
    ax.set_xlabel("ΔD: how far rows turn", fontsize=11)
    ax.set_ylabel("ΔM: how much their length changes", fontsize=11)


def explore_noise() -> Explorer:
    """Noise of several sizes on rows of several lengths: which slopes can chance give?"""
    controls = {
        "size": ipw.SelectionSlider(options=(0.01, 0.03, 0.1, 0.3, 0.5), value=0.3,
                                    description="‖δ‖ / ‖w‖"),
        "length": ipw.SelectionSlider(options=(0.25, 0.5, 1.0, 2.0), value=1.0,
                                      description="‖w‖"),
    }
    return Explorer(controls, noise, draw_noise, lambda found: (
        "One matrix of rows of equal length. For each dot, noise was drawn anew and added: from a "
        "third of ‖δ‖ to all of it. Can you make the dots fall?"))


def draw_forged(forge: Callable, slopes: Sequence[float]) -> Figure:
    """Draw the reader's forged clouds of six random matrices, and the lines that were asked for."""
    made, ax = figure(8, 4)
    generator, told, start = torch.Generator().manual_seed(0), [], (0.01, 0.06)
    weights = [torch.randn(48, 64, generator=generator) / 8
               * (0.5 + torch.rand(48, 1, generator=generator)) for _ in range(6)]
    for slope, (colour, dash, marker) in zip(slopes, SERIES):
        changed = forge([W.clone() for W in weights], slope, start)
        dots = [point(W, new)[::-1] for W, new in zip(weights, changed)]
        x = sorted(turn for turn, _ in dots)
        ax.plot([x[0], x[-1]], [start[1] + slope * (v - start[0]) for v in (x[0], x[-1])], dash,
                color=colour, lw=1.5)
        ax.plot(*zip(*dots), marker, color=colour, ms=9, label=f"slope {slope:g}")
        told.append(f"asked for slope {slope:g}: found {_slope(dots):.2f}")
    _name_axes(ax)
    ax.legend(frameon=False, fontsize=11)
    made.set_label("Forged clouds. " + "; ".join(told) + ".")
    return made


def draw_rays(dots: Sequence[tuple[float, float]], lengths: Sequence[float]) -> Figure:
    """Draw a dot (ΔM, ΔD) for each matrix, and its ray: of slope ‖w‖, the mean of its lengths."""
    made, ax = figure(8, 4)
    right = 1.1 * max(turn for _, turn in dots)
    for length in lengths:
        ax.plot([0, right], [0, length * right], color=COLOURS["rest"], lw=1.2)
    changes, turns = zip(*dots)
    ax.plot(turns, changes, "o", color=COLOURS["random"], ms=9)
    r = correlation(torch.tensor(turns), torch.tensor(changes))
    ax.set(xlim=(0.8 * min(turns), right), ylim=(0.8 * min(changes), 1.2 * max(changes)))
    ax.set_title(f"correlation {r:+.2f}", fontsize=12)
    _name_axes(ax)
    made.set_label(f"{len(dots)} matrices with noise added, each on a ray whose slope is the "
                   f"length of its rows, {min(lengths):.2f} to {max(lengths):.2f}. Correlation of "
                   f"ΔM and ΔD: {r:+.2f}.")
    return made
