"""Style and loss pass by pass, and what was learned against what was forgotten."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from ....plots import COLOURS, figure, name_ends
from .picture_of_answers import NAMED
from .recorded import METHODS, NAMES, OTHERS, at_equal_loss, curves, forgotten

STYLES = {"lora": (COLOURS["lora"], "-", "s"), "qlora": (COLOURS["lora"], "--", "D"),
          "full": (COLOURS["full"], "-", "o")}
NAMED_ENDS = NAMES | {"qlora": "QLoRA, dashed"}


def draw_curves(record: Mapping) -> Figure:
    """Draw the style of the answers and the held-out loss of the voice against passes."""
    made, left, right = figure(9.2, 3.6, columns=2)
    every, told, ends = curves(record), [], {}
    for method, seeds in every.groupby("method"):
        colour, dash, _ = STYLES[method]
        for ax, column in ((left, "style"), (right, "voice")):
            ax.plot(seeds.groupby("passes")[column].mean(), dash, color=colour, lw=2)
        ends[NAMED_ENDS[method]] = seeds.voice[seeds.passes == seeds.passes.max()].mean(), colour
        for seed, run in seeds.groupby("seed"):
            told.append(f"{NAMES[method]}, seed {seed}: " + ", ".join(
                f"{row.passes:g} passes style {row['style']:.2f} loss {row.voice:.2f}"
                for _, row in run.iterrows()))
    left.set_title("style of 60 answers", fontsize=12)
    right.set_title("loss of held-out answers in the voice", fontsize=12)
    left.set_ylim(-0.03, 1.03)
    for ax in (left, right):
        ax.set_xlabel("passes over the training pairs", fontsize=11)
    name_ends(right, ends)
    made.set_label("; ".join(told) + ".")
    return made


def draw_forgetting(record: Mapping) -> Figure:
    """Draw how far other losses rose in two passes; dots where all have learned as much."""
    made, *axes = figure(9.2, 3.6, columns=3, sharey=True)
    found, equal, told = forgotten(record), at_equal_loss(record), []
    means = found.query("passes <= 2").groupby(["method", "passes"]).mean()    # over seeds
    for ax, kind in zip(axes, OTHERS):
        for method in METHODS:
            (colour, dash, marker), run = STYLES[method], means.loc[method]
            ax.plot(run.index, run[kind], dash, color=colour, lw=2)
            ax.plot(*equal.loc[NAMES[method], ["passes", kind]], marker, color=colour, ms=9,
                    mec=COLOURS["paper"], zorder=3)
            told.append(f"{NAMES[method]}, {NAMED[kind]}: " + ", ".join(
                f"{row.voice:.2f} {row[kind]:+.2f}" for _, row in run.iterrows()))
        ax.axhline(0, color=COLOURS["quiet"], lw=1, zorder=0)
        ax.set_title(NAMED[kind], fontsize=12)
        ax.set_xlabel("passes", fontsize=11)
    name_ends(axes[-1], {NAMED_ENDS[method]: (means.loc[method, kind].iloc[-1], STYLES[method][0])
                         for method in METHODS})
    axes[0].set_ylabel("rise of the loss", fontsize=11)
    made.suptitle("At the dots, all methods have learned as much: the loss of the voice is "
                  f"{equal.voice.iloc[0]:.2f}")
    made.set_label("Learned against forgotten: loss of the voice, rise of the other loss. "
                   + "; ".join(told) + ".")
    return made
