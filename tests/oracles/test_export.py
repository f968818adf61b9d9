"""Export: what we write peft computes alike, what peft writes we compute alike; and bad files."""

import copy
import dataclasses
import json
import os
import pickle
import shutil

import pytest
import torch
from adapted import Own, Shift, assert_same, everything_about, randomize
from exact import assert_equal
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import peft_teach as pt
from peft_teach.errors import AdapterFileError, AlreadyAdapted, NoAdapter, NotExportable

peft = pytest.importorskip("peft")

# All other warnings of peft are errors: it reports missing and misnamed tensors by warning.
# It takes the bias of lora_B for a matrix that was lost, and writes it all the same.
pytestmark = [pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
              pytest.mark.filterwarnings("ignore:Adapter .default.*lora_B.bias"),
              pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")]

P = 3    # the length of prompts and prefixes


@torch.no_grad()
def outputs(model, batch, prompt=0):
    """Return the logits, or a bare backbone's last hidden states, of the real tokens."""
    out = model(**{k: v for k, v in batch.items() if k != "labels"})
    found = out.logits if "logits" in out else out.last_hidden_state
    return found[:, prompt:][batch["attention_mask"] == 1] if found.ndim == 3 else found


def from_theirs(theirs, batch):
    """Return what peft computes, without the positions of a soft prompt."""
    kind = theirs.peft_config["default"]
    if (isinstance(kind, peft.PrefixTuningConfig) and kind.task_type == "SEQ_CLS"
            and pt.models.cache_name() == "cache"):
        pytest.skip("peft 0.21 refuses this from transformers 5.24 on")
    return outputs(theirs, batch, P if isinstance(kind, peft.PromptTuningConfig) else 0)


def assert_alike(got, expected, base):
    assert (got - base).abs().max() > 0.05
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def state(model):
    head = set(pt.models.head(model))
    return pt.adapter_state(model) | {n: p.detach() for n, p in model.named_parameters()
                                      if n in head}


# ── to peft, and back ────────────────────────────────────────────────────────────────────────

LORA = pt.lora.Config(rank=4, alpha=6)
ALL = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
#       family, kind, method, config
OURS = {
    "lora, classifier": ("bert", "classifier", pt.lora, LORA),
    "lora, bare": ("bert", "backbone", pt.lora, LORA),
    "lora, one block": ("bert", "classifier", pt.lora, dataclasses.replace(
        LORA, targets=("ffn_out", "query"), layers=(1,))),
    "lora, ends that two places share": ("bert", "classifier", pt.lora, dataclasses.replace(
        LORA, targets=("ffn_out",))),
    "lora, full names": ("bert", "classifier", pt.lora, dataclasses.replace(
        LORA, targets=("bert.encoder.layer.1.output.dense", "bert.pooler.dense",
                       "bert.encoder.layer.0.attention.self.value"))),
    "lora, a place and a name": ("bert", "classifier", pt.lora, dataclasses.replace(
        LORA, targets=("value", "bert.pooler.dense"), layers=(0,))),
    "lora, a head of two layers": ("roberta", "classifier", pt.lora, LORA),
    "lora, two modules in the head": ("distilbert", "classifier", pt.lora, LORA),
    "lora, language model": ("llama", "lm", pt.lora, dataclasses.replace(
        LORA, targets=(*ALL, "ffn_gate"), alpha=2.5, dropout=0.1)),
    "lora, and norms": ("bert", "classifier", pt.lora, dataclasses.replace(
        LORA, also_train=("attention_norm", "bert.pooler"))),
    "ia3, and a head of words": ("llama", "lm", pt.ia3, pt.ia3.Config(
        also_train=("last", "lm_head"))),
    "rslora": ("qwen2", "classifier", pt.lora, dataclasses.replace(LORA, rank_stabilized=True)),
    "lora with a bias": ("bert", "classifier", pt.lora, dataclasses.replace(LORA, use_bias=True)),
    "lora with a bias, fused": ("gpt2", "lm", pt.lora, dataclasses.replace(
        LORA, use_bias=True)),
    "dora": ("bert", "classifier", pt.dora, pt.dora.Config(rank=4, targets=ALL)),
    "dora, fused": ("gpt2", "lm", pt.dora, pt.dora.Config(rank=4, targets=("qkv", "ffn_in"))),
    "ia3": ("bert", "classifier", pt.ia3, pt.ia3.Config()),
    "ia3, peft's default": ("roberta", "classifier", pt.ia3, pt.ia3.Config(
        ("key", "value", "attention_out", "ffn_out"))),
    "ia3, outputs only": ("bert", "backbone", pt.ia3, pt.ia3.Config(("key", "value"))),
    "ia3, fused": ("gpt2", "lm", pt.ia3, pt.ia3.Config()),
    "ia3, fused with grouped keys": ("phi3", "lm", pt.ia3, pt.ia3.Config()),
    "ia3, fused head by head": ("gpt_neox", "lm", pt.ia3, pt.ia3.Config()),
    "lora, a head that begins with its own name": (
        "modernbert", "classifier", pt.lora, dataclasses.replace(LORA, targets=("qkv", "ffn_in"))),
    "prompt, encoder": ("bert", "classifier", pt.prompt, pt.prompt.Config(P, pool="first")),
    "prompt, roberta": ("roberta", "classifier", pt.prompt, pt.prompt.Config(P, pool="first")),
    "prompt, distilbert": ("distilbert", "classifier", pt.prompt,
                           pt.prompt.Config(P, pool="first")),
    "prompt, bare": ("bert", "backbone", pt.prompt, pt.prompt.Config(P)),
    "prompt, llama": ("llama", "lm", pt.prompt, pt.prompt.Config(P)),
    "prefix, encoder": ("bert", "classifier", pt.prefix, pt.prefix.Config(P)),
    "prefix, bare": ("roberta", "backbone", pt.prefix, pt.prefix.Config(P)),
    "prefix, grouped": ("llama", "classifier", pt.prefix, pt.prefix.Config(P)),
    "prefix, qwen2": ("qwen2", "lm", pt.prefix, pt.prefix.Config(P)),
    "prefix with projection": ("llama", "lm", pt.prefix, pt.prefix.Config(P, projection=6)),
    "prefix with projection, bert": ("bert", "classifier", pt.prefix,
                                     pt.prefix.Config(P, projection=6)),
}


@pytest.mark.parametrize("case", OURS)
def test_peft_computes_the_same_from_our_file(case, tiny, inputs, tmp_path):
    family, kind, method, config = OURS[case]
    base = tiny(family, kind)
    batch = inputs(base)
    before = outputs(base, batch)
    model = randomize(method.inject(copy.deepcopy(base), config))
    folder = pt.export.to_peft(model, str(tmp_path / "a" / "b"))
    assert sorted(os.listdir(folder)) == ["adapter_config.json", "adapter_model.safetensors"]
    assert folder == tmp_path / "a" / "b"
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
    assert_alike(from_theirs(theirs, batch), outputs(model, batch), before)
    tasks = {"classifier": peft.PeftModelForSequenceClassification,
             "lm": peft.PeftModelForCausalLM, "backbone": peft.PeftModelForFeatureExtraction}
    assert type(theirs) is tasks[kind]
    written = load_file(folder / "adapter_model.safetensors")
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    for name in pt.models.head(model):
        found = [t for key, t in written.items() if key.endswith(f".{name}")]
        assert len(found) == 1
        assert_equal(found[0], model.get_parameter(name))
        assert not torch.equal(found[0], base.get_parameter(name))


@pytest.mark.parametrize("case", OURS)
def test_there_and_back_changes_nothing(case, tiny, inputs, tmp_path):
    family, kind, method, config = OURS[case]
    model = randomize(method.inject(tiny(family, kind), config))
    batch = inputs(model)
    back = pt.export.from_peft(tiny(family, kind), pt.export.to_peft(model, tmp_path)).eval()
    ours, theirs = state(model), state(back)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_equal(ours[name], theirs[name], name)
    assert_equal(outputs(back, batch), outputs(model, batch))
    if getattr(config, "projection", None):
        config = dataclasses.replace(config, projection=None)
    assert core_record(back) == (method.__name__.rpartition(".")[2], config)
    assert {n for n, p in back.named_parameters() if p.requires_grad} \
        == {*pt.adapter_parameters(back), *pt.models.head(back)}


def core_record(model):
    record = pt.notes.note_of(model)
    return record.method, record.config


def test_what_came_back_learns_at_the_same_rate(tiny, tmp_path):
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(targets="linear"))
    back = pt.export.from_peft(tiny("bert"), pt.export.to_peft(model, tmp_path))
    assert pt.training.learning_rate(back) == pt.training.learning_rate(model)


def test_what_came_from_peft_is_as_if_injected(tiny, inputs, tmp_path):
    model = randomize(pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets=("qkv",))))
    batch, wanted = inputs(model), outputs(model, inputs(model))
    folder = pt.export.to_peft(model, tmp_path / "peft")
    back = pt.export.from_peft(tiny("gpt2"), folder).eval()
    pt.save(back, tmp_path / "ours")
    assert_equal(outputs(pt.load(tiny("gpt2"), tmp_path / "ours").eval(), batch), wanted)
    other = randomize(pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets=("qkv",))), seed=5)
    pt.save(other, tmp_path / "other")
    assert_equal(outputs(pt.store.swap(back, tmp_path / "other"), batch), outputs(other, batch))
    back = pt.store.swap(back, tmp_path / "ours")
    again = pt.export.to_peft(back, tmp_path / "again")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    torch.testing.assert_close(outputs(pt.merge(back), batch), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(AlreadyAdapted):
        pt.export.from_peft(pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets=("qkv",))), folder)


@pytest.mark.parametrize(("family", "dora"), [("bert", False), ("gpt2", False), ("llama", True)])
def test_qlora_is_exported_as_the_lora_that_it_is(family, dora, tiny, inputs, tmp_path):
    model = pt.qlora.inject(tiny(family), pt.qlora.Config(rank=4, alpha=6, dora=dora))
    rounded = copy.deepcopy(model)
    model = randomize(model)
    batch = inputs(model)
    folder = pt.export.to_peft(model, tmp_path)
    with pytest.warns(UserWarning, match="4 bits"):
        base = pt.models.to_hf(pt.remove(rounded))
    before = outputs(base, batch)
    back = pt.export.from_peft(copy.deepcopy(base), folder)
    assert core_record(back)[0] == ("dora" if dora else "lora")
    torch.testing.assert_close(outputs(back.eval(), batch), outputs(model, batch),
                               rtol=1e-5, atol=1e-5)
    theirs = peft.PeftModel.from_pretrained(base, folder).eval()
    assert_alike(outputs(theirs, batch), outputs(model, batch), before)


@pytest.mark.parametrize(("kind", "task"), [("TokenClassification", "TOKEN_CLS"),
                                            ("QuestionAnswering", "QUESTION_ANS"),
                                            ("MaskedLM", None)])
def test_other_heads(kind, task, tiny, inputs, tmp_path):
    import transformers

    torch.manual_seed(0)
    config = tiny("bert").config
    config._name_or_path, config.num_labels = "someone/some-model", 2
    base = getattr(transformers, f"BertFor{kind}")(config).eval()
    batch = inputs(base, labels=False)
    read = {"QuestionAnswering": "start_logits"}.get(kind, "logits")
    with torch.no_grad():
        before = base(**batch)[read]
        model = randomize(pt.lora.inject(copy.deepcopy(base)))
        folder = pt.export.to_peft(model, tmp_path)
        settings = json.loads((folder / "adapter_config.json").read_text())
        assert settings["task_type"] == task
        assert settings["base_model_name_or_path"] == "someone/some-model"
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
        back = pt.export.from_peft(base, folder).eval()
        assert_alike(theirs(**batch)[read], model(**batch)[read], before)
        assert_equal(back(**batch)[read], model(**batch)[read])
    with pytest.raises(NotExportable, match="sequence classifier, a language model"):
        pt.export.to_peft(pt.prefix.inject(pt.remove(model)), tmp_path)


def test_a_head_of_ones_own_goes_there_and_back_with_its_buffers(tiny, tmp_path):
    base = Own(tiny("bert", "backbone"))
    ids = torch.arange(3, 15).reshape(3, 4)
    model = randomize(pt.lora.inject(copy.deepcopy(base), pt.lora.Config(
        rank=2, targets="body.bert.encoder.layer.0.attention.self.query")))
    model.train()(ids)
    folder = pt.export.to_peft(model, tmp_path)
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["modules_to_save"] == ["body.norm", "fc"]
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder)
    back = pt.export.from_peft(copy.deepcopy(base), folder)
    with torch.no_grad():
        before, ours, there, again = (m.eval()(ids) for m in (base, model, theirs, back))
    assert_alike(there, ours, before)
    assert_equal(again, ours)
    model.body["bert"].pooler.requires_grad_(True)
    with pytest.raises(pt.errors.NotSupported, match="would train, and be lost"):
        pt.export.to_peft(model, tmp_path)


def test_t5_is_a_model_from_sequence_to_sequence(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    base = T5ForConditionalGeneration(T5Config(
        vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4,
        decoder_start_token_id=0)).eval()
    names = [f"{part}.block.0.layer.0.SelfAttention.q" for part in ("encoder", "decoder")]
    model = randomize(pt.lora.inject(copy.deepcopy(base), pt.lora.Config(4, targets=names)))
    folder = pt.export.to_peft(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
    assert type(theirs) is peft.PeftModelForSeq2SeqLM
    back = pt.export.from_peft(copy.deepcopy(base), folder).eval()
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        before, ours, there, again = (m(input_ids=ids, decoder_input_ids=ids).logits
                                      for m in (base, model, theirs, back))
    assert_alike(there, ours, before)
    assert_equal(again, ours)


def test_a_prefix_for_heads_that_are_wider_than_the_model(tiny, inputs, tmp_path):
    import transformers

    torch.manual_seed(0)
    config = tiny("qwen3", "lm").config
    config.head_dim = 16                          # 4 heads of 16, and d_model is 32
    base = transformers.AutoModelForCausalLM.from_config(config).eval()
    batch = inputs(base)
    before = outputs(base, batch)
    model = randomize(pt.prefix.inject(copy.deepcopy(base), pt.prefix.Config(P)))
    folder = pt.export.to_peft(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
    assert_alike(outputs(theirs, batch), outputs(model, batch), before)
    theirs.save_pretrained(tmp_path / "theirs")
    back = pt.export.from_peft(base, tmp_path / "theirs").eval()
    assert_equal(outputs(back, batch), outputs(model, batch))


def test_exactly_the_adapted_modules_are_named(tmp_path):
    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(6, 6)
            self.inner = nn.ModuleDict({"lin": nn.Linear(6, 6)})

        def forward(self, x):
            return self.inner["lin"](self.lin(x).relu())

    torch.manual_seed(0)
    base = Toy()
    model = randomize(pt.lora.inject(copy.deepcopy(base), pt.lora.Config(2, targets=("lin",))))
    folder = pt.export.to_peft(model, tmp_path)    # "lin" alone would be the end of "inner.lin"
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder)
    x = torch.randn(5, 6)
    assert_alike(theirs(x), model(x), base(x))
    assert_equal(pt.export.from_peft(base, folder)(x), model(x))
    assert list(pt.adapters(base)) == ["lin"]


def test_more_names_than_peft_keeps(inputs, tmp_path):
    """From 20 names on peft shortens the list: then the ends must still tell them apart."""
    import transformers

    torch.manual_seed(0)
    base = transformers.BertForSequenceClassification(transformers.BertConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=11,
        num_attention_heads=4, initializer_range=0.2, num_labels=3)).eval()
    batch = inputs(base)
    before = outputs(base, batch)
    config = pt.lora.Config(rank=2, targets=("query", "ffn_out"), layers=tuple(range(10)))
    model = randomize(pt.lora.inject(copy.deepcopy(base), config))
    folder = pt.export.to_peft(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
    assert_alike(outputs(theirs, batch), outputs(model, batch), before)
    assert core_record(pt.export.from_peft(base, folder))[1] == config


# ── where the libraries differ, as the docstring says ────────────────────────────────────────


def test_a_bare_encoders_pooler_reads_the_prompt_in_peft(tiny, inputs, tmp_path):
    base = tiny("bert", "backbone")
    batch = inputs(base)
    model = randomize(pt.prompt.inject(copy.deepcopy(base), pt.prompt.Config(P)))
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base),
                                            pt.export.to_peft(model, tmp_path)).eval()
    with torch.no_grad():
        ours, other = model(**batch), theirs(**batch)
        assert (ours.pooler_output - other.pooler_output).abs().max() > 0.05
        torch.testing.assert_close(base.pooler(other.last_hidden_state[:, P:]),
                                   ours.pooler_output, rtol=1e-5, atol=1e-5)


# ── from peft ────────────────────────────────────────────────────────────────────────────────


L, S = peft.LoraConfig, {"task_type": "SEQ_CLS"}
SEVEN = ("query", "key", "value", "attention_out", "ffn_gate", "ffn_in", "ffn_out")
#      family, kind, peft's config, our config (targets as a set)
THEIRS = {
    "default": ("bert", "classifier", L(**S), pt.lora.Config(alpha=8)),
    "default, gpt2": ("gpt2", "lm", L(task_type="CAUSAL_LM", fan_in_fan_out=True),
                      pt.lora.Config(alpha=8)),
    "default, llama": ("llama", "classifier", L(**S, r=4, lora_dropout=0.2),
                       pt.lora.Config(4, 8, 0.2)),
    "default, qwen2": ("qwen2", "lm", L(use_rslora=True, lora_alpha=3),
                       pt.lora.Config(8, 3, rank_stabilized=True)),
    "no task": ("bert", "classifier", L(), pt.lora.Config(alpha=8)),
    "head by name": ("bert", "classifier", L(modules_to_save=["classifier"]),
                     pt.lora.Config(alpha=8)),
    "all-linear": ("llama", "classifier", L(**S, target_modules="all-linear"),
                   pt.lora.Config(alpha=8, targets=SEVEN)),
    "all-linear, lm": ("gpt2", "lm", L(task_type="CAUSAL_LM", target_modules="all-linear",
                                       fan_in_fan_out=True),
                       pt.lora.Config(alpha=8, targets=("qkv", "attention_out", "ffn_in",
                                                        "ffn_out"))),
    "all-linear, bert": ("bert", "classifier", L(**S, target_modules="all-linear"),
                         pt.lora.Config(alpha=8, targets=(*ALL, "bert.pooler.dense"))),
    "regex": ("bert", "classifier", L(**S, target_modules=r".*layer\.1\.(output\.dense|.*query)"),
              pt.lora.Config(alpha=8, targets=("query", "ffn_out"), layers=(1,))),
    "an end of two": ("bert", "classifier", L(**S, target_modules=["output.dense"]),
                      pt.lora.Config(alpha=8, targets=("attention_out", "ffn_out"))),
    "excluded": ("bert", "classifier", L(**S, target_modules=["output.dense", "query"],
                                         exclude_modules=["attention.output.dense"]),
                 pt.lora.Config(alpha=8, targets=("query", "ffn_out"))),
    "one layer": ("bert", "classifier", L(**S, layers_to_transform=[1]),
                  pt.lora.Config(alpha=8, layers=(1,))),
    "one layer, pattern": ("gpt2", "classifier", L(**S, layers_to_transform=0, layers_pattern="h",
                                                   target_modules=["c_proj"], fan_in_fan_out=True),
                           pt.lora.Config(alpha=8, targets=("attention_out", "ffn_out"),
                                          layers=(0,))),
    "different layers": ("llama", "lm", L(target_modules=["layers.0.self_attn.q_proj",
                                                          "layers.1.self_attn.v_proj"]),
                         pt.lora.Config(alpha=8, targets=("model.layers.0.self_attn.q_proj",
                                                          "model.layers.1.self_attn.v_proj"))),
    "bias": ("bert", "classifier", L(**S, lora_bias=True), pt.lora.Config(alpha=8, use_bias=True)),
    "pattern for all": ("bert", "classifier", L(**S, rank_pattern={"query": 2, "val.*": 2},
                                                alpha_pattern={".*self.*": 5}),
                        pt.lora.Config(rank=2, alpha=5)),
    "dora": ("bert", "classifier", L(**S, use_dora=True), pt.dora.Config(alpha=8)),
    "dora, gpt2": ("gpt2", "lm", L(use_dora=True, fan_in_fan_out=True),
                   pt.dora.Config(alpha=8)),
    "dora, stabilized": ("llama", "lm", L(use_dora=True, use_rslora=True, r=4, lora_alpha=3),
                         pt.dora.Config(4, 6)),
    "ia3": ("bert", "classifier", peft.IA3Config(**S), pt.ia3.Config(
        ("key", "value", "attention_out", "ffn_out"))),
    "ia3, llama": ("llama", "lm", peft.IA3Config(), pt.ia3.Config()),
    "ia3, the paper's": ("bert", "classifier", peft.IA3Config(
        **S, target_modules=r".*(\.key|\.value|layer\.\d+\.output\.dense)$",
        feedforward_modules=r".*layer\.\d+\.output\.dense$"), pt.ia3.Config()),
    "ia3, gpt2": ("gpt2", "lm", peft.IA3Config(fan_in_fan_out=True), pt.ia3.Config()),
    "prompt": ("bert", "classifier", peft.PromptTuningConfig(**S, num_virtual_tokens=P),
               pt.prompt.Config(P, pool="first")),
    "prompt, lm": ("llama", "lm", peft.PromptTuningConfig(task_type="CAUSAL_LM",
                                                          num_virtual_tokens=P),
                   pt.prompt.Config(P)),
    "prompt, bare": ("roberta", "backbone", peft.PromptTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=P), pt.prompt.Config(P)),
    "prefix": ("bert", "classifier", peft.PrefixTuningConfig(**S, num_virtual_tokens=P),
               pt.prefix.Config(P)),
    "prefix, projection": ("gpt2", "lm", peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=P, prefix_projection=True,
        encoder_hidden_size=5), pt.prefix.Config(P)),
    "prefix, grouped": ("llama", "lm", peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=P), pt.prefix.Config(P)),
}


def from_them(case, tiny, folder):
    """Write one of peft's own files; return the base and peft's model."""
    family, kind, config, _ = THEIRS[case]
    base = tiny(family, kind)
    theirs = randomize(peft.get_peft_model(copy.deepcopy(base), copy.deepcopy(config)))
    if case == "ia3, gpt2":    # the paper has no vector for queries
        with torch.no_grad():
            for name, p in theirs.named_parameters():
                if "c_attn.ia3_l" in name:
                    p[:32] = 1
    theirs.save_pretrained(folder)
    return base, theirs


def in_order(config):
    """Return a config whose targets are sorted: peft writes sets, in any order."""
    targets = getattr(config, "targets", None)
    return dataclasses.replace(config, targets=tuple(sorted(targets))) if targets else config


@pytest.mark.parametrize("case", THEIRS)
def test_we_compute_the_same_from_pefts_file(case, tiny, inputs, tmp_path):
    base, theirs = from_them(case, tiny, tmp_path)
    batch = inputs(base)
    before = outputs(base, batch)
    model = pt.export.from_peft(copy.deepcopy(base), tmp_path).eval()
    assert_alike(outputs(model, batch), from_theirs(theirs, batch), before)
    method, config = core_record(model)
    expected = THEIRS[case][3]
    assert method == type(expected).__module__.rpartition(".")[2]
    assert in_order(config) == in_order(expected)
    again = pt.export.from_peft(base, pt.export.to_peft(model, tmp_path / "again")).eval()
    assert_equal(outputs(again, batch), outputs(model, batch))


def test_a_file_in_half_precision_is_read_into_float32(tiny, inputs, tmp_path):
    base, _ = from_them("default", tiny, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    half = {k: v.to(torch.bfloat16) for k, v in load_file(file).items()}
    save_file(half, file, metadata={"format": "pt"})
    model = pt.export.from_peft(base, tmp_path)
    for name, p in pt.adapter_parameters(model).items():
        module, _, letter = name.rpartition(".")
        assert p.dtype == torch.float32
        assert_equal(p, half[f"base_model.model.{module}.lora_{letter}.weight"].float())


@pytest.mark.parametrize("text", ["all-linear", "All-Linear"])
def test_all_linear_as_a_word(text, tiny, tmp_path):
    """peft writes the names that it stands for, other programs the word."""
    base, _ = from_them("all-linear, bert", tiny, tmp_path)
    edit(target_modules=text, modules_to_save=None)(tmp_path)    # a classifier's head is saved
    assert len(pt.adapters(pt.export.from_peft(base, tmp_path))) == 2 * 6 + 1
    (tmp_path / "lm").mkdir()
    base, _ = from_them("all-linear, lm", tiny, tmp_path / "lm")
    edit(target_modules=text)(tmp_path / "lm")
    assert len(pt.adapters(pt.export.from_peft(base, tmp_path / "lm"))) == 2 * 4


# ── what cannot be said ──────────────────────────────────────────────────────────────────────


def mean_pooled():
    model, _ = pt.models.load("minilm", labels=2, pool="mean", pretrained=False)
    return model


NOT_OURS_TO_WRITE = {
    "full": (lambda tiny: pt.full.inject(tiny("bert")), "Full fine-tuning has no adapter"),
    "head": (lambda tiny: pt.full.inject(tiny("bert"), pt.full.Config("head")), "has no adapter"),
    "bottleneck": (lambda tiny: pt.bottleneck.inject(tiny("bert")), "peft has no bottleneck"),
    "bitfit": (lambda tiny: pt.bitfit.inject(tiny("bert")), "peft has no BitFit"),
    "bare attach": (lambda tiny: pt.attach(tiny("bert"), "query", Shift), "bare pt.attach"),
    "prompt that leaves [CLS]": (lambda tiny: pt.prompt.inject(tiny("bert")),
                                 "pool='cls'.*reads the first vector"),
    "prompt, bare": (lambda tiny: pt.prompt.inject(tiny("bert", "backbone"),
                                                   pt.prompt.Config(pool="first")),
                     "pool='first'.*reads the first vector"),
    "a copy beside a prefix": (lambda tiny: pt.prefix.inject(
        tiny("llama", "lm"), pt.prefix.Config(also_train="last")), "no trained copy of model.norm"),
    "mean pooling": (lambda tiny: pt.lora.inject(mean_pooled()), "mean of all tokens"),
}


@pytest.mark.parametrize("case", NOT_OURS_TO_WRITE)
def test_what_peft_does_not_have_is_not_written(case, tiny, tmp_path):
    make, message = NOT_OURS_TO_WRITE[case]
    model = make(tiny)
    with pytest.raises(NotExportable, match=message):
        pt.export.to_peft(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_an_adapter_there_is_nothing_to_write(tiny, tmp_path):
    model = pt.merge(pt.lora.inject(tiny("bert")))
    for plain in (model, tiny("bert")):
        with pytest.raises(NoAdapter, match="export first"):
            pt.export.to_peft(plain, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_failed_write_leaves_the_old_files(tiny, tmp_path, monkeypatch):
    folder = pt.export.to_peft(pt.lora.inject(tiny("bert")), tmp_path / "x")
    old = {f.name: f.read_bytes() for f in folder.iterdir()}
    model = randomize(pt.lora.inject(tiny("bert"), pt.lora.Config(2)))
    write = type(folder).write_bytes

    def full_disk(self, data):
        if "config" in self.name:
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(type(folder), "write_bytes", full_disk)
    with pytest.raises(AdapterFileError, match="No space left"):
        pt.export.to_peft(model, folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == old
    monkeypatch.undo()
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdapterFileError, match="cannot be a folder"):
        pt.export.to_peft(model, tmp_path / "file")
    pt.export.to_peft(model, folder)
    assert {f.name for f in folder.iterdir()} == set(old)
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2


def test_a_folder_that_may_not_be_written(tiny, tmp_path, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    model = pt.lora.inject(tiny("bert"))
    for method in ("mkdir", "write_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(type(tmp_path), method, denied)
            with pytest.raises(AdapterFileError, match="Permission denied"):
                pt.export.to_peft(model, tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize(("name", "written"), [
    ("someone/some-model", "someone/some-model"), ("gpt2", "gpt2"), ("", None),
    ("/root/.cache/peft-teach/minilm", None), ("./here", None), ("../there", None),
    ("~/mine", None), ("C:\\models\\mine", None), ("a/b/c", None), ("local", None)])
def test_no_path_of_this_machine_is_written(name, written, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").mkdir()
    base = tiny("bert")
    base.config._name_or_path = name
    folder = pt.export.to_peft(pt.lora.inject(base), tmp_path / "x")
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == written
    assert (settings["inference_mode"], settings["bias"], settings["fan_in_fan_out"]) \
        == (True, "none", False)
    assert settings["peft_version"] == "0.21.2"


# ── damaged and foreign folders ──────────────────────────────────────────────────────────────


def edit(**settings):
    def damage(folder):
        file = folder / "adapter_config.json"
        found = json.loads(file.read_text()) | settings
        file.write_text(json.dumps({k: v for k, v in found.items() if v != "(gone)"}))
    return damage


def text(content):
    return lambda folder: (folder / "adapter_config.json").write_bytes(content)


def tensors(change):
    def damage(folder):
        file = folder / "adapter_model.safetensors"
        found = load_file(file)
        change(found)
        save_file(found, file, metadata={"format": "pt"})
    return damage


def cut(folder):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-200])


def pickled_only(folder):
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))


class Bomb:
    def __reduce__(self):
        return os._exit, (1,)


A0 = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
FOREIGN = {
    "no folder": (shutil.rmtree, AdapterFileError, "has no adapter_model.safetensors"),
    "no config": (lambda f: (f / "adapter_config.json").unlink(), AdapterFileError,
                  "has no adapter_config.json"),
    "no tensors": (lambda f: (f / "adapter_model.safetensors").unlink(), AdapterFileError,
                   "has no adapter_model.safetensors"),
    "a pickle": (pickled_only, AdapterFileError, "a pickle, which can run any program"),
    "damaged json": (text(b'{"peft_type": '), AdapterFileError, "is damaged"),
    "a json list": (text(b"[1]"), AdapterFileError, "names no peft_type"),
    "no peft_type": (edit(peft_type="(gone)"), AdapterFileError, "names no peft_type"),
    "peft_type is a list": (edit(peft_type=["LORA"]), AdapterFileError, "names no peft_type"),
    "unknown peft_type": (edit(peft_type="LORRA"), NotExportable, "'LORRA'"),
    "cut tensors": (cut, AdapterFileError, "is damaged"),
    "a missing key": (tensors(lambda t: t.pop(A0)), AdapterFileError, f"missing {A0}"),
    "an extra key": (tensors(lambda t: t.update(extra=torch.ones(2))), AdapterFileError,
                     "unexpected extra"),
    "a wrong shape": (tensors(lambda t: t.update({A0: torch.ones(8, 31)})), AdapterFileError,
                      r"c_attn.lora_A.weight is \(8, 31\), not \(8, 32\)"),
    "no head": (tensors(lambda t: t.pop("base_model.model.score.weight")), AdapterFileError,
                "missing base_model.model.score.weight"),
    "another head": (tensors(lambda t: t.update(
        {"base_model.model.score.weight": torch.ones(5, 32)})), AdapterFileError,
        r"score.weight is \(5, 32\), not \(3, 32\)"),
    "another rank": (edit(r=4), AdapterFileError, "is .8, 32., not .4, 32."),
    "a rank in words": (edit(r="eight"), AdapterFileError, "rank is 'eight'"),
    "alpha is a list": (edit(lora_alpha=[8]), AdapterFileError, "alpha is"),
    "no targets": (edit(target_modules="(gone)"), AdapterFileError, "no such module"),
    "targets are null": (edit(target_modules=None), AdapterFileError, "no such module"),
    "targets hold a number": (edit(target_modules=[3]), AdapterFileError, "target_modules is"),
    "another model's targets": (edit(target_modules=["q_proj"]), AdapterFileError,
                                r"\['q_proj'\], and this model has no such module"),
    "a bad regex": (edit(target_modules="*("), AdapterFileError, "do not fit"),
    "a regex that re needs years for": (edit(target_modules=r"(\w+\.?)+[XYZ]"), AdapterFileError,
                                        "no such module"),
    "layers in words": (edit(layers_to_transform="one"), AdapterFileError, "do not fit"),
    "a layer too many": (edit(layers_to_transform=[2]), AdapterFileError, "no such module"),
    "task is a list": (edit(task_type=["SEQ_CLS"]), AdapterFileError, "do not fit"),
    "a head in words": (edit(modules_to_save="score"), AdapterFileError, "modules_to_save is"),
    "pattern is a list": (edit(rank_pattern=[4]), AdapterFileError, "rank_pattern is"),
    "different ranks": (edit(rank_pattern={"h.0.attn.c_attn": 4}), NotExportable,
                        "rank_pattern gives modules different values"),
    "different alphas": (edit(alpha_pattern={"h.0.attn.c_attn": 4}), NotExportable,
                         "alpha_pattern gives modules different values"),
    "trained biases": (edit(bias="all"), NotExportable, "bias='all' trains the base's own"),
    "an embedding": (tensors(lambda t: t.update(
        {"base_model.model.transformer.wte.lora_embedding_A": torch.ones(8, 97)})), NotExportable,
        "a LoRA on an embedding"),
    "a norm as target": (edit(target_modules=["ln_1"]), NotExportable, "LayerNorm"),
    "another module saved": (edit(modules_to_save=["score", "wte"]), AdapterFileError,
                             "missing base_model.model.transformer.wte.weight"),
    "the head as a target": (edit(target_modules=["c_attn", "score"], modules_to_save=None),
                             AdapterFileError, "score belongs to the task head"),
    "a form that is not here": (edit(use_qalora=True), NotExportable, "sets use_qalora"),
    "a setting of the future": (edit(use_magic=7), NotExportable, "sets use_magic"),
    "a start that changes the base": (edit(init_lora_weights="pissa"), NotExportable,
                                      "'pissa' changes the base"),
    "dora with a bias": (edit(use_dora=True, lora_bias=True), NotExportable, "DoRA with a bias"),
    "dora without magnitudes": (edit(use_dora=True), AdapterFileError,
                                "missing .*lora_magnitude_vector"),
    "a bias without numbers": (edit(lora_bias=True), AdapterFileError, "missing .*lora_B.bias"),
    "another task": (edit(task_type="CAUSAL_LM", modules_to_save=None), AdapterFileError,
                     "unexpected base_model.model.score.weight"),
    **{kind: (edit(peft_type=kind), NotExportable, f"holds '{kind}'")
       for kind in ("VERA", "ADALORA", "P_TUNING", "OFT", "LN_TUNING")},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder that peft wrote for the tiny GPT-2 with a classifier."""
    from tiny import build

    folder = tmp_path_factory.mktemp("peft")
    theirs = peft.get_peft_model(build("gpt2"), L(**S, fan_in_fan_out=True))
    randomize(theirs).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_that_cannot_be_read_leaves_the_model(case, sound, tiny, inputs, tmp_path):
    damage, error, message = FOREIGN[case]
    folder = shutil.copytree(sound, tmp_path / "x")
    model = tiny("gpt2")
    before = everything_about(model, inputs(model))
    damage(folder)
    with pytest.raises(error, match=message):
        pt.export.from_peft(model, folder)
    assert_same(everything_about(model, inputs(model)), before)
    assert "Conv1D" in str(type(model.transformer.h[0].attn.c_attn))
    assert list(pt.adapters(pt.export.from_peft(model, sound))) == [
        f"transformer.h.{i}.attn.c_attn" for i in range(2)]


INPUT_TROUBLE = {
    "length": (edit(num_virtual_tokens=4), r"is \(3, \d+\), not \(4, \d+\)"),
    "no length": (edit(num_virtual_tokens="(gone)"), "length is None"),
    "too long": (edit(num_virtual_tokens=4000), "length is 4000"),
    "width": (tensors(lambda t: t.update(prompt_embeddings=torch.ones(3, 31))), r"is \(3, 31\)"),
    "missing": (tensors(lambda t: t.pop("prompt_embeddings")), "missing prompt_embeddings"),
    "no head": (tensors(lambda t: t.pop("base_model.classifier.bias")),
                "missing base_model.classifier.bias"),
}


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
@pytest.mark.parametrize("case", INPUT_TROUBLE)
def test_prompts_and_prefixes_that_do_not_fit(kind, case, tiny, inputs, tmp_path):
    base, _ = from_them(kind, tiny, tmp_path)
    before = everything_about(base, inputs(base))
    damage, message = INPUT_TROUBLE[case]
    damage(tmp_path)
    with pytest.raises(AdapterFileError, match=message):
        pt.export.from_peft(base, tmp_path)
    assert_same(everything_about(base, inputs(base)), before)


def test_a_prefix_where_it_would_be_ignored(tiny, tmp_path):
    from_them("prefix", tiny, tmp_path)
    with pytest.raises(NotExportable, match="ignores keys and values"):
        pt.export.from_peft(tiny("distilbert"), tmp_path)


@pytest.mark.parametrize(("family", "config", "message"), [
    ("gpt2", peft.IA3Config(**S, fan_in_fan_out=True), "scales the queries"),
    ("qwen2", peft.IA3Config(**S), "no vector for query"),
    ("bert", peft.IA3Config(**S, target_modules=["key", "ffn", "output.dense"],
                            feedforward_modules=[]), "does not scale the input of"),
])
def test_vectors_that_the_paper_does_not_have(family, config, message, tiny, inputs, tmp_path):
    base = tiny(family)
    before = everything_about(base, inputs(base))
    randomize(peft.get_peft_model(copy.deepcopy(base), config)).save_pretrained(tmp_path)
    with pytest.raises(NotExportable, match=message):
        pt.export.from_peft(base, tmp_path)
    assert_same(everything_about(base, inputs(base)), before)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_why_some_starts_are_refused(start, tiny, tmp_path):
    """peft changes the base again when it loads such a file: the tensors alone are not enough."""
    base = tiny("bert")
    name = "bert.encoder.layer.0.attention.self.query"
    randomize(peft.get_peft_model(copy.deepcopy(base), L(**S, init_lora_weights=start))
         ).save_pretrained(tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    moved = theirs.get_base_model().get_submodule(name).base_layer.weight
    assert (moved - base.get_submodule(name).weight).abs().max() > 0.1
    with pytest.raises(NotExportable, match="changes the base"):
        pt.export.from_peft(base, tmp_path)


def test_a_start_is_to_convert_and_nothing_else(sound, tiny, tmp_path):
    for settings, converts in (({"init_lora_weights": "pissa"}, True), ({"bias": "all"}, False)):
        folder = shutil.copytree(sound, tmp_path / str(converts))
        edit(**settings)(folder)
        with pytest.raises(NotExportable) as error:
            pt.export.from_peft(tiny("gpt2"), folder)
        assert ("can convert" in (error.value.hint or "")) == converts


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`", "ignore:Model has `tie_word")
@pytest.mark.parametrize("tied", [False, True])
def test_an_adapted_output_table_is_read_where_it_is_the_base_s(tied, tiny, inputs, tmp_path):
    """peft then writes the table itself, too."""
    base = tiny("llama", "lm")
    base.config.tie_word_embeddings = tied
    base.tie_weights()
    plain, batch = copy.deepcopy(base), inputs(base)
    theirs = randomize(peft.get_peft_model(copy.deepcopy(base), L(
        task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"], ensure_weight_tying=False)))
    theirs.save_pretrained(tmp_path)
    assert any("base_layer" in n for n in load_file(tmp_path / "adapter_model.safetensors"))
    model = pt.export.from_peft(base, tmp_path)
    assert "lm_head" in pt.adapters(model)
    assert_alike(outputs(model, batch), outputs(theirs, batch), outputs(plain, batch))
    other = tiny("llama", "lm", seed=4)    # another table is no copy
    with pytest.raises(AdapterFileError, match=r"unexpected base_model\.model\.lm_head"):
        pt.export.from_peft(other, tmp_path)


def test_each_folder_names_who_reads_it(sound, tiny, tmp_path):
    ours = pt.save(pt.lora.inject(tiny("gpt2")), tmp_path)
    with pytest.raises(AdapterFileError, match=r"pt\.load\(model, path\) reads this"):
        pt.export.from_peft(tiny("gpt2"), ours)
    with pytest.raises(AdapterFileError, match=r"pt\.export\.from_peft\(model, path\) reads"):
        pt.load(tiny("gpt2"), sound)


def test_a_pickle_beside_the_tensors_is_not_opened(sound, tiny, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "x")
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert pt.adapters(pt.export.from_peft(tiny("gpt2"), folder))


# ── modules that count: BatchNorm ────────────────────────────────────────────────────────────


def conformer():
    """Return a model that hears, without words, and with a BatchNorm in each block."""
    from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForSequenceClassification
    torch.manual_seed(0)
    return Wav2Vec2ConformerForSequenceClassification(Wav2Vec2ConformerConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        conv_dim=(16, 16), conv_stride=(4, 4), conv_kernel=(8, 8), num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, classifier_proj_size=12, layerdrop=0.5,
        conv_depthwise_kernel_size=7, feat_extract_norm="layer")).eval()


@pytest.mark.parametrize("saved", ["batch_norm", "encoder.layers.1.conv_module"])
def test_what_a_batch_norm_counts_goes_both_ways(saved, tmp_path):
    generator = torch.Generator().manual_seed(0)
    batch = {"input_values": torch.randn(4, 400, generator=generator) * 2 + 1,
             "labels": torch.tensor([0, 1, 1, 0])}
    theirs = peft.get_peft_model(conformer(), peft.LoraConfig(
        r=2, target_modules=["linear_q"], modules_to_save=[saved, "classifier", "projector"]))
    for _ in range(3):
        theirs.train()(**batch).loss.backward()
    randomize(theirs).save_pretrained(tmp_path / "theirs")
    theirs = peft.PeftModel.from_pretrained(conformer(), tmp_path / "theirs").eval()
    with torch.no_grad():
        base, expected = conformer()(**batch).logits, theirs(**batch).logits
        ours = pt.export.from_peft(conformer(), tmp_path / "theirs")
        assert_alike(ours(**batch).logits, expected, base)
        counted = {n: t for n, t in pt.adapter_state(ours).items() if n.endswith("running_mean")}
        assert len(counted) == (2 if saved == "batch_norm" else 1)
        assert all((t != 0).any() for t in counted.values())

    list(pt.train(ours, [batch] * 3, lr=1e-2))
    assert all(not torch.equal(t, counted[n]) for n, t in pt.adapter_state(ours).items()
               if n in counted)
    pt.export.to_peft(ours, tmp_path / "ours")
    with torch.no_grad():
        theirs = peft.PeftModel.from_pretrained(conformer(), tmp_path / "ours").eval()
        assert_alike(theirs(**batch).logits, ours(**batch).logits, base)
