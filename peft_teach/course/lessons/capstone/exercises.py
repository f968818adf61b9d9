"""The exercises of the capstone: a test of the laws, and the reader's adapter, which keeps them."""

from typing import Any

from torch import Tensor, nn

from ....methods.lora import LoRALinear
from ...check.exercise import Exercise, Verdict
from ...check.judge import difference, named, rejected, report
from ...check.mutants import Law
from . import laws, mutants

HERE = "peft_teach.course.lessons.capstone.exercises"

# ── capstone.laws ────────────────────────────────────────────────────────────────────────────


def keeps_the_laws(make) -> None:
    """Object to an adapter that breaks a law."""
    law, found = laws.broken(make)
    assert not law, found


LAW = Law(mutants.RIGHT, mutants.BROKEN)
LAWS = Exercise(
    id="capstone.laws", lesson="13", names=("keeps_the_laws",), points=3, minutes=20, difficulty=3,
    cases=lambda seed: [{"seed": seed}],
    run=LAW.run, judge=LAW.judge, returns=LAW.returns, mistakes=LAW.mistakes,
    arguments=lambda pieces: (pieces["my_adapter"],),
    hints=("One base of few features, with a bias, and one without: which laws can be told apart "
           "before anything is trained?",
           "At its start an adapter does nothing, so most mistakes are silent. Fill its "
           "own_parameters() with random numbers, and ask again.",
           "What a file keeps is own_parameters(). Make a second adapter around the same base, "
           "copy them, switch it to eval mode: what must it give? And which error may merged() "
           "raise?"))

# ── capstone.adapter ─────────────────────────────────────────────────────────────────────────


def my_adapter(base: nn.Linear) -> LoRALinear:
    """Put a LoRA of rank 1 around the base."""
    return LoRALinear(base, 1, 8.0)


def run_adapter(make: Any, case: dict) -> dict[str, Any]:
    """Try the laws on it; or, where a file was handed in, put the file's numbers into it."""
    if "tensors" not in case:
        law, found = laws.broken(make)
        return {"law": law, "found": found}
    base = nn.Linear(*case["W"].T.shape, bias=case["b"] is not None).requires_grad_(False)
    base.load_state_dict({"weight": case["W"]} | ({} if case["b"] is None else {"bias": case["b"]}))
    layer = laws.copied(make, base, case["tensors"]).eval()
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
    "merge": "A merged layer gives the same outputs, with a bias and without.",
    "merged_in_place": "merged() makes a new layer; the adapter and its base stay as they are.",
}
ADAPTER = Exercise(
    id="capstone.adapter", lesson="13", names=("my_adapter",), points=2, minutes=10, difficulty=2,
    cases=lambda seed: [{"seed": seed}],
    run=run_adapter, judge=judge_adapter, mistakes=MISTAKES,
    returns=report(law=str, found=str) | report(shapes=dict[str, Any], y=Any),
    hints=("It takes a frozen layer and returns one of your adapters around it: pt.mine gives you "
           "the classes that you wrote.",
           "How many numbers does it train on a 384 × 384 layer, and on how many layers will it "
           "stand? What the file says of itself takes nearly 25 kB of the 64.",
           "To write a folder for peft, merged() may be missing. If you write it, give a plain "
           "nn.Linear with the base's bias."))

EXERCISES = (LAWS, ADAPTER)
