"""What a reader commits to before a result, and writes after it.

    rank = pt.commit("lora.rank", 8)                      before: once
    pt.compare("lora.rank", 2, "the smallest within a point of full fine-tuning")
    pt.sentence("lora.rank", "A small rank was enough, because …")    after

A lesson has `...` where the reader's own value belongs; it commits nothing, so that a notebook runs
to its end without any.
"""

from typing import Any

from . import work
from .card import Card, show


def commit(name: str, value: Any) -> Any:
    """Commit a prediction, and return the one that counts; None while there is none.

    The first one counts: a second value is not taken, and the card says so.
    """
    first = work.commit(name, value)
    if first is None:
        show(Card(name, note="no prediction yet", paragraphs=(
            "Put yours in place of the three dots, and run this cell: it counts once.",)))
    else:
        taken = value is ... or first == (list(value) if isinstance(value, tuple) else value)
        show(Card(name, note=f"committed: {_text(first)}", paragraphs=() if taken else (
            f"The first prediction stands; {_text(value)} was not taken.",)))
    return first


def compare(name: str, measured: Any, what: str = "") -> None:
    """Show the reader's prediction beside what was measured; `what` says what was predicted."""
    said = work.committed(name)
    rows = (("you said", "measured"), (_text(said) if said is not None else "–", _text(measured)))
    gap = ""
    if _is_number(said) and _is_number(measured):
        gap = "Exactly." if said == measured else f"The gap: {_text(measured - said)}."
    show(Card(name, note=what, table=rows, paragraphs=(gap,)))


def sentence(name: str, text: str, ours: bool = True) -> None:
    """Keep the one sentence that the reader writes after a result; show the one that is kept.

    `ours` says that the lesson has one, too, to be read after it.
    """
    if text is not ... and str(text).strip():
        work.write(name, str(text).strip())
    kept = work.written(name)
    show(Card(name, note="your sentence" if kept else "no sentence yet", paragraphs=(
        kept or "Write one of your own in place of the three dots"
                f"{', before you open ours' if ours else ''}.",)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
