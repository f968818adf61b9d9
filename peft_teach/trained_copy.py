"""What `also_train` asks for: a copy of a frozen module, which trains in its place."""

import copy
import functools
from collections.abc import Collection, Mapping
from types import MethodType

from torch import Tensor, nn

from .adapter import Adapter
from .errors import BadConfig, NotSupported
from .models import quantized
from .models.replacing import copy_of
from .running_stats import buffers


class TrainedCopy(Adapter):
    """A frozen module and its trained copy, which computes instead of it.

    Its weights are float32 and rounded to the base's dtype where they are used, so that small
    steps add up. Its buffers are its own, such as the means that a BatchNorm counts. A module in 4
    bits, or without parameters or a `forward`, raises `NotSupported`.
    """

    def __init__(self, base: nn.Module):
        super().__init__(base)
        self.trained = copy_of(base)
        own = [*self.trained.parameters()]
        called = type(base).forward is not nn.Module.forward    # a list of layers is not
        if (not own or not called or not all(p.is_floating_point() for p in own)
                or quantized(base)):
            raise NotSupported(f"No copy of this {type(base).__name__} could be trained.",
                               expected="a module that is called and has parameters, not in 4 bits",
                               hint="choose another for also_train")
        self.trained.requires_grad_(True)

    def forward(self, *args, **kwargs):
        weights = dict(zip(self.trained.parameters(), self.weights().values()))
        return _with(weights, self.trained)(*args, **kwargs)

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights by name, in the dtype of the base."""
        return {name: p.to(self.base.get_parameter(name).dtype)
                for name, p in self.trained.named_parameters()}

    def stored(self) -> dict[str, Tensor]:
        """Return the trained weights, and beside them the buffers that a state dict keeps."""
        return {**self.own_parameters()} | {
            f"{name}.{own}": b for name, module in self.trained.named_modules(prefix="trained")
            for own, b in buffers(module).items()}

    def merged(self) -> nn.Module:
        """Return the trained copy, in the dtype of the base."""
        module = copy_of(self.base)
        module.load_state_dict(self.weights() | dict(self.trained.named_buffers()), strict=False)
        return module


def _with(weights: Mapping[nn.Parameter, Tensor], module: nn.Module) -> nn.Module:
    """Return a module that has these weights in place of its own, and shares all else."""
    other = module.__new__(type(module))
    bound = {name: copy.deepcopy(own, {id(module): other}) for name, own in vars(module).items()
             if isinstance(own, MethodType | functools.partial)}    # accelerate's forward
    vars(other).update(vars(module) | bound | {
        "_parameters": {n: p if p is None else weights[p] for n, p in module._parameters.items()},
        "_modules": {n: m if m is None else _with(weights, m) for n, m in module._modules.items()}})
    return other


def refuse_copies(model: nn.Module, names: tuple[str, ...], wrapped: Collection[str]) -> None:
    """Raise `BadConfig` or `NotSupported` for a module of which no copy may train.

    A copy would leave out an adapter inside it, and come apart from a weight that it shares.
    `wrapped` names the modules that get an adapter.
    """
    for name in names:
        twice = next((n for n in (*wrapped, *names) if n.startswith(f"{name}.")), None)
        if twice or name in wrapped:
            raise BadConfig(f"also_train holds {name}, and {twice or name} is named, too.",
                            expected="each module once: trained itself, or through an adapter")
        copied = model.get_submodule(name)
        inside = {id(p) for p in copied.parameters()}
        here = tuple(f"{n}." for n, m in model.named_modules(remove_duplicate=False) if m is copied)
        shared = next((n for n, p in model.named_parameters(remove_duplicate=False)
                       if id(p) in inside and not n.startswith(here)), None)
        if shared:
            raise NotSupported(f"{name} shares a weight with {shared}, and a trained copy would "
                               "come apart from it.",
                               expected="also_train=(…) with modules whose weights are their own")
