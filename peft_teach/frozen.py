"""What torch does behind a frozen module's back, and what keeps an adapter's promises all the same.

A module can be used without being called: torch's `nn.TransformerEncoderLayer` and
`nn.MultiheadAttention` read a layer's weight, and compute with it themselves. The adapter around
that layer would be passed by. So it answers with an `Asked`: a weight that says its dtype, shape
and numbers, and that nobody computes with. Of such a weight torch's fast paths keep off.

And a module can learn without a gradient: BatchNorm counts means and variances while it is in
training mode. A frozen one stays in evaluation mode, so that the base is what it was.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .errors import NotSupported

# Questions that are asked with a second tensor: of the weight they use no number, or tell them.
QUESTIONS = (Tensor.to, Tensor.type_as, torch.equal, torch.allclose)


class Asked(Tensor):
    """The weight of a module that an adapter stands for: to be asked, not to be computed with.

    What is made of it alone, such as its transpose, is one, too. With any other tensor it raises
    `NotSupported`, in which `of` names the adapter.
    """

    of: str = "an adapter"

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        given = [*_tensors((args, kwargs or {}))]
        ours = [x for x in given if isinstance(x, cls)]
        if len(ours) < len(given) and func not in QUESTIONS:
            raise NotSupported(f"{getattr(func, '__name__', func)} computes with the weight that "
                               f"{ours[0].of} wraps, and so passes the adapter by.",
                               expected="a module that the model calls",
                               hint="wrap the module around it; or, for the base itself, "
                                    "pt.disabled(model)")
        if given and not isinstance(given[0], cls):    # x.to(weight) is an x
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs or {})
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, cls):
            result.of = ours[0].of
        return result


def _tensors(x) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple | list | dict):
        for part in x.values() if isinstance(x, dict) else x:
            yield from _tensors(part)


def asked(value: Any, of: str) -> Any:
    """Return an `Asked` for a tensor of torch's own kinds; anything else as it is."""
    if type(value) not in (Tensor, nn.Parameter):
        return value
    value = value.as_subclass(Asked)
    value.of = of
    return value


# ── modules that learn without a gradient ────────────────────────────────────────────────────


def owners(model: nn.Module, parameters: Iterable[nn.Parameter]) -> dict[str, nn.Module]:
    """Return by name the modules whose buffers go with these parameters.

    They hold one of them, or stand in a module all of whose parameters are among them, as a
    BatchNorm without parameters may stand in a head.
    """
    own = {id(p) for p in parameters}
    found = {}
    for name, module in model.named_modules():
        flags = [id(p) in own for p in module.parameters()]
        if flags and all(flags):
            found |= dict(module.named_modules(prefix=name))
        elif any(id(p) in own for p in module.parameters(recurse=False)):
            found[name] = module
    return found


def buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's own buffers that a state dict keeps, by name."""
    return {name: b for name, b in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set}


def hold_still(model: nn.Module) -> None:
    """Let frozen modules with means, variances or the like stay in evaluation mode.

    A frozen module is one in which nothing trains: no parameter, nor that to which its buffers
    belong. `model.train()` goes on to its children, so that the dropout in one still acts.
    """
    let_go(model)
    train = [p for p in model.parameters() if p.requires_grad]
    moving = {id(module) for module in owners(model, train).values()}
    for module in model.modules():
        if (id(module) not in moving and not any(p.requires_grad for p in module.parameters())
                and any(b.is_floating_point() for b in buffers(module).values())):
            module.__dict__["train"] = functools.partial(_train_children, module)
            module.training = False


def let_go(model: nn.Module) -> None:
    """Undo `hold_still`."""
    for module in model.modules():
        held = module.__dict__.get("train")
        if isinstance(held, functools.partial) and held.func is _train_children:
            del module.__dict__["train"]
            module.training = model.training


def _train_children(module: nn.Module, mode: bool = True) -> nn.Module:
    for child in module.children():
        child.train(mode)
    return module
