"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import hashlib
import peft_teach as pt
import torch
from contextlib import suppress


# ── full.frozen_stays ────────────────────────────────────────────────────────────────────────

from peft_teach.course.lessons.full.reference import frozen_stays


# ── lora.layer ───────────────────────────────────────────────────────────────────────────────

from peft_teach.methods.lora import LoRALinear


# ── capstone.split ───────────────────────────────────────────────────────────────────────────

def split(lines):
    seen, train, test = set(), [], []
    for number, (document, text) in enumerate(lines):
        plain = " ".join(text.lower().split())
        if plain in seen:
            continue
        seen.add(plain)
        drawn = hashlib.sha256(document.encode()).digest()[0]    # from 0 to 255
        (test if drawn < 51 else train).append(number)
    return train, test


# ── capstone.laws ────────────────────────────────────────────────────────────────────────────

def a_life(make, x):
    """Return a training: an adapter comes around the base, takes a step, and is merged."""
    def train(base):
        layer = make(base)
        layer(x).square().mean().backward()
        trained = [p for p in layer.parameters() if p.requires_grad]
        torch.optim.SGD(trained, lr=0.1).step()
        with suppress(pt.errors.NotMergeable):
            layer.merged()

    return train


def keeps_the_laws(make):
    for n_in, n_out, bias in ((6, 4, True), (5, 5, False)):
        base = torch.nn.Linear(n_in, n_out, bias=bias).requires_grad_(False)
        x = torch.randn(7, n_in)
        frozen_stays(a_life(make, x), base)
        layer, second = make(base), make(base)
        torch.testing.assert_close(layer(x), base(x), rtol=1e-4, atol=1e-4)
        for p in layer.own_parameters().values():
            p.data.normal_()
        y = layer(x)
        y.square().sum().backward()
        for name, p in layer.own_parameters().items():
            assert p.grad.abs().max() > 0, f"{name} gets no gradient"
        for name, p in second.own_parameters().items():
            p.data.copy_(layer.own_parameters()[name])
        torch.testing.assert_close(second.eval()(x), y)
        try:
            merged = layer.merged()
        except pt.errors.NotMergeable:
            merged = layer
        torch.testing.assert_close(merged(x), y, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(layer(x), y)


# ── capstone.adapter ─────────────────────────────────────────────────────────────────────────

def my_adapter(base):
    return LoRALinear(base, 1, 8.0)
