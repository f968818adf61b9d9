"""Torch's modules that read a layer's weight instead of calling it: they would bypass its adapter.

`nn.TransformerEncoderLayer` and `nn.MultiheadAttention` compute with a weight themselves. So there
an adapter answers with an `Asked`: a weight whose dtype, shape and numbers can be read, and which
raises where torch computes with it and another tensor. Torch's fast paths avoid such a weight.
"""

import functools
from typing import Any

from torch import Tensor, nn

from .errors import NotSupported

# Torch's modules that read the weights of modules inside them.
READERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
ANSWERED = ("weight", "bias", "attention_type")    # what a wrapper lets its base answer for


class Asked(Tensor):
    """The weight of an adapted module: it can be asked about, and not be computed with.

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


def keep_in_path(model: nn.Module, adapted: bool = True) -> None:
    """Let no reader pass by the adapters on a model; if it is not `adapted`, undo that.

    An adapter inside one of `READERS` is told its name there. And while an adapter acts, torch's
    encoder makes no nested tensors, which only its fast path reads.
    """
    inside = {id(m) for reader in model.modules() if isinstance(reader, READERS)
              for m in reader.modules()}
    for name, module in model.named_modules():
        if isinstance(module, Wrapper):
            module.read_as = name if id(module) in inside else ""
        called = getattr(module.__dict__.get("forward"), "func", None) is _call_encoder
        if adapted and not called and isinstance(module, nn.TransformerEncoder):
            module.__dict__["forward"] = functools.partial(
                _call_encoder, module, module.use_nested_tensor)
        elif called and not adapted:
            module.use_nested_tensor = module.__dict__.pop("forward").args[1]


def _call_encoder(encoder: nn.TransformerEncoder, nests: bool, *args, **kwargs) -> Tensor:
    acts = any(getattr(module, "enabled", False) for module in encoder.modules())
    encoder.use_nested_tensor = nests and not acts
    return type(encoder).forward(encoder, *args, **kwargs)
