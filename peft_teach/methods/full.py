"""Full fine-tuning: train every weight. The reference that all other methods are measured by.

    θ ← θ − η · AdamW(∂L/∂θ)        for all θ            (train="all")
                                    for the head alone   (train="head")

Cost, in float32 with AdamW: 4 bytes a parameter for the weight, 4 for its gradient, 8 for the
optimizer's two moments; and one whole model a task on disk.

This is no adapter: nothing is wrapped, so nothing can be disabled, merged or removed. The head
alone (a linear probe) is the other end: the pretrained features as they are. Of either,
`save_pretrained`, and with it each checkpoint of transformers' Trainer, writes the whole model;
`pt.save` writes what trains.
"""

from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from .. import models, state
from ..core import begin, describe, guard
from ..errors import BadConfig, NotSupported
from ..valid import Settings, one_of

LEARNING_RATE = 1e-4         # learns on both models: assets/records/rates.json
HEAD_LEARNING_RATE = 1e-1    # of the head alone, MiniLM's [CLS]: assets/records/lora.json


@dataclass(frozen=True)
class Config(Settings):
    """`train` is "all" for every weight, or "head" for the task head alone and `also_train`."""

    train: Literal["all", "head"] = "all"

    def __post_init__(self):
        super().__post_init__()
        one_of("train", self.train, ("all", "head"))


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Mark what trains, and nothing else: the structure stays. Returns the model to keep.

    Layers that an earlier method converted are turned back, so that a file holds them as they are.
    """
    config = begin(model, config, Config)
    begun = describe(model)
    head = set(models.head(model))
    if config.train == "head" and not head:
        raise BadConfig("This model has no task head to train.",
                        hint="pt.models.load(name, labels=2) gives it one")
    if config.train == "all" and models.quantized(model):
        raise NotSupported("This base is in 4 bits, and bytes cannot be trained.",
                           hint="load a fresh model; or pt.models.to_hf(model) makes plain layers "
                                "of the rounded weights")
    if not models.quantized(model):
        model = models.to_hf(model)
    backbone = frozenset(name for name, _ in model.named_parameters() if name not in head)
    chosen = models.find(model, config.also_train) if config.also_train else ()
    weights = frozenset(name for name in backbone if config.train == "all"
                        or any(name.startswith(f"{module}.") for module in chosen))
    for name, p in model.named_parameters():
        p.requires_grad_(name in weights or name in head)
    state.change(model, before=None, note=replace(begun, wraps=False, weights=weights,
                                                  method="full", config=config))
    guard(model)
    return model
