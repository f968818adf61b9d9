"""Where a reader is in the course: all exercises, or as START shows it, a row for each lesson.

    Next: 07 · LoRA · Exercise 5 · The merge
    07 · LoRA   ████░   a thin correction to a large matrix   9 min left   R² 0.497, 2nd of 4
"""

from collections.abc import Mapping, Sequence
from html import escape

from ...errors import PeftTeachError
from ..checks.examination import NOT_ATTEMPTED, PASSED, WRONG
from ..checks.exercise import Exercise
from ..lessons import Shelved, all_exercises, number, of_lesson, shelf, title_of
from . import my_peft_file, work
from .card import Card, Html, shell, show
from .learner import begin_anew, has_buttons
from .start import FIRST

_CELL = "text-align: left; padding: 3px 14px 3px 0"
_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}


def progress(lesson: str | int | None = None, *, reset: bool = False) -> None:
    """Show the state of all exercises, or of one lesson's; with `reset`, of all, begun anew.

    Checks of earlier kernels count, too: `work` keeps them. Beginning anew also sets aside
    predictions, sentences and points.
    """
    if reset and lesson is not None:
        raise PeftTeachError("reset=True sets aside what is kept of all lessons, not of one.",
                             hint="pt.reset(id) for each exercise, or pt.progress(reset=True)")
    if reset:
        begin_anew()
    lesson = None if lesson is None else number(lesson)
    exercises = all_exercises() if lesson is None else of_lesson(lesson)
    states = _states()
    required = [e for e in exercises if not e.optional]
    left = [e for e in required if states[e.id] != PASSED]
    if lesson is not None and required and not left and has_buttons():
        show(_all_passed(lesson, exercises, states))
        show(_next_step(states))
        return
    rows: list[tuple[object, ...]] = [
        ("exercise", "difficulty of 3", "minutes", "points", "state")]
    for e in exercises:
        points = e.points if states[e.id] == PASSED else 0
        optional = ", optional" if e.optional else ""
        rows.append((_linked(e, with_lesson=lesson is None), e.difficulty, e.minutes,
                     f"{points} of {e.points}{optional}", states[e.id]))
    card = Card("The whole course" if lesson is None else f"Lesson {lesson}",
                note=_passed(exercises, states), table=tuple(rows))
    if lesson is None and shell() is not None:
        _show_home(states, card)
        return
    show(card)
    if left:
        show(_next(left[0]))


def _all_passed(lesson: str, exercises: Sequence[Exercise], states: dict[str, str]) -> Card:
    """What a reader has of a lesson whose exercises have all passed."""
    library, place = my_peft_file.read(), _places().get(lesson)
    built = [f"`{name}`" for e in exercises if e.kept and library.own(e) for name in e.names]
    return Card(f"Lesson {lesson}", PASSED, _passed(exercises, states), (
        f"In your {my_peft_file.FILE}: {', '.join(built)}." if built else "",
        f"On your ladder: {place}." if place else ""))


def _show_home(states: dict[str, str], card: Card) -> None:
    """Show what is next, a row a lesson, the ladder, and all exercises, folded."""
    from . import board

    show(_next_step(states))
    show(_rows(states))
    if board.rows():
        board.show()
    else:
        show(Html("<div>Your ladder begins with your first run, in lesson 01.</div>",
                  "Your ladder begins with your first run, in lesson 01."))
    show(Html(f"<details><summary>All exercises: {card.note}</summary>"
                  f"{card._repr_html_()}</details>", repr(card)))


def next_step() -> None:
    """Show which exercise is next, with a link to it."""
    show(_next_step(_states()))


def _passed(exercises: Sequence[Exercise], states: dict[str, str]) -> str:
    """How many passed and their points; optional exercises are counted separately."""
    required = [e for e in exercises if not e.optional]
    more = [e for e in exercises if e.optional]
    solved = [e for e in required if states[e.id] == PASSED]
    told = (f"{len(solved)} of {len(required)} passed, {sum(e.points for e in solved)} of "
            f"{sum(e.points for e in required)} points")
    if more:
        told += f"; optional: {sum(states[e.id] == PASSED for e in more)} of {len(more)}"
    return told


def _states() -> dict[str, str]:
    """How each exercise stands, by the checks of this kernel and of earlier ones."""
    kept = work.states()
    return {each.id: state if (state := kept.get(each.id)) in (PASSED, WRONG) else NOT_ATTEMPTED
            for each in all_exercises()}


def _following(states: Mapping[str, str]) -> Exercise | None:
    """Return the exercise that is next: the first that is not passed, and at first START's own."""
    exercises = [each for each in all_exercises() if not each.optional]
    if PASSED not in states.values() and (first := [e for e in exercises if e.id == FIRST]):
        return first[0]
    return next((each for each in exercises if states.get(each.id) != PASSED), None)


def _next_step(states: Mapping[str, str]) -> Html:
    """Say which exercise is next, with a link to it."""
    exercise = _following(states)
    if exercise is None:
        return Html("<div><b>Every exercise has passed.</b></div>", "Every exercise has passed.")
    if exercise.id == FIRST and PASSED not in states.values():
        return Html("<div><b>Next:</b> your first ✓, two minutes, on this page.</div>",
                    "Next: your first ✓, two minutes, on this page.")
    return _next(exercise)


def _next(exercise: Exercise) -> Html:
    found = _linked(exercise, with_lesson=True)
    return Html(f'<div style="font-size: 115%"><b>Next:</b> {found.html}</div>',
                f"Next: {found.text}")


def _linked(exercise: Exercise, with_lesson: bool) -> Html:
    """Return an exercise's title, with a link to it where its notebook is there."""
    there = shelf().get(exercise.lesson, Shelved())
    text = title_of(exercise.id).rpartition(" · ")[0] or exercise.id
    if with_lesson:
        text = f"{there.name or f'lesson {exercise.lesson}'} · {text}"
    address = f"{there.file}#{there.anchors.get(exercise.id, '')}".rstrip("#")
    return Html(_link(address, text), text)


def _rows(states: Mapping[str, str]) -> Html:
    """Return a row for each lesson: how far, its subject, minutes left, its place on the ladder."""
    ladder, html, text = _places(), [], []
    for lesson in sorted({each.lesson for each in all_exercises()}):
        required = [e for e in of_lesson(lesson) if not e.optional]
        left = [e for e in required if states.get(e.id) != PASSED]
        there = shelf().get(lesson, Shelved(name=f"lesson {lesson}"))
        done, minutes = len(required) - len(left), sum(e.minutes for e in left)
        time = f"{minutes} min left" if left else "✓" if required else ""
        bar = (f'<progress value="{done}" max="{len(required)}" style="width: 6em" '
               f'aria-label="{done} of {len(required)} exercises passed"></progress>'
               if required else "")
        cells = (_link(there.file, there.name), bar, escape(there.question),
                 f'<span style="white-space: nowrap">{time}</span>', ladder.get(lesson, ""))
        html.append("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells)
                    + "</tr>")
        text.append(f"{there.name}: {done} of {len(required)}" + (f", {time}" if time else ""))
    head = "".join(f'<th scope="col" style="{_CELL}">{name}</th>' for name in (
        "lesson", "passed", "about", "exercises", "on your ladder"))
    return Html('<table style="border-collapse: collapse; margin: 10px 0"><thead><tr>' + head
                + "</tr></thead><tbody>" + "".join(html) + "</tbody></table>", "\n".join(text))


def _places() -> dict[str, str]:
    """Return where the reader's run of each lesson stands among their own, best first."""
    from . import board

    ranked = sorted(board.rows().items(), key=lambda item: -item[1]["r2"])
    return {board.LESSONS[key]: f"R² {row['r2']:.3f}" + (
                f", {_ORDINALS.get(n, f'{n}th')} of {len(ranked)}" if len(ranked) > 1 else "")
            for n, (key, row) in enumerate(ranked, 1) if key in board.LESSONS}


def _link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>' if address else escape(text)
