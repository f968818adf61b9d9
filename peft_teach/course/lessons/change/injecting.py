"""Lesson 02, few places: `inject`, which puts adapters into a model, and its law as a test."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .... import models
from ....core import Adapter, adapters, plain_name
from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, named, rejected, strange
from ...mutants import MISTAKES, false_positives, outcomes, score, survivors
from .tiny import Affine, Scale, Tiny
from .versions import BROKEN, BY_ERROR, RIGHT

# ── change.inject ────────────────────────────────────────────────────────────────────────────


def inject(model: nn.Module, targets: Sequence[str],
           make: Callable[[nn.Module], Adapter]) -> nn.Module:
    """Wrap every module that has a target's name in `make(module)`; return the model to keep.

    A module has the name "query" if its full name is "query" or ends with ".query". What `make`
    adds trains, and so does the head; all else is frozen. Raises `KeyError` for a target that no
    module has; then the model is as it was. `pt.attach` is this and a few safeguards.
    """
    modules = dict(model.named_modules())
    hits: dict[str, nn.Module] = {}
    for target in targets:
        found = {n: m for n, m in modules.items() if n == target or n.endswith(f".{target}")}
        if not found:
            raise KeyError(f"no module is called {target!r}")
        hits |= found
    head = models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in head)
    for name, base in hits.items():
        owner, _, child = name.rpartition(".")
        setattr(modules[owner], child, make(base))    # the owner itself, were it wrapped already
    return model


def inject_cases(seed: int) -> list[dict]:
    """Return models as lists of modules, with targets that they have, and some that they have not.

    First the smallest; then one with the names of a BERT; one where a name is whole; targets with
    dots; two targets that mean the same modules; a target that is a part with modules in it, with
    an adapter whose parameters have other names; and such a part together with what lies in it.
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
         "own": ("gain", "shift"), "unknown": [("attention", "attention.key")]},
        {"modules": {**nested, "classifier": ("Linear", width)},
         "targets": ("attention", "query"), "own": ("gain", "shift"), "unknown": []},
    ]


ADAPTERS = {("a",): Scale, ("gain", "shift"): Affine}    # by the names of their parameters


def _own(case: dict) -> tuple[str, ...]:
    return case.get("own", ("a",))


def model_of(case: dict) -> nn.Module:
    """Return the case's model: its modules, each at its place."""
    model = nn.Module()
    for name, (kind, width) in case["modules"].items():
        *path, last = name.split(".")
        owner = model
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]
        owner.add_module(last, getattr(nn, kind)(*[width] * (2 if kind == "Linear" else 1)))
    return model


def run_inject(inject, case: dict) -> dict[str, Any]:
    """Put adapters into one model, and try to, with an unknown name, into others."""
    make, model = ADAPTERS[_own(case)], model_of(case)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    try:
        found = inject(model, case["targets"], make)
    except Exception as error:
        within = isinstance(error, AttributeError) and _is_nested(case)
        if not within and not any(target in str(error) for target in case["targets"]):
            raise
        return {"gave": type(error).__name__, "is_model": False, "refused": True,
                "said": str(error)[:200]}
    seen = {"gave": named(found), "is_model": isinstance(found, nn.Module), "refused": False}
    if not seen["is_model"]:
        return seen
    seen["other"] = _other(found, before)
    placed = {name: _at(found, name) for name in _names(case)}
    seen["layers"] = {name: _layers(module) for name, module in placed.items()}
    seen["listed"] = len(adapters(found))
    seen["trains"] = {plain_name(found, n): p.requires_grad for n, p in found.named_parameters()}
    seen["asked"] = [_asked(inject, make, model_of(case), targets) for targets in case["unknown"]]
    return seen


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


def _at(model: nn.Module, name: str) -> nn.Module | None:
    """Return the module that a forward pass meets at this place, also inside of what is wrapped."""
    here = model
    for part in name.split("."):
        while isinstance(here, Adapter):
            here = here.base
        here = here._modules.get(part)
        if here is None:
            return None
    return here


def _layers(module: nn.Module | None) -> int:
    """Return how many adapters lie around a module; −1 where it is no longer there."""
    if module is None:
        return -1
    count = 0
    while isinstance(module, Adapter):
        module, count = module.base, count + 1
    return count


def _asked(inject, make, model: nn.Module, targets: tuple[str, ...]) -> dict[str, Any]:
    """Return what an injection with an unknown name came to."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    said = {"raised": "", "text": ""}
    try:
        inject(model, targets, make)
    except Exception as error:
        said = {"raised": type(error).__name__, "text": str(error)}
    now = {name: p.requires_grad for name, p in model.named_parameters()}
    return {**said, "targets": " and ".join(map(repr, targets)), "intact": now == before}


def judge_inject(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "is_model", "refused", gave=str, is_model=bool, refused=bool,
                      layers=dict, listed=int, trains=dict, asked=list, other=str, said=str):
        return odd
    if seen["refused"] and seen["gave"] == "AttributeError":
        return rejected("lost", f"{_told(case)} inject raised {seen['gave']}: "
                                f"{seen.get('said', '').rstrip('.')}.")
    if seen["refused"]:
        return rejected("refused_known", f"{_told(case)} {_hits(case)[0]} is meant, and inject "
                                         f"raised {seen['gave']}.")
    if not seen["is_model"]:
        return rejected("no_return") if seen["gave"] == "None" else rejected(
            "no_model", f"It gave {seen['gave']}.")
    if not seen.keys() >= {"layers", "listed", "trains", "asked", "other"}:
        return Verdict(False, "The check's report is not whole.")
    if seen["other"]:
        return rejected("other_module", f"{_told(case)} {seen['other']}.")
    for question in (_wraps_what_it_should, _trains_what_it_should, _refuses_what_is_not_there):
        if verdict := question(case, seen):
            return verdict
    return Verdict(True, "It finds, wraps, freezes, and refuses what is not there.")


def _names(case: dict) -> list[str]:
    """Return the names of all modules, those that hold others among them."""
    parts = [name.split(".") for name in case["modules"]]
    return list(dict.fromkeys(".".join(path[:n + 1]) for path in parts for n in range(len(path))))


def _means(target: str, name: str) -> bool:
    return f".{name}".endswith(f".{target}")


def _hits(case: dict) -> list[str]:
    return [name for name in _names(case)
            if any(_means(target, name) for target in case["targets"])]


def _is_nested(case: dict) -> bool:
    """Whether a module that is meant lies inside another."""
    hits = _hits(case)
    return any(one.startswith(f"{other}.") for one in hits for other in hits)


def _told(case: dict) -> str:
    return f"With the targets {' and '.join(map(repr, case['targets']))}:"


def _wraps_what_it_should(case: dict, seen: dict) -> Verdict | None:
    """Is each hit wrapped, once, where it stood, and nothing else?"""
    right, layers, told = _hits(case), seen["layers"], _told(case)
    wrapped = [name for name in _names(case) if layers.get(name) not in (0, None)]
    if wrapped != right and not wrapped and seen["listed"]:
        return rejected("not_in_place", f"{told} the model holds {seen['listed']} adapters, and "
                                        f"model.get_submodule({right[0]!r}) is none of them.")
    missing = [name for name in right if name not in wrapped]
    if extra := [name for name in wrapped if name not in right]:
        if any(extra[0].startswith(f"{name}.") for name in right):
            return rejected("inside", f"{told} {extra[0]} was wrapped.")
        last = extra[0].rpartition(".")[2]
        looks_like = any(target in last for target in case["targets"])
        return rejected("part_of_name" if looks_like else "too_many",
                        f"{told} {extra[0]} was wrapped.")
    if missing:
        within = any(missing[0].startswith(f"{name}.") for name in wrapped)
        return rejected("own_name" if missing[0] in case["targets"] else
                        "lost" if within else "skipped",
                        f"{told} {missing[0]} was not wrapped ({len(wrapped)} of {len(right)} "
                        "were).")
    if right == wrapped and seen["listed"] > sum(layers[name] for name in right):
        return rejected("inside", f"{told} the model holds {seen['listed']} adapters, and "
                                  f"{len(right)} are meant.")
    if several := [name for name in right if layers.get(name) != 1]:
        return rejected("twice", f"{told} around {several[0]} lie {layers[several[0]]} adapters.")
    return None


def _trains_what_it_should(case: dict, seen: dict) -> Verdict | None:
    """Do the adapters' own parameters and the head train, and nothing else?"""
    right, trains, told = _hits(case), seen["trains"], _told(case)
    head = [name for name in case["modules"] if name.split(".")[0] in ("classifier", "score")]
    for name in _names(case):
        wrapped = next((hit for hit in right if f"{name}.".startswith(f"{hit}.")), None)
        own = [f"{name}.{its}" for its in _own(case)] if name in right else []
        given = [f"{name}.{its}" for its in ("weight", "bias") if name in case["modules"]]
        for parameter in (*given, *own):
            wanted, found = name in head or parameter in own, trains.get(parameter)
            if found is wanted:
                continue
            mistake = (("own_frozen" if _own(case) == ("a",) else "by_name") if parameter in own
                       else "base_trained" if wrapped else "head_frozen" if name in head
                       else "rest_trained")
            called = parameter if parameter in own or not wrapped else (
                f"{wrapped}.base{parameter.removeprefix(wrapped)}")
            return rejected(mistake, f"{told} {called} has requires_grad = {found}.")
    return None


def _refuses_what_is_not_there(case: dict, seen: dict) -> Verdict | None:
    """Is an unknown name an error that names it, and the model afterwards as it was?"""
    if len(seen["asked"]) != len(case["unknown"]):
        return Verdict(False, "The check's report is not whole.")
    for targets, said in zip(case["unknown"], seen["asked"]):
        if odd := strange(said, "raised", "text", "targets", "intact", raised=str, text=str,
                          targets=str, intact=bool):
            return odd
        absent = next(target for target in targets
                      if not any(_means(target, name) for name in _names(case)))
        told = f"No module is called {absent!r}; asked for {said['targets']}, inject"
        if not said["raised"]:
            return rejected("no_error" if len(targets) == 1 else "no_error_among_others",
                            f"{told} raised nothing.")
        if absent not in said["text"]:
            return rejected("error_unnamed", f"{told} raised {said['raised']}, and its text does "
                                             f"not say {absent}.")
        if not said["intact"]:
            return rejected("half_done", f"{told} raised {said['raised']}, and left the model "
                                         "changed.")
    return None


INJECT_MISTAKES = {
    "no_return": NO_RETURN,
    "no_model": "What comes back is the model to go on with.",
    "not_in_place": "A forward pass walks from module to module, and never meets them. "
                    "setattr(model, 'a.b', …) puts a new entry called 'a.b' into the model "
                    "itself: which module owns the one to be replaced, and under which name?",
    "part_of_name": "The target is only a part of that name. Where does a module's own name begin?",
    "too_many": "No target has that name.",
    "inside": "A target is the end of a full name. What lies inside a module that is meant is not "
              "meant itself.",
    "refused_known": "A target may have dots itself, and may be a full name: it is compared with "
                     "the whole end of a name, not with its last part alone.",
    "own_name": "A module that stands at the top has no dot in front of its name.",
    "skipped": "Every module with that name is meant, in all blocks, of all targets.",
    "lost": "It lies inside another that is meant. Once that one is wrapped, its old name leads to "
            "the wrapper, and what setattr puts there no forward pass meets. Who owns it still, or "
            "which of the two is to be wrapped first?",
    "twice": "A second adapter went around the first. Each module is to be wrapped once, however "
             "often it is met, under one target or two: is a list of names made before the first "
             "is replaced?",
    "other_module": "Each adapter goes around the very module that stood in its place, which stays "
                    "what it is, as all others do: its weights, their dtype, and its mode.",
    "base_trained": "What is wrapped is frozen, too. In which order do you freeze and wrap?",
    "own_frozen": "What `make` adds is what should train. In which order do you freeze and wrap?",
    "by_name": "What `make` brings trains, whatever its parameters are called: another adapter has "
               "other names, and as many as it likes.",
    "head_frozen": "The head is new, and no method works without training it: "
                   "pt.models.head(model) lists its parameters.",
    "rest_trained": "Everything that is neither an adapter's own nor the head's is frozen, also "
                    "where nothing is wrapped.",
    "no_error": "A typing error must not pass in silence: one would train the head alone and "
                "wonder.",
    "no_error_among_others": "That another target was found does not help: is each one asked for "
                             "by itself?",
    "error_unnamed": "Whoever reads the error needs to know which of the targets it was.",
    "half_done": "Whoever mends the name and runs the cell again would wrap the wrapped. Look for "
                 "all targets before the first change.",
}

INJECT = Exercise(
    id="change.inject", lesson="02", names=("inject",), points=3, minutes=12, difficulty=3,
    reference="peft_teach.course.lessons.change.injecting:inject",
    equivalents=("peft_teach.core:attach", "peft_teach.core:wrap"),
    cases=inject_cases, run=run_inject, judge=judge_inject, mistakes=INJECT_MISTAKES,
    hints=("Two passes: first find, then change. What must be known before anything is changed?",
           "model.named_modules() gives pairs of a full name and a module; str.rpartition('.') "
           "parts a name into the owner's and the module's own.",
           "The owner is a module as well: under which name do you find it, and what is the name "
           "of the model itself? setattr puts something else under a name that it has. Freeze "
           "everything but the head before the adapters bring parameters of their own."))


# ── change.holds ─────────────────────────────────────────────────────────────────────────────


def inject_holds(inject, fresh, make) -> None:
    """Object to an `inject` that does not find, wrap, freeze, or refuse as it should.

    `fresh()` returns a `Tiny`, `make(base)` an adapter.
    """
    model = inject(fresh(), ("query", "value"), make)
    wrapped = {name for name, module in model.named_modules() if isinstance(module, Adapter)}
    expected = {f"blocks.{b}.{name}" for b in range(2) for name in ("query", "value")}
    assert wrapped == expected, f"wrapped: {sorted(wrapped)}"
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    own = {f"{name}.{p}" for name in expected
           for p in model.get_submodule(name).own_parameters()}
    assert trained == own | {"classifier.weight", "classifier.bias"}, f"trains: {sorted(trained)}"
    model = fresh()
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        inject(model, ("query", "no_such_name"), make)
    except Exception:
        now = {name: p.requires_grad for name, p in model.named_parameters()}
        assert now == before, "it refused, and left the model changed"
        return
    raise AssertionError("no_such_name passed in silence")


def run_holds(inject_holds, case: dict) -> dict[str, Any]:
    """Put the test on trial, and note which names it asks for."""
    known, asked = [f".{name}" for name, _ in Tiny().named_modules() if name], set()

    def put(inject):
        def noted(model, targets=(), make=Scale):
            targets = (targets,) if isinstance(targets, str) else tuple(targets)
            absent = {target for target in targets
                      if not any(name.endswith(f".{target}") for name in known)}
            asked.add("known" if not absent else "alone" if absent == {*targets} else "mixed")
            return inject(model, targets, make)

        return inject_holds(noted, Tiny, Scale)

    answers = outcomes(put, RIGHT | BROKEN, case["seed"])
    return {"answers": answers, "asked": sorted(asked)}


UNKNOWN = next(iter(BROKEN))


def judge_holds(case: dict, seen) -> Verdict:
    """Judge a test by its outcomes, and name what learners slip on."""
    if odd := strange(seen, "answers", "asked", answers=dict, asked=list):
        return odd
    verdict = score(seen["answers"], RIGHT, BROKEN)
    if verdict.mistake == "accused":
        wronged = set(false_positives(seen["answers"], RIGHT))
        special = "one_kind" if wronged in BY_ERROR else "argument" if wronged == {
            "returns a copy"} else "accused"
        return rejected(special, verdict.message)
    if verdict.mistake == "let_through" and seen["answers"][UNKNOWN] is None:
        special = ("swallowed" if "mixed" in seen["asked"] else
                   "alone" if "alone" in seen["asked"] else "let_through")
        return rejected(special, verdict.message)
    if verdict.mistake == "let_through" and len(
            missed := survivors(seen["answers"], BROKEN)) == 1:
        return rejected(SLIPS.get(missed[0], "let_through"), verdict.message)
    return verdict


SLIPS = {"wraps for the first target alone": "one_target",      # let through, and no other
         "refuses after it has changed the model": "not_looked"}
HOLDS_MISTAKES = MISTAKES | {
    "swallowed": "It did ask for an unknown name beside a known one, and the silence passed. An "
                 "assert inside `try` is caught by your own `except`: what must happen if nothing "
                 "was raised stands behind it.",
    "alone": "That version raises where no name is found at all, and says nothing where one of "
             "several is missing. Ask for both at once.",
    "one_target": "With one target, the first is all of them. Give it two.",
    "not_looked": "The error came, and what happened before it? Look at the model that was given, "
                  "once it is refused: its modules, or what trains.",
    "one_kind": "Which kind of error it is, the task leaves open: any Exception will do.",
    "argument": "What counts is the model that inject returns. It may be a copy of the one that it "
                "was given.",
}

HOLDS = Exercise(
    id="change.holds", lesson="02", names=("inject_holds",), points=3, minutes=10, difficulty=3,
    reference="peft_teach.course.lessons.change.injecting:inject_holds",
    cases=lambda seed: [{"seed": seed}], run=run_holds, judge=judge_holds,
    mistakes=HOLDS_MISTAKES,
    hints=("Which sets must be equal? The modules that are adapters, and those that should be; the "
           "parameters that train, and those that should.",
           "Counting what trains finds more than looking at one parameter: two targets, two "
           "blocks, and the head.",
           "For the unknown name: try, except and else. What raises there is right, what gets "
           "through is to be objected to."),
    arguments=lambda pieces: (pieces["inject"], Tiny, Scale))
