"""Pictures of lesson 11: labels, curves, learned against forgotten; and its tables."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ....ink import narrow
from ....plots import COLOURS, abreast, box, claim, figure, name_ends
from ... import records
from .blind import blind
from .measure import ask, padded, stream, style
from .new_tokens import save_rows, train_rows
from .recorded import (
    COMPARED,
    NAMES,
    curve,
    curves,
    endless,
    facts,
    forgets,
    knob,
    ladder,
    misled,
    prompt,
    runaway,
    told_facts,
)

__all__ = ["ask", "blind", "curve", "draw_curves", "draw_forgetting", "draw_labels",
           "endless", "facts", "forgets", "knob", "ladder", "misled", "padded", "prompt",
           "runaway", "save_rows", "stream", "style", "told_facts", "train_rows"]

IN_A_ROW, ON_A_PHONE = 9, 4        # tokens of a conversation
TURN = "<|im_start|>"              # SmolLM2's

STYLES = {"lora": (COLOURS["lora"], "-", "s"), "qlora": (COLOURS["lora"], "--", "D"),
          "full": (COLOURS["full"], "-", "o")}
# Where the numbers of passes stand, from their points, in points: each method's own, and of both.
BESIDE = {"lora": {0.5: ((0, 7), "center"), 2: ((8, -10), "left")},
          "full": {0.5: ((4, -16), "left"), 2: ((-8, 5), "right")}}
BOTH = {0: ("before", (0, -18), "center"), 1: ("1 pass", (8, -18), "center"),
        5: ("5 passes", (-6, 6), "right")}
NAMED_ENDS = NAMES | {"qlora": "QLoRA, dashed"}


def draw_labels(ids: Sequence[int], labels: Sequence[int], tokenizer) -> Figure:
    """Draw a conversation, a row a turn; filled is what training asks for, framed the ends."""
    words = [tokenizer.decode([int(i)]).replace("\n", "⏎").strip(" ") or "␣" for i in ids]
    places, row, column, most = [], 0, 0, ON_A_PHONE if narrow() else IN_A_ROW
    for word in words:
        if column == most or (column and word == TURN):
            row, column = row + 1, 0
        places.append((column, -row))
        column += 1
    lines = row + 1
    made, ax = figure(9.2, (1.35 if narrow() else 0.85) + 0.32 * lines)
    ends = [int(i) == getattr(tokenizer, "eos_token_id", None) for i in ids]
    counted = [int(label) != -100 for label in labels]
    fills = {True: (COLOURS["trained"], 0.45), False: COLOURS["frozen"]}
    for place, word, end, asked in zip(places, words, ends, counted):
        box(ax, *place, 0.95, 0.82, word, size=10, lw=2 * end, fc=fills[asked])
    ax.set(xlim=(-0.05, most), ylim=(-lines + 0.9, 0.95))
    ax.axis("off")
    told = f"The loss counts {sum(counted)} of {len(words)} tokens" + (
        f", and {sum(map(all, zip(ends, counted)))} of {sum(ends)} ends" if any(ends) else "")
    ax.legend(handles=[Patch(fc=fills[True], label="counted"),
                       Patch(fc=fills[False], label="not counted"),
                       Patch(fc="none", ec=COLOURS["ink"], lw=2, label="the end of a turn")],
              frameon=False, fontsize=11, ncols=abreast(3), loc="lower left", bbox_to_anchor=(0, 1))
    claim(made, told, " ".join(word for word, asked in zip(words, counted) if asked))
    return made


def draw_curves(record: Mapping) -> Figure:
    """Draw the style of the answers and the held-out loss of the voice against passes."""
    made, left, right = figure(9.2, 4.2, columns=2)
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
        ax.set_xlim(right=every.passes.max())    # names stand at the lines' ends
    name_ends(right, ends)
    claim(made, "From one pass to three the style still rises, and so does the held-out loss",
          "; ".join(told) + ".")
    return made


def draw_forgetting(record: Mapping) -> Figure:
    """Draw what was forgotten against what was learned: a line a method, means of two seeds."""
    made, ax = figure(7.2, 4.2)
    every, told = curves(record), []
    for method in COMPARED:
        colour, _, marker = STYLES[method]
        seeds = every[every.method == method].groupby("passes")[["voice", "forgotten"]]
        run = seeds.mean()[(seeds.size() > 1) | (seeds.size().index == 0)]    # all start as one
        rise = run.forgotten
        ax.plot(run.voice, rise, "-", color=colour, lw=2, marker=marker, ms=7,
                mec=COLOURS["paper"])
        told.append(f"{NAMES[method]}: " + ", ".join(
            f"{passes:g} passes {voice:.2f} {more:+.2f}"
            for passes, voice, more in zip(run.index, run.voice, rise)))
        offset, side = {"lora": ((8, -14), "left"), "full": ((-8, 8), "right")}[method]
        ax.annotate(f"{NAMES[method]}, 3 passes", (run.voice[3], rise[3]), offset, ha=side,
                    textcoords="offset points", fontsize=12, color=colour)
        for passes, (offset, side) in BESIDE[method].items():
            ax.annotate("½" if passes == 0.5 else f"{passes}", (run.voice[passes], rise[passes]),
                        offset, ha=side, textcoords="offset points", fontsize=11, color=colour)
        if method == "lora":    # the other method is as near
            for passes, (name, offset, side) in BOTH.items():
                ax.annotate(name, (run.voice[passes], rise[passes]), offset, ha=side,
                            textcoords="offset points", fontsize=11)
    ax.axhline(0, color=COLOURS["quiet"], lw=1, zorder=0)
    ax.set_ylim(bottom=-0.2)
    ax.set_xlabel("loss of held-out answers in the voice", fontsize=11)
    ax.set_ylabel("rise of the other losses: forgotten", fontsize=11)
    claim(made, "One pass: low loss, little forgotten. Four more: both losses rise",
          "Loss of the voice, mean rise of plain chat, news and code. " + "; ".join(told) + ".")
    return made


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


class _Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: list[int]) -> str:
        return chr(ids[0])


EXAMPLES = {
    "labels": lambda: draw_labels([72, 105, 33], [-100, 105, 33], _Letters()),
    "curves": lambda: draw_curves(records.load("chat")),
    "forgetting": lambda: draw_forgetting(records.load("chat")),
}
