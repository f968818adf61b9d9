"""LoRA+: let B learn faster than A.

    A ← A − η g_A        B ← B − λ η g_B          g: what the optimizer makes of the gradient

    symbol  shape    what it is
    η       number   the learning rate, of A and of all else that trains, the head for one
    λ       number   16, the paper's rule of thumb; c, where B has a bias, keeps pace with B

Cost: nothing. Only the optimizer knows of it, and a file holds the ordinary A and B.

Source: Hayou et al. 2024, arXiv 2402.12354, §4.
"""

from torch import nn

from ..adapter import adapters
from ..errors import NoAdapter


def plus_groups(model: nn.Module, lr: float, ratio: float = 16.0) -> list[dict]:
    """Return the optimizer's groups in which B, and c with it, learn `ratio` times as fast.

    Raises `NoAdapter` for a model in which no adapter has an A and a B.
    """
    owns = [adapter.own_parameters() for adapter in adapters(model).values()]
    B = [own[name] for own in owns if {"A", "B"} <= own.keys() for name in ("B", "c")
         if name in own]
    if not B:
        raise NoAdapter("LoRA+ sets the learning rates of A and B, and this model has neither.",
                        hint="model = pt.lora.inject(model, pt.lora.Config())")
    fast = {id(p) for p in B}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in fast]
    return [{"params": rest, "lr": lr}, {"params": B, "lr": lr * ratio}]
