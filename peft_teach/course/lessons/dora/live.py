"""What lesson 09 computes on the spot: two gradients of DoRA, and DoRA as scaled LoRA."""

import copy
from collections.abc import Callable, Mapping

import pandas
import torch
from torch import Tensor, nn

from .... import contents, models
from ....adapter import adapters
from ....methods.lora import LoRALinear
from ...desk.live import logits, placed
from . import mutants


class GainLinear(LoRALinear):
    """Scaled LoRA, DoRA's functions without lengths: y = g ⊙ (x Vᵀ) + b, V = W + s B A.

    DoRA has m / ‖V‖ in place of g. Here g itself is trained, and starts at one.
    """

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__(base, rank, alpha)
        self.g = nn.Parameter(torch.ones(base.out_features, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        b = 0 if self.base.bias is None else self.base.bias
        return self.g * (super().forward(x) - b) + b                  # (…, n_out)

    def delta(self) -> Tensor:
        """Return ΔW = g ⊙ V − W, (n_out, n_in)."""
        W = self.base.weight
        return self.g[:, None] * (W + super().delta()) - W


def gradient_gap(layer_class: type, model: nn.Module, batch: Mapping[str, Tensor]
                 ) -> pandas.DataFrame:
    """Return how far the gradients with ‖V‖ constant are from the true ones, relative to these.

    `model` carries layers of `layer_class` that have trained: at the start B is zero, and so is the
    gradient of A. Dropout is off. The model stays as it is.
    """
    model, batch = copy.deepcopy(model), placed(batch)
    layers = {name: layer for name, layer in adapters(model).items()
              if isinstance(layer, layer_class)}

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        with models.in_mode(model, False):
            model(**batch).loss.backward()
        return {name: torch.cat([getattr(layer, name).grad.flatten().cpu()
                                 for layer in layers.values()]) for name in ("m", "B", "A")}

    constant = gradients()
    for name, layer in layers.items():
        through = mutants.Leaky(layer.base)
        through.A, through.B, through.m, through.scale = layer.A, layer.B, layer.m, layer.scale
        models.replace(model, name, through)
    true = gradients()
    return pandas.DataFrame({"norm constant": {
        name: ((constant[name] - true[name]).norm() / true[name].norm()).item()
        for name in true}}).T


@torch.no_grad()
def converted(model: nn.Module, batch: Mapping[str, Tensor], to_gain: Callable[..., Tensor],
              to_dora: Callable[..., Tensor]) -> pandas.DataFrame:
    """Return how far the logits move when a trained DoRA becomes scaled LoRA, and back.

    `to_gain(m, W, A, B, s)` and `to_dora(g, W, A, B, s)` are the reader's. The model stays as it
    is.
    """
    exact, other, rows = logits(model, [batch]), copy.deepcopy(model), {}
    layers = adapters(other)
    gains = {name: _with_gain(layer, to_gain) for name, layer in layers.items()}
    for name, layer in layers.items():
        W, s = layer.base.weight, layer.scale
        layer.m.copy_(to_dora(gains[name].g, W, layer.A, layer.B, s))
    for told, turned in (("as scaled LoRA", gains), ("and back, as DoRA", layers)):
        for name, layer in turned.items():
            models.replace(other, name, layer)
        rows[told] = {
            "logits off by at most": (logits(other, [batch]) - exact).abs().max().item(),
            "trained numbers": sum(p.numel() for p in contents.adapter_parameters(other).values())}
    return pandas.DataFrame(rows).T.astype({"trained numbers": int})


def _with_gain(layer: nn.Module, to_gain: Callable[..., Tensor]) -> GainLinear:
    """Return the layer of this function that has g in place of m."""
    rank = len(layer.A)
    found = GainLinear(layer.base, rank, layer.scale * rank)
    found.A, found.B = layer.A, layer.B
    found.g.copy_(to_gain(layer.m, layer.base.weight, layer.A, layer.B, layer.scale))
    return found
