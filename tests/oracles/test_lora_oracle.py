"""LoRA and DoRA against Hugging Face peft on whole models, and LoRA's equation in float64."""

import copy
import functools
import itertools
import json
import math

import pytest
import torch
from adapted import logits
from exact import assert_equal
from torch import nn
from torch.nn import functional as F

import peft_teach as pt
from peft_teach.errors import BadConfig, NoAdapter, NotMergeable, NotSupported, ShapeError

peft = pytest.importorskip("peft")

# All other warnings of peft are errors: it reports missing and misnamed tensors by warning.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

RANK, ALPHA = 4, 12.0
#      family, our targets, peft's targets
PARITY = [
    ("bert", ("query", "value"), ["query", "value"]),
    ("bert", ("ffn_in", "ffn_out"), ["intermediate.dense", r"layer.0.output.dense",
                                     r"layer.1.output.dense"]),
    ("roberta", ("key", "attention_out"), ["key", "attention.output.dense"]),
    ("distilbert", ("query", "ffn_out"), ["q_lin", "lin2"]),
    ("gpt2", ("qkv",), ["c_attn"]),
    ("gpt2", ("attention_out", "ffn_in", "ffn_out"), ["c_proj", "c_fc"]),
    ("llama", ("query", "value"), ["q_proj", "v_proj"]),
    ("qwen3", ("key", "ffn_in", "ffn_gate", "ffn_out"),
     ["k_proj", "up_proj", "gate_proj", "down_proj"]),
]
# The families that came later: peft has no defaults for most of them, so its targets are named.
LATER = [
    *((family, ("query", "ffn_in"), ["q_proj", "up_proj"])
      for family in ("gemma", "gemma2", "gemma3_text", "smollm3", "olmo2")),
    *((family, ("value", "ffn_in"), ["value", "intermediate.dense"])
      for family in ("electra", "xlm-roberta", "camembert")),
    ("opt", ("value", "attention_out", "ffn_out"), ["v_proj", "out_proj", "fc2"]),
    ("phi3", ("qkv", "ffn_in"), ["qkv_proj", "gate_up_proj"]),
    ("gpt_neox", ("qkv", "ffn_out"), ["query_key_value", "dense_4h_to_h"]),
    ("modernbert", ("qkv", "attention_out"), ["Wqkv", "attn.Wo"]),
]
DORA = [("gpt2", ("attention_out", "ffn_in"), ["attn.c_proj", "c_fc"]),
        ("mistral", ("key", "ffn_out"), ["k_proj", "down_proj"])]    # no biases


def both(base, family, ours, theirs, method=pt.lora, dropout=0.0, stabilized=False, bias=False):
    """Return our model and peft's, around equal bases, and the pairs of their parameters.

    A, B and a bias c are drawn at random, and DoRA's m is changed; they are equal in each pair.
    """
    dora = method is pt.dora
    reference = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=theirs, lora_dropout=dropout, lora_bias=bias,
        use_rslora=stabilized, use_dora=dora, fan_in_fan_out=family == "gpt2"))
    more = {} if dora else {"rank_stabilized": stabilized, "use_bias": bias}
    model = method.inject(base, method.Config(
        rank=RANK, alpha=ALPHA, targets=ours, dropout=dropout, **more))
    names = {"A": "lora_A.default.weight", "B": "lora_B.default.weight"}
    names |= {"m": "lora_magnitude_vector.default.weight"} if dora else {}
    names |= {"c": "lora_B.default.bias"} if bias else {}
    state = {n: p for n, p in reference.named_parameters() if "lora_" in n}
    pairs = {f"{name}.{letter}": (getattr(adapter, letter), state[f"base_model.model.{name}.{n}"])
             for name, adapter in pt.adapters(model).items() for letter, n in names.items()}
    assert len(state) == len(pairs)
    assert pairs.keys() == pt.adapter_parameters(model).keys()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, (own, other) in pairs.items():
            assert own.shape == other.shape
            if name.endswith("m"):
                torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-6)    # both start as ‖W‖
                own.mul_(torch.rand(own.shape, generator=generator) + 0.5)
            else:
                assert not (name.endswith("c") and (own.any() or other.any()))
                own.copy_(torch.randn(own.shape, generator=generator) * 0.3)
            other.copy_(own)
    return model.eval(), reference.eval(), pairs


def assert_equal_gradients(pairs):
    for own, other in pairs.values():
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=3e-5)
    # A bias of the keys alone changes no attention, so its gradient is rounding.
    assert sum(other.grad.abs().max() > 1e-4 for _, other in pairs.values()) > len(pairs) / 2


# A row: the method, what else is said to both, the family and the targets. Padding takes turns.
ROWS = [
    *((pt.lora, {}, *row) for row in (*PARITY, *LATER)),
    *((pt.lora, {"stabilized": True}, *PARITY[i]) for i in (2, 4, 6)),
    *((pt.lora, {"bias": True}, *PARITY[i]) for i in (0, 1, 4, 6)),
    *((pt.dora, {}, *row) for row in (*(PARITY[i] for i in (0, 4, 6)), *DORA))]


@pytest.mark.parametrize(("method", "more", "family", "ours", "theirs", "padding"), [
    (*row, padding) for row, padding in zip(ROWS, itertools.cycle(("right", "left")))])
@pytest.mark.oracle("lora", "dora")
def test_peft_gives_the_same(method, more, family, ours, theirs, padding, tiny, inputs):
    base = tiny(family)
    batch = inputs(base, padding)
    with torch.no_grad():
        before = logits(base, batch)
    model, reference, pairs = both(base, family, ours, theirs, method, **more)
    got, expected = logits(model, batch), logits(reference, batch)
    assert (got - before).abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    model(**batch).loss.backward()
    reference(**batch).loss.backward()
    assert_equal_gradients(pairs)
    merged = logits(pt.merge(model), batch)
    torch.testing.assert_close(merged, got, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(merged, logits(reference.merge_and_unload(), batch),
                               rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("method", "bias"), [(pt.lora, False), (pt.lora, True), (pt.dora, False)])
@pytest.mark.parametrize(("family", "ours", "theirs"), [PARITY[0], PARITY[4], PARITY[6]])
def test_peft_drops_the_same_inputs(method, bias, family, ours, theirs, tiny, inputs):
    model, reference, pairs = both(tiny(family), family, ours, theirs, method, 0.5, bias=bias)
    batch, results = inputs(model), []
    quiet = logits(model, batch)
    for m in (model, reference):
        m.train()
        torch.manual_seed(7)
        out = m(**batch)
        out.loss.backward()
        results.append(out.logits)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    assert (results[0] - quiet).abs().max() > 0.1
    assert_equal_gradients(pairs)


# ── LoRA+ ────────────────────────────────────────────────────────────────────────────────────

@pytest.mark.parametrize("ratio", [16.0, 4.0])
def test_lora_plus_is_the_step_that_peft_takes(ratio, tiny, inputs):
    from peft.optimizers import create_loraplus_optimizer

    model, reference, pairs = both(tiny("bert"), *PARITY[0])
    for p in reference.base_model.model.classifier.parameters():
        p.requires_grad_(True)
    batch = inputs(model)
    ours = torch.optim.SGD(pt.lora.plus_groups(model, 1e-2, ratio))
    theirs = create_loraplus_optimizer(reference, torch.optim.SGD, lr=1e-2,
                                       loraplus_lr_ratio=ratio)
    rates = {id(p): group["lr"] for group in ours.param_groups for p in group["params"]}
    assert set(rates) == {id(p) for p in model.parameters() if p.requires_grad}
    assert {rates[id(p)] for p in model.classifier.parameters()} == {1e-2}
    before = {n: own.detach().clone() for n, (own, _) in pairs.items()}
    for m, optimizer in ((model, ours), (reference, theirs)):
        m(**batch).loss.backward()
        optimizer.step()
    for name, (p, other) in pairs.items():
        rate = 1e-2 * (ratio if name.endswith("B") else 1)
        assert not torch.equal(p, before[name])
        torch.testing.assert_close(p, other, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(before[name] - rate * p.grad, p, rtol=1e-5, atol=1e-6)


def test_lora_plus_needs_a_and_b(tiny):
    with pytest.raises(NoAdapter, match=r"LoRA\+"):
        pt.lora.plus_groups(pt.full.inject(tiny("bert")), 1e-3)


# ── one layer ────────────────────────────────────────────────────────────────────────────────


def layer(n_in=7, n_out=5, bias=True, make=pt.lora.LoRALinear, **options):
    torch.manual_seed(0)
    made = make(nn.Linear(n_in, n_out, bias=bias), **{"rank": 3, **options})
    nn.init.normal_(made.B)
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("options", "s"), [
    ({"alpha": 6.0}, 2.0), ({"alpha": 1.0}, 1 / 3),
    ({"alpha": 6.0, "rank_stabilized": True}, 6 / math.sqrt(3)),
])
@pytest.mark.parametrize("leading", [(), (2,), (2, 4)])
def test_the_equation_in_float64(bias, options, s, leading):
    made = layer(bias=bias, **options).double()
    x = torch.randn(*leading, 7, dtype=torch.float64)
    W, b, A, B = (None if t is None else t.detach().numpy()
                  for t in (made.base.weight, made.base.bias, made.A, made.B))
    delta = s * (B @ A)
    expected = x.numpy() @ (W + delta).T + (0 if b is None else b)
    torch.testing.assert_close(made(x), torch.from_numpy(expected), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(made.delta(), torch.from_numpy(delta), rtol=1e-12, atol=1e-12)
    assert made.scale == pytest.approx(s)
    assert pt.lora.scale(3, options["alpha"], "rank_stabilized" in options) == pytest.approx(s)
    assert torch.linalg.matrix_rank(made.delta()) == 3


def test_the_start():
    made = pt.lora.LoRALinear(nn.Linear(400, 300), rank=50)
    bound = 1 / math.sqrt(400)
    assert torch.count_nonzero(made.B) == 0
    assert made.A.abs().max() <= bound
    assert made.A.abs().max() > 0.99 * bound
    assert made.A.detach().std() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.02)
    x, g = torch.randn(6, 400), torch.randn(6, 300)
    (made(x) * g).sum().backward()
    assert torch.count_nonzero(made.A.grad) == 0    # B is zero, so A learns from the second step on
    expected = made.scale * g.T @ (x @ made.A.detach().T)
    torch.testing.assert_close(made.B.grad, expected, rtol=1e-4, atol=1e-4)


def test_a_half_precision_base_gets_a_float32_correction():
    made = layer(alpha=6.0)
    made.base.bfloat16()
    x = torch.randn(4, 7).bfloat16()
    y = made(x)
    assert (y.dtype, made.A.dtype, made.B.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    correction = (2.0 * x.double() @ made.A.double().T @ made.B.double().T).float()
    assert_equal(y, (made.base(x) + correction).bfloat16())    # summed, then rounded
    merged = made.merged()
    assert merged.weight.dtype == torch.bfloat16
    exact = made.base.weight.double() + 2.0 * made.B.double() @ made.A.double()
    assert_equal(merged.weight, exact.float().bfloat16())
    made.base.double()
    assert_equal(made.merged().weight, made.base.weight + made.delta().double())


def test_dropout_touches_the_input_of_a_alone():
    made = layer(dropout=0.9, alpha=3.0).train()
    x = torch.randn(64, 7)
    base = made.base(x)
    torch.manual_seed(1)
    kept = nn.functional.dropout(x, 0.9)
    torch.manual_seed(1)
    torch.testing.assert_close(made(x), base + kept @ made.A.T @ made.B.T)
    torch.testing.assert_close(made.eval()(x), base + x @ made.A.T @ made.B.T)
    made.train()
    with torch.no_grad():
        made.B.zero_()
        assert_equal(made(x), base)


each_layer = pytest.mark.parametrize("make", [
    pt.lora.LoRALinear, functools.partial(pt.lora.LoRALinear, use_bias=True), pt.dora.DoRALinear,
    pt.ia3.IA3Linear, pt.bitfit.BiasAdapter, lambda base: pt.ia3.IA3Linear(base, "input")])


@each_layer
def test_merged_is_new_and_changes_nothing(make):
    made = make(nn.Linear(10, 12))
    before = copy.deepcopy(made.state_dict())
    merged = made.merged()
    for p in merged.parameters():
        assert p.grad_fn is None
        p.data.zero_()
    for n, p in made.state_dict().items():
        assert_equal(p, before[n], n)
    assert [made.train(mode).merged().training for mode in (True, False)] == [True, False]


@each_layer
def test_a_wrong_input_names_the_axis(make):
    with pytest.raises(ShapeError, match="x: n_in should be 10, is 9"):
        make(nn.Linear(10, 12))(torch.ones(2, 9))


@pytest.mark.parametrize(("options", "says"), [
    ({"rank": 0}, "rank is 0"), ({"rank": 6}, "at most 5"), ({"rank": 2.0}, "rank is 2.0"),
    ({"alpha": 0}, "alpha is 0"), ({"alpha": float("nan")}, "alpha"),
    ({"alpha": float("inf")}, "alpha is inf"), ({"alpha": "16"}, "alpha is '16'"),
    ({"dropout": 1.0}, "dropout is 1.0"), ({"dropout": -0.1}, "dropout"),
    ({"dropout": True}, "dropout is True"),
    ({"rank_stabilized": "no"}, "rank_stabilized is 'no'"),
])
def test_settings_that_cannot_work(options, says):
    with pytest.raises(BadConfig, match=says):
        layer(**options)


def test_only_linear_layers_are_corrected(tiny):
    with pytest.raises(NotSupported, match="This Embedding is no linear layer") as error:
        pt.lora.inject(tiny("llama"), pt.lora.Config(targets=("embeddings",)))
    assert "4-bit" in error.value.expected
    assert "'value'" in error.value.hint


# ── a bias of B's own ────────────────────────────────────────────────────────────────────────


def test_the_bias_is_scaled_in_forward_and_merge():
    made = layer(alpha=6.0, use_bias=True).double()
    nn.init.normal_(made.c)
    x = torch.randn(4, 7, dtype=torch.float64)
    expected = F.linear(x, made.base.weight + 2 * made.B @ made.A, made.base.bias + 2 * made.c)
    torch.testing.assert_close(made(x), expected, rtol=1e-12, atol=1e-12)
    before = copy.deepcopy(made.state_dict())
    merged = made.float().merged()
    torch.testing.assert_close(merged.bias.double(), before["base.bias"] + 2 * before["c"])
    assert merged.bias.grad_fn is None
    made.base.bfloat16()
    exact = (made.base.bias.float() + 2 * made.c).bfloat16()
    assert_equal(made.merged().bias, exact)
    y = made(x.bfloat16())
    assert y.dtype == torch.bfloat16
    correction = 2.0 * (x.bfloat16().float() @ made.A.T @ made.B.T + made.c)
    torch.testing.assert_close(y, made.base(x.bfloat16()) + correction.bfloat16())


def test_a_base_without_bias_has_no_place_for_it(tiny, inputs):
    model = pt.lora.inject(tiny("mistral"), pt.lora.Config(use_bias=True))
    with torch.no_grad():
        before = logits(model, inputs(model))
        with pytest.raises(NotMergeable, match="base has no bias") as error:
            pt.merge(model)
        assert "use_bias=False" in error.value.hint
        assert_equal(logits(model, inputs(model)), before)


def test_the_bias_is_counted_learns_as_b_does_and_is_off_by_default(tiny):
    assert pt.lora.count(10, 3, 2) == 26
    assert pt.lora.count(10, 3, 2, use_bias=True) == 29
    assert set(layer().own_parameters()) == {"A", "B"}
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(use_bias=True))
    fast = {id(p) for p in pt.lora.plus_groups(model, 1e-3)[1]["params"]}
    assert {n[-1] for n, p in pt.adapter_parameters(model).items() if id(p) in fast} == {"B", "c"}


# ── half precision, and where LoRA goes when nothing is said ─────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("family", "ours", "theirs"), [
    ("bert", ("query", "value"), ["query", "value"]), ("distilbert", ("ffn_out",), ["lin2"]),
    ("llama", ("query", "ffn_in"), ["q_proj", "up_proj"])])    # Conv1D rounds in another order
def test_half_precision_is_rounded_where_peft_rounds(family, ours, theirs, dtype, tiny, inputs):
    """To multiply by the scale before or after B flips the last bit of a few in ten thousand."""
    base = tiny(family).to(dtype)
    batch = inputs(base)
    with torch.no_grad():
        plain = base(**batch).logits
        model, reference, _ = both(base, family, ours, theirs)
        out = model(**batch).logits
        assert out.dtype == dtype
        torch.testing.assert_close(out, reference(**batch).logits, rtol=0.02, atol=0.02)
        assert not torch.equal(out, plain)
        for name, adapter in pt.adapters(model).items():
            x = torch.randn(256, adapter.base.in_features).to(dtype)
            other = reference.get_submodule(f"base_model.model.{name}")
            assert (adapter(x) != other(x)).float().mean() < 0.005
            # Rounded before the sum, many would differ: the test can tell the two apart.
            y, u = adapter.base(x), adapter.scale * (x.float() @ adapter.A.T) @ adapter.B.T
            assert (other(x) != y + u.to(dtype)).float().mean() > 0.05


@pytest.mark.parametrize("method", [pt.lora, pt.dora])
@pytest.mark.parametrize(("family", "usual"), [
    ("bert", ("query", "value")), ("gpt2", ("qkv",)), ("llama", ("query", "value"))])
def test_by_default_it_goes_to_query_and_value_or_where_both_are(method, family, usual, tiny,
                                                                tmp_path):
    table = pt.models.places(tiny(family))
    model = method.inject(tiny(family))
    assert set(pt.adapters(model)) == {name for place in usual for name in table[place]}
    assert method.Config().targets is None
    folder = pt.export.to_peft(model, tmp_path / "peft")
    written = json.loads((folder / "adapter_config.json").read_text())["target_modules"]
    assert written == [name for place in usual for name in table[place]]
    loaded = pt.load(tiny(family), pt.save(model, tmp_path / "ours"))
    assert pt.adapters(loaded).keys() == pt.adapters(model).keys()


@pytest.mark.parametrize("method", [pt.lora, pt.dora, pt.qlora])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_linear_is_every_linear_layer_of_the_blocks(method, family, tiny):
    base = tiny(family)
    blocks = base.get_submodule(pt.models.places(base)["block"][0].rpartition(".")[0])
    expected = {name for name, m in base.named_modules() if m in set(blocks.modules())
                and (isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D")}
    model = method.inject(base, method.Config(rank=2, targets="linear"))
    assert pt.adapters(model).keys() == expected
    assert not expected & {name.rpartition(".")[0] for name in pt.models.head(model)}
    one = method.inject(tiny(family), method.Config(rank=2, targets="linear", layers=1))
    assert 0 < len(pt.adapters(one)) == len(expected) // 2


def test_t5_by_full_names_computes_what_peft_computes():
    import transformers

    torch.manual_seed(0)
    base = transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=60, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0)).eval()
    names = tuple(n for n, m in base.named_modules()
                  if isinstance(m, nn.Linear) and n.endswith((".q", ".v", ".wi_0", ".wo")))
    theirs = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(
        r=2, lora_alpha=4, target_modules=list(names))).eval()
    model = pt.lora.inject(base, pt.lora.Config(rank=2, alpha=4, targets=names)).eval()
    state = dict(theirs.named_parameters())
    batch = {"input_ids": torch.randint(1, 60, (2, 7)), "labels": torch.randint(1, 60, (2, 5))}
    with torch.no_grad():
        before = model(**batch).logits
        for name, adapter in pt.adapters(model).items():
            adapter.B.normal_(0, 0.3)
            for letter in "AB":
                state[f"base_model.model.{name}.lora_{letter}.default.weight"].copy_(
                    getattr(adapter, letter))
        out = model(**batch).logits
        torch.testing.assert_close(out, theirs(**batch).logits, rtol=1e-5, atol=1e-5)
        assert (out - before).abs().max() > 0.01
    with pytest.raises(NotSupported, match="full module names"):
        pt.lora.inject(pt.remove(model))
