"""Answers to every exercise, right and wrong, as learners write them, from each lesson's folder.

    RIGHT = {"inside.linear": {"two parts": text, …}}      by style, besides the solution cell,
                                                           which `solution` reads; all of them pass.
                                                           "the solution" stands there only where
                                                           it needs a line from above its cell
    WRONG = {"inside.linear": {"no_bias": text, …}}        by the mistake that each makes, or ""
                                                           where it has no name; several in a tuple
    BEYOND = {"inside.linear": text}                       what only the further cases find
    SLIPS = {"inside.linear": (expression, instead, {asked: condition, …})}
                                                           what one further case alone finds: a
                                                           right answer, with something else for the
                                                           expression where the condition holds
    TOLERANT = {"lora.case"}                               values beside which others are right

A text is what would stand in a cell of the notebook, so that the tests of the checks, of the grader
and of nbgrader read the same ones. A wrong answer is the smallest change of a right one (`but`).
The first wrong one of an exercise is its most usual, and stands for it where one is enough.
"""

from typing import Any

import lesson_files

from peft_teach.course.publish import authored
from peft_teach.course.publish.authored import PRELUDE, but, solution


def right(id: str) -> dict[str, str]:
    """The right answers to an exercise, by style, the solution's first."""
    styles = {style: text.strip() for style, text in _of("RIGHT", id).items()}
    solved = (lesson_files.homes()[id.partition(".")[0]] / "lesson.py").is_file()    # not the demo
    return ({"the solution": solution(id)} if solved else {}) | styles


def wrong(id: str) -> dict[str, tuple[str, ...]]:
    """The wrong answers to an exercise, by the name of the mistake that they make."""
    return {mistake: tuple(text.strip() for text in _tuple(each))
            for mistake, each in _of("WRONG", id).items()}


def usual(id: str) -> tuple[str, str]:
    """The most usual wrong answer to an exercise: its mistake and its text."""
    return authored.usual(lesson_files.homes()[id.partition(".")[0]], id)


def cell(text: str) -> str:
    """The text as it can stand in any notebook: with what it may use imported above it."""
    return PRELUDE + text


def beyond(id: str) -> str | None:
    """An answer that passes the visible cases and not the further ones; None where none are."""
    text = getattr(_lesson(id), "BEYOND", {}).get(id)
    return text and text.strip()


def slips(id: str) -> dict[str, str]:
    """Answers that each one of the further cases alone finds, by what that asks."""
    expression, instead, where = getattr(_lesson(id), "SLIPS", {}).get(id, ("", "", {}))
    text = next(iter(right(id).values()))
    return {asked: but(text, expression, f"({instead} if ({condition}) else ({expression}))")
            for asked, condition in where.items()}


def place(id: str) -> str:
    """The file that holds the answers to an exercise, such as "solutions/07_lora/answers.py"."""
    return f"solutions/{lesson_files.homes()[id.partition('.')[0]].name}/answers.py"


def file(prefix: str) -> Any:
    """The answers of a lesson, such as "inside"."""
    return lesson_files.module(prefix, "answers")


def _lesson(id: str) -> Any:
    return file(id.partition(".")[0])


def _of(kind: str, id: str) -> dict[str, Any]:
    return getattr(_lesson(id), kind)[id]


def _tuple(texts: str | tuple[str, ...]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else texts
