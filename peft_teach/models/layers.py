"""What a linear layer is, in each form in which a model may hold it.

    nn.Linear             weight (n_out, n_in), which all methods compute with
    Conv1D                GPT-2's, weight (n_in, n_out): made an equal `nn.Linear` for a method
    nf4.Linear4bit        this library's, in 4 bits: called like an `nn.Linear`
    bitsandbytes' and     "packed": they can be called, but their weight is bytes, and no matrix
    other libraries'
"""

from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
from torch import nn

from .. import nf4
from ..errors import NotMergeable, NotSupported
from .replacing import CONVERTED, copy_of

if TYPE_CHECKING:
    from transformers.pytorch_utils import Conv1D

_Layer = TypeVar("_Layer", bound=nn.Module)


def is_conv1d(module: nn.Module) -> TypeGuard["Conv1D"]:
    """Return whether this is GPT-2's linear layer, which stores its weight as (n_in, n_out)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def is_packed(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Return whether another library, such as bitsandbytes, holds this layer's weight as bytes.

    Such a layer can be called, but its weight is no (n_out, n_in) matrix to compute with; GPTQ's
    has none of that name.
    """
    if isinstance(module, nf4.Linear4bit) or not hasattr(module, "in_features"):
        return False
    weight = getattr(module, "weight", None)
    return weight is None or not weight.is_floating_point()


def quantized(model: nn.Module) -> dict[str, nf4.Linear4bit]:
    """Return the layers that are held in 4 bits, by the names that they have now."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nf4.Linear4bit)}


def converted(model: nn.Module) -> dict[str, Any]:
    """Return the layers that were GPT-2's `Conv1D`s, by the names that they have now."""
    return {n: m for n, m in model.named_modules() if CONVERTED in vars(m)}


def need_linear(module: nn.Module, plain: bool = False) -> None:
    """Raise `NotSupported` unless this is a linear layer: in 4 bits or a class of one's own, too.

    `plain` asks for an `nn.Linear` that holds a matrix.
    """
    fits = (isinstance(module, nn.Linear) and not is_packed(module) if plain
            else hasattr(module, "in_features"))
    if not fits:
        kind, form = ("plain linear", "not quantized") if plain else ("linear", "or its 4-bit form")
        raise NotSupported(f"This {type(module).__name__} is no {kind} layer.",
                           expected=f"an nn.Linear, {form}",
                           hint="choose targets such as 'value', 'ffn_out'")


def weight_of(layer: Any) -> torch.Tensor:
    """Return a linear layer's weight, (n_out, n_in); `NotMergeable` where that is bytes."""
    if is_packed(layer):
        raise NotMergeable(f"This {type(layer).__name__} holds its weight in bytes, of another "
                           "library's form.",
                           expected="a plain nn.Linear, or a layer that pt.qlora put into 4 bits",
                           hint="keep the adapter on the model")
    return layer.weight


def linear_like(layer: Any, weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    """Return a plain `nn.Linear` with this weight, (n_out, n_in), in place of a linear layer.

    Without a bias, (n_out,), it has a copy of the layer's, if there is one.
    """
    _need_plain_forward(layer)
    bias = layer.bias if bias is None else bias
    n_out, n_in = weight.shape
    new = nn.Linear(n_in, n_out, bias is not None, device="meta").train(layer.training)
    new.weight = nn.Parameter(weight.detach())
    if bias is not None:
        new.bias = nn.Parameter(bias.detach().clone())
    return new


def with_bias(layer: _Layer, bias: torch.Tensor) -> _Layer:
    """Return a copy of a layer with this bias; a weight in 4 bits stays there."""
    _need_plain_forward(layer)
    new = copy_of(layer)
    new.bias = nn.Parameter(bias.detach().clone())
    return new


def _need_plain_forward(layer: Any) -> None:
    """Raise `NotMergeable` for a layer that may compute something else than its kind does."""
    plain = (nn.Linear.forward, nn.LayerNorm.forward, nf4.Linear4bit.forward)
    if getattr(layer.forward, "__func__", None) not in plain:
        raise NotMergeable(f"This {type(layer).__name__} has a `forward` of its own, which may "
                           "compute more than a weight and a bias do.",
                           expected="a layer with torch's forward",
                           hint="accelerate.hooks.remove_hook_from_submodules(model), if it was "
                                "accelerate that hooked it; else keep the adapter on the model")


# ── from one form to another ─────────────────────────────────────────────────────────────────


def as_linear(module: nn.Module) -> nn.Module:
    """Return a module as methods know it: in place of a `Conv1D`, an equal `nn.Linear`."""
    return to_linear(module) if is_conv1d(module) else module


def to_linear(conv: "Conv1D") -> nn.Linear:
    """Return an `nn.Linear` equal to a `Conv1D`: its weight is the transpose, (n_out, n_in).

    Raises `NotSupported` for one that computes something else: with another `forward`, or with a
    weight that is made out of others, as by `weight_norm`.
    """
    if {*conv.state_dict()} != {"weight", "bias"} or "forward" in vars(conv):
        raise NotSupported("This Conv1D was changed: it holds "
                           f"{', '.join([*conv.state_dict(), *({'forward'} & {*vars(conv)})])}.",
                           expected="a weight and a bias, and transformers' forward",
                           hint="remove what was put on it, or choose other targets")
    n_in, n_out = conv.weight.shape
    linear = nn.Linear(n_in, n_out, device="meta", dtype=conv.weight.dtype)
    linear.weight = nn.Parameter(conv.weight.detach().T.contiguous(), conv.weight.requires_grad)
    linear.bias = nn.Parameter(conv.bias.detach().clone(), conv.bias.requires_grad)
    setattr(linear, CONVERTED, True)
    return linear.train(conv.training)


def to_conv1d(linear: nn.Linear) -> "Conv1D":
    """Undo `to_linear`."""
    from transformers.pytorch_utils import Conv1D

    conv = Conv1D(linear.out_features, linear.in_features)
    conv.weight = nn.Parameter(linear.weight.detach().T.contiguous(), linear.weight.requires_grad)
    conv.bias = nn.Parameter(linear.bias.detach().clone(), linear.bias.requires_grad)
    return conv.train(linear.training)
