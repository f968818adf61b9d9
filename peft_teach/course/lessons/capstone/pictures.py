"""What the capstone shows: the archive, tests of laws, one's own runs, and what is handed in."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from .... import contents, core, data, plots, store
from ....adapter import adapters
from ....errors import PeftTeachError
from ....methods import ia3, lora
from ... import records
from ...checks.mutants import ACCEPTED, outcome
from ...verdicts import POINT, Comparison, interval, verdict
from . import exercises, handed_in
from .handed_in import answered, gain

__all__ = ["answered", "broken_law", "differences", "draw_tries", "filled", "gain", "hand_in",
           "lines", "named", "pair", "places", "put_to", "recorded", "ship", "siblings", "smallest"]

SEEDS = (0, 1, 2)
Tries = Mapping[str, Tensor]    # (seeds, sentences) by name: 1 for a sentence that is right

# ── the archive ──────────────────────────────────────────────────────────────────────────────


def lines() -> list[tuple[str, str]]:
    """Return the newspaper's archive as it came, (document, text) a line."""
    return [(name.split("_")[0], text) for name, _, text in data._rows(handed_in.DOMAIN)]


def siblings(archive: Sequence[tuple[str, str]],
             split: Callable[[list[tuple[str, str]]], tuple[list[int], list[int]]]
             ) -> pandas.DataFrame:
    """Compare a split of the archive with one that draws each line by itself.

    A row a split: the lines it tests on, which share of these has a line of its document, and how
    many have their very text, in training.
    """
    drawn = [*range(len(archive))]
    random.Random(0).shuffle(drawn)
    fifth = len(drawn) // 5
    ways = {"each line by itself": (drawn[fifth:], drawn[:fifth]),
            "your split": split([*archive])}
    return pandas.DataFrame({way: _seen_before(archive, *parts) for way, parts in ways.items()}).T


def _seen_before(archive: Sequence[tuple[str, str]], train: list[int], test: list[int]) -> dict:
    documents = {archive[number][0] for number in train}
    texts = {exercises.plain(archive[number][1]) for number in train}
    known = sum(archive[number][0] in documents for number in test)
    return {"test lines": f"{len(test):,}",
            "of a document in training": f"{known / len(test):.0%}",
            "in training themselves": sum(
                exercises.plain(archive[number][1]) in texts for number in test)}


# ── tests of the laws ────────────────────────────────────────────────────────────────────────

LAWS = {"start": "the start", "base_trained": "the frozen base", "base_changed": "the frozen base",
        "no_gradient": "learning", "not_all": "all of it", "merge": "the merge",
        "merged_in_place": "the merge"}


def put_to(test: Callable, makes: Mapping[str, Callable]) -> pandas.DataFrame:
    """Return what a test says of adapters: that it accepts them, or how it rejects them."""
    said = {name: outcome(test, make) for name, make in makes.items()}
    return pandas.Series({name: "accepts" if each is ACCEPTED else f"rejects: {each}"
                          for name, each in said.items()}).to_frame("your test")


def broken_law(make: Callable[[nn.Linear], nn.Module]) -> str:
    """Return the first law that an adapter breaks, by its name in the lesson, or "none"."""
    return LAWS.get(exercises.broken(make)[0], "none")


# ── one's own runs ───────────────────────────────────────────────────────────────────────────

EXAMPLE = {"config": lora.Config(rank=1, alpha=8.0, targets=("value",), layers=(5,)), "epochs": 1,
           "lr": 5e-3}


def filled(name: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be trained, as arguments: yours, or an example where dots are left."""
    if ... not in setting.values():
        return {"name": name, **setting}
    print("Dots are left: an example trains instead.")
    return {"name": "example", "make": lambda base: lora.LoRALinear(base, 1, 8.0), **EXAMPLE}


def pair(train: Callable[..., Path], one: Mapping[str, Any], other: Mapping[str, Any],
         sentences: Sequence[tuple[str, int]], seeds: Sequence[int] = SEEDS) -> dict[str, Tensor]:
    """Train two settings with each seed; return who is right, by what each setting is called.

    `train(name, seed=…, **setting)` writes a folder and returns it. While dots are left in one,
    nothing trains, and a recorded pair stands in. Raises `PeftTeachError` for equal settings.
    """
    if ... in (*one.values(), *other.values()):
        print("Dots are left: a recorded pair stands in.")
        return {name: right[:, :len(sentences)] for name, right in recorded("nearly alike").items()}
    names = [named(each["config"]) for each in (one, other)]
    if names[0] == names[1]:
        names = [f"{name}, epochs {each['epochs']}, rate {each['lr']:g}"
                 for name, each in zip(names, (one, other))]
    if names[0] == names[1]:
        raise PeftTeachError(f"Both are {names[0]}.", expected="two settings that differ")
    return {name: torch.stack([answered(train(f"{folder}-{seed}", seed=seed, **setting), sentences)
                               for seed in seeds])
            for name, folder, setting in zip(names, ("one", "other"), (one, other))}


def named(config: Any) -> str:
    """Return what a `Config` trains, in words: "block 5 values, rank 1"."""
    layers, targets = config.layers, config.targets
    if targets is None:
        targets = ("key", "value", "ffn_out") if _method(config) is ia3 else ("query", "value")
    if layers is None:
        where = "all"
    elif len(layers) == 1:
        where = f"block {layers[0]}"
    else:
        where = f"blocks {', '.join(map(str, layers))}"
    plural = {"query": "queries", "key": "keys", "value": "values"}
    targets = (targets,) if isinstance(targets, str) else targets
    what = " and ".join(plural.get(each, each) for each in targets)
    rank = getattr(config, "rank", None)
    return f"{where} {what}" + (f", rank {rank}" if rank else "")


def recorded(which: str | None = None) -> dict[str, Tensor]:
    """Return recorded runs on validation, (3 seeds, sentences) by name: both pairs, or one."""
    rows = records.load("capstone")["runs"]
    found: dict[str, list[list[int]]] = defaultdict(list)
    for row in rows:
        of = row["setting"]
        targets, layers = of["targets"], of["layers"]
        config = lora.Config(rank=of["rank"], alpha=of["alpha"], targets=tuple(targets),
                             layers=None if layers is None else tuple(layers))
        found[named(config)].append([*map(int, row["answers"])])
    runs = {name: torch.tensor(answers).double() for name, answers in found.items()}
    names = [*runs]
    wanted = {None: names, "far apart": names[:2], "nearly alike": names[2:]}[which]
    return {name: runs[name] for name in wanted}


def differences(tries: Tries) -> pandas.DataFrame:
    """Return the verdict on each two that follow each other: the first against the second."""
    names = [*tries]
    rows = {f"{one}, against {other}": verdict(tries[one], tries[other], POINT)
            for one, other in zip(names[::2], names[1::2])}
    return pandas.DataFrame({name: _told(found) for name, found in rows.items()}).T


def _told(found: Comparison) -> dict[str, str]:
    points = (f"{100 * each:+.1f}".replace("-", "−")
              for each in (found.difference, found.low, found.high))
    return dict(zip(("difference, points", "95 %, from", "to"), points)) | {"verdict": found.word}


def smallest(tries: Tries) -> float:
    """Return the least difference of two that their interval would tell from zero, in points."""
    found = verdict(*tries.values(), POINT)
    return 100 * (found.high - found.low) / 2


def draw_tries(tries: Tries, sentences: Sequence[tuple[str, int]] = ()) -> Figure:
    """Draw each try's gain over the head alone: a point a seed, and the mean's 95 % interval.

    `sentences` are those that were answered: by default the domain's validation sentences.
    """
    alone = handed_in._right_alone(tuple(sentences) or data.load(handed_in.DOMAIN).validation)
    found = {name: (100 * (right - alone).mean(1), [100 * end for end in interval(
        right, alone.expand_as(right))]) for name, right in tries.items()}
    made, ax = plots.figure(9, 1.2 + 0.55 * len(found))
    for y, (gains, (low, high)) in enumerate(found.values()):
        ax.plot([low, high], [y] * 2, lw=2, color=plots.COLOURS["yours"])
        ax.plot(gains, [y] * len(gains), "o", ms=6, mfc="none", color=plots.COLOURS["yours"])
        ax.plot(gains.mean(), y, "o", ms=9, color=plots.COLOURS["yours"])
        ax.text(gains.mean(), y - 0.22, f"{gains.mean():+.1f}".replace("-", "−"), ha="center",
                fontsize=11)
    ax.axvline(0, color=plots.COLOURS["head"], lw=2)
    ax.set(yticks=range(len(found)), yticklabels=found, ylim=(len(found) - 0.5, -0.7),
           xlabel="points more right than the head alone")
    made.set_label(" ".join(f"{name}: {gains.mean():+.1f} ({low:+.1f} to {high:+.1f})."
                            for name, (gains, (low, high)) in found.items()))
    return made


# ── a run, and what is handed in ─────────────────────────────────────────────────────────────


def places(config: Any, make: Callable[[nn.Linear], nn.Module]) -> tuple[str, ...]:
    """Return the modules that `config` names, if `make` builds the adapter that it describes.

    Raises as `ship` does: random numbers show before training what zeros would hide.
    """
    names = tuple(adapters(_method(config).inject(handed_in.base(), config)))
    mine = core.attach(handed_in.base(), names, make)
    for p in contents.adapter_parameters(mine).values():
        p.data.normal_(std=0.1)
    _known(mine.eval(), config)
    return names


def ship(model: nn.Module, config: Any, folder: Path | str) -> Path:
    """Write your adapter as the method of `config`, which peft knows, if that is what it is.

    Raises `PeftTeachError` where names, shapes or outputs differ; then nothing is written.
    """
    return store.save(_known(model.to("cpu").eval(), config), folder)


def _method(config: Any) -> Any:
    known = {method.Config: method for method in handed_in.METHODS.values()}
    if type(config) not in known:
        raise PeftTeachError(f"{type(config).__name__} is no setting that can be shipped.",
                             expected="a Config of pt.lora, pt.dora or pt.ia3")
    return known[type(config)]


def _known(mine: nn.Module, config: Any) -> nn.Module:
    """Return the library's own model with your numbers, which answers as yours does."""
    shipped = _method(config).inject(handed_in.base(), config)
    try:
        shipped.load_state_dict(mine.state_dict())
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise PeftTeachError(f"Your adapter is not what {config} says: {told}",
                             hint="the same modules, parameters' names and shapes") from None
    row = handed_in.same("", *(handed_in.logits(each) for each in (mine, shipped.eval())))
    if not row.holds:
        raise PeftTeachError(f"With the same numbers, your adapter and {config} differ: "
                             f"{row.found}.", hint="is the scale alpha / rank in both?")
    return shipped


def hand_in(folder: Path | str, sentences: Sequence[tuple[str, int]]) -> pandas.DataFrame:
    """Look at a folder as the grader will, but on these sentences."""
    found = handed_in.rows(folder)
    if found[0].holds:
        ahead, told, _ = handed_in.measure(Path(folder), sentences)
        found.append(handed_in.Row("gain", ahead, told))
    return pandas.DataFrame(found).set_index("property")


EXAMPLES = {"tries": lambda: draw_tries(recorded())}
