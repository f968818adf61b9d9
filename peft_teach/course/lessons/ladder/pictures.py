"""Pictures of lesson 10: places, all pairs, costs, what is forgotten, a chooser."""

from ... import records
from ...protocol import NAMES, predictions, quality, r2, ratings, train
from ...verdicts import interval
from .claims import settle
from .forgetting import editorials, vectors
from .picture_of_costs import chooser, draw_forgetting, explore_costs
from .picture_of_places import draw_verdicts, explore_places
from .recorded import adapters, costs, forgetting, tasks, verdicts
from .rungs import put_on

__all__ = ["NAMES", "adapters", "chooser", "costs", "draw_forgetting", "draw_verdicts",
           "editorials", "explore_costs", "explore_places", "forgetting",
           "predictions", "put_on", "quality", "r2", "ratings", "settle", "tasks",
           "train", "vectors", "verdicts"]

# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "places": lambda: explore_places(records.load("ladder")),
    "verdicts": lambda: draw_verdicts(verdicts(records.load("ladder"), interval)),
    "costs": lambda: explore_costs(records.load("ladder")),
    "chooser": lambda: chooser(records.load("ladder")),
    "forgetting": lambda: draw_forgetting(records.load("ladder")),
}
