"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch


# ── dora.law ─────────────────────────────────────────────────────────────────────────────────

def dora_holds(make):
    base = torch.nn.Linear(5, 3).requires_grad_(False)
    layer, x = make(base, 2, 6.0), torch.randn(4, 5)
    torch.testing.assert_close(layer(x), base(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for p in (layer.A, layer.B, layer.m):
            p.copy_(torch.randn_like(p))
    bias = layer(torch.zeros(1, 5))
    torch.testing.assert_close(bias[0], base.bias, rtol=1e-4, atol=1e-5)
    columns = layer(torch.eye(5)) - bias    # W', transposed
    torch.testing.assert_close(columns.norm(dim=0), layer.m.abs(), rtol=1e-4, atol=1e-5)
    columns.square().sum().backward()    # for A, B: the true gradient is 0
    assert min(p.grad.norm() for p in (layer.A, layer.B, layer.m)) > 1e-3
    assert not any(p.requires_grad for p in base.parameters())


# ── dora.broken ──────────────────────────────────────────────────────────────────────────────

def looks_right(make):
    """Raise unless the layer is right."""
    frozen, x = torch.nn.Linear(6, 4).requires_grad_(False), torch.randn(8, 6)
    layer = make(frozen, 2, 2.0)
    assert torch.allclose(layer(x), frozen(x), atol=1e-4), "the start"
    with torch.no_grad():
        layer.A.copy_(torch.randn(2, 6))
        layer.B.copy_(torch.randn(4, 2))
    rows = (layer(torch.eye(6)) - layer(torch.zeros(6))).T
    assert torch.allclose(rows.norm(dim=1), layer.m, atol=1e-4), "the lengths"
    layer(x).norm().backward()
    assert all(p.grad.any() for p in (layer.A, layer.B, layer.m)), "the gradients"


# ── dora.convert ─────────────────────────────────────────────────────────────────────────────

def to_gain(m, W, A, B, s):
    return m / (W + s * B @ A).norm(dim=1)


def to_dora(g, W, A, B, s):
    return g * (W + s * B @ A).norm(dim=1)


# ── dora.referee ─────────────────────────────────────────────────────────────────────────────

T95 = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
                      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093), start=2))


def referee(a, b, margin):
    d = torch.tensor(a) - torch.tensor(b)
    half = T95[len(d)] * d.std() / len(d) ** 0.5
    low, high = (d.mean() - half).item(), (d.mean() + half).item()
    if -margin < low and high < margin:
        return low, high, "the same"
    if low > 0:
        return low, high, "better"
    return low, high, "worse" if high < 0 else "cannot tell"


# ── dora.forge ───────────────────────────────────────────────────────────────────────────────

def forge(weights, slope, start):
    forged = []
    for k, W in enumerate(weights):
        turn = start[0] + 0.002 * k
        change = start[1] + slope * 0.002 * k
        length = W.norm(dim=1, keepdim=True)
        w = W / length
        u = torch.randn_like(W)
        u = torch.nn.functional.normalize(u - (u * w).sum(dim=1, keepdim=True) * w, dim=1)
        cosine = 1 - turn
        forged.append((length + change) * (cosine * w + (1 - cosine**2) ** 0.5 * u))
    return forged
