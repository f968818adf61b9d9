"""Pictures that move: each is a pure `compute(settings) -> data`, a plot of the data, and controls.

Core ipywidgets only (7.7 on Colab, 8.1 elsewhere). Without a front end a still picture stands in
their place. A control that fails raises where its value was set.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import ipywidgets as ipw
from matplotlib.figure import Figure
from torch import nn

from . import account, models, plots
from .training import Step

PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")


class Explorer:
    """Controls above a picture. `controls` are ipywidgets by the name of their setting."""

    def __init__(self, controls: Mapping[str, ipw.Widget], compute: Callable[..., dict],
                 plot: Callable[[dict], Figure], caption: Callable[[dict], str]):
        self.controls, self.compute, self.plot, self.caption = controls, compute, plot, caption
        self.picture = ipw.HTML()
        self.box = ipw.VBox([*controls.values(), self.picture])
        for control in controls.values():
            control.observe(self.refresh, names="value")
        self.refresh()

    def refresh(self, change: object = None) -> None:
        """Compute and draw for the controls as they stand."""
        self.data = self.compute(**{name: c.value for name, c in self.controls.items()})
        self.figure = self.plot(self.data)
        self.picture.value = plots.html(self.figure, self.caption(self.data))

    def _ipython_display_(self) -> None:
        _display(self.box, self.picture.value, self.figure.get_label())


class Guess:
    """A question with a few answers; what is chosen is kept in `value`, None until then."""

    def __init__(self, question: str, options: Sequence):
        self.options = tuple(options)
        self.buttons = ipw.ToggleButtons(options=[(str(o), o) for o in options], value=None,
                                         style={"button_width": "72px"})
        self.box = ipw.VBox([ipw.HTML(f"<b>{question}</b>"), self.buttons])
        self.question = question

    @property
    def value(self):
        """The chosen answer, or None."""
        return self.buttons.value

    def _ipython_display_(self) -> None:
        choices = " / ".join(map(str, self.options))
        _display(self.box, f"<b>{self.question}</b> {choices}", f"{self.question} {choices}")


def watch(steps: Iterable[Step], total: int, beside: Mapping[str, Sequence[float]] | None = None,
          colours: Mapping[str, str] | None = None, every: int = 12) -> list[Step]:
    """Run a training to its end and show it: progress, loss, time left, the curve as it falls.

    `beside` are recorded losses to compare with, by name. Returns the steps.
    """
    from IPython.display import HTML, display

    beside, done, start = dict(beside or {}), [], time.perf_counter()
    colours = {"this run": plots.COLOURS["yours"], **(colours or {})}
    handle = display(HTML(_progress([], total, start)), display_id=True)
    for step in steps:
        done.append(step)
        if step.index % every == 0 or len(done) == total:
            losses = beside | {"this run": [s.loss for s in done]}
            picture = plots.html(plots.curves(losses, colours), "The loss, step by step.")
            if handle is not None:
                handle.update(HTML(_progress(done, total, start) + picture))
    return done


def _progress(done: Sequence[Step], total: int, start: float) -> str:
    spent = time.perf_counter() - start
    left = f", about {spent / len(done) * (total - len(done)):.0f} s left" if done else ""
    loss = f", loss {_recent(done):.3f}" if done else ""
    if len(done) == total:
        left = f", {spent:.0f} s in all"
    return (f'<div><progress value="{len(done)}" max="{total}" style="width: 20em" '
            f'aria-label="training"></progress> step {len(done)} of {total}{loss}{left}</div>')


def _recent(done: Sequence[Step]) -> float:
    recent = [s.loss for s in done[-20:]]
    return sum(recent) / len(recent)


def _display(box: ipw.Widget, still: str, text: str) -> None:
    """Display a widget, with a still picture for where there is no front end to draw it.

    On Colab the widget goes alone, as ipywidgets 7 itself would send it.
    """
    from IPython.display import display

    bundle = {"text/plain": text, "application/vnd.jupyter.widget-view+json": {
        "version_major": 2, "version_minor": 0, "model_id": box.model_id}}
    if "google.colab" not in sys.modules:
        bundle["text/html"] = still
    display(bundle, raw=True)


# ── lesson 07: rank, places and blocks against parameters and accuracy ───────────────────────


def compute_lora_budget(shapes: Mapping[str, tuple[int, int]], total: int, record: Mapping,
                        rank: int, places: Sequence[str], blocks: tuple[int, int],
                        guess: int | None = None) -> dict:
    """Return parameters, share and file size of a LoRA setting, and what was measured near it.

    `shapes` map a place to (n_out, n_in), `total` counts the model's parameters, `blocks` are the
    first and the last adapted block, `guess` is a rank that the reader chose before.
    """
    layers = list(range(blocks[0], blocks[1] + 1))
    per_rank = len(layers) * sum(sum(shapes[p]) for p in places)
    whole = len(layers) * sum(shapes[p][0] * shapes[p][1] for p in places)
    parameters = rank * per_rank
    depth = record["depth"]
    recorded = [dict(point, chosen=point["rank"] == rank and set(point["targets"]) == set(places)
                     and (point["layers"] or list(range(depth))) == layers)
                for point in record["points"]]
    chosen = next((p for p in recorded if p["chosen"]), None)
    told = (f"measured: {chosen['mean']:.1%} ± {chosen['spread']:.1%}" if chosen
            else "no run recorded with exactly this setting")
    ranks = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
    guess_parameters = guess and guess * depth * sum(sum(shapes[p]) for p in ("query", "value"))
    return {"rank": rank, "places": list(places), "layers": layers, "parameters": parameters,
            "share": parameters / total, "file_kb": parameters * 4 / 1000,
            "whole_matrices": max(whole, 1), "line": {r: max(r * per_rank, 1) for r in ranks},
            "recorded": recorded, "told": told, "full": record["full"], "head": record["head"],
            "guess_parameters": guess_parameters}


def lora_budget(model: nn.Module, record: Mapping, guess: int | None = None) -> Explorer:
    """Rank, places and blocks against trained parameters, file size and recorded accuracy.

    `model` is an unadapted encoder, `record` what `course.records.points` made
    of the recorded runs.
    """
    table = models.places(model)
    shapes = {p: tuple(model.get_submodule(table[p][0]).weight.shape) for p in PLACES}
    total = account.parameters(model).total
    depth = record["depth"]
    controls = {
        "rank": ipw.SelectionSlider(options=[1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 192, 384], value=8,
                                    description="rank", continuous_update=False),
        "places": ipw.SelectMultiple(options=PLACES, value=("query", "value"), rows=len(PLACES) + 1,
                                     description="places"),
        "blocks": ipw.IntRangeSlider(min=0, max=depth - 1, value=(0, depth - 1),
                                     description="blocks", continuous_update=False),
    }

    def compute(**settings) -> dict:
        return compute_lora_budget(shapes, total, record, guess=guess, **settings)

    return Explorer(controls, compute, plots.lora_budget, _caption_budget)


def _caption_budget(data: dict) -> str:
    return (f"{data['parameters']:,} trained numbers in {len(data['layers'])} blocks, "
            f"{data['file_kb']:,.0f} kB on disk. Left: how the count grows with the rank. Right: "
            "every recorded LoRA setting, mean and standard deviation over its seeds.")


# ── lesson 07: singular values of ΔW ─────────────────────────────────────────────────────────


def compute_lora_spectra(record: Mapping, place: str, block: int, ranks: Sequence[str]) -> dict:
    """Return σ of ΔW and the overlap with full fine-tuning, for one matrix and some ranks."""
    name = f"bert.encoder.layer.{block}.attention.self.{place}"
    wanted = sorted(ranks, key=int)
    sigma = {r: record[r][name]["sigma"] for r in wanted} | {"full": record["full"][name]["sigma"]}
    rows = {r: record[r][name] for r in wanted}
    rows |= {"full, again": record["full again"][name]} if "full again" in record else {}
    width = len(record["full"][name]["sigma"])
    return {"matrix": f"{place}, block {block}", "sigma": sigma,
            "overlap": {n: row["overlap"] for n, row in rows.items()},
            "chance": {n: min(len(row["sigma"]), 8) / width for n, row in rows.items()}}


def lora_spectra(record: Mapping) -> Explorer:
    """Singular values of ΔW by matrix, for LoRA of several ranks and for full fine-tuning."""
    ranks = sorted((r for r in record if r.isdigit()), key=int)
    controls = {
        "place": ipw.ToggleButtons(options=("query", "value"), description="place"),
        "block": ipw.IntSlider(min=0, max=5, value=5, description="block", continuous_update=False),
        "ranks": ipw.SelectMultiple(options=ranks, value=tuple(ranks), rows=len(ranks) + 1,
                                    description="ranks"),
    }
    return Explorer(controls, lambda **s: compute_lora_spectra(record, **s), plots.lora_spectra,
                    _caption_spectra)


def _caption_spectra(data: dict) -> str:
    return ("Left: how strongly each direction is changed. A LoRA of rank r has r of them and no "
            "more. Right: how much of the space of the (at most 8) strongest directions is shared "
            "with full fine-tuning; the black bar is what chance gives.")
