"""What the judges of all lessons say in the same words."""

from collections.abc import Mapping
from typing import Any

from .exercise import Verdict

NO_RETURN = "It gave None. Is a `return` missing?"


def strange(seen: Any, **kinds: type | tuple[type, ...]) -> Verdict | None:
    """What a judge says of outputs that `run` cannot have given; None of those that it can.

    The grader's outputs come from a process that the learner's code may have changed, so a judge
    asks this before it computes with them. `kinds` says what each entry is, where it is there.
    """
    if not isinstance(seen, dict):
        return Verdict(False, f"What came back is a {type(seen).__name__}, not the check's report.")
    for name, kind in kinds.items():
        value, kind = seen.get(name), kind if isinstance(kind, tuple) else (kind,)
        if name in seen and not (isinstance(value, kind) and (
                bool in kind or not isinstance(value, bool))):
            return Verdict(False, f"In the check's report, {name!r} is a {type(value).__name__}.")
    return None


def rejected(mistakes: Mapping[str, str], mistake: str, told: str = "") -> Verdict:
    """Reject by a named mistake: what was found, then what is known about that mistake."""
    return Verdict(False, f"{told} {mistakes[mistake]}".strip(), mistake)


def judged_count(found, right: int, told: str, candidates: Mapping[str, int | tuple[int, ...]],
                 mistakes: Mapping[str, str], praise: str) -> Verdict:
    """Compare a count with the right one, and where it differs, with the usual wrong ones.

    `mistakes` holds "no_return", "not_whole" and the names of the candidates. A mistake that people
    make in several forms has a tuple of counts.
    """
    if found is None:
        return rejected(mistakes, "no_return")
    told = f"{told} gave {found!r}; expected {right}."
    if isinstance(found, bool) or not isinstance(found, int):
        return rejected(mistakes, "not_whole", told)
    if found == right:
        return Verdict(True, praise)
    for mistake, values in candidates.items():
        if found in (values if isinstance(values, tuple) else (values,)):
            return rejected(mistakes, mistake, told)
    return Verdict(False, told)
