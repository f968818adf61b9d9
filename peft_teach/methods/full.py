"""Full fine-tuning: train every weight. The reference that all other methods are measured by.

    m ← β₁ m + (1 − β₁) g        m̂ = m / (1 − β₁ᵗ)
    v ← β₂ v + (1 − β₂) g²       v̂ = v / (1 − β₂ᵗ)        θ ← θ − η m̂ / (√v̂ + ε)

    symbol  bytes  trained  what it is, one number for each weight
    θ       4      yes      the weight: every one with train="all", the head's with train="head"
    g       4      –        its gradient ∂L/∂θ in step t = 1, 2, …
    m, v    8      –        running means of g and of g²; they start as zero
    η       –      no       the learning rate; β₁ = 0.9, β₂ = 0.999 and ε = 1e-8 are as in torch

Cost, in float32 with AdamW: these 16 bytes a parameter, and one whole model a task on disk.

This is no adapter: nothing is wrapped, so nothing can be disabled, merged or removed. The head
alone (a linear probe) is the other end: the pretrained features as they are. In both cases
`save_pretrained`, and so each checkpoint of transformers' Trainer, writes the whole model, and
`pt.save` writes what trains.

Source: Kingma & Ba 2015, arXiv 1412.6980, algorithm 1. It is AdamW (Loshchilov & Hutter 2019, arXiv
1711.05101) without weight decay, which `pt.train` leaves out unless it is asked for.
"""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from .. import models
from ..errors import BadConfig, NotSupported
from ..guards import guard
from ..notes import prepare, put_on
from ..settings import Settings

LEARNING_RATE = 1e-4         # learns on both models: assets/records/rates.json
HEAD_LEARNING_RATE = 1e-1    # of the head alone, MiniLM's [CLS]: assets/records/lora.json


def step(theta: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, lr: float
         ) -> tuple[Tensor, Tensor, Tensor]:
    """Return θ, m and v after step t, all of θ's shape: what `pt.train` lets torch's AdamW do."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    m = beta1 * m + (1 - beta1) * g                                   # (…)
    v = beta2 * v + (1 - beta2) * g**2                                # (…)
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)             # (…)
    return theta - lr * m_hat / (v_hat.sqrt() + eps), m, v            # (…)


@dataclass(frozen=True)
class Config(Settings):
    """`train` is "all" for every weight, or "head" for the task head alone and `also_train`."""

    train: Literal["all", "head"] = "all"

    def learning_rate(self, model: nn.Module) -> float:
        return HEAD_LEARNING_RATE if self.train == "head" else LEARNING_RATE


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Mark what trains, and nothing else: the structure stays. Returns the model to keep.

    Layers that an earlier method converted are turned back, so that a file holds them as they are.
    """
    note, config = prepare(model, config, Config)
    head = set(models.head(model))
    if config.train == "head" and not head:
        raise BadConfig("This model has no task head to train.",
                        hint="pt.models.load(name, labels=2) gives it one")
    if config.train == "all" and models.quantized(model):
        raise NotSupported("This base is in 4 bits, and bytes cannot be trained.",
                           hint="load a fresh model; or pt.models.to_hf(model) makes plain layers "
                                "of the rounded weights")
    also = models.find(model, config.also_train) if config.also_train else ()
    if not models.quantized(model):
        model = models.to_hf(model)
    chosen = tuple(f"{module}." for module in also)
    weights = frozenset(name for name, _ in model.named_parameters() if name not in head
                        and (config.train == "all" or name.startswith(chosen)))
    for name, p in model.named_parameters():
        p.requires_grad_(name in weights or name in head)
    guard(model)
    put_on(model, replace(note, wraps=False, weights=weights))
    return model
