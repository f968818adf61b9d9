"""The pictures of lesson 08: the ruler, marks moved by hand, an outlier, dice, a card's memory."""

import torch

from ....nf4 import LEVELS
from ... import records
from .formats import block_sizes, colleague, formats, matrices, symptoms, tables
from .picture_of_dice import explore_dice
from .picture_of_levels import draw_ruler, explore_levels, explore_outlier
from .picture_of_memory import explore_memory, memory
from .recorded import costs, draw_rates, merges, paired, repairs, starts

__all__ = ["block_sizes", "colleague", "costs", "draw_rates", "draw_ruler",
           "explore_dice", "explore_levels", "explore_memory", "explore_outlier", "formats",
           "matrices", "memory", "merges", "paired", "repairs", "starts", "symptoms",
           "tables"]


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


def _weights() -> torch.Tensor:
    return torch.randn(384, 384, generator=torch.Generator().manual_seed(0))


EXAMPLES = {
    "ruler": lambda: draw_ruler({"W": _weights()}),
    "levels": lambda: explore_levels({"W": _weights()},
                                     {"NF4": LEVELS, "int4": torch.arange(-7, 8) / 7}),
    "outlier": lambda: explore_outlier(_weights()),
    "rates": lambda: draw_rates(records.load("qlora")),
    "dice": explore_dice,
    "memory": explore_memory,
}
