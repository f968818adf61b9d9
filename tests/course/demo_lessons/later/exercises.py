"""One exercise of a second demo lesson."""

from peft_teach.course.checks.exercise import Exercise, Verdict


def reference_later(x):
    return x + x


EXERCISES = (
    Exercise(id="later.add", names=("later",), points=4, minutes=5, difficulty=3,
             optional=True,
             reference="peft_teach.course.lessons.later.exercises:reference_later",
             cases=lambda seed: [1],
             run=lambda later, case: later(case), judge=lambda case, y: Verdict(y == 2),
             mistakes={}, hints=("a", "b", "c")),
)
