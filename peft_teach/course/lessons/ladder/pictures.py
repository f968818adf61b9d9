"""Pictures of lesson 10: places, all pairs, costs, what is forgotten, four tasks in a batch."""

from matplotlib.figure import Figure

from ....ink import Page, across
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
    page = Page(across(), (3.75, 3.96))
    claim = "The base is called once, and the rows of each task go through its adapter"
    top = page.head(claim, [
        ("trained", "adapters, ready"), ("frozen", "the base"), ("passing", "rows")])
    step, upper, first = 0.2, top + 1.0, top + 1.85   # the middle of the base; where adapters begin
    left, split, base, adapter, plus, right, row, wide, bow = (
        1.12, 1.36, 2.18, 2.69, 3.08, 3.55, 0.26, 0.8, 0.4) if page.narrow else (
        1.3, 1.9, 3.5, 3.5, 5.3, 6.3, 0.5, 1.0, 0.8)
    names, inner = left - row / 2 - 0.1, left + row / 2 + 0.05
    for x, name in ((left, "x"), (right, "y")):
        page.text(x, upper - 3.3 * step, name, va="bottom", weight="bold")
        for i in range(len(ROWS)):
            page.part(x, upper + (i - 2.5) * step, row, 0.12, "passing")
    page.text(names - 0.18, upper - 3.3 * step, "task", "right", "bottom", weight="bold")
    for i, name in enumerate(ROWS):
        page.text(names, upper + (i - 2.5) * step, f"{name}  {i + 1}", "right")
    page.flow((inner, upper), (base - wide / 2, upper))
    page.part(base, upper, wide, 1.0, "frozen")
    page.text(base, upper, "W")
    page.flow((base + wide / 2, upper), (plus - 0.1, upper))
    page.plus(plus, upper, 0.1)
    page.flow((plus + 0.1, upper), (right - row / 2 - 0.05, upper))
    last = first + (len(TASKS) - 1) * 0.34
    page.flow((split, upper), (split, last), arrow=False)
    page.flow((plus, last), (plus, upper + 0.1))
    for i, task in enumerate(TASKS):
        y = first + i * 0.34
        rows = " and ".join(str(at + 1) for at, name in enumerate(ROWS) if name == task)
        if page.narrow:
            page.text(split + 0.07, y - 0.02, f"{task}: {rows}", "left", "bottom")
        else:
            page.text(2.0, y - 0.02, f"{'rows' if ' ' in rows else 'row'} {rows}", "left",
                      "bottom")
            page.text(4.0, y - 0.02, task, "left", "bottom")
        page.flow((split, y), (adapter - bow / 2, y))
        page.bow(adapter, y, bow, 0.24, 0.05, "trained")
        page.flow((adapter + bow / 2, y), (plus, y), arrow=False)
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
