"""All of a model's backbone, moved along d random directions at once.

    θ = θ₀ + P z

    symbol  shape   trained  is
    θ₀      (D,)    no       every weight of the backbone, in one row, as it was at the start
    z       (d,)    yes      zero at the start
    P       (D, d)  no       random and fixed: one entry ±√(d/D) a row, in column h(i)

A row of P is kept as two small numbers, its column h(i) and its sign s(i), so memory is O(D), where
a dense P would take D × d. Each column has about D/d entries, hence length about one.

Sources: Li et al. 2018, arXiv 1804.08838, §2 and appendix S7; Aghajanyan et al. 2020, arXiv
2012.13255, §3. One deviation: signed hashing in place of their Fastfood transform.
"""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .... import models
from ....errors import BadConfig


def project(theta0: Tensor, z: Tensor, h: Tensor, sign: Tensor) -> Tensor:
    """Return θ₀ + P z, (D,), from h and sign of shape (D,) and z of shape (d,)."""
    scale = (len(z) / len(theta0)) ** 0.5
    return torch.addcmul(theta0, sign, z.index_select(0, h), value=scale)    # (D,)


def hashes(D: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the column h(i), 0 to d − 1, and the sign s(i), ±1.0, of each of D weights."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randint(0, d, (D,), dtype=torch.int32, generator=generator)             # (D,)
    sign = torch.randint(0, 2, (D,), dtype=torch.int8, generator=generator) * 2 - 1   # (D,)
    return h.long(), sign.float()


class Subspace(nn.Module):
    """A classifier whose backbone is θ₀ + P z; z and the head train, and nothing else.

    The model's own tensors stay at θ₀. Raises `BadConfig` unless 1 ≤ d ≤ D.
    """

    theta0: Tensor
    h: Tensor
    sign: Tensor

    def __init__(self, model: nn.Module, d: int, seed: int = 0):
        super().__init__()
        head = set(models.head(model))
        self.model = model
        self.shapes = {n: p.shape for n, p in model.named_parameters() if n not in head}
        weights = [model.get_parameter(n).detach().reshape(-1) for n in self.shapes]
        self.D = sum(map(len, weights))
        if not 1 <= d <= self.D:
            raise BadConfig(f"d is {d}.", expected=f"1 to {self.D}, the backbone's parameters")
        device = weights[0].device
        for name, p in model.named_parameters():
            p.requires_grad_(name in head)
        h, sign = hashes(self.D, d, seed)
        self.register_buffer("theta0", torch.cat(weights), persistent=False)          # (D,)
        self.register_buffer("h", h.to(device), persistent=False)                     # (D,)
        self.register_buffer("sign", sign.to(device), persistent=False)               # (D,)
        self.z = nn.Parameter(torch.zeros(d, device=device))                          # (d,)

    def theta(self) -> Tensor:
        """Return θ₀ + P z, all weights of the backbone in one row, (D,)."""
        return project(self.theta0, self.z, self.h, self.sign)

    def weights(self) -> dict[str, Tensor]:
        """Return the same weights by name, each in its shape."""
        pieces = self.theta().split([shape.numel() for shape in self.shapes.values()])
        return {n: piece.view(shape) for (n, shape), piece in zip(self.shapes.items(), pieces)}

    def forward(self, **inputs):
        return functional_call(self.model, self.weights(), kwargs=inputs)

    @torch.no_grad()
    def plain(self) -> nn.Module:
        """Return the classifier itself, with the weights of now: it is faster to test."""
        model = copy.deepcopy(self.model)
        for name, weight in self.weights().items():
            model.get_parameter(name).copy_(weight)
        return model.eval()

    def groups(self, step: float, head_lr: float) -> list[dict]:
        """Return optimizer groups: z at step/√d, so that Adam's first step has length `step`."""
        head = [p for p in self.model.parameters() if p.requires_grad]
        return [{"params": [self.z], "lr": step / len(self.z) ** 0.5},
                {"params": head, "lr": head_lr}]
