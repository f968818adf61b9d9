"""What the solution notebook answers; written by `peft-teach build`."""

import peft_teach as pt
import torch


# ── lora.layer ───────────────────────────────────────────────────────────────────────────────

from peft_teach.methods.lora import LoRALinear


# ── capstone.laws ────────────────────────────────────────────────────────────────────────────

def keeps_the_laws(make):
    for n_in, n_out, bias in ((6, 4, True), (5, 5, False)):
        base = torch.nn.Linear(n_in, n_out, bias=bias).requires_grad_(False)
        before = [p.clone() for p in base.parameters()]
        x, layer = torch.randn(7, n_in), make(base)
        torch.testing.assert_close(layer(x), base(x), rtol=1e-4, atol=1e-4)
        for p in layer.own_parameters().values():
            p.data.normal_()
        y = layer(x)
        y.square().sum().backward()
        for name, p in layer.own_parameters().items():
            assert p.grad.abs().max() > 0, name
        second = make(base)
        for name, p in second.own_parameters().items():
            p.data.copy_(layer.own_parameters()[name])
        torch.testing.assert_close(second.eval()(x), y)
        try:
            merged = layer.merged()
        except pt.errors.NotMergeable:
            merged = layer
        torch.testing.assert_close(merged(x), y, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(layer(x), y)
        assert all(torch.equal(a, b) for a, b in zip(before, base.parameters()))
        assert not any(p.requires_grad for p in base.parameters())


# ── capstone.adapter ─────────────────────────────────────────────────────────────────────────

def my_adapter(base):
    return LoRALinear(base, 1, 8.0)
