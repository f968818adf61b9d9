"""How a base is recognized: by a few values of each tensor in a file, by a checksum in memory.

A file holds the fingerprint of a model, `{name: [shape, 16 values]}`. It shows whether another
model is the base that the adapter was trained on.
"""

import copy
import zlib
from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import models, nf4
from .adapter import full_name
from .running_stats import buffers
from .valid import FLOATS


def of_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, list]:
    """Return the fingerprint of a base with these tensors, as `original_tensors` gives them.

    The head is left out, as it is new for every task. A weight in 4 bits counts as what it was
    before, so that a model is the same before and after.
    """
    head = models.head(model)
    exact = {f"{name}.weight": layer.fingerprint
             for name, layer in models.quantized(model).items() if layer.fingerprint}
    return exact | sample({n: p for n, p in tensors.items() if n not in head})


def original_tensors(model: nn.Module, but: Container[int] = ()) -> dict[str, Tensor]:
    """Return a model's tensors by name, in the checkpoint's layout.

    The weight of a converted `Conv1D` is transposed back, that of a packed layer is its bytes.
    Beside the weights these are the buffers that a state dict keeps, as a BatchNorm's means. Those
    whose `id` is in `but` are left out.
    """
    turned = {f"{name}.weight" for name in models.converted(model)}
    packed = {f"{name}.weight": _packed_weight(layer)
              for name, layer in model.named_modules()
              if models.is_packed(layer) and hasattr(layer, "weight")}
    kept = {full_name(name, own): b for name, module in model.named_modules()
            if not isinstance(module, nf4.Linear4bit) for own, b in buffers(module).items()}
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **packed, **kept}
    return {name: p.T if name in turned else p for name, p in tensors.items() if id(p) not in but}


def _packed_weight(layer: Any) -> Tensor:
    """Return a packed layer's bytes in the checkpoint's order.

    On some processors a bitsandbytes layer rearranges them when it is first called. Its state dict
    puts them back, in the layer itself, and so is taken of a copy.
    """
    quant_state = getattr(layer.weight, "quant_state", None)
    if getattr(quant_state, "packing_format_for_cpu", False):
        return copy.deepcopy(layer).state_dict()["weight"]
    return layer.weight


def sample(tensors: Mapping[str, Tensor]) -> dict[str, list]:
    """Return `{name: [shape, 16 values]}` of these tensors.

    The values are evenly spaced and rounded to bfloat16, then to four digits, so that a model and
    its half-precision copy differ by one step of bfloat16 at most, and by the digits.
    """
    return {name: [list(p.shape), _values(p)] for name, p in tensors.items()}


def checksums(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, int]]:
    """Return `{name: checksum}` of all bits of those tensors that hold numbers here."""
    return {name: _checksum(p) for name, p in tensors.items() if is_readable(p)}


def is_as_noted(p: Tensor, values: list[float], bits: tuple | None) -> bool:
    """Return whether a weight is the one that was noted, or a copy of it in half precision."""
    now = _checksum(p)
    if bits is None or now[0] != bits[0] or (now != bits and _is_rounded(p.detach())):
        return close(values, _values(p))
    return now == bits


def close(values: list[float], others: list[float]) -> bool:
    """Return whether two samples are of one tensor, perhaps of its copy in half precision.

    Rounded to float16 before, a value may end one step of bfloat16 away, 2⁻⁷ of it, and each of
    the two was rounded to four digits, which is 0.0005 of it at most. Below 2⁻¹⁴ float16 has an
    absolute step, 2⁻²⁴.
    """
    if values == others:
        return True
    a, b = torch.tensor(values), torch.tensor(others)
    relative = 2**-7 + 2 * 0.0005
    return a.shape == b.shape and bool(
        ((a - b).abs() <= 2**-24 + relative * torch.maximum(a.abs(), b.abs())).all())


def is_readable(p: Tensor) -> bool:
    """Return whether a tensor holds numbers: not another library's bytes, nor a shape alone."""
    return type(p) in (Tensor, nn.Parameter) and p.dtype in FLOATS and not p.is_meta


def _values(p: Tensor) -> list[float]:
    """Return 16 values of a tensor, as a fingerprint holds them."""
    if p.is_meta:    # a shape without numbers
        return []
    flat = p.detach().reshape(-1)
    steps = min(16, flat.numel())
    where = [i * (flat.numel() - 1) // max(1, steps - 1) for i in range(steps)]
    values = flat[where].cpu().to(torch.bfloat16).nan_to_num()    # a mask may hold -infinity
    return [float(f"{v:.4g}") for v in values.tolist()]


def _checksum(p: Tensor) -> tuple[str, int]:
    """Return a tensor's dtype, and a checksum of its bits."""
    flat = p.detach().cpu().reshape(-1).view(torch.uint8).clone()    # NumPy pins what it is given
    return str(p.dtype), zlib.crc32(flat.numpy().data)


def _is_rounded(p: Tensor) -> bool:
    """Return whether these numbers came through half precision, and are in another dtype again."""
    return p.dtype in (torch.float32, torch.float64) and any(
        torch.equal(p, p.to(half).to(p.dtype)) for half in (torch.float16, torch.bfloat16))
