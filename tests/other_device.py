"""A second device for machines without one: its tensors hold numbers, and refuse to meet the CPU's.

    with Elsewhere():
        model.to(THERE)

Tensors there say that their device is "meta", and hold their numbers in a tensor of the CPU. As on
a GPU, an operation takes tensors of one device. Exceptions are a number, which has no axis, and
indices on the CPU into a tensor that is there. Only `to`, `cpu` and `copy_` move. What Python
cannot see being made, like the tensor of a list of indices, has no numbers here, and is refused.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

THERE, HERE = torch.device("meta"), torch.device("cpu")
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
BY_INDEX = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default,
            torch.ops.aten._index_put_impl_.default)


class Elsewhere(TorchFunctionMode):
    """Where it is entered, "meta" is a device with numbers."""

    def __enter__(self):
        self.below = _Dispatch().__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.below.__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and "device" in kwargs:
            return function(*args, **kwargs | {"device": HERE}).to(kwargs["device"])
        return function(*args, **kwargs)


class _There(torch.Tensor):
    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=THERE)
        made.held = held
        return made

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _call(function, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _call(function, args, kwargs or {})


def _call(function, args, kwargs):
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = any(isinstance(t, _There) for t in given)
    if any(t.device == THERE and not isinstance(t, _There) for t in given):
        raise RuntimeError(f"Expected numbers, and a tensor there has none: {function}")
    device = torch.device(kwargs.get("device") or (THERE if there else HERE))
    if not there and device == HERE:
        return function(*args, **kwargs)
    if there and function not in MOVES:
        by_index = function in BY_INDEX and isinstance(args[0], _There)
        for t in tree_leaves(args[2:] if by_index else (args, kwargs)):
            if isinstance(t, torch.Tensor) and t.ndim and not isinstance(t, _There):
                raise RuntimeError("Expected all tensors to be on the same device, but found one "
                                   f"of shape {tuple(t.shape)} on the CPU: {function}")
    if function is torch.ops.aten.copy_.default:
        device = args[0].device
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a generator of the other device: {function}")
    if "device" in kwargs:
        kwargs = kwargs | {"device": HERE}
    found = function(*(tree_map_only(_There, lambda t: t.held, each) for each in args),
                     **tree_map_only(_There, lambda t: t.held, kwargs))
    if device == HERE:
        return found
    found = tree_map_only(torch.Tensor, _There, found)
    return return_and_correct_aliasing(function, args, kwargs, found) if there else found
