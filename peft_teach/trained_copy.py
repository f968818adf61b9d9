"""What `also_train` asks for: a copy of a frozen module, which trains in its place."""

import copy
import functools
from collections.abc import Mapping
from types import MethodType

from torch import Tensor, nn

from .adapter import Adapter
from .errors import NotSupported
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
    """Return a module that has these weights in place of its own, and shares all else.

    What its `forward` assigns is lost. (`torch.func.functional_call` would put the weights into the
    module itself, which other threads, and a backward that computes anew, call meanwhile.)
    """
    other = module.__new__(type(module))
    bound = {name: copy.deepcopy(own, {id(module): other}) for name, own in vars(module).items()
             if isinstance(own, MethodType | functools.partial)}    # accelerate's forward
    vars(other).update(vars(module) | bound | {
        "_parameters": {n: p if p is None else weights[p] for n, p in module._parameters.items()},
        "_modules": {n: m if m is None else _with(weights, m) for n, m in module._modules.items()}})
    return other
