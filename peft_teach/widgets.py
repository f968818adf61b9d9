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

from . import account, models, outlines, plots
from .training import Step

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
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

    `beside` are recorded losses to compare with, by name: dashed, on top. Returns the steps.
    """
    from IPython.display import HTML, display

    beside, done, start = dict(beside or {}), [], time.perf_counter()
    colours = {"this run": plots.COLOURS["yours"], **(colours or {})}
    handle = display(HTML(_progress([], total, start)), display_id=True)
    for step in steps:
        done.append(step)
        if step.index % every == 0 or len(done) == total:
            figure = plots.curves({"this run": [s.loss for s in done]} | beside, colours,
                                  dashed=beside)
            picture = plots.html(figure, "The loss, step by step.")
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


# ── lesson 01: three ways to learn, by learning rate ─────────────────────────────────────────

WAYS = {"scratch": "from scratch", "head": "head only", "full": "full fine-tuning"}


def compute_learning(runs: Sequence[Mapping], majority: float, methods: Sequence[str],
                     guesses: Mapping[str, float | None] | None = None, **rates: float) -> dict:
    """Return the recorded run of each method at its learning rate, and the levels beside it.

    `rates` are by method, as in `scratch=1e-4`; `guesses` are accuracies that the reader chose.
    """
    lines = {}
    for method in methods:
        run = next(r for r in runs if r["method"] == method and r["lr"] == rates[method])
        lines[f"{WAYS[method]}, rate {run['lr']:g}"] = {
            field: run[field] for field in ("method", "losses", "curve", "accuracy")}
    guesses = {m: g for m, g in (guesses or {}).items() if g is not None and m in methods}
    return {"lines": lines, "majority": majority, "guesses": guesses, "names": WAYS}


def learning(runs: Sequence[Mapping], majority: float, best: Mapping[str, float],
             guesses: Mapping[str, float | None] | None = None) -> Explorer:
    """Loss and accuracy of the three ways, each at any recorded learning rate.

    `runs` are of one seed: method, lr, losses, accuracy, and a curve [(step, accuracy), ...] or
    None; `best` gives the rate that each method starts with.
    """
    controls = {"methods": ipw.SelectMultiple(options=[(WAYS[m], m) for m in best], rows=4,
                                              value=tuple(best), description="shown")}
    for method, rate in best.items():
        options = sorted(r["lr"] for r in runs if r["method"] == method)
        controls[method] = ipw.SelectionSlider(
            options=[(f"{lr:g}", lr) for lr in options], value=rate, description=WAYS[method],
            continuous_update=False, style={"description_width": "8em"})
    return Explorer(controls, lambda **s: compute_learning(runs, majority, guesses=guesses, **s),
                    plots.learning, _caption_learning)


def _caption_learning(data: dict) -> str:
    return ("Recorded. Left: the training loss. Right: accuracy on 1,000 held-out sentences along "
            "the way, where it was looked at; the dot at the end is on all test sentences.")


# ── lesson 01: what the ways hold in memory ──────────────────────────────────────────────────


def compute_ways_memory(ways: Mapping[str, nn.Module], batch: int, tokens: int,
                        optimizer: str) -> dict:
    """Return the ledger of each model as it trains now, by name."""
    return {"batch": batch, "tokens": tokens, "optimizer": optimizer,
            "ledgers": {name: account.ledger(model, batch, tokens, optimizer)
                        for name, model in ways.items()}}


def ways_memory(ways: Mapping[str, nn.Module]) -> Explorer:
    """Ledger bars of some models against batch size, length and optimizer."""
    controls = {
        "batch": ipw.SelectionSlider(options=(1, 4, 16, 64, 256), value=16, description="batch",
                                     continuous_update=False),
        "tokens": ipw.SelectionSlider(options=(8, 16, 32, 64, 128, 256, 512), value=32,
                                      description="tokens", continuous_update=False),
        "optimizer": ipw.ToggleButtons(options=("sgd", "momentum", "adamw"), value="adamw",
                                       description="optimizer"),
    }
    return Explorer(controls, lambda **s: compute_ways_memory(ways, **s),
                    lambda data: plots.ledgers(data["ledgers"]), _caption_ways_memory)


def _caption_ways_memory(data: dict) -> str:
    return (f"Predicted memory of a training step on {data['batch']} sentences of "
            f"{data['tokens']} tokens, with {data['optimizer']}.")


# ── lesson 00: where the parameters are, and what training holds ─────────────────────────────


def compute_parameter_map(model: str, places: Sequence[str], dtype: str = "float32") -> dict:
    """Return the parameters of an outline by place and block, and what the chosen places hold."""
    sizes, blocks = outlines.counts(model), outlines.depth(model)
    outside = ("embeddings", "other", "head")
    inside = {p: sizes[p] // blocks for p in plots.PARTS if p in sizes and p not in outside}
    rest = {p: sizes[p] for p in ("other", "head")}
    columns = [("embeddings", {"embeddings": sizes["embeddings"]}), ("rest", rest),
               *((f"{i}", inside) for i in range(blocks))]
    total, chosen = sum(sizes.values()), sum(sizes.get(p, 0) for p in places)
    size = plots.bytes_text(chosen * outlines.DTYPES[dtype].itemsize)
    missing = [p for p in places if not sizes.get(p)]
    names = ", ".join(p for p in places if p not in missing) or "nothing chosen"
    told = f"{names}: {chosen:,} numbers, {chosen / total:.1%}, {size}"
    if missing:
        told += f"; it has no {', '.join(missing)}"
    return {"model": model, "sizes": sizes, "blocks": blocks, "columns": columns, "total": total,
            "places": list(places), "chosen": chosen, "share": chosen / total, "told": told}


def parameter_map() -> Explorer:
    """Where the parameters of known models are: areas by place and block."""
    places = tuple(plots.PARTS)
    controls = {
        "model": ipw.Dropdown(options=tuple(outlines.SIZES), description="model"),
        "places": ipw.SelectMultiple(options=places, value=("embeddings",), rows=len(places) + 1,
                                     description="places"),
        "dtype": ipw.ToggleButtons(options=tuple(outlines.DTYPES), description="held in"),
    }
    return Explorer(controls, compute_parameter_map, plots.parameter_map, _caption_map)


def _caption_map(data: dict) -> str:
    return (f"{data['model']}: every number of it, drawn as area: embeddings, the rest, then "
            f"{data['blocks']} blocks. The rest is the pooler and the head of a BERT; in the "
            "others the norms, and the output layer where it is not the embeddings again. Norms of "
            "a BERT are too thin to be seen.")


def compute_ledger(model: str, trains: str, optimizer: str = "adamw", batch: int = 16,
                   tokens: int = 32, dtype: str = "float32", fused: bool = False) -> dict:
    """Return the ledgers of an outline for everything that may train, and by batch for one."""
    tokens = min(tokens, outlines.longest(model))

    def ledger(trains: str, batch: int) -> account.Ledger:
        return outlines.ledger(model, trains, optimizer, batch, tokens, dtype, fused)

    measured = outlines.measure(model, trains, dtype)
    share = measured["trained"] / measured["total"]
    ledgers = {name: ledger(name, batch) for name in outlines.TRAINS}
    total, most = ledgers[trains].total_bytes, max(x.total_bytes for x in ledgers.values())
    fits = next((f"fits into {name}" for name, size in plots.GPUS.items() if total <= size),
                f"more than {list(plots.GPUS)[-1]}")
    return {"model": model, "trains": trains, "batch": batch, "tokens": tokens,
            "ledgers": ledgers, "growth": {n: ledger(trains, n) for n in BATCHES},
            "total_bytes": total, "fits": fits, "share": share,
            "gpus": {name: size for name, size in plots.GPUS.items() if size < 1.2 * most},
            "told": f"{trains}: {100 * share:.3g} % trained;\n"
                    f"{plots.bytes_text(total)} in all, {fits}"}


def ledger() -> Explorer:
    """What training holds in memory, for known models and any batch, length and optimizer."""
    controls = {
        "model": ipw.Dropdown(options=tuple(outlines.SIZES), description="model"),
        "trains": ipw.Dropdown(options=outlines.TRAINS, description="trains"),
        "optimizer": ipw.Dropdown(options=("adamw", "momentum", "sgd"), description="optimizer"),
        "batch": ipw.SelectionSlider(options=BATCHES, value=16, description="batch",
                                     continuous_update=False),
        "tokens": ipw.SelectionSlider(options=LENGTHS, value=32, description="tokens",
                                      continuous_update=False),
        "dtype": ipw.ToggleButtons(options=tuple(outlines.DTYPES), description="held in"),
        "fused": ipw.Checkbox(value=False, description="fused attention"),
    }
    return Explorer(controls, compute_ledger, plots.ledger_explorer, _caption_ledger)


def _caption_ledger(data: dict) -> str:
    gpus = f"; dotted: GPUs of {', '.join(data['gpus'])}" if data["gpus"] else ""
    return (f"{data['model']}, {data['batch']} × {data['tokens']} tokens. Left: the sum of the "
            f"four parts by what trains{gpus}. Right, both axes logarithmic: how each part grows "
            f"with the batch if this trains: {data['trains']}.")


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


# ── lesson 02: accuracy against the dimension of a random subspace ───────────────────────────


def compute_subspace(record: Mapping, share: int, measure: str, starts: str,
                     guess: int | None = None) -> dict:
    """Return the accuracies by d and start, and the smallest d that reaches a goal.

    `share` is in percent: of full fine-tuning's accuracy, or (`measure` "gain") of what it gains
    over the head alone. `starts` is "pretrained", "random" or "both".
    """
    def level(method: str) -> float:
        values = [row["accuracy"] for row in record["runs"] if row["group"] == "short"
                  and row["method"] == method and row.get("pretrained", True)]
        return sum(values) / len(values)

    points: dict[str, dict[int, list[float]]] = {"pretrained": {}, "random": {}}
    for row in sorted((r for r in record["runs"] if r["group"] in ("subspace", "scratch")),
                      key=lambda row: row["d"]):
        start = "random" if row["group"] == "scratch" else "pretrained"
        points[start].setdefault(row["d"], []).append(row["accuracy"])
    full, head = level("full"), level("head")
    goal = share / 100 * full if measure == "accuracy" else head + share / 100 * (full - head)
    reached = next((d for d, values in points["pretrained"].items()
                    if sum(values) / len(values) >= goal), None)
    what = {"accuracy": "full fine-tuning's accuracy",
            "gain": "its gain over the head alone"}[measure]
    told = (f"{share} % of {what}: d = {reached:,}" if reached
            else f"{share} % of {what}: none of these d")
    if head >= goal:
        reached, told = None, f"{share} % of {what}: the head alone, d = 0"
    if starts == "random":
        reached = None
    return {"points": {s: p for s, p in points.items() if starts in (s, "both")}, "full": full,
            "head": head, "majority": record["setting"]["majority"], "goal": goal,
            "reached": reached, "told": told, "guess": guess}


def subspace(record: Mapping, guess: int | None = None) -> Explorer:
    """Accuracy against d, the goal on a slider; `record` is `records.load("change")`."""
    controls = {
        "share": ipw.IntSlider(min=50, max=100, value=90, step=5, description="goal, %",
                               continuous_update=False),
        "measure": ipw.ToggleButtons(options=(("full fine-tuning's accuracy", "accuracy"),
                                              ("its gain over the head alone", "gain")),
                                     style={"button_width": "210px"}, description="of"),
        "starts": ipw.ToggleButtons(options=("pretrained", "random", "both"), value="both",
                                    description="start"),
    }
    return Explorer(controls, lambda **s: compute_subspace(record, guess=guess, **s),
                    plots.subspace, _caption_subspace)


def _caption_subspace(data: dict) -> str:
    return ("Recorded: test accuracy after 125 steps when the whole backbone may move along d "
            "random directions only. A dot is a seed, the line joins the means, the circle is the "
            "smallest recorded d that reaches the goal.")


# ── lesson 02: the update of full fine-tuning, truncated ─────────────────────────────────────

MODULES = {"query": "attention.self.query", "key": "attention.self.key",
           "value": "attention.self.value", "attention_out": "attention.output.dense",
           "ffn_in": "intermediate.dense", "ffn_out": "output.dense"}


def compute_truncation(record: Mapping, head: float, place: str, block: int, k: int) -> dict:
    """Return σ of one matrix's ΔW with its energy, and the accuracy by k, mean and seeds."""
    name = f"bert.encoder.layer.{block}.{MODULES[place]}"
    sigma = record["spectra"]["update 0"][name]
    energy = [s * s for s in sigma]
    whole, partial, ninety = sum(energy), 0.0, 0
    while partial < 0.9 * whole:
        partial += energy[ninety]
        ninety += 1
    tables = [t for run, t in record["truncated"].items() if run.startswith("update")]
    seeds = {kind: {int(n): [t[kind][n] for t in tables] for n in tables[0][kind]}
             for kind in ("kept", "dropped")}
    curves = {kind: {n: sum(values) / len(values) for n, values in found.items()}
              for kind, found in seeds.items()}
    return {"matrix": f"{place}, block {block}", "sigma": sigma, "k": k,
            "energy": sum(energy[:k]) / whole, "ninety": ninety, "head": head, **curves,
            "seeds": seeds, "told": f"k = {k}: accuracy {curves['kept'][k]:.1%}"}


def truncation(record: Mapping, head: float) -> Explorer:
    """σ of ΔW by matrix, and the accuracy when all are cut to k directions.

    `record` is `records.load("change")`, `head` the accuracy of the head alone.
    """
    kept = sorted(int(k) for k in record["truncated"]["update 0"]["kept"])
    controls = {
        "place": ipw.ToggleButtons(options=PLACES, description="place",
                                   style={"button_width": "120px"}),
        "block": ipw.IntSlider(min=0, max=5, value=2, description="block", continuous_update=False),
        "k": ipw.SelectionSlider(options=kept, value=8, description="k", continuous_update=False),
    }
    return Explorer(controls, lambda **s: compute_truncation(record, head, **s), plots.truncation,
                    _caption_truncation)


def _caption_truncation(data: dict) -> str:
    return ("Left: the singular values of one matrix's ΔW after full fine-tuning. Right: recorded "
            "test accuracy with the ΔW of all 36 matrices cut to their k strongest directions, or "
            "robbed of them; a dot is a seed, the line joins the means. All else that was trained "
            "stays as trained.")
