"""A chooser: memory, time, tasks and sentences in; a method and the reason out."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
from matplotlib.figure import Figure

from ....plots import COLOURS, bytes_text, figure, ring
from ....widgets import Explorer
from .picture_of_places import STYLES
from .recorded import COSTS, MARGIN, costs, sizes

DISK = 1e9                       # bytes, for the files of all tasks
ANY, SHARES = float("inf"), (0.8, 0.6, 0.4)
# What is known of larger models, by method.
LARGER = dict(zip(STYLES, (
    "with Adam in float32, 7 billion parameters take 112 GB before any activation",
    "on code and mathematics, at 7 billion, it learns less and forgets less (Biderman et al. 2024)",
    "65 billion on one GPU of 48 GB, as good as in 16 bits (Dettmers et al. 2023)",
    "BERT-large on GLUE: within 0.4 % of full (Houlsby et al. 2019)",
    "GPT-3: on par with full, or better (Hu et al. 2021)",
    "with tuned rates, variants end within 1 to 2 % of LoRA (Lee et al. 2026)",
    "GPT-3: rank 1 is enough on two tasks (Hu et al. 2021, §7.2)",
    "matches LoRA with fewer parameters (Xu & Zhang 2024)",
    "BERT: as good as full where data are few or medium (Ben Zaken et al. 2021)",
    "T0, few examples: better than full (Liu et al. 2022)",
    "GPT-2, tables to text: as good as full (Li & Liang 2021)",
    "T5: as good as full at 11 billion, and not at fewer (Lester et al. 2021)",
    "it can be better than full on data of another kind (Kumar et al. 2022)")))


@dataclass(frozen=True)
class Choice:
    """What is wanted; R² and costs by method, the best first; why some methods are out."""

    wanted: str
    r2: pandas.Series
    table: pandas.DataFrame      # memory and step relative to full, file_bytes, trained
    out: Mapping[str, str]

    @property
    def allowed(self) -> pandas.Series:
        """R² of the methods that are not out."""
        return self.r2.drop([*self.out])

    @property
    def chosen(self) -> str | None:
        """The method that trains least, of those within the margin of the best; if any."""
        near = self.allowed[self.allowed >= self.allowed.max() - MARGIN].index
        return self.table.trained[near].idxmin() if len(near) else None


def chooser(record: Mapping) -> Explorer:
    """Limits in; out comes the method that trains least among those as good as the best."""
    table = costs(record).rename(columns={told: name for name, told in COSTS.items()})
    table = table.reindex(columns=[*COSTS]).assign(file_bytes=lambda t: t.file_bytes * 1e3)
    table["memory_bytes"] /= table.memory_bytes.get("full fine-tuning")
    known = sizes(record)

    def compute(memory: float, step: float, tasks: int, sentences: int) -> Choice:
        r2, out = known[sentences].reindex(table.index), {}
        for name, row in table.iterrows():
            files = row.file_bytes * tasks
            why = {f"memory {row.memory_bytes:.0%}": row.memory_bytes > memory,
                   f"a step {row.step:.0%}": row.step > step,
                   f"files {bytes_text(files)}": files > DISK,
                   "not measured": pandas.isna(r2[name])}
            if any(why.values()):
                out[name] = ", ".join(told for told, holds in why.items() if holds)
        limits = "".join(f"{what} at most {share:.0%} of full's, " for what, share in (
            ("memory", memory), ("the time of a step", step)) if share < ANY)
        return Choice(f"{limits}files of {tasks:,} task{'s' * (tasks > 1)} in {bytes_text(DISK)}, "
                      f"{sentences:,} sentences", r2.sort_values(ascending=False), table, out)

    shares = [("any", ANY), *((f"at most {share:.0%} of full's", share) for share in SHARES)]
    return Explorer({
        "memory": ipw.Dropdown(options=shares, description="memory"),
        "step": ipw.Dropdown(options=shares[:3], description="a step"),
        "tasks": ipw.Dropdown(options=[(f"{n:,}", n) for n in (1, 100, 1000, 10_000)],
                              description="tasks"),
        "sentences": ipw.Dropdown(options=[(f"{n:,}", n) for n in sorted(known, reverse=True)],
                                  description="sentences"),
    }, compute, draw_choice, _reason)


def _reason(found: Choice) -> str:
    if found.chosen is None:
        return f"Wanted: {found.wanted}. No method is within these limits."
    name, best = found.chosen, found.allowed.idxmax()
    row = found.table.loc[name]
    why = ("it is the best that is within the limits" if name == best else
           f"{best} has {found.r2[best]:.3f}, which is within {MARGIN}, and trains more")
    return (f"Wanted: {found.wanted}. Take {name}, with an R² of {found.r2[name]:.3f}: {why}. "
            f"It trains {row.trained:,.0f} numbers; a file has {bytes_text(row.file_bytes)}; it "
            f"takes {row.memory_bytes:.0%} of full's memory, and {row.step:.0%} of its time. "
            f"Larger models: {LARGER[name]}.")


def draw_choice(found: Choice) -> Figure:
    """Draw R² of each method, what is out and why, and a ring around what is chosen."""
    made, ax = figure(9.2, 1.1 + 0.3 * len(found.r2))
    worst, best = found.r2.min(), found.r2.max()
    for y, (name, r2) in enumerate(found.r2.items()):
        colour, _, marker = STYLES[name]
        out = name in found.out
        ax.plot(r2, y, marker, ms=9, color=COLOURS["quiet"] if out else colour)
        if out:
            ax.annotate(found.out[name], (worst if pandas.isna(r2) else r2, y), xytext=(10, 0),
                        textcoords="offset points", va="center", fontsize=10)
    if found.chosen is not None:
        ax.axvspan(found.allowed.max() - MARGIN, found.allowed.max(), color=COLOURS["frozen"], lw=0)
        ring(ax, found.r2[found.chosen], [*found.r2.index].index(found.chosen))
    ax.set(ylim=(len(found.r2) - 0.4, -0.6), xlabel="R² on test sentences",
           xlim=(worst - 0.05 * (best - worst), best + 0.5 * (best - worst)))
    ax.set_yticks(range(len(found.r2)), found.r2.index, fontsize=11)
    made.set_label(f"Wanted: {found.wanted}. Chosen: {found.chosen}. " + "; ".join(
        f"{name}: {r2:.3f}" + (f", out: {found.out[name]}" if name in found.out else "")
        for name, r2 in found.r2.items()) + ".")
    return made
