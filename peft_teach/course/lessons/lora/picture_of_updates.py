"""The picture *Singular values of ΔW*: what an update is from inside, and what it does to W."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from .... import core, spectra
from ....plots import COLOURS, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Choices, Explorer
from ... import records

DEPTH = 6                              # blocks of MiniLM, of which all runs are
YOURS, FULL, WEIGHT = "yours", "full", "weight"
INTRUDER = 0.6                         # a direction that W knows by less than this cosine
SHARED = 8                             # directions of which an overlap is asked
_LABEL = {"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 0.5, "alpha": 0.7}
MARKERS = dict(zip(("1", "2", "4", "8", "16", "64"), "os^DvP"))


@dataclass(frozen=True)
class Update:
    """What a run did to one matrix: σ of ΔW, and the strongest directions of W + ΔW."""

    name: str
    sigma: tuple[float, ...]
    after: tuple[float, ...] = ()      # singular values of W + ΔW
    known: tuple[float, ...] = ()      # how well W knows each direction: a cosine

    @property
    def intruders(self) -> int:
        """How many strong directions of W + ΔW were none of W's."""
        return sum(cosine < INTRUDER for cosine in self.known)


@dataclass(frozen=True)
class Spectra:
    """Updates of one matrix, what is left of the accuracy at each k, and what they share."""

    matrix: str
    updates: Mapping[str, Update]                   # by run: a rank, "full", "yours"
    weight: tuple[float, ...]                       # singular values of W
    shown: str                                      # the run whose W + ΔW is drawn
    k: int
    cut: Mapping[str, Mapping[int, float]]          # by run and k: accuracy of it, cut everywhere
    head: float
    overlap: Mapping[str, Mapping[str, float]]      # by pair: "in" and "out", from 0 to 1
    chance: float                                   # what two random subspaces would share

    @property
    def told(self) -> str:
        """What a cut at k leaves, and whether W knows the directions, in words."""
        left = self.cut.get(self.shown, {})
        at = max((n for n in left if n <= self.k), default=None)
        told = f"{self.updates[self.shown].name}: "
        if at is not None:
            told += f"cut at {self.k}, {left[at]:.1%}; "
        return told + f"intruders: {self.updates[self.shown].intruders}"

    @property
    def intruders(self) -> dict[str, int]:
        """How many intruders each run has of which the directions of W + ΔW are known."""
        return {run: update.intruders for run, update in self.updates.items() if update.known}


def own_updates(model: nn.Module) -> dict[str, Update]:
    """Return what the reader's trained adapters did to each matrix they wrap, by module name."""
    found = {}
    for name, layer in core.adapters(model).items():
        before, after = layer.base.weight.detach(), layer.merged().weight.detach()
        found[name] = _update("yours", before, after - before)
    return found


def _update(name: str, before: Tensor, delta: Tensor, directions: int = 32) -> Update:
    sigma = spectra.singular_values(delta)
    k = min(directions, *before.shape)
    return Update(name, tuple(s for s in sigma.tolist() if s > 1e-5 * sigma[0]),
                  tuple(spectra.singular_values(before + delta)[:k].tolist()),
                  tuple(spectra.familiarity(before, before + delta, k).tolist()))


def updates(record: Mapping, cuts: Mapping, head: float, place: str, block: int,
            ranks: Sequence[str], shown: str, k: int,
            own: Mapping[str, Update] | None = None) -> Spectra:
    """Read what is recorded of one matrix, for some ranks and full fine-tuning.

    `record` is the part "spectra" of `records.load("lora")`; `cuts` are the accuracies by run and
    k, `head` is that of the head alone; `own` is what `own_updates` returned.
    """
    matrix = f"bert.encoder.layer.{block}.attention.self.{place}"
    wanted = [*sorted(ranks, key=int), FULL]
    if shown not in (*wanted, YOURS):
        wanted.append(shown)
    found = {r: Update("full fine-tuning" if r == FULL else f"rank {r}", *(
        tuple(record[r][matrix].get(field, ())) for field in ("sigma", "after", "known")))
        for r in wanted}
    if own:
        found[YOURS] = own[matrix]
    pairs = {f"r {r} and full": r for r in wanted if r.isdigit() and int(r) >= SHARED}
    pairs |= {"full, 2 seeds": "full again", "r 8, 2 seeds": "8 again"}
    return Spectra(
        f"{place}, block {block}", found, tuple(record[WEIGHT][matrix]["sigma"]), shown, k,
        {r: cuts[r] for r in wanted if r in cuts}, head,
        {pair: record[run][matrix]["overlap"] for pair, run in pairs.items()},
        SHARED / len(record[WEIGHT][matrix]["sigma"]))


def draw_updates(found: Spectra) -> Figure:
    """Draw σ of ΔW, W + ΔW against W, the accuracy when cut, and what two updates share."""
    made, sigmas, weights, accuracies, overlaps = figure(9.2, 8, columns=2, rows=2)
    _draw_sigmas(sigmas, found)
    _draw_weights(weights, found)
    _draw_cut(accuracies, found)
    _draw_overlap(overlaps, found)
    for ax in (sigmas, weights, accuracies, overlaps):
        ax.title.set_fontsize(10)
    made.set_label(f"Updates of {found.matrix}. {found.told}. " + "; ".join(
        f"{u.name}: {len(u.sigma)} directions, from {u.sigma[0]:.2g} to {u.sigma[-1]:.2g}"
        for u in found.updates.values()) + "".join(
        f"; {found.updates[r].name} cut at " + ", ".join(f"{k}: {a:.1%}" for k, a in left.items())
        for r, left in found.cut.items()) + "; intruders: " + ", ".join(
        f"{found.updates[r].name} {n}" for r, n in found.intruders.items()) + "; overlaps: "
        + "; ".join(f"{pair}: {o['in']:.2f} and {o['out']:.2f}"
                    for pair, o in found.overlap.items()) + ".")
    return made


def _style(run: str) -> dict:
    """How a run is drawn in all of the panels: colour, dash and marker."""
    if run == FULL:
        return {"color": COLOURS["full"], "ls": "-", "marker": ""}
    if run == YOURS:
        return {"color": COLOURS["yours"], "ls": "--", "marker": "X"}
    return {"color": COLOURS["lora"], "ls": "-", "marker": MARKERS.get(run, "o")}


def _label(run: str) -> str:
    """What stands at the end of a run's line."""
    return {FULL: "full", YOURS: "yours"}.get(run, f"r {run}")


def _draw_sigmas(ax, found: Spectra) -> None:
    ax.plot(range(1, len(found.weight) + 1), found.weight, color=COLOURS["ink"], ls=":", lw=1.5)
    at = min(50, len(found.weight))
    ax.text(at, found.weight[at - 1] * 1.3, "W itself", fontsize=9)
    for run, update in found.updates.items():
        n = len(update.sigma)
        ax.plot(range(1, n + 1), update.sigma, **_style(run), lw=2.5 if run == found.shown else 1.3,
                ms=5, markevery=[0, n - 1] if n > 1 else None)
        end = n if n <= 64 else 100    # the tail of a full update falls out of the picture
        ax.annotate(_label(run), (end, update.sigma[end - 1]), xytext=(4, 0),
                    textcoords="offset points", fontsize=9, va="center",
                    color=_style(run)["color"], bbox=_LABEL)
    logarithmic(ax)
    low = min(u.sigma[min(len(u.sigma), 200) - 1] for u in found.updates.values())
    ax.set(xlabel="direction, strongest first", ylabel="singular value of ΔW", title=found.matrix,
           xlim=(0.9, 700), ylim=(low / 2, None))
    plain_ticks(ax.xaxis, (1, 4, 16, 64, 384))
    if found.k:
        ax.axvline(found.k, color=COLOURS["quiet"], lw=1.5)
        ax.text(found.k, 0.02, f" k = {found.k}", fontsize=9, transform=ax.get_xaxis_transform())


def _draw_weights(ax, found: Spectra) -> None:
    update = found.updates[found.shown]
    places = np.arange(1, len(update.after) + 1)
    after, known = np.asarray(update.after), np.asarray(update.known)
    ax.plot(places, found.weight[:len(places)], ":", color=COLOURS["ink"], lw=1.5, label="W")
    colour = _style(found.shown)["color"]
    for mask, marker, fill, label in ((known >= INTRUDER, "o", "none", "W + ΔW, known to W"),
                                      (known < INTRUDER, "*", colour, "W + ΔW, an intruder")):
        ax.plot(places[mask], after[mask], marker, color=colour, mfc=fill,
                ms=12 if marker == "*" else 5, label=label)
    ax.set(xlabel="direction, strongest first", ylabel="singular value of W + ΔW", ylim=(0, None),
           title=f"{update.name}: intruders, {update.intruders} of {len(update.known)} directions")
    ax.text(0.02, 0.03, "intruders of each run:\n" + ",  ".join(
        f"{_label(run)}: {n}" for run, n in found.intruders.items()), fontsize=9,
        transform=ax.transAxes)
    ax.legend(frameon=False, fontsize=9)


def _draw_cut(ax, found: Spectra) -> None:
    for run, left in found.cut.items():
        ax.plot([_at(k) for k in left], left.values(), **_style(run),
                lw=2.5 if run == found.shown else 1.3, ms=5)
        last = max(left)
        below = run != FULL    # where the lines of larger ranks do not go on
        ax.annotate(_label(run), (_at(last), left[last]), xytext=(0, -6) if below else (4, 0),
                    textcoords="offset points", fontsize=9, va="top" if below else "center",
                    ha="center" if below else "left", color=_style(run)["color"], bbox=_LABEL)
    ax.axhline(found.head, color=COLOURS["head"], ls="--", lw=1.5)
    ax.text(0.99, found.head, "head only", ha="right", va="bottom", fontsize=9,
            transform=ax.get_yaxis_transform())
    ticks = (0, 1, 2, 4, 8, 16, 32, 64, 128, 384)
    ax.axvline(_at(found.k), color=COLOURS["quiet"], lw=1.5)
    ax.set(xlabel="k, in all matrices", ylabel="test accuracy", title=found.told,
           xticks=[_at(k) for k in ticks], xticklabels=ticks)
    in_percent(ax.yaxis)


def _draw_overlap(ax, found: Spectra) -> None:
    names = list(found.overlap)
    for side, offset, colour in (("in", -0.18, COLOURS["lora"]), ("out", 0.18, COLOURS["rest"])):
        ax.bar([i + offset for i in range(len(names))], [found.overlap[n][side] for n in names],
               width=0.34, color=colour, label={"in": "input directions",
                                                "out": "output directions"}[side])
    ax.axhline(found.chance, color=COLOURS["ink"], lw=1.5, label="two random subspaces")
    ax.set(xticks=range(len(names)), ylim=(0, 1),
           xticklabels=[n.replace(" and", "\nand").replace(", ", ",\n") for n in names],
           ylabel=f"overlap of {SHARED} directions", title="Do they point the same way?")
    ax.legend(frameon=False, fontsize=9)


def _at(k: int) -> float:
    """Return where k stands on an axis that is logarithmic and yet has a place for 0."""
    return float(np.log2(k)) if k else -1.0


def cuts_recorded(record: dict, of_full: dict) -> dict[str, dict[int, float]]:
    """Return the accuracy by run and k, when each ΔW is cut to its k strongest directions.

    `record` is `records.load("lora")`; `of_full` is `records.load("change")`, where full
    fine-tuning's updates of all 36 matrices were cut.
    """
    tables = [t["kept"] for run, t in of_full["truncated"].items() if run.startswith("update")]
    return {run: {int(k): a for k, a in left.items()} for run, left in record["cut"].items()} | {
        FULL: {int(k): mean(t[k] for t in tables) for k in tables[0]}}


def explore_updates(record: dict, of_full: dict,
                    own: Mapping[str, Update] | None = None) -> Explorer:
    """Singular values of ΔW by matrix, for LoRA of several ranks, full fine-tuning, and yours.

    `record` is `records.load("lora")`, `of_full` is `records.load("change")`, `own` is what
    `own_updates` returned.
    """
    found = record["spectra"]
    ranks = sorted((r for r in found if r.isdigit()), key=int)
    cuts = cuts_recorded(record, of_full)
    head, _ = records.ends()
    names = [("yours", YOURS)] if own else []
    known = [r for r in ranks if all("known" in row for row in found[r].values())]
    controls = {
        "place": ipw.ToggleButtons(options=("query", "value"), description="place"),
        "block": ipw.ToggleButtons(options=range(DEPTH), value=5, description="block",
                                   style={"button_width": "48px"}),
        "k": ipw.SelectionSlider(options=(0, 1, 2, 4, 8, 16, 32, 64), value=4, description="k"),
        "ranks": Choices(ranks, tuple(ranks), "ranks"),
        "shown": ipw.Dropdown(options=[*names, *((f"rank {r}", r) for r in known),
                                       ("full fine-tuning", FULL)], value="8",
                              description="W + ΔW of"),
    }
    return Explorer(
        controls, lambda **s: updates(found, cuts, head, **s, own=own), draw_updates,
        lambda found: "Above left: how strongly each direction is changed; a LoRA of rank r has r "
                      "of them and no more. Above right: the strongest left singular vectors of "
                      "W + ΔW; a star is an intruder, to which no left singular vector of W comes "
                      f"nearer than a cosine of {INTRUDER}. "
                      "Below left: the accuracy when every ΔW keeps its k strongest directions "
                      "(full fine-tuning: of all 36 matrices, two seeds). Below right: how much of "
                      f"the space of their {SHARED} strongest directions two updates share, LoRA "
                      "and full fine-tuning or two seeds of one of them; the black line is what "
                      "chance gives.")
