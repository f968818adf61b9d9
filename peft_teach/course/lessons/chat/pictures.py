"""Pictures of lesson 11: labels, answers, curves, learned against forgotten, the knob."""

from ... import records
from .blind import blind
from .exercises import style
from .live import ask, padded, stream
from .new_tokens import save_rows, train_rows
from .picture_of_answers import draw_labels, explore_answers, explore_knob
from .picture_of_curves import draw_curves, draw_forgetting
from .recorded import (
    curve,
    endless,
    facts,
    forgets,
    knob,
    labels,
    ladder,
    misled,
    prompt,
    runaway,
    told_facts,
)
from .search import Search

__all__ = ["Search", "ask", "blind", "curve", "draw_curves", "draw_forgetting", "draw_labels",
           "endless", "explore_answers", "explore_knob", "facts", "forgets", "knob", "labels",
           "ladder", "misled", "padded", "prompt", "runaway", "save_rows", "stream", "style",
           "told_facts", "train_rows"]

# ── one of each, for the tests ───────────────────────────────────────────────────────────────


class _Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: list[int]) -> str:
        return chr(ids[0])


EXAMPLES = {
    "labels": lambda: draw_labels([72, 105, 33], [-100, 105, 33], _Letters()),
    "answers": lambda: explore_answers(records.load("chat")),
    "curves": lambda: draw_curves(records.load("chat")),
    "forgetting": lambda: draw_forgetting(records.load("chat")),
    "knob": lambda: explore_knob(records.load("chat")),
}
