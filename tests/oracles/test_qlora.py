"""QLoRA against Hugging Face peft on bitsandbytes, and what it does with a base in 4 bits."""

import copy
import re
import warnings

import bitsandbytes as bnb
import pytest
import torch
from adapted import assert_same, everything_about, hidden
from exact import assert_equal
from pairs import pairwise
from safetensors.torch import load_file, save_file
from tiny import TWELVE
from torch import nn

import peft_teach as pt
from peft_teach import models, nf4, notes, running_stats
from peft_teach.errors import (
    AdapterFileError,
    BadConfig,
    NotMergeable,
    NotSupported,
)

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama", "mistral", "qwen2", "qwen3")
every_family = pytest.mark.parametrize("family", FAMILIES)
LAYERS = {"bert": 12, "roberta": 12, "distilbert": 12, "gpt2": 8}    # the Llama family: 14
RANK = 4


def config(**more) -> pt.qlora.Config:
    return pt.qlora.Config(**{"rank": RANK, "alpha": 12.0} | more)


def random_update(model):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for adapter in pt.adapters(model).values():
            adapter.B.normal_(0, 0.1, generator=generator)


def linear_names(model):
    table = models.places(model)
    return [n for place in models.LINEAR for n in table.get(place, ())]


def rounded(model, **settings):
    """Return a copy in full precision whose weights in the blocks went through NF4 by hand."""
    model = copy.deepcopy(model)
    for name in linear_names(model):
        layer = model.get_submodule(name)
        W = layer.weight.detach()
        turned = type(layer).__name__ == "Conv1D"
        W = nf4.dequantize(nf4.quantize(W.T if turned else W, **settings))
        layer.weight.data = W.T.contiguous() if turned else W
    return model


# ── the oracle ───────────────────────────────────────────────────────────────────────────────


def wide(family):
    """Return a tiny model with rows of whole blocks, which bitsandbytes needs on AVX-512."""
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 4, "max_position_embeddings": 42, "initializer_range": 0.1,
             "pad_token_id": 0}
    if family == "bert":
        return transformers.BertForSequenceClassification(transformers.BertConfig(
            **sizes, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        **sizes, num_key_value_heads=2, attention_bias=True, bos_token_id=1, eos_token_id=2))


def their_base(base, double):
    """Return a copy of `base` with bitsandbytes' layers in the blocks, as transformers makes."""
    base = copy.deepcopy(base)
    for name in linear_names(base):
        linear = base.get_submodule(name)
        layer = bnb.nn.Linear4bit(linear.in_features, linear.out_features, quant_type="nf4",
                                  bias=linear.bias is not None, compress_statistics=double)
        layer.weight = bnb.nn.Params4bit(linear.weight.detach().clone(), requires_grad=False,
                                         quant_type="nf4", compress_statistics=double,
                                         module=layer)
        layer.bias = linear.bias
        models.replace(base, name, layer.to("cpu"))
    base.is_loaded_in_4bit = True    # so that peft takes its own 4-bit class
    return base


# What differs from the tiny models: rows of whole blocks, and weights as small as in `wide`.
WIDE = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.1}
OTHER = {"opt": {"hidden_size": 64, "ffn_dim": 128, "init_std": 0.1, "word_embed_proj_dim": 64}}
HEADS = {family: {"head_dim": 16} for family in ("gemma", "gemma2", "gemma3_text")}


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("family", ["llama", "bert", *(
    pytest.param(family, marks=pytest.mark.long) for family in TWELVE)])
@pytest.mark.oracle("qlora")
def test_peft_on_bitsandbytes_gives_the_same(family, double, dora, tiny, inputs):
    base = (tiny(family, **OTHER.get(family, WIDE) | HEADS.get(family, {})) if family in TWELVE
            else wide(family))
    batch = inputs(base)
    with torch.no_grad():
        before = base.eval()(**batch).logits
    names = linear_names(base)
    reference = peft.get_peft_model(their_base(base, double), peft.LoraConfig(
        r=RANK, lora_alpha=12.0, target_modules=names, use_dora=dora)).train()
    model = pt.qlora.inject(base, config(double=double, dora=dora)).train()
    parameters, compared = dict(reference.named_parameters()), []
    generator = torch.Generator().manual_seed(0)
    for name, adapter in pt.adapters(model).items():
        other = reference.get_submodule(f"base_model.model.{name}")
        assert type(other).__module__ == "peft.tuners.lora.bnb"
        state = other.base_layer.weight.quant_state
        own = adapter.base
        assert_equal(own.packed, other.base_layer.weight.data.reshape(-1))
        if double:    # a few of their codes are not the nearest; the test takes theirs
            assert (own.absmax != state.absmax).float().mean() < 0.02
            own.absmax.copy_(state.absmax)
        for letter in "AB":
            a = getattr(adapter, letter)
            b = parameters[f"base_model.model.{name}.lora_{letter}.default.weight"]
            with torch.no_grad():
                a.copy_(torch.randn(a.shape, generator=generator) * 0.2)
                b.copy_(a)
            compared.append((a, b))
        if dora:
            b = parameters[f"base_model.model.{name}.lora_magnitude_vector.default.weight"]
            with torch.no_grad():
                adapter.m.mul_(1.1)
                b.copy_(adapter.m)
            compared.append((adapter.m, b))
    assert len(compared) == len(names) * (3 if dora else 2)
    got, expected = model(**batch), reference(**batch)
    assert (got.logits - before).abs().max() > 0.1
    torch.testing.assert_close(got.logits, expected.logits, rtol=1e-5, atol=1e-5)
    got.loss.backward()
    expected.loss.backward()
    for a, b in compared:
        largest = b.grad.abs().max().item()    # float32 keeps seven digits of it
        assert largest > 0
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=3e-5 * max(1.0, largest))


# ── what inject does ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("family", "dtype", "form"), pairwise(
    FAMILIES, (torch.float32, torch.bfloat16), ((True, 64), (False, 128))), ids=str)
def test_law_1_at_the_start_it_is_the_rounded_base(family, dtype, form, tiny, inputs):
    double, block_size = form
    model = tiny(family).to(dtype)
    batch = inputs(model)
    before = hidden(model, batch)
    expected = hidden(rounded(model, double=double, block_size=block_size), batch)
    model = pt.qlora.inject(model, config(double=double, block_size=block_size))
    assert len(models.quantized(model)) == LAYERS.get(family, 14) == len(pt.adapters(model))
    assert list(pt.adapters(model)) == sorted(linear_names(model), key=list(
        pt.adapters(model)).index)
    start = hidden(model, batch)
    assert (start.dtype, start.isfinite().all()) == (dtype, True)
    assert (start - before).abs().max() > 0.01
    if dtype == torch.float32:
        torch.testing.assert_close(start, expected, rtol=1e-4, atol=1e-5)
    else:    # GPT-2's Conv1D rounds in another order
        assert (start - expected).abs().max() < 0.2 * (start - before).abs().max()


def test_law_4_merged_layers_have_the_dtype_of_the_base(tiny, inputs):
    model = pt.qlora.inject(tiny("llama").bfloat16(), config())
    random_update(model)
    expected = {n: (a.base.weight.float() + a.delta().detach()).bfloat16()
                for n, a in pt.adapters(model).items()}
    adapted = hidden(model, inputs(model))
    model = pt.merge(model)
    for n, W in expected.items():
        assert_equal(model.get_submodule(n).weight, W)
    assert (hidden(model, inputs(model)) - adapted).abs().max() < 0.1 * adapted.abs().max()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_weights_in_4_bits_are_counted_as_before(family, tiny):
    before, places = pt.account.parameters(tiny(family)), pt.account.by_place(tiny(family))
    after = pt.account.parameters(pt.qlora.inject(tiny(family), config()))
    assert (after.frozen, after.head) == (before.frozen, before.head)
    base = four_bit(tiny(family))
    assert pt.account.parameters(base) == before
    assert pt.account.by_place(base) == places


# ── what is quantized, and what is corrected ─────────────────────────────────────────────────


def test_on_every_family_all_linear_layers_of_the_blocks_are_quantized(tiny):
    for family in (*FAMILIES, *TWELVE):
        model = tiny(family)
        names = linear_names(model)
        quantized = models.quantized(pt.qlora.inject(model, config()))
        assert {name.removesuffix(".base") for name in quantized} == {*names}, family


def test_places_can_be_chosen_apart(tiny, inputs):
    model = tiny("llama")
    model = pt.qlora.inject(model, config(quantize=("ffn_in", "ffn_out"), layers=[1],
                                          targets=["query", "ffn_in"]))
    assert set(models.quantized(model)) == {
        "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj",
        "model.layers.1.mlp.up_proj.base", "model.layers.1.mlp.down_proj"}
    assert {n: type(a.base) for n, a in pt.adapters(model).items()} == {
        "model.layers.1.self_attn.q_proj": nn.Linear,
        "model.layers.1.mlp.up_proj": nf4.Linear4bit}
    kinds = {type(a) for a in pt.adapters(pt.qlora.inject(tiny("bert"), config(dora=True)))
             .values()}
    assert kinds == {pt.dora.DoRALinear}
    only = pt.qlora.inject(tiny("bert"), config(quantize="query"))
    assert len(models.quantized(only)) == len(pt.adapters(only)) == 2


def test_all_settings_reach_the_layers(tiny):
    model = pt.qlora.inject(tiny("bert"), config(dropout=0.25, rank_stabilized=True,
                                                 double=False, block_size=32))
    for adapter in pt.adapters(model).values():
        assert type(adapter) is pt.lora.LoRALinear
        assert (adapter.scale, adapter.dropout.p, adapter.A.shape[0]) == (6.0, 0.25, RANK)
        assert (adapter.base.block_size, adapter.base.double_quantized) == (32, False)
    model = pt.qlora.inject(tiny("bert"), config(dropout=0.25, dora=True))
    for adapter in pt.adapters(model).values():
        assert (adapter.scale, adapter.dropout.p, adapter.A.shape[0]) == (3.0, 0.25, RANK)
        assert (adapter.base.block_size, adapter.base.double_quantized) == (64, True)
    plain = pt.qlora.Config()
    assert (plain.rank, plain.alpha, plain.block_size, plain.double) == (8, 16.0, 64, True)
    assert len(pt.adapters(pt.qlora.inject(tiny("bert")))) == 12
    tuples = pt.qlora.Config(targets=["query"], quantize=["query"], layers=[1])
    assert (tuples.targets, tuples.quantize, tuples.layers) == (("query",), ("query",), (1,))


def test_gpt2_is_converted_and_comes_back(tiny, inputs, tmp_path):
    base = tiny("gpt2", "lm")
    batch = inputs(base)
    expected = rounded(base, double=True)
    model = pt.qlora.inject(base, config())
    with pytest.warns(UserWarning, match="4 bits"):
        model = pt.remove(model)
    assert {*models.converted(model)} == {*linear_names(expected)}
    model = models.to_hf(model)
    assert type(model.transformer.h[0].attn.c_attn).__name__ == "Conv1D"
    for n, p in model.state_dict().items():
        assert_equal(p, expected.state_dict()[n], n)
    model.save_pretrained(tmp_path)
    assert_equal(hidden(type(model).from_pretrained(tmp_path).eval(), batch),
                 hidden(expected, batch))


def test_what_was_converted_earlier_is_remembered(tiny):
    model = pt.remove(pt.lora.inject(tiny("gpt2", "lm"), pt.lora.Config(targets="qkv")))
    model = models.to_hf(four_bit(model, quantize="ffn_in"))
    for path in ("attn.c_attn", "mlp.c_fc"):
        assert type(model.transformer.h[1].get_submodule(path)).__name__ == "Conv1D"


def test_it_generates_as_its_plain_copy_does(tiny):
    model = pt.qlora.inject(tiny("llama", "lm"), config())
    random_update(model)
    ids = torch.tensor([[5, 6, 7]])
    options = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    tokens = model.generate(ids, **options)
    plain = models.to_hf(pt.merge(copy.deepcopy(model)))
    assert_equal(plain.generate(ids, **options), tokens)


def test_a_rounded_base_and_an_exact_one_are_told_apart(tiny, inputs, tmp_path):
    """By their fingerprints they are one base, and what they compute differs."""
    exact = pt.lora.inject(tiny("llama"), pt.lora.Config(rank=2))
    there = pt.save(exact, tmp_path / "exact")
    rounded = pt.save(pt.qlora.inject(tiny("llama"), pt.qlora.Config(rank=2)), tmp_path / "rounded")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = pt.swap(pt.swap(pt.load(tiny("llama"), there), there), rounded)
        model = pt.swap(model, rounded)
    batch = inputs(model)
    with pytest.warns(UserWarning, match="were exact, and here they are in 4 bits"):
        model = pt.swap(model, there)
    with torch.no_grad():
        assert not torch.allclose(model(**batch).logits, exact(**batch).logits, atol=1e-3)
    with pytest.warns(UserWarning, match="were exact, and here"):    # the tensors alone, too
        model = pt.swap(model, there)
    again = pt.save(model, tmp_path / "again")    # a LoRA that was saved on four bits
    with pytest.warns(UserWarning, match="were in 4 bits, and here they are exact"):
        pt.load(tiny("llama"), again)


def test_layers_of_bitsandbytes_are_called_but_not_computed_with():
    layer = bnb.nn.Linear4bit(64, 64, quant_type="nf4", compute_dtype=torch.float32)
    layer.weight = bnb.nn.Params4bit(torch.randn(64, 64), requires_grad=False, quant_type="nf4")
    layer = layer.to("cpu")
    adapter, x = pt.lora.LoRALinear(layer, rank=2), torch.randn(3, 64)
    torch.nn.init.normal_(adapter.B)
    torch.testing.assert_close(adapter(x), layer(x) + x @ adapter.delta().T)
    with pytest.raises(NotMergeable, match="another library's form"):
        adapter.merged()
    with pytest.raises(NotSupported, match="another library's form"):
        pt.dora.DoRALinear(layer, rank=2)
    with pytest.raises(NotSupported, match="This Linear4bit is no plain linear layer"):
        pt.ia3.IA3Linear(layer)


def test_a_base_of_bitsandbytes_is_known_when_its_bytes_are_rearranged(tmp_path):
    """As they are on processors with AVX-512 for bfloat16, when a layer is first called."""
    def make():
        torch.manual_seed(0)
        layer = bnb.nn.Linear4bit(64, 64, quant_type="nf4", compress_statistics=False)
        layer.weight = bnb.nn.Params4bit(torch.randn(64, 64), requires_grad=False,
                                         quant_type="nf4", compress_statistics=False)
        return nn.ModuleDict({"a": layer.to("cpu")})

    def rearrange(layer):
        layer.weight.data, layer.weight.quant_state = (
            bnb.functional._convert_weight_packed_for_cpu(layer.weight.data,
                                                          layer.weight.quant_state))
        return copy.deepcopy(layer.weight.data)

    model = pt.lora.inject(make(), pt.lora.Config(rank=2, targets="a"))
    bytes_ = rearrange(model["a"].base)
    folder = pt.save(model, tmp_path)
    assert_equal(model["a"].base.weight, bytes_)    # looking changed nothing
    called = make()
    rearrange(called["a"])
    for base in (make(), called):
        assert_equal(pt.load(base, folder)["a"].A, model["a"].A)


# ── a base that is in 4 bits already ─────────────────────────────────────────────────────────


def four_bit(model, **settings):
    with pytest.warns(UserWarning, match="The base stays in 4 bits"):
        return pt.remove(pt.qlora.inject(model, config(**settings)))


def test_training_copies_no_layer_in_4_bits(tiny):
    """As buffers that go with what trains: without a bias a layer has no parameters of its own."""
    model = pt.qlora.inject(tiny("mistral"))
    own = running_stats.owners(model, pt.adapter_parameters(model).values())
    assert own
    assert not any(isinstance(module, nf4.Linear4bit) for module in own.values())


@every_family
def test_a_removed_base_is_known_again(family, tiny, inputs, tmp_path):
    some = "qkv" if family == "gpt2" else "query"
    fresh = notes.prepare(tiny(family))[0].fingerprint
    model = pt.qlora.inject(tiny(family), config())
    assert notes.note_of(model).fingerprint == fresh
    random_update(model)
    batch = inputs(model)
    trained = hidden(model, batch)
    pt.save(model, tmp_path / "qlora")
    with pytest.warns(UserWarning, match="The base stays in 4 bits"):
        model = pt.remove(model)
    assert notes.prepare(model)[0].fingerprint == fresh
    assert len(models.quantized(model)) == LAYERS.get(family, 14)
    start = hidden(model, batch)

    model = pt.load(model, tmp_path / "qlora")
    assert_equal(hidden(model, batch), trained)
    with pytest.warns(UserWarning, match="The base stays in 4 bits"):
        model = pt.remove(model)
    model = pt.lora.inject(model, pt.lora.Config(rank=RANK, targets=some))
    assert_equal(hidden(model, batch), start)
    random_update(model)
    with_lora = hidden(model, batch)
    pt.save(model, tmp_path / "lora")
    model = pt.store.swap(model, tmp_path / "qlora")
    assert_equal(hidden(model, batch), trained)
    model = pt.store.swap(model, tmp_path / "lora")
    assert_equal(hidden(model, batch), with_lora)
    with pytest.raises(AdapterFileError, match="other weights"):
        pt.load(tiny(family, seed=1), tmp_path / "qlora")
    with pytest.raises(AdapterFileError, match="other weights"):
        pt.load(four_bit(tiny(family, seed=1)), tmp_path / "qlora")


def test_a_merged_or_rounded_base_is_another(tiny, tmp_path):
    model = pt.qlora.inject(tiny("llama"), config())
    random_update(model)
    pt.save(model, tmp_path)
    for other in (pt.merge(model), models.to_hf(four_bit(tiny("llama")))):
        with pytest.raises(AdapterFileError, match="other weights"):
            pt.load(other, tmp_path)


def test_only_what_is_not_yet_in_4_bits_is_quantized(tiny, inputs):
    model = four_bit(tiny("llama"), quantize=("query", "value"))
    held = models.quantized(model)
    before = hidden(model, inputs(model))
    model = pt.qlora.inject(model, config())
    assert len(models.quantized(model)) == 14
    for name, layer in held.items():
        assert pt.adapters(model)[name].base is layer
    assert notes.note_of(model).fingerprint == notes.prepare(tiny("llama"))[0].fingerprint
    torch.testing.assert_close(hidden(model, inputs(model)),
                               hidden(rounded(tiny("llama"), double=True), inputs(model)),
                               rtol=1e-4, atol=1e-5)
    assert not torch.equal(hidden(model, inputs(model)), before)


@pytest.mark.parametrize("other", [{"block_size": 32}, {"double": False}])
def test_other_settings_on_a_4_bit_base_raise(other, tiny, inputs):
    model = four_bit(tiny("bert"), quantize="query")
    before = everything_about(model, inputs(model))
    with pytest.raises(BadConfig, match="in 4 bits already, with block_size=64 and double=True"):
        pt.qlora.inject(model, config(quantize=("key", "query"), **other))
    assert_same(everything_about(model, inputs(model)), before)


# ── failures ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("family", "kind", "name"), [
    ("bert", "classifier", "classifier"), ("gpt2", "classifier", "score"),
    ("gpt2", "lm", "lm_head"),    # tied to the embeddings
])
def test_heads_and_shared_weights_are_not_quantized(family, kind, name, tiny, inputs):
    model = tiny(family, kind)
    before = everything_about(model, inputs(model))
    with pytest.raises(BadConfig, match=f"The weight of {name} belongs to the task head, or is"):
        pt.qlora.inject(model, config(quantize=(name,), targets="attention_out"))
    assert_same(everything_about(model, inputs(model)), before)


def test_nan_in_a_weight_is_found_before_anything_changes(tiny, inputs):
    model = tiny("llama")
    model.model.layers[1].mlp.down_proj.weight.data[3, 4] = float("nan")
    names = dict(model.named_modules())
    with pytest.raises(pt.errors.BadData, match="NaN"):
        pt.qlora.inject(model, config())
    assert dict(model.named_modules()) == names


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_failed_load_or_swap_leaves_the_exact_weights(family, tiny, inputs, tmp_path):
    pt.save(pt.qlora.inject(tiny(family), config()), tmp_path)
    tensors = load_file(tmp_path / "adapter.safetensors")
    del tensors[next(iter(tensors))]
    save_file(tensors, tmp_path / "adapter.safetensors")
    for model, read in ((tiny(family), pt.load), (pt.lora.inject(tiny(family), pt.lora.Config(
            rank=RANK, targets="attention_out")), pt.store.swap)):
        before = everything_about(model, inputs(model))
        with pytest.raises(AdapterFileError):
            read(model, tmp_path)
        assert_same(everything_about(model, inputs(model)), before)


# ── what it costs, and what is lost ──────────────────────────────────────────────────────────


def test_the_ledger_counts_the_bytes_that_are_held():
    import transformers

    torch.manual_seed(0)
    bert = transformers.BertConfig(vocab_size=97, hidden_size=512, intermediate_size=1024,
                                   num_hidden_layers=1, num_attention_heads=4)
    base = transformers.BertModel(bert)
    weights = 4 * 512 * 512 + 2 * 512 * 1024
    before = pt.account.ledger(base, 2, 8)
    plain = pt.account.ledger(pt.lora.inject(copy.deepcopy(base), pt.lora.Config(
        rank=RANK, targets=("query", "key", "value", "attention_out", "ffn_in", "ffn_out"))), 2, 8)
    model = pt.qlora.inject(base, config())
    after = pt.account.ledger(model, 2, 8)
    assert plain.weights_bytes > before.weights_bytes
    held = 8 * (after.weights_bytes - (plain.weights_bytes - 4 * weights)) / weights
    assert held == pytest.approx(4.127, abs=2e-3)    # an eighth of float32, a quarter of bfloat16
    assert after.gradients_bytes == plain.gradients_bytes
    assert after.optimizer_bytes == plain.optimizer_bytes
    assert after.activations_bytes == pytest.approx(plain.activations_bytes, rel=1e-6)
    single = pt.account.ledger(pt.qlora.inject(transformers.BertModel(bert), config(double=False)),
                               2, 8)
    assert (single.weights_bytes - after.weights_bytes) * 8 / weights == pytest.approx(
        0.373, abs=2e-3)


def adapter(size, double=True) -> pt.lora.LoRALinear:
    torch.manual_seed(0)
    linear = nn.Linear(256, 128)
    nn.init.normal_(linear.weight, 0, 0.02)
    made = pt.lora.LoRALinear(nf4.Linear4bit.from_linear(linear, double=double), rank=RANK)
    nn.init.normal_(made.B, 0, size)
    return made


def test_the_two_lines_of_the_page_are_the_forward():
    made, x = adapter(0.5), torch.randn(3, 256)
    lines = re.search(r"^    y = F.linear.*\n    return .*$", pt.qlora.__doc__, re.MULTILINE)[0]
    found: dict = {}
    exec(f"def forward(x, quantized, b, s, A, B):\n{lines}",
         {"F": nn.functional, "dequantize": nf4.dequantize}, found)
    y = found["forward"](x, made.base.quantized, made.base.bias, made.scale, made.A, made.B)
    assert_equal(made(x), y)
    assert (y - made.base(x)).abs().max() > 0.1


@pytest.mark.parametrize("dora", [False, True])
def test_a_copy_and_a_cast_go_on_working(dora, tiny, inputs):
    model = pt.qlora.inject(tiny("llama"), config(dora=dora))
    random_update(model)
    batch = inputs(model)
    adapted, twin = hidden(model, batch), copy.deepcopy(model)
    assert_equal(hidden(twin, batch), adapted)
    scales = {n: layer.quantized.scales for n, layer in models.quantized(twin).items()}
    twin = twin.bfloat16()
    near = hidden(twin, batch)
    assert near.dtype == torch.bfloat16
    assert (near - adapted).abs().max() < 0.1 * adapted.abs().max()
    for n, layer in models.quantized(twin).items():
        assert_equal(layer.quantized.scales, scales[n])


def test_full_fine_tuning_of_a_4_bit_base_is_refused(tiny):
    model = pt.qlora.inject(tiny("bert"), config())
    with pytest.warns(UserWarning, match="4 bits"):
        model = pt.remove(model)
    with pytest.raises(pt.errors.NotSupported, match="4 bits"):
        pt.full.inject(model)
    assert pt.full.inject(model, pt.full.Config("head")) is model
