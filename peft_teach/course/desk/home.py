"""Where a reader is in the course, as START shows it: what is next, and a row for each lesson.

    ● Next: 07 · LoRA · Exercise 5 · The merge
    07 · LoRA   a thin correction to a large matrix   ████░   9 minutes left   R² 0.497, 2nd of 4
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from ..checks.examination import PASSED
from ..checks.exercise import Exercise
from ..lessons import Shelved, all_exercises, of_lesson, shelf, title_of
from .start import FIRST

_CELL = "text-align: left; padding: 3px 14px 3px 0"
_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}


@dataclass(frozen=True)
class Told:
    """What stands on a page: the HTML, and the same as text."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def following(states: Mapping[str, str]) -> Exercise | None:
    """Return the exercise that is next: the first that is not passed, and at first START's own."""
    exercises = [each for each in all_exercises() if not each.optional]
    if PASSED not in states.values() and (first := [e for e in exercises if e.id == FIRST]):
        return first[0]
    return next((each for each in exercises if states.get(each.id) != PASSED), None)


def next_step(states: Mapping[str, str]) -> Told:
    """Say which exercise is next, with a link to it."""
    exercise = following(states)
    if exercise is None:
        return Told("<div><b>Every exercise has passed.</b></div>", "Every exercise has passed.")
    title = title_of(exercise.id).rpartition(" · ")[0] or exercise.id
    if exercise.id == FIRST and PASSED not in states.values():
        return Told("<div><b>Next:</b> your first ✓, two minutes, on this page.</div>",
                    "Next: your first ✓, two minutes, on this page.")
    there = shelf().get(exercise.lesson, Shelved())
    text = f"{there.name or f'lesson {exercise.lesson}'} · {title}"
    link = f"{there.file}#{there.anchors.get(exercise.id, '')}".rstrip("#")
    return Told(f"<div style=\"font-size: 115%\"><b>Next:</b> {_link(link, text)}</div>",
                f"Next: {text}")


def rows(states: Mapping[str, str]) -> Told:
    """Return a row for each lesson: how far, its subject, minutes left, its place on the ladder."""
    ladder, html, text = places(), [], []
    for number in sorted({each.lesson for each in all_exercises()}):
        asked = [e for e in of_lesson(number) if not e.optional]
        left = [e for e in asked if states.get(e.id) != PASSED]
        there = shelf().get(number, Shelved(name=f"lesson {number}"))
        done, minutes = len(asked) - len(left), sum(e.minutes for e in left)
        time = f"{minutes} min left" if left else "✓" if asked else ""
        bar = (f'<progress value="{done}" max="{len(asked)}" style="width: 6em" '
               f'aria-label="{done} of {len(asked)} exercises passed"></progress>' if asked else "")
        cells = (_link(there.file, there.name), bar, escape(there.question),
                 f'<span style="white-space: nowrap">{time}</span>', ladder.get(number, ""))
        html.append("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells)
                    + "</tr>")
        text.append(f"{there.name}: {done} of {len(asked)}" + (f", {time}" if time else ""))
    head = "".join(f'<th scope="col" style="{_CELL}">{name}</th>' for name in (
        "lesson", "passed", "about", "exercises", "on your ladder"))
    return Told('<table style="border-collapse: collapse; margin: 10px 0"><thead><tr>' + head
                + "</tr></thead><tbody>" + "".join(html) + "</tbody></table>", "\n".join(text))


def places() -> dict[str, str]:
    """Return where the reader's run of each lesson stands among their own, best first."""
    from . import board

    ranked = sorted(board.rows().items(), key=lambda item: -item[1]["r2"])
    return {board.LESSONS[key]: f"R² {row['r2']:.3f}" + (
                f", {_ORDINALS.get(n, f'{n}th')} of {len(ranked)}" if len(ranked) > 1 else "")
            for n, (key, row) in enumerate(ranked, 1) if key in board.LESSONS}


def _link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>' if address else escape(text)
