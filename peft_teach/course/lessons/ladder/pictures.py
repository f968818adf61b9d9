"""Pictures of lesson 10: places, all pairs, costs, what is forgotten, four tasks in a batch."""

from ... import records
from ...protocol import NAMES, shares
from ...verdicts import interval
from .forgetting import editorials, vectors
from .picture_of_batch import draw_batch
from .picture_of_costs import draw_forgetting, explore_costs
from .picture_of_places import draw_verdicts, explore_places
from .recorded import adapters, bill, elsewhere, forgetting, tasks, verdicts
from .rungs import put_on

__all__ = ["NAMES", "adapters", "bill", "draw_batch", "draw_forgetting", "draw_verdicts",
           "editorials", "elsewhere", "explore_costs", "explore_places", "forgetting", "put_on",
           "shares", "tasks", "vectors", "verdicts"]

# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "places": lambda: explore_places(records.load("ladder")),
    "verdicts": lambda: draw_verdicts(verdicts(records.load("ladder"), interval)),
    "costs": lambda: explore_costs(records.load("ladder")),
    "batch": draw_batch,
    "forgetting": lambda: draw_forgetting(records.load("ladder")),
}
