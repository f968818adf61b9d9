"""DoRA's layer against its equation in float64; `test_lora_oracle.py` has peft beside it."""

import copy
import math

import pytest
import torch
from exact import assert_equal
from pairs import pairwise
from torch import nn
from torch.nn import functional as F

import peft_teach as pt


def layer(n_in=7, n_out=5, bias=True, start=False, **options) -> pt.dora.DoRALinear:
    """Return a layer with A, B and m drawn at random, or as it starts."""
    torch.manual_seed(0)
    made = pt.dora.DoRALinear(nn.Linear(n_in, n_out, bias=bias), **{"rank": 3, **options})
    if not start:
        nn.init.normal_(made.B)
        with torch.no_grad():
            made.m.mul_(torch.rand(n_out) + 0.5)
    return made


def equation(made, x, detached=True):
    """The paper's equation 5, spelled out: W' from A, B and m, then one linear layer."""
    V = made.base.weight + made.scale * made.B @ made.A
    norm = V.square().sum(1).sqrt()
    return F.linear(x, (made.m / (norm.detach() if detached else norm))[:, None] * V,
                    made.base.bias)


@pytest.mark.parametrize(("bias", "dropout", "alpha", "leading"), pairwise(
    (True, False), (0.0, 0.5), (1.0, 12.0), ((), (2,), (2, 4))))
def test_the_equation_in_float64(bias, dropout, alpha, leading):
    made = layer(bias=bias, dropout=dropout, alpha=alpha).double().eval()
    x = torch.randn(*leading, 7, dtype=torch.float64)
    W, A, B, m = (t.detach().numpy() for t in (made.base.weight, made.A, made.B, made.m))
    V = W + alpha / 3 * B @ A
    changed = m[:, None] * V / (V**2).sum(1, keepdims=True) ** 0.5
    b = made.base.bias.detach().numpy() if bias else 0
    expected = torch.from_numpy(x.numpy() @ changed.T + b)
    torch.testing.assert_close(made(x), expected, rtol=1e-12, atol=1e-12)
    assert (made(x) - made.base(x)).abs().max() > 0.1
    torch.testing.assert_close(made.delta(), torch.from_numpy(changed - W), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(made.norm(), torch.from_numpy((V**2).sum(1) ** 0.5))
    if not dropout:    # while training, too
        torch.testing.assert_close(made.train()(x), expected, rtol=1e-12, atol=1e-12)


def test_dropout_spares_the_base():
    """y = W x + b + (g − 1) W x̃ + g s B A x̃, as the authors' and peft's code have it."""
    made = layer(dropout=0.6, alpha=6.0).double().train()
    x = torch.randn(64, 7, dtype=torch.float64)
    torch.manual_seed(1)
    dropped = F.dropout(x, 0.6)
    torch.manual_seed(1)
    y = made(x)
    W, g = made.base.weight, made.m / made.norm()
    expected = made.base(x) + (g - 1) * (dropped @ W.T) + g * 2.0 * (dropped @ made.A.T @ made.B.T)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert (y - equation(made, dropped)).abs().max() > 0.1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_start_is_the_base(training, dtype, dropout):
    torch.manual_seed(0)
    base = nn.Linear(40, 30).to(dtype)
    made = pt.dora.DoRALinear(base, dropout=dropout).train(training)
    x = torch.randn(6, 40).to(dtype)
    torch.testing.assert_close(made(x), base(x), rtol=0, atol=1e-6)
    assert made.m.dtype == torch.float32
    torch.testing.assert_close(made.m, torch.linalg.norm(base.weight.float(), dim=1))
    assert torch.count_nonzero(made.B) == 0
    assert made.A.abs().max() <= 1 / math.sqrt(40)


def test_no_gradient_flows_through_the_norm():
    made = layer(alpha=12.0).double()
    x, weights = (torch.randn(8, n, dtype=torch.float64) for n in (7, 5))
    own = (made.A, made.B, made.m)
    ours, held, free = (torch.autograd.grad((y * weights).sum(), own) for y in (
        made(x), equation(made, x), equation(made, x, detached=False)))
    for got, expected in zip(ours, held):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    for got, other in zip(ours[:2], free):
        assert (got - other).abs().max() > 0.1 * other.abs().max()
    torch.testing.assert_close(ours[2], free[2])    # m's own is the same in both


def test_the_input_gets_its_gradient():
    made = layer().double()
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    made(x).sum().backward()
    expected = (made.base.weight + made.delta()).sum(0).detach()
    torch.testing.assert_close(x.grad, expected.expand(3, 7), rtol=1e-10, atol=1e-10)


def kept_for_backward(layer, x):
    """Return the output, and every tensor that autograd holds on to."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = layer(x)
    assert kept
    return y, kept


def test_no_matrix_of_the_weights_size_is_kept_for_backward():
    n = 64
    made = layer(n, n + 1, dropout=0.5).train()
    for p in made.base.parameters():
        p.requires_grad_(False)
    _, kept = kept_for_backward(made, torch.randn(2, n))
    known = made.base.weight.untyped_storage().data_ptr()
    assert not [t.shape for t in kept if t.numel() >= n * n
                and t.untyped_storage().data_ptr() != known]


def test_a_row_of_zeros_gives_no_nan():
    base = nn.Linear(6, 4)
    nn.init.zeros_(base.weight[1].data)
    base.requires_grad_(False)
    made = pt.dora.DoRALinear(base, rank=2)
    x = torch.randn(3, 6)
    y = made(x)
    y.sum().backward()
    torch.testing.assert_close(y, base(x), rtol=0, atol=1e-6)
    assert all(p.grad.isfinite().all() for p in (made.A, made.B, made.m))


def test_a_half_precision_base_gets_a_float32_correction():
    made = layer(64, 48, alpha=3.0)
    made.base.bfloat16()
    x = torch.randn(100, 64).bfloat16()
    y = made(x)
    assert (y.dtype, made.A.dtype, made.m.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    exact = copy.deepcopy(made).double()
    exact = equation(exact, x.double())
    error = (y.double() - exact).abs().max() / exact.abs().max()
    assert error < 2**-7    # two roundings to bfloat16, of the base's output and of the sum
    Wx = made.base(x).double() - made.base.bias.double()
    g, u = (made.m / made.norm()).double(), x.double() @ made.A.double().T @ made.B.double().T
    once = (made.base(x).double() + g * (Wx + u) - Wx).bfloat16()    # summed, then rounded
    assert (y != once).float().mean() < 0.01
    merged = made.merged()
    assert (merged.weight.dtype, merged.bias.dtype) == (torch.bfloat16, torch.bfloat16)
    V = made.base.weight.double() + 1.0 * made.B.double() @ made.A.double()
    W = (made.m.double() / V.square().sum(1).sqrt())[:, None] * V
    assert (merged.weight != W.bfloat16()).float().mean() < 0.001    # one rounding, of the float32


def test_merged_is_new_and_has_the_same_output():
    for bias in (True, False):
        made = layer(bias=bias)
        before = copy.deepcopy(made.state_dict())
        x = torch.randn(4, 7)
        merged = made.merged()
        assert type(merged) is nn.Linear
        torch.testing.assert_close(merged(x), made(x), rtol=1e-5, atol=1e-6)
        assert (merged.bias is None) is not bias
        merged.weight.data.zero_()
        for n, p in made.state_dict().items():
            assert_equal(p, before[n], n)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("bias", [True, False])
def test_a_base_in_four_bits(dropout, bias):
    """As on the plain layer with the same rounded weight, which is not kept for backward."""
    torch.manual_seed(2)
    packed = pt.nf4.Linear4bit.from_linear(nn.Linear(64, 65, bias=bias))
    results = []
    for base in (packed, packed.to_linear().requires_grad_(False)):
        torch.manual_seed(3)
        made = pt.dora.DoRALinear(base, rank=2, dropout=dropout).train()
        x = torch.randn(5, 64, requires_grad=True)
        torch.testing.assert_close(made(x), base(x), rtol=0, atol=1e-6)
        with torch.no_grad():
            made.B.normal_()
            made.m.mul_(1.5)
        y, kept = kept_for_backward(made, x)
        y.square().sum().backward()
        if base is packed:
            assert max(t.numel() for t in kept) < 64 * 65
        results.append((y, made.A.grad, made.B.grad, made.m.grad, x.grad, made.merged().weight))
    for got, expected in zip(*results):
        torch.testing.assert_close(got, expected)
