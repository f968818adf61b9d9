"""The laws of the course, put to an adapter of any method, on two small layers."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ....core import Adapter
from ....errors import NotMergeable
from ...check.judge import changed, close, difference

SIZES = ((16, 13, True), (13, 13, False))    # n_in, n_out, with a bias; 64 kB take ranks to 12


def broken(make: Callable[[nn.Linear], Adapter]) -> tuple[str, str]:
    """Return the first law that `make(base)` breaks, and what was found; two "" if it keeps all."""
    found = (each for sizes in SIZES for each in _laws(make, *sizes))
    return next(filter(any, found), ("", ""))


def _laws(make: Callable, n_in: int, n_out: int, bias: bool) -> Iterator[tuple[str, str]]:
    base, where = nn.Linear(n_in, n_out, bias=bias).requires_grad_(False), f"({n_in} to {n_out})"
    x, before = torch.randn(7, n_in), copy.deepcopy(base.state_dict())
    layer, plain = make(base), base(x)
    if not isinstance(layer, Adapter) or layer.base is not base:
        yield "not_adapter", f"my_adapter(base) gave {type(layer).__name__}, not a pt.Adapter "\
                             "around this base."
        return
    start = layer(x)
    if not close(start, plain, 1e-4):
        yield "start", f"Before any training {where}: {difference('layer(x)', start, plain)}"
    if thawed := [name for name, p in base.named_parameters() if p.requires_grad]:
        yield "base_trained", f"base.{thawed[0]} has requires_grad = True {where}."
    own = layer.own_parameters()
    for p in own.values():
        p.data.normal_()
    y = layer(x)
    y.square().sum().backward()
    if silent := [name for name, p in own.items() if p.grad is None or not p.grad.any()]:
        yield "no_gradient", f"With random numbers in all of them, {silent[0]}.grad is "\
                             f"{'None' if own[silent[0]].grad is None else 'zero'} {where}."
    y = y.detach()
    second = copied(make, base, {name: p.detach() for name, p in own.items()})
    with torch.no_grad():
        if not own or not close(again := second.eval()(x), y):
            told = difference("layer(x)", again, y) if own else "It has no parameters."
            yield "not_all", f"Its {len(own)} parameters, copied into a new one {where}: {told}"
        if altered := changed(base.state_dict(), before):
            yield "base_changed", f"base.{altered} is not what it was {where}."
        yield from _merged(layer, base, before, x, y, where)


def _merged(layer: Adapter, base: nn.Linear, before: dict[str, Tensor], x: Tensor, y: Tensor,
            where: str) -> Iterator[tuple[str, str]]:
    try:
        merged = layer.merged()
    except NotMergeable:
        return
    if merged in (layer, base) or changed(base.state_dict(), before) or not close(layer(x), y):
        yield "merged_in_place", f"After layer.merged(), layer or base is not as it was {where}."
    if not close(found := merged(x), y, 1e-4):
        yield "merge", f"Merged {where}: {difference('merged(x)', found, y)}"


def copied(make: Callable, base: nn.Module, tensors: dict[str, Tensor]) -> Adapter:
    """Return a new adapter around the base that holds these numbers, as far as names fit."""
    layer = make(base)
    with torch.no_grad():
        for name, p in layer.own_parameters().items():
            if name in tensors and p.shape == tensors[name].shape:
                p.copy_(tensors[name])
    return layer
