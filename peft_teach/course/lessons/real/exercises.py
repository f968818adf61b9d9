"""The exercises of lesson 12: names for peft, a false file by its answers, the way back, a test."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ....adapter import adapters
from ....errors import NotAttempted
from ....methods.lora import LoRALinear
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    close,
    difference,
    named,
    number,
    recognised,
    rejected,
    report,
    whole,
)
from ...checks.mutants import Law
from ...checks.observe import detached
from ...checks.stand_ins import TinyEncoder
from . import mutants
from .files import (
    FRONT,
    head_of,
    read,
    saved,
    scale_of,
    spoil,
    targeted,
    trained,
    turned,
    written,
)

# ── real.names ───────────────────────────────────────────────────────────────────────────────


QUERY, FFN, ATTENTION = "attention.query", "output.dense", "attention.output.dense"


def trained_cases(seed: int) -> list[dict]:
    """Return models with LoRA on some modules; the smallest first. Ends of names are shared."""
    def at(end: str, *blocks: int) -> tuple[str, ...]:
        return tuple(f"layer.{block}.{end}" for block in blocks)

    return [{"seed": 12_000 + 10 * seed + i, "blocks": blocks, "width": width, "rank": rank,
             "scale": scale, "names": names}
            for i, (blocks, width, rank, scale, names) in enumerate((
                (1, 3, 1, 2.0, at(QUERY, 0)), (2, 5, 2, 0.7, at(FFN, 0, 1)),
                (3, 6, 4, 3.0, at(QUERY, 1) + at(ATTENTION, 1)),
                (12, 8, 4, 1.5, at(QUERY, 1, 11) + at(FFN, 0, 10))))]


def base_of(case: Mapping) -> TinyEncoder:
    """The model of a case without its adapter, and with another head."""
    return TinyEncoder(case["blocks"], case["width"], case["seed"])


def model_of(case: Mapping) -> nn.Module:
    """The model of a case, trained."""
    return trained(base_of(case), case["names"], case["rank"], case["scale"], case["seed"])


def inputs_of(case: Mapping) -> Tensor:
    """A batch for it: (5, width)."""
    return torch.randn(5, case["width"], generator=torch.Generator().manual_seed(case["seed"]))


def run_names(to_peft: Callable, case: dict) -> dict[str, Any]:
    """Ask for the file of a trained model, and whether its settings are JSON."""
    found = to_peft(adapters(model_of(case)), head_of(model_of(case)))
    if not (isinstance(found, tuple | list) and len(found) == 2
            and all(isinstance(each, dict) for each in found)):
        return {"gave": named(found), "tensors": {}, "settings": {}}
    try:
        settings = json.loads(json.dumps(found[1]))
    except (TypeError, ValueError) as error:
        return {"gave": f"settings that are no JSON: {error}", "tensors": {}, "settings": {}}
    return {"gave": "", "settings": settings,
            "tensors": {str(name): detached(each) for name, each in found[0].items()}}


def judge_names(case: dict, seen: Mapping) -> Verdict:
    """Let the rules of peft read it; what is silent there is said here."""
    if seen["gave"] == "None":
        return rejected("no_return")
    if seen["gave"]:
        return Verdict(False, f"It gave {seen['gave']}; expected two dicts, tensors and settings.")
    return (_settings(case, seen["settings"])
            or _names(case, seen["tensors"])
            or Verdict(True, "peft would find every tensor, and use no other scale than yours."))


def _settings(case: dict, settings: Mapping[str, Any]) -> Verdict | None:
    """Object to settings with which peft would raise, adapt other modules or scale otherwise."""
    rank, alpha = whole(settings.get("r")), number(settings.get("lora_alpha"))
    wanted, whole_ones = settings.get("target_modules"), settings.get("modules_to_save") or []
    for name, fits, expected in (("peft_type", settings.get("peft_type") == "LORA", '"LORA"'),
                                 ("task_type", settings.get("task_type") in (None, "SEQ_CLS"),
                                  '"SEQ_CLS", or none'),
                                 ("r", rank == case["rank"], case["rank"]),
                                 ("lora_alpha", alpha is not None, "a number"),
                                 ("target_modules", _are_names(wanted), "a list of names"),
                                 ("modules_to_save", _are_names(whole_ones), "a list of names")):
        if not fits:
            return Verdict(False, f"settings[{name!r}] is {str(settings.get(name))[:60]!r}; "
                                  f"expected {expected}.")
    found, right = targeted(base_of(case), wanted), [*case["names"]]
    if more := [name for name in found if name not in right]:
        return rejected("caught", f"Trained were {', '.join(right)}. With these target_modules "
                                  f"peft adapts {more[0]}, too.")
    if less := [name for name in right if name not in found]:
        return Verdict(False, f"With these target_modules peft does not adapt {less[0]}.")
    scale = scale_of({**settings, "r": rank, "lora_alpha": alpha})
    if not abs(scale - case["scale"]) <= 1e-6 * case["scale"]:    # nor nan
        return rejected("scale", f"Your layer multiplies by {case['scale']:g}; with these settings "
                                 f"peft multiplies by {scale:g} (rank {rank}).")
    kept = saved(base_of(case), settings)
    head = sorted({name.rpartition(".")[0] for name in head_of(base_of(case))})
    if less := [name for name in head if name not in kept]:
        return rejected("unsaved", f"With these settings peft leaves {less[0]} out when it saves.")
    if more := [name for name in kept if name not in head]:
        return Verdict(False, f"With these settings peft saves {more[0]} whole, too.")
    return None


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _names(case: dict, tensors: Mapping[str, Any]) -> Verdict | None:
    """Object to the first tensor that peft misses, passes by, or fills with other numbers."""
    expected, _ = written(model_of(case))
    missing = [name for name in expected if name not in tensors]
    unread = [name for name in tensors if name not in expected]
    if missing:
        told = f"peft looks for {missing[0]!r}, in vain."
        told += f" In the file it passes by {unread[0]!r}." if unread else ""
        left = all(name.removeprefix(FRONT).startswith("classifier.") for name in missing)
        return rejected("head" if left and not unread else "misnamed", told)
    if unread:
        return rejected("unread", f"Everything is there, and {unread[0]!r} beside it.")
    for name, right in expected.items():
        if not close(found := tensors[name], right, 1e-6):
            other = name.replace("lora_A", "lora_B") if "lora_A" in name else name.replace(
                "lora_B", "lora_A")
            exchanged = isinstance(found, Tensor) and found.dim() == 2 and any(
                close(each, t, 1e-6) for each in (found, found.T)
                for t in (right, expected[other]))
            return rejected("exchanged", difference(name, found, right)) if exchanged else Verdict(
                False, difference(name, found, right))
    return None


NAMES = Exercise(
    id="real.names", names=("to_peft",), points=3, minutes=10, difficulty=2,
    cases=trained_cases, run=run_names, judge=judge_names,
    returns=report(gave=str, tensors=dict[str, Any], settings=dict[str, Any]),
    mistakes={
        "misnamed": "Put a name of peft's beside the module's own name in that other model. Which "
                    "part is in front of it, and which behind?",
        "unread": "peft says nothing of a tensor that it does not use. Leave it out, or a typing "
                  "error would look just like it.",
        "caught": "peft takes every module whose name ends in a target. Which targets end like no "
                  "other module?",
        "scale": "The file has no place for a scale: peft computes it from two settings.",
        "head": "The head was trained, too. Which tensors does a model need to answer as yours?",
        "unsaved": "She trains your model on, and saves it: the head is gone. Which setting names "
                   "the modules that peft saves whole?",
        "exchanged": "A meets the input and B the output, there as here, and none is transposed.",
    },
    hints=("Take one row of peft's file apart: what is the module's own name in that model, what "
           "is in front of it, and what behind?",
           "Three settings make the update: which modules, r, and lora_alpha. From which of your "
           "layer's attributes does each follow?",
           "The names of the modules that you adapted are the keys of the dict. A whole name ends "
           "like no other module. The head's module is named before the last dot."))


# ── real.diagnose ────────────────────────────────────────────────────────────────────────────

FAULTS = ("none", "scale", "exchanged", "head")


def diagnose_cases(seed: int) -> list[dict]:
    """Return a file of each fault; small updates, large logits, a fault that is none; then two."""
    return [{"seed": 12_100 + 20 * seed + i, "blocks": 2, "width": 12, "rank": rank,
             "scale": scale, "names": (f"layer.0.{QUERY}", f"layer.1.{FFN}"),
             "faults": faults.split(), "loud": loud}
            for i, (faults, rank, scale, loud) in enumerate((
                ("head", 4, 1.0, 1.0), ("small", 8, 1.0, 1.0), ("exchanged", 4, 1.0, 1.0),
                ("", 4, 1.0, 1.0), ("large", 2, 0.005, 1.0), ("exchanged", 2, 0.001, 1.0),
                ("", 2, 0.5, 100.0), ("louder", 2, 0.01, 100.0), ("small", 1, 1.0, 1.0),
                ("small head", 4, 1.0, 1.0), ("large exchanged", 4, 1.0, 1.0)))]


def faults_of(case: Mapping) -> set[str]:
    """What a right answer may say: a scale that is false by √1 is no fault."""
    means = {"small": "scale", "large": "scale", "louder": "head"}
    found = {means.get(each, each) for each in case["faults"]}
    return (found - {"scale"} if case["rank"] == 1 else found) or {"none"}


def suspect(case: Mapping) -> tuple[nn.Module, nn.Module]:
    """The model of a case, and the one that a file with its faults makes."""
    ours, base = model_of(case), base_of(case)
    for model in (ours, base):
        for p in model.classifier.parameters():
            p.data.mul_(case["loud"])
    theirs = read(base, *spoil(*written(ours), *case["faults"])).model
    for layer in adapters(theirs).values():    # the same product, rounded otherwise
        layer.A.data, layer.B.data = layer.A.data * 3, layer.B.data / 3
    return ours, theirs


def run_diagnose(diagnose: Callable, case: dict) -> dict[str, Any]:
    """Let two models be asked at any turn of the knob; hand on what is said of them."""
    ours, theirs = suspect(case)
    x = inputs_of(case)
    found = diagnose(lambda f: turned(ours, float(f), x), lambda f: turned(theirs, float(f), x),
                     case["rank"])
    return {"said": found if isinstance(found, str) else named(found)}


def judge_diagnose(case: dict, seen: Mapping) -> Verdict:
    """Compare what is said with the faults that the file has."""
    said, faults = seen["said"], faults_of(case)
    if said == "None":
        return rejected("no_return")
    if said not in FAULTS:
        return Verdict(False, f"It gave {said[:60]!r}; expected one of {', '.join(FAULTS)}.")
    if said in faults:
        return Verdict(True, f"The file has this fault: {said}.")
    ours, theirs = suspect(case)
    x, told = inputs_of(case), f"It said {said!r} of rank {case['rank']}."
    gap = [(turned(ours, f, x) - turned(theirs, f, x)).abs().max().item() for f in (0, 1)]
    told += f" With the update off, the logits differ by {gap[0]:.1g}; with it on, by {gap[1]:.1g}"
    size = turned(ours, 1, x).abs().max()
    told += f", of up to {size:.2g}."
    if len(faults) > 1:
        return Verdict(False, f"{told} The file has two faults: {' and '.join(sorted(faults))}.")
    fault, = faults
    kinds = {"head": "not_the_head", "scale": "not_the_scale", "exchanged": "not_exchanged"}
    return rejected("harmless" if fault == "none" else "overlooked" if said == "none" else
                    kinds[fault], told)


DIAGNOSE = Exercise(
    id="real.diagnose", names=("diagnose",), points=3, minutes=12, difficulty=3,
    cases=diagnose_cases, run=run_diagnose, judge=judge_diagnose,
    returns=report(said=str),
    mistakes={
        "harmless": "That is within a hundred-thousandth of the largest logit: these two are one "
                    "model.",
        "overlooked": "That is more than a hundred-thousandth of the largest logit.",
        "not_the_head": "It was the head. Which turn of the knob silences A, B and the scale, and "
                        "leaves the head alone?",
        "not_the_scale": "It was the scale. Which turn of one knob makes up for a false scale on "
                         "the other side? It may be too large or too small.",
        "not_exchanged": "A and B were exchanged. No turn of the knob makes up for that.",
    },
    hints=("Each fault sits in one place: in the head, in the number in front of the update, in "
           "the update itself. At which f is each of them silent?",
           "α/r in place of α/√r: by which factor is that wrong? Then a turn by that factor, on "
           "one side or the other, makes the two models equal.",
           "Write a helper that says whether ours at f and theirs at g are alike; the two need not "
           "be at one turn. Which three or four pairs of turns tell everything?"))


# ── real.back ────────────────────────────────────────────────────────────────────────────────


SPOILED = ("lacks a tensor", "has a tensor that belongs to no module",
           "has a tensor of a frozen module", "has one row where A has two",
           "names targets that the model has not", "lacks the head's bias",
           "has one row where the head has two")


def back_cases(seed: int) -> list[dict]:
    """Return files in the forms that peft knows; with the third one come spoiled ones."""
    cases = trained_cases(400 + seed)
    first, second, third, large = cases
    third |= {"rank": 2}
    return [first | {"ends": None, "stabilized": False},
            second | {"ends": None, "stabilized": True},
            third | {"ends": ["query", ATTENTION], "stabilized": True,
                     "names": tuple(f"layer.{b}.{end}" for b in range(3)
                                    for end in (QUERY, ATTENTION))},
            large | {"ends": None, "stabilized": False, "bare": True}]


def file_of(case: Mapping) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The file of a case."""
    tensors, settings = written(model_of(case), case["stabilized"])
    if case.get("bare"):    # what is false may be left out
        del settings["use_rslora"]
    return tensors, settings | ({"target_modules": case["ends"]} if case["ends"] else {})


def spoiled(case: Mapping) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
    """Files that do not fit the model of a case, by what is wrong with them."""
    tensors, settings = file_of(case)
    last, a = [name for name in tensors if "lora_B" in name][-1], next(iter(tensors))
    body, frozen = next(base_of(case).named_parameters())
    head, bias = f"{FRONT}classifier.weight", f"{FRONT}classifier.bias"
    return dict(zip(SPOILED, (
        ({name: t for name, t in tensors.items() if name != last}, settings),
        (tensors | {f"{FRONT}layer.7.{QUERY}.lora_A.weight": tensors[a]}, settings),
        (tensors | {FRONT + body: 2 * frozen.detach()}, settings),
        (tensors | {a: tensors[a][:1]}, settings),
        (tensors, settings | {"target_modules": ["q_proj"]}),
        ({name: t for name, t in tensors.items() if name != bias}, settings),
        (tensors | {head: tensors[head][:1]}, settings))))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Every tensor of a model by its name."""
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def run_back(from_peft: Callable, case: dict) -> dict[str, Any]:
    """Read the file; then, in one case, files that do not fit, each into a fresh model."""
    model = from_peft(base_of(case), *file_of(case), LoRALinear)
    if not isinstance(model, nn.Module):
        return {"gave": named(model), "y": None, "wrapped": [], "refused": {}}
    y, refused = detached(model(inputs_of(case))), {}
    for told, file in spoiled(case).items() if case["ends"] else ():
        fresh = base_of(case)
        before = state_of(fresh)
        try:
            from_peft(fresh, *file, LoRALinear)
            refused[told] = "read"
        except NotAttempted:
            raise
        except Exception:
            after = state_of(fresh)
            same = after.keys() == before.keys() and all(
                torch.equal(t, before[name]) for name, t in after.items())
            refused[told] = "refused" if same else "changed"
    return {"gave": "", "y": y, "wrapped": [*adapters(model)], "refused": refused}


def judge_back(case: dict, seen: Mapping) -> Verdict:
    """Compare the modules and the logits with those of peft's rules; then the refusals."""
    if seen["gave"] == "None":
        return rejected("no_return")
    if seen["gave"]:
        return Verdict(False, f"It gave {seen['gave']}; expected the model.")
    tensors, settings = file_of(case)
    x, told = inputs_of(case), f"rank {case['rank']}, use_rslora = {case['stabilized']}: "
    if {*seen["wrapped"]} != {*case["names"]}:
        odd = sorted({*seen["wrapped"]} ^ {*case["names"]})[0]
        what = "adapts" if odd in seen["wrapped"] else "does not adapt"
        return rejected("targets", f"target_modules is {settings['target_modules']}. Yours {what} "
                                   f"{odd}.")
    right = read(base_of(case), tensors, settings).model(x)
    if not close(seen["y"], right, 1e-4):
        return Verdict(False, told + difference("model(x)", seen["y"], right), recognised(
            _usual(case, tensors, settings), lambda usual: close(seen["y"], usual, 1e-4)))
    for file, outcome in seen["refused"].items():
        if outcome != "refused":
            done = "was read without a word" if outcome == "read" else (
                "was refused, and the model is not what it was")
            return rejected("silent" if outcome == "read" else "half_read",
                            f"A file that {file} {done}.")
    return Verdict(True, "Read as peft reads it, and nothing passed by in silence.")


def _usual(case: dict, tensors: dict, settings: dict) -> dict[str, Any]:
    """What the usual mistakes answer."""
    x, rank = inputs_of(case), case["rank"]

    def answer(tensors: dict, **changed: Any) -> Tensor:
        return read(base_of(case), tensors, settings | changed).model(x)

    alpha = settings["lora_alpha"]
    headless = {name: t for name, t in tensors.items() if "lora_" in name}
    return {"scale": (answer(tensors, use_rslora=not case["stabilized"]),
                      answer(tensors, lora_alpha=alpha / rank), answer(
                          tensors, use_rslora=False, lora_alpha=rank)),
            "head": answer(headless),
            "empty": answer({n: t for n, t in tensors.items() if n not in headless})}


BACK = Exercise(
    id="real.back", names=("from_peft",), points=3, minutes=20, difficulty=3,
    cases=back_cases, run=run_back, judge=judge_back,
    returns=report(gave=str, y=Any, wrapped=list[str], refused=dict[str, str]),
    mistakes={
        "targets": "A target means every module whose name is the target, or ends in a dot and the "
                   "target.",
        "scale": "make computes alpha / rank. Which alpha makes that the scale which the settings "
                 "mean?",
        "head": "A, B and the scale are right. What else does the file hold?",
        "empty": "That is the model without its update: are A and B filled in?",
        "silent": "Whoever loads it would never know. Which names did you expect, and which were "
                  "there?",
        "half_read": "Look at the whole file first, and touch the model last.",
    },
    hints=("Three sets of names: those that the targets ask for, those in the file, and those of "
           "the head. When do they fit each other?",
           "Take each tensor out of a copy of the dict as you use it. What is left in the end?",
           "copy_ broadcasts: one row fits any number of rows. Compare shapes before you copy."))


# ── real.belief ──────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN,
          call=lambda test, version: test(version, mutants.fresh))


def exchanged_by(pieces: Mapping[str, Any]) -> tuple[Callable, Callable]:
    """What `audit` gives to the test: a way through the reader's own file and back."""
    to_peft, from_peft = pieces["to_peft"], pieces["from_peft"]

    def exchange(model: nn.Module) -> nn.Module:
        return from_peft(TinyEncoder(), *to_peft(adapters(model), head_of(model)), LoRALinear)

    return exchange, mutants.fresh


BELIEF = Exercise(
    id="real.belief", names=("believes",), points=2, minutes=8, difficulty=2,
    **LAW.fields,
    hints=("A fresh adapter does nothing, and a fresh head is the base's own. Which broken "
           "versions are right then?",
           "With which alpha and rank do a forgotten scale and a false one look right?",
           "Right versions round in another order, about a millionth; half precision is a hundred "
           "times as far off. And whose answers were there first?"),
    arguments=exchanged_by)

EXERCISES = (NAMES, DIAGNOSE, BACK, BELIEF)
