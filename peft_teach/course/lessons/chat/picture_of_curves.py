"""Style and loss pass by pass, and what was learned against what was forgotten."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from ....plots import COLOURS, figure
from .picture_of_answers import NAMED
from .recorded import METHODS, NAMES, OTHERS, at_equal_loss, curves, forgotten

STYLES = {"lora": (COLOURS["lora"], "-", "s"), "qlora": (COLOURS["lora"], "--", "D"),
          "full": (COLOURS["full"], "-", "o")}


def draw_curves(record: Mapping) -> Figure:
    """Draw the style of the answers and the held-out loss of the voice against passes."""
    made, left, right = figure(9.2, 3.6, columns=2)
    every, told = curves(record), []
    for method, seeds in every.groupby("method"):
        colour, dash, marker = STYLES[method]
        for seed, run in seeds.groupby("seed"):
            first = seed == seeds.seed.min()
            how = {"color": colour, "marker": marker, "ms": 5, "lw": 2 if first else 1}
            name = NAMES[method] if first else None
            left.plot(run.passes, run["style"], dash, label=name, **how)
            right.plot(run.passes, run.voice, dash, **how)
            told.append(f"{NAMES[method]}, seed {seed}: " + ", ".join(
                f"{row.passes:g} passes style {row['style']:.2f} loss {row.voice:.2f}"
                for _, row in run.iterrows()))
    left.set_title("style of 60 answers", fontsize=12)
    right.set_title("loss of held-out answers in the voice", fontsize=12)
    left.set_ylim(-0.03, 1.03)
    for ax in (left, right):
        ax.set_xlabel("passes over the training pairs", fontsize=11)
    made.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside upper center",
                ncols=3, fontsize=11, title="thin: another seed")
    made.set_label("; ".join(told) + ".")
    return made


def draw_forgetting(record: Mapping) -> Figure:
    """Draw how far other losses rose against the loss of the voice, one run of each method."""
    made, *axes = figure(9.2, 3.6, columns=3, sharey=True)
    found, equal, told = forgotten(record), at_equal_loss(record), []
    for ax, kind in zip(axes, OTHERS):
        for method in METHODS:
            colour, dash, marker = STYLES[method]
            run = found.loc[method, 0]
            ax.plot(run.voice, run[kind], dash, color=colour, marker=marker, ms=5, lw=2,
                    label=NAMES[method])
            told.append(f"{NAMES[method]}, {NAMED[kind]}: " + ", ".join(
                f"{row.voice:.2f} {row[kind]:+.2f}" for _, row in run.iterrows()))
        for level in equal.get("voice", ())[:1]:
            ax.axvline(level, color=COLOURS["ink"], lw=1, ls=":", label="equal loss")
        ax.axhline(0, color=COLOURS["quiet"], lw=1, zorder=0)
        ax.set_title(NAMED[kind], fontsize=12)
        ax.set_xlabel("loss of the voice (learned →)", fontsize=11)
    run = found.loc["lora", 0]
    for passes, away in ((0, (0, -16)), (5, (10, 0))):
        axes[0].annotate(f"{passes} passes", run.loc[passes, ["voice", "chat"]], away,
                         textcoords="offset points", ha="left" if passes else "center")
    axes[0].invert_xaxis()
    for ax in axes[1:]:
        ax.set_xlim(axes[0].get_xlim())
    axes[0].set_ylabel("rise of the other loss (forgotten →)", fontsize=11)
    made.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside upper center",
                ncols=4, fontsize=11)
    made.set_label("Learned against forgotten: loss of the voice, rise of the other loss. "
                   + "; ".join(told) + ".")
    return made
