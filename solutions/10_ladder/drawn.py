"""Lesson 10: places in experiments, verdicts, costs, neighbours; all from the record."""

import base64
import math

import numpy as np
import torch
from picture_checks import Shown, hue

from peft_teach.course import records

RECORD = records.load("ladder")
NAMES = {"full": "full fine-tuning", "lora all": "LoRA everywhere", "qlora all": "QLoRA everywhere",
         "bottleneck": "bottleneck", "lora 8": "LoRA 8", "dora 8": "DoRA 8", "lora 1": "LoRA 1",
         "mask": "a random mask", "bitfit": "BitFit", "ia3": "IA³", "prefix": "prefix",
         "prompt": "prompt", "head": "head only"}
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


def _shared() -> dict[str, np.ndarray]:
    """Each method's errors, (seeds, sentences), at the seeds that all have; the best first."""
    seeds = sorted(set.intersection(*map(set, ERRORS.values())))
    found = {method: np.stack([of[seed] for seed in seeds]).astype(float)
             for method, of in ERRORS.items()}
    return dict(sorted(found.items(), key=lambda each: each[1].mean()))


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
    assert shown.title == f"Second at least once in 8 experiments: {len(second)} of 13 methods"
    ax.named(x="experiment")
    looks = {"lora all": ("lora", "-s"), "qlora all": ("lora", "--D"), "mask": ("random", "--X")}
    assert second == looks.keys()
    for method, row in rows.items():
        ax.line(*looks.get(method, ("quiet", "-")), range(1, 9), row)
        for x in (1, 8):
            ax.text(NAMES[method], "ink", (x, row[x - 1]), near=0.03)
    ax.ticks("x", {f"{n}": n for n in range(1, 9)})
    assert ax.ax.yaxis_inverted()    # the best on top


def _in_pairs(one: str, other: str) -> tuple[float, float, float]:
    """By how much the R² of one method is higher than that of another, and its interval."""
    seeds = sorted({*ERRORS[one]} & {*ERRORS[other]})
    b, a = (np.stack([ERRORS[m][seed] for seed in seeds]).astype(float) for m in (other, one))
    return tuple(each / np.var(np.float64(TRUTH)) for each in ((b - a).mean(), *_interval(b - a)))


def _told(one: str, other: str) -> str:
    """A pair is told apart where an interval lies beyond 0, alike where it lies inside ±0.02."""
    _, low, high = _in_pairs(one, other)
    return "the same" if low > -0.02 and high < 0.02 else "better" if low > 0 else (
        "worse" if high < 0 else "cannot tell")


def verdicts(shown: Shown) -> None:
    """A pair once, the one with the higher mean over shared seeds in the row."""
    ax, = shown.panels
    order = [*_shared()]
    ax.ticks("x", {NAMES[method]: x for x, method in enumerate(order) if x})
    ax.ticks("y", [NAMES[method] for method in order[:-1]])
    signs = {"better": ("+", "series 0", "paper"), "the same": ("=", "quiet", "ink"),
             "cannot tell": ("?", "band", "ink")}
    every = []
    for y, one in enumerate(order):
        for x, other in enumerate(order[y + 1:], y + 1):
            every.append(told := _told(one, other))
            sign, colour, ink = signs[told]
            ax.shape(colour, x - 0.47, y - 0.47, 0.94, 0.94)
            ax.text(sign, ink, (x, y), near=0.001)
    ax.legend({f"{sign}  {told}": colour for told, (sign, colour, _) in signs.items()})
    ax.named()
    assert shown.title == (
        f"In {every.count('better')} of 78 pairs one is better, in {every.count('the same')} both "
        f"are the same; {every.count('cannot tell')} we cannot tell")


def costs(shown: Shown) -> None:
    """Differences from full fine-tuning in pairs; grey where a method as cheap is better."""
    left, right = shown.panels
    left.named(x="R² less that of full fine-tuning")
    right.named(x="trained parameters", log="x")
    found = _shared()
    rows = {method: [each / np.var(np.float64(TRUTH)) for each in (
        (found["full"] - error).mean(), *_interval(found["full"] - error))]
        for method, error in found.items()}
    trained = {run["method"]: run["parameters"] + 385 for run in FINAL}    # and the head
    left.ticks("y", [NAMES[method] for method in rows])
    left.at("rest", 0, ":")
    bold = []
    for y, (method, (gap, low, high)) in enumerate(rows.items()):
        beaten = any(trained[other] <= trained[method] and _told(other, method) == "better"
                     for other in rows)
        colour = "quiet" if beaten else "ink"
        bold += [NAMES[method]] * (not beaten)
        right.line(colour, "o", trained[method], y)
        if gap < -0.16:
            left.text(f" ◂ −{-gap:.2f}", colour, (-0.16, y), near=0.001)
        else:
            left.line(colour, "-", (low, high), (y, y))
            left.line(colour, "o", gap, y)
    assert left.ax.yaxis_inverted()
    assert [label.get_text() for label in left.ax.get_yticklabels()
            if label.get_weight() == "bold"] == bold
    assert shown.title == (
        f"Bold: {len(bold)} of {len(rows)} that nothing as cheap beats")


def batch(shown: Shown) -> None:
    """Each row is named at an adapter once, but for the one that asks for none."""
    ax, = shown.panels
    rows = ("films", "tweets", "films", "news", "products", "no task")
    tasks = {"films": "rows 1 and 3", "products": "row 5", "tweets": "row 2", "news": "row 4"}
    for i, task in enumerate(rows, 1):
        ax.text(f"{task}  {i}")
    at = {text.get_text(): text.get_position()[1] for text in ax.texts}
    for begins, ends in ((1.6, 3.0), (4.0, 5.2), (5.4, 6.0)):
        ax.wire("flow", "->", (begins, at["W"]), (ends, at["W"]), near=0.01)
    ax.wire("flow", "->", (5.3, at["news"]), (5.3, at["W"]))
    for task, told in tasks.items():
        assert at[task] == at[told]
        ax.wire("flow", "->", (1.9, at[task]), (3.1, at[task]), near=0.01)
        ax.text(task)
        ax.text(told)
    for text in ("task", "x", "y", "W", "The base is called once, and the rows "
                 "of each task go through its adapter", "adapters, ready", "the base", "rows"):
        ax.text(text)
    colours = [hue(shape.get_facecolor()) for shape in ax.shapes if shape.get_facecolor()[3]]
    assert colours.count(hue("trained")) == 1 + 2 * len(tasks)    # of the legend; of each, two halves
    assert sum(shape.get_gid() == "passing" for shape in ax.shapes) == 1 + 2 * len(rows)
    ax.shapes, ax.lines = [], []


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
    assert shown.title == (
        f"At the same R², {fewest[0]} and {fewest[1]} keep the fewest neighbours")
    ax.named("", "sentences whose nearest neighbour is from the same editorial", "R² on test sentences")
    ax.level("ink", level, ":")
    ax.text("the base", "ink", (0.57, 0.01), near=0.02)
    ax.text("the same R²", "ink", (0.62, level), near=0.03)
    loud = {"full": ("full", "-", "o"), "lora all": ("lora", "-", "s"),
            "bitfit": ("ink", "-.", "D"), "ia3": ("ink", "-", "P")}
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
