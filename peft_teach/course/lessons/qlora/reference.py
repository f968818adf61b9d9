"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch
import peft_teach as pt


# ── qlora.levels ─────────────────────────────────────────────────────────────────────────────

TOP = 0.9677083    # 1 - (1/30 + 1/32) / 2: about half of a sixteenth from the end


def levels(quantile):
    def side(count):
        return [quantile(0.5 + (TOP - 0.5) * step / count) for step in range(1, count + 1)]

    marks = [-mark for mark in reversed(side(7))] + [0.0] + side(8)
    return torch.tensor(marks, dtype=torch.float64).div(marks[-1]).float()


# ── qlora.quantize ───────────────────────────────────────────────────────────────────────────

def quantize(W, levels, group=64):
    groups = W.detach().float().reshape(-1, group)
    top = groups.abs().amax(dim=1)
    scaled = groups / top.clamp_min(1e-38)[:, None]
    index = torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2).to(torch.uint8).reshape(-1, 2)
    return index[:, 0] * 16 + index[:, 1], top


def dequantize(packed, top, levels, shape):
    index = torch.stack([packed // 16, packed % 16], dim=1).long()
    return (levels[index].reshape(len(top), -1) * top[:, None]).reshape(shape)


# ── qlora.layer ──────────────────────────────────────────────────────────────────────────────

class Linear4bit(torch.nn.Module):
    def __init__(self, linear, levels=pt.nf4.LEVELS):
        super().__init__()
        self.out_features, self.in_features = linear.weight.shape
        packed, top = quantize(linear.weight, levels)
        self.register_buffer("packed", packed)
        self.register_buffer("top", top)
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.register_buffer("bias", bias)
        self.levels = levels

    @property
    def weight(self):
        shape, levels = (self.out_features, self.in_features), self.levels.to(self.top.device)
        return dequantize(self.packed, self.top, levels, shape)

    def forward(self, x):
        def product(x):
            return torch.nn.functional.linear(x, self.weight, self.bias)

        return torch.utils.checkpoint.checkpoint(product, x, use_reentrant=False)


# ── qlora.bits ───────────────────────────────────────────────────────────────────────────────

def four_bits_hold(make):
    layer = make(torch.nn.Linear(64, 6, bias=False))
    x = torch.randn(3, 64, requires_grad=True)
    for _ in range(2):    # before its use, and after
        held = [*layer.parameters(), *layer.buffers()]
        assert sum(t.numel() * t.element_size() for t in held) == 6 * 64 // 2 + 4 * 6
        assert not any(p.requires_grad for p in layer.parameters())
        layer(x).square().sum().backward()
    assert x.grad.abs().sum() > 0


# ── qlora.broken ─────────────────────────────────────────────────────────────────────────────

def looks_small(make):
    """Raise unless the layer holds four bits a weight, and 32 for each group."""
    layer, x = make(torch.nn.Linear(64, 6, bias=False)), torch.randn(3, 64)
    held = sum(t.nbytes for t in layer.state_dict().values())
    assert held == 6 * 64 // 2 + 4 * 6, "the bytes"
    assert torch.allclose(layer(x), x @ layer.weight.T, atol=1e-5), "the output"
    assert all(not p.requires_grad for p in layer.parameters()), "what trains"


# ── qlora.dice ───────────────────────────────────────────────────────────────────────────────

def dice(W, top, levels, generator):
    x = (W.reshape(len(top), -1) / top.clamp_min(1e-38)[:, None]).clamp(levels[0], levels[-1])
    low = torch.searchsorted(levels, x, right=True).sub(1).clamp(0, len(levels) - 2)
    gap = levels[low + 1] - levels[low]
    up = torch.rand(x.shape, generator=generator) < (x - levels[low]) / gap
    return (levels[low + up] * top[:, None]).reshape(W.shape)
