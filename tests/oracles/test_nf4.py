"""NF4 against bitsandbytes, byte for byte, and against the definition in float64."""

import copy
import itertools
from statistics import NormalDist

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes import functional as theirs
from exact import assert_equal
from pairs import pairwise
from torch import nn
from torch.nn import functional as F

from peft_teach import nf4
from peft_teach.errors import BadConfig, BadData, NotSupported, ShapeError

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
#         even, crossing rows, odd and short, one vector, short last block, one number, large
SHAPES = ((64, 64), (48, 40), (5, 7), (1000,), (3, 130), (1,), (), (384, 1536))


@pytest.fixture(autouse=True)
def _eager():
    """For odd lengths bitsandbytes compiles, anew for each shape; eager it is as exact."""
    with torch.compiler.set_stance("force_eager"):
        yield


def normal(*shape, dtype=torch.float32, seed=0, scale=0.02):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def from_theirs(packed, state) -> nf4.Quantized:
    """Return our form of their bytes, double quantization included."""
    second = (state.state2.absmax, state.offset) if state.nested else (None, None)
    return nf4.Quantized(packed.reshape(-1), state.absmax, *second, torch.Size(state.shape),
                         state.dtype, state.blocksize)


# ── the levels ───────────────────────────────────────────────────────────────────────────────


def test_the_levels_are_theirs():
    expected = theirs.get_4bit_type("nf4", device="cpu")
    assert nf4.LEVELS.dtype == torch.float32
    assert_equal(nf4.LEVELS, expected)
    assert_equal(nf4.levels(), expected)
    assert (nf4.LEVELS.diff() > 0).all()
    assert [(nf4.LEVELS < 0).sum(), (nf4.LEVELS > 0).sum()] == [7, 8]
    assert nf4.LEVELS[nf4.ZERO] == 0


def test_the_last_step_of_probability_is_the_mean_that_the_docstring_names():
    assert int(((1 - 1 / 32) + (1 - 1 / 30)) / 2 * 10**7) / 10**7 == 0.9677083


def test_the_papers_equation_4_gives_other_levels():
    q = [NormalDist().inv_cdf(i / 17) for i in range(1, 17)]    # that at 0 is infinite
    values = torch.tensor([(a + b) / 2 for a, b in itertools.pairwise(q)])
    values /= values.max()
    assert len(values) == 15
    torch.testing.assert_close(values, -values.flip(0))
    near = (values[:, None] - nf4.LEVELS).abs().amin(1) < 1e-4
    assert values[near].round().tolist() == [-1, 0, 1]


def test_the_dynamic_map_is_theirs():
    assert nf4.DYNAMIC.dtype == torch.float32
    assert_equal(nf4.DYNAMIC, theirs.create_dynamic_map())
    assert_equal(nf4.dynamic_map(), nf4.DYNAMIC)
    assert len(nf4.DYNAMIC) == 256
    assert nf4.DYNAMIC[0] == pytest.approx(-0.993, abs=5e-4)
    assert nf4.DYNAMIC.max() == 1


def test_tables_are_derived_in_float32_whatever_the_default():
    torch.set_default_dtype(torch.float64)
    try:
        assert_equal(nf4.levels(), nf4.LEVELS)
        assert_equal(nf4.dynamic_map(), nf4.DYNAMIC)
    finally:
        torch.set_default_dtype(torch.float32)


# ── quantize and dequantize, single ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(("dtype", "shape", "block_size"),
                         pairwise(DTYPES, SHAPES, (32, 64, 256, 4096)), ids=str)
def test_all_bytes_are_theirs(dtype, shape, block_size):
    x = normal(*shape, dtype=dtype, seed=len(shape) + block_size)
    q = nf4.quantize(x, block_size)
    # As one row: on AVX-512 their dequantize takes wrong maxima where a block crosses two rows.
    packed, state = theirs.quantize_4bit(x.reshape(-1), blocksize=block_size, quant_type="nf4")
    assert_equal(q.packed, packed.reshape(-1))
    assert_equal(q.absmax, state.absmax)
    back = nf4.dequantize(q)
    assert (back.dtype, back.shape) == (dtype, x.shape)
    assert_equal(back, theirs.dequantize_4bit(packed, state).reshape(shape))
    if x.numel() > 1:
        assert not torch.equal(back, x)


def test_a_block_of_zeros_stays_zero():
    x = normal(4, 64)
    x[1] = 0
    q = nf4.quantize(x)
    packed, state = theirs.quantize_4bit(x, quant_type="nf4")
    assert_equal(q.packed, packed.reshape(-1))
    assert_equal(q.absmax, state.absmax)
    assert q.absmax[1] == 0
    assert set(q.packed[32:64].tolist()) == {0x77}
    assert (nf4.dequantize(q)[1] == 0).all()
    for n in (64, 63, 1):
        assert (nf4.dequantize(nf4.quantize(torch.zeros(n), double=True)) == 0).all()


def test_the_smallest_numbers_do_not_overflow():
    x = torch.full((64,), 1e-44)
    assert nf4.dequantize(nf4.quantize(x)).isfinite().all()


def test_a_transposed_tensor_is_read_in_its_own_order():
    x = normal(40, 48).T
    assert not x.is_contiguous()
    assert_equal(nf4.quantize(x).packed, nf4.quantize(x.contiguous()).packed)
    assert not torch.equal(nf4.quantize(x).packed, nf4.quantize(x.T).packed)


def test_nothing_is_changed_and_no_gradient_flows():
    x = normal(3, 64).requires_grad_(True)
    before = x.detach().clone()
    q = nf4.quantize(x)
    assert_equal(x, before)
    assert not q.absmax.requires_grad
    nf4.dequantize(q).zero_()
    assert nf4.dequantize(q).abs().max() > 0


def test_a_tie_takes_the_lower_level():
    middles = (nf4.LEVELS[1:] + nf4.LEVELS[:-1]) / 2
    x = torch.cat([torch.tensor([1.0]), middles])
    index = nf4.unpack(nf4.quantize(x).packed, 16).tolist()
    assert index == [15, *range(15)]


# ── packing ──────────────────────────────────────────────────────────────────────────────────


def test_the_first_index_is_in_the_high_half():
    assert nf4.pack(torch.tensor([1, 2, 15, 0], dtype=torch.uint8)).tolist() == [0x12, 0xF0]
    assert nf4.pack(torch.tensor([3, 4, 5], dtype=torch.uint8)).tolist() == [0x34, 0x57]


@pytest.mark.parametrize("n", [1, 2, 7, 256])
def test_unpack_undoes_pack(n):
    index = torch.randint(16, (n,), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    packed = nf4.pack(index)
    assert (packed.dtype, len(packed)) == (torch.uint8, (n + 1) // 2)
    assert_equal(nf4.unpack(packed, n), index)


# ── double quantization ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(384, 1536), (300, 70), (64, 64)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_double_quantization_is_theirs(dtype, shape):
    """Their kernel looks codes up in a table of 65,536 entries: a few are not the nearest."""
    x = normal(*shape, dtype=dtype)
    q = nf4.quantize(x, double=True)
    packed, state = theirs.quantize_4bit(x, quant_type="nf4", compress_statistics=True)
    assert_equal(q.packed, packed.reshape(-1))
    assert_equal(q.offset, state.offset)
    assert_equal(q.absmax2, state.state2.absmax)
    off = (q.absmax.int() - state.absmax.int()).abs()
    assert q.absmax.dtype == torch.uint8
    apart = (nf4.DYNAMIC[q.absmax.int()] - nf4.DYNAMIC[state.absmax.int()]).abs()
    assert ((off <= 1) | (apart < 2 / 65535)).all()    # near zero, levels are denser than that
    assert (off > 0).float().mean() < 0.005
    assert_equal(nf4.dequantize(from_theirs(packed, state)), theirs.dequantize_4bit(packed, state))
    assert not torch.equal(nf4.dequantize(q), nf4.dequantize(nf4.quantize(x)))


def test_codes_are_the_nearest_in_float64():
    absmax = nf4.quantize(normal(256, 128, seed=2)).absmax.double()
    q = nf4.quantize(normal(256, 128, seed=2), double=True)
    rest = (absmax - absmax.mean()).split(256)
    for codes, block, largest in zip(q.absmax.split(256), rest, q.absmax2):
        assert block.abs().max() == pytest.approx(largest.item(), rel=1e-5)
        distance = (block[:, None] / largest - nf4.DYNAMIC.double()).abs()
        chosen = distance.gather(1, codes.long()[:, None])[:, 0]
        assert (chosen <= distance.amin(1) + 1e-6).all()
        assert codes.unique().numel() > 100
    torch.testing.assert_close(q.scales.double(), absmax, rtol=0.02, atol=0)


def test_the_second_level_may_be_short_and_constant():
    x = normal(300 * 64, seed=4)
    q = nf4.quantize(x, double=True)
    assert (len(q.absmax), len(q.absmax2)) == (300, 2)
    torch.testing.assert_close(q.scales, nf4.quantize(x).absmax, rtol=0.02, atol=0)
    equal = torch.ones(640)
    assert_equal(nf4.dequantize(nf4.quantize(equal, double=True)), equal)


def test_what_it_costs_in_bits_and_error():
    x = normal(512, 768)
    single, double = nf4.quantize(x), nf4.quantize(x, double=True)
    blocks = 512 * 768 // 64
    assert single.size_bytes == 512 * 768 // 2 + 4 * blocks
    assert double.size_bytes == 512 * 768 // 2 + blocks + 4 * (blocks // 256) + 4
    assert single.bits_per_parameter == 4.5
    assert double.bits_per_parameter == pytest.approx(4.127, abs=5e-4)
    a, b = (float((nf4.dequantize(q) - x).pow(2).mean().sqrt()) for q in (single, double))
    assert 1.0001 < b / a < 1.001


def test_nf4_is_nearer_than_other_four_bits():
    x = normal(512, 768)
    steps = x.reshape(-1, 64).abs().amax(1, keepdim=True) / 7
    int4 = ((x.reshape(-1, 64) / steps).round() * steps).reshape(x.shape)
    fp4 = theirs.dequantize_4bit(*theirs.quantize_4bit(x, quant_type="fp4"))
    errors = [float((y - x).pow(2).mean().sqrt())
              for y in (nf4.dequantize(nf4.quantize(x)), int4, fp4)]
    assert errors == pytest.approx([1.841e-3, 2.152e-3, 2.440e-3], rel=0.01)


# ── what cannot be quantized ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("x", "options", "error", "says"), [
    (torch.ones(64), {"block_size": 48}, BadConfig, "block_size is 48.\nExpected: one of 32, 64"),
    (torch.ones(64), {"block_size": 16}, BadConfig, "block_size is 16"),
    (torch.ones(64), {"block_size": 8192}, BadConfig, "8192"),
    (torch.ones(64), {"block_size": 64.0}, BadConfig, "64.0"),
    (torch.ones(64), {"block_size": [64]}, BadConfig, "64"),
    (torch.ones(64, dtype=torch.int64), {}, NotSupported, "torch.int64"),
    (torch.ones(64, dtype=torch.complex64), {}, NotSupported, "complex64"),
    ([1.0, 2.0], {}, NotSupported, "this is list"),
    (torch.ones(0, 4), {}, ShapeError, r"empty tensor, shape \(0, 4\)"),
    (torch.tensor([1.0, float("nan")]), {}, BadData, "NaN"),
    (torch.tensor([1.0] * 70 + [-float("inf")]), {}, BadData, "infinity"),
    (torch.tensor([1e300], dtype=torch.float64), {}, BadData, "infinity"),
], ids=str)
def test_what_cannot_be_quantized(x, options, error, says):
    for double in (False, True):
        with pytest.raises(error, match=says):
            nf4.quantize(x, **options, double=double)


# ── the layer ────────────────────────────────────────────────────────────────────────────────


def plain(n_in=128, n_out=40, bias=True, dtype=torch.float32, seed=0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(n_in, n_out, bias=bias).to(dtype)


def their_layer(linear: nn.Linear, double: bool) -> bnb.nn.Linear4bit:
    """Return their layer in training mode: in eval it may repack the weight and use bfloat16."""
    layer = bnb.nn.Linear4bit(linear.in_features, linear.out_features,
                              bias=linear.bias is not None, quant_type="nf4",
                              compress_statistics=double)
    layer.weight = bnb.nn.Params4bit(linear.weight.detach().clone(), requires_grad=False,
                                     quant_type="nf4", compress_statistics=double,
                                     blocksize=64, module=layer)
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=False)
    return layer.to("cpu").train()


@pytest.mark.parametrize(("dtype", "bias", "double", "leading"), pairwise(
    (torch.float32, torch.bfloat16), (True, False), (True, False), ((3,), (2, 5))), ids=str)
def test_their_layer_gives_the_same_output_and_gradient(dtype, bias, double, leading):
    linear = plain(bias=bias, dtype=dtype)
    other = their_layer(linear, double)
    same = nf4.Linear4bit(from_theirs(other.weight.data, other.weight.quant_state), linear.bias)
    own = nf4.Linear4bit.from_linear(linear, double=double)
    x = normal(*leading, 128, dtype=dtype, scale=1.0)
    results = []
    for layer in (same, other, own, linear):
        inside = x.clone().requires_grad_(True)
        y = layer(inside)
        y.backward(normal(*leading, 40, dtype=dtype, seed=1, scale=1.0))
        results.append((y.detach(), inside.grad))
    assert (results[0][0] - results[3][0]).abs().max() > 0.01
    for a, b in zip(results[0], results[1]):
        assert_equal(a, b)
    for a, b in zip(results[0], results[2]):    # a code may be one step from theirs
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02 if double else 0)
    if not double:
        assert_equal(results[0][0], results[2][0])


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_in_float64(bias):
    layer = nf4.Linear4bit.from_linear(plain(6, 4, bias)).double()
    W = layer.weight
    assert W.dtype == torch.float64
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), x @ W.T + (layer.bias if bias else 0))
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)
    if bias:
        def with_bias(x, b):
            return nf4._Product.apply(x, layer, b)

        b = layer.bias.detach().clone().requires_grad_(True)
        assert torch.autograd.gradcheck(with_bias, (x, b))
        assert torch.autograd.gradcheck(with_bias, (x[0, 0].detach().requires_grad_(True), b))


def test_a_trainable_bias_learns_and_a_frozen_one_does_not():
    layer = nf4.Linear4bit.from_linear(plain())
    assert [n for n, _ in layer.named_parameters()] == ["bias"]
    assert not layer.bias.requires_grad
    x = normal(3, 2, 128)
    assert not layer(x).requires_grad
    layer.bias.requires_grad_(True)
    layer(x).sum().backward()
    assert_equal(layer.bias.grad, torch.full((40,), 6.0))


@pytest.mark.parametrize("needs", ["input", "bias"])
def test_the_dequantized_weight_is_not_kept_for_backward(needs):
    layer = nf4.Linear4bit.from_linear(plain(512, 512))
    x = normal(2, 512).requires_grad_(needs == "input")
    layer.bias.requires_grad_(needs == "bias")

    def saved(function):
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t)
        with hooks:
            out = function(x)
        return max(sizes, default=0), out

    kept, y = saved(layer)
    assert kept == 0
    if needs == "input":
        assert saved(lambda x: F.linear(x, layer.weight))[0] == 512 * 512
    y.sum().backward()


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_casting_a_model_keeps_the_scales(double, dtype):
    model = nn.Sequential(nf4.Linear4bit.from_linear(plain(bias=True), double=double))
    before, bits = model[0].weight, model[0].quantized
    model.to(dtype)
    after = model[0].quantized
    assert (model[0].weight.dtype, model[0].bias.dtype) == (dtype, dtype)
    for name in ("packed", "absmax", "absmax2", "offset"):
        a, b = getattr(bits, name), getattr(after, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert_equal(b, a, name)
    exact = dtype == torch.float64
    assert_equal(model[0].weight, before.to(dtype))
    assert model(normal(2, 128, dtype=dtype)).dtype == dtype
    assert_equal(model.float()[0].weight, before)
    assert exact or not torch.equal(before.to(dtype).float(), before)


def test_a_layer_moves_with_all_its_tensors():
    layer = nf4.Linear4bit.from_linear(plain()).to("meta")
    assert {t.device.type for t in (*layer.parameters(), *layer.buffers())} == {"meta"}


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_every_device_gives_the_same_bytes(device):
    x = normal(300, 70)
    here, there = nf4.quantize(x, double=True), nf4.quantize(x.to(device), double=True)
    assert_equal(there.packed.cpu(), here.packed)
    layer = nf4.Linear4bit.from_linear(plain())
    moved = copy.deepcopy(layer).to(device)
    assert_equal(moved.weight.cpu(), layer.weight)
    torch.testing.assert_close(moved(normal(2, 128).to(device)).cpu(), layer(normal(2, 128)))


@pytest.mark.parametrize("double", [True, False])
def test_copies_and_state_dicts(double):
    layer = nf4.Linear4bit.from_linear(plain(), double=double)
    twin = copy.deepcopy(layer)
    assert_equal(twin.weight, layer.weight)
    twin.packed.zero_()
    assert not torch.equal(twin.weight, layer.weight)

    other = nf4.Linear4bit.from_linear(plain(seed=1), double=double)
    state = layer.state_dict()
    second = {"absmax2", "offset"} if double else set()
    assert set(state) == {"packed", "absmax", "bias"} | second
    assert not torch.equal(other.weight, layer.weight)
    other.load_state_dict(state)
    assert_equal(other.weight, layer.weight)
    with pytest.raises(RuntimeError, match=r"Missing|Unexpected"):
        nf4.Linear4bit.from_linear(plain(), double=not double).load_state_dict(state)
    with pytest.raises(RuntimeError, match="size mismatch"):
        nf4.Linear4bit.from_linear(plain(), 32, double).load_state_dict(state)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_into_four_bits_and_back_to_a_plain_layer(double, bias):
    linear = plain(bias=bias, dtype=torch.bfloat16).eval()
    before = copy.deepcopy(linear.state_dict())
    layer = nf4.Linear4bit.from_linear(linear, 128, double)
    assert (layer.block_size, layer.double_quantized, layer.training) == (128, double, False)
    assert_equal(layer.weight, nf4.dequantize(nf4.quantize(linear.weight, 128, double)))
    for n, p in linear.state_dict().items():
        assert_equal(p, before[n], n)
    assert all(p.requires_grad for p in linear.parameters())
    back = layer.to_linear()
    assert type(back) is nn.Linear
    assert not back.training
    assert (back.weight.dtype, back.weight.is_leaf) == (torch.bfloat16, True)
    assert_equal(back.weight, layer.weight)
    x = normal(3, 128, dtype=torch.bfloat16)
    assert_equal(back(x), layer(x))
    if bias:
        assert_equal(back.bias, linear.bias)
        assert not back.bias.requires_grad    # as that of the layer in four bits
        assert layer.requires_grad_().to_linear().bias.requires_grad
        back.bias.data.zero_()
        assert_equal(layer.bias, linear.bias)
        layer.bias.data.zero_()
        assert linear.bias.abs().max() > 0
    else:
        assert layer.bias is None
        assert back.bias is None


def test_under_autocast_it_is_the_plain_layer():
    layer = nf4.Linear4bit.from_linear(plain())
    results = []
    for made in (layer, layer.to_linear().requires_grad_(False)):
        x = normal(3, 128, scale=1.0).requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            y = made(x)
        y.sum().backward()
        results.append((y, x.grad))
    assert results[0][0].dtype == torch.bfloat16
    for a, b in zip(*results):
        assert a.dtype == b.dtype
        assert_equal(a, b)


def test_tables_are_shared_and_bits_are_honest():
    layer = nf4.Linear4bit.from_linear(plain(1024, 1024, bias=False))
    held = sum(t.numel() * t.element_size() for t in layer.buffers())
    assert held == layer.quantized.size_bytes
    assert 8 * held / 1024**2 == pytest.approx(4.127, abs=5e-4)
    single = nf4.Linear4bit.from_linear(plain(1024, 1024, bias=False), double=False)
    assert 8 * sum(t.numel() * t.element_size() for t in single.buffers()) / 1024**2 == 4.5
    assert nf4._tables(torch.device("cpu"))[0] is nf4.PAIRS
    assert "in_features=1024, out_features=1024, bias=False, 4.127 bits" in repr(layer)


def test_a_layer_says_what_it_cannot_take():
    layer = nf4.Linear4bit.from_linear(plain())
    with pytest.raises(ShapeError, match="x: n_in should be 128, is 127"):
        layer(torch.ones(2, 127))
    with pytest.raises(NotSupported, match="this is an Embedding"):
        nf4.Linear4bit.from_linear(nn.Embedding(4, 4))
    with pytest.raises(BadConfig, match="block_size is 63"):
        nf4.Linear4bit.from_linear(plain(), block_size=63)
    for wrong, error in ((lambda: nf4.dequantize(None), BadData),
                         (lambda: nf4.pack(torch.ones(3)), NotSupported),
                         (lambda: nf4.unpack(None, 3), ShapeError),
                         (lambda: nf4.unpack(torch.ones(2, dtype=torch.uint8), 1.5), BadConfig)):
        with pytest.raises(error):
            wrong()
    with pytest.raises(AttributeError):
        layer.weight = torch.ones(40, 128)
