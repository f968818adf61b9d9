"""Two small exercises on which the course's machinery is tested."""

import torch

from peft_teach.course.checks.exercise import Exercise, Verdict

HERE = "peft_teach.course.lessons.demo.exercises"


def reference_double(x):
    return x * 2


def reference_encode(text):
    return text[::-1]


def reference_decode(text):
    return text[::-1]


def double_cases(seed):
    random = torch.Generator().manual_seed(seed)
    return [{"x": torch.randn(size, generator=random)} for size in ((3,), (2, 4))]


def judge_double(case, y):
    expected = 2 * case["x"]
    if not isinstance(y, torch.Tensor) or y.shape != expected.shape:
        return Verdict(False, f"This is no tensor of shape {tuple(expected.shape)}.")
    if torch.equal(y, expected):
        return Verdict(True)
    if torch.equal(y, case["x"]):
        return Verdict(False, mistake="not_scaled")
    if torch.equal(y, case["x"] + 2):
        return Verdict(False, f"{float(y.sum()):.1f} instead of {float(expected.sum()):.1f}.",
                       mistake="added")
    return Verdict(False, "The numbers are not twice the input.")


EXERCISES = (
    Exercise(id="demo.double", names=("double",), points=3, minutes=5, difficulty=1,
             reference=f"{HERE}:reference_double", cases=double_cases,
             run=lambda double, case: double(case["x"]), judge=judge_double,
             mistakes={"not_scaled": "The output is the input.", "added": "Times, not plus."},
             hints=("Think of two.", "Multiply by it.", "x * 2")),
    Exercise(id="demo.pair", names=("encode", "decode"), points=2, minutes=5,
             difficulty=2, reference=(f"{HERE}:reference_encode", f"{HERE}:reference_decode"),
             cases=lambda seed: ["abc", ""],
             run=lambda pair, case: (pair[0](case), pair[1](pair[0](case))),
             judge=lambda case, found: Verdict(found == (case[::-1], case), "Not there and back."),
             mistakes={}, hints=("a", "b", "c")),
)
