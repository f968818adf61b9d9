"""An exercise of each kind: a class, a value, two values, a test that the learner writes."""

import torch

import peft_teach as pt
from peft_teach.course.checks.exercise import Exercise, Verdict
from peft_teach.course.checks.judge import rejected, report, whole
from peft_teach.course.checks.mutants import Law

from . import mutants

HERE = "peft_teach.course.lessons.kinds.exercises"


# ── a class ──────────────────────────────────────────────────────────────────────────────────


class Shift(pt.Adapter):
    """y = base(x) + b"""

    def __init__(self, base):
        super().__init__(base)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features))

    def forward(self, x):
        return self.base(x) + self.b


def run_shift(Shift, case):
    layer = Shift(torch.nn.Linear(*case["sizes"]))
    x = torch.randn(2, case["sizes"][0])
    start = layer(x) - layer.base(x)
    with torch.no_grad():
        for own in layer.own_parameters().values():
            own.fill_(1.0)
    return {"start": start.detach(), "shift": (layer(x) - layer.base(x)).detach()}


def judge_shift(case, seen):
    shape = (2, case["sizes"][1])
    if not all(each.shape == shape for each in seen.values()):
        return Verdict(False, f"The layer gave no output of shape {shape}.")
    if seen["start"].any():
        return rejected("moved", "The untrained layer is not its base.")
    if not torch.allclose(seen["shift"], torch.ones(shape), atol=1e-5):
        return rejected("not_added", "With all of its own parameters at one, the output moves by "
                                     f"{seen['shift'].mean().item():.2f}; expected 1.")
    return Verdict(True)


# ── a value, and two ─────────────────────────────────────────────────────────────────────────

LARGEST_RANK = 191
SLOW, FAST = {"rank": 8, "lr": 1e-4}, {"rank": 8, "lr": 3e-3}


def judge_rank(case, found):
    rank, total = whole(found), case["n"] ** 2
    if rank is None:
        return rejected("no_number", f"It is {found!r}.")
    told = f"Rank {rank} takes {2 * rank * case['n']:,} numbers of {total:,}."
    if 2 * rank * case["n"] >= total:
        return rejected("too_large", told)
    if 2 * (rank + 1) * case["n"] < total:
        return rejected("too_small", told)
    return Verdict(True, told)


def judge_settings(case, found):
    settings = found if isinstance(found, tuple) and len(found) == 2 else (None, None)
    if not all(isinstance(each, dict) and set(each) == {"rank", "lr"} for each in settings):
        return Verdict(False, "Each of the two is a dict with rank and lr.")
    differing = [name for name in ("rank", "lr") if settings[0][name] != settings[1][name]]
    if len(differing) != 1:
        return rejected("not_controlled", f"They differ in {len(differing)} things.")
    return Verdict(True)


# ── a test ───────────────────────────────────────────────────────────────────────────────────


def doubles(double):
    for x in (3, -5):
        assert double(x) == 2 * x, f"{double(x)} for {x}"


DOUBLES = Law(mutants.RIGHT, mutants.BROKEN)
THREE = ("Look closely.", "Look again.", "Think.")

EXERCISES = (
    Exercise(id="kinds.shift", names=("Shift",), points=3, minutes=10, difficulty=2,
             reference=f"{HERE}:Shift", run=run_shift, judge=judge_shift, hints=THREE,
             returns=report(start=torch.Tensor, shift=torch.Tensor),
             cases=lambda seed: [{"sizes": (3, 4 + seed % 3)}, {"sizes": (5, 2)}],
             mistakes={"moved": "Where does b start?", "not_added": "Is b added, and once?"}),
    Exercise(id="kinds.rank", names=("largest_rank",), points=1, minutes=5,
             difficulty=1, answer="value", reference=f"{HERE}:LARGEST_RANK",
             cases=lambda seed: [{"n": 384}], run=lambda rank, case: rank, judge=judge_rank,
             mistakes={"no_number": "A rank is a whole number.", "too_large": "Nothing is saved.",
                       "too_small": "There is room for more."}, hints=THREE),
    Exercise(id="kinds.settings", names=("slow", "fast"), points=2, minutes=5,
             difficulty=2, answer="value", reference=(f"{HERE}:SLOW", f"{HERE}:FAST"),
             cases=lambda seed: [None], run=lambda settings, case: settings, judge=judge_settings,
             mistakes={"not_controlled": "Change one thing."}, hints=THREE),
    Exercise(id="kinds.law", names=("doubles",), points=2, minutes=5, difficulty=2,
             reference=f"{HERE}:doubles", **DOUBLES.fields, hints=THREE,
             arguments=lambda pieces: (pieces["double"],)),
)
