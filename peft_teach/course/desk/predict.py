"""What a reader commits to before a result, and writes after it.

    rank = pt.commit("lora.rank", 8, like=4)    before; `like` fixes the form of the answer
    pt.compare("lora.rank", 2, "the smallest within a point of full fine-tuning")
    pt.sentence("lora.rank", "A small rank was enough, because …")    after

A prediction may be changed until `compare` shows its result; one made after that counts as none.
A lesson has `...` where the reader's own value belongs; it commits nothing, so that a notebook runs
to its end without any.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

from ...errors import BadConfig
from . import work
from .card import Card, show
from .shown import word

TOO_LATE = "Its result was shown before: this counts as no prediction."
OPEN = "You may change it until its result."
STANDS = "Committed: your prediction stands."

# By the name of a prediction: who hears that its result is shown, and what shows it anew.
_hears: dict[str, Callable[[], None]] = {}
_shows: dict[str, Callable[[], None]] = {}


def commit(name: str, value: Any, like: Any = None) -> Any:
    """Commit a prediction, and return the one that counts; None while there is none.

    Until its result is shown another takes its place; afterwards the card says that it does not.
    `like` is an answer that one might give: raises `BadConfig` for one of another form.
    """
    if like is not None and value is not ... and _form(value) != _form(like):
        of_chips = f", {_form(like)}" if isinstance(like, dict) else ""
        raise BadConfig(f"{name} cannot be {value!r}.",
                        expected=f"an answer such as {like!r}{of_chips}")
    kept, closed = work.commit(name, value), work.resolved(name)
    note, told = f"committed: {_text(kept)}", STANDS if closed else OPEN
    if kept is None:
        note, told = ("no prediction", TOO_LATE if value is not ... else "") if closed else (
            "no prediction yet",
            "Put yours in place of the three dots, and run this cell before you see the result.")
    elif value is not ... and kept != (list(value) if isinstance(value, tuple) else value):
        told = f"{_text(value)} was not taken: the result has been shown."
    show(Card(name, note=note, paragraphs=(told,)))
    return kept


def bet(name: str, value: Any, when: float | None) -> Any:
    """Commit what was clicked, at a time in seconds; return the prediction that counts.

    A click may reach the kernel after cells that were waiting: what they compared is shown anew.
    """
    kept = work.commit(name, value, when)
    if work.resolved(name) and name in _shows:
        _shows[name]()
    return kept


def on_result(name: str, heard: Callable[[], None]) -> None:
    """Let a question hear that the result of its prediction is shown; the newest of a name does."""
    _hears[name] = heard


def compare(name: str, measured: Any, what: str = "") -> None:
    """Show the reader's prediction beside what was measured; `what` says what was predicted."""
    handle = show(_comparison(name, measured, what), may_change=True)
    if handle is not None:
        _shows[name] = lambda: handle.update(_comparison(name, measured, what))
    settle(name)


def settle(name: str) -> None:
    """Keep that a result is shown: from now on the prediction stands."""
    work.resolve(name)
    if name in _hears:
        _hears[name]()


def _comparison(name: str, measured: Any, what: str) -> Card:
    """What was measured, and in a sentence how the reader's prediction came out."""
    said, table, told = work.committed(name), (), ""
    if said is None:
        table = (("you said", "measured"), ("nothing", _text(measured)))
    else:
        what = what.partition("; and how sure")[0]    # measured is no doubt
        told = _told(said, measured, of_a_button=name in _hears)
    title = f"{what[:1].upper()}{what[1:]}"
    return Card(title or name, note=name if what else "", table=table, paragraphs=(told,))


def _told(said: Any, measured: Any, of_a_button: bool) -> str:
    """Say what was predicted and what it is; how far apart, where the reader named a number."""
    sure, now = "", measured if isinstance(measured, list) else [measured, 1.0]
    match said:
        case [answer, share] if _is_number(share) and now[1:] == [1.0]:    # and how sure
            said, measured, sure = answer, now[0], f", {share:.0%} sure"
    if _text(said) == _text(measured):
        return f"✓ As you said{sure}: {_text(measured)}."
    told = f"You said {_text(said)}{sure}; it is {_text(measured)}"
    if not (_is_number(said) and _is_number(measured)) or of_a_button:
        return f"{told}."
    return f"{told}: {_apart(said, measured)}."


def _apart(said: float, measured: float) -> str:
    """Say how far apart two numbers are: by which factor, if that is 2 or more."""
    low, high = sorted((said, measured))
    if 0 < 2 * low <= high:
        return f"a factor of {word(float(f'{high / low:.2g}'))}"
    return f"{word(high - low)} {'less' if measured < said else 'more'}"


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


def _form(value: Any) -> Any:
    """Return what two answers share: numbers or texts, as many in a list; of chips, the sum."""
    if isinstance(value, dict) and all(_is_number(chips) and chips >= 0
                                       for chips in value.values()):
        return f"{round(sum(value.values()))} in all"
    if isinstance(value, list | tuple):
        return [*map(_form, value)]
    return float if _is_number(value) else type(value)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    match value:
        case list() | tuple():
            return " · ".join(map(_text, value)) or "none"
        case dict():
            return " · ".join(f"{_text(each)}: {_text(chips)}" for each, chips in value.items())
        case bool() | int() | float():
            return word(value).replace("-", "−")
    return str(value) or "none"
