"""Lesson 02, few places: `inject`, which puts adapters into a model, and its law as a test."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ....adapter import Adapter, adapters, plain_name
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import named, rejected, report
from ...checks.mutants import Law
from ...checks.stand_ins import Tiny
from .mutants import BROKEN, RIGHT
from .mutants import inject as inject  # the reference

# ── change.inject ────────────────────────────────────────────────────────────────────────────


class Scale(Adapter):
    """y = a · base(x), around a layer or a whole block; one trained number, 1 at the start."""

    def __init__(self, base: nn.Module):
        super().__init__(base)
        self.a = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * self.base(x)


class Affine(Adapter):
    """y = gain · base(x) + shift, around a module or a part of a model that ends with a bias."""

    def __init__(self, base: nn.Module):
        super().__init__(base)
        width = len([*base.parameters()][-1])
        self.gain = nn.Parameter(torch.ones(width))                   # (n_out,)
        self.shift = nn.Parameter(torch.zeros(width))                 # (n_out,)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.base(x) + self.shift


def inject_cases(seed: int) -> list[dict]:
    """Return models as lists of modules, with targets that they have and some that they do not.

    The smallest; a BERT's names; whole names; targets with dots; two for one module; a part with
    modules in it; and this together with what lies in it.
    """
    width = 3 + seed % 4
    tiny = {f"blocks.{b}.{name}": (kind, width) for b in range(2) for name, kind in (
        ("query", "Linear"), ("query_norm", "LayerNorm"), ("value", "Linear"))}
    bert = {f"bert.encoder.layer.{b}.{name}": (kind, width + 1) for b in range(3)
            for name, kind in (
                ("attention.self.query", "Linear"), ("attention.self.key", "Linear"),
                ("attention.output.dense", "Linear"), ("attention.output.LayerNorm", "LayerNorm"),
                ("output.dense", "Linear"))}
    bert["bert.pooler.dense"] = ("Linear", width + 1)
    bare = dict.fromkeys(("query", "old.query", "subquery", "value"), ("Linear", width + 2))
    tiny = {"embedding": ("Linear", width), **tiny, "classifier": ("Linear", width)}
    nested = {f"layer.{b}.{name}": ("Linear", width) for b in range(2)
              for name in ("attention.query", "attention.value", "dense")}
    return [
        {"modules": tiny, "targets": ("query",), "unknown": [("qeury",), ("query", "keys")]},
        {"modules": {**bert, "classifier": ("Linear", width + 1)},
         "targets": ("LayerNorm", "query", "dense"), "unknown": [("query", "q_proj", "dense")]},
        {"modules": bare, "targets": ("query",), "unknown": [("quer",), ("value", "old_query")]},
        {"modules": tiny, "targets": ("0.query", "blocks.1.value"),
         "unknown": [("value", "blocks.2.query")]},
        {"modules": tiny, "targets": ("query", "blocks.0.query"), "unknown": []},
        {"modules": {**nested, "classifier": ("Linear", width)}, "targets": ("attention",),
         "unknown": [("attention", "attention.key")]},
        {"modules": {**nested, "classifier": ("Linear", width)},
         "targets": ("attention", "query"), "unknown": []},
    ]


NOTHING, OWN = "no such parameter", ("gain", "shift")


def model_of(case: dict) -> nn.Module:
    """Return the case's model: its modules, each at its place."""
    model = nn.Module()
    for name, (kind, width) in case["modules"].items():
        *path, last = name.split(".")
        owner = model
        for part in path:
            owner = owner._modules.setdefault(part, nn.Module())
        owner.add_module(last, getattr(nn, kind)(*[width] * (2 if kind == "Linear" else 1)))
    return model


ASKED = report(raised=str, text=str, intact=bool)
PLACED = {"other": str, "layers": dict[str, int], "listed": int, "trains": dict[str, bool],
          "asked": list[ASKED]}


def run_inject(inject, case: dict) -> dict[str, Any]:
    """Put adapters into one model, and try to, with an unknown name, into others."""
    model = model_of(case)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = inject(model, case["targets"], Affine)
    if not isinstance(found, nn.Module):
        return {"found": found}
    return {
        "other": _other(found, before),
        "layers": {name: _layers(found, name) for name in _names(case)},
        "listed": len(adapters(found)),
        "trains": {plain_name(found, n): p.requires_grad for n, p in found.named_parameters()},
        "asked": [_asked(inject, model_of(case), targets) for targets in case["unknown"]]}


def _other(model: nn.Module, before: dict[str, Tensor]) -> str:
    """Return the first thing of a model that is not what it was before, in words, or none."""
    for name, p in model.named_parameters(remove_duplicate=False):
        plain = plain_name(model, name)
        was = before.get(plain)
        if was is not None and (p.dtype != was.dtype or not torch.equal(p, was)):
            return f"{plain} is not what it was"
    for name, module in model.named_modules():
        if not module.training:
            return f"{name or 'the model'} is no longer in training mode"
    return ""


def _layers(model: nn.Module, name: str) -> int:
    """Return how many adapters a forward pass meets at this place, also inside of a wrapped one."""
    here: nn.Module | None = model
    for part in name.split("."):
        while isinstance(here, Adapter):
            here = here.base
        here = here._modules.get(part) if here is not None else None
    count = 0
    while isinstance(here, Adapter):
        here, count = here.base, count + 1
    return count


def _asked(inject, model: nn.Module, targets: tuple[str, ...]) -> dict[str, Any]:
    """Return what an injection with an unknown name came to."""
    before, raised, text = _trained(model), "", ""
    try:
        inject(model, targets, Affine)
    except Exception as error:
        raised, text = type(error).__name__, str(error)
    return {"raised": raised, "text": text, "intact": _trained(model) == before}


def _trained(model: nn.Module) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in model.named_parameters()}


def judge_inject(case: dict, seen: dict) -> Verdict:
    if "found" in seen:
        return rejected("no_return") if seen["found"] is None else Verdict(
            False, f"It gave {named(seen['found'])}; expected the model to go on with.")
    if seen["other"]:
        return Verdict(False, f"{_told(case['targets'])} {seen['other']}.")
    for question in (_wraps_what_it_should, _trains_what_it_should, _refuses_what_is_not_there):
        if verdict := question(case, seen):
            return verdict
    return Verdict(True, "It finds, wraps, freezes, and refuses what is not there.")


def _names(case: dict) -> list[str]:
    """Return the names of all modules, including those that hold others."""
    parts = [name.split(".") for name in case["modules"]]
    return list(dict.fromkeys(".".join(path[:n + 1]) for path in parts for n in range(len(path))))


def _means(target: str, name: str) -> bool:
    return f".{name}".endswith(f".{target}")


def _hits(case: dict) -> list[str]:
    return [name for name in _names(case)
            if any(_means(target, name) for target in case["targets"])]


def _told(targets: Sequence[str]) -> str:
    return f"With the targets {' and '.join(map(repr, targets))}:"


def _wraps_what_it_should(case: dict, seen: dict) -> Verdict | None:
    """Is each hit wrapped, once, where it stood, and nothing else?"""
    right, layers, told = _hits(case), seen["layers"], _told(case["targets"])
    if seen["listed"] and not any(layers.values()):
        return rejected("not_in_place", f"{told} the model holds {seen['listed']} adapters, and "
                                        f"model.get_submodule({right[0]!r}) is none of them.")
    for name in _names(case):
        found, wanted = layers[name], int(name in right)
        if found == wanted:
            continue
        told = f"{told} adapters around {name}: {found}; expected {wanted}."
        last = name.rpartition(".")[2]
        if not wanted and any(target in last for target in case["targets"]):
            return rejected("part_of_name", told)
        within = any(name.startswith(f"{other}.") for other in right if layers[other])
        return Verdict(False, told, "lost" if within and not found else None)
    return None


def _trains_what_it_should(case: dict, seen: dict) -> Verdict | None:
    """Do the adapters' own parameters and the head train, and nothing else?"""
    right, trains = _hits(case), seen["trains"]
    head = [name for name in case["modules"] if name.split(".")[0] in ("classifier", "score")]
    own = {f"{name}.{its}" for name in right for its in OWN}
    expected = {f"{name}.{its}": name in head for name in case["modules"]
                for its in ("weight", "bias")} | dict.fromkeys(own, True)
    for name in (*expected, *trains):
        found, wanted = trains.get(name, NOTHING), expected.get(name, NOTHING)
        if found is not wanted:
            return Verdict(False, f"{_told(case['targets'])} requires_grad of {name}: {found}; "
                                  f"expected {wanted}.", "own_frozen" if name in own else None)
    return None


def _refuses_what_is_not_there(case: dict, seen: dict) -> Verdict | None:
    """Is an unknown name an error that names it, and is the model unchanged afterwards?"""
    for targets, said in zip(case["unknown"], seen["asked"], strict=True):
        absent = next(target for target in targets
                      if not any(_means(target, name) for name in _names(case)))
        told = f"{_told(targets)} no module is called {absent!r}; inject raised"
        if not said["raised"]:
            return Verdict(False, f"{told} nothing.",
                           "no_error_among_others" if len(targets) > 1 else None)
        if absent not in said["text"]:
            return Verdict(False, f"{told} {said['raised']}, and its text does not say {absent}.")
        if not said["intact"]:
            return rejected("half_done", f"{told} {said['raised']}, and left the model changed.")
    return None


INJECT_MISTAKES = {
    "not_in_place": "No forward pass meets them: setattr(model, 'a.b', …) puts a new entry, 'a.b', "
                    "into the model itself. Which module owns the one to be replaced?",
    "part_of_name": "The target is only a part of that name. Where does a module's own name begin?",
    "lost": "It lies inside another that is meant. Once that is wrapped, its old name leads to the "
            "wrapper. Who owns it still, or which of the two must be wrapped first?",
    "own_frozen": "What `make` brings trains, whatever its name. Do you freeze before you wrap?",
    "no_error_among_others": "That another target was found does not help: ask for each by itself.",
    "half_done": "Who mends the name and tries again would wrap the wrapped: look first, for all.",
}

INJECT = Exercise(
    id="change.inject", names=("inject",), points=3, minutes=18, difficulty=3,
    equivalents=("peft_teach.core:attach", "peft_teach.core:wrap"),
    cases=inject_cases, run=run_inject, judge=judge_inject, mistakes=INJECT_MISTAKES,
    returns=report(found=Any) | report(**PLACED),
    hints=("Two passes: first find, then change. What must be known before anything is changed?",
           "str.rpartition('.') parts a full name into the owner's and the module's own.",
           "The owner is a module as well, and the model's own name is ''. setattr puts something "
           "else under a name. Freeze before the adapters bring parameters of their own."))


# ── change.holds ─────────────────────────────────────────────────────────────────────────────


LAW = Law(RIGHT, BROKEN, call=lambda test, inject: test(inject, Tiny, Scale))

HOLDS = Exercise(
    id="change.holds", names=("inject_holds",), points=3, minutes=18, difficulty=3,
    **LAW.fields,
    hints=("Which sets must be equal? What is an adapter, and should be; what trains, and should.",
           "Counting what trains finds more than a look at one parameter.",
           "For the unknown name: try, except, else. If nothing is raised, your test must raise."),
    arguments=lambda pieces: (pieces["inject"], Tiny, Scale))
