"""Lesson 10: places in experiments, verdicts, costs, neighbours; all from the record."""

import base64
import math

import numpy as np
import torch
from drawn import Shown

from peft_teach.course import records

RECORD = records.load("ladder")
NAMES = {"full": "full fine-tuning", "lora all": "LoRA everywhere", "qlora all": "QLoRA everywhere",
         "bottleneck": "bottleneck", "lora 8": "LoRA 8", "dora 8": "DoRA 8", "lora 1": "LoRA 1",
         "mask": "a random mask", "bitfit": "BitFit", "ia3": "IA³", "prefix": "prefix",
         "prompt": "prompt", "head": "the head alone"}
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
FINAL = [run for run in RECORD["runs"] if run["group"] == "final"]


def _unpacked(text: str) -> np.ndarray:
    return np.float32(np.frombuffer(base64.b64decode(text), np.int8) / 31)


TRUTH = _unpacked(RECORD["ratings"]["movies"])
ERRORS: dict[str, dict[int, np.ndarray]] = {}
for _run in FINAL:
    ERRORS.setdefault(_run["method"], {})[_run["seed"]] = (
        _unpacked(_run["answers"]) - TRUTH) ** 2


def _interval(d: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds and sentences, both of which vary."""
    seeds, sentences = d.shape
    half = math.sqrt(T95[seeds] ** 2 * d.mean(1).var(ddof=1) / seeds
                     + 1.96 ** 2 * d.mean(0).var(ddof=1) / sentences)
    return d.mean() - half, d.mean() + half


def _quality() -> dict[str, tuple[float, float, float]]:
    """R² of each method and its interval, the best first."""
    constant, found = np.square(np.float64(TRUTH) - TRUTH.mean()), {}
    for method, seeds in ERRORS.items():
        a = np.stack([*seeds.values()]).astype(float)
        left = a.mean() / constant.mean()
        low, high = _interval(left * constant - a)
        found[method] = tuple(1 - left + end / constant.mean() for end in (0, low, high))
    return dict(sorted(found.items(), key=lambda each: -each[1][0]))


def places(shown: Shown) -> None:
    """One run a method: an experiment draws a seed and the sentences, with replacement."""
    ax, = shown.panels
    seeds = sorted(set.intersection(*map(set, ERRORS.values())))
    table = torch.tensor(np.stack([[of[seed] for seed in seeds] for of in ERRORS.values()]))
    columns = []
    for number in range(1, 9):
        generator = torch.Generator().manual_seed(number)
        seed = torch.randint(len(seeds), (1,), generator=generator)
        asked = torch.randint(len(TRUTH), (len(TRUTH),), generator=generator)
        columns.append(table[:, seed[0]][:, asked].mean(1).argsort().argsort() + 1)
    rows = dict(zip(ERRORS, torch.stack(columns, 1).tolist()))
    second = {method for method, row in rows.items() if 2 in row}
    ax.named(f"Second at least once in 8 experiments: {len(second)} of 13 methods", "experiment")
    looks = {"lora all": ("lora", "-s"), "qlora all": ("lora", "--D"), "mask": ("random", "--X")}
    assert second == looks.keys()
    for method, row in rows.items():
        ax.line(*looks.get(method, ("quiet", "-")), range(1, 9), row)
        for x in (1, 8):
            ax.text(NAMES[method], "ink", (x, row[x - 1]), near=0.03)
    ax.ticks("x", {f"{n}": n for n in range(1, 9)})
    assert ax.ax.yaxis_inverted()    # the best on top


def verdicts(shown: Shown) -> None:
    """A pair is told apart where an interval lies beyond 0, alike where it lies inside ±0.02."""
    ax, = shown.panels
    ax.named()
    order = [*_quality()]
    ax.ticks("x", [NAMES[method] for method in order])
    ax.ticks("y", [NAMES[method] for method in order])
    signs = {"better": ("+", "series 2"), "the same": ("=", "quiet"),
             "cannot tell": ("?", "band"), "worse": ("−", "series 3")}
    for y, one in enumerate(order):
        for x, other in enumerate(order):
            if x == y:
                continue
            seeds = sorted({*ERRORS[one]} & {*ERRORS[other]})
            b, a = (np.stack([ERRORS[m][seed] for seed in seeds]).astype(float)
                    for m in (other, one))
            low, high = (end / np.var(np.float64(TRUTH)) for end in _interval(b - a))
            told = ("the same" if low > -0.02 and high < 0.02 else "better" if low > 0 else
                    "worse" if high < 0 else "cannot tell")
            sign, colour = signs[told]
            ax.shape(colour, x - 0.47, y - 0.47, 0.94, 0.94)
            ax.text(sign, "ink", (x, y), near=0.001)
    ax.legend({f"{sign}  {told}": colour for told, (sign, colour) in signs.items()})


def _costs(shown: Shown, black: set[str], pick: str = "") -> None:
    left, right = shown.panels
    left.named(x="R² on test sentences")
    right.named(x="trained parameters", log="x")
    rows = _quality()
    left.ticks("y", [NAMES[method] for method in rows])
    trained = {run["method"]: run["parameters"] + 385 for run in FINAL}    # and the head
    for y, (method, (r2, low, high)) in enumerate(rows.items()):
        colour = "ink" if method in black else "quiet"
        left.line(colour, "-", (low, high), (y, y))
        for ax, x in ((left, r2), (right, trained[method])):
            if method == pick:
                ax.ring(x, y)
            ax.line(colour, "o", x, y)
        if r2 < 0.38:
            left.text(f" ◂ {r2:.2f}", colour, (0.38, y), near=0.001)
    assert left.ax.yaxis_inverted()


def costs(shown: Shown) -> None:
    assert shown.title == "Black: no method as cheap has a higher R²"
    trained = {run["method"]: run["parameters"] for run in FINAL}
    rows = _quality()
    _costs(shown, {method for method, (r2, *_) in rows.items() if not any(
        trained[other] <= trained[method] and better > r2 for other, (better, *_) in rows.items())})


def chooser(shown: Shown) -> None:
    rows = _quality()
    best = rows["full"][0]
    near = [method for method, (r2, *_) in rows.items() if r2 >= best - 0.02]
    assert near == ["full"]
    assert shown.title == ("Take full fine-tuning: the fewest parameters within 0.02 R² of the "
                           "best allowed")
    shown.panels[0].band("band", best - 0.02, best, "x")
    _costs(shown, {*rows}, "full")


def forgetting(shown: Shown) -> None:
    ax, = shown.panels
    runs: dict[tuple, list[dict]] = {}
    for row in sorted(RECORD["forgetting"], key=lambda row: row["f"]):
        runs.setdefault((row["method"], row["seed"]), []).append(row)
    level = min(max(row["r2"] for row in run) for run in runs.values())
    kept: dict[str, list[float]] = {}
    for (method, _), run in runs.items():
        first = next(i for i, row in enumerate(run) if row["r2"] >= level)
        kept.setdefault(method, []).append(np.interp(
            level, *zip(*((row["r2"], row["neighbours"]) for row in run[first - 1:first + 1]))))
    fewest = [NAMES[method] for method in sorted(kept, key=lambda m: np.mean(kept[m]))]
    ax.named(f"At the same R², {fewest[0]} and {fewest[1]} keep the fewest neighbours",
             "sentences whose nearest neighbour is from the same editorial", "R² on test sentences")
    ax.level("ink", level, ":")
    ax.text("the base", "ink", (0.57, 0.01), near=0.02)
    ax.text("the same R²", "ink", (0.62, level), near=0.03)
    loud = {"full": ("full", "-", "o"), "lora all": ("lora", "-", "s"),
            "bitfit": ("series 3", "-.", "D"), "ia3": ("subspace", "-", "P")}
    for method in {method for method, _ in runs}:
        rows = [run for (m, _), run in runs.items() if m == method]
        fs = [row["f"] for row in rows[0] if row["f"] <= 1]
        points = [[np.mean([row[key] for run in rows for row in run if row["f"] == f]) for f in fs]
                  for key in ("neighbours", "r2")]
        colour, dash, marker = loud.get(method, ("quiet", "-", ""))
        ax.line(colour, dash, *points)
        if marker:
            ax.line(colour, marker, points[0][-1], points[1][-1])
            ax.text(NAMES[method], "ink", (points[0][-1], points[1][-1] + 0.02), near=0.01)
