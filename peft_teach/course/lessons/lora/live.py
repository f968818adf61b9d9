"""What lesson 07 computes on the spot: gradients of four starts, answers that training changed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .... import core, data

RANK, SCALE = 8, 2.0


@dataclass(frozen=True)
class Start:
    """One of the four starts of A and B, and what a first backward pass finds there."""

    name: str
    moved: float        # the norm of what is added to the outputs of 64 inputs
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
        found.append(Start(name, added.norm().item(), A.grad.norm().item(), B.grad.norm().item()))
    return found


def changed_answers(model: nn.Module, domain: data.Dataset, tokenizer, train_examples: int = 1000,
                    test_examples: int = 400) -> list[tuple[str, int, int, int]]:
    """Return the test sentences that an adapted classifier answers otherwise than its base does.

    Each as (text, label, answer of the model, answer of the base). The base, the adapters switched
    off, gets a head of its own, which is trained to its end on the features of `train_examples`.
    """
    train, test = domain.train[:train_examples], domain.test[:test_examples]
    with core.disabled(model):
        head = _converged_head(*_features(model, train, tokenizer))
        features, _ = _features(model, test, tokenizer)
    frozen = head(features).argmax(1)
    mine = _features(model, test, tokenizer, of=lambda batch: model(**batch).logits)[0].argmax(1)
    return [(text, label, int(a), int(b)) for (text, label), a, b in zip(test, mine, frozen)
            if a != b]


@torch.no_grad()
def _features(model: nn.Module, examples, tokenizer, of=None) -> tuple[Tensor, Tensor]:
    """Return what the backbone pools of each example, (examples, d), and the labels, in order."""
    of = of or (lambda batch: model.bert(**batch)[1])
    device, rows = next(model.parameters()).device, []
    batches = data.batches(examples, tokenizer, 64, shuffle=False)
    for batch in batches:
        rows.append(of({k: t.to(device) for k, t in batch.items() if k != "labels"}).cpu())
    return torch.cat(rows), torch.cat([batch["labels"] for batch in batches])


def _converged_head(features: Tensor, labels: Tensor) -> nn.Linear:
    """Train a linear head on features until its loss falls no further."""
    head = nn.Linear(features.shape[1], 2)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(features), labels)
        loss = loss + 1e-3 * head.weight.square().sum()    # some: the examples are few
        loss.backward()
        return loss

    optimizer.step(closure)
    return head.requires_grad_(False)
