"""What torch does behind a frozen module's back, and what keeps an adapter's promises all the same.

A module can be used without being called: torch's `nn.TransformerEncoderLayer` and
`nn.MultiheadAttention` read a layer's weight, and compute with it themselves. The adapter around
that layer would be bypassed. So there it answers with an `Asked`: a weight that tells its dtype,
shape and numbers, and raises where torch gets it beside another tensor. Torch's fast paths keep off
such a weight.

And a module can learn without a gradient: BatchNorm counts means and variances while it is in
training mode. A frozen one stays in evaluation mode, so that the base is what it was.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from .errors import NotSupported

# Torch's modules that read the weights of modules inside them.
READERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
ANSWERED = ("weight", "bias", "attention_type")    # what a wrapper lets its base answer for


class Asked(Tensor):
    """The weight of a module that an adapter stands for: to be asked, not to be computed with.

    Passed beside another tensor it raises `NotSupported`, which names the module, `of`.
    """

    of = ""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        given = [x for x in (*args, *(kwargs or {}).values()) if isinstance(x, Tensor)]
        if any(not isinstance(x, cls) for x in given):
            name = next((x.of for x in given if isinstance(x, cls)), "")
            raise NotSupported(f"{func.__name__} computes with the weight of {name}, and would "
                               "pass its adapter by.", expected="a module that the model calls",
                               hint="adapt the module around it, or pt.disabled(model)")
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapper(nn.Module):
    """A module around another, its `base`, for which it answers where a model asks for a weight.

    A model may look at one from outside: T5 asks for `wo.weight.dtype`, and ModernBERT asks a block
    for its `attention_type`. Torch's `READERS`, which compute with what they read, and so would
    bypass it, may read everything, but get an `Asked` for a weight while it is `enabled`.
    """

    read_as = ""    # its name in the model, inside one of `READERS`

    def __getattr__(self, name: str) -> Any:
        """Fall back on the base for a name such as `weight` that a subclass does not define."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in ANSWERED and not self.read_as:
                raise
        found = getattr(self.base, name)
        if self.read_as and self.enabled and isinstance(found, Tensor):
            found = found.as_subclass(Asked)
            found.of = self.read_as
        return found

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter of its own, even under a name that the base has, too."""
        if name in ANSWERED:
            self._parameters.setdefault(name, None)    # torch would take the base's for it
        super().register_parameter(name, param)


# ── modules that learn without a gradient ────────────────────────────────────────────────────


def owners(model: nn.Module, parameters: Iterable[nn.Parameter]) -> dict[str, nn.Module]:
    """Return the modules whose buffers go with these parameters, by name.

    They hold one of the parameters, or are inside a module that holds no others: a BatchNorm
    without parameters in a head, say.
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


def hold_still(model: nn.Module, adapted: bool = True) -> None:
    """Keep frozen modules that have means, variances or the like in evaluation mode.

    In a frozen module no parameter trains, nor one to which its buffers belong. `model.train()`
    still reaches its children, so that a dropout in it acts. And while an adapter acts, torch's
    encoder makes no nested tensors, which only its fast path reads. If the model is not `adapted`,
    or a module no longer frozen, it is let go.
    """
    train = [p for p in model.parameters() if p.requires_grad]
    moving = {id(module) for module in owners(model, train).values()}
    for module in model.modules():
        still = (adapted and any(b.is_floating_point() for b in buffers(module).values())
                 and id(module) not in moving
                 and not any(p.requires_grad for p in module.parameters()))
        held = _is_ours(module, "train", _train_children)
        if still and not held:
            module.__dict__["train"] = functools.partial(_train_children, module)
        if still:
            module.training = False
        elif held:
            del module.__dict__["train"]
            module.training = model.training
        called = _is_ours(module, "forward", _call_encoder)
        if adapted and not called and isinstance(module, nn.TransformerEncoder):
            module.__dict__["forward"] = functools.partial(
                _call_encoder, module, module.use_nested_tensor)
        elif called and not adapted:
            module.use_nested_tensor = module.__dict__.pop("forward").args[1]


def _is_ours(module: nn.Module, name: str, function: Callable) -> bool:
    return getattr(module.__dict__.get(name), "func", None) is function


def _train_children(module: nn.Module, mode: bool = True) -> nn.Module:
    for child in module.children():
        child.train(mode)
    return module


def _call_encoder(encoder: nn.TransformerEncoder, nests: bool, *args, **kwargs) -> Tensor:
    acts = any(getattr(module, "enabled", False) for module in encoder.modules())
    encoder.use_nested_tensor = nests and not acts
    return type(encoder).forward(encoder, *args, **kwargs)
