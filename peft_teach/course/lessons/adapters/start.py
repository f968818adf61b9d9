"""A bottleneck, how far from silence it starts, and whether it learns."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

BOUND = 0.1    # of ‖A(u)‖ / ‖u‖, at the start
TENSORS = ("W_down", "b_down", "W_up", "b_up")      # in the order of `narrow`


def narrow(u: Tensor, W_down: Tensor, b_down: Tensor, W_up: Tensor, b_up: Tensor,
           act: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """Return A(u), (…, d_model): down to the bottleneck, through the activation, and up."""
    return act(u @ W_down.T + b_down) @ W_up.T + b_up


class Bottleneck(nn.Module):
    """A(u) = W_up relu(W_down u + b_down) + b_up, the matrices drawn from N(0, 0.01²)."""

    def __init__(self, d_model: int, size: int, down: float = 0.01, up: float = 0.01,
                 act: Callable[[Tensor], Tensor] = torch.relu):
        super().__init__()
        self.W_down = nn.Parameter(down * torch.randn(size, d_model))
        self.b_down = nn.Parameter(torch.zeros(size))
        self.W_up = nn.Parameter(up * torch.randn(d_model, size))
        self.b_up = nn.Parameter(torch.zeros(d_model))
        self.act = act

    def forward(self, u: Tensor) -> Tensor:
        return narrow(u, self.W_down, self.b_down, self.W_up, self.b_up, self.act)


def furthest(A: nn.Module, d_model: int) -> float:
    """Return the largest ‖A(u)‖ / ‖u‖ that is found by going uphill, for short u and long ones.

    A is linear in pieces, and a step along the gradient is one of the power method.
    """
    found, u = 0.0, torch.cat([torch.eye(d_model), -torch.eye(d_model), torch.randn(64, d_model)])
    for _ in range(12):
        u = nn.functional.normalize(u).detach().requires_grad_()
        for size in (1e-3, 1e3, 1.0):
            lengths = A(size * u).norm(dim=-1) / size
            found = max(found, float(lengths.detach().max().nan_to_num(math.inf)))
        if not lengths.requires_grad:
            break
        uphill, = torch.autograd.grad(lengths.sum(), u, allow_unused=True)
        u = u if uphill is None else uphill.nan_to_num()
    return found


def learns(A: nn.Module, d_model: int) -> bool:
    """Does a matrix get a gradient? With less than 1e-6, Adam does not move."""
    y = A(torch.randn(32, d_model))
    if y.requires_grad:
        y.sum().backward()
    return any(p.dim() == 2 and p.grad is not None and float(p.grad.abs().max()) > 1e-6
               for p in A.parameters())
