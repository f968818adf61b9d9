"""Lesson 05: the law of the start, as a test that the reader writes; and what it is tried on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...exercise import Exercise, Verdict
from ...judge import rejected, strange
from ...mutants import MISTAKES, false_positives, outcomes, score, survivors

WIDTH, SIZE, BOUND = 384, 8, 0.1    # as wide as MiniLM: 10,000 random u do not find one direction
TENSORS = ("W_down", "b_down", "W_up", "b_up")      # in the order of `narrow`


def narrow(u: Tensor, W_down: Tensor, b_down: Tensor, W_up: Tensor, b_up: Tensor,
           act: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """Return A(u), (…, d_model): down to the bottleneck, through the activation, and up."""
    return act(u @ W_down.T + b_down) @ W_up.T + b_up


def starts_near(make: Callable[[], nn.Module], d_model: int, bound: float) -> None:
    """Object to a bottleneck that starts far from silence, or cannot learn.

    `make()` gives a new one. For every u, ‖A(u)‖ ≤ bound · ‖u‖; and a matrix gets a gradient.
    """
    A = make()
    u = torch.cat([torch.eye(d_model), -torch.eye(d_model), torch.randn(64, d_model)])
    for _ in range(10):                         # uphill: to where A(u) is longest
        for size in (1e-3, 1.0, 1e3):
            ratio = A(size * u).norm(dim=-1) / size
            assert (ratio <= bound * u.norm(dim=-1)).all(), f"{ratio.max():.2g}"
        u = nn.functional.normalize(u).requires_grad_()
        u, = torch.autograd.grad(A(u).norm(dim=-1).sum(), u)
        u = nn.functional.normalize(u)
    assert (A(torch.zeros(1, d_model)) == 0).all(), "it speaks where nothing is said"
    A(torch.randn(32, d_model)).sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in A.parameters() if p.dim() == 2), (
        "no matrix would learn")


# ── the versions ─────────────────────────────────────────────────────────────────────────────


class Version(nn.Module):
    """A bottleneck for tokens of `WIDTH`, with decisions that can be changed."""

    def __init__(self, down: float = 0.01, up: float = 0.01, act=torch.relu,
                 change: Callable[["Version"], None] = lambda A: None):
        super().__init__()
        self.W_down = nn.Parameter(down * torch.randn(SIZE, WIDTH))
        self.b_down = nn.Parameter(torch.zeros(SIZE))
        self.W_up = nn.Parameter(up * torch.randn(WIDTH, SIZE))
        self.b_up = nn.Parameter(torch.zeros(WIDTH))
        self.act = act
        with torch.no_grad():
            change(self)

    def forward(self, u: Tensor) -> Tensor:
        return narrow(u, self.W_down, self.b_down, self.W_up, self.b_up, self.act)


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


def _says_one_thing(A: Version) -> None:
    A.b_up.fill_(0.002 / WIDTH**0.5)    # as long as 0.002: nothing beside u of length 1


def _not_filled(A: Version) -> None:
    A.W_up[0, 0] = torch.nan            # as `torch.empty` may leave it


def _all_off(A: Version) -> None:
    A.b_down.fill_(-50.0)


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "draws both matrices from N(0, 0.01²)": Version,
    "starts at exactly zero, by W_up": lambda: Version(WIDTH**-0.5, 0.0),
    "draws both from N(0, 0.001²)": lambda: Version(0.001, 0.001),
    "has a smooth activation": lambda: Version(act=nn.functional.gelu),
}
BROKEN: dict[str, Callable[[], nn.Module]] = {
    "starts thirty times as large": lambda: Version(0.3, 0.3),
    "starts with a b_up that is not zero": lambda: Version(change=_says_one_thing),
    "is loud for one feature alone": lambda: Version(change=_loud(0)),
    "is loud for one feature, where it is negative": lambda: Version(change=_loud(-1)),
    "is loud in one direction, made of all features": lambda: Version(change=_loud_along),
    "draws both matrices from N(0, 0.02²)": lambda: Version(0.02, 0.02),
    "is near for short u, and far for long ones": lambda: Version(
        0.01, 0.03, act=lambda h: torch.relu(h).square()),
    "draws from N(0, 0.01²), and says all of it five times as loud": lambda: Version(
        act=lambda h: 5 * torch.relu(h)),
    "has an entry that is nan": lambda: Version(change=_not_filled),
    "has zeros in both matrices": lambda: Version(0.0, 0.0),
    "has a threshold that no score passes": lambda: Version(0.01, 0.01, change=_all_off),
}


# ── adapters.near ────────────────────────────────────────────────────────────────────────────


def run_near(starts_near, case: dict) -> dict[str, Any]:
    return {"answers": outcomes(lambda make: starts_near(make, WIDTH, BOUND), RIGHT | BROKEN,
                                case["seed"])}


def judge_near(case: dict, seen) -> Verdict:
    if odd := strange(seen, "answers", answers=dict):
        return odd
    verdict = score(seen["answers"], RIGHT, BROKEN)
    if verdict.mistake == "accused" and false_positives(
            seen["answers"], RIGHT) == ["starts at exactly zero, by W_up"]:
        return rejected("silent_accused", verdict.message)
    if verdict.mistake == "let_through":
        first, *_ = survivors(seen["answers"], BROKEN)
        return rejected(SLIPS.get(first, "let_through"), verdict.message)
    return verdict


SLIPS = {"starts with a b_up that is not zero": "not_short",
         "is loud for one feature alone": "drawn_only",
         "is loud for one feature, where it is negative": "one_sign",
         "is loud in one direction, made of all features": "features_only",
         "draws both matrices from N(0, 0.02²)": "features_only",
         "is near for short u, and far for long ones": "not_long",
         "draws from N(0, 0.01²), and says all of it five times as loud": "weights_only",
         "has an entry that is nan": "not_a_number",
         "has zeros in both matrices": "silence", "has a threshold that no score passes": "silence"}
NEAR_MISTAKES = MISTAKES | {
    "silent_accused": "Where W_up is zero, A(u) is zero. Then a ratio of two zeros is no number; "
                      "a loss that is smallest at A(u) = 0, as a square, has no slope there; and "
                      "W_down gets its first gradient in the second step, W_up in the first.",
    "not_short": "The bound holds for every u: a constant is small beside a long u, and large "
                 "beside a short one.",
    "drawn_only": "A u that is drawn at random has a small part in every direction, and nearly "
                  "none in the one where A is loud. Which way is uphill from there?",
    "one_sign": "A negative score says nothing: what A does to u says little about −u.",
    "features_only": "384 features, one at a time, are 384 directions of very many. Which way is "
                     "uphill from where you are?",
    "not_long": "The bound holds for every u, the long ones among them.",
    "weights_only": "Its matrices are as small as those of a right one, and what comes out is not: "
                    "the law speaks of A(u).",
    "not_a_number": "Every comparison with nan is False: assert what must hold, rather than that "
                    "its opposite does not.",
    "silence": "It is near the base, and neither of its matrices ever moves: at most b_up learns. "
               "What of A would a backward pass have to reach?",
}

NEAR = Exercise(
    id="adapters.near", lesson="05", names=("starts_near",), points=2, minutes=9, difficulty=2,
    reference="peft_teach.course.lessons.adapters.start:starts_near",
    cases=lambda seed: [{"seed": seed}], run=run_near, judge=judge_near, mistakes=NEAR_MISTAKES,
    hints=("'Every u' cannot be tried. Which few are the hardest: in length, in direction, in "
           "sign?",
           "`uphill` above turns any u towards the direction in which A(u) is longest; of what "
           "length it gives u back, look yourself. And where A(u) is zero, a ratio is 0 / 0: "
           "compare two lengths instead.",
           "For the second half: p.dim() == 2 tells a matrix from a bias, and one of the two "
           "needs a gradient other than zero."),
    arguments=lambda pieces: (lambda: pieces["Bottleneck"](384, 64), 384, BOUND))
