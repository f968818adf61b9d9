"""The picture and the table of my ladder, made of what `board.frame` says is to be seen."""

from statistics import fmean

import pandas
from matplotlib.figure import Figure

from ...ink import both, narrow
from ...plots import COLOURS, HALO, bytes_text, claim, figure
from .. import protocol, records

SHORT = protocol.NAMES | {"full": "full", "qlora all": "QLoRA"}    # names of rungs, to draw
LOW, HIGH = 0.29, 0.62    # R² is drawn from here to there; a lower one is a number


def caption(found: pandas.DataFrame) -> str:
    """Say what the marks are that `draw` makes of a frame: those that are to be seen."""
    drawn = [*found.whose[found.r2.ge(LOW)]]
    marks = {"diamonds are your runs": "you" in drawn,
             "rings the course's": "the course's" in drawn,
             "bars the 95% intervals of recorded ones": found.high.gt(LOW).any(),
             "◂ is off the scale": found.r2.lt(LOW).any()}
    told = ", ".join(mark for mark, seen in marks.items() if seen)
    rows = f"Rows are in the order of their files; {told}. " if told else ""
    return (rows + "The gain is that of full fine-tuning, the recorded mean, over the head on the "
              "pooler. Both heads are solved, on a frozen model.")


@both
def draw(found: pandas.DataFrame) -> Figure:
    """Draw a frame: R² of the reader's rows, the recorded intervals pale.

    The claim says whose R² is highest, and how much of the gain that is: of the way from the head
    on the pooler to full fine-tuning.
    """
    record = records.load("ladder")
    zero, mean = protocol.zeros(record).values()
    full = fmean(run["r2"] for run in protocol.finals(record) if run["method"] == "full")
    seen = found.query("whose != ''")
    made, ax = figure(7.2, 2.1 + 0.4 * max(len(seen), 1))
    grey, high = COLOURS["head"], max(HIGH, seen.r2.max() + 0.02 if len(seen) else 0)
    ax.hlines(range(len(seen)), LOW, high, color=COLOURS["frozen"], lw=1, zorder=0)
    of = "head,\n" if narrow() else "head on\nthe "
    for level, name, colour in ((zero, f"{of}pooler", grey), (mean, f"{of}mean", grey),
                                (full, "full\nfine-tuning", COLOURS["full"])):
        ax.axvline(level, color=colour, ls=":", lw=1.5, zorder=1)
        ax.annotate(f"{name}\n{level:.3f}", (level, 1), (0, 2), ha="center", va="bottom",
                    fontsize=11, color=colour, xycoords=ax.get_xaxis_transform(),
                    textcoords="offset points")
    for y, (_, row) in enumerate(seen.iterrows()):
        colour = COLOURS["yours" if row.whose == "you" else "ink"]
        ax.annotate(bytes_text(row.file_bytes), (0, y), (-6, 0), ha="right", va="center",
                    fontsize=11, color=colour, xycoords=ax.get_yaxis_transform(),
                    textcoords="offset points")
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
    ax.set(xlim=(LOW, high), ylim=(-0.6, max(len(seen), 1) - 0.4), yticks=range(len(seen)),
           yticklabels=[SHORT[str(key)] for key in seen.index])
    for label, whose in zip(ax.get_yticklabels(), seen.whose):
        label.set(color=COLOURS["yours" if whose == "you" else "ink"],
                  weight="bold" if whose == "you" else "normal")
    ax.tick_params(axis="y", length=0, pad=62, labelsize=12)
    ax.tick_params(axis="x", labelsize=11)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"R², all {protocol.TESTS:,} test sentences", fontsize=12)
    claim(made, _claim(seen, zero, full), f"{(found.whose == 'you').sum()} of {len(found)} built. "
          + "; ".join(f"{SHORT[str(key)]}, {bytes_text(row.file_bytes)}: {_in_words(row)}"
                      for key, row in found.iterrows())
          + f"; the head on the pooler {zero:.3f}, on the mean {mean:.3f}, full fine-tuning "
            f"{full:.3f}.")
    return made


def _claim(seen: pandas.DataFrame, zero: float, full: float) -> str:
    """Say which row has the highest R², and which share of the gain that is."""
    if not len(seen):
        return "Your ladder has no row yet"
    best = seen.loc[seen.r2.idxmax()]
    first = f"Highest of {len(seen)} so far: " if len(seen) > 1 else ""
    share = (best.r2 - zero) / (full - zero)
    level = [SHORT[str(key)] for key, r2 in seen.r2.items() if f"{r2:.3f}" == f"{best.r2:.3f}"]
    names = " and ".join(level) + ", level" * (len(level) > 1)
    told = f"{first}{names}, R² {best.r2:.3f}, {share:.0%} of the gain"
    return told.replace("-", "−")


def _in_words(row: pandas.Series) -> str:
    if not row.whose:
        return f"lesson {row.lesson}"
    return (f"{'yours' if row.whose == 'you' else row.whose} {row.r2:.3f}, recorded "
            f"{row.low:.3f} to {row.high:.3f}")


def table(found: pandas.DataFrame) -> pandas.DataFrame:
    """Return a frame's runs in numbers, the largest file first."""
    return pandas.DataFrame.from_dict({SHORT[str(key)]: {
        "whose": row.whose, "R²": f"{row.r2:.3f}", "sign right, %": f"{100 * row.accuracy:.1f}",
        "trained numbers": f"{row.parameters:,.0f}",
        "file, kB": f"{row.file_bytes / 1000:,.0f}"}
        for key, row in found[::-1].iterrows() if row.whose}, orient="index")
