"""Bottleneck adapters: what the `adapters` library computes, and the papers' formulas in float64.

`golden_adapters.py` recorded that library's outputs. The formulas are put on a plain model by
hooks, with A written out, so that they share nothing with the code under test.
"""

import copy
import dataclasses
import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from adapted import features, fill, hidden
from exact import assert_equal
from pairs import pairwise
from safetensors.torch import load_file
from tiny import FAMILIES
from torch import nn

import peft_teach as pt
from peft_teach.errors import (
    BadConfig,
    NoTargets,
    ShapeError,
)

POST_LN = ("bert", "roberta", "distilbert", "electra", "xlm-roberta", "camembert")
VALUES = {name: getattr(pt.bottleneck, name) for name in
          ("HOULSBY", "PFEIFFER", "BAPNA", "POST_ATTENTION", "PARALLEL", "ENDS")}
GOLDEN = Path(__file__).parent / "golden"
SIZE = 5


def small(value: str | pt.bottleneck.Config, **changes) -> pt.bottleneck.Config:
    return dataclasses.replace(VALUES[value] if isinstance(value, str) else value,
                               **{"size": SIZE} | changes)


# ── the adapters library ─────────────────────────────────────────────────────────────────────

#        name in the file   ours                                      families
PARITY = {
    "houlsby": (small("HOULSBY"), ("bert", "roberta", "gpt2", "llama")),
    "double_seq_bn": (small("HOULSBY", activation="silu"), ("bert", "roberta", "gpt2", "llama")),
    "pfeiffer": (small("PFEIFFER"), ("bert", "roberta", "gpt2", "llama")),
    "bapna": (small("BAPNA"), ("bert", "roberta", "gpt2", "llama")),
    "post_attention": (small("POST_ATTENTION"), ("bert", "roberta", "gpt2", "llama")),
    "parallel": (small("PARALLEL"), ("bert", "roberta")),    # on pre-LN it reads something else
}


def golden(family: str, tiny):
    """Return the recorded tensors, and the tiny model with the recorded weights."""
    kept = load_file(GOLDEN / f"adapters-{family}.safetensors")
    model = tiny(family, "backbone")
    weights = {n.removeprefix("base."): t for n, t in kept.items() if n.startswith("base.")}
    assert set(weights) == {n for n, _ in model.named_parameters()}
    model.load_state_dict({n: t.float() for n, t in weights.items()}, strict=False)
    return kept, model, {n: kept[n] for n in ("input_ids", "attention_mask")}


@pytest.mark.parametrize(("name", "family"), [(name, family) for name, (_, families)
                                              in PARITY.items() for family in families])
@pytest.mark.oracle("bottleneck")
def test_the_adapters_library_gives_the_same_outputs(name, family, tiny):
    kept, model, batch = golden(family, tiny)
    torch.testing.assert_close(hidden(model, batch), kept["output"], rtol=1e-5, atol=1e-5)
    assert (kept[f"{name}.output"] - kept["output"]).abs().max() > 0.1
    model = pt.bottleneck.inject(model, PARITY[name][0])
    table = pt.models.places(model)
    copied = 0
    with torch.no_grad():
        for own, p in pt.adapter_parameters(model).items():
            module, _, part = own.partition(".A.")
            after = "attention" if module in table["attention_out"] else "ffn"
            block = next(i for i, path in enumerate(table["block"]) if module.startswith(path))
            p.copy_(kept[f"{name}.{block}.{after}.{part}"])
            copied += 1
    assert copied == sum(n.startswith(name + ".") for n in kept) - 1
    torch.testing.assert_close(hidden(model, batch), kept[f"{name}.output"], rtol=1e-5, atol=1e-5)


def test_the_recorded_files_are_those_of_the_provenance():
    told = json.loads((GOLDEN / "provenance.json").read_text("utf-8"))
    assert told["versions"]["adapters"] == "1.3.0"
    assert {f.name: hashlib.sha256(f.read_bytes()).hexdigest()
            for f in GOLDEN.glob("*.safetensors")} == told["sha256"]


# ── the formulas, in float64 ─────────────────────────────────────────────────────────────────

ACT = {"relu": lambda z: z * (z > 0), "gelu": lambda z: z * (1 + torch.erf(z / math.sqrt(2))) / 2,
       "silu": lambda z: z / (1 + torch.exp(-z)),
       "tanh": lambda z: (torch.exp(2 * z) - 1) / (torch.exp(2 * z) + 1)}


def A(u, own, config):
    """s A(u), written out."""
    if config.own_norm:
        centred = u - u.mean(-1, keepdim=True)
        u = centred / torch.sqrt((centred ** 2).mean(-1, keepdim=True) + 1e-5)
        u = u * own["norm.weight"] + own["norm.bias"]
    z = torch.einsum("...d,md->...m", u, own["W_down"]) + own["b_down"]
    return config.scale * (torch.einsum("...m,dm->...d", ACT[config.activation](z), own["W_up"])
                           + own["b_up"])


def after(module, own, config):
    """y + A(y)"""
    module.register_forward_hook(lambda _, inputs, y: y + A(y, own, config))


def before_the_norm(module, own, config):
    """LN(x + A(LN(x)))"""
    module.register_forward_pre_hook(lambda _, x: (x[0] + A(nn.functional.layer_norm(
        x[0], x[0].shape[-1:], module.weight, module.bias, module.eps), own, config),))


def beside(module, own, config):
    """F(x) + A(x)"""
    module.register_forward_hook(lambda _, x, y: y + A(x[0], own, config))


def into_the_residual(module, own, config):
    """F(h, r + A(r))"""
    module.register_forward_pre_hook(lambda _, x: (x[0], x[1] + A(x[1], own, config)))


SOME = small("PFEIFFER", activation="tanh", scale=0.7)


def output_at(*targets, **changes):
    return dataclasses.replace(SOME, reads="output", targets=targets, **changes)


# family, settings, the formula, the modules that carry it in block {}
FORMULAS = [
    ("bert", small("HOULSBY"), after, ["encoder.layer.{}.attention.output.dense",
                                       "encoder.layer.{}.output.dense"]),
    ("bert", small("PFEIFFER", scale=2.0), before_the_norm, ["encoder.layer.{}.output.LayerNorm"]),
    ("bert", small("PARALLEL"), into_the_residual, ["encoder.layer.{}.output"]),
    ("bert", small("ENDS"), after, ["embeddings.dropout", "encoder.layer.1.output.LayerNorm"]),
    ("bert", output_at("ffn", own_norm=True), after, ["encoder.layer.{}.output"]),
    ("bert", output_at("attention_norm"), after, ["encoder.layer.{}.attention.output.LayerNorm"]),
    ("bert", dataclasses.replace(SOME, targets=("attention_norm",)), before_the_norm,
     ["encoder.layer.{}.attention.output.LayerNorm"]),
    ("bert", output_at("block"), after, ["encoder.layer.{}"]),
    ("roberta", small("PARALLEL", own_norm=True), into_the_residual, ["encoder.layer.{}.output"]),
    ("distilbert", small("HOULSBY"), after, ["transformer.layer.{}.attention.out_lin",
                                             "transformer.layer.{}.ffn.lin2"]),
    ("distilbert", small("PFEIFFER"), before_the_norm, ["transformer.layer.{}.output_layer_norm"]),
    ("distilbert", small("BAPNA"), after, ["transformer.layer.{}.output_layer_norm"]),
    ("distilbert", small("POST_ATTENTION"), after, ["transformer.layer.{}.attention.out_lin"]),
    ("distilbert", small("PARALLEL"), beside, ["transformer.layer.{}.ffn"]),
    ("distilbert", small("ENDS"), after, ["embeddings.dropout",
                                          "transformer.layer.1.output_layer_norm"]),
    ("distilbert", output_at("block", "ffn_out"), after,
     ["transformer.layer.{}", "transformer.layer.{}.ffn.lin2"]),
    ("gpt2", small("PFEIFFER"), after, ["h.{}"]),
    ("gpt2", small("BAPNA", scale=3.0), after, ["h.{}"]),
    ("gpt2", small("PARALLEL"), beside, ["h.{}.mlp"]),
    ("gpt2", small("ENDS"), after, ["drop", "ln_f"]),
    ("gpt2", output_at("ffn", layers=(1,)), after, ["h.1.mlp"]),
    ("llama", small("HOULSBY", activation="relu"), after, ["layers.{}.self_attn.o_proj",
                                                           "layers.{}.mlp.down_proj"]),
    ("llama", small("PARALLEL"), beside, ["layers.{}.mlp"]),
    ("llama", small("ENDS"), after, ["embed_tokens", "norm"]),
    ("mistral", small("BAPNA"), after, ["layers.{}"]),
    ("qwen2", small("PFEIFFER"), after, ["layers.{}"]),
    ("qwen3", small("PARALLEL", own_norm=True), beside, ["layers.{}.mlp"]),
]


@pytest.mark.parametrize(("family", "config", "formula", "names"), FORMULAS)
def test_the_formula_gives_the_same_outputs_and_gradients(family, config, formula, names, tiny,
                                                          inputs):
    plain = tiny(family, "backbone").double()
    batch = inputs(plain)
    model = pt.bottleneck.inject(copy.deepcopy(plain), config).double()
    fill(model)
    names = list(dict.fromkeys(n.format(i) for i in range(2) for n in names))
    assert set(pt.adapters(model)) == set(names)
    # Llama's norms compute in float32 whatever comes in
    close = {"rtol": 1e-9, "atol": 1e-9} if family in (*POST_LN, "gpt2") else {
        "rtol": 1e-4, "atol": 1e-4}

    before = plain(**batch)[0].detach()
    state = {n: p.clone().requires_grad_() for n, p in pt.adapter_state(model).items()}
    for name in names:
        own = {n.removeprefix(name + ".A."): p for n, p in state.items()
               if n.startswith(name + ".A.")}
        assert len(own) == (6 if config.own_norm else 4)
        formula(plain.get_submodule(name), own, config)
    expected, got = plain(**batch)[0], model(**batch)[0]
    assert (expected - before).abs().max() > 0.1
    torch.testing.assert_close(got, expected, **close)

    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(2)).double()
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    for name, p in pt.adapter_parameters(model).items():
        assert state[name].grad.abs().max() > 0
        torch.testing.assert_close(p.grad, state[name].grad, **close)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_on_pre_ln_the_library_reads_the_residual_and_we_the_normed_input(family, tiny):
    kept, plain, batch = golden(family, tiny)
    model = pt.bottleneck.inject(copy.deepcopy(plain), small("PARALLEL"))
    for i, block in enumerate(plain.h if family == "gpt2" else plain.layers):
        own = {n: kept[f"parallel.{i}.ffn.{n}"] for n in ("W_down", "b_down", "W_up", "b_up")}
        norm = block.ln_2 if family == "gpt2" else block.post_attention_layernorm
        seen = {}
        norm.register_forward_pre_hook(lambda _, x, seen=seen: seen.update(r=x[0]))
        block.mlp.register_forward_hook(lambda _, x, y, own=own, seen=seen: y + A(
            seen["r"], own, small("PARALLEL")))
        name = pt.models.places(model)["ffn"][i]
        with torch.no_grad():
            for n, p in pt.adapters(model)[name].A.named_parameters():
                p.copy_(own[n])
    torch.testing.assert_close(hidden(plain, batch), kept["parallel.output"], rtol=1e-5, atol=1e-5)
    assert (hidden(model, batch) - kept["parallel.output"]).abs().max() > 0.1


@pytest.mark.parametrize(("activation", "own_norm", "leading"), pairwise(
    ("relu", "gelu", "silu", "tanh"), (False, True), ((), (3,), (2, 3))))
def test_the_network_itself(activation, own_norm, leading):
    torch.manual_seed(0)
    made = pt.bottleneck.Bottleneck(7, 3, activation, own_norm).double()
    for p in made.parameters():
        nn.init.normal_(p)
    u = torch.randn(*leading, 7).double()
    config = pt.bottleneck.Config(activation=activation, own_norm=own_norm, reads="output")
    torch.testing.assert_close(made(u), A(u, dict(made.named_parameters()), config),
                               rtol=1e-12, atol=1e-12)


def test_a_wrong_input_names_the_axis():
    made = pt.bottleneck.Bottleneck(7, 3)
    with pytest.raises(ShapeError, match="u: d_model should be 7, is 6"):
        made(torch.ones(2, 6))
    with pytest.raises(ShapeError, match="u is a tuple"):
        made((torch.ones(2, 7),))


# ── where the papers put them ────────────────────────────────────────────────────────────────

PLACES = {    # on post-LN, on pre-LN
    "HOULSBY": (("attention_out", "ffn_out"), ("attention_out", "ffn_out")),
    "POST_ATTENTION": (("attention_out",), ("attention_out",)),
    "PFEIFFER": (("ffn_norm",), ("block",)),
    "BAPNA": (("ffn_norm",), ("block",)),
    "PARALLEL": (("ffn",), ("ffn",)),
    "ENDS": (("embeddings", "last"), ("embeddings", "last")),
}


@pytest.mark.parametrize("value", VALUES)
def test_each_value_finds_its_modules(value, tiny):
    kinds = {"PARALLEL": pt.bottleneck.InputAdapter, "PFEIFFER": pt.bottleneck.NormedAdapter}
    for family in FAMILIES:
        if (value, family) == ("PARALLEL", "opt"):    # there it has no place
            continue
        model = tiny(family)
        table = pt.models.places(model)
        pre_ln = family not in POST_LN
        expected = {n for place in PLACES[value][pre_ln] for n in table[place]}
        kind = pt.bottleneck.OutputAdapter if value == "PFEIFFER" and pre_ln else kinds.get(
            value, pt.bottleneck.OutputAdapter)
        model = pt.bottleneck.inject(model, small(value))
        assert set(pt.adapters(model)) == expected, family
        assert {type(a) for a in pt.adapters(model).values()} == {kind}, family
        assert {a.scale for a in pt.adapters(model).values()} == {
            4.0 if value == "PARALLEL" else 1.0}
        own = pt.bottleneck.count(32, SIZE, own_norm=value == "BAPNA")
        trained = sum(p.numel() for p in pt.adapter_parameters(model).values())
        assert trained == own * len(expected), family


def test_without_a_config_it_is_pfeiffer(tiny):
    model = pt.bottleneck.inject(tiny("bert"))
    record = pt.notes.note_of(model)
    assert (record.method, record.config) == ("bottleneck", pt.bottleneck.PFEIFFER)
    assert pt.bottleneck.Config() == pt.bottleneck.PFEIFFER


def test_a_value_is_changed_by_replacing(tiny):
    config = dataclasses.replace(pt.bottleneck.PFEIFFER, size=16, layers=[1], targets=["ffn_norm"])
    assert (config.targets, config.layers) == (("ffn_norm",), (1,))
    model = pt.bottleneck.inject(tiny("bert"), config)
    assert list(pt.adapters(model)) == ["bert.encoder.layer.1.output.LayerNorm"]
    assert pt.adapters(model)[next(iter(pt.adapters(model)))].A.W_down.shape == (16, 32)
    assert dataclasses.replace(pt.bottleneck.HOULSBY, targets="ffn_out").targets == ("ffn_out",)


def test_a_full_name_works_where_the_form_fits(tiny):
    name = "bert.encoder.layer.0.output"
    model = pt.bottleneck.inject(tiny("bert"), small("PARALLEL", targets=(name,)))
    assert list(pt.adapters(model)) == [name]


# ── how they start ───────────────────────────────────────────────────────────────────────────


def test_normal_is_cut_at_two_sigma():
    torch.manual_seed(0)
    made = pt.bottleneck.Bottleneck(384, 64, own_norm=True)
    for W in (made.W_down, made.W_up):
        assert 0.0195 < W.abs().max() <= 0.02
        assert W.std().item() == pytest.approx(0.0088, rel=0.02)    # of a Gaussian of 0.01, cut
    assert_equal(made.b_down, torch.zeros(64))
    assert_equal(made.b_up, torch.zeros(384))
    assert_equal(made.norm.weight, torch.ones(384))


@pytest.mark.parametrize(("d_model", "size"), [(32, 5), (384, 64), (64, 512)])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_the_start_stays_within_its_bound(d_model, size, activation):
    bound = 0.01 ** 2 * (math.sqrt(size) + math.sqrt(d_model)) ** 2
    for seed in range(10):
        torch.manual_seed(seed)
        made = pt.bottleneck.Bottleneck(d_model, size, activation)
        u = torch.randn(200, d_model) * 3
        ratio = made(u).norm(dim=1) / u.norm(dim=1)
        assert ratio.mean() > 0
        assert ratio.max() < bound
        worst = torch.linalg.matrix_norm(made.W_up, 2) * torch.linalg.matrix_norm(made.W_down, 2)
        assert worst < bound    # for the worst u of all, since |act(z)| is at most |z|
    if (d_model, size, activation) == (384, 64, "relu"):
        assert bound == pytest.approx(0.076, abs=0.001)
        assert ratio.mean().item() == pytest.approx(0.0086, rel=0.1)


def test_zero_is_exact_and_learns(tiny, inputs):
    base = tiny("bert")
    batch = inputs(base)
    before = base(**batch).logits
    model = pt.bottleneck.inject(base, small("PARALLEL", size=400))
    assert_equal(model(**batch).logits, before)
    model(**batch).loss.backward()
    for adapter in pt.adapters(model).values():
        W = adapter.A.W_down
        assert 0.99 < W.abs().max() * math.sqrt(32) <= 1
        assert W.std().item() == pytest.approx(1 / math.sqrt(3 * 32), rel=0.02)
        assert torch.count_nonzero(W.grad) == 0
        assert torch.count_nonzero(adapter.A.W_up.grad) > 0


def test_two_zero_matrices_never_learn():
    made = pt.bottleneck.Bottleneck(7, 3, init="zero")
    nn.init.zeros_(made.W_down)
    made(torch.randn(5, 7)).square().sum().backward()
    assert torch.count_nonzero(made.W_down.grad) == torch.count_nonzero(made.W_up.grad) == 0


def test_houlsby_stands_before_the_dropout(tiny, inputs):
    base = tiny("bert", "backbone").train()
    for block in base.encoder.layer:
        block.attention.output.dropout.p = block.output.dropout.p = 1.0    # o is dropped, all of it
    batch = inputs(base)
    before = hidden(base, batch)
    model = pt.bottleneck.inject(base, small("HOULSBY"))
    fill(model)
    assert_equal(hidden(model, batch), before)
    for block in model.encoder.layer:
        block.output.dropout.p = 0.0
    assert not torch.equal(hidden(model, batch), before)


# ── what cannot work ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("family", "changes", "error", "says"), [
    ("bert", {"size": 0}, BadConfig, "size is 0"),
    ("bert", {"size": 4.0}, BadConfig, "size is 4.0"),
    ("bert", {"size": True}, BadConfig, "size is True"),
    ("bert", {"activation": "swish"}, BadConfig, "'swish'.*\n.*relu, gelu, silu, tanh"),
    ("bert", {"init": "small"}, BadConfig, "init is 'small'.*\n.*normal, zero"),
    ("bert", {"reads": "residual"}, BadConfig, "reads is 'residual'.*\n.*output, normed, input"),
    ("bert", {"reads": "output", "own_norm": "yes"}, BadConfig, "own_norm is 'yes'"),
    ("bert", {"own_norm": True}, BadConfig, "normalized already.*\n.*BAPNA"),
    ("bert", {"scale": 0}, BadConfig, "scale is 0"),
    ("bert", {"scale": -1.0}, BadConfig, "scale is -1.0"),
    ("bert", {"scale": math.nan}, BadConfig, "scale is nan"),
    ("bert", {"layers": (2,)}, BadConfig, "layers=\\(2,\\)"),
    ("llama", {"targets": ("ffn_norm",)}, NoTargets, "'ffn_norm'"),
    ("bert", {"targets": ("ffn_out",)}, BadConfig,
     "'normed' cannot be had at bert.encoder.layer.0.output.dense.*\n.*attention_norm, ffn_norm"),
    ("llama", {"targets": ("block",)}, BadConfig, "'normed' cannot be had at.*\n.*none here"),
    ("bert", {"targets": ("embeddings", "ffn_norm")}, BadConfig, "had at bert.embeddings.dropout"),
    ("bert", {"reads": "output", "targets": ("query",)}, BadConfig, "attention.self.query"),
    ("bert", {"reads": "output", "targets": ("bert.encoder.layer.0.attention",)}, BadConfig,
     "encoder.layer.0.attention\\."),
    ("bert", {"reads": "output", "targets": ("classifier",)}, BadConfig, "at classifier"),
    ("bert", {"reads": "input", "targets": ("ffn_out",)}, BadConfig, "one of these places: ffn\n"),
    ("llama", {"reads": "input", "targets": ("ffn", "block")}, BadConfig, "at model.layers.0\\."),
])
def test_settings_that_cannot_work_change_nothing(family, changes, error, says, tiny, inputs):
    model = tiny(family)
    batch = inputs(model)
    before, names = model(**batch).logits, [n for n, _ in model.named_modules()]
    model.get_submodule(pt.models.places(model)["block"][0]).requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(error, match=says):
        pt.bottleneck.inject(model, small("PFEIFFER", **changes))
    assert [n for n, _ in model.named_modules()] == names
    assert [p.requires_grad for p in model.parameters()] == flags
    assert_equal(model(**batch).logits, before)
    assert pt.notes.note_of(model) is None


# ── on the model ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["output", "normed", "input", "residual"])
def test_a_half_precision_base_gets_a_float32_correction(kind):
    torch.manual_seed(0)
    network = pt.bottleneck.Bottleneck(8, 3, own_norm=kind != "normed")
    for p in network.parameters():
        nn.init.normal_(p)
    make = pt.bottleneck.FORMS["input" if kind == "residual" else kind]
    base = {"output": nn.Linear(6, 8), "normed": nn.LayerNorm(8), "input": nn.Linear(8, 8),
            "residual": Half()}[kind].bfloat16()
    made = make(base, network, scale=1.7)
    x, r = torch.randn(5, 6 if kind == "output" else 8).bfloat16(), torch.randn(5, 8).bfloat16()

    def correction(u):
        return 1.7 * network(u.float())

    expected = {"output": lambda: (base(x) + correction(base(x))).bfloat16(),    # summed first
                "normed": lambda: base((x + correction(base(x))).bfloat16()),
                "input": lambda: (base(x) + correction(x)).bfloat16(),
                "residual": lambda: base(x, (r + correction(r)).bfloat16())}[kind]()
    y = made(x, r) if kind == "residual" else made(x)
    assert y.dtype == torch.bfloat16
    assert_equal(y, expected)
    assert {p.dtype for p in made.own_parameters().values()} == {torch.float32}


class Half(nn.Module):
    """BERT's `output`: the second half of a feed-forward block."""

    def __init__(self):
        super().__init__()
        self.dense, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, h, r):
        return self.norm(self.dense(h) + r)


@pytest.mark.parametrize("value", ["PFEIFFER", "BAPNA", "PARALLEL", "ENDS"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_generate_with_a_cache_is_the_forward_pass_repeated(family, value, tiny, inputs):
    model = tiny(family, "lm")
    batch = features(inputs(model, "left"))
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    plain = model.generate(**batch, **options)
    model = pt.bottleneck.inject(model, small(value))
    fill(model)
    ids = model.generate(**batch, **options)
    assert not torch.equal(ids, plain)
    assert_equal(ids, model.generate(**batch, **options, use_cache=False))
    with pt.disabled(model):
        assert_equal(model.generate(**batch, **options), plain)


def test_tied_embeddings_stay_tied_and_only_the_input_is_adapted(tiny, inputs):
    model = tiny("llama", "lm")
    model.lm_head.weight = model.model.embed_tokens.weight
    ids = inputs(model)["input_ids"]
    plain = model.lm_head(model.model.embed_tokens(ids))
    model = pt.bottleneck.inject(model, small("ENDS"))
    fill(model)
    adapted = model.model.embed_tokens(ids)
    assert model.lm_head.weight is model.model.embed_tokens.base.weight
    assert (model.lm_head(adapted) - plain).abs().max() > 0.1
    assert_equal(model.lm_head(model.model.embed_tokens.base(ids)), plain)


@pytest.mark.parametrize(("family", "misses"), [("bert", False), ("llama", True), ("gpt2", True)])
def test_recorded_hidden_states_miss_an_adapter_around_a_block(family, misses, tiny, inputs):
    model = tiny(family, "backbone")
    batch = inputs(model)
    model = pt.bottleneck.inject(model, small("PFEIFFER"))
    fill(model)
    first, seen = pt.models.places(model)["block"][0], []
    model.get_submodule(first).register_forward_hook(lambda _, x, y: seen.append(y))
    with torch.no_grad():
        recorded = model(**batch, output_hidden_states=True).hidden_states[1]
    assert torch.equal(recorded, seen[0]) is not misses
