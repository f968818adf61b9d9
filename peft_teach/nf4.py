"""NF4: a weight in four bits, the number format of QLoRA.

    ŵ = aₖ · c[i]        i = argmin | w / aₖ − c |        aₖ = max |w| over block k

    symbol  shape              bits a weight   what it is
    c       (16,)              –               the levels: quantiles of a normal distribution
    i       one a weight       4               the nearest level's index; two share a byte
    aₖ      one a block        32 / 64         the largest magnitude among 64 weights, float32
                               4.5             together

and once more, for the block maxima themselves (double quantization):

    âₖ = m + Mₗ · d[j]   j = argmin | (aₖ − m) / Mₗ − d |   Mₗ = max |a − m| over 256 blocks

    d       (256,)             –               the levels, dense around zero
    j       one a block        8 / 64          the nearest level's index, one byte
    Mₗ      one a 256 blocks   32 / 16,384     float32
    m       one                –               the mean of all a, float32
                               4.127           together, with the 4 of i

Pretrained weights are close to normal, so quantiles put the sixteen levels where the weights are.
Nothing is ever computed in four bits: a layer makes Ŵ again for each product.

Sources: Dettmers et al. 2023, arXiv 2305.14314, §3 (NF4, double quantization); Dettmers et al.
2021, arXiv 2110.02861 (blocks, the dynamic map d). All bytes equal those of bitsandbytes, except
a few j that its CPU kernel looks up in a coarser table.
One deviation from the paper: c is the table that its authors ship, which takes quantiles at other
probabilities than eq. (4); see `levels`. And the paper's 8-bit floats are indices into d.
"""

import functools
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import BadConfig, BadData, NotSupported, ShapeError, kind_of
from .shapes import expect
from .valid import is_count, is_integer

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
EXPECTED_SIZE = "one of " + ", ".join(map(str, BLOCK_SIZES))
SECOND_BLOCK = 256    # block maxima that share one second-level maximum
ZERO = 7              # the index of the level 0


# ── the levels ───────────────────────────────────────────────────────────────────────────────


def levels() -> Tensor:
    """Return the 16 levels of NF4, ascending from −1 to 1: 7 negative, an exact zero, 8 positive.

    Each side takes quantiles of N(0, 1) at equal steps of probability, from 1/2 (the zero, which
    the two sides share) to 0.9677083, the mean of 1 − 1/32 and 1 − 1/30 cut after seven digits;
    all are divided by the largest. This is the table that bitsandbytes ships, bit for bit.
    Eq. (4) of the paper averages neighbouring quantiles at steps of 1/17 instead. Taken literally
    this gives 15 levels, symmetric around zero, and only −1, 0 and 1 of them are in this table.
    """
    def side(count: int) -> list[float]:
        steps = torch.linspace(0.9677083, 0.5, count + 1, dtype=torch.float32)
        return [NormalDist().inv_cdf(p) for p in steps[:-1].tolist()]

    values = sorted([-q for q in side(7)] + [0.0] + side(8))
    values = torch.tensor(values, dtype=torch.float32)          # (16,)
    return values / values.max()


def dynamic_map() -> Tensor:
    """Return the 256 levels, from −0.993 to 1, that hold block maxima in double quantization.

    Seven decades, from 1e-7 to 1: each holds twice as many values as the decade below it, at the
    middle of equal steps, with both signs. Zero and one complete the 256.
    """
    decades = []
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1, dtype=torch.float32)
        decades.append(10.0 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2))
    positive = torch.cat(decades)                               # (127,)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float32)
    return torch.cat([-positive, ends, positive]).sort().values


def _between(values: Tensor) -> Tensor:
    """Return the midpoints of neighbours: where the nearest level changes."""
    return (values[1:] + values[:-1]) / 2


LEVELS, DYNAMIC = levels(), dynamic_map()
PAIRS = torch.cartesian_prod(LEVELS, LEVELS)                    # (256, 2): a byte's two levels


@functools.cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return `PAIRS` and `DYNAMIC` on a device: one copy for all layers there."""
    return PAIRS.to(device), DYNAMIC.to(device)


# ── blocks and packing ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Quantized:
    """A tensor in NF4, as it is held.

    `packed` (⌈n/2⌉,) are uint8, two indices a byte. `absmax` (blocks,) are the float32 block
    maxima; after double quantization uint8, with `absmax2` (⌈blocks/256⌉,) and `offset` () in
    float32 beside them. `shape` and `dtype` are those of the tensor that was quantized.
    """

    packed: Tensor
    absmax: Tensor
    absmax2: Tensor | None
    offset: Tensor | None
    shape: torch.Size
    dtype: torch.dtype
    block_size: int

    @property
    def scales(self) -> Tensor:
        """The block maxima in float32, (blocks,), decoded if they were quantized too."""
        if self.absmax2 is None or self.offset is None:
            return self.absmax
        _, table = _tables(self.absmax.device)
        blocks = _blocks(table[self.absmax.int()], SECOND_BLOCK) * self.absmax2[:, None]
        return blocks.reshape(-1)[:self.absmax.numel()] + self.offset

    @property
    def size_bytes(self) -> int:
        """The bytes of all tensors held; the shared tables are not counted."""
        held = (self.packed, self.absmax, self.absmax2, self.offset)
        return sum(t.nbytes for t in held if t is not None)

    @property
    def bits_per_parameter(self) -> float:
        """Bits held for each number of the original tensor, block maxima included."""
        return 8 * self.size_bytes / self.shape.numel()


def quantize(x: Tensor, block_size: int = 64, double: bool = False) -> Quantized:
    """Quantize a tensor of any shape to NF4, in blocks of its row-major order.

    The last block may be short. `double` quantizes the block maxima, too. Computes in float32.
    Raises `BadConfig` for a block size that is not in `BLOCK_SIZES`, `NotSupported` for numbers
    that are not floating-point, `ShapeError` for an empty tensor, and `BadData` for NaN or an
    infinity, which would spoil its whole block.
    """
    _check(x, block_size)
    scaled, absmax = _normalized(x.detach().reshape(-1).float(), block_size)
    if not absmax.isfinite().all():
        raise BadData("The tensor holds NaN or an infinity.",
                      expected="finite numbers: one of these would spoil its whole block",
                      hint="look where tensor.isfinite() is False")
    index = torch.zeros_like(scaled, dtype=torch.uint8)         # (blocks, block_size)
    for part, found in zip(scaled.split(1024), index.split(1024)):    # parts fit in the cache
        for middle in _between(LEVELS).tolist():
            found += part > middle                              # so a tie takes the lower level
    packed = pack(index.reshape(-1)[:x.numel()])                # (⌈n/2⌉,)
    second = _quantize_maxima(absmax) if double else (absmax, None, None)
    return Quantized(packed, *second, x.shape, x.dtype, block_size)


def dequantize(q: Quantized) -> Tensor:
    """Return the tensor that `q` stands for, with its shape and dtype; rounded once, at the end."""
    if not isinstance(q, Quantized):
        raise BadData(f"This is {kind_of(q)}.", expected="what quantize returned")
    pairs, _ = _tables(q.packed.device)
    pairs = pairs.view(torch.int64)[:, 0]                       # (256,): two floats move as one
    values = pairs.index_select(0, q.packed.int()).view(torch.float32)    # (n or n + 1,)
    values = _blocks(values, q.block_size)                      # (blocks, block_size)
    values *= q.scales[:, None]                                 # in place: no second large tensor
    return values.reshape(-1)[:q.shape.numel()].reshape(q.shape).to(q.dtype)


def pack(index: Tensor) -> Tensor:
    """Put two indices (n,) from 0 to 15 into each byte (⌈n/2⌉,), the first one in the high half.

    An odd one out is paired with the index of zero.
    """
    _expect_bytes(index, "index")
    index = F.pad(index, (0, index.numel() % 2), value=ZERO)
    return index[0::2] << 4 | index[1::2]


def _expect_bytes(x: Tensor, called: str) -> None:
    if expect(x, "n", called=called).dtype != torch.uint8:
        raise NotSupported(f"{called} is {x.dtype}.", expected="torch.uint8")


def unpack(packed: Tensor, n: int) -> Tensor:
    """Undo `pack`: return the first `n` indices (n,) in uint8."""
    _expect_bytes(packed, "packed")
    if not is_integer(n, 0, 2 * len(packed)):
        raise BadConfig(f"n is {n!r}.", expected=f"a whole number from 0 to {2 * len(packed)}")
    return torch.stack([packed >> 4, packed & 15], dim=1).reshape(-1)[:n]


def _blocks(flat: Tensor, size: int) -> Tensor:
    """Cut (n,) into (⌈n/size⌉, size); a short last block is padded with zeros."""
    missing = -flat.numel() % size
    return (F.pad(flat, (0, missing)) if missing else flat).reshape(-1, size)


def _normalized(flat: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return blocks, each divided by its largest magnitude, and these magnitudes (blocks,)."""
    blocks = _blocks(flat, size)                                # (blocks, size)
    absmax = blocks.abs().amax(dim=1)                           # (blocks,)
    # A block of zeros stays zero. Multiplying with 1 / absmax is what bitsandbytes does.
    return blocks * (1 / absmax.clamp(min=1e-38))[:, None], absmax


def is_block_size(value: Any) -> bool:
    """Return whether this is a number of weights that may share a maximum."""
    return is_count(value) and value in BLOCK_SIZES


def _check(x: Tensor, block_size: int) -> None:
    if not is_block_size(block_size):
        raise BadConfig(f"block_size is {block_size!r}.", expected=EXPECTED_SIZE)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise NotSupported(f"NF4 holds real numbers, and this is {kind}.",
                           expected="a floating-point tensor")
    if x.numel() == 0:
        raise ShapeError(f"An empty tensor, shape {tuple(x.shape)}, has no blocks.",
                         expected="at least one number")


# ── double quantization ──────────────────────────────────────────────────────────────────────


def _quantize_maxima(absmax: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the block maxima as codes (blocks,) in uint8, their own maxima, and their mean.

    They are all positive; without their mean they spread around zero, where the levels are dense.
    """
    offset = absmax.mean()                                      # ()
    scaled, absmax2 = _normalized(absmax - offset, SECOND_BLOCK)
    _, table = _tables(absmax.device)
    codes = torch.bucketize(scaled, _between(table)).to(torch.uint8)
    return codes.reshape(-1)[:absmax.numel()], absmax2, offset


# ── the layer ────────────────────────────────────────────────────────────────────────────────


class Linear4bit(nn.Module):
    """A frozen linear layer, y = x Ŵᵀ + b, whose weight is held in NF4.

    The weight is no parameter: its bytes are buffers, and `weight` dequantizes them into the
    (n_out, n_in) tensor at each use. A gradient goes through Ŵ to x, and to b if b is trainable.
    """

    packed: Tensor
    absmax: Tensor
    absmax2: Tensor | None
    offset: Tensor | None
    like: Tensor
    fingerprint: list | None = None    # of the exact weight, by which a file recognizes its base

    def __init__(self, weight: Quantized, bias: Tensor | None = None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.block_size = weight.block_size
        self.register_buffer("packed", weight.packed)
        # Module.to(dtype) rounds every floating-point buffer. The scales must keep all their
        # bits, so they are held as integers of the same bits.
        self.register_buffer("absmax", _as_bits(weight.absmax))
        self.register_buffer("absmax2", _as_bits(weight.absmax2))
        self.register_buffer("offset", _as_bits(weight.offset))
        # This one is empty and is rounded: it remembers the dtype of the weight.
        self.register_buffer("like", weight.packed.new_empty(0, dtype=weight.dtype), False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), False)

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.in_features)
        return _Product.apply(x, self, self.bias)               # (…, n_out)

    @classmethod
    def from_linear(cls, linear: nn.Module, block_size: int = 64,
                    double: bool = True) -> "Linear4bit":
        """Return a 4-bit copy of an `nn.Linear`, on its device; change nothing."""
        if not isinstance(linear, nn.Linear):
            raise NotSupported("Only a linear layer is held in 4 bits, and this is "
                               f"{kind_of(linear)}.", expected="an nn.Linear")
        return cls(quantize(linear.weight, block_size, double), linear.bias).train(linear.training)

    @property
    def double_quantized(self) -> bool:
        """Whether the block maxima are quantized, too."""
        return self.absmax2 is not None

    @property
    def quantized(self) -> Quantized:
        """The weight as it is held; its dtype is the layer's, as `.to(dtype)` last set it."""
        absmax = self.absmax if self.double_quantized else self.absmax.view(torch.float32)
        return Quantized(self.packed, absmax, _as_floats(self.absmax2), _as_floats(self.offset),
                         torch.Size((self.out_features, self.in_features)), self.like.dtype,
                         self.block_size)

    @property
    def weight(self) -> Tensor:
        """Ŵ, (n_out, n_in), dequantized at each use, in the layer's dtype."""
        return dequantize(self.quantized)

    def to_linear(self) -> nn.Linear:
        """Return a plain `nn.Linear` with the weight Ŵ: not the weight from before quantization."""
        W = self.weight                                         # (n_out, n_in)
        linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None,
                           device="meta", dtype=W.dtype)
        linear.weight = nn.Parameter(W)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().clone(), self.bias.requires_grad)
        return linear.train(self.training)

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}, "
                f"{self.quantized.bits_per_parameter:.3f} bits a weight")


class _Product(torch.autograd.Function):
    """x Ŵᵀ + b. Kept for the backward pass, Ŵ would cost what 4 bits save: it is made again."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: Linear4bit, bias: Tensor | None) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight, bias)                  # (…, n_out)

    @staticmethod
    def backward(ctx, dy: Tensor):
        dx = db = None
        if ctx.needs_input_grad[0]:
            dx = dy @ ctx.layer.weight.to(dy.dtype)             # (…, n_in)
        if ctx.needs_input_grad[2]:
            db = dy.reshape(-1, dy.shape[-1]).sum(dim=0)        # (n_out,)
        return dx, None, db


def _as_bits(tensor: Tensor | None) -> Tensor | None:
    if tensor is None or not tensor.is_floating_point():
        return tensor
    return tensor.view(torch.int32)


def _as_floats(bits: Tensor | None) -> Tensor | None:
    return None if bits is None else bits.view(torch.float32)
