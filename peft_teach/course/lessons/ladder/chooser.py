"""A chooser: memory, time and tasks in; a method and the reason out."""

from collections.abc import Mapping

import ipywidgets as ipw

from ....widgets import Explorer
from .picture_of_costs import Cost, draw_cost
from .picture_of_places import STYLES
from .recorded import MARGIN, costs
from .rungs import COSTS

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
    "T5: the gap to full closes as models grow to 11 billion (Lester et al. 2021)",
    "it can be better than full on data of another kind (Kumar et al. 2022)")))


def chooser(record: Mapping) -> Explorer:
    """Limits in; out comes the method that trains least among those as good as the best."""
    table = costs(record)
    trained, file, memory_of, step_of = COSTS.values()
    table = table.assign(cost=table[trained], memory=table[memory_of] / table[memory_of].max())

    def compute(memory: str, step: str, tasks: int) -> Cost:
        allowed = table[(table.memory <= LIMITS[memory]) & (table[step_of] <= LIMITS[step])
                        & (table[file] * tasks <= DISK)]
        near = allowed[allowed["R²"] >= allowed["R²"].max() - MARGIN]
        name, title, larger = "", "No method is within these limits", ""
        if len(near):
            row = near.loc[name := near.cost.idxmin()]
            title = f"Take {name}: the fewest parameters within {MARGIN} R² of the best allowed"
            larger = (f" It takes {row.memory:.0%} of full's memory, and {row[step_of]:.0%} of its "
                      f"time. Larger models: {LARGER[name]}.")
        return Cost(trained, table, [*allowed.index], title, "Black: within the limits, which are "
                    f"memory {memory}, a step {step}, files of {tasks:,} tasks in 1 GB.{larger}",
                    name)

    return Explorer({
        "memory": ipw.Dropdown(options=[*LIMITS], description="memory"),
        "step": ipw.Dropdown(options=[*LIMITS], description="a step"),
        "tasks": ipw.Dropdown(options=[1, 100, 1000, 10_000], description="tasks"),
    }, compute, draw_cost, lambda found: found.told)
