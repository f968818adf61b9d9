"""What torch does while a learner's code runs, where an exercise asks for more than the result."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

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
        self._known = {_storage(tensor) for tensor in known}
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        self.count += sum(len(each) for each in args if isinstance(each, list | tuple)) or 1
        out = self._run(function, args, kwargs or {})
        for each in out if isinstance(out, list | tuple) else (out,):
            if isinstance(each, Tensor) and _storage(each) not in self._known:
                self.largest = max(self.largest, _numbers(each))
                if each.layout == torch.strided:
                    storage = each.untyped_storage()
                    self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        if function.overloadpacket.__name__ in PRODUCTS:
            factors = [each for each in args if isinstance(each, Tensor)]
            self.halved |= all(_storage(each) not in self._known for each in factors) and any(
                each.dtype in (torch.float16, torch.bfloat16) for each in factors)
        return out

    def held(self, *known: Tensor | None) -> int:
        """The bytes made that are still in memory, whoever holds them, without those of `known`."""
        out = {_storage(each) for each in known if each is not None}
        return sum(size for key, (made, size) in self._made.items()
                   if key not in out and not made.expired())


def _storage(tensor: Tensor) -> int | None:
    """A number for the memory that a tensor and its views share; a sparse one has several."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None


def _numbers(tensor: Tensor) -> int:
    """How many numbers a tensor holds in memory: fewer than its entries if sparse, or a view."""
    if tensor.layout != torch.strided:
        return tensor._nnz()
    return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
