"""The exercises of lesson 01: accuracy, step, the law of what is frozen, head, two experiments."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from .... import models
from ... import mutants
from ...exercise import VALUE, Exercise, Verdict
from ...judge import NO_RETURN, named, not_whole, plain, rejected, report, strange, whole
from ...mutants import ACCEPTED, outcomes, score
from . import sick, versions
from .small import Classifier, batches_of, cached


def _intact(batches: list[dict[str, Tensor]], given: list[dict[str, Tensor]]) -> bool:
    """Whether the batches are still what was given: the same names, and values bit for bit."""
    return len(batches) == len(given) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in b)
        for a, b in zip(batches, given))


# ── full.accuracy ────────────────────────────────────────────────────────────────────────────


def accuracy(model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> float:
    """Return the share of examples whose largest logit is the label's."""
    model.eval()
    right = count = 0
    with torch.no_grad():
        for batch in batches:
            answers = model(**batch).logits.argmax(-1)                      # (batch,)
            right += (answers == batch["labels"]).sum().item()
            count += len(answers)
    return right / count


def accuracy_cases(seed: int) -> list[dict]:
    cases = [{"seed": 100 * seed + i, "batches": batches_of(100 * seed + i, sizes), "autograd": on}
             for i, (sizes, on) in enumerate((((256, 256, 85), True), ((7, 7, 7, 1), True),
                                              ((3, 11), False)))]
    for case in cases:
        _surest_first(Classifier(seed=case["seed"]), case["batches"][0])
    last = cases[-1]
    features = cached(Classifier(seed=last["seed"]), last["batches"])
    return [*cases, last | {"batches": features, "autograd": True}]


def _surest_first(model: nn.Module, batch: dict[str, Tensor]) -> None:
    """Put the sentence with the largest logit in front: argmax() over all is then 0 or 1."""
    with torch.no_grad():
        order = model(**batch).logits.amax(-1).argsort(descending=True)
    for name, values in batch.items():
        batch[name] = values[order]


def run_accuracy(accuracy, case: dict) -> dict[str, Any]:
    """Measure a model that was left in training mode; report the answer and what it saw.

    The case says whether autograd is on when the learner's code is called.
    """
    model = Classifier(seed=case["seed"]).train()
    before = [p.detach().clone() for p in model.parameters()]
    given = copy.deepcopy(case["batches"])
    with torch.set_grad_enabled(case["autograd"]):    # which puts it back, too
        with _no_grad_watched() as used:
            found = _called(accuracy, model, case["batches"])
        left = torch.is_grad_enabled()
    if isinstance(found, _NoSuchKey):
        return {"key": found.name}
    return {"found": found.detach() if isinstance(found, Tensor) else found,
            "intact": _intact(case["batches"], given),
            "training": any(True in modes for modes in model.modes_seen),
            "grad": any(model.grad_seen), "bare": used["made"] > used["entered"], "left": left,
            "changed": not all(torch.equal(a, b) for a, b in zip(before, model.parameters()))}


@contextmanager
def _no_grad_watched() -> Iterator[dict[str, int]]:
    """Count how many `torch.no_grad()` are made, and how many are entered by a `with`."""
    used = {"made": 0, "entered": 0}
    made, entered = torch.no_grad.__init__, torch.no_grad.__enter__

    def init(self, *arguments, **named):
        used["made"] += 1
        made(self, *arguments, **named)

    def enter(self):
        used["entered"] += 1
        return entered(self)

    torch.no_grad.__init__, torch.no_grad.__enter__ = init, enter
    try:
        yield used
    finally:
        torch.no_grad.__init__, torch.no_grad.__enter__ = made, entered


@dataclass(frozen=True)
class _NoSuchKey:
    """Of a batch that has other keys than the learner's code asks it for."""

    name: str


def _called(answer: Callable, model: Classifier, batches: Any, *others: Any) -> Any:
    """What the learner's code gives; it may ask a batch for a key that is not there."""
    try:
        return plain(answer(model, batches, *others))
    except KeyError as error:
        batch = batches[0] if isinstance(batches, list) else batches
        missing = {"input_ids", "attention_mask"} - batch.keys()
        if "features" in batch and error.args[:1] and error.args[0] in missing:
            return _NoSuchKey(error.args[0])
        raise


def judge_accuracy(case: dict, seen) -> Verdict:
    if isinstance(seen, dict) and isinstance(seen.get("key"), str):
        return rejected("keys", _asked_for(seen["key"]))
    if odd := strange(seen, "found", "bare", training=bool, grad=bool, bare=bool, changed=bool,
                      intact=bool, left=bool):
        return odd
    found = seen["found"]
    if found is None:
        return rejected("no_return")
    if isinstance(found, Tensor):
        return rejected("tensor", f"It gave {named(found)}; expected a number.")
    if isinstance(found, bool) or not isinstance(found, int | float):
        return Verdict(False, f"It gave {named(found)}; expected a float from 0 to 1.")
    expected, candidates = _accuracies(case)
    sizes = ", ".join(str(len(batch["labels"])) for batch in case["batches"])
    told = f"On batches of {sizes} sentences it gave {found:.6f}; expected {expected:.6f}."
    if seen["changed"]:
        return rejected("trained", "Afterwards the model's weights are not what they were before.")
    if not math.isclose(found, expected, abs_tol=1e-6):
        for mistake, values in candidates.items():
            if any(math.isclose(found, value, abs_tol=1e-6) for value in values):
                return rejected(mistake, told)
        return Verdict(False, told)
    if seen["training"]:
        return rejected("training_mode", "When it was called, the model was in training mode.")
    if seen["grad"]:
        return rejected("bare_no_grad" if seen["bare"] else "graph",
                        "When the model was called, autograd was at work.")
    if seen["left"] != case["autograd"]:
        was, now = ("off", "on") if seen["left"] else ("on", "off")
        return rejected(f"left_{now}", f"Before the call autograd was {was}, and now it is {now}.")
    if not seen["intact"]:
        return rejected("inputs_changed", BATCH_CHANGED)
    return Verdict(True, "Counted over examples, without dropout, without a graph.")


def _accuracies(case: dict) -> tuple[float, dict[str, tuple[float, ...]]]:
    """Return the right accuracy, and what the known mistakes give; some have several forms."""
    model, shares, losses = Classifier(seed=case["seed"]), [], []
    above_0 = above_half = flat = 0
    sizes = [len(batch["labels"]) for batch in case["batches"]]
    for batch in case["batches"]:
        out = model(**batch)
        shares.append((out.logits.argmax(-1) == batch["labels"]).double().mean().item())
        losses.append(out.loss.item())
        above_0 += ((out.logits[:, 1] > 0).long() == batch["labels"]).sum().item()
        above_half += ((out.logits[:, 1] > 0.5).long() == batch["labels"]).sum().item()
        flat += (out.logits.argmax() == batch["labels"]).sum().item()
    right = sum(share * size for share, size in zip(shares, sizes))
    total = sum(sizes)
    return right / total, {
        "mean_of_batches": (sum(shares) / len(shares),),
        "count": (right,),
        "percent": (100 * right / total,),
        "by_batches": (right / len(shares),),
        "all_as_large": (right / (len(sizes) * sizes[0]),),
        "errors": (1 - right / total,),
        "threshold": (above_0 / total, above_half / total),
        "one_answer": (flat / total,),
        "none_right": (0.0,),
        "first_batch": (shares[0],),
        "last_batch": (shares[-1],),
        "loss": (sum(losses) / len(losses),),
    }


def _asked_for(key: str) -> str:
    return (f"This model takes features and labels, and your code asked the batch for "
            f"{key!r}.")


KEYS = ("What a batch contains is the model's business: other models take other things. Hand over "
        "all of it, as model(**batch), and ask it for nothing but the labels.")
BATCH_CHANGED = "Afterwards a batch is not what it was before."
INPUTS_CHANGED = ("The batches are different afterwards, and whoever uses them next finds that. A "
                  "dict is handed over itself, not as a copy: batch.pop(\"labels\") takes the "
                  "labels out of the one batch that there is. Read batch[\"labels\"] instead.")

ACCURACY_MISTAKES = {
    "no_return": NO_RETURN,
    "tensor": "It gave a tensor: take the number out of it with .item().",
    "trained": "The model's weights are different afterwards. Measuring must not train.",
    "mean_of_batches": "That is the mean of the batches' accuracies. The last batch is smaller, "
                       "so its sentences count for more: add up right answers and sentences.",
    "count": "That is the number of right answers: divide by the number of sentences.",
    "percent": "A share from 0 to 1 is wanted, not a percentage.",
    "by_batches": "That is divided by the number of batches; divide by the number of sentences.",
    "all_as_large": "That is divided by the number of batches times the size of the first, but "
                    "the last batch is smaller: count the sentences.",
    "errors": "That is the share of wrong answers.",
    "threshold": "That asks whether the second logit is above a fixed value. A logit says nothing "
                 "alone: the answer is the class whose logit is the larger of the two.",
    "one_answer": ".argmax() without a dimension gives one number for a whole batch, the place of "
                  "the largest logit in it, and that was compared with every label. One answer "
                  "for each sentence: .argmax(-1).",
    "none_right": "Not one answer was right, which not even a coin manages. Were the logits "
                  "themselves compared with the labels? .max(-1) gives the largest logit, "
                  ".argmax(-1) its class. Or is there a // where / is meant?",
    "first_batch": "That is the first batch alone. Does the `return` stand inside of the loop?",
    "last_batch": "That is the last batch alone: add up over all of them.",
    "loss": "That is the loss, not the share of right answers.",
    "training_mode": "The number is right here, but the model was in training mode. The real one "
                     "has dropout, which would make it guess with a tenth of its features "
                     "missing: call model.eval() first.",
    "graph": "The number is right, but every forward pass was kept for a backward pass that never "
             "comes, which costs memory and time. torch.no_grad() is a context: the calls of the "
             "model belong inside of it.",
    "bare_no_grad": "A torch.no_grad() was made and never entered: on a line of its own it does "
                    "nothing. It acts on what stands indented below `with torch.no_grad():`.",
    "left_off": "torch.set_grad_enabled(False) on a line of its own switches autograd off for the "
                "whole program, and the next training fails. `with torch.no_grad():` switches it "
                "back where its block ends.",
    "left_on": "Whoever had switched autograd off, for more than this call, finds it on. "
               "`with torch.no_grad():` gives back what was there before, whichever that was.",
    "keys": KEYS,
    "inputs_changed": INPUTS_CHANGED,
}

ACCURACY = Exercise(
    id="full.accuracy", lesson="01", names=("accuracy",), points=2, minutes=8, difficulty=1,
    reference="peft_teach.course.lessons.full.exercises:accuracy",
    equivalents=("peft_teach.training:evaluate",),
    cases=accuracy_cases, run=run_accuracy, judge=judge_accuracy, mistakes=ACCURACY_MISTAKES,
    hints=("The colleague's batches have an equal say, whatever their size. What would you have to "
           "keep count of, so that the sentences have?",
           "Dropout is random, and on in one of the two modes that a model has. And torch keeps "
           "what a backward pass would need unless it is told, for a block of lines, not to.",
           "Look up in torch's documentation: nn.Module.eval and torch.no_grad. Then count right "
           "answers and sentences over all batches, and divide once."))


# ── full.step ────────────────────────────────────────────────────────────────────────────────

CLIP = 1.0


def step(model: nn.Module, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> float:
    """Do one step of training; return the loss before it."""
    model.train()
    loss = model(**batch).loss
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], CLIP)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _halves(parameters: list[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    half = len(parameters) // 2
    return parameters[:half], parameters[half:]


class Recorder(torch.optim.SGD):
    """Plain gradient descent, on two groups, that writes down when it is called."""

    def __init__(self, model: Classifier, lr: float):
        trained = [p for p in model.parameters() if p.requires_grad]
        super().__init__([{"params": group} for group in _halves(trained)], lr=lr)
        self.events = model.events

    def step(self, closure=None):
        """Step, and write it down."""
        self.events.append("step")
        return super().step(closure)

    def loaded(self) -> bool:
        """Whether a gradient that is not zero stands in any of the parameters that it moves."""
        return any(p.grad is not None and bool(p.grad.any())
                   for group in self.param_groups for p in group["params"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and write it down."""
        self.events.append("zero")
        super().zero_grad(set_to_none)


def step_cases(seed: int) -> list[dict]:
    """Return models with large and with small gradients, all trained and the head alone."""
    cases = [{"seed": 100 * seed + i, "lr": lr, "scale": scale, "head_only": head_only,
              "batches": batches_of(100 * seed + i, sizes)}
             for i, (lr, scale, head_only, sizes) in enumerate((
                 (0.5, 6.0, False, (4, 4, 3)), (0.2, 0.1, False, (24, 24, 23)),
                 (0.5, 6.0, True, (4, 4, 3))))]
    for case in cases:
        if case["scale"] > 1:      # a model that is sure, and wrong: the gradients are large
            for batch in case["batches"]:
                with torch.no_grad():
                    batch["labels"] = 1 - _start(case)(**batch).logits.argmax(-1)
    last = cases[-1]
    return [*cases, last | {"batches": cached(_start(last), last["batches"])}]


def _start(case: dict) -> Classifier:
    """Return the case's model. A large `scale` of the head makes large gradients.

    What is frozen holds a gradient still, as after a training in which it took part.
    """
    model = Classifier(seed=case["seed"])
    with torch.no_grad():
        for p in model.classifier.parameters():
            p.mul_(case["scale"])
    for name, p in model.named_parameters():
        p.requires_grad_(not case["head_only"] or name.startswith("classifier"))
        p.grad = None if p.requires_grad else torch.ones_like(p)
    return model


def run_step(step, case: dict) -> dict[str, Any]:
    """Take three steps; report the losses, the weights after each, and what was called when."""
    model = _start(case)
    optimizer = Recorder(model, case["lr"])
    seen: dict[str, Any] = {"losses": [], "weights": [], "kinds": [], "graph": False,
                            "stale": []}
    found_loaded: list[bool] = []             # at each backward pass
    model.on_backward = lambda: found_loaded.append(optimizer.loaded())
    given = copy.deepcopy(case["batches"])
    for batch in case["batches"]:
        found_loaded.clear()
        loss = _called(step, model, batch, optimizer)
        if isinstance(loss, _NoSuchKey):
            return {"key": loss.name}
        seen["kinds"].append(named(loss))
        seen["graph"] |= isinstance(loss, Tensor) and loss.requires_grad
        seen["losses"].append(float(loss) if isinstance(loss, int | float) else None)
        seen["weights"].append(_weights(model))
        seen["stale"].append(any(found_loaded))
        seen.setdefault("first", list(model.events))
    training = [modes == {True} for modes in model.modes_seen]
    return seen | {"training": training, "events": list(model.events),
                   "intact": _intact(case["batches"], given)}


def judge_step(case: dict, seen) -> Verdict:
    """Compare with the same three steps, done right and done in the usual wrong ways."""
    if isinstance(seen, dict) and isinstance(seen.get("key"), str):
        return rejected("keys", _asked_for(seen["key"]))
    if odd := strange(seen, losses=list, weights=list, kinds=list, graph=bool, training=list,
                      stale=list, events=list, first=list, intact=bool) or _miscounted(case, seen):
        return odd
    events = seen["events"]
    with torch.enable_grad():
        weights, losses = _steps(case, "right")
    if "forward" not in events:
        return rejected("no_forward", "In three steps the model was never called.")
    if not all(seen["training"]):
        return rejected("eval_mode", "When it was called, the model was in eval mode.")
    if not _same(seen["weights"], weights):
        return _why_not(case, seen)
    if seen["kinds"][0] == "None":
        return rejected("no_return")
    if seen["graph"]:
        return rejected("graph_kept", "The loss that it gave has a graph behind it.")
    if None in seen["losses"]:
        return rejected("not_a_number", f"It gave {seen['kinds'][0]}.")
    if not all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(seen["losses"], losses)):
        told = f"It gave {seen['losses'][0]:.4f}; expected {losses[0]:.4f}."
        with torch.enable_grad():
            after = _losses_after(case, weights)
        late = all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(seen["losses"], after))
        return rejected("loss_after", told) if late else Verdict(
            False, f"The weights are right, the loss is not. {told}")
    if (called := events.count("forward")) > len(losses):
        return rejected("two_forwards", f"In {len(losses)} steps the model was called {called} "
                                        "times.")
    if not seen["intact"]:
        return rejected("inputs_changed", BATCH_CHANGED)
    return Verdict(True, "Three steps, and after each of them every weight is where it should be.")


def _miscounted(case: dict, seen: dict) -> Verdict | None:
    """What is said of a report that has not a loss, a kind and the weights of each step."""
    steps = len(case["batches"])
    kinds = {"losses": float | None, "kinds": str, "weights": Tensor, "events": str,
             "first": str, "training": bool, "stale": bool}
    counts = [len(seen[name]) for name in ("losses", "kinds", "weights", "stale", "training")]
    if counts != [steps, steps, steps, steps, seen["events"].count("forward")] or not all(
            isinstance(value, kind) for name, kind in kinds.items() for value in seen[name]):
        return Verdict(False, f"What came back is not the report of {steps} steps.")
    return None


def _why_not(case: dict, seen: dict) -> Verdict:
    """Say why the weights are not the expected ones."""
    events, last, told = seen["events"], seen["weights"][-1], _moved(case, seen)
    if torch.equal(last, _weights(_start(case))):
        if "backward" not in events:
            return rejected("no_backward", told)
        if "step" not in events:
            return rejected("no_step", told)
        early = events.index("step") < events.index("backward")
        return rejected("step_without_gradients" if early else "zero_between", told)
    if "step" not in events:
        return rejected("by_hand", told)
    for mistake in VARIANTS:
        with torch.enable_grad():
            weights, _ = _steps(case, mistake)
        if _same(seen["weights"], weights):
            return rejected(mistake, told)
    if seen["stale"][_first_apart(case, seen)]:
        return rejected("stale", told)
    return Verdict(False, f"{told} Its first step called, in this order: "
                          f"{', '.join(seen['first'][:12]) or 'nothing'}.")


VARIANTS = ("no_zero_grad", "step_first", "no_clip", "clip_value", "clip_each",
            "clip_group", "clip_frozen", "always_clipped", "uphill", "step_twice")


def _steps(case: dict, how: str) -> tuple[list[Tensor], list[float]]:
    """Return the weights after each step, and the losses, of the right way or a wrong one."""
    model = _start(case)
    optimizer = Recorder(model, case["lr"])
    trained = [p for p in model.parameters() if p.requires_grad]
    weights, losses = [], []
    for batch in case["batches"]:
        if how == "step_first":
            optimizer.step()
            optimizer.zero_grad()
        loss = model(**batch).loss
        (-loss if how == "uphill" else loss).backward()
        _clip(list(model.parameters()) if how == "clip_frozen" else trained, how)
        if how != "step_first":
            optimizer.step()
        if how == "step_twice":
            optimizer.step()
        if how not in ("no_zero_grad", "step_first"):
            optimizer.zero_grad()
        weights.append(_weights(model))
        losses.append(loss.item())
    return weights, losses


def _clip(parameters: list[nn.Parameter], how: str) -> None:
    if how == "clip_value":
        nn.utils.clip_grad_value_(parameters, CLIP)
    elif how == "clip_each":
        for p in parameters:
            nn.utils.clip_grad_norm_(p, CLIP)
    elif how == "clip_group":
        nn.utils.clip_grad_norm_(_halves(parameters)[0], CLIP)
    elif how == "always_clipped":
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        for g in gradients:
            g.mul_(CLIP / norm)
    elif how != "no_clip":
        nn.utils.clip_grad_norm_(parameters, CLIP)


def _losses_after(case: dict, weights: list[Tensor]) -> list[float]:
    """Return each batch's loss with the weights that its own step left behind."""
    model, found = _start(case), []
    for batch, values in zip(case["batches"], weights):
        nn.utils.vector_to_parameters(values, model.parameters())
        found.append(model(**batch).loss.item())
    return found


def _moved(case: dict, seen: dict) -> str:
    """Say how far the first step that differs took the weights."""
    with torch.enable_grad():
        right, _ = _steps(case, "right")
    first = _first_apart(case, seen)
    start = seen["weights"][first - 1] if first else _weights(_start(case))
    after = seen["weights"][first]
    if after.shape != start.shape:
        return f"After step {first + 1} the model has other weights than before."
    return (f"Step {first + 1} moved the weights by {(after - start).norm():.3g}, and a right one "
            f"by {(right[first] - start).norm():.3g}; the two ends are "
            f"{(after - right[first]).norm():.3g} apart.")


def _first_apart(case: dict, seen: dict) -> int:
    """Return the number of the first step after which the weights are not the right ones."""
    with torch.enable_grad():
        right, _ = _steps(case, "right")
    return next((i for i, (a, b) in enumerate(zip(seen["weights"], right))
                 if not _same([a], [b])), 0)


def _weights(model: nn.Module) -> Tensor:
    """Return all weights in one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def _same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(found, expected))


STEP_MISTAKES = {
    "no_forward": "The model was never called: loss = model(**batch).loss.",
    "eval_mode": "The model was not in training mode. `pt.models.load` gives it in eval mode, and "
                 "measuring puts it there again: without model.train() there is no dropout.",
    "no_backward": "The weights did not move: no gradient was ever computed. Is .backward() "
                   "called on the loss?",
    "no_step": "The weights did not move: gradients were computed, but the optimizer never "
               "took its step.",
    "zero_between": "The weights did not move: the gradients were cleared between the backward "
                    "pass and the optimizer's step, which then had nothing to go by.",
    "step_without_gradients": "The weights did not move: when the optimizer stepped, there were no "
                              "gradients. It steps before the backward pass, and they are cleared "
                              "before it steps again.",
    "by_hand": "The weights moved, but not by the optimizer that was given: it decides how far.",
    "no_zero_grad": "The gradients are never cleared. backward() adds to what is there, so each "
                    "step goes along the sum of all earlier gradients.",
    "stale": "Gradients of an earlier batch were still there, in all parameters or in some, when "
             "this batch's were added to them. Clear them in every step, and for every parameter "
             "that trains: once, or now and then, is not enough.",
    "step_first": "The optimizer steps before the backward pass, so it always goes by the "
                  "gradients of the batch before.",
    "no_clip": "The gradients are not clipped, or at the wrong moment: after the backward pass and "
               "before the step, bring the norm of all of them together down to 1, if it is "
               "larger.",
    "clip_value": "Each entry was clipped by itself. Clip the norm of all gradients together, "
                  "which keeps their direction: clip_grad_norm_.",
    "clip_each": "Each tensor's gradient was clipped by itself. The norm is that of all gradients "
                 "together: one call for all parameters.",
    "clip_group": "An optimizer may have several groups of parameters, and this one has two: only "
                  "the first was clipped. The norm is that of all gradients of trained "
                  "parameters.",
    "clip_frozen": "A frozen parameter may still hold a gradient, from a training in which it took "
                   "part. It was counted into the norm, so that the others were shortened too "
                   "much, in every step: the optimizer clears only what it moves.",
    "always_clipped": "The gradient was brought to norm 1 even where it was smaller. Clipping only "
                      "ever makes it shorter.",
    "uphill": "The loss goes up: the sign is wrong somewhere.",
    "step_twice": "The optimizer steps twice for one batch.",
    "no_return": NO_RETURN,
    "graph_kept": "It gave the loss with its graph attached. Whoever keeps a list of losses then "
                  "keeps every batch's activations as well: return loss.item().",
    "not_a_number": "Return the loss as a plain number: loss.item().",
    "loss_after": "That is the loss after the update, which cost a second forward pass. Return the "
                  "one that the gradient was taken of.",
    "two_forwards": "A second forward pass costs a third of a step, and with dropout its loss is "
                    "another one. Return the loss that the gradient was taken of.",
    "keys": KEYS,
    "inputs_changed": INPUTS_CHANGED,
}

STEP = Exercise(
    id="full.step", lesson="01", names=("step",), points=3, minutes=12, difficulty=2,
    reference="peft_teach.course.lessons.full.exercises:step",
    equivalents=("peft_teach.training:train", "peft_teach.training:_steps"),
    cases=step_cases, run=run_step, judge=judge_step, mistakes=STEP_MISTAKES,
    hints=("Think of the moment at which the optimizer changes the weights. What must have "
           "happened to the gradients before it? And what must happen to them afterwards, so that "
           "the next batch finds none?",
           "Beside the model's call there are six: one for the mode; four for the gradients, which "
           "are computed, shortened, used and cleared; one that makes the loss a number.",
           "Names to look up: Module.train, Tensor.backward, torch.nn.utils.clip_grad_norm_, "
           "Optimizer.step, Optimizer.zero_grad, Tensor.item. The order is yours."))


# ── full.head_only ───────────────────────────────────────────────────────────────────────────


def head_only(model: nn.Module) -> int:
    """Train the head and nothing else; return how many numbers that is."""
    names = models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in names)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def head_cases(seed: int) -> list[dict]:
    return [{"seed": 10 * seed + i, "width": width, "start": start, "bias": bias}
            for i, (width, start, bias) in enumerate(
                ((6, "all", True), (5, "none", True), (4, "backbone", False)))]


def _headed(case: dict) -> Classifier:
    return Classifier(width=case["width"], seed=case["seed"], head_bias=case["bias"])


def run_head(head_only, case: dict) -> dict[str, Any]:
    """Start from a model where all, nothing or only the backbone trains; report what does now."""
    model = _headed(case)
    for name, p in model.named_parameters():
        in_head = name.startswith("classifier")
        p.requires_grad_(case["start"] == "all" or (case["start"] == "backbone" and not in_head))
    before = _weights(model)
    try:
        found = plain(head_only(model))
    except AttributeError as error:
        if str(error).startswith("'str' object has no attribute"):
            return {"crash": str(error)}
        raise
    return {"found": found if isinstance(found, int | float) else None,
            "gave": repr(found) if isinstance(found, int | float) else named(found),
            "trains": {name: p.requires_grad for name, p in model.named_parameters()},
            "unknown": sorted({name for p in model.parameters() for name in vars(p)}),
            "on_module": any("requires_grad" in m.__dict__ for m in model.modules()),
            "changed": not torch.equal(before, _weights(model))}


def judge_head(case: dict, seen) -> Verdict:
    """Compare with a model of our own: names and sizes are not asked of the learner's process."""
    if odd := strange(seen, crash=str, found=(int, float, bool, NoneType), gave=str, trains=dict,
                      unknown=list, on_module=bool, changed=bool):
        return odd
    if "crash" in seen:
        return rejected("names_alone", f"Your code raised AttributeError: {seen['crash']}.")
    if odd := strange(seen, "found", "gave", "trains", "unknown", "on_module", "changed"):
        return odd
    trains, sizes = seen["trains"], {n: p.numel() for n, p in _headed(case).named_parameters()}
    if set(trains) != set(sizes):
        return Verdict(False, "The model has other parameters afterwards: only say what trains.")
    head = {name for name in sizes if name.startswith("classifier")}
    on = {name for name, trained in trains.items() if trained is True}
    told = f"What trains now: {', '.join(sorted(on)) or 'nothing'}."
    if seen["changed"]:
        return rejected("changed", "Afterwards the numbers in the parameters are other ones.")
    if on != head:
        if seen["on_module"]:
            return rejected("on_module", told)
        if seen["unknown"]:
            return rejected("misspelled", f"{told} A parameter was given an attribute "
                                       f"{seen['unknown'][0]}.")
        if on == set(sizes) - head:
            return rejected("inverted", told)
        if case["start"] == "all" and on == set(list(sizes)[1:]):
            return rejected("loop_left", told)
        if not on:
            return rejected("nothing" if case["start"] == "all" else "not_switched_on", told)
        if on == set(sizes):
            return rejected("everything", told)
        if on < head:
            return rejected("half_a_head", told)
        if any("pooler" in name for name in on):
            return rejected("pooler", told)
        return Verdict(False, f"{told} Expected: {', '.join(sorted(head))}.")
    right = sum(sizes[name] for name in head)
    told = f"It returned {seen['gave']}; expected {right}."
    if seen["gave"] == "None":
        return rejected("no_return")
    if seen["found"] is not None and whole(seen["found"]) is None:
        return rejected("not_whole", f"{told} {not_whole(seen['found'])}")
    if seen["found"] == right:
        return Verdict(True, f"{right} numbers train, all others are frozen.")
    counts = {"counts_tensors": len(head), "counts_all": sum(sizes.values()),
              "counts_frozen": sum(sizes.values()) - right,
              "counts_rows": 2 * len(head), "hard_coded": 770}
    for mistake, value in counts.items():
        if seen["found"] == value:
            return rejected(mistake, told)
    return Verdict(False, told)


HEAD_MISTAKES = {
    "changed": "The values of the parameters are different afterwards. Only say what trains.",
    "on_module": "An attribute requires_grad was set on a module, where PyTorch never looks. "
                 "It belongs to each parameter; a module has the method requires_grad_(…).",
    "misspelled": "PyTorch does not know that one, and says nothing. It is spelled requires_grad, "
                  "with an s.",
    "names_alone": "pt.models.head(model) gives names, which are strings. "
                   "model.named_parameters() gives each name together with its parameter.",
    "inverted": "It is the wrong way round: the head is frozen, and the rest trains.",
    "nothing": "Everything is frozen, the head too.",
    "not_switched_on": "This model came with a frozen head, and it stayed frozen. Switch the head "
                       "on as well, whatever it was before.",
    "everything": "Nothing is frozen: set requires_grad to False for all that is not in the head.",
    "loop_left": "Only the first parameter was frozen, and then the function ended: does the "
                 "`return` stand inside of the loop?",
    "half_a_head": "Only a part of the head trains: it has a weight and a bias. Or does a `return` "
                   "stand inside of the loop?",
    "pooler": "The pooler trains too. It belongs to the backbone; pt.models.head(model) "
              "lists what does not.",
    "no_return": NO_RETURN,
    "not_whole": "A number of parameters is a whole number: an int.",
    "counts_tensors": "That is the number of tensors. Each has p.numel() numbers.",
    "counts_all": "That counts every parameter: count those that train.",
    "counts_frozen": "That counts the frozen ones.",
    "counts_rows": "len(p) is the number of rows, not of numbers: p.numel().",
    "hard_coded": "770 is right for MiniLM alone. The check tries a smaller model: add up "
                  "p.numel().",
}

HEAD_ONLY = Exercise(
    id="full.head_only", lesson="01", names=("head_only",), points=1, minutes=4, difficulty=1,
    reference="peft_teach.course.lessons.full.exercises:head_only",
    cases=head_cases, run=run_head, judge=judge_head, mistakes=HEAD_MISTAKES,
    hints=("One loop over model.named_parameters(), which gives names and parameters.",
           "A parameter trains if its name stands in pt.models.head(model), and is frozen "
           "otherwise: both have to be said.",
           "requires_grad belongs to each parameter; numel() says how many entries it has."))


# ── full.frozen_stays ────────────────────────────────────────────────────────────────────────


def frozen_stays(train: Callable[[nn.Module], Any], model: nn.Module) -> None:
    """Raise if `train(model)` moved a parameter that was frozen when the model came."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()
              if not p.requires_grad}
    train(model)
    after = dict(model.named_parameters())
    for name, value in before.items():
        assert torch.equal(after[name], value), f"{name} is frozen, and has moved"


def frozen_cases(seed: int) -> list[dict]:
    """Return which parameters train: the head, or the pooler and the head."""
    return [{"seed": 10 * seed + i, "trains": trains}
            for i, trains in enumerate((("classifier",), ("bert.pooler", "classifier")))]


def half_frozen(case: dict) -> Classifier:
    """Return a small model of which only the parts in `trains` may train."""
    model = Classifier(seed=case["seed"])
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(tuple(case["trains"])))
    return model


def run_frozen(frozen_stays, case: dict) -> dict[str, Any]:
    free, calls = case | {"trains": ("",)}, []

    def put(train: Callable, case: dict) -> Any:
        model = half_frozen(case)

        def watched(*arguments, **named):
            calls[-1].append([a is model for a in (*arguments, *named.values())] == [True])
            return train(*arguments, **named)

        calls.append([])
        return frozen_stays(watched, model)

    answers = outcomes(lambda train: put(train, case), versions.RIGHT | versions.BROKEN,
                       case["seed"])
    answers |= outcomes(lambda train: put(train, free), versions.FREE, case["seed"])
    return answers | {"calls": calls}


def judge_frozen(case: dict, answers) -> Verdict:
    if often := [len(given) for given in answers["calls"] if len(given) > 1]:
        return rejected("not_once", f"It called the training {often[0]} times.")
    verdict = score(answers, versions.RIGHT | versions.FREE, versions.BROKEN)
    met = len(versions.RIGHT | versions.FREE | versions.BROKEN)
    if verdict.passed and answers["calls"] != [[True]] * met:
        return rejected("another_model", verdict.message)
    if verdict.mistake != "let_through":
        return verdict
    passed = {name for name in versions.BROKEN if answers[name] is ACCEPTED}
    if passed == set(versions.IN_PLACE):
        return rejected("no_copy", verdict.message)
    if passed == {next(iter(versions.BROKEN))}:
        return rejected("tolerance", verdict.message)
    return verdict


FROZEN_MISTAKES = mutants.MISTAKES | {
    "no_copy": "It catches only what is a new tensor. Then `before` is no copy: a parameter, its "
               ".data and its .detach() all show what stands in memory now. .clone() copies.",
    "tolerance": "What is frozen is not computed anew, so nothing is rounded: it is the same to "
                 "the bit, and a comparison that forgives a little forgives this.",
    "not_once": "Call it once. What the first call did, a second one goes on from: it may meet "
                "other parameters frozen than those of the model that came.",
    "another_model": "The training was given another model than yours, so the one that you were "
                     "handed is not trained. Copy what is frozen, and train the model itself.",
}

FROZEN = Exercise(
    id="full.frozen_stays", lesson="01", names=("frozen_stays",), points=3, minutes=10,
    difficulty=2, reference="peft_teach.course.lessons.full.exercises:frozen_stays",
    cases=frozen_cases, run=run_frozen, judge=judge_frozen, mistakes=FROZEN_MISTAKES,
    returns=report(calls=list[list[bool]], **dict.fromkeys(
        versions.RIGHT | versions.FREE | versions.BROKEN, mutants.Outcome)),
    arguments=lambda pieces: (_trained_by(pieces["step"]), _headed_by(pieces["head_only"])),
    hints=("It takes a photograph before and one after. Of what, and when is it decided what is "
           "frozen?",
           "A training may thaw, freeze, or put a new tensor in the place of an old one. So ask "
           "before it what is frozen, keep it by name, and ask the model for it anew afterwards.",
           "A copy that does not change along: .clone(). A comparison to the bit: torch.equal."))


def _trained_by(step: Callable) -> Callable[[nn.Module], None]:
    """Return a training of three steps, each the learner's own."""
    def train(model):
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for batch in batches_of(0, (8, 8, 8)):
            step(model, batch, optimizer)

    return train


def _headed_by(head_only: Callable[[nn.Module], Any]) -> Classifier:
    model = Classifier()
    head_only(model)
    return model


# ── full.pair ────────────────────────────────────────────────────────────────────────────────

APART, TOGETHER = "apart", "together"
SETTINGS = {"reads": ("pooler", "mean"), "features": ("raw", "standardized"),
            "steps": (250, 2500)}
# Whether a run ends low, by each explanation of the eight points.
LOW = {"place": lambda run: run["reads"] == "pooler",
       "steps": lambda run: run["reads"] == "pooler" and run["steps"] == 250,
       "scale": lambda run: run["reads"] == "pooler" and run["features"] == "raw"}

FIRST = {"reads": "pooler", "features": "standardized", "steps": 2500}
SECOND = {"reads": "mean", "features": "standardized", "steps": 2500}
FORETOLD = {"place": APART, "steps": TOGETHER, "scale": TOGETHER}


def judge_pair(case: None, found) -> Verdict:
    """Ask of two runs whether they differ in one thing, and tell explanations apart."""
    if not isinstance(found, list | tuple) or len(found) != 3:
        return Verdict(False, f"What came back is {named(found)}, not two runs and a forecast.")
    *runs, foretold = found
    for run in runs:
        if odd := _no_setting(run):
            return rejected("no_setting", odd)
    differing = [name for name in SETTINGS if runs[0][name] != runs[1][name]]
    if not differing:
        return rejected("same", f"They are {runs[0]} and {runs[1]}.")
    told = f"They differ in {' and '.join(differing)}."
    if len(differing) > 1:
        return rejected("not_controlled", told)
    right = {name: APART if low(runs[0]) != low(runs[1]) else TOGETHER
             for name, low in LOW.items()}
    if len(set(right.values())) == 1:
        return rejected(f"all_{right['place']}", f"{told} Each of the three explanations foretells "
                                                 f"that these two end {right['place']}.")
    if not isinstance(foretold, dict) or foretold.keys() != right.keys() or not all(
            value in (APART, TOGETHER) for value in foretold.values()):
        return rejected("no_forecast", f"The forecast is {foretold!r}.")
    if wrong := [name for name in right if foretold[name] != right[name]]:
        return rejected("wrong_forecast", f"{told} Look again at what is foretold, if it is the "
                                          f"{wrong[0]}.")
    return Verdict(True, f"{told} " + "; ".join(
        f"if it is the {name}, they end {end}" for name, end in right.items()) + ".")


def _no_setting(run: Any) -> str:
    """Say what is no setting in this; an empty text where nothing is."""
    if not isinstance(run, dict) or run.keys() != SETTINGS.keys():
        return f"A run is {run!r}."
    odd = [name for name, values in SETTINGS.items() if plain(run[name]) not in values]
    return f"A run's {odd[0]} is {run[odd[0]]!r}." if odd else ""


PAIR_MISTAKES = {
    "no_setting": "Each run is a dict with reads, features and steps, and values out of the table.",
    "same": "Two runs that differ in nothing tell nothing apart but luck.",
    "not_controlled": "If they end apart, which of these was it? Change one thing.",
    "all_apart": "So whatever comes out, all three survive, or all three fall. Change what one of "
                 "them blames, in both runs.",
    "all_together": "So whatever comes out, all three survive, or all three fall. Take a run that "
                    "at least one of them says is low.",
    "no_forecast": "For each explanation, place, steps and scale, say whether the two runs would "
                   "end \"apart\" or \"together\" if it were the whole truth.",
    "wrong_forecast": "Take that explanation for the whole truth: which of your two runs, if any, "
                      "has what it blames, and so ends low?",
}

PAIR = Exercise(
    id="full.pair", lesson="01", names=("first_run", "second_run", "foretold"), points=2,
    minutes=7, difficulty=2, answer=VALUE,
    reference=tuple(f"peft_teach.course.lessons.full.exercises:{name}"
                    for name in ("FIRST", "SECOND", "FORETOLD")),
    cases=lambda seed: [None], run=lambda answer, case: answer, judge=judge_pair,
    mistakes=PAIR_MISTAKES,
    hints=("A run ends low if it has what an explanation blames. Go through the eight combinations "
           "of the table: which end low if the place is to blame? The steps? The scale?",
           "Two runs decide something if at least one explanation has them end apart and at least "
           "one together.",
           "The two heads that were compared, on raw features after 250 steps, end apart by all "
           "three. What could you change in both of them, so that one explanation has nothing to "
           "blame any more?"))


# ── full.culprits ────────────────────────────────────────────────────────────────────────────

CULPRITS = dict(sick.RUNS)


def judge_culprits(case: None, found) -> Verdict:
    """Compare the change that is blamed for each run with the one that was made."""
    if not isinstance(found, dict) or found.keys() != CULPRITS.keys() or any(
            whole(plain(value)) not in sick.CHANGES for value in found.values()):
        return rejected("no_table", f"It is {found!r}.")
    wrong = [name for name, change in CULPRITS.items() if whole(plain(found[name])) != change]
    if wrong:
        blamed = sick.CHANGES[whole(plain(found[wrong[0]]))]
        return rejected(f"not_{wrong[0]}", f"{len(wrong)} of 3 are not what happened. Run "
                                           f"{wrong[0]}: it is not that {blamed}.")
    return Verdict(True, "All three.")


CULPRITS_MISTAKES = {
    "no_table": "A dict is wanted with a number from the list for each of \"A\", \"B\" and \"C\".",
    "not_A": "A's weights moved, and it answers hardly better than a coin. What did it learn from?",
    "not_B": "B answers nearly as well as the healthy one, and its loss says that it is very sure "
             "where it is wrong. What keeps its weights running?",
    "not_C": "C moves in the right direction. How far did its weights go, compared with the "
             "healthy one's?",
}

CULPRITS_EXERCISE = Exercise(
    id="full.culprits", lesson="01", names=("culprits",), points=2, minutes=6, difficulty=2,
    answer=VALUE, optional=True, reference="peft_teach.course.lessons.full.exercises:CULPRITS",
    cases=lambda seed: [None], run=lambda answer, case: answer, judge=judge_culprits,
    mistakes=CULPRITS_MISTAKES,
    hints=("Three symptoms, not one: the loss, the accuracy, and how far the weights went.",
           "For each change of the list say what it would do to all three, then compare.",
           "Try a suspicion: break a copy of your own step and train a head with it."))


EXERCISES = (ACCURACY, STEP, FROZEN, HEAD_ONLY, PAIR, CULPRITS_EXERCISE)
