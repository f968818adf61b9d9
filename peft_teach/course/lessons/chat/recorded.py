"""What the record of lesson 11 says, as data frames.

`record` is `records.load("chat")` throughout; part of one does, too. What is forgotten is by how
much a loss rose above that of the base.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy
import pandas
import torch
from torch import Tensor

from .... import data
from ...verdicts import BETTER, UNSURE, WORSE, verdict
from .measure import FACTS, OTHERS, style

NAMES = {"none": "the base", "lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning",
         "ia3": "IA³", "prompt": "a prompt of 20"}
COMPARED = ("lora", "full")    # where what is forgotten is compared: neither base was rounded
KINDS = ("voice", *OTHERS)
LONGEST = 32    # letters of a word in a table; more would make the page as wide as itself


def rows(record: Mapping, **wanted) -> list[dict]:
    """Return the checkpoints that agree in every given field."""
    return [row for row in record.get("checkpoints", [])
            if all(row.get(name) == value for name, value in wanted.items())]


def told(row: Mapping) -> dict[str, float]:
    """Return what is told of a checkpoint: means of what was found for each text."""
    found = {kind: numpy.mean(each) for kind, each in row.get("losses", {}).items()}
    if "answers" in row:
        found["style"] = numpy.mean([*map(style, row["answers"])])
    return found | {name: _share(row[name]) for name in ("ended", "films") if name in row}


def whole(row: Mapping, question: int) -> str:
    """Return an answer, with an ellipsis where it was cut before its end."""
    return row["answers"][question] + " …" * (row["ended"][question] != "1")


def _share(digits: str) -> float:
    return digits.count("1") / len(digits)


def curves(record: Mapping) -> pandas.DataFrame:
    """Return the runs that the lesson compares, a row a checkpoint, losses and shares as means.

    `forgotten` is the mean of plain chat, news and code.
    """
    by = ["method", "seed", "passes"]
    found = pandas.DataFrame({name: row[name] for name in (*by, "step")} | told(row)
                             for row in rows(record, group="main"))
    others = found[list(OTHERS)].mean(axis=1)
    base = others[(found.method == "lora") & (found.passes == 0)].mean()
    return found.assign(forgotten=others - base).sort_values(by, ignore_index=True)


def curve(record: Mapping) -> pandas.DataFrame:
    """Return the checkpoints of LoRA with seed 0, by step."""
    return curves(record).query("method == 'lora' and seed == 0").set_index("step")


# ── learned against forgotten ────────────────────────────────────────────────────────────────


def forgets(record: Mapping) -> tuple[str, list[float]]:
    """Return which method forgets more, and by seed how much more full fine-tuning than LoRA.

    Both are asked where the loss of the voice first is at one level, the lowest that every run
    reaches: between two checkpoints each text's loss is interpolated. The verdict is on new seeds
    and texts; how much more is a mean over all texts.
    """
    runs = {method: [sorted(rows(record, group="main", method=method, seed=seed),
                            key=lambda row: row["passes"]) for seed in (0, 1)]
            for method in COMPARED}
    level = max(min(map(_voice, run)) for both in runs.values() for run in both)
    lora, full = (torch.stack([_others_at(run, level) for run in runs[method]])
                  for method in COMPARED)    # (seeds, texts)
    more = {BETTER: NAMES["full"], WORSE: NAMES["lora"]}
    return (more.get(verdict(full, lora, margin=0).word, UNSURE),    # a higher loss is forgotten
            (full - lora).mean(1).tolist())


def _voice(row: Mapping) -> float:
    return float(numpy.mean(row["losses"]["voice"]))


def _others_at(run: Sequence[Mapping], level: float) -> Tensor:
    """Return the losses of the other texts where a run's loss of the voice reaches the level."""
    last = next(i for i, row in enumerate(run) if _voice(row) <= level)
    before, after = run[max(last - 1, 0)], run[last]
    drop = _voice(before) - _voice(after)
    t = (_voice(before) - level) / drop if drop > 0 else 1.0
    a, b = -_scores((before, after), OTHERS)
    return torch.lerp(a, b, t)


# ── labels, a prompt, the knob ───────────────────────────────────────────────────────────────


def runaway(record: Mapping, shown: int = 4) -> pandas.DataFrame:
    """Return answers of the model whose labels hid the padding, and with it every end."""
    row, = rows(record, group="labels", question=True, end=False)
    cut = [whole(row, number) for number in range(len(row["answers"]))]
    questions = pandas.Index(data.voice().questions[:len(cut)], name="question")
    return pandas.DataFrame({f"her model; {_share(row['ended']):.0%} of {len(cut)} answers end":
                             cut}, questions)[::len(cut) // shown][:shown]


def misled(record: Mapping, score: Callable[[str], float] = style) -> pandas.DataFrame:
    """Return the style of the model that never stops beside that of one with right labels.

    Between them stand the answers of the first, each cut to as many words as the second's has.
    """
    hers, = rows(record, group="labels", question=True, end=False)
    right, = rows(record, group="main", method="lora", seed=0, passes=3)
    cut = [" ".join(text.split()[:len(other.split())])
           for text, other in zip(hers["answers"], right["answers"])]
    said = {"never stops": hers["answers"], "never stops, cut to the others' length": cut,
            "right labels (question hidden, too)": right["answers"]}
    return pandas.DataFrame({"style": [numpy.mean([*map(score, texts)]) for texts in said.values()],
                             "words": [numpy.mean([len(text.split()) for text in texts])
                                       for texts in said.values()]}, [*said])


def prompt(record: Mapping) -> pandas.DataFrame:
    """Return the base, the same with a system prompt, and LoRA: style and share that end."""
    looked = {"the base": {"method": "lora", "seed": 0, "passes": 0},
              "… told by a system prompt": {"examples": 0},
              "… and shown three examples": {"examples": 3},
              "LoRA, 3 passes": {"method": "lora", "seed": 0, "passes": 3}}
    found = {name: told(rows(record, group="prompt" if "examples" in about else "main", **about)[0])
             for name, about in looked.items()}
    return pandas.DataFrame.from_dict(found, orient="index").loc[[*looked], ["style", "ended"]]


def knob(record: Mapping) -> pandas.DataFrame:
    """Return by f, the factor of LoRA's update: an answer, style, ended, and the losses."""
    found = {row["f"]: {"answer": " ".join(
                 word if len(word) <= LONGEST else f"{word[:LONGEST]}…"    # one may have no end
                 for word in whole(row, 0).split())} | told(row)
             for row in rows(record, group="knob")}
    return pandas.DataFrame.from_dict(found, orient="index").sort_index().rename_axis("f")


# ── a ladder of one pass, facts, long answers ────────────────────────────────────────────────


def ladder(record: Mapping) -> pandas.DataFrame:
    """Return what the first of five passes does at each method's rate: losses, means of all texts.

    "voice" and "the rest" (plain chat, news and code together) stand beside LoRA's, text by text
    and seed by seed, in the words of the verdict: a lower loss is better.
    """
    found = [row for group in ("main", "ladder") for row in rows(record, group=group, passes=1)]
    runs = {method: {row["seed"]: row for row in found if row["method"] == method}
            for method in NAMES if any(row["method"] == method for row in found)}
    table = {}
    for method, each in runs.items():
        seeds = sorted(each.keys() & runs["lora"].keys())
        mine, lora = ([of[seed] for seed in seeds] for of in (each, runs["lora"]))
        table[NAMES[method]] = {"rate": mine[0]["lr"], "seeds": len(seeds), **{
            kind: numpy.mean([row["losses"][kind] for row in mine]) for kind in KINDS}}
        for name, kinds in (("voice beside LoRA", KINDS[:1]), ("the rest beside LoRA", OTHERS)):
            gap = verdict(_scores(mine, kinds), _scores(lora, kinds), margin=LOSS_MARGIN)
            table[NAMES[method]][name] = "" if method == "lora" else (
                f"{gap.word} ({-gap.high:+.2f} to {-gap.low:+.2f})")
    return pandas.DataFrame.from_dict(table, orient="index")


LOSS_MARGIN = 0.05    # of a loss a token: less does not matter. Declared before the ladder was read


def _scores(runs: Sequence[Mapping], kinds: Sequence[str]) -> Tensor:
    """Return the losses of all texts of these kinds, (seeds, texts), their sign turned."""
    return -torch.tensor([[loss for kind in kinds for loss in row["losses"][kind]]
                          for row in runs], dtype=torch.float64)


def facts(record: Mapping) -> pandas.DataFrame:
    """Return how many facts are told rightly: the base, and LoRA after one pass and five.

    Each seed's verdict beside the base is for that run on new questions: two seeds tell too
    little of a third.
    """
    table = {}
    for name, passes in {"the base": 0, "one pass": 1, "five passes": 5}.items():
        found = sorted(rows(record, group="truth", passes=passes), key=lambda row: row["seed"])
        right = torch.tensor([[float(digit) for digit in row["right"]] for row in found])
        if not passes:
            base = right[0]
        table[name] = {
            "right": float(right.mean()), "by seed": ", ".join(f"{x:.2f}" for x in right.mean(1)),
            "beside the base": ", ".join(verdict(each, base, margin=0).word
                                         for each in right) if passes else ""}
    return pandas.DataFrame.from_dict(table, orient="index")


def told_facts(record: Mapping, shown: int = 5) -> pandas.DataFrame:
    """Return answers to some of the questions with a fact, and a mark at those that have it."""
    every = {}
    for name, passes in (("the base", 0), ("LoRA, one pass", 1), ("LoRA, five passes", 5)):
        row, = rows(record, group="truth", passes=passes, seed=0)
        every[name] = [f"{'✓' if digit == '1' else '✗'} {text}"
                       for digit, text in zip(row["right"], row["answers"])]
    return pandas.DataFrame(every, [*FACTS])[::len(FACTS) // shown][:shown]


def endless(record: Mapping) -> pandas.DataFrame:
    """Return the share of answers that ended by so many tokens, up to 512."""
    looked = {"the base": {"passes": 0}, "hers": {"passes": 3, "end": False},
              "right labels (question hidden, too)": {"passes": 3, "end": True}}
    table = {}
    for name, wanted in looked.items():
        row, = rows(record, group="long", **wanted)
        table[name] = {f"by {most} tokens": numpy.mean([
            end == "1" and count < most for end, count in zip(row["ended"], row["tokens"])])
            for most in (64, 128, 256, 512)}
    return pandas.DataFrame.from_dict(table, orient="index")


# ── which checkpoint ships, by need ──────────────────────────────────────────────────────────────


# What counts, by the columns, and how far chance may move it: half of the 95 % interval of what
# two of its best checkpoints differ by, on new questions and texts.
NEEDS = {
    "stage": ("style", 0.07),                    # a party: the voice, nothing else
    "stranger": ("-voice", 0.04),                # questions that nobody foresaw
    "desk": ("style - forgotten / 2", 0.07),     # some voice, and its old work done
}


def surpassed(curve: pandas.DataFrame, need: str, step: int) -> str:
    """Say how far the best checkpoint is ahead, if by more than chance; else nothing."""
    formula, chance = NEEDS[need]
    values = curve.eval(formula)
    gap = values.max() - values[step]
    if gap <= chance:
        return ""
    return (f"by what this customer counts, another checkpoint is ahead of step {step} by "
            f"{gap:.2f}, where chance brings {chance:.2f}.")
