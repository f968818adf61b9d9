"""Pictures that many lessons use: numbers in, a matplotlib `Figure` out, and nothing else happens.

Each figure carries a text for those who cannot see it, made from the same numbers: its label.
`show` puts both on the page, with a caption. What only one lesson draws is kept with that lesson,
in `course/lessons/<name>/pictures.py`, and begins with `figure`.

One colour means one thing in every lesson: `COLOURS`, from `ink`. Lines that stand for no method
take `SERIES`, in which dash and marker differ too.
"""

import base64
import io
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import FancyBboxPatch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator, PercentFormatter

from .account import Ledger
from .ink import COLOURS, HEAD, PHONE, PIXELS, SERIES, narrow, on_its_phone, wrapped

HELD = ("weights", "gradients", "optimizer", "activations")    # by training, in a `Ledger`
HALO = [withStroke(linewidth=3, foreground=COLOURS["paper"])]    # of a text that lies on lines
DPI = 110
EDGE = 0.08    # inches around each panel: no title touches the edge
NARROW = 4.5   # inches of a figure for a phone, which shows it in 3.75: 9 points are 10 pixels

# In a dark theme (JupyterLab's, VS Code's, Colab's) paper becomes ground and ink light; hues stay.
_DARK = ('<style>:is([data-jp-theme-light="false"], .vscode-dark, [theme="dark"]) '
         ".peft-teach-figure { filter: invert(0.935) hue-rotate(180deg); }</style>")


# ── onto the page ────────────────────────────────────────────────────────────────────────────


def html(figure: Figure, caption: str) -> str:
    """Return a figure as one piece of HTML: the picture, its alternative text, its caption.

    An inch of it is as wide as the page says (96 px), so that its text is as large as the page's.
    """
    phone = on_its_phone(figure)
    source = for_a_phone(_data(phone, 2 * PHONE / NARROW), *pixels(phone)) if phone else ""
    return (f'{_DARK}<figure style="margin: 8px 0; max-width: 900px"><picture>{source}'
            f'<img alt="{escape(str(figure.get_label()))}" '
            f'width="{pixels(figure)[0]}" '
            'class="peft-teach-figure" style="max-width: 100%; height: auto; margin: 0" '
            f'src="{_data(figure, DPI)}"></picture>'
            '<figcaption style="margin-top: 4px; line-height: 1.5">'
            f'{escape(caption)}</figcaption></figure>')


def for_a_phone(file: str, width: int, height: int) -> str:
    """Return the HTML of a file that a phone takes in place of the picture that follows."""
    return (f'<source media="(max-width: 480px)" srcset="{file} 2x" width="{width}" '
            f'height="{height}">')


def pixels(figure: Figure) -> tuple[int, int]:
    """Return how wide and how high a figure is on a page."""
    width, height = figure.get_size_inches()
    return round(PIXELS * width), round(PIXELS * height)


def _data(figure: Figure, dpi: float) -> str:
    """Return the address of a figure's picture, which is the picture itself."""
    figure.set(dpi=dpi, facecolor=COLOURS["paper"])
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)    # `savefig` would draw it twice
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def show(figure: Figure, caption: str) -> None:
    """Display a figure in a notebook, as a picture and as text."""
    from IPython.display import display

    display({"text/html": html(figure, caption), "text/plain": figure.get_label()}, raw=True)


# ── what a lesson's own pictures begin with ──────────────────────────────────────────────────


def figure(width: float = 8, height: float = 3.4, columns: int = 1, rows: int = 1,
           **more) -> tuple:
    """Return a new figure, sizes in inches, and its axes: `figure, left, right = figure(…)`.

    On a phone it is narrow: panels stand below each other, and what is written at them wraps.
    """
    if narrow():
        width, height = NARROW, height * columns / abreast(columns)
        columns, rows = abreast(columns), rows * columns // abreast(columns)
        more.pop("width_ratios", None)
    made = Figure(figsize=(width, height),
                  layout=ConstrainedLayoutEngine(w_pad=EDGE, h_pad=EDGE))
    axes = list(made.subplots(rows, columns, squeeze=False, **more).flat)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            text.set_wrap(narrow())
    return made, *axes


def abreast(count: int) -> int:
    """Return how many of so many stand beside each other: on a phone one, and of four two."""
    return count if not narrow() else 2 if count == 4 else 1


def claim(made: Figure, told: str, numbers: str) -> None:
    """Write what a figure shows above its panels, as drawings do: in bold, from its left edge.

    Its label begins with the same sentence, and goes on with the numbers.
    """
    lines = wrapped(told, made.get_figwidth() - 3 * EDGE, HEAD, "bold")
    if narrow():
        made.set_figheight(made.get_figheight() + 0.2 * (len(lines) - 1))
    made.suptitle("\n".join(lines), x=EDGE / made.get_figwidth(), ha="left", fontsize=HEAD,
                  weight="bold")
    made.set_label(f"{told}. {numbers}")


def box(ax, x: float, y: float, width: float, height: float, text: str, size: float = 10,
        ink: str = COLOURS["ink"], boxstyle: str = "square,pad=0", **style) -> None:
    """Draw a box from its lower left corner, with a text in its middle."""
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle, **style))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, color=ink)


def seeds(ax, points: Mapping[float, Sequence[float]], colour: str, style: str = "-o",
          aside: float = 1.0, **more) -> None:
    """Draw a mark for each seed at its x, and a line through the means; `style` as in "--s".

    On a logarithmic axis the marks stand `aside` times their x, so that those of several lines do
    not hide each other.
    """
    ax.plot(list(points), [np.mean(values) for values in points.values()], style[:-1],
            color=colour, **more)
    for x, values in points.items():
        ax.plot([aside * x] * len(values), values, style[-1], color=colour, ms=6, alpha=0.75, mew=0)


def ring(ax, x: float, y: float) -> None:
    """Draw a ring around the point that was chosen."""
    ax.plot(x, y, "o", ms=14, mfc="none", color=COLOURS["ink"], mew=1.8)


def stack(bar: Callable, begins: str, ledgers: Sequence[Ledger],
          parts: Sequence[str] = HELD) -> None:
    """Draw one bar for each ledger, in MB.

    `bar` is `ax.bar` with `begins="bottom"`, or `ax.barh` with "left".
    """
    ends = np.zeros(len(ledgers))
    for part in parts:
        sizes = np.array([getattr(ledger, f"{part}_bytes") for ledger in ledgers]) / 1e6
        bar(range(len(ends)), sizes, 0.8, color=COLOURS[part], label=part, **{begins: ends})
        ends = ends + sizes


def name_ends(ax, ends: Mapping[str, tuple[float, str]]) -> None:
    """Write names to the right of axes, each beside its line's (end, colour), none on another."""
    ax.autoscale_view()    # now, so that the limits stand
    onto, gap = ax.transData + ax.transAxes.inverted(), 0.25 / ax.figure.get_figheight()
    gap *= ax.get_gridspec().nrows
    lines = sorted((onto.transform((1, y))[1], name, c) for name, (y, c) in ends.items())
    places = list(itertools.accumulate((y for y, *_ in lines), lambda at, y: max(y, at + gap)))
    up = np.mean(places) - np.mean([y for y, *_ in lines])
    for at, (_, name, colour) in zip(places, lines):
        ax.text(1.02, at - up, name, color=colour, va="center", fontsize=11,
                transform=ax.transAxes)


def entitle(ax, x: str, y: str = "", title: str = "") -> None:
    """Give axes their names and a panel its title, in letters as large as the page's."""
    ax.set_title(title, fontsize=13)
    ax.set_xlabel(x, fontsize=12)
    ax.set_ylabel(y, fontsize=12)
    ax.tick_params(labelsize=11)


def in_percent(axis) -> None:
    """Write the shares along an axis as percentages."""
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def logarithmic(ax, which: str = "xy") -> None:
    """Make axes logarithmic, with ticks at the powers of ten, written as plain numbers.

    Without the small ticks between them and without typeset powers: these take as long to draw as
    all the rest of a picture.
    """
    for name in which:
        getattr(ax, f"set_{name}scale")("log")
        axis = getattr(ax, f"{name}axis")
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.12g}"))


def plain_ticks(axis, values: Sequence[float]) -> None:
    """Put ticks at these values of a logarithmic axis, written as plain numbers."""
    axis.set_major_locator(NullLocator())
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(_apart(values))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,g}" if v < 1e5 else f"{v:,.0f}"))


def _apart(values: Sequence[float]) -> list[float]:
    """Drop ticks that would stand on top of the one before."""
    values = sorted(values)
    return values[:1] + [b for a, b in pairwise(values) if b / a > 1.3]


def bytes_text(size: float) -> str:
    """Return a number of bytes in words: 912 kB, 90.9 MB, 5.37 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    return f"{size:.0f} bytes"


def running_mean(values: Sequence[float], window: int = 20) -> list[float]:
    """Return the mean of the last `window` values, at each value."""
    row = np.asarray(values, dtype=float)
    return [float(row[max(0, i - window + 1):i + 1].mean()) for i in range(len(row))]


# ── pictures ─────────────────────────────────────────────────────────────────────────────────


def curves(losses: Mapping[str, Sequence[float]], colours: Mapping[str, str] | None = None,
           dashed: Collection[str] = (), window: int = 20, told: str = "") -> Figure:
    """Draw training losses against the step, each as a running mean of `window` steps.

    `told` is what they show; without it, the first line's ends are the title. Those named in
    `dashed` lie on top, so that a line below shows between the dashes; each has dashes of its own.
    """
    made, ax = figure(8, 3.2)
    dashes = itertools.cycle(("--", ":", "-."))
    for i, (name, values) in enumerate(losses.items()):
        colour, dash, _ = SERIES[i % len(SERIES)]
        style = {"ls": dash, "lw": 6, "alpha": 0.4} if dashed else {"ls": dash, "lw": 2}
        if name in dashed:
            style = {"ls": next(dashes), "lw": 2, "zorder": 3}
        means = running_mean(values, window)
        ax.plot(range(1, len(values) + 1), means, label=name,
                color=(colours or {}).get(name, colour), **style)
        if means and not ax.get_title() and not told:
            ax.set_title(f"{name}: loss {means[0]:.2f} → {means[-1]:.2f}")
    window = min(window, max(map(len, losses.values()), default=0))
    ax.set(xlabel="training step", ylabel=f"loss, mean of {window} steps")
    if len(losses) > 1:
        ax.legend(frameon=False, labelcolor="linecolor", fontsize=11)
    ends = "Loss, first and last running mean. " + "; ".join(
        f"{n}: {v[0]:.2f} to {np.mean(v[-window:]):.2f}" for n, v in losses.items() if len(v))
    if told:
        claim(made, told, ends)
    else:
        made.set_label(ends)
    return made


def dots(rows: Mapping[str, Sequence[float]],
         references: Mapping[str, tuple[float, str]] = {},
         styles: Mapping[str, tuple[str, str]] = {}) -> Figure:
    """Draw accuracies, one line a setting: a mark a seed, a bar at the mean.

    `references` map a name to (accuracy, colour): dashed lines across. `styles` map a row's name to
    (colour, marker).
    """
    made, ax = figure(8.6, 1.2 + 0.36 * len(rows))
    for name, (value, colour) in references.items():
        ax.axvline(value, color=colour, ls="--", lw=1.5)
        ax.text(value, 1.02, name, color=colour, ha="center", va="bottom", fontsize=11,
                transform=ax.get_xaxis_transform())
    for y, (name, values) in enumerate(rows.items()):
        colour, marker = styles.get(name, (SERIES[0][0], "o"))
        ax.plot(values, [y] * len(values), marker, color=colour, ms=7, alpha=0.7, mew=0)
        ax.plot([np.mean(values)] * 2, [y - 0.3, y + 0.3], color=colour, lw=2.5)
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.4, -0.6),
           xlabel="test accuracy")
    ax.xaxis.set_major_locator(MultipleLocator(0.05))
    in_percent(ax.xaxis)
    made.set_label("Mean test accuracy. " + "; ".join(
        [f"{name}: {np.mean(values):.1%}" for name, values in rows.items()]
        + [f"{name}: {value:.1%}" for name, (value, _) in references.items()]) + ".")
    return made
