"""What a learner calls in a lesson: check, hint, reset, progress; and require, for the grader.

    LoRALinear = pt.check("lora.layer", LoRALinear)

returns the learner's own object if it passed, else their answer in `my_peft.py`, else the
reference, so that the rest of the lesson runs either way. How the checks of each exercise stand is
kept in `work`; what else these functions must remember is in `_kernel`.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ...errors import CheckStopped, NotAttempted, PeftTeachError
from ..checks.examination import (
    MADE_OF_ITSELF,
    NOT_ATTEMPTED,
    OF_ITSELF,
    PASSED,
    WRONG,
    Result,
    examine,
    line_of,
    silent,
)
from ..checks.exercise import CODE, Exercise
from ..lessons import all_exercises, find, number, of_lesson, stub_of, title_of
from ..reading.watch import REFERENCE, is_the_courses, seeing
from . import home, my_peft_file, work
from .card import Card, cells, shell, show


@dataclass
class _History:
    """What this kernel remembers of one exercise."""

    result: Result = field(default_factory=lambda: Result(NOT_ATTEMPTED))  # of the learner's code
    checked: tuple[Any, ...] | None = None    # the objects of the last check, or the reference
    failures: int = 0                         # since it last passed
    hints: int = 0
    stands: tuple[Any, ...] | None = None     # the answer in `my_peft.py`, if the result is none
    given: tuple[Any, ...] | None = None      # what the last failed check returned, and
    cells_before: int = 0                     # how many cells had run by then


@dataclass
class _Kernel:
    """The state of the course in this kernel."""

    exercises: dict[str, _History] = field(default_factory=dict)
    lesson: str | None = None    # of the last check

    def history(self, id: str) -> _History:
        return self.exercises.setdefault(id, _History())


_kernel = _Kernel()


def check(id: str, *objects: Any) -> Any:
    """Check what you wrote for an exercise, and show what was found.

    Returns what to go on with (several: a tuple): your object if it passed, otherwise your answer
    in `my_peft.py` if one passed before, otherwise the reference. Raises `CheckStopped` when it is
    interrupted.
    """
    exercise = find(id)
    if len(objects) != len(exercise.names):
        names = ", ".join(exercise.names)
        raise PeftTeachError(f"check({id!r}) was given {len(objects)} objects.",
                             expected=f"{len(exercise.names)}: {names}",
                             hint=f"{names} = pt.check({id!r}, {names})")
    history = _kernel.history(id)
    _kernel.lesson = exercise.lesson
    history.checked = objects
    if _was_given(exercise, objects, history):
        # The check line ran twice: it bound what it gave to the learner's name the first time.
        # The result of their own code stays.
        show(_card_again(exercise, history))
        if not history.result.passed:
            _offer_hint(id)
        return exercise.as_one(objects)
    before, kept = history.result, ""
    try:
        history.result, uses_reference = _examine(exercise, exercise.as_one(objects))
    except KeyboardInterrupt as error:
        if not (line := line_of(error)):
            raise
        raise CheckStopped(f"You stopped the check of {id} while your code ran: {line}.",
                           hint="a print there shows whether a loop ends") from None
    if history.result.passed and cells():
        try:
            kept = my_peft_file.keep(exercise, cells(), uses_reference)
        except NotAttempted:
            history.result = MADE_OF_ITSELF
    history.stands = None if history.result.passed else _standing(exercise)
    if history.result.state == WRONG:
        history.failures += 1
    elif history.result.passed:
        history.failures = 0
    lost = before.passed and not history.result.passed
    show(_result_card(exercise, history, lost, kept))
    if not history.stands:
        work.checked(id, history.result.state)
    if history.result.passed:
        return exercise.as_one(objects)
    _offer_hint(id)
    history.given = history.stands or exercise.one_by_one(exercise.resolve())
    history.cells_before = len(cells())
    return exercise.as_one(history.given)


def _examine(exercise: Exercise, obj: Any) -> tuple[Result, bool]:
    """The result on the visible cases, and whether the course's own solution gave the answer."""
    noted: set[str] = set()
    result = examine(exercise, obj, around=partial(seeing, exercise, noted.add))
    return result, REFERENCE in noted or is_the_courses(exercise, obj)


def _standing(exercise: Exercise) -> tuple[Any, ...] | None:
    """The answer in the reader's library, where one passed, and passes: no later try erases it."""
    if work.states().get(exercise.id) != PASSED:
        return None
    own = my_peft_file.read().own(exercise)
    return own if own and _examine(exercise, exercise.as_one(own))[0].passed else None


def require(id: str) -> None:
    """Raise unless the exercise is solved. For nbgrader: elsewhere it does nothing."""
    if not os.environ.get("NBGRADER_EXECUTION"):
        return
    exercise = find(id)
    history = _kernel.history(id)
    objects = history.checked or _defined(exercise)
    if _was_given(exercise, objects, history):
        raise PeftTeachError(f"{id} is not solved: this is the reference, not your own code.")
    if history.result.reason == OF_ITSELF:
        raise NotAttempted(id)
    # nbgrader gives no points to a cell that writes to stderr, whatever was written.
    with silent():
        result = examine(exercise, exercise.as_one(objects))
    if result.state == NOT_ATTEMPTED:
        raise NotAttempted(id)
    if not result.passed:
        raise PeftTeachError("\n".join(filter(None, (
            f"{id} is not solved. {result.message}", result.traceback))))


def hint(id: str | None = None) -> None:
    """Show the next hint; each says more than the one before."""
    show(_next_hint(_named(id).id))


def _offer_hint(id: str) -> None:
    """Put a button below the card, where it can be clicked."""
    if _has_buttons():
        from IPython.display import display

        from .buttons import HintButton  # it brings ipywidgets and matplotlib

        shown = [_hint(id, n) for n in range(1, _kernel.history(id).hints + 1)]
        display(HintButton(shown, lambda: _next_hint(id)))


def _has_buttons() -> bool:
    """Whether a reader sees this on a page."""
    return hasattr(shell(), "kernel") and work.is_reader_here()


def _next_hint(id: str) -> Card:
    exercise = find(id)
    history, total = _kernel.history(id), len(exercise.hints)
    if history.hints == total:
        numbered = tuple(f"{n}. {text}" for n, text in enumerate(exercise.hints, 1))
        return Card(title_of(id), note=f"that was the last of {total} hints", paragraphs=numbered)
    history.hints += 1
    return _hint(id, history.hints, _usual_cause(history) if history.hints == 1 else "")


def _usual_cause(history: _History) -> str:
    """What the card of a first failure left out."""
    result = history.result
    left_out = history.failures == 1 and result.found
    return result.message.removeprefix(result.found).strip() if left_out else ""


def _hint(id: str, n: int, before: str = "") -> Card:
    hints = find(id).hints
    more = f"pt.hint({id!r})" if n < len(hints) else ""
    return Card(title_of(id), note=f"hint {n} of {len(hints)}",
                paragraphs=(before, hints[n - 1]), next=more)


def reset(id: str | None = None) -> None:
    """Put the exercise's stub into a new cell, with the line of its check; forget its results."""
    exercise = _named(id)
    id, stub = exercise.id, stub_of(exercise.id)
    if stub is None:
        raise PeftTeachError(f"The stub of {id} is not in this installation.",
                             hint=f"copy it from a fresh notebook of lesson {exercise.lesson}")
    _kernel.exercises.pop(id, None)
    work.forget(id)
    names = ", ".join(exercise.names)
    stub = f"{stub}\n\n\n{names} = pt.check({id!r}, {names})"
    paragraphs, ipython = (), shell()
    if ipython is not None:
        ipython.set_next_input(stub)
        paragraphs = ("A new cell below has this text; if there is none, copy it from here.",)
    show(Card(title_of(id), note="as it was at the start", paragraphs=paragraphs, code=stub))


def progress(lesson: str | int | None = None, *, reset: bool = False) -> None:
    """Show the state of all exercises, or of one lesson's; with `reset`, of all, begun anew.

    Checks of earlier kernels count, too: `work` keeps them. Beginning anew also sets aside
    predictions, sentences and points.
    """
    if reset and lesson is not None:
        raise PeftTeachError("reset=True sets aside what is kept of all lessons, not of one.",
                             hint="pt.reset(id) for each exercise, or pt.progress(reset=True)")
    if reset:
        _kernel.exercises.clear()
        work.forget()
    lesson = None if lesson is None else number(lesson)
    exercises = all_exercises() if lesson is None else of_lesson(lesson)
    states = _states()
    asked = [e for e in exercises if not e.optional]
    left = [e for e in asked if states[e.id] != PASSED]
    if lesson is not None and asked and not left and _has_buttons():
        show(_all_passed(lesson, exercises, states))
        show(home.next_step(states))
        return
    rows: list[tuple[object, ...]] = [
        ("exercise", "lesson", "difficulty of 3", "minutes", "points", "state")]
    for e in exercises:
        points = e.points if states[e.id] == PASSED else 0
        optional = ", optional" if e.optional else ""
        rows.append((e.id, e.lesson, e.difficulty, e.minutes,
                     f"{points} of {e.points}{optional}", states[e.id]))
    following = f"lesson {left[0].lesson}: {title_of(left[0].id)}" if left else ""
    card = Card("The whole course" if lesson is None else f"Lesson {lesson}",
                note=_passed(exercises, states), table=tuple(rows), next=following)
    if lesson is None and shell() is not None:
        _show_home(states, card)
    else:
        show(card)


def _all_passed(lesson: str, exercises: Sequence[Exercise], states: dict[str, str]) -> Card:
    """What a reader has of a lesson whose exercises have all passed."""
    library, place = my_peft_file.read(), home.places().get(lesson)
    built = [f"`{name}`" for e in exercises if e.kept and library.own(e) for name in e.names]
    return Card(f"Lesson {lesson}", PASSED, _passed(exercises, states), (
        f"In your {my_peft_file.FILE}: {', '.join(built)}." if built else "",
        f"On your ladder: {place}." if place else ""))


def _show_home(states: dict[str, str], card: Card) -> None:
    """Show what is next, a row a lesson, the ladder, and all exercises, folded."""
    from . import board

    show(home.next_step(states))
    show(home.rows(states))
    if board.rows():
        board.show()
    else:
        show(home.Told("<div>Your ladder begins with your first run, in lesson 01.</div>",
                       "Your ladder begins with your first run, in lesson 01."))
    folded = replace(card, next="")
    show(home.Told(f"<details><summary>All exercises: {card.note}</summary>"
                   f"{folded._repr_html_()}</details>", repr(card)))


def next_step() -> None:
    """Show which exercise is next, with a link to it."""
    show(home.next_step(_states()))


def _passed(exercises: Sequence[Exercise], states: dict[str, str]) -> str:
    """How many passed and their points; optional exercises are counted separately."""
    asked = [e for e in exercises if not e.optional]
    more = [e for e in exercises if e.optional]
    solved = [e for e in asked if states[e.id] == PASSED]
    told = (f"{len(solved)} of {len(asked)} passed, {sum(e.points for e in solved)} of "
            f"{sum(e.points for e in asked)} points")
    if more:
        told += f"; optional: {sum(states[e.id] == PASSED for e in more)} of {len(more)}"
    return told


def _states() -> dict[str, str]:
    """How each exercise stands, by the checks of this kernel and of earlier ones."""
    kept = work.states()
    return {each.id: state if (state := kept.get(each.id)) in (PASSED, WRONG) else NOT_ATTEMPTED
            for each in all_exercises()}


def _named(id: str | None) -> Exercise:
    """The exercise of this id; without one, an error that lists the ids of the lesson."""
    if id is None:
        exercises = of_lesson(_kernel.lesson) if _kernel.lesson else all_exercises()
        raise PeftTeachError("Which exercise?", expected="one of " + ", ".join(
            repr(exercise.id) for exercise in exercises))
    return find(id)


def _was_given(exercise: Exercise, objects: tuple[Any, ...], history: _History) -> bool:
    """Whether any object is the reference, or what `check` returned after a failure.

    The reference is known by identity where it is code. Of a value that says nothing, since there
    is only one 8: it was given if a check returned it and no cell has assigned to the name since.
    """
    if exercise.answer == CODE and any(
            own is ours for own, ours in zip(objects, exercise.one_by_one(exercise.resolve()))):
        return True
    if history.given is None:
        return False
    assigned = _assigned(cells()[history.cells_before:])
    return any(own is given and name not in assigned
               for name, own, given in zip(exercise.names, objects, history.given))


def _assigned(ran: list[str]) -> set[str]:
    """The names to which cells assign a value, other than by a check."""
    return {name for statement in my_peft_file.read_cells(ran).statements
            if not statement.checks for name in statement.binds}


def _defined(exercise: Exercise) -> tuple[Any, ...]:
    """The objects of the exercise's names in the learner's namespace."""
    ipython = shell()
    namespace = ipython.user_ns if ipython else vars(sys.modules["__main__"])
    for name in exercise.names:
        if name not in namespace:
            raise PeftTeachError(f"{exercise.id} is not solved: {name} is not defined.")
    return tuple(namespace[name] for name in exercise.names)


def _result_card(exercise: Exercise, history: _History, lost: bool, kept: str) -> Card:
    """The first failure shows what does not hold; from the second on, the usual mistake too."""
    result, names = history.result, " and ".join(exercise.names)
    more = "" if _has_buttons() else f"pt.hint({exercise.id!r})"    # there a button gives hints
    going_on = f"The lesson goes on with the reference as {names} until yours passes."
    if history.stands:
        going_on = (f"Your passing answer stands in {my_peft_file.FILE}, and the lesson goes on "
                    "with it; copy it into the cell if you hand this notebook in.")
    elif lost:
        going_on = f"It had passed before, but the last check counts. {going_on}"
    points = exercise.points if result.passed or history.stands else 0
    note = f"{points} of {exercise.points} points" + (" stand" if history.stands else "")
    if result.state == PASSED:
        return Card(title_of(exercise.id), PASSED, note,
                    (result.message, f"The lesson goes on with your own {names}.", kept))
    if result.state == WRONG:
        told = result.found if history.failures == 1 and result.found else result.message
        return Card(title_of(exercise.id), WRONG, note, (told, going_on),
                    code_label="Where it happened:", code=result.traceback, next=more)
    return Card(title_of(exercise.id), NOT_ATTEMPTED, note, (result.message, going_on),
                next=more)


def card_of(id: str, obj: Any) -> Card:
    """Return an answer's card, cause and all, for a page where nobody goes on; keep nothing."""
    exercise = find(id)
    result, _ = _examine(exercise, obj)
    card = _result_card(exercise, _History(result), False, "")
    return replace(card, paragraphs=card.paragraphs[:1], next="")


def _card_again(exercise: Exercise, history: _History) -> Card:
    """Whose the objects are, and the last verdict on the learner's own code."""
    names, last = " and ".join(exercise.names), _result_card(exercise, history, False, "")
    given, state, code, note = "the reference", "reference", "your own code", ""
    if history.stands:
        given, state = f"your answer in {my_peft_file.FILE}", PASSED
        code, note = "your newer code", f"{last.note}; "
    found = last.paragraphs[0]
    return replace(last, state=state, note=f"{note}{code}: {history.result.state}", paragraphs=(
        f"Of {code}, when it was checked: {found}" if found else "",
        f"This is {given}, so nothing was checked anew: {names} became {given} when this line ran "
        f"before. Run the cell with {code} again, then this one."))
