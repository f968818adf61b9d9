"""Methods of the field, each a layer of a few lines: what the record of lesson 13 trains.

    model = put_on("VeRA 256", model)

Each is the paper's equation and nothing else; `tests/oracles/test_sixty_oracle.py` holds each to
Hugging Face peft's own. They merge where the paper says that they do.
"""

import copy

import torch
from torch import Tensor, nn

from .... import attach, lora
from ....adapter import Adapter
from .reference import RoAd  # the reader's, of exercise 1

RANK, ALPHA = 8, 16.0               # of LoRA 8, beside which they stand
TARGETS = ("query", "value")


class WeightChange(Adapter):
    """A frozen `nn.Linear` whose weight is changed: y = x (W + ΔW)ᵀ + b."""

    def delta(self) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.delta().T                      # (…, n_out)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        linear = copy.deepcopy(self.base)
        linear.weight.add_(self.delta())                              # (n_out, n_in)
        return linear


class Projections(nn.Module):
    """VeRA's frozen A and B, drawn from a seed: one pair for all layers of one shape."""

    def __init__(self, n_in: int, n_out: int, rank: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
            drawn = nn.init.kaiming_uniform_(torch.empty(shape), generator=generator)
            self.register_buffer(name, drawn, persistent=False)


class VeRALinear(WeightChange):
    """ΔW = (b ⊙ B) (d ⊙ A), A and B random and frozen. Kopiczko et al. 2023, arXiv 2310.11454."""

    def __init__(self, base: nn.Linear, shared: Projections):
        super().__init__(base)
        self.shared = shared
        self.d = nn.Parameter(torch.full((len(shared.A),), 0.1))      # (rank,)
        self.b = nn.Parameter(torch.zeros(len(shared.B)))             # (n_out,)

    def delta(self) -> Tensor:
        return (self.b[:, None] * self.shared.B) @ (self.d[:, None] * self.shared.A)


class MiSSLinear(WeightChange):
    """ΔW = (M … M), one shard beside the other. Kang and Yin 2024, arXiv 2409.15371."""

    def __init__(self, base: nn.Linear, rank: int):
        super().__init__(base)
        self.M = nn.Parameter(torch.zeros(base.out_features, rank))   # (n_out, rank)

    def delta(self) -> Tensor:
        return self.M.repeat(1, self.base.in_features // self.M.shape[1])


class PiSSALinear(WeightChange):
    """ΔW = s (B A − B₀ A₀), which start as W's first directions. Meng et al. 2024, 2404.02948.

    The paper trains s B A beside W − s B₀ A₀; that is the same function, and W stays what it was.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float):
        super().__init__(base)
        self.scale = alpha / rank
        U, S, V = torch.linalg.svd(base.weight.detach(), full_matrices=False)
        root = (S[:rank] / self.scale).sqrt()                         # (rank,)
        self.register_buffer("A0", root[:, None] * V[:rank], persistent=False)
        self.register_buffer("B0", U[:, :rank] * root, persistent=False)
        self.A = nn.Parameter(self.A0.clone())                        # (rank, n_in)
        self.B = nn.Parameter(self.B0.clone())                        # (n_out, rank)

    def delta(self) -> Tensor:
        return self.scale * (self.B @ self.A - self.B0 @ self.A0)


class OFTLinear(Adapter):
    """y = (x R) Wᵀ + b, R orthogonal in blocks: R = (I − Q) (I + Q)⁻¹, Q = −Qᵀ.

    Qiu et al. 2023, arXiv 2306.07280. Only what lies above Q's diagonal is stored.
    """

    def __init__(self, base: nn.Linear, block: int):
        super().__init__(base)
        self.block = block
        self.q = nn.Parameter(torch.zeros(base.in_features // block, block * (block - 1) // 2))

    def rotation(self) -> Tensor:
        """Return R's blocks, (blocks, block, block)."""
        Q = self.q.new_zeros(len(self.q), self.block, self.block)
        above = torch.triu_indices(self.block, self.block, 1)
        Q[:, above[0], above[1]] = self.q
        Q, eye = Q - Q.mT, torch.eye(self.block, device=self.q.device)
        return torch.linalg.solve(eye + Q, eye - Q, left=False)

    def turned(self, x: Tensor) -> Tensor:
        """Return x R, (…, n_in)."""
        parts = x.unflatten(-1, (-1, self.block))                     # (…, blocks, block)
        return torch.einsum("...kb,kbc->...kc", parts, self.rotation()).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(self.turned(x))                              # (…, n_out)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        linear = copy.deepcopy(self.base)
        R = torch.block_diag(*self.rotation())                        # (n_in, n_in)
        linear.weight.copy_(linear.weight @ R.T)                      # (n_out, n_in)
        return linear


def vera(model: nn.Module) -> nn.Module:
    """Put VeRA of rank 256 on query and value, whose A and B are one pair."""
    shared = Projections(model.config.hidden_size, model.config.hidden_size, 256)
    return attach(model, TARGETS, lambda base: VeRALinear(base, shared))


METHODS = {
    "LoRA 8": lambda model: lora.inject(model, lora.Config(RANK, ALPHA)),
    "VeRA 256": vera,
    "OFT 32": lambda model: attach(model, TARGETS, lambda base: OFTLinear(base, 32)),
    "MiSS 16": lambda model: attach(model, TARGETS, lambda base: MiSSLinear(base, 16)),
    "RoAd": lambda model: attach(model, TARGETS, RoAd),
    "PiSSA 8": lambda model: attach(model, TARGETS, lambda base: PiSSALinear(base, RANK, ALPHA)),
}


def put_on(method: str, model: nn.Module) -> nn.Module:
    """Put a method on a fresh model; return the model to keep."""
    return METHODS[method](model)
