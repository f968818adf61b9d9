"""Ways of a model into another library, to test a test of them: right ones, and broken ones.

Each takes a model and returns it as the other library has loaded it; its name completes "one that".
"""

import copy
from collections.abc import Callable

from torch import Tensor, nn

from ....adapter import adapters
from ....methods.lora import LoRALinear
from ...checks.stand_ins import TinyEncoder
from .files import File, read, spoil, written

PLACES = tuple(f"layer.{block}.{end}" for block in (0, 1)
               for end in ("attention.query", "output.dense"))


def fresh(rank: int = 4, alpha: float = 4.0) -> nn.Module:
    """A model of width 6 with LoRA as it starts: B is zero, and the head is the base's own."""
    model = TinyEncoder()
    for name in PLACES:
        model.set_submodule(name, LoRALinear(model.get_submodule(name), rank, alpha))
    return model


def _through(change: Callable[[dict, dict], File]) -> Callable[[nn.Module], nn.Module]:
    """Return a version that changes the file on its way."""
    return lambda model: read(TinyEncoder(), *change(*written(model))).model


def _merged(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for name, layer in adapters(model).items():
        model.set_submodule(name, layer.merged())
    return model


class _Double(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model).double()

    def forward(self, x):
        return self.model(x.double()).float()


class _Louder(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model)

    def forward(self, x):
        return 1.02 * self.model(x)


def _half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.half().float() for name, t in tensors.items()}


def _in_place(model: nn.Module) -> nn.Module:
    """What comes back is false, and so is, from then on, what was given."""
    for layer in adapters(model).values():
        layer.scale *= 0.5
    return copy.deepcopy(model)


def _without_last(tensors: dict[str, Tensor], settings: dict) -> File:
    return {name: t for name, t in tensors.items() if "layer.1.output" not in name}, settings


RIGHT = {
    "loads the file into a fresh base": _through(lambda tensors, settings: (tensors, settings)),
    "merges the update into the weights": _merged,
    "computes in double precision": _Double,
    "says the same scale without rsLoRA": lambda model: read(
        TinyEncoder(), *written(model, stabilized=False)).model,
}
BROKEN = {
    "rounds every tensor to half precision": _through(lambda tensors, settings: (
        _half(tensors), settings)),
    "changes the model it was given": _in_place,
    "gives every answer a little louder": _Louder,
    "leaves the head behind": _through(lambda *file: spoil(*file, "head")),
    "forgets one module": _through(_without_last),
    "exchanges A and B": _through(lambda *file: spoil(*file, "exchanged")),
    "takes α/r for α/√r": _through(lambda *file: spoil(*file, "small")),
    "takes α for r": _through(lambda tensors, settings: (tensors, {
        **settings, "use_rslora": False, "lora_alpha": settings["r"]})),
    "leaves the whole update behind": _through(lambda tensors, settings: (
        {name: t for name, t in tensors.items() if "lora_" not in name}, settings)),
}
