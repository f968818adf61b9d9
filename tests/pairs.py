"""Which combinations of settings a test takes, where all of them would be too many."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable


def two_by_two(row: tuple) -> set:
    """Return the pairs of settings that meet in a row, each with its column."""
    return set(itertools.combinations(enumerate(row), 2))


def pairwise(*factors: Iterable, possible: Callable[..., bool] = lambda *row: True,
             goals: Callable[[tuple], set] = two_by_two) -> list[tuple]:
    """Choose rows, one setting of each factor, so that any two settings that can meet do.

    `possible` says whether a row's settings go together; `goals` says what of a row is to be met at
    least once, if that is not its pairs. Greedy, and the same in every run.
    """
    rows = [row for row in itertools.product(*factors) if possible(*row)]
    random.Random(0).shuffle(rows)    # or most of what is free to choose would be the first
    met_by = [goals(row) for row in rows]
    bits = {goal: 1 << n for n, goal in enumerate(set().union(*met_by))}
    meets, left, chosen = [sum(map(bits.get, each)) for each in met_by], sum(bits.values()), []
    # What a row would meet only shrinks: who leads with a count that is still true has the most.
    queue = [(-met.bit_count(), i) for i, met in enumerate(meets)]
    heapq.heapify(queue)
    while left:
        count, best = queue[0]
        now = -(meets[best] & left).bit_count()
        if now != count:
            heapq.heapreplace(queue, (now, best))
            continue
        left &= ~meets[best]
        chosen.append(rows[best])
    return chosen
