"""What the record of lesson 11 says, as data frames.

`record` is `records.load("chat")` throughout; part of one does, too. What is forgotten is by how
much a loss rose above that of the base.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy
import pandas
import torch
from torch import Tensor

from .... import data
from ...verdicts import BETTER, UNSURE, WORSE, verdict, word
from .exercises import style
from .measure import FACTS, OTHERS

NAMES = {"none": "the base", "lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning",
         "ia3": "IA³", "prompt": "a prompt of 20"}
METHODS = ("lora", "qlora", "full")
COMPARED = ("lora", "full")    # where what is forgotten is compared: neither base was rounded
KINDS = ("voice", *OTHERS)

Score = Callable[[str], float]


def rows(record: Mapping, **wanted) -> list[dict]:
    """Return the checkpoints that agree in every given field."""
    return [row for row in record.get("checkpoints", [])
            if all(row.get(name) == value for name, value in wanted.items())]


def told(row: Mapping, score: Score = style) -> dict[str, float]:
    """Return what is told of a checkpoint: means of what was found for each text."""
    found = {kind: numpy.mean(each) for kind, each in row.get("losses", {}).items()}
    if "answers" in row:
        found["style"] = numpy.mean([score(answer) for answer in row["answers"]])
    return found | {name: _share(row[name]) for name in ("ended", "films") if name in row}


def _share(digits: str) -> float:
    return digits.count("1") / len(digits)


def curves(record: Mapping, score: Score = style) -> pandas.DataFrame:
    """Return the runs that the lesson compares, a row a checkpoint, losses and shares as means."""
    columns = ["method", "seed", "passes", "step", "training"]
    table = [{name: row.get(name) for name in columns} | told(row, score)
             for row in rows(record, group="main")]
    return pandas.DataFrame(table, columns=[*columns, "style", "ended", *KINDS, "films"]
                            ).sort_values(["method", "seed", "passes"], ignore_index=True)


def curve(record: Mapping, score: Score = style) -> pandas.DataFrame:
    """Return the run of LoRA by its step: passes, style, ended, losses, and what is forgotten.

    That is by how much the losses of plain chat, news and code rose above the base's, their mean.
    """
    found = curves(record, score).query("method == 'lora' and seed == 0").set_index("step")
    rise = found[list(OTHERS)].mean(axis=1) - _mean_of_others(base(record))
    return found.drop(columns=["method", "seed"]).assign(forgotten=rise)


# ── learned against forgotten ────────────────────────────────────────────────────────────────


def base(record: Mapping) -> dict[str, numpy.ndarray]:
    """Return the loss of the base on each text, by kind."""
    first, *_ = rows(record, group="main", method="lora", seed=0, passes=0)
    return {kind: numpy.array(each) for kind, each in first["losses"].items()}


def _mean_of_others(losses: Mapping[str, numpy.ndarray]) -> float:
    return float(numpy.mean([losses[kind].mean() for kind in OTHERS]))


def forgotten(record: Mapping) -> pandas.DataFrame:
    """Return by method, seed and passes: the loss of the voice, and how far others rose."""
    before = {kind: each.mean() for kind, each in base(record).items()}
    found = curves(record).set_index(["method", "seed", "passes"])[list(KINDS)]
    return found.assign(**{kind: found[kind] - before[kind] for kind in OTHERS})


def at_equal_loss(record: Mapping) -> pandas.DataFrame:
    """Return what each method has forgotten where its loss of the voice first is at one level.

    The level is the lowest that every run reaches; between two checkpoints each text's loss is
    interpolated. By method, means over seeds: the passes, how far the loss rose for each kind, for
    all texts of the three kinds, and by how much more than LoRA's, with its 95 % interval; the same
    by seed; and whether it forgets more, by the verdict on new seeds and texts.
    """
    runs = {about: checkpoints for about, checkpoints in _runs(record).items()
            if about[1] in _shared_seeds(record)}
    level = max((min(numpy.mean(row["losses"]["voice"]) for row in run)
                 for run in runs.values()), default=0.0)
    before, found = base(record) if runs else {}, {}
    for (method, _), run in runs.items():
        passes, losses = _at(run, level)
        rises = {kind: torch.tensor(losses[kind] - before[kind]) for kind in OTHERS}
        found.setdefault(method, []).append((passes, rises))
    table = {}
    for method, seeds in found.items():
        rises, lora = _rises(seeds), _rises(found["lora"])
        gap = verdict(rises, lora, margin=0)
        table[NAMES[method]] = {
            "passes": numpy.mean([passes for passes, _ in seeds]), "voice": level,
            **{kind: float(torch.stack([each[kind] for _, each in seeds]).mean())
               for kind in OTHERS},
            "all": float(rises.mean()), "more than LoRA": gap.difference, "low": gap.low,
            "high": gap.high,
            "by seed": ", ".join(f"{each:+.3f}" for each in (rises - lora).mean(1).tolist()),
            "forgets": {BETTER: "more", WORSE: "less"}.get(gap.word, UNSURE)}
    return pandas.DataFrame.from_dict(table, orient="index")


def _rises(seeds: Sequence[tuple[float, Mapping[str, Tensor]]]) -> Tensor:
    """Return how far the losses of all texts rose, (seeds, texts)."""
    return torch.stack([torch.cat([*each.values()]) for _, each in seeds])


def _runs(record: Mapping) -> dict[tuple[str, int], list[dict]]:
    """Return the checkpoints of each run in order of passes, by method and seed."""
    found: dict[tuple[str, int], list[dict]] = {}
    for row in sorted(rows(record, group="main"), key=lambda row: row["passes"]):
        found.setdefault((row["method"], row["seed"]), []).append(row)
    return {about: found[about] for about in sorted(found, key=lambda about: about[1])
            if about[0] in COMPARED}


def _shared_seeds(record: Mapping) -> set[int]:
    """Return the seeds that every method has."""
    seeds = [{seed for name, seed in _runs(record) if name == method} for method in COMPARED]
    return set.intersection(*seeds)


def _at(run: Sequence[Mapping], level: float) -> tuple[float, dict[str, numpy.ndarray]]:
    """Return passes and losses by text where a run's loss of the voice first is at the level."""
    voice = [numpy.mean(row["losses"]["voice"]) for row in run]
    last = next((i for i, loss in enumerate(voice) if loss <= level), int(numpy.argmin(voice)))
    first = max(last - 1, 0)
    drop = voice[first] - voice[last]
    t = min((voice[first] - level) / drop, 1.0) if drop > 0 else 1.0
    a, b = run[first], run[last]
    losses = {kind: (1 - t) * numpy.array(a["losses"][kind]) + t * numpy.array(b["losses"][kind])
              for kind in KINDS}
    return (1 - t) * a["passes"] + t * b["passes"], losses


# ── labels, a prompt, the knob ───────────────────────────────────────────────────────────────


def labels(record: Mapping) -> pandas.DataFrame:
    """Return what labels do, LoRA after three passes: by what of a text is in the loss."""
    found = [*rows(record, group="labels"),
             *rows(record, group="main", method="lora", seed=0, passes=3)]
    table = [{"all before the answer": row["question"], "the end": row["end"],
              **_columns(row, ("style", "ended", "voice", "news", "code"))} for row in found]
    return pandas.DataFrame(table).set_index(["all before the answer", "the end"]).sort_index()


def runaway(record: Mapping, shown: int = 4) -> pandas.DataFrame:
    """Return answers of the model whose labels hid the padding, and with it every end."""
    row, = rows(record, group="labels", question=True, end=False)
    cut = [text if end == "1" else f"{text} …" for text, end in zip(row["answers"], row["ended"])]
    questions = pandas.Index(data.voice().questions[:len(cut)], name="question")
    return pandas.DataFrame({f"her model; {_share(row['ended']):.0%} of {len(cut)} answers end":
                             cut}, questions)[::len(cut) // shown][:shown]


def misled(record: Mapping, score: Score = style) -> pandas.DataFrame:
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


def prompt(record: Mapping, passes: float = 3) -> pandas.DataFrame:
    """Return the base, the same with a system prompt, and LoRA: style and share that end."""
    looked = {"the base": rows(record, group="main", method="lora", seed=0, passes=0),
              "… told by a system prompt": rows(record, group="prompt", examples=0),
              "… and shown three examples": rows(record, group="prompt", examples=3),
              f"LoRA, {passes:g} passes": rows(record, group="main", method="lora", seed=0,
                                              passes=passes)}
    return pandas.DataFrame.from_dict({name: _columns(row, ("style", "ended"))
                                       for name, found in looked.items() for row in found[:1]},
                                      orient="index")


def _columns(row: Mapping, names: Sequence[str]) -> dict[str, float]:
    found = told(row)
    return {name: found[name] for name in names}


def knob(record: Mapping, score: Score = style) -> pandas.DataFrame:
    """Return by f, the factor of LoRA's update: style, ended, and the losses."""
    found = {row["f"]: told(row, score) for row in rows(record, group="knob")}
    return pandas.DataFrame.from_dict(found, orient="index").sort_index().rename_axis("f")


# ── a ladder of one pass, its search, facts, long answers ────────────────────────────────────


def ladder(record: Mapping) -> pandas.DataFrame:
    """Return what the first of five passes does at each method's rate: losses, means of all texts.

    "voice" and "the rest" (plain chat, news and code together) stand beside LoRA's, text by text
    and seed by seed, in the words of the verdict: a lower loss is better.
    """
    found = [row for group in ("main", "ladder") for row in rows(record, group=group, passes=1)
             if row["seed"] != 2]    # which chose the rates
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
                          for row in runs])


def tried(record: Mapping) -> dict[tuple[str, int, float], float]:
    """Return the loss of the voice after a pass of LoRA with seed 2, by targets, batch and rate."""
    return {(PLACES[len(row.get("targets", "*"))], row.get("batch", 8), row["lr"]):
            float(numpy.mean(row["losses"]["voice"])) for group in ("rates", "search")
            for row in rows(record, group=group, method="lora", seed=2)}


PLACES = {1: "all linear layers", 2: "query and value"}


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
                                         for each in right) if passes else "",
            "style": numpy.mean([style(text) for row in found for text in row["answers"]])}
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


@dataclass(frozen=True)
class Need:
    """What counts, by the columns; whether more of it is better; how far chance may move it.

    `chance` is half of the 95 % interval of what two of its best checkpoints differ by, on new
    questions and texts.
    """

    formula: str
    more: bool
    chance: float


NEEDS = {
    "stage": Need("style", True, 0.07),                   # a party: the voice, nothing else
    "stranger": Need("voice", False, 0.04),               # questions that nobody foresaw
    "desk": Need("style - forgotten / 2", True, 0.07),    # some voice, and its old work done
}


def surpassed(curve: pandas.DataFrame, need: str, step: int) -> str:
    """Say how far the best checkpoint is ahead, if it is better; nothing by another verdict."""
    wanted = NEEDS[need]
    values = curve.eval(wanted.formula)
    best = values.max() if wanted.more else values.min()
    gap = abs(values[step] - best)
    if word(gap - wanted.chance, gap + wanted.chance, margin=0) != BETTER:
        return ""
    return (f"by what this customer counts, another checkpoint is ahead of step {step} by "
            f"{gap:.2f}, where chance brings {wanted.chance:.2f}.")
