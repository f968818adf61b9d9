"""A chooser: memory, time and tasks in; a method and the reason out."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
from matplotlib.figure import Figure

from ....plots import ring
from ....widgets import Explorer
from .picture_of_costs import Cost, draw_cost
from .picture_of_places import STYLES
from .recorded import COSTS, MARGIN, costs

DISK = 1e6                       # kB, for the files of all tasks
LIMITS = {"any": float("inf")} | {f"at most {share:.0%} of full's": share for share in (0.8, 0.6)}
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
class Choice(Cost):
    """R² against what is trained; filled are the methods within the limits that are wanted."""

    wanted: str

    @property
    def chosen(self) -> str | None:
        """The method that trains least, of those within the margin of the best; if any."""
        allowed = self.table.loc[self.filled]
        near = allowed[allowed["R²"] >= allowed["R²"].max() - MARGIN]
        return near.cost.idxmin() if len(near) else None


def chooser(record: Mapping) -> Explorer:
    """Limits in; out comes the method that trains least among those as good as the best."""
    table = costs(record)
    trained, file, memory, step = COSTS.values()
    table = table.assign(cost=table[trained], memory=table[memory] / table[memory].max(),
                         step=table[step])

    def compute(memory: str, step: str, tasks: int) -> Choice:
        within = (table.memory <= LIMITS[memory]) & (table.step <= LIMITS[step])
        within &= table[file] * tasks <= DISK
        return Choice(trained, table, [*table.index[within]], f"memory {memory}, a step {step}, "
                      f"files of {tasks:,} task{'s' * (tasks > 1)} in 1 GB")

    return Explorer({
        "memory": ipw.Dropdown(options=[*LIMITS], description="memory"),
        "step": ipw.Dropdown(options=[*LIMITS], description="a step"),
        "tasks": ipw.Dropdown(options=[1, 100, 1000, 10_000], description="tasks"),
    }, compute, draw_choice, _reason)


def draw_choice(found: Choice) -> Figure:
    """Draw R² against what is trained, and a ring around what is chosen."""
    made = draw_cost(found)
    if found.chosen is not None:
        ring(made.axes[0], *found.table.loc[found.chosen, ["cost", "R²"]])
    return made


def _reason(found: Choice) -> str:
    if found.chosen is None:
        return f"Wanted: {found.wanted}. No method is within these limits."
    row, best = found.table.loc[found.chosen], found.table["R²"][found.filled].max()
    return (f"Wanted: {found.wanted}. Filled: within these limits. Take {found.chosen}, with an "
            f"R² of {row['R²']:.3f}: the best of them has {best:.3f}, and none within {MARGIN} of "
            f"it trains less. It takes {row.memory:.0%} of full's memory, and {row.step:.0%} of "
            f"its time. Larger models: {LARGER[found.chosen]}.")
