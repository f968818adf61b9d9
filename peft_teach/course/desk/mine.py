"""What lessons use of the reader's own library: their answers, and their tests.

    inject, LoRALinear = pt.mine("change.inject", "lora.layer")
    pt.audit()                 their tests, on their pieces
    pt.audit(inject=theirs)    their tests, on another's

`my_peft_file` says how an answer gets into `my_peft.py`.
"""

from typing import Any

from ...errors import NotAttempted, unknown
from ..checks.examination import is_examined
from ..checks.mutants import ACCEPTED, outcome
from ..lessons import all_exercises, find
from .card import Card, show
from .my_peft_file import FILE, Library, read


def mine(*ids: str) -> Any:
    """Return your own answer to each exercise, or the course's if `my_peft.py` has none.

    Several ids give a tuple. Raises `NotAttempted` while an answer to that exercise is examined.
    """
    exercises = [find(id) for id in ids]
    for exercise in exercises:
        if is_examined(exercise.id):
            raise NotAttempted(exercise.id)
    library, found, names = read(), [], {"yours": [], "the course's": []}
    for exercise in exercises:
        own = library.own(exercise)
        found.append(exercise.as_one(own) if own else exercise.resolve())
        names["yours" if own else "the course's"] += exercise.names
    if not is_examined():    # a check may call this many times
        print(" · ".join(f"{whose}: {', '.join(each)}" for whose, each in names.items() if each))
    return found[0] if len(found) == 1 else tuple(found)


def audit(**theirs: Any) -> None:
    """Run the tests that you wrote on your own answers; `audit(inject=theirs)` on another's.

    Where `my_peft.py` has no answer, the course's own is used.
    """
    known = [name for exercise in all_exercises() for name in exercise.names]
    for name in theirs:
        if name not in known:
            raise unknown("piece", name, known)
    library = read()
    rows: list[tuple[str, ...]] = [("test", "run on", "result")]
    for exercise in all_exercises():
        test = library.own(exercise) if exercise.arguments else None
        if exercise.arguments and test:
            pieces = _Pieces(library, theirs)
            said = outcome(test[0], *exercise.arguments(pieces))
            rows.append((*exercise.names, ", ".join(pieces.told),
                         "accepts" if said is ACCEPTED else f"rejects: {said}"))
    if len(rows) == 1:
        show(Card("audit", paragraphs=(f"No test of yours stands in {FILE} yet.",)))
        return
    accepting = sum(found == "accepts" for *_, found in rows)
    show(Card("audit", note=f"{accepting} of {len(rows) - 1} accept", table=tuple(rows)))


class _Pieces:
    """What the tests run on, by name; `told` says whose each one was."""

    def __init__(self, library: Library, theirs: dict[str, Any]):
        self.library, self.theirs, self.told = library, theirs, []

    def __getitem__(self, name: str) -> Any:
        if name in self.theirs:
            self.told.append(f"the {name} given")
            return self.theirs[name]
        exercise = next(e for e in all_exercises() if name in e.names)
        own = self.library.own(exercise)
        self.told.append(f"your {name}" if own else f"the course's {name}")
        objects = own or exercise.one_by_one(exercise.resolve())
        return objects[exercise.names.index(name)]
