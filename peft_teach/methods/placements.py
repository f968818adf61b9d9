"""Where a bottleneck can stand: the usual places, and those at which A can read what it should."""

from torch import nn

from .. import models
from ..errors import BadConfig

# By what A reads: places at which vectors of d_model features come out, or go in.
READABLE = {
    "output": ("attention_out", "ffn_out", "ffn", "attention_norm", "ffn_norm", "block",
               "embeddings", "last"),
    "normed": ("attention_norm", "ffn_norm"),
    "input": ("ffn",),
}


def usual_targets(model: nn.Module, reads: str) -> tuple[tuple[str, ...], str]:
    """Return the end of every layer of this model as targets, and what A reads there."""
    if reads == "input":
        return ("ffn",), reads
    if "ffn_norm" in models.places(model):
        return ("ffn_norm",), reads
    return ("block",), "output"    # pre-LN: no norm closes a layer, and A reads the sum as it is


def need_readable(model: nn.Module, targets: tuple[str, ...], reads: str) -> None:
    """Raise `BadConfig` for a target where A cannot read that."""
    table = models.places(model)
    fitting = [place for place in READABLE[reads] if place in table]
    allowed = {name for place in fitting for name in table[place]}
    for name in models.find(model, targets):
        if name not in allowed:
            raise BadConfig(f"reads={reads!r} cannot be had at {name}.",
                            expected="one of these places: " + (", ".join(fitting) or "none here"),
                            hint="another `reads`, or targets=None for the usual places")
