"""The answers of a lesson as a module, cut from the solution cells of its source.

A learner who has not passed goes on with what the solution notebook shows: where an exercise names
no reference in the library, this module holds it. No judge imports it.
"""

from collections.abc import Sequence

from ..desk import my_peft_file
from .source import SOLUTION, Cell, without_marks, wrong

TITLE = '"""What the solution notebook answers; written by `peft-teach build`."""\n'


def cut(cells: Sequence[Cell]) -> str:
    """Return the text of the module; empty where the library holds every answer of the lesson."""
    text, above = "", []
    for cell in cells:
        if cell.kind == "code":
            above.append(without_marks(cell.source))
        if cell.part == SOLUTION and not cell.exercise.reference:
            try:
                text = my_peft_file.added(cell.exercise, above, text or TITLE)
            except my_peft_file.Refused as error:
                raise wrong(f"{cell.where}: {error}", "let the cell define all that it uses, or "
                            "name a reference in the library") from None
    return text.replace(f"    {my_peft_file.UNTIL}", "")
