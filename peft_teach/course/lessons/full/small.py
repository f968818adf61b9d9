"""A very small classifier, called like the real one, for the checks of lesson 01."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ...check.standin import Output

LONGEST = 16    # tokens of a sentence


class Backbone(nn.Module):
    """Words and positions, averaged over the real tokens, and a pooler: what lies under a head."""

    def __init__(self, words: int, width: int):
        super().__init__()
        self.embeddings = nn.Embedding(words, width)
        self.positions = nn.Embedding(LONGEST, width)
        self.pooler = nn.Linear(width, width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1).to(self.embeddings.weight.dtype)
        x = self.embeddings(input_ids) + self.positions.weight[:input_ids.shape[1]]
        mean = (x * mask).sum(1) / mask.sum(1)                              # (batch, width)
        return self.pooler(mean).tanh()


class Classifier(nn.Module):
    """Model with a head, which writes down in `events` how it is used."""

    def __init__(self, words: int = 12, width: int = 6, seed: int = 0, head_bias: bool = True):
        super().__init__()
        self.bert = Backbone(words, width)
        self.classifier = nn.Linear(width, 2, bias=head_bias)
        self.events: list[str] = []
        self.modes_seen: list[set[bool]] = []     # of all its parts, at each call
        self.grad_seen: list[bool] = []
        self.on_backward = lambda: None           # called when a backward pass begins
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
            self.bert.positions.weight.mul_(0.1)      # or all sentences would look alike
        self.eval()                                   # as models.load gives it

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                labels: Tensor | None = None, features: Tensor | None = None):
        """Answer sentences, or features (batch, width) of them that were computed before."""
        self.events.append("forward")
        self.modes_seen.append({part.training for part in self.modules()})
        self.grad_seen.append(torch.is_grad_enabled())
        if features is None:
            features = self.bert(input_ids, attention_mask)                 # (batch, width)
        logits = self.classifier(features)                                  # (batch, 2)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        if logits.requires_grad:      # not on the loss: a learner may compute it from the logits
            logits.register_hook(self._heard)
        return Output(loss=loss, logits=logits)

    def _heard(self, gradient: Tensor) -> None:
        self.events.append("backward")
        self.on_backward()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and write it down."""
        self.events.append("zero")
        super().zero_grad(set_to_none)

    @property
    def base_model(self) -> Backbone:
        """The backbone, under the name that every model of transformers has for it."""
        return self.bert

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.classifier.weight.device

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Count its numbers, or those that train."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)


class Batch(dict):
    """A batch that says what is due, if it is asked for what it does not hold."""

    def __missing__(self, key: str):
        raise KeyError(f"{key}: this model takes {' and '.join(self)}; hand over all of the batch, "
                       "as model(**batch), and ask it for nothing but the labels")


def weights_of(model: nn.Module) -> Tensor:
    """Return all weights in one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def batches_of(seed: int, sizes: Iterable[int], words: int = 12) -> list[dict[str, Tensor]]:
    """Return batches of these sizes, of random words with some padding, and random labels."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for size in sizes:
        ids = torch.randint(1, words, (size, 5), generator=generator)
        mask = torch.ones_like(ids)
        mask[::2, 4] = 0
        made.append({"input_ids": ids, "attention_mask": mask,
                     "labels": torch.randint(2, (size,), generator=generator)})
    return made


def cached(model: Classifier, batches: Iterable[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Return batches of what the head reads, in the place of words and mask."""
    with torch.no_grad():
        return [{"features": model.bert(batch["input_ids"], batch["attention_mask"]),
                 "labels": batch["labels"]} for batch in batches]
