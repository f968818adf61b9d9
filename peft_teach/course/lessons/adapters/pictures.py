"""Pictures of lesson 05: the places, what was run at other settings, and a merge."""

import copy
import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import mean

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from .... import bottleneck, core, data, drawing, models
from ....adapter import adapters
from ....ink import Page, across
from ....plots import claim, dots
from ....widgets import Explorer
from ... import records
from ...verdicts import BETTER, POINT, Comparison, verdict
from .exercises import size_for
from .sealed import PLACES

NAMES = {"houlsby": "Houlsby", "post_attention": "post-attention", "pfeiffer": "Pfeiffer",
         "bapna": "Bapna", "parallel": "parallel", "ends": "the two ends"}
BUDGET = 300_000    # numbers, in the race
SENTENCES = ("A quiet, funny, generous film.", "Two hours that I want back.",
             "The jokes are stale and the plot is worse.", "It dazzles from the first shot.")


def config_of(place: str) -> bottleneck.Config:
    """Return the library's config of a placement: `bottleneck.HOULSBY` of "houlsby"."""
    return getattr(bottleneck, place.upper())


def alike(place: str) -> bottleneck.Config:
    """Return the config of a placement in the race: what may be equal for all places, is."""
    return replace(config_of(place), activation="relu", init="normal", scale=1.0)


# ── where they stand ─────────────────────────────────────────────────────────────────────────


def modules(place: str) -> int:
    """Return how many adapters a MiniLM gets at a place."""
    return int((drawing.parts("bottleneck", config_of(place)).name == "A.W_up").sum())


def explore_block() -> Explorer:
    """The block, and the adapter that is moved through it."""
    place = ipw.ToggleButtons(options=[(NAMES[p], p) for p in PLACES if p != "ends"],
                              value="houlsby", description="place",
                              style={"button_width": "auto"})
    return Explorer(
        {"place": place}, in_race,
        lambda config: drawing.block("bottleneck", config, counts=False),
        lambda config: "One of MiniLM's six blocks, and one adapter of it, enlarged. An adapter "
                       "reads where its line begins, and adds where its line ends." + (
                           " This one norms what it reads, by a norm of its own."
                           if config.own_norm else ""))


def in_race(place: str) -> bottleneck.Config:
    """Return a placement's config at the size that the race's budget buys."""
    config = config_of(place)
    norms = 6 * 2 * 384 if config.own_norm else 0    # these are trained, too
    return replace(config, size=size_for(BUDGET - norms, 384, modules(place)))


# ── before any training ──────────────────────────────────────────────────────────────────────


@functools.cache
def _probe() -> tuple[nn.Module, Mapping[str, Tensor], Tensor]:
    """Return a MiniLM, a batch of a few sentences, and the base's hidden states of their tokens."""
    model, tokenizer = models.load("minilm", labels=2, device="cpu")
    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    return model.eval(), batch, _hidden(model, batch)


def _hidden(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found = model.base_model(**batch).last_hidden_state
    return found[batch["attention_mask"].bool()]                       # (tokens, d_model)


def deviation(place: str, size: int, sigma: float) -> float:
    """How far bottlenecks drawn with this σ move MiniLM's last hidden states, relative to them."""
    model, batch, base = _probe()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = bottleneck.inject(model, replace(alike(place), size=size))
        try:
            for adapter in adapters(model).values():
                for W in (adapter.A.W_down, adapter.A.W_up):
                    W.data.normal_(0, sigma)
            moved = _hidden(model, batch)
        finally:
            core.remove(model)
    return float((moved - base).norm() / base.norm())


# ── what they learned ────────────────────────────────────────────────────────────────────────

NONE = "none: cannot tell"
CHANGED = {
    "post-attention with GELU, rate 0.001": ("one_rate", "post_attention", 1e-3, {}),
    "post-attention with GELU, rate 0.003": ("placements", "post_attention", 3e-3, {}),
    "parallel, rate 0.001, s = 1, σ = 0.01": ("alike", "parallel", 1e-3, {}),
    "parallel, rate 0.001, s = 4, W_up = 0": ("one_rate", "parallel", 1e-3, {}),
    "parallel, rate 0.003, s = 4, W_up = 0": ("placements", "parallel", 3e-3, {}),
    "Pfeiffer, rate 0.003, σ = 0.01": ("placements", "pfeiffer", 3e-3, {}),
    "Pfeiffer, rate 0.003, σ = 0.1": ("starts", "pfeiffer", 3e-3, {"sigma": 0.1}),
}
TASKS = {"movies": "film", "tweets": "tweet"}


def runs(record: Mapping, group: str, place: str, lr: float, **more) -> list[dict]:
    """Return the recorded runs of one setting, a row a seed.

    Of "one_rate", seed 0 is the search's run at that rate, in "placements".
    """
    def wanted(row: Mapping) -> bool:
        seed = row["setting"]["seed"]
        told = {"place": place, "lr": lr, "seed": seed} | more
        return row["setting"] == told and (row["group"] == group or (
            group, row["group"], seed) == ("one_rate", "placements", 0))

    return sorted(filter(wanted, record["runs"]), key=lambda row: row["setting"]["seed"])


def accuracies(record: Mapping, *setting, **more) -> list[float]:
    """Return the accuracy of each run of a setting."""
    return [row["accuracy"] for row in runs(record, *setting, **more)]


@functools.cache
def _labels(tests: int, task: str = "movies") -> Tensor:
    return torch.tensor([example.label for example in data.load(task).test[:tests]])


def _constant(tests: int, task: str = "movies") -> float:
    """Return the accuracy of one answer to all sentences, the better of the two."""
    ones = float(_labels(tests, task).double().mean())
    return max(ones, 1 - ones)


def scores(rows: list[dict]) -> Tensor:
    """Return which sentences each run answered right, (seeds, sentences), for `pt.verdict`."""
    said = torch.tensor([[int(bit) for bit in row["answers"]] for row in rows])
    return (said == _labels(said.shape[1])).double()


def race(record: Mapping) -> dict[str, list[float]]:
    """Return the accuracies of each place in the race: all else alike."""
    return {name: accuracies(record, "alike", place, 1e-3) for place, name in NAMES.items()}


def against_first(record: Mapping) -> dict[str, Comparison]:
    """Return the verdict on the place with the highest mean against each other place."""
    found = {name: scores(runs(record, "alike", place, 1e-3)) for place, name in NAMES.items()}
    first = max(found, key=lambda name: found[name].mean())
    return {f"{first} against {name}": verdict(found[first], other, POINT)
            for name, other in found.items() if name != first}


def best(verdicts: Mapping[str, Comparison]) -> str:
    """Return the place that is better than each other one, if there is one."""
    ahead = all(each.word == BETTER for each in verdicts.values())
    return next(iter(verdicts)).partition(" against ")[0] if ahead else NONE


def changed(record: Mapping) -> dict[str, list[float]]:
    """Return the accuracies of recorded settings beside the race's."""
    return {name: accuracies(record, group, place, lr, **more)
            for name, (group, place, lr, more) in CHANGED.items()}


def swapped(record: Mapping) -> pandas.DataFrame:
    """Return the accuracy of adapters that were trained on one task, on each: text, in percent."""
    rows = records.select(record, group="swap")
    found = {f"{TASKS[row['setting']['task']]} adapters": row["right"] for row in rows}
    found["one answer to all"] = {task: _constant(rows[0]["tests"], task) for task in TASKS}
    return pandas.DataFrame(found).T.map("{:.1%}".format).add_prefix("on ")


def fails(accuracy: float) -> bool:
    """Is a run no better than one answer to all sentences, up to a point?"""
    return accuracy < _constant(1000) + POINT    # of that many test sentences


def answers_that_differ(record: Mapping) -> tuple[float, float, float]:
    """Return how many answers differ between seeds: at one place, at two, and how rare that is.

    Inside the blocks, all else alike. The last is the share of all ways to shuffle the places
    within each seed in which runs of one place agree at least as much.
    """
    places = [place for place in PLACES if place != "ends"]
    said = torch.stack([torch.tensor([[int(bit) for bit in row["answers"]] for row in runs(
        record, "alike", place, 1e-3)]) for place in places], 1)    # (seeds, places, sentences)
    pairs = [*itertools.combinations(range(len(said)), 2)]
    apart = {pair: (said[pair[0]][:, None] != said[pair[1]][None]).sum(-1).tolist()
             for pair in pairs}                                     # (places, places) each
    n = len(places)
    orders = [*itertools.permutations(range(n))]

    def same(*order) -> int:
        return sum(apart[a, b][order[a][i]][order[b][i]] for a, b in pairs for i in range(n))

    here = same(*[orders[0]] * 3)
    every = sum(sum(map(sum, table)) for table in apart.values())
    rare = mean(same(orders[0], *rest) <= here for rest in itertools.product(orders, repeat=2))
    return here / (3 * n), (every - here) / (3 * n * (n - 1)), rare


def draw_runs(rows: Mapping[str, list[float]]) -> Figure:
    """Draw accuracies, a mark a seed."""
    made = dots(rows)
    means = {name: mean(values) for name, values in rows.items()}
    ends = means.pop(NAMES["ends"])
    claim(made, f"Inside the block: {min(means.values()):.1%} to {max(means.values()):.1%} right; "
          f"at the two ends {ends:.1%}", made.get_label())
    return made


# ── the one that merges ──────────────────────────────────────────────────────────────────────


@torch.no_grad()
def merge_parallel(merged: Callable) -> pandas.DataFrame:
    """Draw parallel adapters with GELU large and merge them; say how far the states are moved.

    `merged(W1, W2, A, s)` returns the two linear layers of the wider feed-forward part.
    """
    base, batch, before = _probe()
    model = bottleneck.inject(copy.deepcopy(base), bottleneck.Config(
        reads="input", activation="gelu", scale=4.0)).eval()
    for adapter in adapters(model).values():
        for p in adapter.A.parameters():
            p.normal_(0, 0.05)
    adapted = _hidden(model, batch)
    for layer, adapter in zip(model.bert.encoder.layer, list(adapters(model).values())):
        layer.intermediate.dense, adapter.base.dense = merged(
            layer.intermediate.dense, adapter.base.dense, adapter.A, adapter.scale)
        layer.output = adapter.base
    told = {"base against adapters": adapted - before,
            "adapters against merged": _hidden(model, batch) - adapted}
    rows = {name: f"{off.abs().max():.2g}" for name, off in told.items()}
    return pandas.Series(rows | {"adapters left": len(adapters(model))}).to_frame(
        "largest difference in the last hidden states")


def draw_merge() -> Figure:
    """Draw the feed-forward part with a parallel adapter beside it, and merged; to scale."""
    page = Page(across(), (3.4, 5.9))
    top = page.head("A parallel adapter merges: 1,536 inner features become 1,600", [
        ("trained", "adapter"), ("frozen", "frozen"), ("passing", "only passes through")])
    d, wide, size = 0.4, 1.6, 0.0667
    for merged, (left, y) in enumerate(((0.1, top + 1.15), (0.1, top + 3.7) if page.narrow else (
            3.75, top + 1.15))):
        page.text(left, y - 1.09, "merged" if merged else "beside", "left", "top", weight="bold")
        down, inner, up = left + 0.62, left + 1.06, left + 1.32
        page.part(left + 0.12, y, 0.1, d, "passing")
        page.text(left + 0.12, y - d / 2 - 0.05, "384", va="bottom")
        page.flow((left + 0.2, y), (down - d / 2, y))
        page.part(down, y, d, wide, "frozen")
        page.text(down, y, "W₁")
        page.flow((down + d / 2, y), (inner - 0.05, y), arrow=False)
        page.part(inner, y, 0.1, wide, "passing")
        page.text(inner, y - wide / 2 - 0.05, "1,600" if merged else "1,536", va="bottom")
        page.flow((inner + 0.05, y), (up, y))
        page.part(up + wide / 2, y, wide, d, "frozen")
        page.text(up + wide / 2, y, "W₂")
        end = up + wide + 0.3 + size * merged
        low = y + wide / 2 + size / 2 + (0 if merged else 0.25)
        page.part(down, low, d, size, "trained")
        page.text(down, low + 0.08, "W_down", va="top")
        page.part(inner, low, 0.1, size, "passing", lw=0.8)
        if merged:
            page.part(up + wide + size / 2, y, size, d, "trained")
            page.text(up + wide, y + d / 2 + 0.06, "scale · W_up", va="top")
            page.flow((up + wide + size, y), (end + 0.15, y))
            continue
        page.flow((left + 0.2, y), (left + 0.3, y), (left + 0.3, low), (down - d / 2, low))
        page.flow((down + d / 2, low), (inner - 0.05, low), arrow=False)
        page.flow((inner + 0.05, low), (up, low))
        page.part(up + size / 2, low, size, d, "trained")
        page.text(up + size + 0.08, low - 0.1, "scale · W_up", "left")
        page.text(inner, low - size / 2 - 0.04, "64", va="bottom")
        page.flow((up + size, low), (end, low), (end, y + 0.1))
        page.flow((up + wide, y), (end - 0.1, y))
        page.plus(end, y, 0.1)
        page.flow((end + 0.1, y), (end + 0.35, y))
    return page.figure


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "block": explore_block,
    "race": lambda: draw_runs(race(records.load("adapters"))),
    "merge": draw_merge,
}
