"""A message to each layer: how much of it arrives, by a prefix and by a prompt.

The task: whatever the sentence, [CLS] is to leave each layer of MiniLM as it does without anything
in front, plus a vector of that layer, the message. It is half as long as [CLS] is there.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .... import data

TOKENS, BATCH, STEPS, WARM = 8, 4, 100, 10
LOUD = 0.5    # of a message, beside the vector that it is added to


def cls_by_layer(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Return what [CLS] is after each layer, (layers, batch, d)."""
    out = model(batch["input_ids"], attention_mask=batch["attention_mask"],
                output_hidden_states=True)
    return torch.stack(out.hidden_states[1:])[:, :, 0]


class Messages:
    """One message to each layer, drawn by a seed; `batches` to learn on, `tests` to be tested on.

    `plain` is an encoder with nothing in front, frozen. With `first`, no layer below gets one, and
    there [CLS] may be anything.
    """

    def __init__(self, plain: nn.Module, tokenizer, sentences: Sequence, tests: Sequence,
                 seed: int = 0, first: int = 0):
        self.plain, self.first = plain, first
        self.batches, self.tests = (data.batches(each, tokenizer, BATCH, TOKENS, shuffle=False,
                                                 device=plain.device)
                                    for each in (sentences, tests))
        before = torch.cat([self.before(batch) for batch in self.tests], 1)
        m = torch.randn(len(before), 1, before.shape[-1],
                        generator=torch.Generator().manual_seed(seed)).to(before)
        self.size = LOUD * before.norm(dim=-1).mean(1)[:, None, None]      # of each layer
        self.m = self.size * m / m.norm(dim=-1, keepdim=True)              # (layers, 1, d)

    @torch.no_grad()
    def before(self, batch: dict[str, Tensor]) -> Tensor:
        """Return what [CLS] is without anything in front, (layers, batch, d)."""
        return cls_by_layer(self.plain, batch)[self.first:]

    def missed(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return the share of each message that does not arrive, (layers, batch)."""
        gap = cls_by_layer(model, batch)[self.first:] - self.before(batch) - self.m
        return (gap / self.size).square().sum(-1)

    def train(self, model: nn.Module, lr: float) -> Iterator[float]:
        """Train what trains of a model, a step a batch; yield the loss of each."""
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr,
                                      weight_decay=0.0)
        for step, batch in enumerate(self.batches):
            left = 1 - step / len(self.batches)
            optimizer.param_groups[0]["lr"] = lr * min((step + 1) / WARM, left)
            loss = self.missed(model, batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()

    @torch.no_grad()
    def arrived(self, model: nn.Module) -> list[float]:
        """Return the share of each layer's message that arrives on the tests: 1 for all of it."""
        missed = torch.cat([self.missed(model, batch) for batch in self.tests], 1)
        return (1 - missed.mean(1)).tolist()
