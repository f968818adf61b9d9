"""Lesson 05: the law of the start, as a test that the reader writes; and what it is tried on."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...check.exercise import Exercise
from ...check.mutants import Law

WIDTH, SIZE, BOUND = 384, 8, 0.1    # as wide as MiniLM: 10,000 random u do not find one direction
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


def furthest(A: nn.Module, d_model: int, steps: int = 12) -> float:
    """Return the largest ‖A(u)‖ / ‖u‖ that is found by going uphill, for short u and long ones.

    A is linear in pieces, and a step along the gradient is one of the power method.
    """
    found, u = 0.0, torch.cat([torch.eye(d_model), -torch.eye(d_model), torch.randn(64, d_model)])
    for _ in range(steps):
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


def starts_near(make: Callable[[], nn.Module], d_model: int, bound: float) -> None:
    """Object to a bottleneck that starts far from silence, or cannot learn.

    `make()` gives a new one. For every u, ‖A(u)‖ ≤ bound · ‖u‖; and a matrix gets a gradient.
    """
    A = make()
    assert furthest(A, d_model) <= bound, "it is loud for some u"
    assert (A(torch.zeros(1, d_model)) == 0).all(), "it speaks where nothing is said"
    assert learns(A, d_model), "no matrix would learn"


# ── the versions ─────────────────────────────────────────────────────────────────────────────


class Version(Bottleneck):
    """A bottleneck for tokens of `WIDTH`, with decisions that can be changed."""

    def __init__(self, down: float = 0.01, up: float = 0.01, act=torch.relu,
                 change: Callable[["Version"], object] = lambda A: None):
        super().__init__(WIDTH, SIZE, down, up, act)
        with torch.no_grad():
            change(self)


def _loud(sign: float) -> Callable[[Version], None]:
    """One feature alone is loud, for one sign: A(sign · e₀) is 0.3 times as long, for ± the same.

    Half of the middle reads it with weight one, so that the other sign is silent, or not.
    """
    def change(A: Version) -> None:
        both = torch.tensor([1.0, -1.0]).repeat(SIZE // 2)
        A.W_down[:, 0] = both if sign == 0 else sign
        A.W_up.mul_(0.3 / (A.W_up[:, 0].norm() if sign == 0 else A.W_up.sum(1).norm()))
        if sign == 0:
            A.W_up[:, 2:] = 0
            A.W_up[:, 1] = -A.W_up[:, 0]

    return change


def _loud_along(A: Version) -> None:
    """One direction is loud, ± it, and no feature is in it more than the others."""
    v = nn.functional.normalize(torch.randn(WIDTH), dim=0)
    both = torch.tensor([1.0, -1.0]).repeat(SIZE // 2)
    A.W_down.copy_(both[:, None] * v)
    A.W_up.zero_()[:, :2] = 0.3 * nn.functional.normalize(torch.randn(WIDTH, 1), dim=0)


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "draws both matrices from N(0, 0.01²)": Version,
    "starts at exactly zero, by W_up": lambda: Version(WIDTH**-0.5, 0.0),
    "draws both from N(0, 0.001²)": lambda: Version(0.001, 0.001),
    "has a smooth activation": lambda: Version(act=nn.functional.gelu),
}
BROKEN: dict[str, Callable[[], nn.Module]] = {
    "starts thirty times as large": lambda: Version(0.3, 0.3),
    "starts with a b_up that is not zero": lambda: Version(    # 0.002 long, nothing beside u of 1
        change=lambda A: A.b_up.fill_(0.002 / WIDTH**0.5)),
    "is loud for one feature alone": lambda: Version(change=_loud(0)),
    "is loud for one feature, where it is negative": lambda: Version(change=_loud(-1)),
    "is loud in one direction, made of all features": lambda: Version(change=_loud_along),
    "draws both matrices from N(0, 0.02²)": lambda: Version(0.02, 0.02),
    "is near for short u, and far for long ones": lambda: Version(
        0.01, 0.03, act=lambda h: torch.relu(h).square()),
    "draws from N(0, 0.01²), and says all of it five times as loud": lambda: Version(
        act=lambda h: 5 * torch.relu(h)),
    "has an entry that is nan": lambda: Version(    # as `torch.empty` may leave it
        change=lambda A: A.W_up[0, 0].fill_(torch.nan)),
    "has zeros in both matrices": lambda: Version(0.0, 0.0),
    "has a threshold that no score passes": lambda: Version(
        change=lambda A: A.b_down.fill_(-50.0)),
}


# ── adapters.near ────────────────────────────────────────────────────────────────────────────

LAW = Law(RIGHT, BROKEN, lambda test, make: test(make, WIDTH, BOUND))
NEAR = Exercise(
    id="adapters.near", lesson="05", names=("starts_near",), points=2, minutes=9, difficulty=2,
    optional=True,
    cases=lambda seed: [{"seed": seed}], run=LAW.run, judge=LAW.judge, returns=LAW.returns,
    mistakes=LAW.mistakes,
    hints=("'Every u' cannot be tried. Which few are the hardest: in length, in direction, in "
           "sign?",
           "Scale u to length 1, and replace it by the gradient of the length of A(u), ten "
           "times: it turns towards the direction in which A(u) is longest. Try several lengths "
           "there. Where A(u) is zero, a ratio is 0 / 0: compare two lengths instead.",
           "For the second half: p.dim() == 2 tells a matrix from a bias, and one of the two "
           "needs a gradient other than zero."),
    arguments=lambda pieces: (lambda: pieces["Bottleneck"](384, 64), 384, BOUND))
