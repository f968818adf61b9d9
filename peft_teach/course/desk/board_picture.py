"""The picture and the table of my ladder, made of what `board.frame` says is to be seen."""

import pandas
from matplotlib.figure import Figure

from ...plots import COLOURS, HALO, bytes_text, figure
from .. import protocol, records

SHORT = protocol.NAMES | {"full": "full", "qlora all": "QLoRA"}    # names of rungs, to draw
LOW, HIGH = 0.29, 0.62    # R² is drawn from here to there; a lower one is a number


def caption(found: pandas.DataFrame) -> str:
    """Say what the marks are that `draw` makes of a frame: those that are to be seen."""
    marks = {"diamonds are your runs": "you" in [*found.whose],
             "rings a colleague's": "a colleague" in [*found.whose],
             "bars the 95 % intervals of recorded ones": found.high.gt(LOW).any(),
             "◂ is off the scale": found.r2.lt(LOW).any()}
    told = ", ".join(mark for mark, seen in marks.items() if seen)
    return ("Rows are in the order of their files" + (f"; {told}" if told else "") + ". The dotted "
            "lines are heads alone, solved, on the frozen pooler and on the mean of all tokens.")


def draw(found: pandas.DataFrame) -> Figure:
    """Draw a frame: R² of the reader's rows, the recorded intervals pale, slots for the rest."""
    zero, mean = protocol.zeros(records.load("ladder")).values()
    made, ax = figure(6.4, 4.8)
    colours = {"you": COLOURS["yours"], "a colleague": COLOURS["ink"], "": COLOURS["rest"]}
    grey, high = COLOURS["head"], max(HIGH, found.r2.max() + 0.02 if found.r2.any() else 0)
    ax.hlines(range(len(found)), LOW, high, color=COLOURS["frozen"], lw=1, zorder=0)
    for level, name, across in ((zero, "head on the pooler", "center"),
                                (mean, "head on the mean", "left")):
        ax.axvline(level, color=grey, ls=":", lw=1.5, zorder=1)
        ax.annotate(name, (level, 1), (0, 2), ha=across, va="bottom", fontsize=11, color=grey,
                    xycoords=ax.get_xaxis_transform(), textcoords="offset points")
    for y, row in enumerate(found.itertuples()):
        colour = colours[row.whose]
        ax.annotate(bytes_text(row.file_bytes), (0, y), (-6, 0), ha="right", va="center",
                    fontsize=11, color=colour, xycoords=ax.get_yaxis_transform(),
                    textcoords="offset points")
        if not row.whose:
            ax.text(zero + 0.008, y, f"lesson {row.lesson}", va="center", fontsize=11,
                    color=colour, bbox={"fc": COLOURS["paper"], "ec": "none", "pad": 2})
            continue
        low = max(row.low, LOW)
        if row.high > low:
            ax.barh(y, row.high - low, 0.4, left=low, color=COLOURS["quiet"], alpha=0.45)
        if row.r2 < LOW:
            told = f"◂ {round(row.r2, 2) + 0:.2f}".replace("-", "−")
            ax.text(zero + 0.008, y, told, va="center", fontsize=12, color=colour,
                    path_effects=HALO)
        elif row.whose == "you":
            ax.plot(row.r2, y, "D", ms=11, color=colour, zorder=4)
        else:
            ax.plot(row.r2, y, "o", ms=11, mew=1.5, color=colour, mfc=COLOURS["paper"], zorder=4)
    ax.set(xlim=(LOW, high), ylim=(-0.6, len(found) - 0.4), yticks=range(len(found)),
           yticklabels=[SHORT[key] for key in found.index])
    for label, whose in zip(ax.get_yticklabels(), found.whose):
        label.set(color=colours[whose], weight="bold" if whose == "you" else "normal")
    ax.tick_params(axis="y", length=0, pad=62, labelsize=12)
    ax.tick_params(axis="x", labelsize=11)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"R², all {protocol.TESTS:,} test sentences", fontsize=12)
    made.set_label(
        f"Your ladder, {(found.whose == 'you').sum()} of {len(found)} built. " + "; ".join(
            f"{SHORT[key]}, {bytes_text(row.file_bytes)}: {_in_words(row)}"
            for key, row in found.iterrows())
        + f"; the head on the pooler {zero:.3f}, on the mean {mean:.3f}.")
    return made


def _in_words(row: pandas.Series) -> str:
    if not row.whose:
        return f"lesson {row.lesson}"
    return (f"{'yours' if row.whose == 'you' else row.whose} {row.r2:.3f}, recorded "
            f"{row.low:.3f} to {row.high:.3f}")


def table(found: pandas.DataFrame) -> pandas.DataFrame:
    """Return a frame's runs in numbers, the largest file first."""
    return pandas.DataFrame.from_dict({SHORT[key]: {
        "whose": row.whose, "R²": f"{row.r2:.3f}", "sign right, %": f"{100 * row.accuracy:.1f}",
        "trained numbers": f"{row.parameters:,.0f}",
        "file, kB": f"{row.file_bytes / 1000:,.0f}"}
        for key, row in found[::-1].iterrows() if row.whose}, orient="index")
