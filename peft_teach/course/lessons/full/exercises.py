"""The exercises of lesson 01: accuracy, step, the law of what is frozen, head; `experiments`."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    changed,
    close,
    judged_count,
    named,
    number,
    recognised,
    rejected,
    report,
)
from ...checks.mutants import MISTAKES, Outcome, outcomes, score, survivors
from ...checks.observe import detached, weights_of
from ...checks.stand_ins import TinyClassifier
from . import mutants
from .experiments import CULPRITS_EXERCISE, PAIR


class Batch(dict):
    """A batch that says what is due, if it is asked for what it does not hold."""

    def __missing__(self, key: str):
        raise KeyError(f"{key}: this model takes {' and '.join(self)}; hand over all of the batch, "
                       "as model(**batch), and ask it for nothing but the labels")


def batches_of(seed: int, sizes: Iterable[int]) -> list[dict[str, Tensor]]:
    """Return batches of these sizes, of random words with some padding, and random labels."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for size in sizes:
        ids = torch.randint(1, 12, (size, 5), generator=generator)
        mask = torch.ones_like(ids)
        mask[::2, 4] = 0
        made.append({"input_ids": ids, "attention_mask": mask,
                     "labels": torch.randint(2, (size,), generator=generator)})
    return made


def cached(model: TinyClassifier, batches: Iterable[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Return batches of what the head reads, in the place of words and mask."""
    with torch.no_grad():
        return [{"features": model.bert(batch["input_ids"], batch["attention_mask"]),
                 "labels": batch["labels"]} for batch in batches]


def _intact(batches: list[dict[str, Tensor]], given: list[dict[str, Tensor]]) -> bool:
    """Whether the batches are still what was given, bit for bit."""
    return len(batches) == len(given) and not any(map(changed, batches, given))


# ── full.accuracy ────────────────────────────────────────────────────────────────────────────


def accuracy_cases(seed: int) -> list[dict]:
    cases = [{"seed": 100 * seed + i, "batches": batches_of(100 * seed + i, sizes), "autograd": on}
             for i, (sizes, on) in enumerate((((256, 256, 85), True), ((7, 7, 7, 1), True),
                                              ((3, 11), False)))]
    last = cases[-1]
    features = cached(TinyClassifier(seed=last["seed"]), last["batches"])
    return [*cases, last | {"batches": features, "autograd": True}]


def run_accuracy(accuracy, case: dict) -> dict[str, Any]:
    """Measure a model that was left in training mode; report the answer and what it saw.

    The case says whether autograd is on when the learner's code is called.
    """
    model, batches = TinyClassifier(seed=case["seed"]).train(), [*map(Batch, case["batches"])]
    before, given = weights_of(model), copy.deepcopy(batches)
    with torch.set_grad_enabled(case["autograd"]):    # which puts it back, too
        found = accuracy(model, batches)
        left = torch.is_grad_enabled()
    return {"found": detached(found), "left": left, "intact": _intact(batches, given),
            "training": any(True in modes for modes in model.modes_seen),
            "grad": any(model.grad_seen), "trained": not torch.equal(before, weights_of(model))}


def judge_accuracy(case: dict, seen: Mapping[str, Any]) -> Verdict:
    if seen["found"] is None:
        return rejected("no_return")
    found = number(seen["found"])
    if found is None:
        return Verdict(False, f"It gave {named(seen['found'])}; expected a float from 0 to 1.")
    if seen["trained"]:
        return Verdict(False, "Afterwards the model's weights are not what they were before: "
                              "measuring must not train.")
    expected, candidates = _accuracies(case)
    if not math.isclose(found, expected, abs_tol=1e-6):
        sizes = ", ".join(str(len(batch["labels"])) for batch in case["batches"])
        return Verdict(
            False, f"On batches of {sizes} sentences it gave {found:.6f}; expected {expected:.6f}.",
            recognised(candidates, lambda value: math.isclose(found, value, abs_tol=1e-6)))
    if seen["training"]:
        return rejected("training_mode", "When it was called, the model was in training mode.")
    if seen["grad"]:
        return rejected("graph", "When the model was called, autograd was at work.")
    if seen["left"] != case["autograd"]:
        was, now = ("off", "on") if seen["left"] else ("on", "off")
        return Verdict(False, f"Before the call autograd was {was}, and now it is {now}.",
                       "left_off" if case["autograd"] else None)
    return BATCH_CHANGED if not seen["intact"] else Verdict(
        True, "Counted over examples, without dropout, without a graph.")


def _accuracies(case: dict) -> tuple[float, dict[str, float]]:
    """Return the right accuracy, and what the known mistakes give."""
    model = TinyClassifier(seed=case["seed"])
    hits = [(model(**batch).logits.argmax(-1) == batch["labels"]).double()
            for batch in case["batches"]]
    return torch.cat(hits).mean().item(), {
        "mean_of_batches": torch.stack([each.mean() for each in hits]).mean().item(),
        "first_batch": hits[0].mean().item(),
    }


BATCH_CHANGED = Verdict(
    False, "Afterwards a batch is not what it was before, and whoever uses it next finds that: "
           "batch.pop(\"labels\") takes the labels out of the one batch that there is; read "
           "batch[\"labels\"] instead.")

ACCURACY_MISTAKES = {
    "mean_of_batches": "That is the mean of the batches' accuracies. The last batch is smaller, "
                       "so its sentences count for more: add up right answers and sentences.",
    "first_batch": "That is the first batch alone. Does the `return` stand inside of the loop?",
    "training_mode": "The number is right here, but the model was in training mode. The real one "
                     "has dropout, which would make it guess with a tenth of its features "
                     "missing: call model.eval() first.",
    "graph": "The number is right, but every forward pass was kept for a backward pass that never "
             "comes, which costs memory and time. torch.no_grad() on a line of its own does "
             "nothing: it acts on what stands indented below `with torch.no_grad():`.",
    "left_off": "torch.set_grad_enabled(False) on a line of its own switches autograd off for the "
                "whole program, and the next training fails. `with torch.no_grad():` switches it "
                "back where its block ends.",
}

ACCURACY = Exercise(
    id="full.accuracy", names=("accuracy",), points=2, minutes=11, difficulty=1,
    equivalents=("peft_teach.evaluation:evaluate",),
    cases=accuracy_cases, run=run_accuracy, judge=judge_accuracy, mistakes=ACCURACY_MISTAKES,
    returns=report(found=Any, left=bool, intact=bool, training=bool, grad=bool, trained=bool),
    hints=("The colleague's batches have an equal say, whatever their size. What would you have to "
           "keep count of, so that the sentences have?",
           "Dropout is random, and on in one of the two modes that a model has. And torch keeps "
           "what a backward pass would need unless it is told, for a block of lines, not to.",
           "Look up in torch's documentation: nn.Module.eval and torch.no_grad. Then count right "
           "answers and sentences over all batches, and divide once."))


# ── full.step ────────────────────────────────────────────────────────────────────────────────

CLIP = 1.0


class Recorder(torch.optim.SGD):
    """Plain gradient descent, on two groups, that writes down when it is called."""

    def __init__(self, model: TinyClassifier, lr: float):
        trained = [p for p in model.parameters() if p.requires_grad]
        half = len(trained) // 2
        super().__init__([{"params": trained[:half]}, {"params": trained[half:]}], lr=lr)
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


def _start(case: dict) -> TinyClassifier:
    """Return the case's model. A large `scale` of the head makes large gradients."""
    model = TinyClassifier(seed=case["seed"])
    with torch.no_grad():
        for p in model.classifier.parameters():
            p.mul_(case["scale"])
    for name, p in model.named_parameters():
        p.requires_grad_(not case["head_only"] or name.startswith("classifier"))
    return model


def run_step(step, case: dict) -> dict[str, Any]:
    """Take three steps; report of each the loss, the weights after it, and what was called when."""
    model, batches = _start(case), [*map(Batch, case["batches"])]
    optimizer, given, steps = Recorder(model, case["lr"]), copy.deepcopy(batches), []
    loaded: list[bool] = []             # at each backward pass
    model.on_backward = lambda: loaded.append(optimizer.loaded())
    for batch in batches:
        for seen in (loaded, model.events, model.modes_seen):
            seen.clear()
        loss = step(model, batch, optimizer)
        steps.append({"loss": detached(loss), "weights": weights_of(model),
                      "graph": isinstance(loss, Tensor) and loss.requires_grad,
                      "events": [*model.events], "stale": any(loaded),
                      "training": all(modes == {True} for modes in model.modes_seen)})
    return {"steps": steps, "intact": _intact(batches, given)}


def judge_step(case: dict, seen: Mapping[str, Any]) -> Verdict:
    """Compare with the same three steps, done right and done in the usual wrong ways."""
    steps, (weights, losses) = seen["steps"], _steps(case)
    if len(steps) != len(losses):
        return Verdict(False, f"What came back is the report of {len(steps)} steps.")
    if not all(each["training"] for each in steps):
        return rejected("eval_mode", "When it was called, the model was in eval mode.")
    found = [each["weights"] for each in steps]
    if not _same(found, weights):
        return _why_not(case, steps, weights)
    for each, right in zip(steps, losses):
        if each["loss"] is None:
            return rejected("no_return")
        if each["graph"]:
            return rejected("graph_kept", "The loss that it gave has a graph behind it.")
        loss = number(each["loss"])
        if loss is None:
            return Verdict(False, f"It gave {named(each['loss'])}; expected the loss as a plain "
                                  "number: loss.item().")
        if not math.isclose(loss, right, rel_tol=1e-4):
            return Verdict(False, f"The weights are right, the loss is not. It gave {loss:.4f}; "
                                  f"expected {right:.4f}, the one that the gradient was taken of.")
        if (called := each["events"].count("forward")) > 1:
            return Verdict(False, f"In one step the model was called {called} times. A second "
                                  "forward pass costs a third of a step: return the loss that the "
                                  "gradient was taken of.")
    return BATCH_CHANGED if not seen["intact"] else Verdict(
        True, "Three steps, and after each of them every weight is where it should be.")


def _why_not(case: dict, steps: list[Mapping[str, Any]], right: list[Tensor]) -> Verdict:
    """Say of the first step that differs how far it went, and what it called."""
    found = [each["weights"] for each in steps]
    first = next(i for i, (a, b) in enumerate(zip(found, right)) if not close(a, b))
    start = right[first - 1] if first else weights_of(_start(case))
    moved, due = found[first] - start, right[first] - start
    far = f"{moved.norm():.3g}, where {due.norm():.3g} was due (the gradient of this batch, brought"
    told = (f"Step {first + 1}: {_compared(moved, due)} They moved by {far} to norm {CLIP:g} if it "
            f"is larger, times the rate {case['lr']}). Called, in this order: "
            f"{', '.join(steps[first]['events'][:12]) or 'nothing'}.")
    mistake = next((how for how in VARIANTS if _same(found, _steps(case, how)[0])), None)
    return Verdict(False, told, mistake or ("stale" if steps[first]["stale"] else None))


def _compared(moved: Tensor, due: Tensor) -> str:
    """Say what a move that is not the right one has to do with it."""
    if not moved.any():
        return "the weights did not move: when the optimizer stepped, it found no gradient."
    if torch.cosine_similarity(moved, due, 0) > 0.9999:
        return (f"the weights moved the right way, but {moved.norm() / due.norm():.3g} times as "
                "far: when the optimizer stepped, the gradient had the wrong length.")
    return ("the weights moved another way: when the optimizer stepped, the gradient was not that "
            "of this batch alone, or not shortened as one vector.")


VARIANTS = ("no_zero_grad", "no_clip")


def _steps(case: dict, how: str = "right") -> tuple[list[Tensor], list[float]]:
    """Return the weights after each step, and the losses, of the right way or a wrong one.

    All that trains is one vector here, and so is its gradient.
    """
    model = _start(case)
    trained = [p for p in model.parameters() if p.requires_grad]
    weights, losses, g = [], [], torch.zeros(())
    for batch in case["batches"]:
        with torch.enable_grad():
            loss = model(**batch).loss
        new = nn.utils.parameters_to_vector(torch.autograd.grad(loss, trained))
        g = g + new if how == "no_zero_grad" else new
        if how != "no_clip":
            g = g * min(1.0, CLIP / float(g.norm()))
        moved = nn.utils.parameters_to_vector(trained).detach() - case["lr"] * g
        nn.utils.vector_to_parameters(moved, trained)
        weights.append(weights_of(model))
        losses.append(loss.item())
    return weights, losses


def _same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(map(close, found, expected))


STEP_MISTAKES = {
    "eval_mode": "The model was not in training mode. `pt.models.load` gives it in eval mode, and "
                 "measuring puts it there again: without model.train() there is no dropout.",
    "no_zero_grad": "The gradients are never cleared. backward() adds to what is there, so each "
                    "step goes along the sum of all earlier gradients.",
    "stale": "Gradients of an earlier batch were still there, in all parameters or in some, when "
             "this batch's were added to them. Clear them in every step, and for every parameter "
             "that trains: once, or now and then, is not enough.",
    "no_clip": "The gradients are not clipped, or at the wrong moment: after the backward pass and "
               "before the step, bring the norm of all of them together down to 1, if it is "
               "larger.",
    "graph_kept": "It gave the loss with its graph attached. Whoever keeps a list of losses then "
                  "keeps every batch's activations as well: return loss.item().",
}

STEP = Exercise(
    id="full.step", names=("step",), points=3, minutes=12, difficulty=2,
    equivalents=("peft_teach.training:train", "peft_teach.training:_steps"),
    cases=step_cases, run=run_step, judge=judge_step, mistakes=STEP_MISTAKES,
    returns=report(intact=bool, steps=list[report(
        loss=Any, weights=Tensor, graph=bool, events=list[str], stale=bool, training=bool)]),
    hints=("Think of the moment at which the optimizer changes the weights. What must have "
           "happened to the gradients before it? And what must happen to them afterwards, so that "
           "the next batch finds none?",
           "Beside the model's call there are six: one for the mode; four for the gradients, which "
           "are computed, shortened, used and cleared; one that makes the loss a number.",
           "Names to look up: Module.train, Tensor.backward, torch.nn.utils.clip_grad_norm_, "
           "Optimizer.step, Optimizer.zero_grad, Tensor.item. The order is yours."))


# ── full.head_only ───────────────────────────────────────────────────────────────────────────


def head_cases(seed: int) -> list[dict]:
    return [{"seed": 10 * seed + i, "width": width, "start": start, "bias": bias}
            for i, (width, start, bias) in enumerate(
                ((6, "all", True), (5, "none", True), (4, "backbone", False)))]


def _headed(case: dict) -> TinyClassifier:
    return TinyClassifier(width=case["width"], seed=case["seed"], head_bias=case["bias"])


def run_head(head_only, case: dict) -> dict[str, Any]:
    """Start from a model where all, nothing or only the backbone trains; report what does now."""
    model = _headed(case)
    for name, p in model.named_parameters():
        in_head = name.startswith("classifier")
        p.requires_grad_(case["start"] == "all" or (case["start"] == "backbone" and not in_head))
    before = weights_of(model)
    found = head_only(model)
    return {"found": found,
            "trains": {name: p.requires_grad for name, p in model.named_parameters()},
            "unknown": sorted({name for p in model.parameters() for name in vars(p)}),
            "on_module": any("requires_grad" in m.__dict__ for m in model.modules()),
            "moved": not torch.equal(before, weights_of(model))}


def judge_head(case: dict, seen: Mapping[str, Any]) -> Verdict:
    """Compare with a model of our own: names and sizes are not asked of the learner's process."""
    trains, sizes = seen["trains"], {n: p.numel() for n, p in _headed(case).named_parameters()}
    head = {name for name in sizes if name.startswith("classifier")}
    on = {name for name, trained in trains.items() if trained}
    told = (f"What trained before: {case['start']}. What trains now: "
            f"{', '.join(sorted(on)) or 'nothing'}; expected {', '.join(sorted(head))}.")
    if seen["moved"]:
        return Verdict(False, "The model's weights are other ones afterwards: only say what "
                              "trains.")
    if on != head:
        if seen["on_module"]:
            return rejected("on_module", told)
        if seen["unknown"]:
            return rejected("misspelled", f"{told} A parameter was given an attribute "
                                          f"{seen['unknown'][0]}.")
        if case["start"] != "all":
            return rejected("not_switched_on", told)
        pooler = on > head and all("pooler" in name for name in on - head)
        return Verdict(False, told, "pooler" if pooler else None)
    right = sum(sizes[name] for name in head)
    return judged_count(seen["found"], right, "head_only(model)", {
        "counts_tensors": len(head), "hard_coded": 770},
        f"{right} numbers train, all others are frozen.")


HEAD_MISTAKES = {
    "not_whole": "A number of parameters is a whole number: an int.",
    "on_module": "An attribute requires_grad was set on a module, where PyTorch never looks. "
                 "It belongs to each parameter; a module has the method requires_grad_(…).",
    "misspelled": "PyTorch does not know that one, and says nothing. It is spelled requires_grad, "
                  "with an s.",
    "not_switched_on": "This model came with a frozen head, and it stayed frozen. Switch the head "
                       "on as well, whatever it was before.",
    "pooler": "The pooler trains too. It belongs to the backbone; pt.models.head(model) "
              "lists what does not.",
    "counts_tensors": "That is the number of tensors. Each has p.numel() numbers.",
    "hard_coded": "770 is right for MiniLM alone. The check tries a smaller model: add up "
                  "p.numel().",
}

HEAD_ONLY = Exercise(
    id="full.head_only", names=("head_only",), points=1, minutes=4, difficulty=1,
    cases=head_cases, run=run_head, judge=judge_head, mistakes=HEAD_MISTAKES,
    returns=report(found=Any, trains=dict[str, bool], unknown=list[str], on_module=bool,
                   moved=bool),
    hints=("One loop over model.named_parameters(), which gives names and parameters.",
           "A parameter trains if its name stands in pt.models.head(model), and is frozen "
           "otherwise: both have to be said.",
           "requires_grad belongs to each parameter; numel() says how many entries it has."))


# ── full.frozen_stays ────────────────────────────────────────────────────────────────────────


def frozen_cases(seed: int) -> list[dict]:
    """Return which parameters train: the head, or the pooler and the head."""
    return [{"seed": 10 * seed + i, "trains": trains}
            for i, trains in enumerate((("classifier",), ("bert.pooler", "classifier")))]


def half_frozen(case: dict) -> TinyClassifier:
    """Return a small model of which only the parts in `trains` may train."""
    model = TinyClassifier(seed=case["seed"])
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

    answers = outcomes(lambda train: put(train, case), mutants.RIGHT | mutants.BROKEN,
                       case["seed"])
    answers |= outcomes(lambda train: put(train, free), mutants.FREE, case["seed"])
    return answers | {"calls": calls}


def judge_frozen(case: dict, answers: Mapping[str, Any]) -> Verdict:
    if often := [len(given) for given in answers["calls"] if len(given) > 1]:
        return Verdict(False, f"It called the training {often[0]} times. Call it once: a second "
                              "call goes on from what the first one did.")
    right = mutants.RIGHT | mutants.FREE
    verdict = score(answers, right, mutants.BROKEN)
    if verdict.passed and answers["calls"] != [[True]] * len(right | mutants.BROKEN):
        return Verdict(False, "The training was given another model than the one that you were "
                              "handed: copy what is frozen, and train the model itself.")
    if survivors(answers, mutants.BROKEN) == list(mutants.IN_PLACE):
        return Verdict(False, "What was kept before the training moved with the parameter: it saw "
                              "new tensors, and no change within one. " + verdict.message,
                       "no_copy")
    return verdict


FROZEN_MISTAKES = MISTAKES | {
    "no_copy": "It catches only what is a new tensor. Then `before` is no copy: a parameter, its "
               ".data and its .detach() all show what stands in memory now. .clone() copies.",
}

FROZEN = Exercise(
    id="full.frozen_stays", names=("frozen_stays",), points=3, minutes=10,
    difficulty=2, cases=frozen_cases, run=run_frozen, judge=judge_frozen, mistakes=FROZEN_MISTAKES,
    returns=report(calls=list[list[bool]], **dict.fromkeys(
        mutants.RIGHT | mutants.FREE | mutants.BROKEN, Outcome)),
    arguments=lambda pieces: (_trained_by(pieces["step"]), _headed_by(pieces["head_only"])),
    hints=("It takes a photograph before and one after. Of what, and when is it decided what is "
           "frozen?",
           "A training may thaw, freeze, or put a new tensor in the place of an old one. So ask "
           "before it what is frozen, keep it by name, and ask the model for it anew afterwards.",
           "A copy that does not change along: .clone(). A comparison bit for bit: torch.equal."))


def _trained_by(step: Callable) -> Callable[[nn.Module], None]:
    """Return a training of three steps, each the learner's own."""
    def train(model):
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for batch in batches_of(0, (8, 8, 8)):
            step(model, batch, optimizer)

    return train


def _headed_by(head_only: Callable[[nn.Module], Any]) -> TinyClassifier:
    model = TinyClassifier()
    head_only(model)
    return model


EXERCISES = (ACCURACY, STEP, FROZEN, HEAD_ONLY, PAIR, CULPRITS_EXERCISE)
