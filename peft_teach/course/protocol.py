"""The protocol: what all runs that count have in common, the recorded ones and a reader's own.

Ratings of film reviews, from -4 to 4, by MiniLM with one output and the squared error: 4,000
sentences once, in batches of 16, which makes 250 steps. The head learns at one rate, whatever the
method, and each method at the rate that its search on validation sentences found
(`assets/records/ladder.py`). Tested on all 2,716 test sentences: R², and the accuracy of the sign.

    run = begin("lora 8", wrap, seed=2)       MiniLM with its layers; what cannot count raises
    run = begin("mine", wrap, 2, lr=3e-3)     the same of a method that is not a rung
    steps = list(run.steps())
    run.row(steps, run.predictions())         as a recorded run, and what it cost

What is measured, and how predictions are kept:

    guess = predictions(model, batches)       (sentences,)
    r2(guess, ratings)                        share of the ratings' variance that is predicted
    sign_accuracy(guess, ratings)             right signs, where people were not neutral
    pack(guess), unpack(text)                 a byte a sentence, as text
"""

import base64
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import account, contents, data, models, store, training
from ..batch import ready
from ..errors import BadConfig, unknown
from ..progress_bar import bar
from ..training import Step
from . import records
from .verdicts import interval

if TYPE_CHECKING:
    import pandas

NAME = "ratings-1"    # of this protocol: rows of another one are not comparable
EXAMPLES, STEPS, TESTS = 4000, 250, 2716
BATCH, TEST_BATCH, TOKENS = 16, 64, 32
NEUTRAL = 0.5         # a mean rating within this of zero has no sign, as in `data.load`
PARTS = 31            # predictions are kept in steps of 1/31, so ±4.1 fits a byte

# The rungs of the ladder, by their key in the record, as a reader knows them.
NAMES = {"full": "full fine-tuning", "lora all": "LoRA everywhere", "qlora all": "QLoRA everywhere",
         "bottleneck": "bottleneck", "lora 8": "LoRA 8", "dora 8": "DoRA 8", "lora 1": "LoRA 1",
         "mask": "a random mask", "bitfit": "BitFit", "ia3": "IA³", "prefix": "prefix",
         "prompt": "prompt", "head": "head only"}

# What a head reads: the part of the record in which it is solved alone, and the group of the runs.
READINGS = {"pooler": ("exact", "final"), "mean": ("exact_mean", "mean")}

Errors = dict[str, dict[int, Tensor]]    # (sentences,) by method and seed


def rung(name: str) -> str | None:
    """Return the key of the rung of this name, a reader's or its own; None for what is none."""
    plain = " ".join(name.lower().split())
    return next((key for key in NAMES if plain in (key, NAMES[key].lower())), None)


def key_of(name: object) -> str:
    """Return the key of a rung. Raises `UnknownName`."""
    found = rung(name) if isinstance(name, str) else None
    if found is None:
        raise unknown("rung", name, NAMES)
    return found


# ── a run ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Run:
    """A model that is ready to be trained by the protocol, on its sentences."""

    rung: str
    seed: int
    lr: float
    head_lr: float
    model: nn.Module = field(repr=False)
    tokenizer: object = field(repr=False)
    batches: list[dict[str, Tensor]] = field(repr=False)
    tests: Sequence[data.Example] = field(repr=False)
    costs: dict[str, int] = field(repr=False)

    @property
    def rating(self) -> Tensor:
        """The ratings of the test sentences, in their order."""
        return torch.tensor([example.label for example in self.tests])

    def steps(self) -> Iterator[Step]:
        """Train; yield a `Step` after each one."""
        return train(self.model, self.batches, self.lr, self.head_lr)

    def test_batches(self) -> list[dict[str, Tensor]]:
        """Return the test sentences sorted by length, which saves a third of the padding."""
        chosen = [self.tests[i] for i in self._order()]
        return data.batches(chosen, self.tokenizer, TEST_BATCH, TOKENS, shuffle=False)

    def in_their_order(self, guess: Tensor) -> Tensor:
        """Return predictions for `test_batches` in the order of the test sentences."""
        return guess[torch.tensor(self._order()).argsort()]

    def predictions(self) -> Tensor:
        """Return a prediction for each test sentence, in their order."""
        return self.in_their_order(predictions(self.model, self.test_batches()))

    def row(self, steps: Sequence[Step], guess: Tensor) -> dict:
        """Return what is kept of the run, plain data: a recorded run's columns, and its costs."""
        return {"protocol": NAME, "method": self.rung, "seed": self.seed, "lr": self.lr,
                "head_lr": self.head_lr, **self.costs, "steps": len(steps),
                "tests": len(self.tests),
                "step_ms": round(1e3 * median(step.seconds for step in steps)),
                **scored(guess, self.rating), "answers": pack(guess),
                "when": time.strftime("%Y-%m-%d %H:%M")}

    def _order(self) -> list[int]:
        return sorted(range(len(self.tests)), key=lambda i: len(self.tests[i].text))


def begin(rung: str, wrap: Callable[[nn.Module], nn.Module], seed: int,
          examples: int = EXAMPLES, tests: int = TESTS, lr: float | None = None,
          choosing: bool = False) -> Run:
    """Load MiniLM, let `wrap(model)` put a method's layers on, and get all ready.

    Random numbers come from where torch's generator stands. With `lr`, it is a method of one's own,
    `rung` its name: then the rate is this one, and the head's is everybody's. `choosing` tests on
    the validation sentences, on which a rate is chosen. Raises `UnknownName` for an unknown rung,
    and `BadConfig` for an own method that has a rung's name or where `wrap` gives no model, one
    that trains nothing of its own, or one that trains other parameters, in number, than the rung
    has; so before a minute is spent.
    """
    key = key_of(rung) if lr is None else _own_name(rung, lr)
    if not callable(wrap):
        raise BadConfig(f"wrap is {wrap!r:.80}.", expected="a function: wrap(model) returns the "
                                                           "model with its layers on")
    recorded = records.select(records.load("ladder"), group="final",
                              method=key if lr is None else "lora 8")[0]
    model, tokenizer = models.load("minilm", labels=1)
    model = wrap(model)
    if not isinstance(model, nn.Module):
        raise BadConfig(f"wrap returned {type(model).__name__}.", expected="the model to train",
                        hint="end it with `return model`")
    model = model.to(models.best_device())
    _must_be_the_rung(model, key, recorded["parameters"] if lr is None else None)
    movies = data.ratings("movies")
    batches = data.batches(movies.train[:examples], tokenizer, BATCH, TOKENS, seed=seed)
    tested = movies.validation if choosing else movies.test
    return Run(key, seed, recorded["lr"] if lr is None else lr, recorded["head_lr"], model,
               tokenizer, batches, tested[:tests], _costs(model))


def _own_name(name: str, lr: float) -> str:
    """Return the name of a method that is not a rung. Raises `BadConfig`."""
    if not isinstance(name, str) or not name.strip():
        raise BadConfig(f"The name is {name!r}.", expected="a few letters of your own: \"mine\"")
    if rung(name) is not None:
        raise BadConfig(f"{name!r} is a rung: its rate is recorded.",
                        expected="another name for a method of your own, or no lr")
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < float("inf"):
        raise BadConfig(f"lr is {lr!r}.", expected="a learning rate, such as 3e-3")
    return name.strip()


def _must_be_the_rung(model: nn.Module, key: str, wanted: int | None) -> None:
    """Raise `BadConfig` unless as many parameters train as the rung has, and the head with them.

    Of a method of one's own, where none are `wanted`: unless some train, and they are not all.
    """
    head = contents.head_parameters(model).values()
    beside = trained(model)
    if not all(p.requires_grad for p in head):
        raise BadConfig("The head does not train.", expected="a head that trains with every method",
                        hint="leave requires_grad of the classifier as it is")
    if wanted is None:
        if 0 < beside < sum(p.numel() for p in model.parameters()) / 2:
            return
        raise BadConfig(f"Next to the head, {beside:,} parameters of this model train.",
                        expected="those of your layers, and the base frozen",
                        hint="pt.attach(model, (\"query\", \"value\"), Mine) freezes it")
    if beside == wanted:
        return
    hint = ("does wrap return the model with its layers on, and have these trainable parameters?"
            if not beside else "is the base frozen?" if beside > 5 * wanted else
            "are the layers in the same places, and of the same size?")
    raise BadConfig(f"Next to the head, {beside:,} parameters of this model train.",
                    expected=f"{wanted:,}: {NAMES[key]} has as many", hint=hint)


def trained(model: nn.Module) -> int:
    """Return how many parameters train next to the head."""
    head = {id(p) for p in contents.head_parameters(model).values()}
    return sum(p.numel() for p in model.parameters() if p.requires_grad and id(p) not in head)


def _costs(model: nn.Module) -> dict[str, int]:
    """Return what is counted of a method as the record does, and nothing random is drawn."""
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        file = store.save(model, folder) / "adapter.safetensors"
        return {"parameters": trained(model), "file_bytes": file.stat().st_size,
                "memory_bytes": account.ledger(model, BATCH, TOKENS).peak_bytes}


def train(model: nn.Module, batches: list[dict], lr: float, head_lr: float) -> Iterator[Step]:
    """Train the method at `lr` and the head at `head_lr`; yield a `Step` after each one."""
    head = [*contents.head_parameters(model).values()]
    rest = [*contents.adapter_parameters(model).values()]
    groups = [{"params": rest, "lr": lr}] * bool(rest) + [{"params": head, "lr": head_lr}]
    return training.train(model, batches, groups=groups)


# ── what is measured ─────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def predictions(model: nn.Module, batches: list[dict]) -> Tensor:
    """Return a model's prediction for each sentence, in the order of the batches, on the CPU."""
    with models.in_mode(model, training=False):
        return torch.cat([model(**ready(model, {name: x for name, x in batch.items()
                                                if name != "labels"})).logits[:, 0].float().cpu()
                          for batch in bar(batches, "evaluating")])


def ratings(batches: list[dict]) -> Tensor:
    """Return the ratings of batches, (sentences,)."""
    return torch.cat([batch["labels"] for batch in batches])


def r2(guess: Tensor, rating: Tensor) -> float:
    """Return the share of variance that is predicted: 1 for all, 0 for the mean of these."""
    return float(1 - (guess - rating).square().mean() / rating.var(correction=0))


def shares_of_r2(guess: Tensor, rating: Tensor) -> Tensor:
    """Return a score of each sentence, (sentences,): their mean is R²."""
    return 1 - (guess - rating).square() / rating.var(correction=0)


def right_signs(guess: Tensor, rating: Tensor) -> Tensor:
    """Return 1 for each right sign and 0 for each wrong one, of sentences not rated neutral."""
    return ((guess > 0) == (rating > 0))[rating.abs() > NEUTRAL].float()


def sign_accuracy(guess: Tensor, rating: Tensor) -> float:
    """Return the share of right signs among the sentences that were not rated neutral."""
    return float(right_signs(guess, rating).mean())


def scored(guess: Tensor, rating: Tensor) -> dict[str, float]:
    """Return R² and the accuracy of the sign as they are recorded."""
    return {"r2": round(r2(guess, rating), 4), "accuracy": round(sign_accuracy(guess, rating), 4)}


def pack(guess: Tensor) -> str:
    """Return predictions as text, each rounded to 1/31."""
    steps = (guess * PARTS).round().clamp(-127, 127)
    return base64.b64encode(steps.numpy().astype(np.int8).tobytes()).decode()


def unpack(text: str) -> Tensor:
    """Return the predictions that `pack` wrote."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.int8) / PARTS).float()


# ── what is recorded: `record` is `records.load("ladder")` ───────────────────────────────────


def finals(record: Mapping) -> list[dict]:
    """Return the runs in which the rungs are compared."""
    return [row for row in record["runs"] if row["group"] == "final"]


def zeros(record: Mapping) -> dict[str, float]:
    """Return R² of a head, solved, by what it reads: "pooler", or the "mean" of all tokens.

    The first is the zero of methods whose heads read the pooler. The second brings two fifths of
    the way for nothing; but it lifts what is trained, too, so no method that reads the pooler
    counts from it.
    """
    return {reading: record[part]["r2"] for reading, (part, _) in READINGS.items()}


def shares(record: Mapping, reading: str = "pooler") -> dict[str, float]:
    """Return each method's share of the way from the head on the pooler to full fine-tuning.

    Zero, top and methods have heads that read alike: the pooler, or the "mean" of all tokens, for
    which few methods are recorded. Means are over the seeds that all of these have. Raises
    `UnknownName` for another reading, and `BadConfig` where full fine-tuning is not recorded.
    """
    if reading not in READINGS:
        raise unknown("reading", reading, READINGS)
    zero, group = zeros(record)[reading], READINGS[reading][1]
    found = _by_seed((row for row in record["runs"] if row["group"] == group),
                     lambda row: row["r2"])
    if "full" not in found:
        raise BadConfig(f"Full fine-tuning is not recorded for a head that reads the {reading}.",
                        hint="python assets/records/ladder.py --groups mean")
    top = _at_shared_seeds(found)
    return {method: (r2 - zero) / (top["full"] - zero) for method, r2 in top.items()}


def _by_seed(rows: Iterable[Mapping], value: Callable[[Mapping], Any]
             ) -> dict[str, dict[int, Any]]:
    """Return a value of each row, by method and seed."""
    found: dict[str, dict[int, Any]] = {}
    for row in rows:
        found.setdefault(row["method"], {})[row["seed"]] = value(row)
    return found


def _at_shared_seeds(found: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Return the mean of each method over the seeds that all of them have."""
    seeds = set.intersection(*map(set, found.values()))
    return {method: mean(of[seed] for seed in seeds) for method, of in found.items()}


def rated(record: Mapping) -> Tensor:
    """Return the mean ratings of the test sentences, (sentences,); so nobody needs a data set."""
    return unpack(record["ratings"]["movies"])


def errors(record: Mapping) -> Errors:
    """Return the squared error on each test sentence, for each seed of each method."""
    rating = rated(record)
    return _by_seed(finals(record), lambda row: (unpack(row["answers"]) - rating).square())


def shared(found: Errors, *methods: str) -> list[Tensor]:
    """Return these methods' values, (seeds, sentences) each, at the seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(found[method]) for method in methods)))
    return [torch.stack([found[method][seed] for seed in seeds]) for method in methods]


def scores(rows: Iterable[Mapping], rating: Tensor, of: str = "r2") -> Errors:
    """Return a score of each test sentence, by method and seed: their mean is R² or the accuracy.

    `of` is "r2", or "accuracy": then only sentences count that were not rated neutral.
    """
    if of not in ("r2", "accuracy"):
        raise unknown("score", of, ("r2", "accuracy"))
    score = shares_of_r2 if of == "r2" else right_signs
    return _by_seed(rows, lambda row: score(unpack(row["answers"]), rating))


def means(record: Mapping) -> "pandas.Series":
    """Return R² of each method, a mean over the seeds that all of them have, the best first."""
    import pandas

    variance = rated(record).var(correction=0)
    found = _at_shared_seeds({
        NAMES[method]: {seed: float(1 - error.mean() / variance) for seed, error in seeds.items()}
        for method, seeds in errors(record).items()})
    return pandas.Series(found, name="R²").sort_values(ascending=False)


def quality(record: Mapping) -> "pandas.DataFrame":
    """Return R² of each method over all of its seeds, with its own 95 % interval, the best first.

    R² is 1 − a / b, of the errors a and those b of a constant guess; so an interval of the mean of
    a − (1 − R²) b, divided by the mean of b, is one around it.
    """
    import pandas

    rating = rated(record)
    constant = (rating - rating.mean()).square()                      # (sentences,)
    rows = {}
    for method, seeds in errors(record).items():
        a = torch.stack([*seeds.values()])                            # (seeds, sentences)
        left = a.mean() / constant.mean()
        low, high = interval(left * constant.expand_as(a), a)
        rows[NAMES[method]] = [float(1 - left + end / constant.mean()) for end in (0, low, high)]
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=["R²", "low", "high"])
    return table.sort_values("R²", ascending=False)
