"""(IA)³ against Hugging Face peft on whole models, and against its equations in float64."""

import copy

import pytest
import torch
from adapted import logits
from exact import assert_equal
from pairs import pairwise
from torch import nn

import peft_teach as pt
from peft_teach.errors import BadConfig, NoTargets, NotSupported

peft = pytest.importorskip("peft")

# All other warnings of peft are errors: it reports missing and misnamed tensors by warning.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

FFN = r".*layer\.\d+\.output\.dense$"
PAPER = {"target_modules": r".*(\.key|\.value|layer\.\d+\.output\.dense)$",
         "feedforward_modules": FFN}
FOUR = ("key", "value", "attention_out", "ffn_out")
#   family, our targets, peft's settings (none: its default for the family)
PARITY = {
    "bert, the paper's": ("bert", None, PAPER),
    "bert, peft's default": ("bert", FOUR, {}),
    "roberta, the paper's": ("roberta", None, PAPER),
    "distilbert": ("distilbert", None, {"target_modules": ["k_lin", "v_lin", "lin2"],
                                        "feedforward_modules": ["lin2"]}),
    "gpt2, queries left out": ("gpt2", None, {}),
    "llama": ("llama", None, {}),
    "mistral, no biases": ("mistral", None, {}),
    "qwen2": ("qwen2", None, {"target_modules": ["k_proj", "v_proj", "down_proj"],
                              "feedforward_modules": ["down_proj"]}),
    "gemma, a multi-query's kin": ("gemma", None, {
        "target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}),
    "opt": ("opt", None, {"target_modules": ["k_proj", "v_proj", "fc2"],
                          "feedforward_modules": ["fc2"]}),
    "phi3, queries left out": ("phi3", None, {"target_modules": ["qkv_proj", "down_proj"],
                                              "feedforward_modules": ["down_proj"]}),
    "modernbert, queries left out": ("modernbert", None, {
        "target_modules": ["Wqkv", "mlp.Wo"], "feedforward_modules": ["mlp.Wo"]}),
    "llama, values alone": ("llama", ("value",), {"target_modules": ["v_proj"],
                                                  "feedforward_modules": []}),
}


@pytest.fixture(params=PARITY)
def both(request, tiny, inputs):
    """Give our model, peft's, pairs of parameters, and a batch; equal vectors drawn at random."""
    family, ours, theirs = PARITY[request.param]
    base = tiny(family)
    task = {"task_type": "SEQ_CLS"} if not theirs else {}
    reference = peft.get_peft_model(copy.deepcopy(base), peft.IA3Config(
        fan_in_fan_out=family == "gpt2", **theirs, **task))
    model = pt.ia3.inject(base, pt.ia3.Config(targets=ours))
    state = {n: p for n, p in reference.named_parameters() if "ia3_l" in n}
    adapters = pt.adapters(model)
    assert len(state) == len(adapters)
    pairs, generator = [], torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, adapter in adapters.items():
            other = state[f"base_model.model.{name}.ia3_l.default"]
            assert bool((other == 1).all())
            adapter.l.copy_(torch.rand(adapter.l.shape, generator=generator) + 0.5)
            other.view(-1)[-len(adapter.l):] = adapter.l
            pairs.append((adapter.l, other))
    return model.eval(), reference.eval(), pairs, base, inputs(base)


@pytest.mark.oracle("ia3")
def test_peft_gives_the_same_outputs_gradients_and_merge(both):
    model, reference, pairs, _, batch = both
    got = logits(model, batch)
    with pt.disabled(model), torch.no_grad():
        assert (logits(model, batch) - got).abs().max() > 0.02
    torch.testing.assert_close(got, logits(reference, batch), rtol=1e-5, atol=1e-5)
    for m in (model, reference):
        m(**batch).loss.backward()
    for own, other in pairs:
        assert own.grad.abs().max() > 1e-4
        torch.testing.assert_close(own.grad, other.grad.view(-1)[-len(own):], rtol=1e-4, atol=1e-5)
    merged = logits(pt.merge(model), batch)
    torch.testing.assert_close(merged, got, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(merged, logits(reference.merge_and_unload(), batch),
                               rtol=1e-5, atol=1e-5)


# As each model's own code splits what its fused projection puts out, into query, key and value.
SPLITS = {
    "gpt2": ("transformer.h.0.attn.c_attn", lambda y: y.split(32, dim=-1)),
    "modernbert": ("model.layers.0.attn.Wqkv", lambda y: y.view(5, 3, 4, 8).flatten(2).unbind(1)),
    "phi3": ("model.layers.0.self_attn.qkv_proj", lambda y: (y[:, :32], y[:, 32:48], y[:, 48:])),
    "gpt_neox": ("gpt_neox.layers.0.attention.query_key_value",
                 lambda y: [x.flatten(1) for x in y.view(5, 4, 24).chunk(3, dim=-1)]),
}


@pytest.mark.parametrize("family", SPLITS)
def test_queries_stay_as_they_are_in_a_fused_projection(family, tiny):
    model, (name, split) = pt.ia3.inject(tiny(family)), SPLITS[family]
    adapter = pt.adapters(model)[name]
    with torch.no_grad():
        adapter.l.copy_(torch.rand(adapter.l.shape) + 1.5)
        x = torch.randn(5, 32)
        q, k, v = split(adapter(x))
        q0, k0, v0 = split(adapter.base(x))
        assert_equal(q, q0)
        ratios = torch.cat([(k / k0), (v / v0)], dim=1)              # (5, d_key + d_value)
        torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))    # one factor a feature
        assert sorted(ratios[0].tolist()) == pytest.approx(sorted(adapter.l.tolist()), rel=1e-4)
        torch.testing.assert_close(adapter.merged()(x), adapter(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["phi3", "gpt_neox"])
def test_a_fused_projection_in_a_whole_model(family, tiny, inputs):
    """Keys c times as large are scores c times as large; l ⊙ v are l times the next columns."""
    plain, c = tiny(family), 1.7
    model = pt.ia3.inject(copy.deepcopy(plain), pt.ia3.Config(targets="qkv"))
    batch = inputs(plain)
    with torch.no_grad():
        before = logits(plain, batch)
        for (name, adapter), out in zip(pt.adapters(model).items(),
                                        pt.models.places(plain)["attention_out"]):
            l = torch.rand(2 if family == "phi3" else 4, 8) + 0.5    # (key-value heads, d_head)
            if family == "phi3":    # all keys, then all values; two heads share each of them
                adapter.l.copy_(torch.cat([torch.full((16,), c), l.flatten()]))
                l = l.repeat_interleave(2, dim=0)                    # (heads, d_head)
            else:                   # one head after the other: its keys, then its values
                adapter.l.copy_(torch.cat([torch.full((4, 8), c), l], dim=1).flatten())
            plain.get_submodule(name.rpartition(".")[0]).scaling *= c
            plain.get_submodule(out).weight.mul_(l.flatten())
        expected = logits(plain, batch)
        torch.testing.assert_close(logits(model, batch), expected, rtol=1e-4, atol=1e-5)
        assert (expected - before).abs().max() > 0.05


def test_the_gated_product_is_scaled_as_t_few_scales_the_linear_branch(tiny):
    """l_ff on the input of down_proj equals l_ff on the output of up_proj."""
    model = tiny("qwen3")
    mlp, plain = model.model.layers[0].mlp, copy.deepcopy(model.model.layers[0].mlp)
    pt.ia3.inject(model, pt.ia3.Config(targets=("ffn_out",)))
    x, l = torch.randn(4, 32), torch.rand(48) + 0.5
    with torch.no_grad():
        mlp.down_proj.l.copy_(l)
        before = plain(x)
        plain.up_proj.weight.mul_(l[:, None])
        assert (plain(x) - before).abs().max() > 0.1
        torch.testing.assert_close(mlp(x), plain(x), rtol=1e-5, atol=1e-5)


# ── one layer ────────────────────────────────────────────────────────────────────────────────


def layer(side="output", n_in=7, n_out=6, bias=True, first=0):
    torch.manual_seed(0)
    base = nn.Linear(n_in, n_out, bias=bias)
    made = pt.ia3.FusedIA3Linear(base, first) if first else pt.ia3.IA3Linear(base, side)
    with torch.no_grad():
        made.l.copy_(torch.rand(made.l.shape) + 0.5)
    return made


@pytest.mark.parametrize(("bias", "which", "leading"), pairwise(
    (True, False), (("output", 0), ("output", 2), ("input", 0)), ((), (2,), (2, 4))))
def test_the_equations_in_float64(bias, which, leading):
    side, first = which
    made = layer(side, bias=bias, first=first).double()
    x = torch.randn(*leading, 7, dtype=torch.float64)
    W, l = made.base.weight.detach().numpy(), [1.0] * first + made.l.tolist()
    b = made.base.bias.detach().numpy() if bias else 0
    expected = l * (x.numpy() @ W.T + b) if side == "output" else (x.numpy() * l) @ W.T + b
    torch.testing.assert_close(made(x), torch.from_numpy(expected), rtol=1e-12, atol=1e-12)
    assert (made(x) - made.base(x)).abs().max() > 0.05
    merged = made.merged()
    assert type(merged) is nn.Linear
    assert (merged.bias is None) is not bias
    torch.testing.assert_close(merged(x), torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("side", ["output", "input"])
def test_a_half_precision_base_gets_a_float32_product(side):
    made = layer(side)
    made.base.bfloat16()
    x = torch.randn(50, 7).bfloat16()
    y = made(x)
    assert (y.dtype, made.l.dtype) == (torch.bfloat16, torch.float32)
    exact = ((made.base(x).double() * made.l).bfloat16() if side == "output"
             else made.base((x.double() * made.l).bfloat16()))
    assert_equal(y, exact)
    W = made.base.weight.double() * (made.l[:, None] if side == "output" else made.l)
    merged = made.merged()
    assert merged.weight.dtype == merged.bias.dtype == torch.bfloat16
    assert (merged.weight != W.bfloat16()).float().mean() < 0.05    # rounded once, from float32
    b = made.base.bias.double() * (made.l if side == "output" else 1)
    assert_equal(merged.bias, b.bfloat16())


@pytest.mark.parametrize("side", ["output", "input"])
def test_what_is_silenced_to_almost_nothing_merges_as_exactly(side):
    made = layer(side)
    with torch.no_grad():
        made.l.fill_(1e-6)
    assert_equal(made.merged().weight, made.l[0] * made.base.weight)    # no sum that cancels


@pytest.mark.parametrize(("options", "says"), [
    ({"side": "rows"}, "side is 'rows'"), ({"side": None}, "side is None"),
    ({"first": 1, "parts": 5}, "first is 1 in 5 parts of 6"), ({"first": 3, "parts": 2}, "3 in 2"),
    ({"first": 1, "parts": 0}, "in 0 parts"), ({"first": 6}, "first is 6"),
    ({"first": -1}, "first is -1"), ({"first": 1.0}, "first is 1.0"),
    ({"first": True}, "first is True")])
def test_settings_that_cannot_work(options, says):
    kind = pt.ia3.IA3Linear if "side" in options else pt.ia3.FusedIA3Linear
    with pytest.raises(BadConfig, match=says):
        kind(nn.Linear(7, 6), **options)


def test_only_plain_linear_layers_are_scaled():
    packed = pt.nf4.Linear4bit.from_linear(nn.Linear(7, 6))
    for base in (packed, nn.Embedding(7, 6), nn.LayerNorm(6)):
        with pytest.raises(NotSupported, match=f"This {type(base).__name__} is no plain"):
            pt.ia3.IA3Linear(base)


# ── on a model ───────────────────────────────────────────────────────────────────────────────


def test_places_full_names_and_layers(tiny):
    root = "bert.encoder.layer"
    model = pt.ia3.inject(tiny("bert"), pt.ia3.Config(layers=(1,)))
    assert set(pt.adapters(model)) == {f"{root}.1.attention.self.key", f"{root}.1.output.dense",
                                       f"{root}.1.attention.self.value"}
    names = (f"{root}.0.output.dense", f"{root}.1.attention.self.key",
             f"{root}.0.attention.output.dense", f"{root}.0.attention.self.value")
    model = pt.ia3.inject(tiny("bert"), pt.ia3.Config(targets=names))
    assert {n: a.side for n, a in pt.adapters(model).items()} == dict(
        zip(names, ("input", "output", "input", "output")))
    assert {n: len(a.l) for n, a in pt.adapters(model).items()} == dict(
        zip(names, (48, 32, 32, 32)))
    config = pt.ia3.Config(targets=["key"], layers=[0])
    assert (config.targets, config.layers) == (("key",), (0,))
    assert pt.ia3.Config(targets="key").targets == ("key",)
    assert pt.ia3.Config().targets is None


@pytest.mark.parametrize(("family", "options", "error", "says"), [
    ("bert", {"targets": ("query",)}, NotSupported, "no vector for query"),
    ("bert", {"targets": ("key", "ffn_in")}, NotSupported, "no vector for ffn_in"),
    ("bert", {"targets": ("bert.pooler.dense",)}, NotSupported, "no vector for bert.pooler.dense"),
    ("bert", {"targets": ("ffn_norm",)}, NotSupported, "no vector for"),
    ("bert", {"targets": ("classifier",)}, NotSupported, "no vector for classifier"),
    ("gpt2", {"targets": ("key",)}, NoTargets, "no 'key'"),
])
def test_targets_that_cannot_work_change_nothing(family, options, error, says, tiny):
    model = tiny(family)
    before = [(n, p.requires_grad) for n, p in model.named_parameters()]
    with pytest.raises(error, match=says):
        pt.ia3.inject(model, pt.ia3.Config(**options))
    assert [(n, p.requires_grad) for n, p in model.named_parameters()] == before


def test_other_models_are_told_how():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(NotSupported, match="not known"):
        pt.ia3.inject(model)
    with pytest.raises(NotSupported, match="no vector for 2") as error:
        pt.ia3.inject(model, pt.ia3.Config(targets=("2",)))
    assert "IA3Linear" in error.value.hint
    model = pt.attach(model, ("2",), lambda base: pt.ia3.IA3Linear(base, "input"))
    assert list(pt.adapter_parameters(model)) == ["2.l"]
