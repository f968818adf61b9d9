"""The verdict of a comparison: better, worse, the same, or that it cannot tell.

    verdict(a, b)                        better by 0.052 (0.031 to 0.073), …
    verdict(a, b, borrowed=(c, d))       the same of one run each; seeds as these recorded runs

`a` and `b` hold a score for each sentence, (seeds, sentences), more is better: the same sentences,
and row by row the same seeds. What may differ between them without mattering is the `margin`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import torch
from torch import Tensor

from ..errors import BadConfig

# Student's t by the number of values: their mean is known to ± t · s / √n, with 95 % confidence.
T95 = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
                      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093), start=2))
MARGIN, POINT = 0.02, 0.01    # in R²; of an accuracy. Declared before lesson 10's first run
BETTER, WORSE, SAME, UNSURE = "better", "worse", "the same", "cannot tell"


@dataclass(frozen=True, repr=False)
class Comparison:
    """A verdict in a word, the difference with its 95 % interval, and for what it holds."""

    word: str
    difference: float    # of the mean scores, a − b
    low: float
    high: float
    margin: float
    holds: str

    def __repr__(self) -> str:
        return (f"{self.word}: {self.difference:+.3f} ({self.low:+.3f} to {self.high:+.3f}, margin "
                f"{self.margin:g}), {self.holds}")


def verdict(a, b, margin: float = MARGIN, borrowed: tuple | None = None) -> Comparison:
    """Return whether the scores `a` are better than `b`; see above.

    With one seed, (1, sentences) or (sentences,), it holds for these two runs on new sentences. It
    holds for new seeds, too, with two or more; or where it may borrow how far seeds differ from
    `borrowed`, scores of recorded runs of the same two methods. Raises `BadConfig` for scores that
    are not pairs.
    """
    if not margin >= 0:
        raise BadConfig(f"margin is {margin!r}.", expected="a difference that does not matter, ≥ 0")
    a, b = _paired(a, b)
    seeds, sentences = a.shape
    spread = None
    holds = f"for new seeds and new sentences, from {seeds} and {sentences:,} of them"
    if borrowed is not None:
        c, d = _paired(*borrowed)
        if len(c) < 2:
            raise BadConfig("One seed tells nothing of how far seeds differ.",
                            expected="borrowed scores of two recorded seeds, at least")
        spread = c - d
        holds += f"; how far seeds differ is borrowed from {len(c)} recorded ones"
    elif seeds == 1:
        holds = (f"for these two runs on new sentences, from {sentences:,}: another seed may end "
                 "elsewhere")
    low, high = interval(a, b, spread)
    return Comparison(word(low, high, margin), float((a - b).mean()), low, high, margin, holds)


def of_runs(one: Sequence[float], other: Sequence[float], margin: float = POINT) -> Comparison:
    """Return the verdict on two settings, given a score a seed, of the same seeds.

    For records that keep no answers: the interval is for new seeds on these sentences. Raises
    `BadConfig` for fewer than two seeds, or more than 20.
    """
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    if len(gaps) not in T95:
        raise BadConfig(f"Seeds: {len(gaps)}.", expected=f"scores of 2 to {max(T95)} seeds")
    gap, half = mean(gaps), T95[len(gaps)] * stdev(gaps) / len(gaps)**0.5
    return Comparison(word(gap - half, gap + half, margin), gap, gap - half, gap + half, margin,
                      f"for new seeds on these sentences, from {len(gaps)}")


def word(low: float, high: float, margin: float) -> str:
    """Return what an interval of a difference says, where less than the margin does not matter."""
    if -margin < low and high < margin:
        return SAME
    return BETTER if low > 0 else WORSE if high < 0 else UNSURE


def interval(a: Tensor, b: Tensor, spread: Tensor | None = None) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a − b, for new seeds and new sentences.

    a, b (seeds, sentences), at most 20 seeds: two methods' scores or errors on the same sentences
    with the same seeds. The mean varies with the seeds and with the sentences; what varies with
    both at once stands in either part, so the interval is a little too wide, and never too narrow.
    How far seeds differ is seen in `spread`, differences of other seeds, or in a − b itself; of one
    seed it is not seen, and the interval is for new sentences alone.
    """
    d = (a - b).double()                                              # (seeds, sentences)
    seeds, sentences = d.shape
    seen = (d if spread is None else spread.double()).mean(1)         # (seeds,), or others
    of_seeds = T95[len(seen)]**2 * seen.var() / seeds if len(seen) > 1 else 0
    half = (of_seeds + 1.96**2 * d.mean(0).var() / sentences).sqrt()
    return float(d.mean() - half), float(d.mean() + half)


def _paired(a, b) -> list[Tensor]:
    """Return two tables of scores, (seeds, sentences) each."""
    try:
        found = [torch.as_tensor(scores, dtype=torch.float64) for scores in (a, b)]
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadConfig(f"These are not scores: {a!r:.60} and {b!r:.60}.",
                        expected="numbers, (seeds, sentences) of both",
                        hint="a, b = pt.board.scores('lora 8', 'ia3')") from error
    found = [scores[None] if scores.ndim == 1 else scores for scores in found]
    shapes = [tuple(scores.shape) for scores in found]
    seeds, sentences = (shapes[0] + (0, 0))[:2]
    if shapes[0] != shapes[1] or found[0].ndim != 2 or not (
            1 <= seeds <= max(T95) and sentences > 1):
        raise BadConfig(f"The scores are {shapes[0]} and {shapes[1]}.",
                        expected=f"(seeds, sentences) of both, the same, at most {max(T95)} seeds",
                        hint="compare on the same sentences, and with the same seeds")
    if not all(scores.isfinite().all() for scores in found):
        raise BadConfig("Some of the scores are not finite numbers.")
    return found
