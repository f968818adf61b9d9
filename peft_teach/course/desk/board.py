"""My ladder: the reader's own runs on one protocol, kept and drawn beside the recorded ones.

    run = pt.board.train("lora 8", wrap)     wrap(model) puts the reader's layers on, and returns it
    pt.board.offer("full", wrap)             the same at a button, for what takes minutes
    pt.board.show()                          the picture and the table, as they end each run

    a, b = pt.board.own("lora 8", "ia3")     scores by seed and sentence, for `pt.verdict`
    c, d = pt.board.scores("lora 8", "ia3")  those of the recorded runs
    pt.board.monday(record)                  lesson 10's table, with the reader's rows

    pt.board.trial(wrap, lr=3e-3)            a method of one's own: R² on validation sentences
    pt.board.train("mine", wrap, lr=3e-3)    its row, beside LoRA 8's recorded run of this seed
    pt.board.beside("mine")                  both, with their costs and the verdict

A row is a recorded run's (`protocol.Run.row`). It stands in `work/course.json`, and a newer one of
the same rung and seed takes its place. What is recorded of a rung is seen once the reader has a row
of it, or has committed a prediction with the name `bet(rung)`, or seen its result: a picture gives
no bet away.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from html import escape

import ipywidgets as ipw
import pandas
import torch
from torch import Tensor, nn

from ... import plots
from ...errors import BadConfig
from ...training import Step
from ...widgets import Lasting, Progress, watch
from ...widgets import Run as Button
from .. import protocol, records
from ..protocol import NAMES, Run
from ..verdicts import verdict
from . import work
from .board_picture import caption, draw, table
from .budget import budget
from .own_run import one_by_one, own_random, with_own_random

POINTS = "ladder"          # under this name rows are kept
OWN = "own methods"        # and rows of methods that are not rungs
SEED = 1                   # of a reader: none of those that are recorded, or chose a rate
COLLEAGUE = 2              # the recorded seed of Monday's table
# The rungs of the picture, and in which lesson each is built.
LESSONS = {"full": "01", "bitfit": "02", "prompt": "03", "prefix": "04", "bottleneck": "05",
           "ia3": "06", "lora 8": "07", "qlora all": "08", "dora 8": "09"}


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the model, what it was tested on, and the row that is kept."""

    model: nn.Module = field(repr=False)
    tokenizer: object = field(repr=False)
    steps: list[Step] = field(repr=False)
    predictions: Tensor = field(repr=False)    # (tests,), in the order of the test sentences
    row: dict = field(repr=False)

    def __repr__(self) -> str:
        row = self.row
        name = NAMES.get(row["method"], row["method"])
        return (f"{name}, seed {row['seed']}: R² {row['r2']:.3f}, right signs "
                f"{row['accuracy']:.1%}, on {row['tests']:,} sentences"
                + "".join(f". {note}" for note in self.notes))

    @property
    def notes(self) -> list[str]:
        """What a whole run would have, and this one has not."""
        return [] if _is_whole(self.row) else [
            f"Not kept: runs of {protocol.STEPS} steps are, and this one made {self.row['steps']}"]


# ── a run ────────────────────────────────────────────────────────────────────────────────────


def train(rung: str, wrap: Callable[[nn.Module], nn.Module], seed: int = SEED,
          lr: float | None = None) -> Trained:
    """Train and test the reader's layers by the protocol; keep the row, and show the ladder.

    With `lr`, a method of one's own, named by `rung`: its row stands in `beside(rung)`.

    `wrap(model)` puts them on a fresh MiniLM with one output, and returns the model. Random numbers
    start from `seed` and leave the reader's own as they are. With PEFT_TEACH_BUDGET=smoke, fewer
    steps, and no row is kept of them. Raises what `protocol.begin` does, before anything
    trains, and `TrainingStopped` when it is interrupted: then no row is kept.
    """
    with own_random(seed):
        run = _begin(rung, wrap, seed, lr=lr)
        steps = watch(run.steps(), len(run.batches), curve=False)
        guess = run.predictions()
    found = _kept(run, steps, guess)
    for note in found.notes:
        print(f"{note}.")
    if lr is None:
        show()
    return found


def trial(wrap: Callable[[nn.Module], nn.Module], lr: float) -> float:
    """Train a method of one's own at a rate; return R² on the validation sentences.

    Rates are compared so, and never on test sentences. Nothing is kept. Raises what `train` raises.
    """
    with own_random(0):
        run = _begin("a trial", wrap, 0, lr=lr, choosing=True)
        watch(run.steps(), len(run.batches), curve=False)
        return protocol.r2(run.predictions(), run.rating)


def _begin(rung: str, wrap: Callable, seed: int, **more) -> Run:
    few = budget()
    examples, tests = ((protocol.EXAMPLES, protocol.TESTS) if few.claims
                       else (few.train_examples, few.test_examples))
    return protocol.begin(rung, wrap, seed, examples, tests, **more)


def _kept(run: Run, steps: list[Step], guess: Tensor) -> Trained:
    """Keep a row, if it is one of a whole run."""
    row = run.row(steps, guess)
    if _is_whole(row):
        work.add_point(POINTS if row["method"] in NAMES else OWN, row,
                       replaces=("protocol", "method", "seed"))
    return Trained(run.model, run.tokenizer, steps, guess, row)


def _is_whole(row: Mapping) -> bool:
    wanted = {"protocol": protocol.NAME, "steps": protocol.STEPS, "tests": protocol.TESTS}
    return wanted.items() <= row.items() and isinstance(row.get("method"), str)


class Offer(Lasting):
    """A button that trains a rung; below it the ladder, once it has ended. `trained` is then set.
    """

    def __init__(self, rung: str, wrap: Callable[[nn.Module], nn.Module], seed: int = SEED):
        self.key, self.wrap, self.seed = protocol.key_of(rung), wrap, seed
        self.trained: Trained | None = None
        self.run = Button(f"Train {NAMES[self.key]} now", self._steps, self._ended)
        self.picture = ipw.HTML()
        super().__init__(ipw.VBox([self.run.box, self.picture]))

    def still(self) -> tuple[str, str]:
        """Return the picture, or that nothing was trained yet."""
        told = repr(self.trained) if self.trained else f"{NAMES[self.key]}: not trained here yet"
        return f"<div>{escape(told)}</div>{self.picture.value}", told

    def _steps(self) -> Generator[Progress, None, Trained]:
        return with_own_random(self._trained(), self.seed)

    def _trained(self) -> Generator[Progress, None, Trained]:
        run = _begin(self.key, self.wrap, self.seed)
        steps, parts = yield from one_by_one(
            run.steps(), len(run.batches), run.test_batches(),
            lambda batch: protocol.predictions(run.model, [batch]), NAMES[run.rung])
        return _kept(run, steps, run.in_their_order(torch.cat(parts)))

    def _ended(self, found: Trained) -> None:
        self.trained = found
        self.run.line.value = escape(repr(found))
        rungs = frame()
        self.picture.value = plots.html(draw(rungs), caption(rungs)) + table(rungs).to_html()
        self._renew()


offer = Offer    # as lessons call it


# ── the reader's rows ────────────────────────────────────────────────────────────────────────


def runs() -> list[dict]:
    """Return the reader's rows of this protocol, oldest first: one a rung and seed."""
    return [row for row in work.points(POINTS) if _is_whole(row) and row["method"] in NAMES]


def rows() -> dict[str, dict]:
    """Return the reader's newest row of each rung."""
    return {row["method"]: row for row in runs()}


def own(*rungs: str) -> list[Tensor]:
    """Return the scores of the reader's runs, (seeds, sentences) each, at the seeds all have.

    Their mean is R². Raises `BadConfig` where there is no such run.
    """
    return _scores(runs(), rungs, "r2", "of yours")


def scores(*rungs: str, of: str = "r2") -> list[Tensor]:
    """Return the scores of the recorded runs as `own` does, or whose mean is `of`, "accuracy"."""
    return _scores(protocol.finals(records.load("ladder")), rungs, of, "recorded")


def _scores(rows: list[dict], rungs: tuple[str, ...], of: str, whose: str) -> list[Tensor]:
    keys = [*map(protocol.key_of, rungs)]
    rows = [row for row in rows if row["method"] in keys]
    seeds = {key: {row["seed"] for row in rows if row["method"] == key} for key in keys}
    if not keys or not set.intersection(*seeds.values()):
        told = ", ".join(f"{NAMES[key]}: seeds {sorted(seeds[key]) or 'none'}" for key in keys)
        raise BadConfig(f"No seed {whose} has a run of each: {told or 'no rung is asked for'}.",
                        hint="pt.board.train(rung, wrap, seed=…) of those that are missing")
    return protocol.shared(protocol.scores(rows, protocol.rated(records.load("ladder")), of), *keys)


def beside(name: str, rung: str = "lora 8") -> pandas.DataFrame:
    """Return a method of the reader's own beside the recorded runs of a rung, at the same seeds.

    A row each: mean R², trained parameters next to the head, and the file; then the difference of
    the pair with its 95 % interval, and the seeds. Raises `UnknownName` for an unknown rung,
    `BadConfig` where no seed has both.
    """
    key, record = protocol.key_of(rung), records.load("ladder")
    mine = {row["seed"]: row for row in work.points(OWN)
            if _is_whole(row) and row["method"] == name}
    theirs = {row["seed"]: row for row in protocol.finals(record) if row["method"] == key}
    seeds = sorted(mine.keys() & theirs.keys())
    if not seeds:
        raise BadConfig(f"No seed has a run of {name!r} and of {NAMES[key]}.",
                        expected=f"one of the seeds {sorted(theirs)}",
                        hint=f"pt.board.train({name!r}, wrap, seed={min(theirs)}, lr=…)")
    chosen = {name: [mine[seed] for seed in seeds], NAMES[key]: [theirs[seed] for seed in seeds]}
    a, b = (torch.stack([*each.values()]) for each in protocol.scores(
        [row for rows in chosen.values() for row in rows], protocol.rated(record)).values())
    told = verdict(a, b)
    rows = {each: {
        "R²": round(sum(row["r2"] for row in rows) / len(rows), 3),
        "parameters": rows[0]["parameters"],
        "file, kB": round(rows[0].get("file_bytes", record["costs"][key]["file_bytes"]) / 1e3),
        "rate": rows[0]["lr"]} for each, rows in chosen.items()}
    table = pandas.DataFrame.from_dict(rows, orient="index")
    ends = f"{told.difference:+.3f} ({told.low:+.3f} to {told.high:+.3f})"
    table["difference"] = [ends, f"seed no. {', '.join(map(str, seeds))}"]
    table.attrs["difference"] = told.difference
    return table


def bet(rung: str) -> str:
    """Return the name of the prediction after which a rung's recorded runs are seen."""
    return f"board.{protocol.key_of(rung)}"


def monday(record: Mapping, means: bool = False) -> pandas.DataFrame:
    """Return lesson 10's table: one run each, sorted; a colleague's where the reader has none.

    With `means`, the recorded mean of each over the same seeds and its place by that, too: who was
    first by luck stands lower there.
    """
    own, theirs = rows(), _colleagues(record)
    chosen = {key: own.get(key, row) for key, row in theirs.items()}
    table = pandas.DataFrame({
        "method": [NAMES[key] for key in chosen], "R²": [row["r2"] for row in chosen.values()],
        "sign": [f"{row['accuracy']:.1%}" for row in chosen.values()],
        "whose": ["you" if key in own else "a colleague" for key in chosen]})
    if means:
        mean = protocol.means(record)
        table = table.join(pandas.DataFrame({
            "recorded mean": mean.round(3),
            "place by it": mean.rank(ascending=False).astype(int)}), on="method")
    table = table.sort_values("R²", ascending=False, ignore_index=True).round({"R²": 3})
    return table.set_index(pandas.RangeIndex(1, len(table) + 1, name="place"))


def _colleagues(record: Mapping) -> dict[str, dict]:
    """Return the recorded run of each rung that stands in for a reader's."""
    return {row["method"]: row for row in protocol.finals(record) if row["seed"] == COLLEAGUE}


# ── what is to be seen of it ─────────────────────────────────────────────────────────────────


def show() -> None:
    """Show the ladder: a picture of it, and a table of what stands there."""
    from IPython.display import display

    rungs = frame()
    plots.show(draw(rungs), caption(rungs))
    if rungs.whose.any():
        display(table(rungs))


def frame(own: Mapping[str, Mapping] | None = None) -> pandas.DataFrame:
    """Return what is shown of the ladder, a row a rung, the smallest file first.

    Rungs that no lesson builds stand there once the reader has trained them.
    `own` are the reader's rows by rung, `rows()` unless given. Columns: lesson, file_bytes, whose
    ("you", "the course's", or "" where nothing is to be seen); r2, accuracy, and parameters of that
    row or the course's run; low and high of the recorded runs.
    """
    own, record = rows() if own is None else own, records.load("ladder")
    quality = protocol.quality(record)
    theirs = _colleagues(record)
    found = {}
    for key, lesson in (LESSONS | {key: "" for key in own if key not in LESSONS}).items():
        is_open = key in own or work.committed(bet(key)) is not None or work.resolved(bet(key))
        recorded = quality.loc[NAMES[key]] if is_open else {}
        run = own.get(key, theirs[key]) if is_open else {}
        found[key] = {
            "lesson": lesson, "file_bytes": record["costs"][key]["file_bytes"],
            "whose": "you" if key in own else "the course's" if is_open else "",
            **{name: run.get(name) for name in ("r2", "accuracy", "parameters")},
            "low": recorded.get("low"), "high": recorded.get("high")}
    return pandas.DataFrame.from_dict(found, orient="index").sort_values("file_bytes").astype(
        dict.fromkeys(("r2", "accuracy", "parameters", "low", "high"), float))
