"""Pictures of lesson 11: labels, curves, learned against forgotten; and its tables."""

from ... import records
from .blind import blind
from .exercises import style
from .live import ask, padded, stream
from .new_tokens import save_rows, train_rows
from .picture_of_curves import draw_curves, draw_forgetting
from .picture_of_labels import draw_labels
from .recorded import (
    curve,
    endless,
    facts,
    forgets,
    knob,
    ladder,
    misled,
    prompt,
    runaway,
    told_facts,
)
from .search import Search

__all__ = ["Search", "ask", "blind", "curve", "draw_curves", "draw_forgetting", "draw_labels",
           "endless", "facts", "forgets", "knob", "ladder", "misled", "padded", "prompt",
           "runaway", "save_rows", "stream", "style", "told_facts", "train_rows"]

# ── one of each, for the tests ───────────────────────────────────────────────────────────────


class _Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: list[int]) -> str:
        return chr(ids[0])


EXAMPLES = {
    "labels": lambda: draw_labels([72, 105, 33], [-100, 105, 33], _Letters()),
    "curves": lambda: draw_curves(records.load("chat")),
    "forgetting": lambda: draw_forgetting(records.load("chat")),
}
