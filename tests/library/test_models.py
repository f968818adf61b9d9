"""Where the places are in each family, checked by what flows through them, and `load`."""

import copy
import functools
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from adapted import Own
from exact import assert_equal
from tiny import BERTS, FAMILIES, FUSED, LLAMAS, ROBERTAS, sizes

import peft_teach as pt
from peft_teach import caches, models
from peft_teach.errors import BadConfig, NoTargets, NotMergeable, NotSupported, UnknownName
from peft_teach.methods import initial
from peft_teach.models import layers

POST_LN = (*BERTS, "distilbert")
ENCODERS = (*POST_LN, "modernbert")
KINDS = [*((f, k) for f in FAMILIES for k in ("backbone", "classifier")),
         *((f, "lm") for f in FAMILIES if f not in ENCODERS)]

# Only a norm that closes its sub-layer has a place.
NORMS = {family: {"attention_norm", "ffn_norm"} if family in POST_LN else set()
         for family in FAMILIES}


class Flow:
    """Run a model once and keep what entered and left every place of every block."""

    def __init__(self, model, batch):
        self.table = models.places(model)
        self.inputs, self.outputs, hooks = {}, {}, []
        for place, names in self.table.items():
            for i, name in enumerate(names):
                hooks.append(model.get_submodule(name).register_forward_hook(
                    self.keep(place, i), with_kwargs=True))
        with torch.no_grad():
            self.hidden = model.base_model(**{k: v for k, v in batch.items() if k != "labels"})[0]
        for hook in hooks:
            hook.remove()

    def keep(self, place, i):
        def hook(module, args, kwargs, output):
            self.inputs[place, i] = [a for a in (*args, *kwargs.values()) if torch.is_tensor(a)]
            self.outputs[place, i] = output if torch.is_tensor(output) else output[0]
        return hook


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_each_place_is_what_its_name_says(family, kind, tiny, inputs):
    model = tiny(family, kind)
    table = models.places(model)
    linear = sizes(family)
    lacks = {"ffn", *(("backbone",) if kind == "lm" else ())} if family == "opt" else set()
    assert set(table) == {*linear, *NORMS[family], "ffn", "block", "embeddings", "last",
                          "backbone"} - lacks
    for place, names in table.items():
        assert len(names) == (1 if place in models.SINGLE else 2)
        assert len(set(names)) == len(names)
    for place, (n_in, n_out) in linear.items():
        for name in table[place]:
            layer = model.get_submodule(name)
            assert type(layer).__name__ == ("Conv1D" if family == "gpt2" else "Linear")
            assert layer.weight.shape == ((n_in, n_out) if family == "gpt2" else (n_out, n_in))
    for place in (*NORMS[family], *(("last",) if family != "gpt2" else ())):
        assert "norm" in type(model.get_submodule(table[place][0])).__name__.lower()

    first = [table[place][0] for place in (*linear, *NORMS[family])]
    assert len(set(first)) == len(first)

    flow = Flow(model, inputs(model))
    into, out = flow.inputs, flow.outputs
    if family == "opt":    # no module holds the sum of words and positions
        assert_equal(out["embeddings", 0], model.get_input_embeddings()(inputs(model)["input_ids"]))
    else:
        assert_equal(out["embeddings", 0], into["block", 0][0])
    assert_equal(out["block", 0], into["block", 1][0])
    assert_equal(out["last", 0], flow.hidden)
    act = {"opt": torch.relu}.get(family, torch.nn.functional.gelu)
    silu = torch.nn.functional.silu if (
        family in LLAMAS and not family.startswith("gemma")) else None
    if family.startswith("gemma"):
        act = functools.partial(act, approximate="tanh")
    for i in range(2):
        if "query" in table:
            assert_equal(into["query", i][0], into["key", i][0])
            assert_equal(into["query", i][0], into["value", i][0])
        if family in POST_LN:    # a norm closes each sub-layer
            assert_equal(into["query", i][0], into["block", i][0])
            assert_equal(out["attention_norm", i], into["ffn_in", i][0])
            assert_equal(out["ffn_norm", i], out["block", i])
        elif family != "opt":
            assert_equal(into["ffn", i][0], into["ffn_in", i][0])
            assert_equal(out["ffn", i], out["ffn_out", i])
        if family in BERTS:
            assert len(into["ffn", i]) == 2
            assert_equal(into["ffn", i][1], out["attention_norm", i])
            assert_equal(out["ffn", i], out["ffn_norm", i])
        if "ffn_gate" in table:
            gated = (silu or act)(out["ffn_gate", i]) * out["ffn_in", i]
            torch.testing.assert_close(into["ffn_out", i][0], gated)
        elif family in ("phi3", "modernbert"):    # the gate in the same layer, or the other half
            one, other = out["ffn_in", i].chunk(2, dim=-1)
            torch.testing.assert_close(into["ffn_out", i][0], (silu or act)(one) * other)
        elif family != "gpt2":
            torch.testing.assert_close(into["ffn_out", i][0].flatten(0, -2),
                                       act(out["ffn_in", i]).flatten(0, -2))


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in FUSED])
def test_query_key_and_value_are_told_apart(family, tiny, inputs):
    model = tiny(family)
    batch, table = inputs(model), models.places(model)
    into = {}
    hook = model.get_submodule(table["attention_out"][0]).register_forward_pre_hook(
        lambda module, args: into.update(x=args[0]))
    for place in (None, "query", "key", "value"):
        shift = torch.linspace(-1, 1, sizes(family)[place][1]) if place else None
        at = place and model.get_submodule(table[place][0]).register_forward_hook(
            lambda module, args, y, shift=shift: y + shift)
        with torch.no_grad():
            model.base_model(batch["input_ids"])
        if place is None:
            before = into["x"]
            continue
        at.remove()
        moved = into["x"] - before
        if place == "value":    # the weights sum to one, so the mixture moves as each value does
            d_head, n_out = (12, 48) if family == "gemma2" else (8, 32)
            per_head = shift.reshape(-1, 1, d_head).expand(
                -1, n_out // len(shift), d_head).reshape(-1)
            torch.testing.assert_close(moved, per_head.expand_as(moved), rtol=1e-4, atol=1e-5)
        elif place == "key" and family in (*POST_LN, "opt"):    # softmax forgets a constant
            assert moved.abs().max() < 1e-5
        else:
            assert moved.abs().max() > 1e-2
    hook.remove()


class Times(pt.Adapter):
    """base(…) times a ramp, around any module; a constant would cancel in a norm."""

    def __init__(self, base):
        super().__init__(base)
        self.z = torch.nn.Parameter(torch.zeros(()))

    def forward(self, *args, **kwargs):
        y = self.base(*args, **kwargs)
        first, *rest = (y,) if torch.is_tensor(y) else y
        first = first * (1 + self.z * torch.linspace(0, 1, first.shape[-1]))
        return (first, *rest) if rest else first


@pytest.mark.parametrize("family", FAMILIES)
def test_every_place_can_be_wrapped(family, tiny, inputs):
    kinds = [kind for other, kind in KINDS if other == family]
    kind = kinds[FAMILIES.index(family) % len(kinds)]    # they take turns
    plain = tiny(family, kind)
    batch = {k: v for k, v in inputs(plain).items() if k != "labels"}
    with torch.no_grad():
        before = plain.base_model(**batch)[0]
        for place, names in models.places(plain).items():
            if place == "backbone":    # its output is no tensor: see test_core.py
                continue
            model = pt.attach(tiny(family, kind), place, Times)
            assert tuple(pt.adapters(model)) == names
            assert_equal(model.base_model(**batch)[0], before, place)
            for adapter in pt.adapters(model).values():
                adapter.z.fill_(0.5)
            assert (model.base_model(**batch)[0] - before).abs().max() > 0.01, place


def test_a_wrapped_block_answers_what_modernbert_asks_it(tiny):
    model = tiny("modernbert", "backbone")
    kinds = [block.attention_type for block in model.layers]
    assert len(set(kinds)) == 2
    model = pt.attach(model, "block", Times)
    assert [type(block) for block in model.layers] == [Times, Times]
    assert [block.attention_type for block in model.layers] == kinds



# ── find ─────────────────────────────────────────────────────────────────────────────────────


def test_find_takes_patterns_of_module_names(tiny):
    model = tiny("bert")
    assert models.find(model, "*.self.query") == models.find(model, "query")
    assert models.find(model, ("*.1.*.[qv]*e*",)) == models.find(model, ("query", "value"), (1,))
    assert models.find(model, ("value", "*.qu?ry")) == models.find(model, ("value", "query"))
    with pytest.raises(NoTargets, match=r"no '\*q_proj'"):
        models.find(model, "*q_proj")


def test_find_gives_names_in_the_order_asked(tiny):
    model = tiny("bert")
    layer = "bert.encoder.layer.{}.attention.self.{}".format
    assert models.find(model, "query") == (layer(0, "query"), layer(1, "query"))
    assert models.find(model, ("value", "query"), layers=(1,)) == (
        layer(1, "value"), layer(1, "query"))
    assert models.find(model, ("query",), layers=[1, 0]) == (layer(0, "query"), layer(1, "query"))
    assert models.find(model, "query", layers=1) == (layer(1, "query"),)
    assert models.find(model, ("query", layer(0, "query"), "query")) == models.find(model, "query")
    assert models.find(model, ("bert.pooler.dense", "last", "query"), layers=(0,)) == (
        "bert.pooler.dense", "bert.encoder.layer.1.output.LayerNorm", layer(0, "query"))
    assert models.find(tiny("bert", "backbone"), "query", (0,)) == (
        "encoder.layer.0.attention.self.query",)


def test_where_a_word_is_both_the_place_is_meant(tiny):
    assert "embeddings" in dict(tiny("bert", "backbone").named_modules())
    assert models.find(tiny("bert", "backbone"), "embeddings") == ("embeddings.dropout",)
    assert models.find(tiny("bert"), "embeddings") == ("bert.embeddings.dropout",)


def test_a_full_name_needs_no_known_family():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 3))
    model.add_module("query", torch.nn.Linear(3, 3))
    assert models.find(model, ("1", "query")) == ("1", "query")
    with pytest.raises(NotSupported, match=r"named_modules") as error:
        models.places(model)
    assert "qwen3" in error.value.expected
    with pytest.raises(NotSupported, match="no 'qurey'; its places are not known") as error:
        models.find(model, "qurey")
    assert error.value.expected.endswith("end in 0, 1, query")
    assert error.value.hint.startswith("'*query', say; or print")
    with pytest.raises(NotSupported, match=r"no '\*\.value'.*[\s\S]*named_modules"):
        models.find(model, "*.value")


@pytest.mark.parametrize("layers", [(2,), (-1,), (), (0, 7), ("0",), "01", (True,), (0.0,), 1.5])
def test_a_block_that_does_not_exist(layers, tiny):
    with pytest.raises(BadConfig, match=r"0 to 1|block numbers, or None"):
        models.find(tiny("bert"), ("query",), layers)


def test_blocks_of_what_no_block_has(tiny):
    """`layers` would do nothing: better to hear of it."""
    for targets in ("last", ("embeddings", "bert.encoder.layer.1.attention.self.query")):
        with pytest.raises(BadConfig, match="no target is a place that every block has"):
            models.find(tiny("bert"), targets, (0,))


def test_a_block_that_does_not_exist_in_a_model_of_one_block():
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
                                 num_attention_heads=2, intermediate_size=8))
    assert len(models.find(model, "query", (0,))) == 1
    with pytest.raises(BadConfig, match="0 to 0"):
        models.find(model, "query", (5,))


@pytest.mark.parametrize("targets", ["nowhere", ("query", "nowhere"), "", (), None, ("", "query")])
def test_an_unknown_place_lists_the_places(targets, tiny):
    model = tiny("bert")
    with pytest.raises(NoTargets) as error:
        models.find(model, targets)
    for place in models.places(model):
        assert f"{place}, " in error.value.expected
    assert "places(model)" in error.value.hint


def test_a_misspelled_place_is_recognized(tiny):
    with pytest.raises(NoTargets) as error:
        models.find(tiny("bert"), "querry")
    assert error.value.hint == "did you mean 'query'?"


def test_gpt2_has_no_query_but_qkv(tiny):
    with pytest.raises(NoTargets, match="'query', 'value'") as error:
        pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets=("query", "value")))
    assert "qkv" in error.value.expected
    assert "query" not in error.value.expected


@pytest.mark.parametrize(("family", "names"), [
    ("bert", {"classifier.weight", "classifier.bias"}),
    *((family, {"classifier.dense.weight", "classifier.dense.bias",
                "classifier.out_proj.weight", "classifier.out_proj.bias"})
      for family in (*ROBERTAS, "electra")),
    ("modernbert", {"head.dense.weight", "head.norm.weight",
                    "classifier.weight", "classifier.bias"}),
    ("distilbert", {"pre_classifier.weight", "pre_classifier.bias",
                    "classifier.weight", "classifier.bias"}),
    *((family, {"score.weight"}) for family in FAMILIES if family not in ENCODERS),
])
def test_the_head_is_what_transformers_adds(family, names, tiny):
    from transformers import AutoModel

    model = tiny(family)
    assert set(models.head(model)) == names
    bare = {f"{model.base_model_prefix}.{n}"
            for n, _ in AutoModel.from_config(model.config).named_parameters()}
    assert {n for n, _ in model.named_parameters()} - bare == names
    assert models.head(tiny(family, "backbone")) == ()
    assert family in ENCODERS or models.head(tiny(family, "lm")) == ()


def deberta(**changes):
    """Return a tiny classifier of a family that is not known, whose pooler is outside its base."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    torch.manual_seed(0)
    return DebertaV2ForSequenceClassification(DebertaV2Config(**{
        "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_labels": 3, "pooler_hidden_size": 32} | changes)).eval()


def test_a_pooler_outside_the_backbone_is_no_frozen_noise(tmp_path):
    names = [f"deberta.encoder.layer.{i}.attention.self.query_proj" for i in range(2)]
    model = pt.lora.inject(deberta(), pt.lora.Config(rank=4, targets=tuple(names)))
    head = {"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"}
    assert set(models.head(model)) == head
    assert {n for n, p in model.named_parameters() if p.requires_grad} == head | {
        f"{name}.{letter}" for name in names for letter in "AB"}
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        model.pooler.dense.weight.normal_()
        expected = model(ids).logits
        pt.save(model, tmp_path)
        other = pt.load(deberta(), tmp_path)
        assert_equal(other(ids).logits, expected)


def test_what_stands_beside_a_backbone_is_the_head(tiny, tmp_path):
    """It was drawn for the task: it trains, and is kept with what it counts while it does."""
    from transformers import (
        GPT2DoubleHeadsModel,
        T5Config,
        T5ForQuestionAnswering,
        WhisperConfig,
        WhisperForAudioClassification,
    )

    double = GPT2DoubleHeadsModel(tiny("gpt2").config)
    assert set(models.head(double)) == {"multiple_choice_head.summary.weight",
                                        "multiple_choice_head.summary.bias"}
    sizes = {"vocab_size": 97, "d_model": 8, "decoder_start_token_id": 0}
    asks = T5ForQuestionAnswering(T5Config(**sizes, num_layers=1, num_heads=1, d_ff=8, d_kv=8))
    assert set(models.head(asks)) == {"qa_outputs.weight", "qa_outputs.bias"}
    hears = WhisperForAudioClassification(WhisperConfig(
        **sizes, encoder_layers=1, encoder_attention_heads=1, encoder_ffn_dim=8, pad_token_id=0))
    assert {n.split(".")[0] for n in models.head(hears)} == {"projector", "classifier"}
    model = pt.lora.inject(Own(tiny("bert", "backbone")), pt.lora.Config(
        rank=2, targets="body.bert.encoder.layer.0.attention.self.query"))
    head = {"body.norm.weight", "body.norm.bias", "fc.weight", "fc.bias"}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == head | {
        f"body.bert.encoder.layer.0.attention.self.query.{letter}" for letter in "AB"}
    ids = torch.arange(8).reshape(2, 4)
    model.train()(ids)    # moves the running mean, which is no parameter
    loaded = pt.load(Own(tiny("bert", "backbone")), pt.save(model, tmp_path))
    assert_equal(loaded.eval()(ids), model.eval()(ids))
    inside = Own(tiny("bert"))    # a model for a task in a module: its own head, too
    assert set(models.head(inside)) == head | {"body.bert.classifier.weight",
                                               "body.bert.classifier.bias"}


def test_a_head_by_itself_is_the_named_one():
    """A model that is no transformers model has the head that its names say."""
    model = torch.nn.ModuleDict({"body": torch.nn.Linear(4, 4),
                                 "classifier": torch.nn.Linear(4, 2)})
    assert models.head(model) == ("classifier.weight", "classifier.bias")


@pytest.mark.parametrize(("family", "changes", "places"), [
    ("electra", {"embedding_size": 32}, {"embeddings": ("electra.embeddings.dropout",)}),
    ("electra", {}, {"embeddings": ("electra.embeddings_project",)}),
    ("opt", {}, {"embeddings": ("model.decoder.embed_tokens",),
                 "last": ("model.decoder.final_layer_norm",)}),
    ("opt", {"word_embed_proj_dim": 20, "do_layer_norm_before": False}, {
        "embeddings": ("model.decoder.project_in",),
        "last": ("model.decoder.layers.1.final_layer_norm",),
        "ffn_norm": tuple(f"model.decoder.layers.{i}.final_layer_norm" for i in range(2)),
        "attention_norm": tuple(f"model.decoder.layers.{i}.self_attn_layer_norm"
                                for i in range(2))}),
])
def test_where_the_configuration_decides(family, changes, places, tiny, inputs):
    model = tiny(family, **changes)
    assert models.places(model).items() >= places.items()
    batch = {k: v for k, v in inputs(model).items() if k != "labels"}
    with torch.no_grad():
        before = model(**batch).logits
        for config in (pt.bottleneck.ENDS, pt.bottleneck.PFEIFFER, pt.bottleneck.HOULSBY):
            adapted = pt.bottleneck.inject(tiny(family, **changes), config)
            assert (adapted(**batch).logits - before).abs().max() < 0.3
            for p in pt.adapter_parameters(adapted).values():
                p.normal_(std=0.2)
            assert (adapted(**batch).logits - before).abs().max() > 0.01


# ── Conv1D ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trains", [True, False])
def test_conv1d_becomes_an_equal_linear_and_back(dtype, trains):
    from transformers.pytorch_utils import Conv1D

    conv = Conv1D(7, 5).to(dtype).eval()
    torch.nn.init.normal_(conv.bias)
    conv.weight.requires_grad_(trains)
    linear = layers.to_linear(conv)
    assert models.is_conv1d(conv)
    assert not models.is_conv1d(linear)
    assert (linear.in_features, linear.out_features) == (5, 7)
    assert linear.weight.shape == (7, 5)
    assert (linear.training, linear.weight.requires_grad, linear.bias.requires_grad) == (
        False, trains, True)
    x = torch.randn(2, 3, 5).to(dtype)
    torch.testing.assert_close(linear(x), conv(x))
    linear.bias.data += 1    # a copy: the original keeps its own
    assert not torch.equal(linear.bias, conv.bias)
    linear.bias.data = conv.bias.data.clone()

    back = layers.to_conv1d(linear)
    assert type(back) is Conv1D
    assert (back.nf, back.weight.shape, back.training) == (7, (5, 7), False)
    assert_equal(back.weight, conv.weight)
    assert_equal(back.bias, conv.bias)
    assert back.weight.requires_grad == trains
    assert back.weight.is_contiguous()


@pytest.mark.parametrize("method", [pt.lora, pt.qlora])
@pytest.mark.parametrize("when", ["before", "while adapted"])
def test_hooks_belong_to_the_place(when, method, tiny):
    """They see what stands there compute: the base, the adapter, the base while that is silent, the
    merged layer; and none is called after its handle is removed."""
    model, seen, handles = tiny("gpt2", "lm"), {}, []
    name, inputs = "transformer.h.1.attn.c_attn", torch.randn(1, 2, 32, requires_grad=True)

    def hook():
        layer = model.get_submodule(name)
        return [layer.register_forward_hook(lambda _, x, y: seen.update(x=x[0], y=y)),
                layer.register_forward_pre_hook(lambda *_, **__: seen.update(before=1),
                                                with_kwargs=True),
                layer.register_full_backward_hook(lambda *_: seen.update(backward=1))]

    def sees(computes):
        seen.clear()
        model(inputs_embeds=inputs).logits.sum().backward()
        assert seen.keys() == {"x", "y", "before", "backward"}
        torch.testing.assert_close(seen["y"], computes(seen["x"]))

    if when == "before":
        handles = hook()
        sees(model.get_submodule(name).forward)
    model = method.inject(model)
    adapter = pt.adapters(model)[name]
    adapter.B.data.normal_()
    handles = handles or hook()
    sees(adapter.forward)
    with pt.disabled(model):
        sees(adapter.base.forward)
    model = pt.merge(model)
    sees(adapter.forward)    # what was merged
    for change in (models.to_hf, pt.lora.inject, pt.remove):
        model = change(model)
        sees(model.get_submodule(name).forward)
    for handle in handles:
        handle.remove()
    seen.clear()
    model(inputs_embeds=inputs).logits.sum().backward()
    assert not seen


def test_a_hook_is_called_once_where_a_copy_trains():
    model, called = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3)), []
    model[1].register_forward_hook(lambda *_: called.append(1))
    model = pt.attach(model, "0", lambda base: pt.lora.LoRALinear(base, 1), also_train="1")
    for each in (model, pt.merge(model)):
        each(torch.randn(2, 3))
    assert called == [1, 1]


@pytest.mark.parametrize("off", [pt.remove, pt.merge])
def test_a_hook_inside_a_trained_copy_is_the_one_that_was_set(off):
    class Seen:
        count = 0

        def hook(self, *_):
            self.count += 1

    inner, seen = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3)), Seen()
    handle = inner[1].register_forward_hook(seen.hook)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), inner)
    model = pt.attach(model, "0", lambda base: pt.lora.LoRALinear(base, 1), also_train="1")
    model(torch.randn(2, 3))
    assert seen.count == 1
    model = off(model)
    model(torch.randn(2, 3))
    assert seen.count == 2
    handle.remove()
    model(torch.randn(2, 3))
    assert seen.count == 2


def test_a_hook_on_a_base_comes_back_with_it(tiny, inputs):
    """As transformers', which it sets when it first records hidden states, and not again."""
    model, called = pt.lora.inject(tiny("bert"), pt.lora.Config(targets="query", layers=(0,))), []
    (adapter,), batch = pt.adapters(model).values(), inputs(model)
    adapter.register_forward_hook(lambda *_: called.append("place"))
    adapter.base.register_forward_hook(lambda *_: called.append("base"))
    model(**batch)
    pt.remove(model)(**batch)
    assert called == ["base", "place"] * 2


@pytest.mark.parametrize("off", [pt.remove, pt.merge])
@pytest.mark.parametrize("method", [pt.lora, pt.bitfit])
def test_a_handle_of_a_bases_hook_removes_it_when_the_adapter_is_gone(off, method, tiny, inputs):
    model, called = tiny("bert"), []
    model = method.inject(model)
    name = next(n for n, a in pt.adapters(model).items() if type(a.base) is torch.nn.Linear)
    handle = pt.adapters(model)[name].base.register_forward_hook(lambda *_: called.append(1))
    model = off(model)
    model(**inputs(model))
    assert called == [1]
    handle.remove()
    model(**inputs(model))
    assert called == [1]


def test_an_inherited_forward_is_silent_too():
    class Doubled:
        def forward(self, x):
            return 2 * self.base(x)

    class Layer(Doubled, pt.Adapter):
        pass

    layer, x = Layer(torch.nn.Linear(2, 2)), torch.randn(3, 2)
    with pt.disabled(layer):
        torch.testing.assert_close(layer(x), layer.base(x))


def test_a_compiled_model_is_its_base_in_each_block_of_disabled_and_compiled_for_two(
        tiny, inputs):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    model = pt.lora.inject(tiny("bert"))
    other, batch = pt.lora.inject(tiny("bert")), inputs(model)
    for adapter in pt.adapters(model).values():
        adapter.B.data.normal_()
    adapted = model(**batch)[0]
    with pt.disabled(model):
        base = model(**batch)[0]
    assert not torch.allclose(base, adapted)
    model.compile(backend=backend)
    for _ in range(3):
        torch.testing.assert_close(model(**batch)[0], adapted)
        with pt.disabled(model):
            torch.testing.assert_close(model(**batch)[0], base)
        with pt.disabled(other):
            torch.testing.assert_close(model(**batch)[0], adapted)
    assert len(graphs) == 2


def test_a_replica_is_silent_with_its_model_and_a_copy_is_not(tiny):
    adapter = next(iter(pt.adapters(model := pt.lora.inject(tiny("bert"))).values()))
    with pt.disabled(model):
        assert not adapter._replicate_for_data_parallel().enabled    # as nn.DataParallel makes them
        copied, pickled = copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))
    assert all(a.enabled for a in (copied, pickled, adapter))


def test_a_forward_asks_once_whether_its_adapter_is_silent():
    class Mine(pt.lora.LoRALinear):
        pass

    assert Mine.forward is pt.lora.LoRALinear.forward


def test_a_compiled_layer_is_its_base_while_it_is_silent():
    layer, x = pt.lora.LoRALinear(torch.nn.Linear(3, 3), 1), torch.randn(2, 3)
    layer.B.data.normal_()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), layer(x))
    with pt.disabled(layer):
        torch.testing.assert_close(compiled(x), layer.base(x))


def test_a_layer_without_a_weight_is_called_but_not_computed_with():
    class QuantLinear(torch.nn.Module):
        """A layer as GPTQ's are: whole numbers and scales, and no `weight`."""

        in_features, out_features, bias = 4, 4, None

        def __init__(self):
            super().__init__()
            self.register_buffer("qweight", torch.randint(-8, 8, (4, 4)))
            self.register_buffer("scales", torch.rand(4, 1))

        def forward(self, x):
            return x @ (self.qweight * self.scales).T

    layer, x = QuantLinear(), torch.randn(3, 4)
    adapter = pt.lora.LoRALinear(layer, rank=2)
    torch.nn.init.normal_(adapter.B)
    torch.testing.assert_close(adapter(x), layer(x) + x @ adapter.delta().T)
    with pytest.raises(NotMergeable, match="This QuantLinear holds its weight in bytes"):
        adapter.merged()
    with pytest.raises(NotSupported, match="this QuantLinear holds it in bytes"):
        pt.dora.DoRALinear(layer, rank=2)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_weight_that_torch_makes_of_others(tiny):
    from torch.nn.utils import weight_norm

    linear = weight_norm(torch.nn.Linear(5, 7))
    adapter, x = pt.lora.LoRALinear(linear, rank=2), torch.randn(2, 5)
    adapter.B.data.normal_()
    expected, model = adapter(x), torch.nn.Sequential(adapter)
    merged = pt.merge(model)    # its weight is that of all together
    torch.testing.assert_close(merged(x), expected)
    model = tiny("gpt2")
    weight_norm(model.transformer.h[0].attn.c_attn)
    before = dict(model.named_modules())
    with pytest.raises(NotSupported, match=r"This Conv1D .* weight_g, weight_v"):
        pt.lora.inject(model)
    assert dict(model.named_modules()) == before


def test_replace_returns_the_model_to_keep(tiny):
    model, layer = tiny("bert"), torch.nn.Linear(32, 32)
    name = "bert.encoder.layer.1.attention.self.query"
    assert models.replace(model, name, layer) is model
    assert model.get_submodule(name) is layer
    assert models.replace(model, "", layer) is layer


# ── what a backbone is called with ───────────────────────────────────────────────────────────


def test_the_cache_has_the_name_that_transformers_uses():
    import inspect

    from transformers import BertModel, GPT2Model, LlamaModel

    for kind in (BertModel, GPT2Model, LlamaModel):
        assert models.cache_name() in inspect.signature(kind.forward).parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_said_of_a_cache_is_what_the_family_does(family, tiny, inputs):
    model = tiny(family, "backbone")
    ids = inputs(model)["input_ids"]
    layers, heads, d_head = models.key_value_shape(model)
    assert (layers, heads, d_head) == (2, 2 if family in LLAMAS else 4,
                                       12 if family == "gemma2" else 8)
    with torch.no_grad():
        plain, cache = model(ids)[0], caches.new_cache()
        for layer in range(layers):
            cache.update(*torch.randn(2, 4, heads, 3, d_head), layer)
        out = model(ids, **{models.cache_name(): cache})[0]
    assert models.reads_cache(model) == (not torch.equal(out, plain))
    assert cache.layers[1].keys.shape == (4, heads, 14 if models.reads_cache(model) else 3, d_head)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "opt"])    # not asked for it
@pytest.mark.parametrize("padding", ["right", "left"])
def test_positions_are_those_that_a_backbone_gives(family, padding, tiny, inputs):
    model = tiny(family, "backbone")
    batch = inputs(model, padding)
    ids, x = batch["input_ids"], model.get_input_embeddings()(batch["input_ids"])
    for arguments, given in (({"input_ids": ids}, ids), ({"inputs_embeds": x}, None)):
        place = models.positions(model, given, 11)
        assert place.shape == ((4, 11) if family in ROBERTAS and given is not None else (1, 11))
        with torch.no_grad():
            got = model(**arguments, attention_mask=batch["attention_mask"], position_ids=place)[0]
            expected = model(**arguments, attention_mask=batch["attention_mask"])[0]
            moved = model(**arguments, attention_mask=batch["attention_mask"],
                          position_ids=place.flip(1))[0]
        torch.testing.assert_close(got, expected)
        assert not torch.allclose(moved, expected, atol=1e-3)
        assert place.min() == models.first_position(model) - (
            family in ROBERTAS and given is not None)    # padding has the number before


@pytest.mark.parametrize(("family", "first", "longest"), [
    ("bert", 0, 42), ("roberta", 2, 40), ("xlm-roberta", 2, 40),
    ("camembert", 2, 40), ("distilbert", 0, 40), ("gpt2", 0, 40), ("llama", 0, 42)])
def test_the_longest_input_is_the_longest_that_works(family, first, longest, tiny):
    model = tiny(family, "backbone")
    assert models.first_position(model) == first
    assert models.longest_input(model) == longest
    ids = torch.full((1, longest + 1), 5)
    assert torch.isfinite(model(ids[:, 1:])[0]).all()
    if family != "llama":    # a rotation exists at every position
        with pytest.raises((IndexError, RuntimeError)):
            model(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoders_first_token_sees_the_last(family, tiny, inputs):
    model = tiny(family)
    ids = inputs(model)["input_ids"][:1]
    other = ids.clone()
    other[0, -1] = (ids[0, -1] + 1) % 90 + 3
    with torch.no_grad():
        sees = not torch.equal(model.base_model(ids)[0][0, 0], model.base_model(other)[0][0, 0])
    assert models.is_encoder(model) == models.is_encoder(model.base_model) == sees


def test_minilms_special_tokens_are_no_text(minilm):
    _, tokenizer = minilm
    ids = initial.token_ids("a good film", tokenizer, 30_522)
    assert tokenizer.decode(ids) == "a good film"
    assert len(ids) == 3


def test_the_last_token_of_a_vocabulary_is_one_and_the_next_is_none():
    def tokenizer(text, add_special_tokens):
        return {"input_ids": [4, 7]}

    assert initial.token_ids("so much", tokenizer, 8) == [4, 7]
    with pytest.raises(BadConfig, match=r"\[4, 7\]"):
        initial.token_ids("so much", tokenizer, 7)


def test_common_tokens_are_the_first_that_stand_for_text():
    class Few:
        all_special_ids = (0, 3)
        tokens = ("<pad>", "[unused1]", "the", "<s>", None, "a", "[CLS", "of")

        def __len__(self):
            return len(self.tokens)

        def convert_ids_to_tokens(self, ids):
            return [self.tokens[i] for i in ids]

    assert initial.common_tokens(Few(), 9, 8) == [2, 5, 6, 7]
    assert initial.common_tokens(Few(), 2, 8) == [2, 5]
    assert initial.common_tokens(Few(), 2, 6) == [2, 5]
    assert initial.common_tokens(Few(), 0, 8) == []
    with pytest.raises(BadConfig, match="go up to 5") as error:
        initial.common_tokens(Few(), 2, 5)
    assert "belongs to this model" in error.value.hint


# ── load ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def minilm():
    pt.seed(3)
    return models.load("minilm", labels=2, device="cpu")


def test_minilm(minilm):
    from transformers import BertForSequenceClassification

    model, tokenizer = minilm
    assert type(model) is BertForSequenceClassification
    assert not model.training
    assert not any(module.training for module in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    backbone = sum(p.numel() for p in model.bert.parameters())
    assert backbone == 22_713_216
    assert sum(p.numel() for p in model.parameters()) == backbone + 2 * 384 + 2
    assert len(models.places(model)["query"]) == 6
    assert model.config.num_labels == 2
    assert tokenizer.decode(tokenizer("a good film").input_ids) == "[CLS] a good film [SEP]"


def test_the_head_depends_on_the_seed_alone(minilm):
    model, _ = minilm
    heads = {}
    for seed in (3, 4):
        pt.seed(seed)
        again, _ = models.load("minilm", labels=2, device="cpu")
        heads[seed] = again.classifier.weight
        assert_equal(again.bert.pooler.dense.weight, model.bert.pooler.dense.weight)
    assert_equal(heads[3], model.classifier.weight)
    assert not torch.equal(heads[3], heads[4])


def test_mean_pooling_is_the_mean_over_real_tokens():
    pt.seed(0)
    model, tokenizer = models.load("minilm", labels=2, pool="mean", device="cpu")
    batch = tokenizer(["good", "a much longer review of a film"], padding=True,
                      return_tensors="pt")
    labels = torch.tensor([1, 0])
    with torch.no_grad():
        out = model(**batch, labels=labels)
        hidden = model.bert(**batch)[0]
    rows = [hidden[i, :n].mean(0) for i, n in enumerate(batch["attention_mask"].sum(1))]
    logits = torch.stack(rows) @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(out.logits, logits)
    picked = torch.log_softmax(logits, -1)[[0, 1], labels]
    torch.testing.assert_close(out.loss, -picked.mean())
    with torch.no_grad():    # it is called as transformers' own classifier is, and gives the same
        told = model(*(batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")),
                     output_hidden_states=True)
    assert_equal(told.logits, out.logits)
    assert_equal(told.hidden_states[-1], hidden)
    with torch.no_grad():    # padding does not count, and no mask means that all is real
        alone = model(**tokenizer("good", return_tensors="pt")).logits
        unmasked = model(tokenizer("good", return_tensors="pt").input_ids).logits
    torch.testing.assert_close(alone[0], out.logits[0], rtol=1e-4, atol=1e-5)
    assert_equal(unmasked, alone)
    assert models.head(model) == ("classifier.weight", "classifier.bias")
    assert len(models.places(model)["query"]) == 6


@pytest.mark.parametrize(("number", "labels", "loss"), [
    (1, torch.tensor([1.5, -2.0]), lambda y: (y[:, 0] - torch.tensor([1.5, -2.0])).square().mean()),
    (1, torch.tensor([[1.5], [-2.0]]),
     lambda y: (y[:, 0] - torch.tensor([1.5, -2.0])).square().mean()),
    (2, torch.tensor([1, 0]), lambda y: -(y[0, 1] + y[1, 0] - y.logsumexp(1).sum()) / 2),
    (2, torch.tensor([[1], [0]]), lambda y: -(y[0, 1] + y[1, 0] - y.logsumexp(1).sum()) / 2),
    (2, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), lambda y: -(
        y[0].sigmoid().log().sum() + (-y[1, 0]).sigmoid().log() + y[1, 1].sigmoid().log()) / 4)])
def test_the_loss_of_a_mean_pooled_model_follows_its_labels(number, labels, loss):
    """Of ratings it is the squared error, of classes the cross-entropy; of several, of each."""
    model, tokenizer = models.load("minilm", labels=number, pool="mean", pretrained=False,
                                   device="cpu")
    batch = pt.data.batches([("good", 0), ("bad film", 0)], tokenizer, shuffle=False)[0]
    with torch.no_grad():
        out = model(**batch | {"labels": labels})
        torch.testing.assert_close(out.loss, loss(out.logits))


@pytest.mark.parametrize("wrong", [{"dtype": torch.int8}, {"dtype": 5}, {"device": "nowhere"},
                                   {"device": []}])
def test_what_is_no_dtype_or_device_is_refused_before_anything_is_fetched(wrong):
    with pytest.raises(BadConfig, match=f"^{next(iter(wrong))} is "):
        models.load("hub:nobody/nothing", **wrong)


def test_a_mean_pooled_model_is_not_saved_as_another(tmp_path):
    """It would come back pooling [CLS], without a word."""
    model, _ = models.load("minilm", labels=2, pool="mean", pretrained=False, device="cpu")
    with pytest.raises(NotSupported, match="mean-pooled"):
        model.save_pretrained(tmp_path)
    model = pt.remove(pt.lora.inject(model))
    with pytest.raises(NotSupported, match="mean-pooled"):
        model.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_mean_pooled_model_can_be_pickled_and_copied():
    model, _ = models.load("minilm", labels=2, pool="mean", pretrained=False, device="cpu")
    model = pt.lora.inject(model)
    batch = {"input_ids": torch.tensor([[5, 6, 7], [8, 9, 0]]),
             "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    with torch.no_grad():
        for adapter in pt.adapters(model).values():
            adapter.B.normal_()
        expected = model(**batch).logits
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)),
                     torch.load(file, weights_only=False)):
            assert type(twin) is type(model)
            assert models.is_mean_pooled(twin)
            assert_equal(twin(**batch).logits, expected)
            assert_equal(pt.remove(twin)(**batch).logits, pt.remove(
                copy.deepcopy(model))(**batch).logits)
            with pytest.raises(NotSupported, match="mean-pooled"):
                twin.save_pretrained("never")


def test_a_mode_is_put_back_in_every_part(tiny):
    model = tiny("bert").train()
    model.bert.encoder.layer[1].eval()
    modes = [m.training for m in model.modules()]
    with models.in_mode(model, training=False):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(ZeroDivisionError), models.in_mode(model, training=True):
        raise ZeroDivisionError
    assert [m.training for m in model.modules()] == modes


def test_without_pretraining_only_the_architecture_is_kept(minilm):
    model, _ = minilm
    drawn = []
    for seed in (0, 0, 1):
        pt.seed(seed)
        drawn.append(models.load("minilm", labels=2, pretrained=False, device="cpu")[0])
    shapes = {n: p.shape for n, p in model.named_parameters()}
    assert all({n: p.shape for n, p in m.named_parameters()} == shapes for m in drawn)
    weights = [m.bert.encoder.layer[3].output.dense.weight for m in (model, *drawn)]
    assert_equal(weights[1], weights[2])
    assert not torch.equal(weights[1], weights[3])
    assert not torch.equal(weights[0], weights[1])
    assert not drawn[0].training


def test_smollm2_continues_a_sentence():
    from transformers import LlamaForCausalLM

    model, tokenizer = models.load("smollm2", dtype=torch.bfloat16, device="cpu")
    assert type(model) is LlamaForCausalLM
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    (file,) = Path(model.name_or_path).glob("*.safetensors")
    with file.open("rb") as stream:    # a safetensors file starts with its table's length
        table = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    assert {entry["dtype"] for name, entry in table.items() if name != "__metadata__"} == {"BF16"}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(models.places(model)["query"]) == 30
    assert tokenizer.pad_token is not None

    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        following = model(ids).logits[0, -1].argmax()
    assert tokenizer.decode(following) == " Paris"


def tokenizer_of_words():
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(kinds.WordLevel({"<end>": 2, "<unk>": 1, "good": 5, "film": 6}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", unk_token="<unk>")


@pytest.mark.parametrize(("family", "bare"), [("bert", "BertModel"), ("llama", "LlamaForCausalLM"),
                                              ("gpt2", "GPT2LMHeadModel")])
def test_hub_loads_any_folder(family, bare, tiny, tmp_path):
    saved = tiny(family, "backbone" if family == "bert" else "lm")
    saved.config.pad_token_id = None
    saved.save_pretrained(tmp_path)
    tokenizer_of_words().save_pretrained(tmp_path)
    model, tokenizer = models.load(f"hub:{tmp_path}", device="cpu")
    assert type(model).__name__ == bare
    for p, q in zip(model.parameters(), saved.parameters()):
        assert_equal(p, q)
    assert tokenizer("good film").input_ids == [5, 6]
    assert tokenizer.pad_token_id == model.config.pad_token_id == 2    # what has no pad gets eos

    classifier, _ = models.load(f"hub:{tmp_path}", labels=4, dtype=torch.bfloat16, device="cpu")
    assert type(classifier).__name__.endswith("ForSequenceClassification")
    batch = {"input_ids": torch.tensor([[5, 6], [6, 2]]), "attention_mask": torch.ones(2, 2).long()}
    logits = classifier(**batch).logits
    assert (logits.shape, logits.dtype) == ((2, 4), torch.bfloat16)
    if family != "bert":
        with pytest.raises(NotSupported, match="mean"):
            models.load(f"hub:{tmp_path}", labels=2, pool="mean")


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "llama"])
def test_a_head_for_other_labels_is_drawn_anew_and_said(family, tiny, tmp_path, capsys):
    saved = tiny(family)
    saved.save_pretrained(tmp_path)
    tokenizer_of_words().save_pretrained(tmp_path)
    capsys.readouterr()
    same, _ = models.load(f"hub:{tmp_path}", labels=3, device="cpu")
    assert capsys.readouterr().out == ""
    for p, q in zip(same.parameters(), saved.parameters()):
        assert_equal(p, q)

    drawn = []
    for seed in (0, 0, 1):
        pt.seed(seed)
        drawn.append(models.load(f"hub:{tmp_path}", labels=np.int64(2), device="cpu")[0])
        line, = capsys.readouterr().out.splitlines()
        assert line == (f"hub:{tmp_path} brings a head for 3 labels; its last layer was drawn "
                        "anew, for 2.")
    last = models.head(saved)[-1].rpartition(".")[0]
    for name, p in drawn[0].named_parameters():
        if not name.startswith(last):
            assert_equal(p, saved.get_parameter(name))
    weights = [model.get_parameter(f"{last}.weight") for model in drawn]
    assert weights[0].shape == (2, 32)
    assert_equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert drawn[0].config.num_labels == 2


def test_a_checkpoint_without_a_head_needs_no_line(tiny, tmp_path, capsys):
    tiny("bert", "backbone").save_pretrained(tmp_path)
    tokenizer_of_words().save_pretrained(tmp_path)
    capsys.readouterr()
    for labels in (2, 3, 4):
        models.load(f"hub:{tmp_path}", labels=labels, device="cpu")
    assert capsys.readouterr().out == ""


def test_a_pooler_that_the_checkpoint_lacks_is_said(tiny, tmp_path, capsys):
    """As of a BERT that was trained to fill in words: the head would read through noise."""
    from transformers import BertForMaskedLM

    torch.manual_seed(0)
    BertForMaskedLM(tiny("bert").config).save_pretrained(tmp_path)
    tokenizer_of_words().save_pretrained(tmp_path)
    name = f"hub:{tmp_path}"
    capsys.readouterr()
    for labels, module in ((3, "bert.pooler.dense"), (None, "pooler.dense")):
        model, _ = models.load(name, labels=labels, device="cpu")
        line, = capsys.readouterr().out.splitlines()
        assert line.startswith(f"{name} brings no weights for {module}: drawn anew at random, "
                               "which only pt.full or also_train trains")
        assert ("pool='mean' does without it" in line) == (labels == 3)
        trains = {n for n, p in pt.lora.inject(model).named_parameters() if p.requires_grad}
        assert not any("pooler" in n for n in trains)
        trains = pt.full.inject(models.load(name, labels=labels, device="cpu")[0])
        assert any("pooler" in n for n in pt.adapter_parameters(trains))
        capsys.readouterr()
    models.load(name, labels=3, pool="mean", device="cpu")
    models.load(name, labels=3, pretrained=False, device="cpu")
    assert capsys.readouterr().out == ""


def test_a_checkpoint_that_lacks_blocks_is_said(tiny, tmp_path, capsys):
    tiny("llama", "lm").save_pretrained(tmp_path)
    tokenizer_of_words().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    capsys.readouterr()
    models.load(f"hub:{tmp_path}", device="cpu")
    line, = capsys.readouterr().out.splitlines()
    assert "model.layers.2.input_layernorm, " in line
    assert " and 6 more: drawn anew at random" in line


def test_weights_that_do_not_fit_their_own_configuration(tiny, tmp_path):
    tiny("bert").save_pretrained(tmp_path)
    tokenizer_of_words().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"vocab_size": 97', '"vocab_size": 98'))
    for labels in (None, 3, 2):
        with pytest.raises(NotSupported, match=r"word_embeddings.weight is \[97, 32\] in the file"):
            models.load(f"hub:{tmp_path}", labels=labels, device="cpu")


@pytest.mark.parametrize("pretrained", [True, False])
def test_an_attention_that_a_family_has_not_is_the_cause_that_is_told(pretrained, tmp_path):
    deberta().save_pretrained(tmp_path)
    tokenizer_of_words().save_pretrained(tmp_path)
    options = {"labels": 3, "device": "cpu", "pretrained": pretrained}
    with pytest.raises(NotSupported, match="does not have this attention") as error:
        models.load(f"hub:{tmp_path}", **options)
    assert error.value.hint == "pt.models.load(name, attention='eager')"
    model, _ = models.load(f"hub:{tmp_path}", attention="eager", **options)
    assert type(model).__name__ == "DebertaV2ForSequenceClassification"


def test_a_tokenizer_that_cannot_be_read_is_the_cause_that_is_told(tmp_path):
    deberta().save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer"}')
    (tmp_path / "spm.model").write_bytes(b"\x0a\x03abc")
    with pytest.raises(UnknownName) as error:
        models.load(f"hub:{tmp_path}", labels=3, attention="eager")
    assert "the name is right" in error.value.hint
    assert "check the name" not in str(error.value)


def test_attention_is_chosen_at_loading():
    model, _ = models.load("minilm", attention="eager", pretrained=False, device="cpu")
    assert model.config._attn_implementation == "eager"
    with torch.no_grad():
        out = model(torch.ones(1, 4, dtype=torch.long), output_attentions=True)
    assert out.attentions[0].shape == (1, 12, 4, 4)


@pytest.mark.parametrize("name", ["minlm", "", "hub:", None, 5])
def test_an_unknown_name(name):
    with pytest.raises(UnknownName, match="minilm, smollm2, hub:NAME") as error:
        models.load(name)
    assert name != "minlm" or "did you mean 'minilm'" in str(error.value)


def test_an_unknown_hub_name():
    with pytest.raises(UnknownName, match="nobody/nothing-at-all") as error:
        models.load("hub:nobody/nothing-at-all")
    assert "offline, 'minilm' and 'smollm2' work" in error.value.hint


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_text_file_instead_of_a_model(file, tmp_path, tiny):
    tiny("bert").save_pretrained(tmp_path)
    (tmp_path / file).write_text("Dear diary,")
    with pytest.raises(UnknownName, match="could not be loaded as a model"):
        models.load(f"hub:{tmp_path}", labels=2)


def test_bad_settings():
    with pytest.raises(UnknownName, match="attention"):
        models.load("minilm", attention="flash")
    with pytest.raises(UnknownName, match="did you mean 'mean'"):
        models.load("minilm", labels=2, pool="means")
    for labels in (0, -1, 2.0, "2"):
        with pytest.raises(BadConfig, match="labels"):
            models.load("minilm", labels=labels)


@pytest.mark.parametrize("bars", [True, False])
def test_loading_is_quiet_and_leaves_transformers_as_it_was(bars, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    switch = {True: logging.enable_progress_bar, False: logging.disable_progress_bar}
    try:
        logging.set_verbosity_info()    # not what anybody else sets, so that it is this that stays
        switch[bars]()
        models.load("minilm", labels=2, device="cpu")
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, bars)
        with pytest.raises(UnknownName):
            models.load("hub:/nowhere/at/all")
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, bars)
        assert capfd.readouterr() == ("", "")
    finally:
        logging.set_verbosity(before[0])
        switch[before[1]]()


def test_a_notebook_shows_an_interrupted_load_in_one_line(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell
    from transformers import AutoConfig

    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(AutoConfig, "from_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        models.load("minilm")
    shell, shown = InteractiveShell(), []
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, error, lines: shown.append(lines))
    shell.showtraceback((stopped.type, stopped.value, stopped.tb))
    assert shown == [["KeyboardInterrupt: the model is not loaded yet; run the cell again."]]


@pytest.mark.parametrize("wrong", [{"targets": 5}, {"layers": 1.5}])
def test_targets_and_layers_of_no_form_say_so(wrong):
    with pytest.raises(BadConfig, match=f"{next(iter(wrong))} is"):
        pt.lora.Config(**wrong)
