"""A setting of LoRA: its rank, and where it is; how many numbers it trains."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .... import models, outlines

PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
DEPTH = 6                          # blocks of MiniLM, the model of all runs
DEFAULT = ("query", "value")       # the places where none are named


@dataclass(frozen=True)
class Setting:
    """Where LoRA is, and of which rank."""

    rank: int
    places: frozenset[str]
    layers: frozenset[int]

    @staticmethod
    def of(row: Mapping) -> "Setting":
        """Return the setting of a run's row, or of a `Config` as a dict."""
        return setting(row["rank"], row["targets"] or DEFAULT, row.get("layers"))

    @staticmethod
    def usual(rank: int) -> "Setting":
        """Return a rank where the lesson has it: on query and value, in all blocks."""
        return setting(rank, DEFAULT, None)

    @property
    def parameters(self) -> int:
        """How many numbers it trains."""
        return self.rank * per_rank(self.places, self.layers)

    @property
    def name(self) -> str:
        """The setting in words."""
        return f"rank {self.rank}, {self.where_in_words}"

    @property
    def where_in_words(self) -> str:
        """The places, and the blocks unless it is all of them."""
        groups = {frozenset(PLACES): "all places", frozenset(PLACES[:4]): "attention",
                  frozenset(PLACES[4:]): "feed-forward"}
        where = groups.get(self.places) or ", ".join(p for p in PLACES if p in self.places)
        if len(self.layers) == DEPTH:
            return where or "no place"
        blocks = ", ".join(map(str, sorted(self.layers)))
        return f"{where}, block{'s' if len(self.layers) > 1 else ''} {blocks}"


def setting(rank: int, places: Iterable[str], layers: Iterable[int] | None) -> Setting:
    """Return a setting; `layers` None means all blocks."""
    return Setting(rank, frozenset(places), frozenset(range(DEPTH) if layers is None else layers))


@functools.cache
def shapes() -> dict[str, tuple[int, int]]:
    """Return the (n_out, n_in) of a block's matrices, by place."""
    model = outlines.outline("minilm")
    return {p: tuple(model.get_submodule(models.places(model)[p][0]).weight.shape) for p in PLACES}


def per_rank(places: Iterable[str], layers: Sequence[int]) -> int:
    """Return how many numbers each rank adds."""
    return len(layers) * sum(sum(shapes()[p]) for p in places)
