"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch


# ── lora.start ───────────────────────────────────────────────────────────────────────────────

def start_holds(make):
    base = torch.nn.Linear(6, 4).requires_grad_(False)
    layer, x = make(base, 2, 4.0), torch.randn(8, 6)
    assert torch.equal(layer(x), base(x))
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) - 1).square().mean().backward()
        optimizer.step()
    for name, p in layer.named_parameters():
        assert torch.equal(p, before[name]) == (name not in ("A", "B")), name


# ── lora.broken ──────────────────────────────────────────────────────────────────────────────

def looks_right(make):
    """Raise unless the layer starts right."""
    base, x = torch.nn.Linear(6, 4).requires_grad_(False), torch.randn(8, 6)
    layer = make(base, 2, 4.0)
    assert torch.allclose(layer(x), base(x)), "the start"
    before = layer.A.clone(), layer.B.clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
    assert not any(map(torch.equal, (layer.A, layer.B), before)), "the steps"


# ── lora.case ────────────────────────────────────────────────────────────────────────────────

clears = {"rank": 64, "alpha": 128, "lr": 3e-3}, {"rank": 1, "alpha": 16, "lr": 3e-3}
convicts = {"rank": 1, "alpha": 16, "lr": 3e-3}, {"rank": 1, "alpha": 128, "lr": 3e-3}


# ── lora.merge ───────────────────────────────────────────────────────────────────────────────

def merged(layer) -> torch.nn.Linear:
    base = layer.base
    linear = torch.nn.Linear(base.in_features, base.out_features, bias=base.bias is not None,
                             dtype=base.weight.dtype, device=base.weight.device)
    with torch.no_grad():
        linear.weight.copy_(base.weight.float() + layer.scale * layer.B @ layer.A)
        if base.bias is not None:
            linear.bias.copy_(base.bias)
    return linear
