"""What all lessons share: how cases are drawn, and what judges say in the same words."""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from .exercise import Verdict

HALF = 3e-2    # the tolerance of 16-bit floats
LONGEST_LINE = 200    # characters of an error's text


def drawing(seed: int) -> Callable[..., Tensor]:
    """Return a function that draws normal numbers of a shape, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape, dtype=torch.float32: torch.randn(shape, generator=generator).to(dtype)


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return normal numbers of a shape, the same every time."""
    return drawing(seed)(*shape, dtype=dtype)


def report(**kinds: Any) -> Any:
    """What `run` gives, declared: a dict with an entry for each name, each of its kind.

    What the learner's own code gave is of kind `Any`: a judge describes it by `named`.
    """
    made: Any = TypedDict    # its kinds are known only when it runs
    return made("report", kinds)


def stages(*parts: Mapping[str, Any]) -> Any:
    """A report that may end early, where the rest cannot be tried: each stage adds its entries."""
    whole = itertools.accumulate(map(dict, parts), operator.or_)
    return functools.reduce(operator.or_, (report(**kinds) for kinds in whole))


def close(a: Any, b: Tensor, tolerance: float = 1e-5, beyond: float = 0.0) -> bool:
    """Whether a tensor equals `b` within rtol `tolerance` and atol `tolerance + beyond`.

    Where `b` has 16 bits, `HALF` takes the place of `tolerance`.
    """
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return False
    tolerance = HALF if b.dtype in (torch.float16, torch.bfloat16) else tolerance
    return torch.allclose(a.float(), b.float(), rtol=tolerance, atol=tolerance + beyond)


def difference(what: str, found: Any, right: Tensor) -> str:
    """Show two numbers where two tensors are furthest from each other."""
    if not isinstance(found, Tensor) or found.shape != right.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else "no tensor"
        return f"{what} is {shape}; expected {tuple(right.shape)}."
    gap = (found.float() - right.float()).abs().nan_to_num(math.inf)
    if not gap.numel():
        return f"{what} is empty."
    index = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    where = f"{what}[{', '.join(map(str, index))}]" if index else what
    return f"{where} is {found[index].item():.4g}; expected {right[index].item():.4g}."


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Name the first thing that is not what it was, or was not there; or none."""
    return next((name for name in (*before, *after) if not (
        name in before and _same(before[name], after.get(name)))), "")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and one == other


def not_a_tensor(found: Any) -> Verdict | None:
    """What a judge says where a tensor was due and something else was given."""
    if found is None:
        return rejected("no_return")
    if not isinstance(found, Tensor):
        return Verdict(False, f"It gave {named(found)}; expected a tensor.")
    return None


def recognised(candidates: Mapping[str, Any], is_it: Callable[[Any], bool]) -> str | None:
    """The first mistake whose value, or one of whose values, is what was found."""
    return next((mistake for mistake, values in candidates.items()
                 for value in (values if isinstance(values, tuple) else (values,))
                 if is_it(value)), None)


def factor(found: Any, base: Tensor, right: Tensor) -> str:
    """Say by which factor the change to `base` is off, if it is the same factor everywhere."""
    if not isinstance(found, Tensor) or not found.shape == base.shape == right.shape:
        return ""
    ratio = ((found.float() - base.float()) / (right.float() - base.float())).flatten()
    alike = ratio.isfinite().all() and ratio.std(correction=0) < 0.02 * ratio.abs().mean() + 1e-6
    if alike and abs(ratio.mean() - 1) > 0.005:    # a factor of 1 is no news
        return f"What is added is {ratio.mean():.3g} times the expected, everywhere."
    return ""


def rejected(mistake: str, told: str = "") -> Verdict:
    """Reject for a named mistake, which the exercise explains. `told` says what was found."""
    return Verdict(False, told, mistake)


def whole(value: Any) -> int | None:
    """Return a whole number, NumPy's too, as an int; None for anything else, a bool included."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if is_whole else None


def number(value: Any) -> int | float | None:
    """Return a number, NumPy's too, as Python's; None for anything else, a bool included."""
    value = plain(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def not_whole(value: Any) -> str:
    """Say what a value is that only looks like a count."""
    kind = named(value)
    return f"That is {kind}." if kind.startswith("an int ") else f"That is {kind}, not an int."


def plain(value: Any) -> Any:
    """Return what a learner gave, NumPy's numbers as Python's: `run` may report no others."""
    return value.item() if isinstance(value, np.generic) else value


def scalar(value: Any) -> Any:
    """Return what a tensor or array without axes holds; anything else as it is."""
    return value.item() if isinstance(value, Tensor | np.ndarray | np.generic) and (
        value.ndim == 0) else value


def named(value: Any) -> str:
    """What was given, in words: the shape of a tensor, the type of anything else but None."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" if value.dim() else "a tensor"
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeio' else 'a'} {kind}"    # a uint8


def error_text(error: BaseException) -> str:
    """An error in one line: its kind, and what it says."""
    text, kind = words_of(error).strip().partition("\n")[0][:LONGEST_LINE], type(error).__name__
    return f"{kind}: {text}" if text else kind


def words_of(error: BaseException) -> str:
    """All that an error says."""
    try:
        return str(error)
    except Exception:    # an error of the learner's own class may not print
        return "no message"


def judged_count(found, right: int, told: str, candidates: Mapping[str, int | tuple[int, ...]],
                 praise: str) -> Verdict:
    """Compare a count with the right one, and where it differs, with the usual wrong ones.

    The exercise's mistakes are "not_whole" and the names of the candidates. A mistake that people
    make in several forms has a tuple of counts.
    """
    if found is None:
        return rejected("no_return")
    told = f"{told} gave {found!r}; expected {right}."
    if isinstance(found, Tensor) and found.numel() == 1:
        return rejected("not_whole", f"{told} That is a tensor; .item() gives the number in it.")
    count = whole(found)
    if count is None:
        return rejected("not_whole", f"{told} {not_whole(found)}")
    if count == right:
        return Verdict(True, praise)
    return Verdict(False, told, recognised(candidates, lambda value: value == count))
