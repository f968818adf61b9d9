"""Pictures of lesson 10: places, all pairs, costs, what is forgotten, four tasks in a batch."""

from matplotlib.figure import Figure

from ....ink import WIDE, Page
from ... import records
from ...protocol import NAMES, shares
from ...verdicts import interval
from .forgetting import editorials, vectors
from .picture_of_costs import draw_forgetting, explore_costs
from .picture_of_places import draw_verdicts, explore_places
from .recorded import adapters, bill, elsewhere, forgetting, tasks, verdicts
from .rungs import put_on

__all__ = ["NAMES", "adapters", "bill", "draw_batch", "draw_forgetting", "draw_verdicts",
           "editorials", "elsewhere", "explore_costs", "explore_places", "forgetting", "put_on",
           "shares", "tasks", "vectors", "verdicts"]

ROWS = ("films", "tweets", "films", "news", "products", "no task")    # whose adapter a row gets
TASKS = ("films", "products", "tweets", "news")


def draw_batch() -> Figure:
    """Draw a batch that goes through the base at once, and by rows through its tasks' adapters."""
    page = Page(WIDE, (3.75, 3.75))
    claim = "The base is called once, and the rows of each task go through its adapter"
    top = page.head(claim, [
        ("trained", "adapters, ready"), ("frozen", "the base"), ("passing", "rows")])
    step, right = 0.2, 6.3
    upper, first = top + 1.0, top + 1.85     # the middle of the base; where the adapters begin
    for x, name in ((1.3, "x"), (right, "y")):
        page.text(x, upper - 3.3 * step, name, va="bottom", weight="bold")
        for i in range(len(ROWS)):
            page.part(x, upper + (i - 2.5) * step, 0.5, 0.12, "passing")
    page.text(0.77, upper - 3.3 * step, "task", "right", "bottom", weight="bold")
    for i, name in enumerate(ROWS):
        page.text(0.95, upper + (i - 2.5) * step, f"{name}  {i + 1}", "right")
    page.flow((1.6, upper), (3.0, upper))
    page.part(3.5, upper, 1.0, 1.0, "frozen")
    page.text(3.5, upper, "W")
    page.flow((4.0, upper), (5.2, upper))
    page.plus(5.3, upper, 0.1)
    page.flow((5.4, upper), (right - 0.3, upper))
    last = first + (len(TASKS) - 1) * 0.34
    page.flow((1.9, upper), (1.9, last), arrow=False)
    page.flow((5.3, last), (5.3, upper + 0.1))
    for i, task in enumerate(TASKS):
        y = first + i * 0.34
        rows = [str(at + 1) for at, name in enumerate(ROWS) if name == task]
        page.text(2.0, y - 0.02, f"{'rows' if len(rows) > 1 else 'row'} {' and '.join(rows)}",
                  "left", "bottom")
        page.flow((1.9, y), (3.1, y))
        page.bow(3.5, y, 0.8, 0.24, 0.05, "trained")
        page.text(4.0, y - 0.02, task, "left", "bottom")
        page.flow((3.9, y), (5.3, y), arrow=False)
    page.figure.set_label(f"{claim}: " + ", ".join(
        f"row {i} {name}" for i, name in enumerate(ROWS, 1)) + ".")
    return page.figure


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "places": lambda: explore_places(records.load("ladder")),
    "verdicts": lambda: draw_verdicts(verdicts(records.load("ladder"), interval)),
    "costs": lambda: explore_costs(records.load("ladder")),
    "batch": draw_batch,
    "forgetting": lambda: draw_forgetting(records.load("ladder")),
}
