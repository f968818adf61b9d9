"""What lesson 07 computes on the spot: gradients of four starts, answers that training changed."""

from dataclasses import dataclass

import torch
from torch import nn

from .... import data
from ... import records

RANK, SCALE = 8, 2.0


@dataclass(frozen=True)
class Start:
    """One of the four starts of A and B, and what a first backward pass finds there."""

    name: str
    moved: float        # the root mean square of what is added to an output
    grad_A: float       # norms
    grad_B: float

    @property
    def zero(self) -> str:
        """Which of the gradients are exactly zero: "A", "B", "AB" or ""."""
        return "A" * (self.grad_A == 0) + "B" * (self.grad_B == 0)


def first_gradients(base: nn.Linear) -> list[Start]:
    """Try four starts of a LoRA on a layer, with random inputs and a random target.

    In this order: both zero, only B, only A, none.
    """
    W, b = base.weight.detach().float().cpu(), base.bias.detach().float().cpu()
    n_out, n_in = W.shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, n_in, generator=generator)
    target = torch.randn(64, n_out, generator=generator)
    found = []
    for name, A_size, B_size in (("both zero", 0, 0), ("B zero", 1, 0), ("A zero", 0, 1),
                                 ("both random", 1, 1)):
        A = A_size * torch.randn(RANK, n_in, generator=generator) / n_in**0.5
        B = B_size * torch.randn(n_out, RANK, generator=generator) / RANK**0.5
        added = SCALE * (x @ A.requires_grad_().T) @ B.requires_grad_().T
        (x @ W.T + b + added - target).square().mean().backward()
        found.append(Start(name, added.square().mean().sqrt().item(), A.grad.norm().item(),
                           B.grad.norm().item()))
    return found


@torch.no_grad()
def changed_answers(model: nn.Module, domain: data.Dataset, tokenizer,
                    examples: int = 512) -> list[tuple[str, int, int, int]]:
    """Return which of the first test sentences a classifier answers otherwise than the head alone.

    Each as (text, label, answer of the model, answer of the head). The head alone is the recorded
    one, trained to its end, at which the share of the gain begins.
    """
    row, = records.select(records.load("full"), group="answers")
    device, mine = next(model.parameters()).device, []
    for batch in data.batches(domain.test[:examples], tokenizer, 64, shuffle=False):
        inputs = {name: t.to(device) for name, t in batch.items() if name != "labels"}
        mine += model(**inputs).logits.argmax(1).tolist()
    return [(text, label, own, head) for (text, label), own, head
            in zip(domain.test, mine, map(int, row["answers"])) if own != head]
