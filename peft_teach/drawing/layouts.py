"""Where the parts of a drawn block stand: of an encoder, MiniLM, and of a decoder, SmolLM2.

    layout("minilm")     six matrices, and a norm that closes each half
    layout("smollm2")    seven matrices, a norm in front of each half, grouped heads, a gated MLP

Shapes and counts are read off the model, without its weights (`outlines`); where a part is drawn is
said here. Units: five are as long as d_model, x from the left, heights up from the block's line.
"""

import functools
from dataclasses import dataclass

from .. import models, outlines
from ..errors import unknown
from ..methods.bottleneck import BottleneckAdapter, InputAdapter, NormedAdapter, OutputAdapter

Point = tuple[float, float]
Box = tuple[float, float, float, float]    # its middle, width, height

LENGTH = 121                               # of every block
WORDS, IN_FRONT = (5.5, 7, 8.5, 10), (1, 2.5, 4)
OUTLINES = {"minilm": "minilm", "smollm2": "smollm2-135m"}    # by a model's name in `models.load`


@dataclass(frozen=True)
class Layout:
    """A model's block: what is in it, how large that is, and where it is drawn."""

    name: str                              # the model's
    blocks: int
    d_model: int
    total: int                             # numbers of the whole model, the task's head left out
    shapes: dict[str, tuple[int, int]]     # of the matrices, outputs × inputs, by place
    heads: dict[str, int]                  # of query, key and value
    middles: dict[str, Point]              # of the matrices
    norms: dict[str, Box]                  # by place; in a decoder, by its name in the block
    softmax: float
    keys: tuple[float, ...]                # where trained keys and values stand
    lines: tuple[tuple[Point, ...], ...]   # what flows
    skips: tuple[float, ...]               # where the lines begin that are added at `sums`
    sums: tuple[float, ...]
    products: tuple[float, ...]            # where two flows are multiplied
    top: float                             # how high the skips run
    low: float                             # how deep the block reaches
    # Bottlenecks: by their class and what they wrap, where they read and where they add, and how
    # deep below the line they hang.
    loops: dict[tuple[type[BottleneckAdapter], str], tuple[float, float, float]]

    @property
    def matrices(self) -> dict[str, Box]:
        """Return the boxes of the matrices, to scale."""
        unit = 5 / self.d_model
        return {place: (*self.middles[place], columns * unit, rows * unit)
                for place, (rows, columns) in self.shapes.items()}

    @property
    def boxes(self) -> dict[str, Box]:
        """Return the boxes of the matrices and norms."""
        return self.matrices | self.norms


@functools.cache
def layout(model: str) -> Layout:
    """Return where the parts of a model's block stand. Raises `UnknownName`."""
    if model not in OUTLINES:
        raise unknown("model to draw", model, OUTLINES)
    bare = outlines.outline(OUTLINES[model])
    head, names = {*models.head(bare)}, models.places(bare)
    config = models.config_of(bare)
    encoder = models.is_encoder(bare)
    where = _ENCODER if encoder else _DECODER
    weights = {place: models.weight_of(bare.get_submodule(names[place][0]))
               for place in where["middles"]}
    shapes = {place: (weight.shape[0], weight.shape[1]) for place, weight in weights.items()}
    keys = config.num_attention_heads if encoder else config.num_key_value_heads
    return Layout(
        "MiniLM" if encoder else "SmolLM2", config.num_hidden_layers, config.hidden_size,
        sum(p.numel() for name, p in bare.named_parameters() if name not in head),
        shapes, {"query": config.num_attention_heads, "key": keys, "value": keys}, **where)


def _split(fork: float, to: float, start: float, end: float) -> list[tuple[Point, ...]]:
    """Return the lines from a fork to query, key and value, and from there to the softmax."""
    return [line for up in (9, 0, -9) for line in (
        ((fork, 0), (fork, up), (to, up)), ((start, up), (end, up)))]


def _along(*ends: Point) -> list[tuple[Point, ...]]:
    return [((start, 0), (end, 0)) for start, end in ends]


_EMBEDDED = {(OutputAdapter, "embeddings"): (2.2, 11.9, 9)}
_ENCODER = {
    "middles": {"query": (19, 9), "key": (19, 0), "value": (19, -9), "attention_out": (45, 0),
                "ffn_in": (70, 0), "ffn_out": (86.5, 0)},
    "norms": {"attention_norm": (62, 0, 1.6, 5), "ffn_norm": (110, 0, 1.6, 5)},
    "softmax": 36, "keys": (25.5, 27, 28.5),
    "lines": (*_split(13.5, 16.4, 21.6, 32.8), *_along(
        (11.2, 13.5), (39, 42.4), (47.6, 56.4), (59.6, 61), (63, 67.3), (72.6, 76.4), (96.6, 104.4),
        (107.6, 109), (111, LENGTH))),
    "skips": (13.5, 65), "sums": (58, 106), "products": (), "top": 15.5, "low": 14,
    "loops": _EMBEDDED | {
        (OutputAdapter, "attention_out"): (49.1, 58, 9),
        (OutputAdapter, "ffn_out"): (97.1, 106, 9),
        (OutputAdapter, "ffn_norm"): (112.3, 118.5, 9),
        (OutputAdapter, "block"): (112.3, 118.5, 9), (OutputAdapter, "last"): (112.3, 118.5, 9),
        (NormedAdapter, "ffn_norm"): (114, 106, 9),
        (NormedAdapter, "attention_norm"): (66, 58, 9), (InputAdapter, "ffn"): (65, 106, 13.5)},
}
_DECODER = {
    "middles": {"query": (25, 9), "key": (25, 0), "value": (25, -9), "attention_out": (49.5, 0),
                "ffn_gate": (74.7, 7.8), "ffn_in": (74.7, -7.8), "ffn_out": (93.7, 0)},
    "norms": {"input_layernorm": (17, 0, 1.6, 5), "post_attention_layernorm": (66.5, 0, 1.6, 5)},
    "softmax": 40.5, "keys": (30.5, 32, 33.5),
    "lines": (*_split(19.6, 22.4, 27.6, 37.3), *_along(
        (11.2, 16.2), (17.8, 19.6), (43.5, 46.9), (52.1, 57.9), (61.1, 65.7), (67.3, 69.3),
        (83.7, 86.9), (100.5, 105.4), (108.6, LENGTH)),
        *(line for up in (7.8, -7.8) for line in (
            ((69.3, 0), (69.3, up), (72.1, up)),
            ((77.3, up), (82, up), (82, 1.7 if up > 0 else -1.7))))),
    "skips": (13.5, 63), "sums": (59.5, 107), "products": (82,), "top": 17.5, "low": 15,
    "loops": _EMBEDDED | {
        (OutputAdapter, "attention_out"): (53.6, 59.5, 9),
        (OutputAdapter, "ffn_out"): (101, 107, 9),
        (OutputAdapter, "block"): (110.3, 118.5, 9), (OutputAdapter, "last"): (112, 118.5, 9),
        (InputAdapter, "ffn"): (68.5, 107, 17)},
}
