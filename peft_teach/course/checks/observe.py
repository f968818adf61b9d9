"""What a learner's adapter does, or their function of tensors, reported as plain data.

    adapter(base, …) ──> called at its start ──> its parameters filled in, called and differentiated
                     ──> called again ──> called in eval mode

The report ends where the rest cannot be tried any more; the questions of `adapter_judge` come in
the same order and end there, too. `REPORT` declares the stages.

Where an exercise asks for more than the result, a `Spy` sees what torch does meanwhile.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from ...account import storage_of
from ...adapter import Adapter
from ...errors import NotAttempted
from .judge import changed, named, report

Tensors, Flags = dict[str, Tensor], dict[str, bool]
REPORT = (
    {"type": str, "is_adapter": bool},
    {"holds_base": bool, "trains": Flags, "shapes": dict[str, tuple[int, ...]],
     "dtypes": dict[str, str], "buffers": list[str]},
    {"start": Any, "base_after": Tensors, "inputs_after": Tensors},
    {"start_own": Tensors, "attributes": dict[str, Any]},
    {"y": Any},
    {"grads": dict[str, Tensor | None], "input_grads": dict[str, Tensor | None], "again": Any,
     "eval": Any},
)
FORWARD_LEFT = REPORT[0] | REPORT[1] | {"forward_left": bool}    # the stub's `forward` stands


def observe(adapter: Callable[..., Any], base: nn.Module, inputs: Mapping[str, Tensor],
            own: Mapping[str, Tensor], attributes: Iterable[str] = (),
            arguments: Iterable[Any] = ()) -> dict[str, Any]:
    """Make an adapter around a frozen base, use it as training does, and report what was seen.

    It is called with `inputs` in their order; `own` holds the values that its parameters get after
    the first call, by name; `attributes` are reported as numbers.
    """
    before = _state(base)
    layer = adapter(base, *arguments)
    seen = {"type": named(layer), "is_adapter": isinstance(layer, Adapter)}
    if not seen["is_adapter"]:
        return seen
    parameters = layer.own_parameters()
    seen |= {"holds_base": layer.base is base, "trains": _trains(base),
             "shapes": {name: tuple(p.shape) for name, p in parameters.items()},
             "dtypes": {name: str(p.dtype) for name, p in parameters.items()},
             "buffers": [name for name in layer.state_dict()
                         if name not in parameters and not name.startswith("base.")]}
    if not seen["holds_base"] or seen["shapes"] != {n: tuple(v.shape) for n, v in own.items()}:
        return seen

    layer.train()
    given, start_own = _copied(inputs), _copied(parameters)
    try:
        start = layer(*given.values())
    except NotAttempted:
        return seen | {"forward_left": True}
    seen |= {"start": detached(start), "base_after": _state(base), "inputs_after": given}
    if not isinstance(start, Tensor) or changed(inputs, given):
        return seen
    seen |= {"start_own": start_own,
             "attributes": {name: _number(getattr(layer, name, None)) for name in attributes}}

    with torch.no_grad():
        for name, value in own.items():
            parameters[name].copy_(value)
    leaves = as_leaves(inputs)
    given = {name: leaf.clone() for name, leaf in leaves.items()}    # torch guards a leaf itself
    y = layer(*given.values())
    seen |= {"y": detached(y), "base_after": _state(base), "inputs_after": _copied(given)}
    if not isinstance(y, Tensor) or changed(before, seen["base_after"]) or changed(
            inputs, seen["inputs_after"]):    # a backward pass would raise
        return seen
    if y.requires_grad:
        loss(y).backward()
    seen |= {"grads": {name: p.grad for name, p in parameters.items()},
             "input_grads": {name: leaf.grad for name, leaf in leaves.items()}}

    with torch.no_grad():
        again = layer(*_copied(inputs).values())
        evaluated = layer.eval()(*_copied(inputs).values())
    return seen | {"again": detached(again), "eval": detached(evaluated), "trains": _trains(base),
                   "base_after": _state(base)}


TRIED = report(found=Any, intact=bool, slopes=dict[str, Tensor])


def tried(function: Callable, given: Mapping[str, Tensor]) -> dict[str, Any]:
    """Call a function of tensors; return what it gave, and the gradient of each input."""
    leaves = as_leaves(given)
    handed = {name: leaf.clone() for name, leaf in leaves.items()}
    found = function(*handed.values())
    is_intact = all(torch.equal(handed[name], given[name]) for name in given)
    if is_intact and isinstance(found, Tensor) and found.requires_grad:
        loss(found).backward()
    return {"found": detached(found), "intact": is_intact, "slopes": {
        name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}}


def loss(y: Tensor) -> Tensor:
    """Return a number that every output moves in its own way, so that no gradient is zero."""
    weights = torch.arange(y.numel(), dtype=torch.float32).cos().view(y.shape)
    return (y.float() * weights).sum()


def as_leaves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, so that those that can have a gradient get one."""
    return {name: t.clone().requires_grad_(t.is_floating_point()) for name, t in tensors.items()}


def weights_of(model: nn.Module) -> Tensor:
    """Return all weights in one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def detached(value: Any) -> Any:
    """Return a copy of a tensor; anything else as it is, for the judge to name."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def _state(module: nn.Module) -> dict[str, Tensor]:
    return _copied(module.state_dict())


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}


def _trains(module: nn.Module) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in module.named_parameters()}


def _number(value: Any) -> Any:
    """Return a tensor of one number as that number."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


# ── what torch does meanwhile ────────────────────────────────────────────────────────────────

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv")    # what matrix products come down to


def _run(function: Callable, args: tuple, kwargs: dict) -> Any:
    return function(*args, **kwargs)


class Spy(TorchDispatchMode):
    """Sees torch's operations and the tensors they make; views of `known` ones do not count.

    `run(function, args, kwargs)` may do something else instead of an operation.

        count      operations; one on a list of tensors counts for each of them
        largest    numbers in the largest tensor that was made
        halved     whether matrices in half precision, none of them known, were multiplied
    """

    def __init__(self, *known: Tensor, run: Callable[[Callable, tuple, dict], Any] = _run):
        super().__init__()
        self.count = self.largest = 0
        self.halved = False
        self._run = run
        self._known = {storage_of(tensor) for tensor in known}
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        self.count += sum(len(each) for each in args if isinstance(each, list | tuple)) or 1
        out = self._run(function, args, kwargs or {})
        for each in out if isinstance(out, list | tuple) else (out,):
            if isinstance(each, Tensor) and storage_of(each) not in self._known:
                self.largest = max(self.largest, _numbers(each))
                if each.layout == torch.strided:
                    storage = each.untyped_storage()
                    self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        if function.overloadpacket.__name__ in PRODUCTS:
            factors = [each for each in args if isinstance(each, Tensor)]
            self.halved |= all(storage_of(each) not in self._known for each in factors) and any(
                each.dtype in (torch.float16, torch.bfloat16) for each in factors)
        return out

    def held(self, *known: Tensor | None) -> int:
        """The bytes made that are still in memory, whoever holds them, without those of `known`."""
        out = {storage_of(each) for each in known if each is not None}
        return sum(size for key, (made, size) in self._made.items()
                   if key not in out and not made.expired())


def _numbers(tensor: Tensor) -> int:
    """How many numbers a tensor holds in memory: fewer than its entries if sparse, or a view."""
    if tensor.layout != torch.strided:
        return tensor._nnz()
    return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
