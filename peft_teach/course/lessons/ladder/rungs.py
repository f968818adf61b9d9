"""The rungs of the ladder: thirteen ways to adapt MiniLM, each put on by one function.

    model = put_on("lora 8", model, tokenizer)

All are trained by one protocol (`course.protocol`), so that they differ in nothing but the method.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .... import attach, bitfit, bottleneck, dora, full, ia3, lora, prefix, prompt, qlora
from ....adapter import Adapter
from ....shapes import expect

ALPHA = 16.0
MASKED = lora.count(384, 384, 8)    # entries a matrix: as many as LoRA of rank 8 trains there
ALL = ("linear",)                   # every linear layer of the blocks

class Masked(Adapter):
    """A random mask, trained: `count` entries of a frozen layer learn, and nobody chose which.

    y = x (W + M)ᵀ + b, M zero but at places that torch's generator draws once. Xu and Zhang 2024,
    arXiv 2405.02596: with so few entries a much larger learning rate is needed.
    """

    def __init__(self, base: nn.Linear, count: int):
        super().__init__(base)
        self.register_buffer("place", torch.randperm(base.weight.numel())[:count],   # (count,)
                             persistent=False)
        self.M = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        return nn.functional.linear(x, self.trained_weight(), self.base.bias)

    def trained_weight(self) -> Tensor:
        W = self.base.weight                                             # (n_out, n_in)
        change = self.M.new_zeros(W.numel()).scatter(0, self.place, self.M)    # (n_out · n_in,)
        return W + change.view_as(W)

    def merged(self) -> nn.Linear:
        linear = copy.deepcopy(self.base)
        linear.weight = nn.Parameter(self.trained_weight().detach(), requires_grad=False)
        return linear


RUNGS: dict[str, Callable] = {
    "full": lambda model, tokenizer: full.inject(model),
    "lora all": lambda model, tokenizer: lora.inject(model, lora.Config(8, ALPHA, targets=ALL)),
    "qlora all": lambda model, tokenizer: qlora.inject(model, qlora.Config(8, ALPHA)),
    "bottleneck": lambda model, tokenizer: bottleneck.inject(model, bottleneck.PFEIFFER),
    "lora 8": lambda model, tokenizer: lora.inject(model, lora.Config(8, ALPHA)),
    "dora 8": lambda model, tokenizer: dora.inject(model, dora.Config(8, ALPHA)),
    "lora 1": lambda model, tokenizer: lora.inject(model, lora.Config(1, ALPHA)),
    "mask": lambda model, tokenizer: attach(model, ("query", "value"),
                                            lambda base: Masked(base, MASKED)),
    "bitfit": lambda model, tokenizer: bitfit.inject(model),
    "ia3": lambda model, tokenizer: ia3.inject(model),
    "prefix": lambda model, tokenizer: prefix.inject(model, prefix.Config(length=20)),
    "prompt": lambda model, tokenizer: prompt.inject(
        model, prompt.Config(length=20, start="vocabulary"), tokenizer),
    "head": lambda model, tokenizer: full.inject(model, full.Config(train="head")),
}

# What is counted of each, and the names of the columns.
COSTS = {"trained": "trained parameters", "file_bytes": "file, kB",
         "memory_bytes": "memory while training, MB", "step": "time of a step, full = 1"}
LEFT = "of the base's neighbours"


def put_on(rung: str, model: nn.Module, tokenizer) -> nn.Module:
    """Put a rung's method on a fresh model; return the model to keep."""
    return RUNGS[rung](model, tokenizer)
