"""Pictures of the course's data: numbers in, a matplotlib `Figure` out, and nothing else happens.

Each figure carries a text for those who cannot see it, made from the same numbers: its label.
`show` puts both on the page, with a caption. One colour means one thing in every lesson: `COLOURS`
(the palette of Okabe and Ito, which people with colour blindness can tell apart).
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

COLOURS = {"full": "#0072B2", "lora": "#D55E00", "head": "#7f7f7f", "yours": "#009E73",
           "weights": "#0072B2", "gradients": "#E69F00", "optimizer": "#CC79A7",
           "activations": "#56B4E9", "quiet": "#b0b0b0"}


# ── onto the page ────────────────────────────────────────────────────────────────────────────


def html(figure: Figure, caption: str) -> str:
    """Return a figure as one piece of HTML: the picture, its alternative text, its caption."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    data = base64.b64encode(buffer.getvalue()).decode()
    return ('<figure style="margin: 8px 0; max-width: 60em">'
            f'<img alt="{escape(figure.get_label())}" style="max-width: 100%" '
            f'src="data:image/png;base64,{data}">'
            f'<figcaption style="margin-top: 4px">{escape(caption)}</figcaption></figure>')


def show(figure: Figure, caption: str) -> None:
    """Display a figure in a notebook, as a picture and as text."""
    from IPython.display import display

    display({"text/html": html(figure, caption), "text/plain": figure.get_label()}, raw=True)


def _figure(width: float = 8, height: float = 3.4, columns: int = 1):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, *axes


# ── pictures ─────────────────────────────────────────────────────────────────────────────────


def to_scale(n_out: int, n_in: int, rank: int) -> Figure:
    """Draw W (n_out, n_in), B (n_out, rank) and A (rank, n_in) side by side, all to one scale."""
    figure, ax = _figure(7, 3.2)
    gap = 0.3 * n_in
    parts = (("W", 0, 0, n_in, n_out, COLOURS["quiet"], "frozen"),
             ("B", n_in + gap, 0, rank, n_out, COLOURS["lora"], "trained"),
             ("A", n_in + 2 * gap + rank, 0, n_in, rank, COLOURS["lora"], "trained"))
    for name, x, y, width, height, colour, state in parts:
        ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="none"))
        ax.text(x + width / 2, y + height + 0.03 * n_out,
                f"{name}  ({height} × {width}), {state}\n{height * width:,} numbers",
                ha="center", va="top", fontsize=9)
    ax.text(n_in + gap / 2, n_out / 2, "+ s", ha="center", va="center", fontsize=16)
    ax.text(n_in + 1.5 * gap + rank, n_out / 2, "·", ha="center", va="center", fontsize=18)
    ax.set(xlim=(-0.02 * n_in, 2 * n_in + 2.1 * gap + rank), ylim=(1.25 * n_out, -0.03 * n_out),
           aspect="equal")
    ax.axis("off")
    figure.set_label(f"W, {n_out} × {n_in}, beside two thin strips: B, {n_out} × {rank}, and A, "
                     f"{rank} × {n_in}.")
    return figure


def curves(losses: Mapping[str, Sequence[float]], colours: Mapping[str, str] | None = None,
           window: int = 20) -> Figure:
    """Draw training losses against the step, each as a running mean over `window` steps."""
    figure, ax = _figure(8, 3.2)
    for name, values in losses.items():
        values = np.asarray(values, dtype=float)
        smooth = [values[max(0, i - window + 1):i + 1].mean() for i in range(len(values))]
        ax.plot(range(1, len(values) + 1), smooth, label=name, lw=2,
                color=(colours or {}).get(name))
    ax.set(xlabel="training step", ylabel="loss (running mean)")
    if losses:
        ax.legend(frameon=False)
    figure.set_label("Loss, first and last running mean. " + "; ".join(
        f"{n}: {v[0]:.2f} to {np.mean(v[-window:]):.2f}" for n, v in losses.items() if len(v)))
    return figure


def rates(sweeps: Mapping[str, Mapping[float, float]], colours: Mapping[str, str],
          majority: float) -> Figure:
    """Draw accuracy against the learning rate, one line a method."""
    figure, ax = _figure(7, 3.2)
    for name, points in sweeps.items():
        xs = sorted(points)
        ax.plot(xs, [points[x] for x in xs], "o-", label=name, color=colours.get(name))
    ax.axhline(majority, color=COLOURS["quiet"], ls=":", label="always the same answer")
    ax.set(xscale="log", xlabel="learning rate", ylabel="test accuracy")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(frameon=False)
    figure.set_label("Test accuracy by learning rate. " + "; ".join(
        f"{name}: " + ", ".join(f"{x:g} {y:.1%}" for x, y in sorted(points.items()))
        for name, points in sweeps.items()))
    return figure


def dots(groups: Sequence[tuple[str, Sequence[float]]],
         references: Mapping[str, tuple[float, str]]) -> Figure:
    """Draw one line a setting: a dot a seed, a bar at the mean; references as vertical lines.

    `groups` are (label, accuracies), `references` map a name to (accuracy, colour).
    """
    figure, ax = _figure(8, 0.9 + 0.34 * len(groups))
    for y, (_, values) in enumerate(groups):
        ax.plot(values, [y] * len(values), "o", color=COLOURS["lora"], alpha=0.55, mew=0)
        ax.plot([np.mean(values)] * 2, [y - 0.32, y + 0.32], color=COLOURS["lora"], lw=2.5)
    for name, (value, colour) in references.items():
        ax.axvline(value, color=colour, ls="--", lw=1.5, label=name)
    ax.set(yticks=range(len(groups)), yticklabels=[label for label, _ in groups],
           ylim=(len(groups) - 0.4, -0.6), xlabel="test accuracy")
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    figure.set_label("Mean test accuracy. " + "; ".join(
        [f"{n}: {np.mean(v):.1%}" for n, v in groups]
        + [f"{n}: {value:.1%}" for n, (value, _) in references.items()]))
    return figure


def ledgers(ledgers: Mapping[str, object]) -> Figure:
    """Draw `account.Ledger`s as stacked bars, in MB."""
    figure, ax = _figure(8, 0.9 + 0.5 * len(ledgers))
    for y, ledger in enumerate(ledgers.values()):
        left = 0.0
        for part in ("weights", "gradients", "optimizer", "activations"):
            size = getattr(ledger, f"{part}_bytes") / 1e6
            ax.barh(y, size, left=left, color=COLOURS[part], label=part if y == 0 else None)
            if size > 25:
                ax.text(left + size / 2, y, f"{size:.0f}", ha="center", va="center", fontsize=9)
            left += size
        ax.text(left, y, f"  {left:.0f} MB", va="center", fontsize=9)
    ax.set(yticks=range(len(ledgers)), yticklabels=list(ledgers), xlabel="MB",
           ylim=(len(ledgers) - 0.4, -0.6))
    ax.margins(x=0.12)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    figure.set_label("; ".join(
        f"{name}: weights {b.weights_bytes / 1e6:.0f}, gradients {b.gradients_bytes / 1e6:.1f}, "
        f"optimizer {b.optimizer_bytes / 1e6:.1f}, activations {b.activations_bytes / 1e6:.0f} MB"
        for name, b in ledgers.items()))
    return figure


def sizes(table: Mapping[str, Mapping[int, float]], ylabel: str) -> Figure:
    """Draw a quantity against the rank, one line a rule, both axes logarithmic."""
    figure, ax = _figure(6, 3)
    for name, points in table.items():
        ax.plot(list(points), list(points.values()), "o-", label=name)
    ranks = sorted({rank for points in table.values() for rank in points})
    ax.set(xscale="log", yscale="log", xlabel="rank", ylabel=ylabel)
    _plain_ticks(ax.xaxis, ranks)
    ax.legend(frameon=False)
    figure.set_label(f"{ylabel}, from rank {ranks[0]} to {ranks[-1]}. " + "; ".join(
        f"{n}: {p[min(p)]:.3g} to {p[max(p)]:.3g}" for n, p in table.items()))
    return figure


def lora_budget(data: Mapping) -> Figure:
    """Draw what `widgets.compute_lora_budget` gives: parameters against rank, and the accuracy."""
    figure, left, right = _figure(10, 3.8, columns=2)
    ranks = sorted(data["line"])
    left.plot(ranks, [data["line"][r] for r in ranks], color=COLOURS["lora"], lw=2)
    left.axhline(data["whole_matrices"], color=COLOURS["full"], ls="--", lw=1.5)
    left.text(ranks[0], data["whole_matrices"] * 1.15, "the same matrices, all of their numbers",
              color=COLOURS["full"], fontsize=9)
    left.plot(data["rank"], data["parameters"], "o", ms=11, color=COLOURS["lora"])
    left.set(xscale="log", yscale="log", xlabel="rank", ylabel="trained parameters",
             title=f"{data['parameters']:,} parameters, {data['share']:.3%} of the model")
    _plain_ticks(left.xaxis, [r for r in (1, 2, 4, 8, 16, 64, 192) if r in data["line"]])
    left.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))

    for point in data["recorded"]:
        chosen = point["chosen"]
        right.errorbar(point["parameters"], point["mean"], yerr=point["spread"], fmt="o",
                       ms=11 if chosen else 5, color=COLOURS["lora"],
                       alpha=1 if chosen else 0.4, capsize=2, zorder=3 if chosen else 2)
    if data["guess_parameters"]:
        right.axvline(data["guess_parameters"], color=COLOURS["yours"], lw=1.5, ls=":",
                      label="your guess")
    for name, colour in (("full", COLOURS["full"]), ("head", COLOURS["head"])):
        right.axhline(data[name], color=colour, ls="--", lw=1.5,
                      label={"full": "full fine-tuning", "head": "head only"}[name])
    if not any(p["chosen"] for p in data["recorded"]):
        right.axvline(data["parameters"], color=COLOURS["lora"], lw=1.5, ls=":",
                      label="this setting (not measured)")
    right.set(xscale="log", xlabel="trained parameters (adapter)", ylabel="test accuracy",
              title=data["told"])
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.legend(frameon=False, fontsize=9)
    figure.set_label(
        f"Rank {data['rank']} on {', '.join(data['places']) or 'no place'}: {data['parameters']:,} "
        f"trained numbers; {data['told']}; full fine-tuning {data['full']:.1%}, head only "
        f"{data['head']:.1%}.")
    return figure


def lora_spectra(data: Mapping) -> Figure:
    """Draw what `widgets.compute_lora_spectra` gives: σ of ΔW, and the overlap with full's."""
    figure, left, right = _figure(10, 3.8, columns=2)
    shades = np.linspace(0.35, 1, max(1, len(data["sigma"])))
    for shade, (name, sigma) in zip(shades, data["sigma"].items()):
        full = name == "full"
        left.plot(range(1, len(sigma) + 1), sigma, "o-" if len(sigma) < 20 else "-", ms=4,
                  label="full fine-tuning" if full else f"LoRA, rank {name}",
                  color=COLOURS["full"] if full else COLOURS["lora"],
                  alpha=1 if full else shade, lw=1.8)
    left.set(xscale="log", yscale="log", xlabel="direction, strongest first",
             ylabel="singular value of ΔW", title=data["matrix"])
    left.legend(frameon=False, fontsize=9)

    names = list(data["overlap"])
    for side, offset, colour in (("in", -0.18, COLOURS["lora"]), ("out", 0.18, COLOURS["yours"])):
        right.bar([i + offset for i in range(len(names))],
                  [data["overlap"][n][side] for n in names], width=0.34, color=colour,
                  label={"in": "input directions", "out": "output directions"}[side])
    for i, name in enumerate(names):
        right.plot([i - 0.4, i + 0.4], [data["chance"][name]] * 2, color="black", lw=1.5,
                   label="two random subspaces" if i == 0 else None)
    right.set(xticks=range(len(names)), xticklabels=names, ylim=(0, 1),
              xlabel="rank, or full fine-tuning with another seed",
              ylabel="overlap with full fine-tuning", title="Do they point the same way?")
    right.legend(frameon=False, fontsize=9)
    figure.set_label(f"Singular values of the update of {data['matrix']}. " + "; ".join(
        f"{n}: {len(s)} directions, from {s[0]:.2g} to {s[-1]:.2g}"
        for n, s in data["sigma"].items()))
    return figure


def _plain_ticks(axis, values: Sequence[float]) -> None:
    """Put ticks at these values of a logarithmic axis, written as plain numbers."""
    axis.set_major_locator(NullLocator())
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(_apart(values))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def _apart(values: Sequence[float]) -> list[float]:
    """Drop ticks that would stand on top of the one before."""
    values = sorted(values)
    return values[:1] + [b for a, b in pairwise(values) if b / a > 1.3]
