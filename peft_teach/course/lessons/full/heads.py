"""Heads on cached features: what a frozen backbone makes of a sentence is computed once.

    heads = Heads(my_training, accuracy, read, {"train": batches, "test": …, "validation": …})
    head = heads.train("pooler", lr=0.1)
    heads.accuracy(head, "pooler")                      on the test sentences
    heads.run({"reads": "mean", "features": "standardized", "steps": 2500})

`read(batch)` gives features by place, (batch, d_model) each; training and accuracy are the
reader's.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from .... import models
from ....progress_bar import bar
from ...checks.stand_ins import Output

RATES = (0.003, 0.01, 0.03, 0.1)    # of `run`: validation chooses


class Head(nn.Module):
    """Two logits from cached features; to a training, it is a model as any other."""

    def __init__(self, d_model: int = 384):
        super().__init__()
        self.classifier = nn.Linear(d_model, 2)
        nn.init.normal_(self.classifier.weight, std=0.02)         # as a new head of MiniLM
        nn.init.zeros_(self.classifier.bias)
        self.device = models.best_device()                        # models know where they are
        self.to(self.device)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Output:
        logits = self.classifier(features)                        # (batch, 2)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return Output(loss=loss, logits=logits)


class Heads:
    """Cached features by part and place, and heads that are trained on them."""

    def __init__(self, training: Callable, accuracy: Callable, read: Callable,
                 parts: Mapping[str, Sequence[Mapping[str, Tensor]]]):
        self.training, self.measure = training, accuracy
        self.cached: dict[str, dict[str, list[dict[str, Tensor]]]] = {}
        for part, batches in parts.items():
            found = [(read(batch), batch["labels"]) for batch in bar(batches, "batches")]
            self.cached[part] = {name: [{"features": each[name], "labels": labels}
                                        for each, labels in found] for name in found[0][0]}

    def train(self, name: str, lr: float, seed: int = 0, times: int = 1, scaled: bool = False
              ) -> Head:
        """Return a new head, trained `times` over the training sentences."""
        batches = self._batches("train", name, scaled) * times
        torch.manual_seed(seed)
        head = Head()
        for _ in self.training(head, batches, lr, total=len(batches)):
            pass
        return head

    def accuracy(self, head: Head, name: str, part: str = "test", scaled: bool = False) -> float:
        """Return a head's accuracy on a part, by the reader's own function."""
        return self.measure(head, self._batches(part, name, scaled))

    def run(self, setting: Mapping) -> float:
        """Train as a setting of the exercise says, at the rate best on validation; test it."""
        name, scaled = setting["reads"], setting["features"] == "standardized"
        found = [self.train(name, lr, 0, setting["steps"] // 250, scaled)
                 for lr in bar(RATES, "rates")]
        head = max(found, key=lambda head: self.accuracy(head, name, "validation", scaled))
        return self.accuracy(head, name, scaled=scaled)

    def spread(self, name: str) -> float:
        """Return the mean standard deviation of a feature over the training sentences."""
        return float(self._train(name).std(0).mean())

    def _train(self, name: str) -> Tensor:
        return torch.cat([batch["features"] for batch in self.cached["train"][name]])

    def _batches(self, part: str, name: str, scaled: bool) -> list[dict[str, Tensor]]:
        if not scaled:
            return self.cached[part][name]
        x = self._train(name)
        mean, std = x.mean(0), x.std(0)
        return [batch | {"features": (batch["features"] - mean) / std}
                for batch in self.cached[part][name]]
