"""The exercises of lesson 14: a split, the laws of an adapter as a test, and an adapter."""

import copy
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ....adapter import Adapter
from ....errors import NotMergeable
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import changed, close, difference, named, rejected, report, whole
from ...checks.mutants import Law
from . import mutants

# ── capstone.split ───────────────────────────────────────────────────────────────────────────

DOCUMENTS, NEW = 400, 60    # enough that a fair draw of a fifth seldom leaves `SHARES`
SHARES = (0.1, 0.3)
SIDES = ("train", "test")
Lines = list[tuple[str, str]]    # (document, text)


def split_cases(seed: int) -> list[dict]:
    """Return lines of an archive, and the same in another order among those of new documents."""
    drawn = random.Random(14_000 + seed)
    lines = _lines(drawn, range(DOCUMENTS))
    later = lines + _lines(drawn, range(DOCUMENTS, DOCUMENTS + NEW))
    drawn.shuffle(later)
    return [{"lines": lines, "later": later}]


def _lines(drawn: random.Random, documents: range) -> Lines:
    """Draw 1 to 8 lines a document, none alike; then some that stand elsewhere, too."""
    lines = [(f"{document:04d}", f"This is sentence {n} of editorial {document}.")
             for document in documents for n in range(drawn.randint(1, 8))]
    for _, text in drawn.sample(lines, len(lines) // 20):
        written = drawn.choice((text, text.upper(), text.replace(" ", "  ", 1)))
        lines.append((drawn.choice(lines)[0], written))
    drawn.shuffle(lines)
    return lines


def plain(text: str) -> str:
    """Return a text as it is compared: without its capitals and runs of spaces."""
    return " ".join(text.lower().split())


def run_split(split: Callable, case: dict) -> dict[str, Any]:
    """Split the lines, and again when the archive has grown."""
    return {name: _numbers(split([tuple(line) for line in case[name]]))
            for name in ("lines", "later")}


def _numbers(given: Any) -> Any:
    """Return two lists of whole numbers; None for nothing, and the name of any other type."""
    try:
        train, test = ([whole(number) for number in part] for part in given)
    except (TypeError, ValueError):
        return None if given is None else named(given)
    return [train, test] if None not in (*train, *test) else named(given)


def judge_split(case: dict, seen: dict[str, Any]) -> Verdict:
    """Ask for documents and texts in both, lines that are lost, the share, and what has moved."""
    sides: dict[str, set[int]] = defaultdict(set)
    for name, told in (("lines", ""), ("later", "With new documents, in another order: ")):
        lines, found = case[name], seen[name]
        if found is None:
            return rejected("no_return")
        if not _are_numbers(found, len(lines)):
            what = found if isinstance(found, str) else "lists with other numbers"
            return Verdict(False, f"{told}It gave {what}, not two lists of numbers of lines.")
        of = [{lines[number][0] for number in part} for part in found]
        if both := sorted(of[0] & of[1]):
            return rejected("document", f"{told}{len(both)} documents have lines in both, "
                                        f"{both[0]!r} is one.")
        for kind, write in (("twice", str), ("spelled", plain)):
            texts = Counter(write(lines[number][1]) for part in found for number in part)
            if again := [text for text, times in texts.items() if times > 1]:
                return rejected(kind, f"{told}{len(again)} texts stand there twice, {again[0]!r} "
                                      "is one.")
        if lost := {plain(text) for _, text in lines} - texts.keys():
            return rejected("lost", f"{told}{len(lost)} texts are in neither, {min(lost)!r} is "
                                    "one.")
        share = len(found[1]) / len(texts)
        if not SHARES[0] <= share <= SHARES[1]:
            return rejected("share", f"{told}The test has {share:.0%} of the lines that are left.")
        for side, documents in enumerate(of):
            for document in documents:
                sides[document].add(side)
    if moved := sorted(document for document, found in sides.items() if len(found) > 1):
        return rejected("moved", f"The archive grew, and {len(moved)} documents moved from "
                                 f"{' to '.join(SIDES)} or back, {moved[0]!r} is one.")
    return Verdict(True, "Nothing is in both, and nothing is lost.")


def _are_numbers(found: Any, lines: int) -> bool:
    """Return whether these are two lists of numbers of lines."""
    return isinstance(found, list) and len(found) == 2 and all(
        isinstance(part, list) and all(whole(number) is not None and 0 <= number < lines
                                       for number in part) for part in found)


SPLIT = Exercise(
    id="capstone.split", names=("split",), points=2, minutes=15, difficulty=2,
    cases=split_cases, run=run_split, judge=judge_split,
    returns=report(lines=Any, later=Any),
    mistakes={
        "document": "Sentences of one editorial are about one thing: who trained on some of them "
                    "has seen the others. Let the document decide, not the line.",
        "twice": "A sentence that was trained on tests nothing. Keep one copy.",
        "spelled": "Sentences that differ only in capitals or runs of spaces count as one: "
                   "compare without them.",
        "lost": "Of a text that stands there more than once, one copy stays.",
        "share": "A fifth of the documents is to be tested on; a tenth to three tenths of the "
                 "lines will do.",
        "moved": "What was trained on must never become a test. Decide by the document's own name "
                 "alone: not by its place among the others, not by a seed.",
    },
    hints=("First drop what stands there before. Then which side a line goes to is decided by its "
           "document.",
           "A document's side must not depend on which others there are. What can be computed of "
           "its name alone, and looks random?",
           "A hash, such as hashlib.sha256(document.encode()).digest()[0], is a number below 256: "
           "a fifth of all names lie below 51. Python's own hash() of a text is another one each "
           "time that Python starts."))


# ── the laws, put to an adapter of any method, on two small layers ───────────────────────────────

SIZES = ((16, 13, True), (13, 13, False))    # n_in, n_out, with a bias; 40 kB take ranks to 12


def broken(make: Callable[[nn.Linear], Adapter]) -> tuple[str, str]:
    """Return the first law that `make(base)` breaks, and what was found; two "" if it keeps all."""
    found = (each for sizes in SIZES for each in _laws(make, *sizes))
    return next(filter(any, found), ("", ""))


def _laws(make: Callable, n_in: int, n_out: int, bias: bool) -> Iterator[tuple[str, str]]:
    base, where = nn.Linear(n_in, n_out, bias=bias).requires_grad_(False), f"({n_in} to {n_out})"
    x, before = torch.randn(7, n_in), copy.deepcopy(base.state_dict())
    layer, plain = make(base), base(x)
    if not isinstance(layer, Adapter) or layer.base is not base:
        yield "not_adapter", f"my_adapter(base) gave {type(layer).__name__}, not a pt.Adapter "\
                             "around this base."
        return
    start = layer(x)
    if not close(start, plain, 1e-4):
        yield "start", f"Before any training {where}: {difference('layer(x)', start, plain)}"
    if thawed := [name for name, p in base.named_parameters() if p.requires_grad]:
        yield "base_trained", f"base.{thawed[0]} has requires_grad = True {where}."
    own = layer.own_parameters()
    for p in own.values():
        p.data.normal_()
    y = layer(x)
    y.square().sum().backward()
    if silent := [name for name, p in own.items() if p.grad is None or not p.grad.any()]:
        yield "no_gradient", f"With random numbers in all of them, {silent[0]}.grad is "\
                             f"{'None' if own[silent[0]].grad is None else 'zero'} {where}."
    y = y.detach()
    second = copied(make, base, {name: p.detach() for name, p in own.items()})
    with torch.no_grad():
        if not own or not close(again := second.eval()(x), y):
            told = difference("layer(x)", again, y) if own else "It has no parameters."
            yield "not_all", f"Its {len(own)} parameters, copied into a new one {where}: {told}"
        if altered := changed(before, base.state_dict()):
            yield "base_changed", f"base.{altered} is not what it was {where}."
        yield from _merged(layer, base, before, x, y, where)


def _merged(layer: Adapter, base: nn.Linear, before: dict[str, Tensor], x: Tensor, y: Tensor,
            where: str) -> Iterator[tuple[str, str]]:
    try:
        merged = layer.merged()
    except NotMergeable:
        return
    except Exception as error:    # a reader's merged() may raise any
        yield "merge", f"layer.merged() raised {type(error).__name__}: {error} {where}."
        return
    if merged in (layer, base) or changed(before, base.state_dict()) or not close(layer(x), y):
        yield "merged_in_place", f"After layer.merged(), layer or base is not as it was {where}."
    if not close(found := merged(x), y, 1e-4):
        yield "merge", f"Merged {where}: {difference('merged(x)', found, y)}"


def copied(make: Callable, base: nn.Module, tensors: dict[str, Tensor]) -> Adapter:
    """Return a new adapter around the base that holds these numbers, as far as names fit."""
    layer = make(base)
    with torch.no_grad():
        for name, p in layer.own_parameters().items():
            if name in tensors and p.shape == tensors[name].shape:
                p.copy_(tensors[name])
    return layer


# ── capstone.laws ────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN)
LAWS = Exercise(
    id="capstone.laws", names=("keeps_the_laws",), points=3, minutes=20, difficulty=3,
    **LAW.fields,
    arguments=lambda pieces: (pieces["my_adapter"],),
    hints=("One base of few features, with a bias, and one without: which laws can be told apart "
           "before anything is trained?",
           "At its start an adapter does nothing, so most mistakes are silent. Fill its "
           "own_parameters() with random numbers, and ask again.",
           "What a file keeps is own_parameters(). Make a second adapter around the same base, "
           "copy them, switch it to eval mode: what must it give? And which error may merged() "
           "raise?"))

# ── capstone.adapter ─────────────────────────────────────────────────────────────────────────


def run_adapter(make: Any, case: dict) -> dict[str, Any]:
    """Try the laws on it; or, where a file was handed in, put the file's numbers into it."""
    if "tensors" not in case:
        law, found = broken(make)
        return {"law": law, "found": found}
    base = nn.Linear(*case["W"].T.shape, bias=case["b"] is not None).requires_grad_(False)
    base.load_state_dict({"weight": case["W"]} | ({} if case["b"] is None else {"bias": case["b"]}))
    layer = copied(make, base, case["tensors"]).eval()
    return {"y": layer(case["x"]).detach(),
            "shapes": {name: tuple(p.shape) for name, p in layer.own_parameters().items()}}


def judge_adapter(case: dict, seen: dict[str, Any]) -> Verdict:
    """Name the law that it breaks, or say how it differs from the file."""
    if ("tensors" in case) != ("y" in seen):
        return Verdict(False, "That is the report of another case.")
    if "tensors" not in case:
        return rejected(seen["law"], seen["found"]) if seen["law"] in MISTAKES else Verdict(
            not seen["law"], seen["found"] or "It keeps every law.")
    right = {name: tuple(t.shape) for name, t in case["tensors"].items()}
    if seen["shapes"] != right:
        return Verdict(False, f"Its parameters are {seen['shapes']}, the file's {right}.")
    if not isinstance(seen["y"], Tensor):
        return Verdict(False, f"It gave {named(seen['y'])}, not a tensor.")
    off = (seen["y"] - case["y"]).abs().max() if seen["y"].shape == case["y"].shape else None
    if off is None or not off <= 1e-4 * case["y"].abs().max():
        return Verdict(False, difference("layer(x)", seen["y"], case["y"]))
    return Verdict(True, "It gives what the file gives.")


MISTAKES = {
    "not_adapter": "Return an adapter, a class that inherits from pt.Adapter, around the base "
                   "that you were given.",
    "start": "An adapter that changes the base before it has learned anything begins by "
             "forgetting.",
    "base_trained": "The base stays frozen: what trains is the adapter's own.",
    "no_gradient": "What gets no gradient learns nothing: is it detached, or unused?",
    "not_all": "Whatever forward reads, beside the base, must be a registered parameter; else the "
               "file lacks it. And eval mode changes nothing.",
    "base_changed": "Many adapters share one base: leave its numbers alone.",
    "merge": "A merged layer gives the same outputs, with a bias and without; what cannot be "
             "merged raises NotMergeable.",
    "merged_in_place": "merged() makes a new layer; the adapter and its base stay as they are.",
}
ADAPTER = Exercise(
    id="capstone.adapter", names=("my_adapter",), points=2, minutes=5, difficulty=1,
    cases=lambda seed: [{"seed": seed}],
    run=run_adapter, judge=judge_adapter, mistakes=MISTAKES,
    returns=report(law=str, found=str) | report(shapes=dict[str, Any], y=Any),
    hints=("It takes a frozen layer and returns one of your adapters around it: pt.mine gives you "
           "the classes that you wrote.",
           "How many numbers does it train on a 384 × 384 layer, and on how many layers will it "
           "stand? The head is in the file, too.",
           "To write a folder for peft, merged() may be missing. If you write it, give a plain "
           "nn.Linear with the base's bias."))

EXERCISES = (SPLIT, LAWS, ADAPTER)
