"""What torch does while a learner's code runs, where an exercise asks for more than the result."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Counts torch's operations, and the numbers in the largest tensor that one of them makes.

    One operation on a list of tensors counts for each of them.
    """

    def __init__(self):
        super().__init__()
        self.count = self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        self.count += sum(len(each) for each in args if isinstance(each, list | tuple)) or 1
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.largest = max(self.largest, _held(made))
        return made


def _held(tensor: Tensor) -> int:
    """How many numbers a tensor holds in memory: fewer than its entries if sparse, or a view."""
    if tensor.layout != torch.strided:
        return tensor._nnz()
    return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
