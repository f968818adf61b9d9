"""Running statistics: in training mode BatchNorm updates its running mean and variance.

It does so without a gradient, so a frozen one is kept in eval mode, and with it any module whose
own buffers are numbers: nobody can tell statistics of another name from a constant.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from .adapter import Adapter


def owners(model: nn.Module, parameters: Iterable[nn.Parameter]) -> dict[str, nn.Module]:
    """Return the modules whose buffers go with these parameters, by name.

    They hold one of the parameters, or are inside a module that holds no others, and not in an
    adapter's base: a BatchNorm without parameters in a head, say.
    """
    own = {id(p) for p in parameters}
    found = {}
    for name, module in model.named_modules():
        flags = [id(p) in own for p in module.parameters()]
        if flags and all(flags):
            bases = {m for adapter in module.modules() if isinstance(adapter, Adapter)
                     for m in adapter.base.modules()}
            found |= {n: m for n, m in module.named_modules(prefix=name) if m not in bases}
        elif any(id(p) in own for p in module.parameters(recurse=False)):
            found[name] = module
    return found


def buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's own buffers that a state dict keeps, by name."""
    return {name: b for name, b in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set}


def frozen_with_stats(model: nn.Module) -> set[nn.Module]:
    """Return the frozen modules with running statistics, or with buffers that may be some.

    In a frozen module no parameter trains, nor one to which its buffers belong.
    """
    train = [p for p in model.parameters() if p.requires_grad]
    training = {*owners(model, train).values()}
    return {module for module in model.modules()
            if any(b.is_floating_point() for b in buffers(module).values())
            and module not in training and not any(p.requires_grad for p in module.parameters())}


def train_children(module: nn.Module, mode: bool = True) -> nn.Module:
    """Override `train` of a module that is kept in eval mode: a dropout in it acts all the same."""
    for child in module.children():
        child.train(mode)
    return module
