"""What a method trains on a model, read off: of which block, at which place, and how large.

The method is put on the model as shapes alone (`outlines`).
"""

import functools
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import models, outlines
from ..adapter import adapters
from ..contents import adapter_parameters
from ..errors import NotSupported
from ..settings import Settings
from .layouts import OUTLINES, Layout, layout

if TYPE_CHECKING:
    import pandas

MODEL = "minilm"
# Where what is put around the whole backbone stands in a picture.
BESIDE_WORDS, BESIDE_KEYS = "words", "keys and values"

Shapes = dict[str, tuple[int, ...]]    # of what trains at a place, by name


class Part(NamedTuple):
    """A tensor that a method trains: of which block, at which place, in what, and its shape."""

    block: int | None      # None: outside of the blocks
    place: str
    wrapper: Any           # the adapter's class; None where the model's own tensor trains
    name: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


class Adapted(NamedTuple):
    """A model as shapes, with a method on it, and where its block's parts stand."""

    layout: Layout
    parts: tuple[Part, ...]
    frozen: int            # numbers of the base that do not train
    packed: int            # of these, in four bits, and how many bits that is with the scales
    bits: float

    @property
    def trained(self) -> int:
        """How many numbers train, the task's head left out."""
        return sum(part.numbers for part in self.parts)

    @property
    def front(self) -> str | None:
        """What the trained vectors in front of the text stand beside; None without any."""
        return next((part.place for part in self.parts
                     if part.place in (BESIDE_WORDS, BESIDE_KEYS)), None)

    @property
    def low(self) -> float:
        """How deep the block reaches, with what hangs below it."""
        return max([self.layout.low, *(deep + 2.5 for *_, deep in self.loops.values())])

    def at(self, place: str) -> Shapes:
        """What trains at a place of the block, or of all blocks at once: names and shapes."""
        return {part.name: part.shape for part in self.drawn if part.place == place}

    @property
    def drawn(self) -> list[Part]:
        """What trains in the block that is drawn, the first in which something does, or outside."""
        first = min((part.block for part in self.parts if part.block is not None), default=None)
        return [part for part in self.parts if part.block in (first, None)]

    @property
    def loops(self) -> dict[str, tuple[float, float, float]]:
        """By place, the wires of bottlenecks: where they read, where they add, how deep they hang.

        Raises `NotSupported` for one that stands where none is drawn.
        """
        found = {}
        for part in self.drawn:
            if part.name == "A.W_up":
                if (part.wrapper, part.place) not in self.layout.loops:
                    raise NotSupported(f"A bottleneck at {part.place!r} is not drawn.",
                                       expected="one as in HOULSBY, PFEIFFER, BAPNA, PARALLEL or "
                                                "ENDS of pt.bottleneck")
                found[part.place] = self.layout.loops[part.wrapper, part.place]
        return found


def parts(method: str = "", config: Settings | None = None,
          model: str = MODEL) -> "pandas.DataFrame":
    """Return what a method trains on a model: block, place, wrapper, name, shape and numbers."""
    import pandas

    found = adapted(method, config, model).parts
    return pandas.DataFrame(found, columns=Part._fields).assign(
        numbers=[part.numbers for part in found])


@functools.cache
def adapted(method: str = "", config: Settings | None = None, model: str = MODEL) -> Adapted:
    """Put a method on a model as shapes alone, and read off what trains there.

    Without a config it is the method's own.
    """
    block = layout(model)
    if not method:
        return Adapted(block, (), block.total, 0, 32)
    stands = _stands(block, model)
    on = outlines.adapted(OUTLINES[model], method, config)
    found = [(name, type(adapter), own, p) for name, adapter in adapters(on).items()
             for own, p in adapter.own_parameters().items()]
    if not found:      # full fine-tuning: the model's own
        found = [(name.rpartition(".")[0], None, name.rpartition(".")[2], p)
                 for name, p in adapter_parameters(on).items()]
    front = BESIDE_WORDS if any(own == "P" for _, _, own, _ in found) else BESIDE_KEYS
    trained = tuple(
        Part(of, front if place == "backbone" else place, wrapper, own, tuple(p.shape))
        for name, wrapper, own, p in found for place, of in [stands.get(name, (name, None))])
    packed = [layer.quantized for layer in models.quantized(on).values()]
    numbers = sum(prod(q.shape) for q in packed)
    own = sum(part.numbers for part in trained if not part.wrapper)
    return Adapted(block, trained, block.total - own, numbers,
                   8 * sum(q.size_bytes for q in packed) / numbers if packed else 32)


def _stands(block: Layout, model: str) -> dict[str, tuple[str, int | None]]:
    """Return of each module its place and its block; the last state's is a block's, too."""
    names = models.places(outlines.outline(OUTLINES[model]))
    names |= {norm: tuple(f"{of}.{norm}" for of in names["block"]) for norm in block.norms
              if norm not in names}
    return {name: (place, i if len(every) > 1 else None)
            for place, every in sorted(names.items(), key=lambda at: len(at[1]))
            for i, name in enumerate(every)}
