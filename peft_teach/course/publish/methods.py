"""The drawings on the map of methods: what each freezes, grey, and what it trains, in color."""

from pathlib import Path

from matplotlib.figure import Figure

from ...plots import COLOURS, box, figure

FROZEN, TRAINED, QUANTIZED = "frozen", "trained", "quantized"

# Of each method its parts: kind, left, bottom, width, height, what is written on it.
DRAWINGS = {
    "full": [(TRAINED, 0, 0, 3, 3, "W"), (TRAINED, 4, 0, 1.6, 3, "head")],
    "head": [(FROZEN, 0, 0, 3, 3, "W"), (TRAINED, 4, 0, 1.6, 3, "head")],
    "bitfit": [(FROZEN, 0, 0, 3, 3, "W"), (TRAINED, 3.4, 0, 0.5, 3, "b")],
    "prompt": [(TRAINED, i * 0.9, 0, 0.7, 1, "p") for i in range(3)]
              + [(FROZEN, 2.7 + i * 0.9, 0, 0.7, 1, "x") for i in range(3)]
              + [(FROZEN, 0, 1.5, 5.2, 1.5, "every block")],
    "prefix": [(TRAINED, 0.7 + i * 0.9, y, 0.7, 1, name) for y, name in ((0, "v"), (1.5, "k"))
               for i in range(2)]
              + [(FROZEN, 2.5 + i * 0.9, y, 0.7, 1, name) for y, name in ((0, "V"), (1.5, "K"))
                 for i in range(3)],
    "bottleneck": [(FROZEN, 0, 0, 2, 3, "sub-layer"), (TRAINED, 2.6, 0, 0.8, 3, "down"),
                   (TRAINED, 3.7, 1, 0.4, 1, ""), (TRAINED, 4.4, 0, 0.8, 3, "up")],
    "ia3": [(TRAINED, 0, 0, 0.5, 3, "l"), (FROZEN, 1.2, 0, 3, 3, "W")],
    "lora": [(FROZEN, 0, 0, 3, 3, "W"), (TRAINED, 3.5, 0, 0.5, 3, "B"),
             (TRAINED, 4.2, 2.5, 3, 0.5, "A")],
    "dora": [(TRAINED, 0, 0, 0.5, 3, "m"), (FROZEN, 1, 0, 3, 3, "W"),
             (TRAINED, 4.5, 0, 0.5, 3, "B"), (TRAINED, 5.2, 2.5, 3, 0.5, "A")],
    "qlora": [(QUANTIZED, 0, 0, 3, 3, "W, 4 bits"), (TRAINED, 3.5, 0, 0.5, 3, "B"),
              (TRAINED, 4.2, 2.5, 3, 0.5, "A")],
}


def draw(folder: Path) -> None:
    """Write every drawing into a folder, as `method-NAME.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DRAWINGS:
        drawing(name).savefig(folder / f"method-{name}.svg", metadata={"Date": None})


def drawing(name: str) -> Figure:
    """Draw one method."""
    made, ax = figure(2.2, 0.9)
    for kind, x, y, width, height, text in DRAWINGS[name]:
        box(ax, x, y, width, height, text, size=9,
            fc=COLOURS["lora"] if kind == TRAINED else COLOURS["frozen"],
            ink=COLOURS["paper"] if kind == TRAINED else COLOURS["ink"],
            hatch="...." if kind == QUANTIZED else None)
    ax.set(xlim=(-0.2, 8.4), ylim=(-0.2, 3.2), aspect="equal")
    ax.axis("off")
    return made
