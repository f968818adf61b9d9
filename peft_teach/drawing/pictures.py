"""The two pictures: a block with a method on it and one place enlarged; all methods on a page."""

from matplotlib.figure import Figure

from ..errors import unknown
from ..ink import PAGE, PIXELS, Page, across
from ..methods import METHODS
from ..settings import Settings
from . import enlarged
from .large import Large
from .layouts import LENGTH, layout
from .trained import MODEL, Adapted, adapted
from .words import claim, counted, counts_in_words, note, told

LINE_BELOW = 0.2    # inches
LABELS = {"attention_out": "out", "ffn": "feed-forward", "ffn_norm": "norm"}    # as in the block


def block(method: str = "", config: Settings | None = None, *, model: str = MODEL, zoom: str = "",
          pixels: int | None = None, theme: str = "light", counts: bool = True) -> Figure:
    """Draw a model's block with a method on it, and one place of it enlarged.

    Without a method it is the block as it came. `model` is "minilm", an encoder, or "smollm2", a
    decoder. `zoom` names a place as targets do; by default the value, or the first place at which
    something trains. `pixels` is how wide the picture is on the page, `theme` is "light" or "dark".
    Without `counts`, the sizes that settings choose are left out. Raises `UnknownName` for a model,
    a method or a place that is not there, `NotSupported` for a bottleneck that stands where none is
    drawn, and what the method does where the model lacks what it trains.
    """
    on = adapted(method, config, model)
    place, claimed = _zoomed(on, zoom), claim(method, config, on)
    pixels = pixels or across()
    u = (pixels / PIXELS - 0.2) / LENGTH
    more = u * (on.layout.top + on.low - 29.5)    # how much higher this block is than MiniLM's
    page = Page(pixels, (5.8 + more, 4.72 + more), theme, sized=counts)
    top = page.head(claimed, _legend(on, page.narrow))
    page.figure.set_label(f"{claimed}. {told(on)}")
    large = Large(page, on, u, 0.1, top + 0.36 + on.layout.top * u)
    large.draw(named=True, zoomed=place)
    panel = (0.1, large.line + u * on.low + 0.42, page.width - 0.1, page.height - 0.08)
    page.enlarge(large.frame(place), panel)
    label = f"an adapter at “{LABELS.get(place, place)}”" if place in on.loops else place
    page.text(panel[0] + 0.1, panel[1] + 0.07, f"enlarged: {label}", "left", "top")
    right, y = enlarged.draw(page, on, place, panel)
    if counts and right is not None:
        page.note(right, y, note(on, method, place), panel[2] - 0.1)
    return page.figure


def _legend(on: Adapted, narrow: bool) -> list[tuple[str, str]]:
    """Return what the fills mean, with counts: of the base's numbers, which stand still."""
    legend = [("trained", f"trained {on.trained:,}")] if on.trained else []
    if on.packed:
        legend.append(("four bits", f"{'4 bits' if narrow else 'frozen in 4 bits'} {on.packed:,}"))
    elif on.frozen:
        legend.append(("frozen", f"frozen {on.frozen:,}" if on.parts else "holds parameters"))
    return [*legend, ("passing", "only passes through")]


def _zoomed(on: Adapted, zoom: str) -> str:
    """Return the place to enlarge."""
    inside, matrices = {part.place for part in on.drawn}, on.layout.shapes
    if zoom:
        known = [*matrices, *(place for place in on.loops if place not in matrices)]
        if zoom not in known:
            raise unknown("place to enlarge", zoom, known)
        return zoom
    if on.front:
        return on.front
    first = next(place for place in ("value", "query") if len({*matrices[place]}) == 1)    # as wide
    return next((place for place in (first, *matrices, *on.loops) if place in inside), first)


def methods(pixels: int = PAGE, theme: str = "light") -> Figure:
    """Draw the block without a method, and then with each, and how many numbers of it train.

    The methods stand three in a row below the block, on a phone two.
    """
    columns, gap, names = 2 if pixels < 500 else 3, 0.16, 0.24
    width = (pixels / PIXELS - 0.2 - gap * (columns - 1)) / columns
    first = 2 * width + gap
    low, high = (0.48 + (layout(MODEL).top + 16) * each / LENGTH for each in (first, width))
    high += LINE_BELOW * (columns == 2)
    height = low + names + -(-len(METHODS) // columns) * high
    page = Page(pixels, (0.75 + height, 0.96 + height), theme)
    top = 0.12 + page.head("One block, all methods: what each of them trains", [
        ("trained", "trained"), ("frozen", "frozen"), ("four bits", "in 4 bits"),
        ("passing", "only passes through")])
    _counted(page, "", 0.1, top, first, names)
    page.note(0.1 + first + 2 * gap, top + low / 2, "One of six blocks. Beside each method: how "
              "many numbers it trains, and their share of all.", page.width - 0.1)
    for i, method in enumerate(METHODS):
        _counted(page, method, 0.1 + i % columns * (width + gap),
                 top + low + names + i // columns * high, width)
    page.figure.set_label(counts_in_words())
    return page.figure


def _counted(page: Page, method: str, left: float, top: float, width: float, names: float = 0
             ) -> None:
    """Draw the block with a method, and above it the method's name and what it trains.

    `names` is the room for those of the parts, which are written in it alone. On a phone what a
    method trains stands below its name.
    """
    on, (name, count), u = adapted(method), counted(method), width / LENGTH
    page.text(left, top, name, "left", "top", weight="bold")
    if page.narrow and method:
        top += LINE_BELOW
        page.text(left, top, count, "left", "top")
    else:
        page.text(left + width, top, count, "right", "top")
    Large(page, on, u, left, top + 0.36 + names + on.layout.top * u).draw(named=not method)
