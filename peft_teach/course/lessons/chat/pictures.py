"""Pictures of lesson 11: labels, answers, curves, learned against forgotten, the knob."""

from ... import records
from .blind import blind
from .exercises import style
from .live import ask, padded, stream
from .measure import SYSTEM, losses, texts
from .new_tokens import merge_rows, save_rows, train_rows
from .picture_of_answers import draw_answers, draw_labels, explore_answers, explore_knob
from .picture_of_curves import draw_curves, draw_forgetting
from .recorded import (
    at_equal_loss,
    curve,
    curves,
    endless,
    facts,
    knob,
    labels,
    ladder,
    misled,
    prompt,
    runaway,
    told_facts,
)
from .search import search

__all__ = ["SYSTEM", "ask", "at_equal_loss", "blind", "curve", "curves", "draw_answers",
           "draw_curves", "draw_forgetting", "draw_labels", "endless", "explore_answers",
           "explore_knob", "facts", "knob", "labels", "ladder", "losses", "merge_rows", "misled",
           "padded", "prompt", "runaway", "save_rows", "search", "stream", "style", "told_facts",
           "texts", "train_rows"]

# ── one of each, for the tests ───────────────────────────────────────────────────────────────


class _Letters:
    """A tokenizer whose tokens are letters."""

    def decode(self, ids: list[int]) -> str:
        return chr(ids[0])


EXAMPLES = {
    "labels": lambda: draw_labels([72, 105, 33], [-100, 105, 33], _Letters()),
    "answers": lambda: explore_answers(records.load("chat")),
    "an answer": lambda: draw_answers(explore_answers(records.load("chat")).data),
    "curves": lambda: draw_curves(records.load("chat")),
    "forgetting": lambda: draw_forgetting(records.load("chat")),
    "knob": lambda: explore_knob(records.load("chat")),
}
