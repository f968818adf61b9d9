"""BitFit against plain torch: the same biases, trained in place."""

import copy

import pytest
import torch
from adapted import logits
from exact import assert_equal
from torch import nn

import peft_teach as pt
from peft_teach.errors import BadConfig, NoTargets, NotSupported
from peft_teach.models import heads

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama", "qwen2")


def biases(model) -> dict[str, nn.Parameter]:
    """The backbone's biases by their names alone, as someone without this library finds them."""
    heads = ("classifier", "pre_classifier", "score")
    return {n: p for n, p in model.named_parameters()
            if n.endswith("bias") and n.split(".")[0] not in heads}


def in_place(model):
    """BitFit without adapters: mark the biases themselves, and the head, as trained."""
    chosen = {id(p) for p in biases(model).values()}
    for n, p in model.named_parameters():
        p.requires_grad_(id(p) in chosen or n.split(".")[0] in heads.HEADS)
    return model


def trained(model):
    return [p for p in model.parameters() if p.requires_grad]


def steps(model, batch, optimizer, n):
    for _ in range(n):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.oracle("bitfit")
def test_gradients_and_steps_are_those_of_the_biases(family, tiny, inputs):
    base = tiny(family)
    batch = inputs(base)
    with torch.no_grad():
        before = logits(base, batch)
    plain, model = in_place(copy.deepcopy(base)), pt.bitfit.inject(base)
    adapters = pt.adapters(model)
    assert {f"{name}.bias" for name in adapters} == set(biases(plain))
    for m in (plain, model):
        m(**batch).loss.backward()
    for name, adapter in adapters.items():
        torch.testing.assert_close(adapter.b.grad, biases(plain)[f"{name}.bias"].grad,
                                   rtol=1e-4, atol=1e-6)
        assert adapter.base.bias.grad is None
    assert sum(a.b.grad.abs().max() > 1e-4 for a in adapters.values()) > len(adapters) / 2

    for m in (plain, model):
        m.zero_grad()
        steps(m, batch, torch.optim.SGD(trained(m), lr=0.1), 5)
    with torch.no_grad():
        after = logits(model, batch)
        assert (after - before).abs().max() > 0.05
        torch.testing.assert_close(after, logits(plain, batch), rtol=1e-4, atol=1e-5)
    merged = pt.merge(model)
    with torch.no_grad():
        torch.testing.assert_close(logits(merged, batch), after, rtol=1e-4, atol=1e-5)
    found = dict(merged.named_parameters())
    for name, p in biases(plain).items():
        torch.testing.assert_close(found[name], p, rtol=1e-4, atol=1e-6)


def test_weight_decay_draws_to_the_pretrained_bias(tiny):
    for which, make in (("plain", in_place), ("ours", pt.bitfit.inject)):
        model = make(tiny("bert"))
        start = {n: p.clone() for n, p in biases(tiny("bert")).items()}
        for p in trained(model):
            p.data += 0.5
            p.grad = torch.zeros_like(p)    # nothing but the decay acts
        optimizer = torch.optim.SGD(trained(model), lr=0.5, weight_decay=1.0)
        for _ in range(30):
            optimizer.step()
        model = pt.merge(model) if which == "ours" else model
        for n, p in biases(model).items():
            drawn_to = start[n] if which == "ours" else torch.zeros_like(p)
            torch.testing.assert_close(p, drawn_to, rtol=1e-5, atol=1e-5)


# ── one layer ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("base", [nn.Linear(7, 5), nn.LayerNorm(7)], ids=["Linear", "LayerNorm"])
@pytest.mark.parametrize("leading", [(), (2,), (2, 4)])
def test_the_equation_in_float64(base, leading):
    made = pt.bitfit.BiasAdapter(copy.deepcopy(base)).double()
    nn.init.normal_(made.base.weight)
    nn.init.normal_(made.base.bias)
    x = torch.randn(*leading, 7, dtype=torch.float64)
    assert_equal(made(x), made.base(x))
    with torch.no_grad():
        made.b.normal_()
    plain = copy.deepcopy(made.base)
    plain.bias.data += made.b.data
    torch.testing.assert_close(made(x), plain(x), rtol=1e-12, atol=1e-12)
    assert (made(x) - made.base(x)).abs().max() > 0.1
    before = copy.deepcopy(made.state_dict())
    merged = made.merged()
    assert type(merged) is type(base)
    torch.testing.assert_close(merged(x), plain(x), rtol=1e-12, atol=1e-12)
    for p in merged.parameters():
        p.data.zero_()
    for n, p in made.state_dict().items():
        assert_equal(p, before[n], n)


def test_a_half_precision_base_keeps_b_in_float32():
    made = pt.bitfit.BiasAdapter(nn.Linear(7, 5).bfloat16())
    assert made.b.dtype == torch.float32
    assert made.b.shape == (5,)
    with torch.no_grad():
        made.b.normal_()
    x = torch.randn(3, 7).bfloat16()
    assert_equal(made(x), (made.base(x) + made.b).bfloat16())    # summed, then rounded
    merged = made.merged()
    assert merged.bias.dtype == merged.weight.dtype == torch.bfloat16
    assert_equal(merged.bias, (made.base.bias.float() + made.b).bfloat16())
    assert_equal(merged.weight, made.base.weight)


def test_a_base_in_four_bits():
    base = pt.nf4.Linear4bit.from_linear(nn.Linear(64, 5))
    made = pt.bitfit.BiasAdapter(base)
    with torch.no_grad():
        made.b.normal_()
    x = torch.randn(3, 64)
    torch.testing.assert_close(made(x), base(x) + made.b)
    merged = made.merged()
    torch.testing.assert_close(merged(x), made(x))
    assert type(merged) is pt.nf4.Linear4bit
    assert_equal(merged.packed, base.packed)
    assert not torch.equal(merged.bias, base.bias)
    model = nn.Sequential(nn.LayerNorm(64), base)
    assert list(pt.adapters(pt.bitfit.inject(model))) == ["0", "1"]


def test_what_has_no_bias_is_refused():
    for base, says in ((nn.Embedding(4, 3), "an Embedding"), (nn.RMSNorm(4), "a RMSNorm"),
                       (nn.Sequential(nn.Linear(2, 2)), "a Sequential")):
        with pytest.raises(NotSupported, match=f"this is {says}"):
            pt.bitfit.BiasAdapter(base)
    for base in (nn.Linear(4, 3, bias=False), nn.LayerNorm(4, bias=False)):
        with pytest.raises(NoTargets, match=f"{type(base).__name__} has no bias"):
            pt.bitfit.BiasAdapter(base)


# ── on a model ───────────────────────────────────────────────────────────────────────────────


def test_query_and_ffn_in_are_nearly_half_of_the_biases(tiny):
    model = pt.bitfit.inject(tiny("bert"), pt.bitfit.Config(targets=("query", "ffn_in")))
    assert len(pt.adapters(model)) == 4
    assert 0.4 < 12 * (768 + 3072) / 102_912 < 0.5


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_a_model_without_biases_says_so(family, tiny):
    model = tiny(family)
    before = [(n, p.requires_grad) for n, p in model.named_parameters()]
    with pytest.raises(NoTargets, match="no biases"):
        pt.bitfit.inject(model)
    with pytest.raises(NoTargets, match="Linear has no bias"):
        pt.bitfit.inject(model, pt.bitfit.Config(targets=("query",)))
    assert [(n, p.requires_grad) for n, p in model.named_parameters()] == before


def test_where_it_goes(tiny):
    everywhere = set(pt.adapters(pt.bitfit.inject(tiny("bert"))))
    assert {"bert.pooler.dense", "bert.embeddings.LayerNorm"} < everywhere
    assert not any("classifier" in name for name in everywhere)
    assert len(everywhere) == 2 * 8 + 2
    inside = set(pt.adapters(pt.bitfit.inject(tiny("bert"), pt.bitfit.Config(layers=[1]))))
    assert inside == {n for n in everywhere if n.startswith("bert.encoder.layer.1.")}
    assert len(inside) == 8
    named = ("bert.pooler.dense", "bert.encoder.layer.0.output.LayerNorm")
    assert set(pt.adapters(pt.bitfit.inject(tiny("bert"), pt.bitfit.Config(targets=named)))) == set(
        named)
    some = pt.bitfit.Config(targets=["query", "attention_norm"], layers=0)
    assert (some.targets, some.layers) == (("query", "attention_norm"), (0,))
    assert len(pt.adapters(pt.bitfit.inject(tiny("bert"), some))) == 2
    assert len(pt.adapters(pt.bitfit.inject(tiny("qwen2")))) == 2 * 3    # query, key and value
    plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2, bias=False))
    assert list(pt.adapters(pt.bitfit.inject(plain))) == ["0", "2"]


def test_a_pretrained_head_of_words_is_no_backbone(tiny):
    from transformers import BertForMaskedLM

    model = BertForMaskedLM(tiny("bert", "backbone").config)
    assert model.cls.predictions.transform.dense.bias is not None
    assert all(name.startswith("bert.") for name in pt.adapters(pt.bitfit.inject(model)))


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"targets": ("ffn",)}, NotSupported, "this is a BertOutput"),
    ({"targets": ("block",)}, NotSupported, "this is a BertLayer"),
    ({"targets": ("embeddings",)}, NotSupported, "this is a Dropout"),
    ({"targets": ("classifier",)}, BadConfig, "task head"),
])
def test_targets_that_cannot_work_change_nothing(options, error, says, tiny):
    model = tiny("bert")
    before = [(n, p.requires_grad) for n, p in model.named_parameters()]
    with pytest.raises(error, match=says):
        pt.bitfit.inject(model, pt.bitfit.Config(**options))
    assert [(n, p.requires_grad) for n, p in model.named_parameters()] == before
