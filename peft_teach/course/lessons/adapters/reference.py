"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch
import peft_teach as pt


# ── adapters.size ────────────────────────────────────────────────────────────────────────────

def size_for(budget: int, d_model: int, modules: int) -> int:
    left = budget // modules - d_model    # the last bias is paid for anyway
    return max(0, left // (2 * d_model + 1))


# ── adapters.bottleneck ──────────────────────────────────────────────────────────────────────

class Bottleneck(torch.nn.Module):
    def __init__(self, d_model: int, size: int):
        super().__init__()
        self.W_down = torch.nn.Parameter(0.01 * torch.randn(size, d_model))
        self.b_down = torch.nn.Parameter(torch.zeros(size))
        self.W_up = torch.nn.Parameter(0.01 * torch.randn(d_model, size))
        self.b_up = torch.nn.Parameter(torch.zeros(d_model))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        h = torch.relu(u @ self.W_down.T + self.b_down)    # (…, size)
        return h @ self.W_up.T + self.b_up                 # (…, d_model)


# ── adapters.placements ──────────────────────────────────────────────────────────────────────

class Pfeiffer(pt.Adapter):
    def __init__(self, base: torch.nn.Module, A: torch.nn.Module):
        super().__init__(base)
        self.A = A

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x + self.A(self.base(x)))


class Parallel(pt.Adapter):
    def __init__(self, base: torch.nn.Module, A: torch.nn.Module, scale: float):
        super().__init__(base)
        self.A, self.scale = A, scale

    def forward(self, h: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        return self.base(h, r + self.scale * self.A(r))


# ── adapters.sealed ──────────────────────────────────────────────────────────────────────────

def name_placement(ask, norm, d: int) -> str:
    def same(y, z):
        return torch.allclose(y, z, atol=1e-3)

    x, o1, o2, shift = torch.randn(4, d)
    y = ask(x, o1, o2)
    ends_with_norm = same(y, norm(y))
    reads_parts = not same(y, ask(x + shift, o1 - shift, o2))    # the same sum
    if not ends_with_norm:
        return "ends" if reads_parts else "bapna"
    if reads_parts:    # no norm sees a constant, and B does
        return "post_attention" if same(y, ask(x, o1, o2 + 1)) else "houlsby"
    moved = norm(x + o1) - norm(x + shift + o1)    # another r, the same r + o₂
    return "pfeiffer" if same(y, ask(x + shift, o1, o2 + moved)) else "parallel"


# ── adapters.near ────────────────────────────────────────────────────────────────────────────

def starts_near(make, d_model: int, bound: float) -> None:
    A = make()
    u = torch.randn(32, d_model)
    unit = torch.nn.functional.normalize    # leaves zeros as they are
    for _ in range(10):    # uphill, to where A(u) is longest
        v = unit(u).detach().requires_grad_()
        u, = torch.autograd.grad(A(v).norm(dim=-1).sum(), v)
    u = unit(u)
    for length in (1e-3, 1.0, 1e3):
        far = A(length * u).norm(dim=-1) / length
        assert (far <= bound).all(), f"A(u) is {far.max():.2g} times as long as u"

    A(torch.randn(32, d_model)).sum().backward()
    matrices = [p for p in A.parameters() if p.dim() == 2]
    assert any(p.grad is not None and p.grad.any() for p in matrices), "no matrix can learn"
