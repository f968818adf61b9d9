"""Bottlenecks on which a test of their start is tried, near silence or not.

The name of each completes "one that".
"""

from collections.abc import Callable

import torch
from torch import nn

from .start import Bottleneck

WIDTH, SIZE = 384, 8    # as wide as MiniLM: 10,000 random u do not find one direction


class Version(Bottleneck):
    """A bottleneck for tokens of `WIDTH`, with decisions that can be changed."""

    def __init__(self, down: float = 0.01, up: float = 0.01, act=torch.relu,
                 change: Callable[["Version"], object] = lambda A: None):
        super().__init__(WIDTH, SIZE, down, up, act)
        with torch.no_grad():
            change(self)


def _loud(sign: float) -> Callable[[Version], None]:
    """One feature alone is loud, for one sign or, with 0, for both: ‖A(sign · e₀)‖ is 0.3.

    The middle reads it with this sign, so that the other is silent; half of it with each for both.
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
    """One direction is loud, with either sign, and no feature has a larger part in it."""
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
