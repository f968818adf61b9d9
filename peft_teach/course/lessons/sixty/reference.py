"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import copy
import peft_teach as pt
import torch
from torch import nn


# ── sixty.road ───────────────────────────────────────────────────────────────────────────────

class RoAd(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.theta = nn.Parameter(torch.zeros(base.out_features // 2))
        self.alpha = nn.Parameter(torch.ones(base.out_features // 2))

    def turned(self, h):                                        # (…, n_out)
        c, s = self.alpha * self.theta.cos(), self.alpha * self.theta.sin()
        first, second = h[..., ::2].float(), h[..., 1::2].float()
        z = torch.stack([c * first - s * second, s * first + c * second], dim=-1)
        return z.flatten(-2).to(h.dtype)                        # (…, n_out)

    def forward(self, x):
        return self.turned(self.base(x))

    @torch.no_grad()
    def merged(self):
        linear = copy.deepcopy(self.base)
        linear.weight.copy_(self.turned(linear.weight.T).T)     # (n_out, n_in)
        if linear.bias is not None:
            linear.bias.copy_(self.turned(linear.bias))         # (n_out,)
        return linear


# ── sixty.places ─────────────────────────────────────────────────────────────────────────────

places = {
    "VeRA": [True, 256, 256 + 384],
    "OFT": [True, 384, 12 * 32 * 31 // 2],
    "MiSS": [True, 16, 384 * 16],
    "HiRA": [True, 384, 2 * 4 * 384],
    "bottleneck": [False, None, 2 * 8 * 384],
}


# ── sixty.mine ───────────────────────────────────────────────────────────────────────────────

class Mine(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.new = "Near RoAd, but 16 features share a matrix that is free. We did not search."
        self.M = nn.Parameter(torch.zeros(base.out_features // 16, 16, 16))

    def forward(self, x):
        return self.moved(self.base(x))

    def moved(self, h):                                         # (…, n_out)
        blocks = h.float().unflatten(-1, (-1, 16))              # (…, n_out / 16, 16)
        return (h + torch.einsum("...ki,koi->...ko", blocks, self.M).flatten(-2)).to(h.dtype)

    @torch.no_grad()
    def merged(self):
        linear = copy.deepcopy(self.base)
        linear.weight.copy_(self.moved(linear.weight.T).T)
        if linear.bias is not None:
            linear.bias.copy_(self.moved(linear.bias))
        return linear


def count(n_in, n_out):
    return 16 * n_out
