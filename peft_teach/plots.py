"""Pictures of the course's data: numbers in, a matplotlib `Figure` out, and nothing else happens.

Each figure carries a text for those who cannot see it, made from the same numbers: its label.
`show` puts both on the page, with a caption. One colour means one thing in every lesson: `COLOURS`
(the palette of Okabe and Ito, which people with colour blindness can tell apart).
"""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator, PercentFormatter

COLOURS = {"scratch": "#000000", "full": "#0072B2", "lora": "#D55E00", "head": "#7f7f7f",
           "yours": "#009E73",
           "weights": "#0072B2", "gradients": "#E69F00", "optimizer": "#CC79A7",
           "activations": "#56B4E9", "quiet": "#b0b0b0", "subspace": "#CC79A7",
           "random": "#E69F00"}


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


def three_ways(backbone: int, head: int) -> Figure:
    """Draw what starts how, and what trains: from scratch, full fine-tuning, head only."""
    figure, ax = _figure(8, 2.9)
    ways = (("from scratch", "random", True, COLOURS["scratch"]),
            ("full fine-tuning", "pretrained", True, COLOURS["full"]),
            ("head only", "pretrained", False, COLOURS["head"]))
    for i, (name, start, trained, colour) in enumerate(ways):
        x = 2.6 * i
        for y, height, label, on in ((0, 1.5, f"backbone, {backbone:,}\nstarts {start}", trained),
                                     (1.62, 0.5, f"head, {head:,}, starts random", True)):
            ax.add_patch(Rectangle((x, y), 2.2, height, facecolor=colour if on else "#eeeeee",
                                   alpha=0.35 if on else 1, edgecolor=colour, lw=1.5,
                                   ls="-" if on else "--"))
            ax.text(x + 1.1, y + height / 2, f"{label}\n{'trained' if on else 'frozen'}",
                    ha="center", va="center", fontsize=9)
        ax.text(x + 1.1, 2.3, name, ha="center", fontweight="bold")
    ax.set(xlim=(-0.1, 7.5), ylim=(-0.1, 2.6))
    ax.axis("off")
    figure.set_label("; ".join(
        f"{name}: the backbone, {backbone:,} numbers, starts {start} and "
        f"{'is trained' if trained else 'stays frozen'}, the head, {head:,}, is trained"
        for name, start, trained, _ in ways))
    return figure


def curves(losses: Mapping[str, Sequence[float]], colours: Mapping[str, str] | None = None,
           window: int = 20, dashed: Collection[str] = ()) -> Figure:
    """Draw training losses against the step, each as a running mean over `window` steps.

    Those named in `dashed` lie on top, so that a line below shows between the dashes.
    """
    figure, ax = _figure(8, 3.2)
    for name, values in losses.items():
        values = np.asarray(values, dtype=float)
        smooth = [values[max(0, i - window + 1):i + 1].mean() for i in range(len(values))]
        style = {"ls": "--", "zorder": 3} if name in dashed else {}
        ax.plot(range(1, len(values) + 1), smooth, label=name, lw=2,
                color=(colours or {}).get(name), **style)
    ax.set(xlabel="training step", ylabel="loss (running mean)")
    if losses:
        ax.legend(frameon=False)
    figure.set_label("Loss, first and last running mean. " + "; ".join(
        f"{n}: {v[0]:.2f} to {np.mean(v[-window:]):.2f}" for n, v in losses.items() if len(v)))
    return figure


def rates(sweeps: Mapping[str, Mapping[float, float]], colours: Mapping[str, str],
          majority: float, rings: Collection[str] = ()) -> Figure:
    """Draw accuracy against the learning rate, one line a method.

    Those named in `rings` have large open markers, which show around another's point.
    """
    figure, ax = _figure(7, 3.2)
    for name, points in sweeps.items():
        xs = sorted(points)
        style = {"ms": 11, "mfc": "none", "zorder": 3} if name in rings else {}
        ax.plot(xs, [points[x] for x in xs], "o-", label=name, color=colours.get(name), **style)
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
    largest = max(ledger.total_bytes for ledger in ledgers.values()) / 1e6
    for y, ledger in enumerate(ledgers.values()):
        left = 0.0
        for part in ("weights", "gradients", "optimizer", "activations"):
            size = getattr(ledger, f"{part}_bytes") / 1e6
            ax.barh(y, size, left=left, color=COLOURS[part], label=part if y == 0 else None)
            if size > largest / 20:
                ax.text(left + size / 2, y, f"{size:.0f}", ha="center", va="center", fontsize=9,
                        color="white" if part == "weights" else "black")
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


def signed_hashing(h: Sequence[int], sign: Sequence[float], d: int) -> Figure:
    """Draw P for a few weights: one row a weight, one ± entry in each, in column h."""
    figure, ax = _figure(7, 2.6)
    ax.spines[:].set_visible(False)
    for i, (column, s) in enumerate(zip(h, sign)):
        ax.add_patch(Rectangle((i, column), 1, 1, edgecolor="white",
                               facecolor=COLOURS["full" if s > 0 else "lora"]))
        ax.text(i + 0.5, column + 0.5, "+" if s > 0 else "−", color="white", ha="center",
                va="center", fontsize=12)
    for row in range(d + 1):
        ax.axhline(row, color=COLOURS["quiet"], lw=0.6)
    ax.set(xlim=(0, len(h)), ylim=(d, 0), xlabel="weights of the model",
           ylabel="numbers of z", xticks=[i + 0.5 for i in range(len(h))],
           xticklabels=range(len(h)), yticks=[j + 0.5 for j in range(d)], yticklabels=range(d))
    ax.tick_params(length=0)
    figure.set_label("P, lying on its side. Each weight takes one number of z: " + ", ".join(
        f"weight {i} {'+' if s > 0 else '−'}z[{int(c)}]" for i, (c, s) in enumerate(zip(h, sign))))
    return figure


def spectrum(sigmas: Mapping[str, Sequence[float]], share: float = 0.9) -> Figure:
    """Draw the energy that the k strongest directions hold, against k, one line a matrix.

    `sigmas` map a name to singular values; a dot stands where `share` of the energy is reached.
    """
    figure, ax = _figure(8, 3.4)
    told = []
    for name, sigma in sigmas.items():
        energy = np.cumsum(np.square(np.asarray(sigma, dtype=float)))
        energy = energy / energy[-1]
        k = int((energy < share).sum()) + 1
        (line,) = ax.plot(range(1, len(energy) + 1), energy, lw=2, label=f"{name}: {k} directions")
        ax.plot(k, energy[k - 1], "o", color=line.get_color(), ms=7)
        told.append(f"{name} {k}")
    ax.axhline(share, color=COLOURS["quiet"], ls=":", lw=1.5)
    ax.set(xlabel="directions kept, strongest first", ylabel="share of the energy", ylim=(0, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    figure.set_label(f"Directions that hold {share:.0%} of the energy: " + "; ".join(told))
    return figure


def subspace(data: Mapping) -> Figure:
    """Draw what `widgets.compute_subspace` gives: accuracy against the numbers that may move."""
    figure, ax = _figure(8.5, 4)
    for start, colour, label in (("pretrained", COLOURS["subspace"], "from the pretrained weights"),
                                 ("random", COLOURS["random"], "from random weights")):
        points = data["points"].get(start)
        if not points:
            continue
        ax.plot(list(points), [np.mean(v) for v in points.values()], "-", color=colour, lw=2,
                label=label)
        for d, values in points.items():
            ax.plot([d] * len(values), values, "o", color=colour, ms=6, alpha=0.75, mew=0)
    for name, colour, label in (("full", COLOURS["full"], "full fine-tuning, all 22.7 million"),
                                ("head", COLOURS["head"], "head only, d = 0"),
                                ("majority", COLOURS["quiet"], "always the same answer")):
        ax.axhline(data[name], color=colour, ls=":" if name == "majority" else "--", lw=1.5,
                   label=label)
    ax.axhline(data["goal"], color="black", lw=1)
    below = abs(data["full"] - data["goal"]) < 0.02    # between the two lines is no room
    ax.text(0.01, data["goal"], f"goal {data['goal']:.1%}", va="top" if below else "bottom",
            fontsize=9, transform=ax.get_yaxis_transform())
    if data["reached"]:
        mean = np.mean(data["points"]["pretrained"][data["reached"]])
        ax.plot(data["reached"], mean, "o", ms=14, mfc="none", mec="black", mew=1.8)
    if data["guess"]:
        ax.axvline(data["guess"], color=COLOURS["yours"], ls=":", lw=2, label="your guess")
    ax.set(xscale="log", xlabel="numbers that may move, d", ylabel="test accuracy",
           title=data["told"])
    _plain_ticks(ax.xaxis, sorted({d for points in data["points"].values() for d in points}))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.set_label(f"{data['told']}. " + "; ".join(
        f"{start} start: " + ", ".join(f"d = {d} {np.mean(v):.1%}" for d, v in points.items())
        for start, points in data["points"].items())
        + f"; full fine-tuning {data['full']:.1%}, head only {data['head']:.1%}.")
    return figure


def truncation(data: Mapping) -> Figure:
    """Draw what `widgets.compute_truncation` gives: σ of one ΔW, and the accuracy at each k."""
    figure, left, right = _figure(10, 3.9, columns=2)
    sigma, k = np.asarray(data["sigma"]), data["k"]
    places = np.arange(1, len(sigma) + 1)
    left.plot(places, sigma, color=COLOURS["quiet"], lw=1.5)
    left.fill_between(places[:k], sigma[:k], color=COLOURS["full"], alpha=0.75, lw=0,
                      label=f"kept: {data['energy']:.0%} of the energy")
    left.fill_between(places[max(k - 1, 0):], sigma[max(k - 1, 0):], color=COLOURS["quiet"],
                      alpha=0.4, lw=0, label="cut off")
    left.axvline(data["ninety"], ymax=0.7, color="black", ls=":", lw=1.5,    # the legend is above
                 label=f"90 % of the energy: {data['ninety']} directions")
    left.set(xlabel="direction, strongest first", ylabel="singular value of ΔW",
             title=data["matrix"], ylim=(0, None), xlim=(-0.02 * len(sigma), len(sigma)))
    left.legend(frameon=False, fontsize=9)

    for kind, colour, label in (("kept", COLOURS["full"], "only the k strongest kept"),
                                ("dropped", COLOURS["random"], "the k strongest left out")):
        curve = data[kind]
        right.plot([_at(n) for n in curve], list(curve.values()), "-", color=colour, lw=1.8,
                   label=label)
        for n, values in data["seeds"][kind].items():
            right.plot([_at(n)] * len(values), values, "o", color=colour, ms=5, alpha=0.75, mew=0)
    right.plot(_at(k), data["kept"][k], "o", ms=13, mfc="none", mec="black", mew=1.8)
    right.axhline(data["head"], color=COLOURS["head"], ls="--", lw=1.5, label="head only")
    right.set(xlabel="k, in all 36 matrices", ylabel="test accuracy", title=data["told"],
              xticks=[_at(n) for n in data["kept"]], xticklabels=list(data["kept"]))
    right.yaxis.set_major_locator(MultipleLocator(0.05))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.62))
    figure.set_label(f"Update of {data['matrix']}: 90 % of its energy in {data['ninety']} of "
                     f"{len(sigma)} directions; {k} directions hold {data['energy']:.0%}. "
                     f"{data['told']}. Kept: " + ", ".join(
                         f"k = {n} {v:.1%}" for n, v in data["kept"].items()) + ". Left out: "
                     + ", ".join(f"k = {n} {v:.1%}" for n, v in data["dropped"].items()) + ".")
    return figure


def _at(k: int) -> float:
    """Return where k stands on an axis that is logarithmic and yet has a place for 0."""
    return float(np.log2(k)) if k else -1.0


def learning(data: Mapping) -> Figure:
    """Draw what `widgets.compute_learning` gives: losses, and accuracy on held-out sentences.

    Where only the last accuracy was recorded, it is a dot at the last step.
    """
    figure, left, right = _figure(10, 3.8, columns=2)
    for name, line in data["lines"].items():
        colour, losses = COLOURS[line["method"]], line["losses"]
        smooth = [np.mean(losses[max(0, i - 19):i + 1]) for i in range(len(losses))]
        left.plot(range(1, len(losses) + 1), smooth, lw=2, color=colour, label=name)
        if line["curve"]:
            right.plot(*zip(*line["curve"]), "-", lw=2, color=colour)
        right.plot(len(losses), line["accuracy"], "o", ms=8, color=colour, zorder=3)
    left.axhline(np.log(2), color=COLOURS["quiet"], ls=":", label="log 2: knowing nothing")
    left.set(xlabel="training step", ylabel="loss (mean of the last 20)")
    left.set_ylim(top=min(left.get_ylim()[1], 1.2))
    right.axhline(data["majority"], color=COLOURS["quiet"], ls=":", label="always the same answer")
    for (method, guess), dashes in zip(data["guesses"].items(), ("--", ":", "-.")):
        right.axhline(guess, color=COLOURS["yours"], ls=dashes, lw=1.5,
                      label=f"your guess, {data['names'][method]}")
    right.set(xlabel="training step", ylabel="accuracy", ylim=(0.45, 0.9))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    figure.set_label("; ".join(
        f"{name}: loss {np.mean(line['losses'][-20:]):.2f} at the end, test accuracy "
        f"{line['accuracy']:.1%}" for name, line in data["lines"].items())
        + f"; always the same answer: {data['majority']:.1%}")
    return figure


# The parts of a model, by colour; and the order of the places from top to bottom.
PARTS = {"embeddings": "#117733", "query": "#332288", "key": "#332288", "value": "#332288",
         "attention_out": "#332288", "attention_norm": "#777777", "ffn_in": "#AA4499",
         "ffn_gate": "#AA4499", "ffn_out": "#AA4499", "ffn_norm": "#777777", "other": "#777777",
         "head": "#D55E00"}
GPUS = {"16 GB": 16e9, "24 GB": 24e9, "80 GB": 80e9}


def block_diagram(shapes: Mapping[str, str]) -> Figure:
    """Draw a block of BERT by its places, from input to output; `shapes` are texts by place."""
    figure, ax = _figure(10.5, 3.6)
    boxes = {"query": (1.5, 2.1), "key": (1.5, 1.0), "value": (1.5, -0.1),
             "attention_out": (4.2, 1.0), "attention_norm": (5.9, 1.0), "ffn_in": (7.9, 1.0),
             "ffn_out": (9.6, 1.0), "ffn_norm": (11.3, 1.0)}
    for place, (x, y) in boxes.items():
        ax.add_patch(Rectangle((x - 0.68, y - 0.4), 1.36, 0.8, facecolor=PARTS[place], alpha=0.22,
                               edgecolor=PARTS[place]))
        ax.text(x, y, f"{place}\n{shapes[place]}", ha="center", va="center", fontsize=9)
    ax.text(2.85, 1.0, "each token\nlooks at\nthe others", ha="center", va="center", fontsize=8,
            style="italic")
    ax.text(8.75, 1.45, "GELU", ha="center", va="center", fontsize=8, style="italic")
    arrows = [((0.1, 1.0), (0.78, 2.1)), ((0.1, 1.0), (0.78, 1.0)), ((0.1, 1.0), (0.78, -0.1)),
              ((2.2, 2.1), (2.6, 1.5)), ((2.2, 1.0), (2.4, 1.0)), ((2.2, -0.1), (2.6, 0.5)),
              ((3.3, 1.0), (3.5, 1.0)), ((4.9, 1.0), (5.2, 1.0)), ((6.6, 1.0), (7.2, 1.0)),
              ((8.6, 1.0), (8.9, 1.0)), ((10.3, 1.0), (10.6, 1.0)), ((12.0, 1.0), (12.5, 1.0))]
    for start, end in arrows:
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#444444"})
    for start, end in ((0.1, 5.05), (6.9, 10.45)):     # the residual: round the sub-layer, added
        ax.plot([start, start, end], [1.0, 2.85, 2.85], color="#444444", lw=1, ls="--")
        ax.annotate("", (end, 1.15), (end, 2.87), arrowprops={"arrowstyle": "->", "ls": "--",
                                                              "color": "#444444"})
        ax.text(end, 1.0, "+", ha="center", va="center", fontsize=11,
                bbox={"boxstyle": "circle,pad=0.08", "facecolor": "white", "edgecolor": "#444444"})
    for left, right, y, name in ((8.85, 12.05, 0.2, "ffn: one module, with two inputs"),
                                 (0.75, 12.05, -0.85, "block")):
        ax.plot([left, left, right, right], [y + 0.15, y, y, y + 0.15], color="#444444", lw=1)
        ax.text((left + right) / 2, y - 0.1, name, ha="center", va="top", fontsize=9)
    ax.text(-0.05, 1.0, "x", ha="right", va="center", fontsize=11)
    ax.set(xlim=(-0.2, 12.7), ylim=(-1.4, 3.2))
    ax.axis("off")
    figure.set_label("One block, from left to right: query, key and value; attention_out; "
                     "attention_norm; ffn_in; ffn_out; ffn_norm. " + "; ".join(
                         f"{place}: {shapes[place]}" for place in boxes))
    return figure


def parameter_map(data: Mapping) -> Figure:
    """Draw what `widgets.compute_parameter_map` gives: areas are numbers of parameters."""
    figure, ax = _figure(10, 4.2)
    left, gap = 0.0, 0.004 * data["total"]
    for name, parts in data["columns"]:
        width, bottom, below = sum(parts.values()), 1.0, 1.1
        for place, size in parts.items():
            height = size / width if width else 0
            bottom -= height
            ax.add_patch(Rectangle((left, bottom), width, height, facecolor=PARTS[place],
                                   edgecolor="white", lw=0.4,
                                   alpha=1 if place in data["places"] else 0.28))
            if name == data["columns"][-1][0] and height > 0.02:
                below = min(bottom + height / 2, below - 0.055)    # not onto the name before
                ax.text(left + width + gap, below, place, va="center", fontsize=9,
                        weight="bold" if place in data["places"] else "normal")
        if width > 0.03 * data["total"]:
            ax.text(left + width / 2, 1.02, name, ha="center", va="bottom", fontsize=9)
        left += width + gap
    ax.text(0, -0.03, f"all of it: {data['total']:,}", va="top", fontsize=9)
    ax.set(xlim=(0, left * 1.14), ylim=(-0.1, 1.12), title=data["told"])
    ax.axis("off")
    figure.set_label(f"{data['model']}, {data['total']:,} parameters. {data['told']}. " + "; ".join(
        f"{place}: {size:,} ({size / data['total']:.1%})"
        for place, size in data["sizes"].items() if size))
    return figure


def ledger_explorer(data: Mapping) -> Figure:
    """Draw what `widgets.compute_ledger` gives: bars by what trains, and growth with the batch."""
    figure, left, right = _figure(10.5, 3.6, columns=2)
    names = ("weights", "gradients", "optimizer", "activations")
    most = max(ledger.total_bytes for ledger in data["ledgers"].values())
    unit, factor = ("GB", 1e9) if most > 1e9 else ("MB", 1e6)
    for y, ledger in enumerate(data["ledgers"].values()):
        start = 0.0
        for part in names:
            size = getattr(ledger, f"{part}_bytes") / factor
            left.barh(y, size, left=start, color=COLOURS[part], label=part if y == 0 else None)
            start += size
        left.text(start, y, f"  {bytes_text(ledger.total_bytes)}", va="center", fontsize=9)
    labelled = 0.0
    for name, size in data["gpus"].items():
        left.axvline(size / factor, color="black", ls=":", lw=1.2)
        if size > labelled + 0.13 * most:      # else the names would stand on each other
            left.text(size / factor, -0.62, name, ha="center", va="bottom", fontsize=8)
            labelled = size
    left.set(yticks=range(len(data["ledgers"])), yticklabels=[
        n.replace(", query", ",\nquery") for n in data["ledgers"]], xlabel=unit,
        ylim=(len(data["ledgers"]) - 0.4, -0.6))
    left.get_yticklabels()[list(data["ledgers"]).index(data["trains"])].set_weight("bold")
    left.margins(x=0.2)

    chosen = data["ledgers"][data["trains"]]
    for part in names:
        sizes = [getattr(x, f"{part}_bytes") / factor for x in data["growth"].values()]
        now = getattr(chosen, f"{part}_bytes") / factor
        if sizes[0] > 0:     # the weights lie below: the gradients may be as large
            right.plot(list(data["growth"]), sizes, lw=5 if part == "weights" else 2,
                       color=COLOURS[part], label=part)
            right.plot(data["batch"], now, "o", ms=7, color=COLOURS[part])
    right.axhline((chosen.total_bytes - chosen.activations_bytes) / factor, color="black", ls="--",
                  lw=1.2, label="all but the activations")
    right.set(xscale="log", yscale="log", xlabel="sentences in a batch", ylabel=unit,
              title=data["told"])
    right.title.set_fontsize(10)
    _plain_ticks(right.xaxis, [1, 4, 16, 64, 256])
    right.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    right.legend(frameon=False, fontsize=9)
    figure.set_label(f"{data['model']}, {data['batch']} × {data['tokens']} tokens. " + "; ".join(
        f"{name}: " + ", ".join(f"{part} {bytes_text(getattr(x, f'{part}_bytes'))}"
                                for part in names) for name, x in data["ledgers"].items()))
    return figure


def bytes_text(size: float) -> str:
    """Return a number of bytes in words: 912 kB, 90.9 MB, 5.37 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    return f"{size:.0f} bytes"


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
