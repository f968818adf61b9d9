"""Pictures of lesson 01: three ways to learn, complaints, the ruler, runs that go wrong."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
import pandas
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from .... import account, plots
from ....ink import both, narrow
from ....plots import COLOURS, claim, figure, running_mean
from ... import protocol, records
from ...checks.stand_ins import Output
from .heads import Head as Head  # the lesson has these from here
from .heads import Heads as Heads
from .sick import patients as patients

WAYS = {"scratch": "from scratch", "head": "head only", "full": "full fine-tuning"}


def draw_ways(backbone: int, head: int) -> Figure:
    """Draw what starts how, and what trains, areas to scale; `backbone` and `head` are counts."""
    made, ax = figure(8, 2.7)
    then = "\n" if narrow() else " "
    width, height = 2.1, 1.5
    side = (width * height * head / backbone)**0.5
    ways = (("scratch", "random", True), ("full", "pretrained", True),
            ("head", "pretrained", False))
    for i, (way, start, trained) in enumerate(ways):
        x = 2.3 * i
        plots.box(ax, x, 0, width, height,
                  f"starts{then}{start}\n{'trained' if trained else 'frozen'}", 11,
                  fc=COLOURS["trained" if trained else "frozen"], lw=0)
        plots.box(ax, x + width / 2, 1.65, side, side, "", fc=COLOURS["trained"], lw=0)
        plots.ring(ax, x + width / 2, 1.65)
        ax.text(x + width / 2, 2, WAYS[way].replace(" ", then), ha="center", fontsize=12)
    for y, told in ((height / 2, f"backbone\n{backbone:,}"),
                    (1.65, f"head: {head:,}\nstarts random,{then}trained")):
        ax.text(-0.1, y, told, ha="right", va="center", fontsize=11)
    ax.set(xlim=(-2, 6.8), ylim=(-0.1, 2.5 if narrow() else 2.3))
    ax.axis("off")
    claim(made, f"Head only trains {head:,} of {backbone + head:,} numbers", "; ".join(
        f"{WAYS[way]}: the backbone starts {start} and {'trains' if trained else 'stays frozen'}"
        for way, start, trained in ways) + ". Areas are to scale; the head, a dot, trains.")
    return made


# ── the ruler ────────────────────────────────────────────────────────────────────────────────

POOLER, MEAN, FULL = "head on the pooler", "head on the mean", "full fine-tuning"


def ruler(record: Mapping, ladder: Mapping, seen: Mapping[str, float]) -> dict[str, dict]:
    """Return what stands where on both scales: accuracy on labels, R² on ratings.

    Heads are solved, that on the mean with the penalty that validation sentences choose. `seen`
    are accuracies of the reader's own.
    """
    zero, one = records.ends()
    mean = records.head_on_the_mean(record)
    zeros = protocol.zeros(ladder)
    rated = [run["r2"] for run in protocol.finals(ladder) if run["method"] == "full"]
    return {"labels, % right": {POOLER: zero, MEAN: mean, FULL: one, **seen},
            "ratings, R²": {POOLER: zeros["pooler"], MEAN: zeros["mean"], FULL: fmean(rated)}}


@both
def draw_ruler(scales: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw two scales from the head on the pooler to full fine-tuning, with what stands between.

    Below the second, two brackets: what a method may gain over either head.
    """
    made, ax = figure(9.2, 4.3)
    told, then = [], "\n" if narrow() else " "
    for y, (name, marks) in zip((1.55, 0), scales.items()):
        zero, one = marks[POOLER], marks[FULL]
        write = "{:.2%}".format if y else "{:.3f}".format
        ax.plot((0, 1), (y, y), color=COLOURS["ink"], lw=2)
        left = min((value - zero) / (one - zero) for value in marks.values())
        ax.text(left - 0.1, y, name.replace(", ", f",{then}"), ha="right", va="center", fontsize=12)
        for mark, value in marks.items():
            x = (value - zero) / (one - zero)
            told.append(f"{name}, {mark}: {write(value)}, {x:.0%} of the gain")
            if mark in (POOLER, MEAN, FULL):
                colour, up, ha = COLOURS["full" if mark == FULL else "head"], 1, "center"
                ax.plot((x, x), (y - 0.1, y + 0.1), color=colour, lw=2)
            else:
                colour, up = COLOURS["yours" if "your" in mark else "ink"], -1
                ha = "left" if "your" in mark else "right"
                ax.plot(x, y, "D", ms=7, color=colour)
            gain = f"\n{x:.0%} of the gain" if 0 < x < 1 else ""
            lines = mark.replace("on ", f"on{then}")
            ax.text(x, y + 0.16 * up, f"{lines}\n{write(value)}{gain}", ha=ha, fontsize=11,
                    color=colour, va="bottom" if up > 0 else "top")
    for y, mark in ((-0.25, POOLER), (-0.75 if narrow() else -0.58, MEAN)):
        begins = (marks[mark] - zero) / (one - zero)
        ax.plot((begins, begins, 1, 1), (y + 0.1, y, y, y + 0.1), color=COLOURS["ink"], lw=1.5)
        ax.text((begins + 1) / 2, y - 0.03, f"to gain over the{then}{mark}: "
                f"{one - marks[mark]:.3f}", ha="center", va="top", fontsize=11)
    ax.set(xlim=(-0.35, 1.15), ylim=(-1.1 if narrow() else -0.85, 2.25))
    ax.axis("off")
    far = " and ".join(f"{(each[MEAN] - each[POOLER]) / (each[FULL] - each[POOLER]):.0%}"
                       for each in scales.values())
    claim(made, f"A frozen network, read at all of its tokens, brings {far} of the gain",
          "; ".join(told))
    return made


# ── measuring ────────────────────────────────────────────────────────────────────────────────


def complaints(measure: Callable, model: nn.Module, batches: Sequence[Mapping[str, Tensor]]
               ) -> pandas.DataFrame:
    """Return what a colleague complains of: the same twice, a mean of parts, memory that is held.

    Two batches, of 64 and of 6 sentences; the model comes as any training leaves it.
    """
    def measured(*some: Mapping[str, Tensor]) -> float:
        model.train()
        return float(measure(model, list(some)))

    torch.manual_seed(0)
    twice = [measured(*batches) for _ in range(2)]
    model.eval()
    whole, large, small = (float(measure(model, list(some)))
                           for some in (batches, batches[:1], batches[1:]))
    with account.saved(model) as saved:
        measure(model, list(batches[:1]))
    told = {"the same 70 sentences, measured twice": "{:.3f}, then {:.3f}".format(*twice),
            "64 sentences, and 6 more": f"{large:.3f} and {small:.3f}",
            "all 70 together": f"{whole:.3f}",
            "memory that is held for 64": f"{sum(saved.values()) / 1e6:.0f} MB"}
    return pandas.Series(told).to_frame("measured")


class Counting(nn.Module):
    """Naive Bayes as a classifier: adds up what the words say."""

    def __init__(self, log_odds: Tensor):
        super().__init__()
        self.register_buffer("log_odds", log_odds)

    def forward(self, input_ids: Tensor, **rest: Tensor) -> Output:
        score = self.log_odds[input_ids].sum(1)                           # (batch,)
        return Output(loss=None, logits=torch.stack([torch.zeros_like(score), score], 1))


def strongest_words(log_odds: Tensor, counts: Tensor, tokenizer) -> pandas.DataFrame:
    """Return the ten word pieces that speak loudest for each side, of those seen often enough."""
    often = (counts.sum(0) > 22).nonzero().flatten()
    order = often[log_odds[often].argsort()].tolist()
    return pandas.DataFrame({
        "for complaint": tokenizer.convert_ids_to_tokens(order[:10]),
        "for praise": tokenizer.convert_ids_to_tokens(order[:-11:-1])})


CUT = 1.0    # a loss above it is not drawn; that of a guess is 0.69


@both
def draw_patients(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the losses of each run that went wrong beside those of the first, which did not."""
    (_, right), *wrong = losses.items()
    made, *axes = figure(9.2, 2.8, columns=len(wrong), sharey=True)
    for ax, (name, values) in zip(axes, wrong):
        ax.plot(running_mean(right), color=COLOURS["quiet"], lw=4, label="healthy")
        means = running_mean(values)
        ax.plot(means, color=COLOURS["ink"], lw=2, label="changed")
        runs_away = max(means) > CUT    # it would flatten the others
        ax.set(title=f"{name}, up to {max(means):.1f}" if runs_away else name,
               xlabel="training step")
        if runs_away:
            ax.set_ylim(top=CUT)
    axes[0].set_ylabel("loss, mean of 20 steps")
    axes[0].legend(frameon=False)
    claim(made, f"{len(wrong)} runs with one change each, beside the healthy one",
          "Loss, first and last running mean. " + "; ".join(
              f"{name}: {row[0]:.2f} to {np.mean(row[-20:]):.2f}" for name, row in losses.items()))
    return made


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "ways": lambda: draw_ways(22_713_216, 770),
    "ruler": lambda: draw_ruler(ruler(records.load("full"), records.load("ladder"),
                                      {"counting words": 0.762, "full, your 45 steps": 0.78})),
    "patients": lambda: draw_patients({"healthy": [0.7, 0.5], "A": [0.7, 0.8], "B": [0.7, 3.3]}),
}
