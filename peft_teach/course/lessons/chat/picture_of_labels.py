"""What labels ask for: a conversation, token by token."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ....plots import COLOURS, box, claim, figure

IN_A_ROW = 9                       # tokens of a conversation
TURN = "<|im_start|>"              # SmolLM2's


def draw_labels(ids: Sequence[int], labels: Sequence[int], tokenizer) -> Figure:
    """Draw a conversation, a row a turn; filled is what training asks for, framed the ends."""
    words = [tokenizer.decode([int(i)]).replace("\n", "⏎").strip(" ") or "␣" for i in ids]
    places, row, column = [], 0, 0
    for word in words:
        if column == IN_A_ROW or (column and word == TURN):
            row, column = row + 1, 0
        places.append((column, -row))
        column += 1
    lines = row + 1
    made, ax = figure(9.2, 0.85 + 0.32 * lines)
    ends = [int(i) == getattr(tokenizer, "eos_token_id", None) for i in ids]
    counted = [int(label) != -100 for label in labels]
    fills = {True: (COLOURS["trained"], 0.45), False: COLOURS["frozen"]}
    for place, word, end, asked in zip(places, words, ends, counted):
        box(ax, *place, 0.95, 0.82, word, size=10, lw=2 * end, fc=fills[asked])
    ax.set(xlim=(-0.05, IN_A_ROW), ylim=(-lines + 0.9, 0.95))
    ax.axis("off")
    told = f"The loss counts {sum(counted)} of {len(words)} tokens" + (
        f", and {sum(map(all, zip(ends, counted)))} of {sum(ends)} ends" if any(ends) else "")
    ax.legend(handles=[Patch(fc=fills[True], label="counted"),
                       Patch(fc=fills[False], label="not counted"),
                       Patch(fc="none", ec=COLOURS["ink"], lw=2, label="the end of a turn")],
              frameon=False, fontsize=11, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    claim(made, told, " ".join(word for word, asked in zip(words, counted) if asked))
    return made
