"""The rungs of the ladder: thirteen ways to adapt MiniLM, each put on by one function.

    model = put_on("lora 8", model, tokenizer)
    for step in train(model, batches, lr, head_lr): ...

Next to what a method trains, every one trains the task's head, which has a learning rate of its
own: the same for all of them, so that they differ in nothing but the method.
"""

from collections.abc import Callable, Iterator

from torch import nn

from .... import attach, bitfit, bottleneck, core, dora, full, ia3, lora, prefix, prompt, qlora
from .... import train as train_all
from ....training import Step
from .masked import Masked

ALPHA = 16.0
MASKED = lora.count(384, 384, 8)    # entries a matrix: as many as LoRA of rank 8 trains there
ALL = ("linear",)                   # every linear layer of the blocks

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

NAMES = {"full": "full fine-tuning", "lora all": "LoRA everywhere", "qlora all": "QLoRA everywhere",
         "bottleneck": "bottleneck", "lora 8": "LoRA 8", "dora 8": "DoRA 8", "lora 1": "LoRA 1",
         "mask": "a random mask", "bitfit": "BitFit", "ia3": "IA³", "prefix": "prefix",
         "prompt": "prompt", "head": "the head alone"}    # as a reader knows them

# What is counted of each, and the names of the columns.
COSTS = {"trained": "trained parameters", "file_bytes": "file, kB",
         "memory_bytes": "memory while training, MB", "step": "time of a step, full = 1"}
LEFT = "of the base's neighbours"


def put_on(rung: str, model: nn.Module, tokenizer) -> nn.Module:
    """Put a rung's method on a fresh model; return the model to keep."""
    return RUNGS[rung](model, tokenizer)


def train(model: nn.Module, batches: list[dict], lr: float, head_lr: float) -> Iterator[Step]:
    """Train the method at `lr` and the head at `head_lr`; yield a `Step` after each one."""
    head = [*core.head_parameters(model).values()]
    rest = [*core.adapter_parameters(model).values()]
    groups = [{"params": rest, "lr": lr}] * bool(rest) + [{"params": head, "lr": head_lr}]
    return train_all(model, batches, groups=groups)
