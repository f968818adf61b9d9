"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import peft_teach as pt
import torch
from torch import nn


# ── ia3.folds ────────────────────────────────────────────────────────────────────────────────

folds = {"key": {"key rows", "query rows"}, "value": {"value rows", "attention_out columns"},
         "sum": set(), "before": {"ffn_in rows"}, "after": {"ffn_out columns"}}


# ── ia3.layer ────────────────────────────────────────────────────────────────────────────────

class Gains(pt.Adapter):
    def __init__(self, base: nn.Linear, side: str):
        super().__init__(base)
        self.side = side
        n = base.out_features if side == "output" else base.in_features
        self.l = nn.Parameter(torch.ones(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.side == "input":
            return self.base((self.l * x).to(x.dtype))
        y = self.base(x)
        return (self.l * y).to(y.dtype)


# ── ia3.merge ────────────────────────────────────────────────────────────────────────────────

def fold(layer) -> nn.Linear:
    base, l = layer.base, layer.l.detach()
    if not isinstance(base, nn.Linear):
        base = fold(base)                              # the vector further in comes first
    linear = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None,
                       dtype=base.weight.dtype, device=base.weight.device)
    by = l[:, None] if layer.side == "output" else l
    with torch.no_grad():
        linear.weight.copy_(by * base.weight)
        if base.bias is not None:
            linear.bias.copy_(l * base.bias if layer.side == "output" else base.bias)
    return linear


# ── ia3.holds ────────────────────────────────────────────────────────────────────────────────

def fold_holds(fold, make):
    for side in ("output", "input"):
        for bias, n_in in ((True, 6), (False, 6), (True, 4)):    # square or not
            base = nn.Linear(n_in, 6, bias=bias).requires_grad_(False)
            layer = make(base, side)
            with torch.no_grad():
                layer.l.copy_(torch.randn(len(layer.l)))
                layer.l[0] = 0
                x = torch.randn(4, n_in)
                before = layer(x)
                linear = fold(layer)
                assert type(linear) is nn.Linear
                assert torch.allclose(linear(x), before, atol=1e-5)
                by_itself = nn.functional.linear(x, linear.weight, linear.bias)
                assert torch.allclose(by_itself, before, atol=1e-5)
                for p in linear.parameters():
                    p.fill_(0.5)
                assert torch.equal(layer(x), before)


# ── ia3.broken ───────────────────────────────────────────────────────────────────────────────

def looks_folded(fold, make):
    """Raise unless the fold is right."""
    for side in ("output", "input"):
        base = nn.Linear(6, 4, bias=False).requires_grad_(False)    # no bias, as in Llama
        layer, x = make(base, side), torch.randn(8, 6)
        layer.l.data.uniform_(0.5, 2)
        y, plain = layer(x), fold(layer)
        assert isinstance(plain, nn.Linear), "the kind"
        assert torch.allclose(plain(x), y, atol=1e-5), "the output"
        assert torch.allclose(layer(x), y, atol=1e-5), "the layer"


def broken_fold(layer) -> nn.Linear:
    linear = fold(layer)
    if linear.bias is not None:
        linear.bias.data.copy_(layer.base.bias)    # never scaled, and on the output it must be
    return linear


# ── ia3.nearest ──────────────────────────────────────────────────────────────────────────────

def nearest_gains(W: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    square = (W * W).sum(1)
    return 1 + (W * delta).sum(1) / square.clamp(min=1e-30)
