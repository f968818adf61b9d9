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
from ....ink import both
from ....methods import ia3, lora
from ... import records
from ...checks.mutants import ACCEPTED, outcome
from ...verdicts import BETTER, POINT, Comparison, interval, verdict
from . import exercises, handed_in
from .handed_in import answered, gain

__all__ = ["ahead", "broken_law", "draw_tries", "filled", "gain", "hand_in",
           "in_points", "lines", "named", "pair", "places", "put_to", "recorded", "ship",
           "siblings"]

SEEDS = (0, 1, 2)
Tries = Mapping[str, Tensor]    # (seeds, sentences) by name: 1 for a sentence that is right

# ── the archive ──────────────────────────────────────────────────────────────────────────────


def lines() -> list[tuple[str, str]]:
    """Return the newspaper's archive as it came, (document, text) a line."""
    return [(name.split("_")[0], text) for name, _, text in data.lines(handed_in.DOMAIN)]


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


def put_to(test: Callable, make: Callable) -> str:
    """Return what a test says of an adapter: that it accepts it, or how it rejects it."""
    said = outcome(test, make)
    return "your test accepts it" if said is ACCEPTED else f"your test rejects it: {said}"


def broken_law(make: Callable[[nn.Linear], nn.Module]) -> str:
    """Return the first law that an adapter breaks, by its name in the lesson, or "none"."""
    return LAWS.get(exercises.broken(make)[0], "none")


# ── one's own runs ───────────────────────────────────────────────────────────────────────────

EXAMPLE = {"config": lora.Config(rank=1, alpha=8.0, targets=("value",), layers=(5,)), "epochs": 1,
           "lr": 5e-3}


def filled(name: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be trained, as arguments: yours, or an example where dots are left.

    Says how many bytes it will have; raises as `places` does.
    """
    if ... in setting.values():
        print("Dots are left: an example trains instead.")
        name, setting = "example", {"make": lambda base: lora.LoRALinear(base, 1, 8.0), **EXAMPLE}
    print(_told_bytes(*_fitted(setting["config"], setting["make"])[1:]))
    return {"name": name, **setting}


def pair(train: Callable[..., Path], one: Mapping[str, Any], other: Mapping[str, Any],
         sentences: Sequence[tuple[str, int]], first: Path) -> dict[str, Tensor]:
    """Train two settings with each seed; return who is right, by what each setting trains.

    `train(name, seed=…, **setting)` writes a folder and returns it; `first` is the folder of `one`
    with the first seed, which is not trained again. While dots are left in one, nothing trains, and
    a recorded pair stands in. Raises `PeftTeachError`, before any training, for equal settings, for
    different bytes, and as `places` does.
    """
    if ... in (*one.values(), *other.values()):
        print("Dots are left: a recorded pair stands in.")
        return {name: right[:, :len(sentences)] for name, right in recorded()[1].items()}
    if one == other:
        raise PeftTeachError("Both are one setting.", expected="two settings that differ")
    sizes = [_fitted(each["config"], each["make"])[1:] for each in (one, other)]
    if sum(sizes[0]) != sum(sizes[1]):
        raise PeftTeachError(f"One has {sum(sizes[0]):,} bytes, the other {sum(sizes[1]):,}.",
                             expected="the same bytes, spent in two ways",
                             hint="twice the rank on half of the modules has as many")
    print(f"Each: {_told_bytes(*sizes[0])}")
    folders = {f"one: {named(one['config'])}": [first, *(
                   train(f"one-{seed}", seed=seed, **one) for seed in SEEDS[1:])],
               f"other: {named(other['config'])}": [
                   train(f"other-{seed}", seed=seed, **other) for seed in SEEDS]}
    return {name: torch.stack([answered(folder, sentences) for folder in each])
            for name, each in folders.items()}


def named(config: Any) -> str:
    """Return what a `Config` trains, in words: "value in block 5, rank 1"."""
    blocks = "all blocks" if config.layers is None else (
        f"block {', '.join(map(str, config.layers))}")
    rank = getattr(config, "rank", None)
    return f"{', '.join(_targets(config))} in {blocks}" + (f", rank {rank}" if rank else "")


def _targets(config: Any) -> tuple[str, ...]:
    if config.targets is None:
        return ("key", "value", "ffn_out") if _method(config) is ia3 else ("query", "value")
    return (config.targets,) if isinstance(config.targets, str) else tuple(config.targets)


def recorded() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return two recorded pairs on validation, far apart and nearly alike: (3 seeds, sentences)."""
    found: dict[str, list[list[int]]] = defaultdict(list)
    for row in records.load("capstone")["runs"]:
        of = row["setting"]
        config = lora.Config(rank=of["rank"], alpha=of["alpha"], targets=tuple(of["targets"]),
                             layers=None if of["layers"] is None else tuple(of["layers"]))
        found[named(config)].append([*map(int, row["answers"])])
    runs = [(name, torch.tensor(answers).double()) for name, answers in found.items()]
    return dict(runs[:2]), dict(runs[2:])


def ahead(tries: Tries, sentences: Sequence[tuple[str, int]]) -> Comparison:
    """Return the verdict on the first of the tries, against the head on the mean."""
    right = next(iter(tries.values()))
    return verdict(right, handed_in.right_alone(tuple(sentences)).expand_as(right), POINT)


def _pairs(tries: Tries) -> list[tuple[str, str]]:
    names = [*tries]
    return [*zip(names[::2], names[1::2])]


def in_points(share: float) -> str:
    """Return a difference of shares in points: "+1.1"."""
    return f"{100 * share:+.1f}".replace("-", "−")


@both
def draw_tries(tries: Tries, sentences: Sequence[tuple[str, int]] = ()) -> Figure:
    """Draw each try's gain over the head on the mean: a point a seed, and the mean's 95 % interval.

    The title is how many are better than that head, and the verdict on each two that follow each
    other. `sentences` are those that were answered: by default the domain's
    validation sentences.
    """
    alone = handed_in.right_alone(tuple(sentences) or data.load(handed_in.DOMAIN).validation)
    found = {name: (100 * (right - alone).mean(1), [100 * end for end in interval(
        right, alone.expand_as(right))]) for name, right in tries.items()}
    told = [(one, other, verdict(tries[one], tries[other], POINT).word)
            for one, other in _pairs(tries)]
    better = sum(verdict(right, alone.expand_as(right), POINT).word == BETTER
                 for right in tries.values())
    made, ax = plots.figure(9, 1.7 + 0.55 * len(found))
    places = [y + 0.4 * (y // 2) for y in range(len(found))]    # the two of a pair are near
    for y, (gains, (low, high)) in zip(places, found.values()):
        ax.plot([low, high], [y] * 2, lw=2, color=plots.COLOURS["yours"])
        ax.plot(gains, [y] * len(gains), "o", ms=6, mfc="none", color=plots.COLOURS["yours"])
        ax.plot(gains.mean(), y, "o", ms=9, color=plots.COLOURS["yours"])
        ax.text(gains.mean(), y - 0.22, f"{gains.mean():+.1f}".replace("-", "−"),
                ha="left" if gains.mean() > 0 else "right",    # beside the line of zero
                fontsize=11, path_effects=plots.HALO)
    ax.axvline(0, color=plots.COLOURS["head"], lw=2)
    ax.text(0, 1.01, "head on the mean", ha="center", va="bottom", fontsize=11,
            color=plots.COLOURS["head"], transform=ax.get_xaxis_transform())
    ax.set(yticks=places, yticklabels=found, ylim=(places[-1] + 0.5, -0.7))
    plots.entitle(ax, "points more right than the head on the mean")
    claim = (f"{better or 'None'} of {len(tries)} {'are' if better > 1 else 'is'} better "
             "than the head on the mean; "
             + "; ".join(f"{one} against {other}: {word}" for one, other, word in told))
    plots.claim(made, claim, " ".join(f"{name}: {gains.mean():+.1f} ({low:+.1f} to {high:+.1f})."
                            for name, (gains, (low, high)) in found.items()))
    return made


# ── a run, and what is handed in ─────────────────────────────────────────────────────────────


def places(config: Any, make: Callable[[nn.Linear], nn.Module]) -> tuple[str, ...]:
    """Return the modules that `config` names, if `make` builds the adapter that it describes.

    Raises as `ship` does: random numbers show before training what zeros would hide. Raises
    `PeftTeachError`, too, for more bytes than the brief allows.
    """
    return _fitted(config, make)[0]


def _fitted(config: Any, make: Callable[[nn.Linear], nn.Module]
            ) -> tuple[tuple[str, ...], int, int]:
    """Return the modules of `places`, and how many bytes the adapter and the head will have."""
    right = _method(config).inject(handed_in.base(), config)
    names, own = tuple(adapters(right)), contents.adapter_parameters(right)
    size = sum(p.nbytes for p in own.values())
    head = sum(p.nbytes for name, p in right.named_parameters()
               if p.requires_grad and name not in own)
    if size + head > handed_in.LIMIT:
        raise PeftTeachError(f"{named(config)}: {_told_bytes(size, head)}",
                             expected=f"at most {handed_in.LIMIT:,}",
                             hint="a lower rank, or fewer targets or layers")
    mine = core.attach(handed_in.base(), names, make)
    for p in contents.adapter_parameters(mine).values():
        p.data.normal_(std=0.1)
    _known(mine.eval(), right, config)
    return names, size, head


def _told_bytes(adapter: int, head: int) -> str:
    return f"{adapter:,} + {head:,} of {handed_in.LIMIT:,} bytes, adapter and head."


def ship(model: nn.Module, config: Any, folder: Path | str) -> Path:
    """Write your adapter as the method of `config`, which peft knows, if that is what it is.

    Raises `PeftTeachError` where names, shapes or outputs differ; then nothing is written.
    """
    shipped = _method(config).inject(handed_in.base(), config)
    return store.save(_known(model.to("cpu").eval(), shipped, config), folder)


def _method(config: Any) -> Any:
    known = {method.Config: method for method in handed_in.METHODS.values()}
    if type(config) not in known:
        raise PeftTeachError(f"{type(config).__name__} is not a setting that can be shipped.",
                             expected="a Config of pt.lora, pt.dora or pt.ia3")
    return known[type(config)]


def _known(mine: nn.Module, shipped: nn.Module, config: Any) -> nn.Module:
    """Return the library's own model with your numbers, which answers as yours does."""
    try:
        shipped.load_state_dict(mine.state_dict())
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise PeftTeachError(f"Your adapter is not what {config} says: {told}",
                             hint="the same modules, parameters' names and shapes") from None
    holds, found = handed_in.same(*(handed_in.logits(each) for each in (mine, shipped.eval())))
    if not holds:
        raise PeftTeachError(f"With the same numbers, your adapter and {config} differ: "
                             f"{found}.", hint="is the scale alpha / rank in both?")
    return shipped


def hand_in(folder: Path | str, sentences: Sequence[tuple[str, int]]) -> pandas.DataFrame:
    """Look at a folder as the grader will, but on these sentences; the table bears its name."""
    found = handed_in.rows(folder)
    if found[0].holds:
        ahead, told, _ = handed_in.measure(Path(folder), sentences)
        found.append(handed_in.Row("gain", ahead, told))
    return pandas.DataFrame(found).set_index("property").rename_axis(Path(folder).name)


EXAMPLES = {"tries": lambda: draw_tries(recorded()[0] | recorded()[1])}
