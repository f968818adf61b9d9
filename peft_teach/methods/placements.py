"""Where a bottleneck stands: the three positions, and what the papers' layers become with them.

    reads     wraps                             computes
    output    any module F                      y + s A(y)           y = F(x)
    normed    the LayerNorm after a sub-layer   LN(x + s A(LN(x)))   the pretrained LN, twice
    input     a feed-forward block F            F(x) + s A(x)
              its second half, in BERT          F(h, r + s A(r))     r is the block's input

With r the residual stream before a sub-layer and o what the sub-layer adds, a layer becomes:

    value           after            post-LN: BERT, RoBERTa, …     pre-LN: GPT-2, Llama, …
    HOULSBY         attention, ffn   LN(r + o + A(o))              r + o + A(o)
    POST_ATTENTION  attention        LN(r + o + A(o))              r + o + A(o)
    PFEIFFER        ffn              LN(r + o + A(LN(r + o)))      r + o + A(r + o)
    BAPNA           ffn              y + A(LN_new(y))              y + A(LN_new(y)), y = r + o
    PARALLEL        ffn              LN(r + o + s A(r))            r + o + s A(LN(r))

Deviations. On BERT, Houlsby et al. adapt o after its dropout; here A stands before the dropout.
On pre-LN models PARALLEL reads the block's own input, as He et al. draw it; the `adapters` library
reads r before its norm.
"""

from torch import Tensor, nn

from .. import models
from ..adapter import Adapter
from ..errors import BadConfig
from ..valid import is_positive


class BottleneckAdapter(Adapter):
    """A frozen module and the bottleneck A beside it; a subclass says what A reads."""

    def __init__(self, base: nn.Module, A: nn.Module, scale: float = 1.0):
        if not is_positive(scale):
            raise BadConfig(f"scale is {scale!r}.", expected="a positive number")
        super().__init__(base)
        self.A, self.scale = A, scale

    def correction(self, u: Tensor) -> Tensor:
        """Return s A(u) in float32: what it is added to is rounded after the sum."""
        return self.scale * self.A(u)                                 # (…, d_model)


class OutputAdapter(BottleneckAdapter):
    """y + s A(y), where y is the module's output: after a sub-layer, a norm or a whole block."""

    def forward(self, *args, **kwargs) -> Tensor:
        y = self.base(*args, **kwargs)                                # (…, d_model)
        return (y + self.correction(y)).to(y.dtype)                   # (…, d_model)


class NormedAdapter(BottleneckAdapter):
    """LN(x + s A(LN(x))), around the LayerNorm that closes a sub-layer: x is the sum r + o."""

    def forward(self, x: Tensor) -> Tensor:
        u = self.correction(self.base(x))                             # (…, d_model)
        return self.base((x + u).to(x.dtype))                         # (…, d_model)


class InputAdapter(BottleneckAdapter):
    """F(x) + s A(x), around a feed-forward block: A works beside F, not after it.

    BERT's F comes in two halves; the second one takes the inner activations h and the block's
    input r, and computes LN(W h + r). What is added to r arrives before LN, as it should.
    """

    def forward(self, x: Tensor, r: Tensor | None = None) -> Tensor:
        if r is None:
            y = self.base(x)                                          # (…, d_model)
            return (y + self.correction(x)).to(y.dtype)               # (…, d_model)
        r = (r + self.correction(r)).to(r.dtype)                      # (…, d_model)
        return self.base(x, r)                                        # x is h: (…, d_ff)


# What each form can wrap: places at which vectors of d_model features come out, or go in.
FORMS = {
    "output": (OutputAdapter, ("attention_out", "ffn_out", "ffn", "attention_norm", "ffn_norm",
                               "block", "embeddings", "last")),
    "normed": (NormedAdapter, ("attention_norm", "ffn_norm")),
    "input": (InputAdapter, ("ffn",)),
}


def form(model: nn.Module, reads: str, targets: tuple[str, ...] | None
         ) -> tuple[tuple[str, ...], type[BottleneckAdapter]]:
    """Return the targets in this model and the class that wraps them.

    Raises `BadConfig` for a target where A cannot read that.
    """
    table = models.places(model)
    if targets is None and reads == "input":
        targets = ("ffn",)
    elif targets is None and "ffn_norm" in table:
        targets = ("ffn_norm",)
    elif targets is None:    # pre-LN: no norm closes a layer, and A reads the sum as it is
        targets, reads = ("block",), "output"
    make, fitting = FORMS[reads]
    fitting = [place for place in fitting if place in table]
    allowed = {name for place in fitting for name in table[place]}
    for name in models.find(model, targets):
        if name not in allowed:
            raise BadConfig(f"reads={reads!r} cannot be had at {name}.",
                            expected="one of these places: " + (", ".join(fitting) or "none here"),
                            hint="another `reads`, or targets=None for the usual places")
    return targets, make
