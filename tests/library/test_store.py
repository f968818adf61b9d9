"""Adapters on disk: what the files hold, and that a wrong or damaged one changes nothing."""

import copy
import dataclasses
import json
import os
import shutil
from contextlib import nullcontext
from typing import Annotated

import pytest
import torch
from adapted import Foldable, Shift, outputs, randomize
from exact import assert_equal
from prompting import Numbers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import peft_teach as pt
from peft_teach import models, notes, settings
from peft_teach.errors import (
    AdapterFileError,
    AlreadyAdapted,
    NoAdapter,
    NotSupported,
)
from peft_teach.reading import AdapterFile

CONFIG = pt.lora.Config(rank=4, alpha=6.0, targets=("query", "ffn_in"), layers=(1,))


def structure(model):
    return ([(n, id(m)) for n, m in model.named_modules()],
            [(n, id(p), p.requires_grad, p.detach().clone().tolist())
             for n, p in model.named_parameters()],
            notes.note_of(model), "save_pretrained" in vars(model))


@pytest.fixture
def batch(tiny, inputs):
    return inputs(tiny("bert"))


@pytest.fixture
def saved(tiny, tmp_path):
    """A folder with one adapter for the tiny BERT."""
    return pt.save(randomize(pt.lora.inject(tiny("bert"), CONFIG)), tmp_path / "saved")


def edit(folder, change_tensors=id, change_json=id, keep=True):
    """Write both files anew; the tensors with the description in their metadata if it is kept."""
    file = folder / "adapter.safetensors"
    with safe_open(file, "pt") as opened:
        told = json.loads(opened.metadata()["adapter.json"])
    tensors = load_file(file)
    change_tensors(tensors)
    changed = change_json(told)
    told = changed if isinstance(changed, list) else told
    save_file(tensors, file, {"adapter.json": json.dumps(told)} if keep else None)
    (folder / "adapter.json").write_text(json.dumps(told))


def edit_json(folder, change):
    edit(folder, change_json=change)


def edit_tensors(folder, change):
    edit(folder, change)


# ── what is written ──────────────────────────────────────────────────────────────────────────


def test_the_files(saved, tiny, tmp_path):
    assert sorted(f.name for f in saved.iterdir()) == ["adapter.json", "adapter.safetensors"]
    block = "bert.encoder.layer.1"
    shapes = {f"{block}.attention.self.query.A": [4, 32],
              f"{block}.attention.self.query.B": [32, 4],
              f"{block}.intermediate.dense.A": [4, 32],
              f"{block}.intermediate.dense.B": [48, 4],
              "classifier.weight": [3, 32], "classifier.bias": [3]}
    with safe_open(saved / "adapter.safetensors", "pt") as file:
        assert {k: file.get_slice(k).get_shape() for k in file.keys()} == shapes  # noqa: SIM118
        assert file.metadata() == {"adapter.json": (saved / "adapter.json").read_text()}
    description = json.loads((saved / "adapter.json").read_text())
    assert description["format"] == 1
    assert description["method"] == "lora"
    assert description["config"] == {
        "also_train": None, "rank": 4, "alpha": 6.0, "dropout": 0.0, "rank_stabilized": False,
        "use_bias": False, "targets": ["query", "ffn_in"], "layers": [1]}
    names = {n for n, _ in tiny("bert").named_parameters() if not n.startswith("classifier")}
    assert set(description["base"]) == names
    assert pt.save(pt.lora.inject(tiny("bert")), str(tmp_path / "a" / "b")).is_dir()


def test_saving_over_an_old_one_replaces_it(saved, tiny, batch):
    model = randomize(pt.lora.inject(tiny("bert"), CONFIG), seed=1)
    assert pt.save(model, saved) == saved
    assert_equal(outputs(pt.load(tiny("bert"), saved), batch), outputs(model, batch))
    assert len(list(saved.iterdir())) == 2


def test_a_failed_write_leaves_the_old_one(saved, tiny, batch, monkeypatch):
    old = outputs(pt.load(tiny("bert"), saved), batch)

    def full_disk(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(saved), "write_bytes", full_disk)
    with pytest.raises(AdapterFileError, match="No space left"):
        pt.save(randomize(pt.lora.inject(tiny("bert"), CONFIG), seed=1), saved)
    assert len(list(saved.iterdir())) == 2
    assert_equal(outputs(pt.load(tiny("bert"), saved), batch), old)


@pytest.mark.parametrize("call", [1, 2])    # before the first move, and between the two
@pytest.mark.parametrize("comes", ["interrupt", "another save"])
def test_what_comes_between_two_moves_leaves_a_whole_save(call, comes, saved, tiny, batch,
                                                          monkeypatch):
    """A reader never has the tensors of one save with the settings, here alpha, of another."""
    def model(seed, alpha):
        return randomize(pt.lora.inject(tiny("bert"), dataclasses.replace(CONFIG, alpha=alpha)),
                         seed)

    def read():
        return outputs(pt.load(tiny("bert"), saved), batch)

    def interrupted(part, file):
        calls.append(file)
        if len(calls) == call:
            if comes == "interrupt":
                raise KeyboardInterrupt
            pt.save(other, saved)
            assert_equal(read(), outputs(other, batch))
        moved(part, file)

    calls, moved, mine, other = [], os.replace, model(1, 12.0), model(2, 24.0)
    whole = [read(), outputs(mine, batch)]
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt) if comes == "interrupt" else nullcontext():
        pt.save(mine, saved)
    expected = outputs(other, batch) if (call, comes) == (2, "another save") else (
        whole[0] if (call, comes) == (1, "interrupt") else whole[1])
    assert_equal(read(), expected)
    assert len(list(saved.iterdir())) == 2


def test_saving_where_it_cannot_be(tiny, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdapterFileError, match="cannot be a folder"):
        pt.save(pt.lora.inject(tiny("bert")), tmp_path / "file")
    with pytest.raises(AdapterFileError, match="cannot be a folder"):
        pt.save(pt.lora.inject(tiny("bert")), tmp_path / "file" / "adapter")
    with pytest.raises(NoAdapter):
        pt.save(tiny("bert"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


# ── damaged and wrong files ──────────────────────────────────────────────────────────────────


def cut(name, keep):
    def damage(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:int(len(data) * keep)])
    return damage


def json_is(data):
    """Damage the json where the tensors come without theirs; None takes it away."""
    def damage(folder):
        edit(folder, keep=False)
        (folder / "adapter.json").unlink()
        if data is not None:
            (folder / "adapter.json").write_bytes(data)
    return damage


def starts(data):
    """Damage the file of tensors: it starts with these bytes."""
    def damage(folder):
        file = folder / "adapter.safetensors"
        file.write_bytes(data + file.read_bytes()[len(data):])
    return damage


def only(dtype):
    """Damage the file of tensors: it holds two bytes, which are of this dtype."""
    header = json.dumps({"x": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2]}}).encode()
    return lambda folder: (folder / "adapter.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(2))


def pipe(name):
    return lambda folder: ((folder / name).unlink(), os.mkfifo(folder / name))


def description(change):
    return lambda folder: edit_json(folder, change)


def tensors(change):
    return lambda folder: edit_tensors(folder, change)


def first_value(base, value):
    """Change a value of the fingerprint in one tensor."""
    base["bert.encoder.layer.0.output.dense.weight"][1][3] = value


def all_values(base, value):
    base["bert.encoder.layer.0.output.dense.weight"][1] = [value] * 16


Q = "bert.encoder.layer.1.attention.self.query"
WRONG = {    # what is done to the folder, and what the message says
    "no json": (json_is(None), "has no adapter.json"),
    "no tensors": (lambda f: (f / "adapter.safetensors").unlink(), "has no adapter.safetensors"),
    "no folder": (shutil.rmtree, "has no adapter.safetensors"),
    "json cut": (json_is(b'{"format": 1, "met'), "damaged"),
    "json is bytes": (json_is(b"\xff\xfe\x00"), "damaged"),
    "json is a list": (description(lambda d: [d]), "does not describe"),
    "another format": (description(lambda d: d.update(format=2)), "format 1"),
    "no base": (description(lambda d: d.pop("base") and None), "does not describe"),
    "base of numbers": (description(lambda d: d.update(base=dict.fromkeys(d["base"], 3))),
                        "does not describe"),
    "base of words": (description(lambda d: first_value(d["base"], "a")), "does not describe"),
    "base of whole numbers": (description(lambda d: all_values(d["base"], 10**20)),
                              "does not describe"),
    "base of truths": (description(lambda d: all_values(d["base"], True)), "does not describe"),
    "config a list": (description(lambda d: d.update(config=[4])), "does not describe"),
    "config unknown": (description(lambda d: d["config"].update(depth=3)), "depth"),
    "config wrong type": (description(lambda d: d["config"].update(targets=5)), "settings"),
    "rank too large": (description(lambda d: d["config"].update(rank=99)), "do not fit.*rank 99"),
    "block unknown": (description(lambda d: d["config"].update(layers=[7])), "block"),
    "method unknown": (description(lambda d: d.update(method="magic")), "'magic'"),
    "method a dict": (description(lambda d: d.update(method={})), "does not describe"),
    "method none": (description(lambda d: d.update(method=None, config=None, wrapped=[],
                                                   also_train=[])), "bare pt.attach"),
    "tensors cut": (cut("adapter.safetensors", 0.9), "damaged"),
    "tensors are a pickle": (lambda f: torch.save({}, f / "adapter.safetensors"), "damaged"),
    "key missing": (tensors(lambda t: t.pop(f"{Q}.A")), f"missing {Q}.A"),
    "head missing": (tensors(lambda t: t.pop("classifier.bias")), "missing classifier.bias"),
    "key extra": (tensors(lambda t: t.update({f"{Q}.C": torch.ones(2)})), f"unexpected {Q}.C"),
    "wrong shape": (tensors(lambda t: t.update({f"{Q}.A": torch.ones(5, 32)})),
                    r"query.A is \(5, 32\), not \(4, 32\)"),
    "many problems": (tensors(lambda t: [t.pop(k) for k in list(t)[:5]]), r"and 2 more"),
    "another rank": (description(lambda d: d["config"].update(rank=3)), "does not fit this model"),
    "a value changed": (description(lambda d: first_value(d["base"], 9.0)),
                        "other weights: bert.encoder.layer.0.output.dense.weight"),
    "a value two percent off": (description(lambda d: first_value(
        d["base"], 1.02 * d["base"]["bert.encoder.layer.0.output.dense.weight"][1][3])),
        "other weights"),
    "a value nan": (description(lambda d: first_value(d["base"], float("nan"))), "other weights"),
    "a value of 400 digits": (description(lambda d: first_value(d["base"], 10**400)),
                              "does not describe"),
    "json nested too deep": (json_is(b"[" * 100_000), "damaged"),
    "json is a folder": (lambda f: (json_is(None)(f), (f / "adapter.json").mkdir()), "damaged"),
    "tensors are a pipe": (pipe("adapter.safetensors"), "adapter.safetensors is no file"),
    "header behind the end": (starts((10**8).to_bytes(8, "little")), "damaged: its header ends"),
    "header a list": (starts((2).to_bytes(8, "little") + b"[]"), "damaged"),
    "dtype unknown": (only("F8_E8M0"), "damaged"),
    "alpha of 400 digits": (description(lambda d: d["config"].update(alpha=10**400)), "alpha is 1"),
    "whole numbers": (tensors(lambda t: t.update({f"{Q}.A": torch.ones(4, 32).int()})),
                      r"query.A is torch.int32"),
    "a tensor of nan": (tensors(lambda t: t[f"{Q}.A"][1, 2].fill_(float("nan"))),
                        "query.A holds nan or infinity"),
    "rank true": (description(lambda d: d["config"].update(rank=True)), "rank is True"),
    "alpha without end": (description(lambda d: d["config"].update(alpha=float("inf"))),
                          "alpha is inf"),
    "not said whether in 4 bits": (description(lambda d: d.pop("quantized") and None),
                                   "does not describe"),
    "drawn is a list": (description(lambda d: d.update(drawn=[1])), "does not describe"),
    "drawn and not here": (description(lambda d: d.update(drawn={f"{Q}.R": [[1], [0.5]]})),
                           "saved with another .*query.R"),
    "a value less": (description(lambda d: d["base"][Q + ".weight"][1].pop() and None),
                     "other weights"),
}
each_wrong = pytest.mark.parametrize("wrong", WRONG)


@each_wrong
def test_load_refuses_and_changes_nothing(wrong, saved, tiny):
    damage, says = WRONG[wrong]
    damage(saved)
    model = tiny("bert")
    before = structure(model)
    with pytest.raises(AdapterFileError, match=says) as error:
        pt.load(model, saved)
    assert "saved" in str(error.value)    # names the folder
    assert structure(model) == before


# With other settings it is injected anew, as by `load`: one of each step on that way.
@pytest.mark.parametrize(("wrong", "same"), [
    *((wrong, True) for wrong in WRONG), *((wrong, False) for wrong in (
        "json cut", "method unknown", "rank too large", "key missing", "a value changed"))])
def test_swap_refuses_and_the_old_one_works_on(wrong, same, saved, tiny, batch):
    damage, says = WRONG[wrong]
    damage(saved)
    config = CONFIG if same else pt.lora.Config(rank=2, targets=("value",))
    model = randomize(pt.lora.inject(tiny("bert"), config), seed=2)
    before, computed = structure(model), outputs(model, batch)
    with pytest.raises(AdapterFileError, match=says):
        pt.store.swap(model, saved)
    assert structure(model) == before
    assert_equal(outputs(model, batch), computed)
    with pt.disabled(model):    # and nothing is left of the other one inside
        assert_equal(model.base_model(batch["input_ids"])[0],
                     tiny("bert").base_model(batch["input_ids"])[0])
    pt.remove(model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("more", [
    {}, {"x": torch.empty(2_000_000, 0)}, {"x": torch.zeros(2_000_000, dtype=torch.int8)},
    {"x": torch.zeros(60_000, 1)}], ids=["alone", "empty", "whole numbers", "thin"])
@pytest.mark.parametrize(("method", "built", "claim"), [
    (pt.bottleneck, "Bottleneck", "size"), (pt.prefix, "Prefix", "projection")])
def test_what_a_file_claims_is_not_built(method, built, claim, more, tiny, tmp_path, monkeypatch):
    """Not even where a tensor has an axis of that length: it takes numbers to fill one."""
    longest = max((t.shape[0] for t in more.values()), default=2_000_000)
    folder = pt.save(method.inject(tiny("bert")), tmp_path / "a")
    edit_json(folder, lambda d: d["config"].update({claim: longest}))
    edit_tensors(folder, lambda tensors: tensors.update(more))
    monkeypatch.setattr(method, built, None)
    with pytest.raises(AdapterFileError, match=f"do not fit its tensors: {claim} {longest}"):
        pt.load(tiny("bert"), folder)


def test_numbers_that_are_not_finite_are_not_saved(saved, tiny):
    model = pt.load(tiny("bert"), saved)
    model.classifier.bias.data[1] = -torch.inf
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    for save in (lambda path: pt.save(model, path), model.save_pretrained,
                 lambda path: pt.export.to_peft(model, path)):
        with pytest.raises(AdapterFileError, match=r"classifier\.bias holds nan or infinity"):
            save(saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


def test_gpt2_is_unconverted_after_a_failed_load(tiny, inputs, tmp_path):
    config = pt.lora.Config(rank=2, targets=("qkv",))
    folder = pt.save(pt.lora.inject(tiny("gpt2"), config), tmp_path / "a")
    edit_tensors(folder, lambda t: t.update(more=torch.ones(1)))
    model = tiny("gpt2")
    before = outputs(model, inputs(model))
    with pytest.raises(AdapterFileError, match="unexpected more"):
        pt.load(model, folder)
    assert type(model.transformer.h[0].attn.c_attn).__name__ == "Conv1D"
    assert_equal(outputs(model, inputs(model)), before)
    model.save_pretrained(tmp_path / "plain")


def test_where_a_file_should_go_stands_a_folder(tiny, tmp_path):
    (tmp_path / "a" / "adapter.json").mkdir(parents=True)
    with pytest.raises(AdapterFileError, match=r"adapter\.json is a folder"):
        pt.save(pt.lora.inject(tiny("bert"), CONFIG), tmp_path / "a")
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["adapter.json"]


def test_the_home_folder_may_be_abbreviated(saved, monkeypatch):
    monkeypatch.setenv("HOME", str(saved.parent))
    monkeypatch.setenv("USERPROFILE", str(saved.parent))
    assert [one.name for one in pt.store.saved("~")] == ["saved"]


def test_a_head_that_lies_across_memory_is_saved(tiny, batch, tmp_path):
    model = pt.lora.inject(tiny("bert"), CONFIG)
    model.classifier.weight.data = torch.randn(32, 3).T
    loaded = pt.load(tiny("bert"), pt.save(model, tmp_path / "a"))
    assert_equal(loaded.classifier.weight, model.classifier.weight)


# ── another base ─────────────────────────────────────────────────────────────────────────────


def test_another_base_is_refused(saved, tiny):
    other_values = tiny("bert", seed=1)
    with pytest.raises(AdapterFileError, match="other weights"):
        pt.load(other_values, saved)
    with pytest.raises(AdapterFileError, match="only"):
        pt.load(tiny("roberta"), saved)    # other names
    with pytest.raises(AdapterFileError, match="only the file has bert"):
        pt.load(tiny("bert", "backbone"), saved)

    from transformers import BertForSequenceClassification
    config = tiny("bert").config
    config.vocab_size = 98
    with pytest.raises(AdapterFileError, match=r"word_embeddings.weight is \[98, 32\] here"):
        pt.load(BertForSequenceClassification(config), saved)


@pytest.mark.parametrize(("family", "method"), [
    ("bert", pt.lora), ("gpt2", pt.prompt), ("llama", pt.prefix)])
def test_resized_word_embeddings_are_the_base_from_then_on(family, method, tiny, inputs, tmp_path):
    model = randomize(method.inject(tiny(family)))
    batch = inputs(model)
    before = pt.save(model, tmp_path / "before")
    expected = outputs(model, batch)
    model.resize_token_embeddings(110, mean_resizing=False)
    after = pt.save(randomize(model, seed=1), tmp_path / "after")
    model = pt.swap(model, before)    # what was trained before reads the old words as it did
    torch.testing.assert_close(outputs(model, batch), expected)
    batch["input_ids"][0, 2] = 107    # a word that was not there before
    model = pt.swap(model, after)
    computed = outputs(model, batch)
    model = pt.load(pt.remove(model), after)
    assert_equal(outputs(model, batch), computed)
    with pytest.raises(AdapterFileError, match=r"is \[97, 32\] here, \[110, 32\] there"):
        pt.load(tiny(family), after)


def test_a_merged_or_trained_model_is_another_base(saved, tiny, batch):
    merged = pt.merge(pt.load(tiny("bert"), saved))
    with pytest.raises(AdapterFileError, match="other weights"):
        pt.load(merged, saved)
    tuned = pt.full.inject(tiny("bert"))
    for _ in pt.train(tuned, [batch] * 3, lr=1e-2):
        pass
    fresh = tiny("bert")
    fresh.load_state_dict(tuned.state_dict())
    with pytest.raises(AdapterFileError, match="afresh"):
        pt.load(fresh, saved)


def test_another_number_of_labels(saved, tiny):
    from transformers import BertForSequenceClassification
    config = tiny("bert").config
    config.num_labels = 5
    model = BertForSequenceClassification(config)
    model.bert.load_state_dict(tiny("bert").bert.state_dict())
    before = structure(model)
    with pytest.raises(AdapterFileError, match=r"classifier.weight is \(3, 32\), not \(5, 32\)"):
        pt.load(model, saved)
    assert structure(model) == before


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_twin_is_the_same_base(family, dtype, tiny, inputs, tmp_path):
    config = pt.lora.Config(rank=4, targets=("attention_out", "ffn_in"))
    full = randomize(pt.lora.inject(tiny(family), config))
    batch = inputs(full)
    for one, other in ((full, dtype), (None, torch.float32)):
        if one is None:    # and the other way round
            one = randomize(pt.lora.inject(tiny(family).to(dtype), config))
        twin = pt.load(tiny(family).to(other), pt.save(one, tmp_path / str(other)))
        assert next(twin.parameters()).dtype == other
        for n, p in pt.adapter_parameters(twin).items():
            assert p.dtype == torch.float32
            assert_equal(p, pt.adapter_parameters(one)[n])
        torch.testing.assert_close(outputs(twin, batch).float(), outputs(one, batch).float(),
                                   rtol=0.1, atol=0.3)
    with pytest.raises(AdapterFileError, match="other weights"):
        pt.load(tiny(family, seed=1).to(dtype), tmp_path / str(dtype))


# ── load and swap ────────────────────────────────────────────────────────────────────────────


def test_load_needs_an_unadapted_model(saved, tiny, batch):
    model = randomize(pt.lora.inject(tiny("bert"), CONFIG), seed=2)
    before = outputs(model, batch)
    with pytest.raises(AlreadyAdapted):
        pt.load(model, saved)
    assert_equal(outputs(model, batch), before)


def test_swap_copies_where_the_settings_agree(saved, tiny, batch):
    expected = outputs(pt.load(tiny("bert"), saved), batch)
    model = randomize(pt.lora.inject(tiny("bert"), CONFIG), seed=2)
    parameters = [id(p) for p in model.parameters()]
    assert not torch.equal(outputs(model, batch), expected)
    assert pt.store.swap(model, saved) is model
    assert [id(p) for p in model.parameters()] == parameters
    assert_equal(outputs(model, batch), expected)


def test_swap_copies_into_the_model_that_was_saved(tiny, batch, tmp_path):
    """A file does not say how a prompt started; that is no other setting."""
    config = pt.prompt.Config(3, start="text", words="7 8")
    model = pt.prompt.inject(tiny("bert"), config, Numbers())
    expected = outputs(model, batch)
    own = pt.adapter_parameters(model)
    pt.save(model, tmp_path)
    assert pt.swap(randomize(model), tmp_path) is model
    assert all(p is own[name] for name, p in pt.adapter_parameters(model).items())
    assert_equal(outputs(model, batch), expected)


def test_swap_drops_the_mlp_that_no_file_keeps(tiny, batch, tmp_path):
    model = pt.prefix.inject(tiny("bert"), pt.prefix.Config(3, projection=6))
    expected = outputs(model, batch)
    model = pt.swap(model, pt.save(model, tmp_path / "prefix"))
    torch.testing.assert_close(outputs(model, batch), expected)
    assert {name.rpartition(".")[2] for name in pt.adapter_parameters(model)} == {"K", "V"}


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_swap_exchanges_where_they_differ(family, tiny, inputs, tmp_path):
    one, two = (pt.lora.Config(rank=4, targets=("attention_out",)),
                pt.lora.Config(rank=2, targets=("ffn_in", "ffn_out"), rank_stabilized=True))
    folders, expected, batch = [], [], inputs(tiny(family))
    for i, config in enumerate((one, two)):
        model = randomize(pt.lora.inject(tiny(family), config), seed=i)
        folders.append(pt.save(model, tmp_path / str(i)))
        expected.append(outputs(model, batch))
    model = pt.load(tiny(family), folders[0])
    for i in (1, 0, 1):
        model = pt.store.swap(model, folders[i])
        assert_equal(outputs(model, batch), expected[i])
        assert notes.note_of(model).config == (one, two)[i]
        again = pt.save(model, tmp_path / "again")    # what comes back can be saved and loaded
        assert_equal(outputs(pt.load(tiny(family), again), batch), expected[i])
    model = pt.remove(model)
    assert_equal(model.base_model(batch["input_ids"])[0],
                 tiny(family).base_model(batch["input_ids"])[0])
    assert all(p.requires_grad for p in model.parameters())
    assert_equal(outputs(pt.load(model, folders[0]), batch), expected[0])


@pytest.mark.parametrize("kind", ["classifier", "backbone"])
def test_what_is_swapped_in_while_disabled_is_silent_until_the_block_ends(kind, tiny, inputs,
                                                                        tmp_path):
    """A bare backbone's prompt is the model itself: then swap returns another one."""
    def put(config, seed):
        return randomize(pt.prompt.inject(tiny("bert", kind), config), seed)

    def hidden(model):
        with torch.no_grad():
            return model.base_model(**batch)[0]

    batch = {k: v for k, v in inputs(tiny("bert", kind)).items() if k != "labels"}
    plain = hidden(tiny("bert", kind))
    other = put(pt.prompt.Config(4), 1)
    folder, expected = pt.save(other, tmp_path / "other"), hidden(other)
    model = put(pt.prompt.Config(3), 0)
    old = hidden(model)
    with pt.disabled(model):
        with pt.disabled(model):
            model = pt.swap(model, folder)
            assert_equal(hidden(model), plain)
        assert_equal(hidden(model), plain)
        with pytest.raises(AdapterFileError):    # and a failure leaves the old one, silent as well
            pt.swap(model, tmp_path)
        assert_equal(hidden(model), plain)
    assert_equal(hidden(model), expected)
    assert not torch.equal(expected, old)
    model = pt.swap(model, folder)    # outside such a block it is at work at once
    assert_equal(hidden(model), expected)
    for method in (pt.prompt, pt.prefix):    # and so are other settings, and another method
        with pt.disabled(model):
            assert_equal(hidden(model), plain)
        other = randomize(method.inject(tiny("bert", kind), method.Config(2)), 2)
        folder = pt.save(other, tmp_path / "next")
        model = pt.swap(model, folder)
        assert_equal(hidden(model), hidden(other))
        assert not torch.equal(hidden(model), plain)


def test_after_a_bare_attach_the_state_is_saved_and_swapped(tiny, batch, tmp_path):
    model = randomize(pt.attach(tiny("bert"), "query", Shift))
    expected = outputs(model, batch)
    folder = pt.save(model, tmp_path / "mine")
    stored = json.loads((folder / "adapter.json").read_text())
    assert (stored["method"], stored["config"]) == (None, None)
    with pytest.raises(AdapterFileError, match="after a bare") as error:
        pt.load(tiny("bert"), folder)
    assert "pt.load(model, path, make=...)" in error.value.hint
    again = pt.attach(tiny("bert"), "query", Shift)
    assert_equal(outputs(pt.store.swap(again, folder), batch), expected)
    elsewhere = pt.attach(tiny("bert"), "value", Shift)
    with pytest.raises(AdapterFileError, match=r"missing .*value\.v"):
        pt.store.swap(elsewhere, folder)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_method_of_ones_own_is_loaded_in_one_call_and_merged(family, tiny, inputs, tmp_path):
    places, layers = {"gpt2": ("qkv", "ffn_out")}.get(family, ("query", "ffn_out")), (1,)
    model = randomize(pt.attach(tiny(family), places, Foldable, layers))
    batch = inputs(model)
    expected = outputs(model, batch)
    folder = pt.save(model, tmp_path / "mine")
    stored = json.loads((folder / "adapter.json").read_text())
    assert stored["wrapped"] == list(pt.adapters(model))
    plain = tiny(family)
    loaded = pt.load(plain, folder, make=Foldable)
    assert loaded is plain
    assert list(pt.adapters(loaded)) == list(pt.adapters(model))
    assert_equal(outputs(loaded, batch), expected)
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad}
    merged = pt.merge(loaded)
    assert pt.adapters(merged) == {}
    torch.testing.assert_close(outputs(merged, batch), expected, rtol=1e-5, atol=1e-5)
    other = pt.save(randomize(pt.attach(tiny(family), places, Foldable, layers), 1), tmp_path / "b")
    swapped = pt.swap(model, other)    # and two of them are exchanged
    assert not torch.equal(outputs(swapped, batch), expected)
    assert_equal(outputs(pt.swap(swapped, folder), batch), expected)


def test_what_make_cannot_load_changes_nothing(tiny, batch, saved, tmp_path):
    class Wide(Shift):
        def __init__(self, base):
            super().__init__(base)
            self.w = nn.Parameter(torch.zeros(3))

    def stranger(d):
        d["wrapped"][0] = "bert.encoder.layer.7.attention.self.query"

    def greedy(d):
        d["wrapped"] = ["classifier"]

    def mistaken(d):
        d["wrapped"] = "bert"

    def forget(d):
        d.pop("wrapped")

    mine = pt.save(pt.attach(tiny("bert"), "query", Shift), tmp_path / "mine")
    model = tiny("bert")
    before, computed = structure(model), outputs(model, batch)
    for folder, change, make, says in (
            (saved, None, Shift, "holds the method 'lora'"), (mine, None, Wide, r"missing .*\.w"),
            (mine, None, nn.Identity, "gave an Identity"), (mine, stranger, Shift, "layer.7"),
            (mine, greedy, Shift, "wrapped .*classifier belongs to the task head"),
            (mine, mistaken, Shift, "does not describe an adapter"),
            (mine, forget, Shift, "does not describe an adapter")):
        copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
        if change:
            edit_json(copy, change)
        with pytest.raises(AdapterFileError, match=says):
            pt.load(model, copy, make=make)
        assert structure(model) == before
        assert_equal(outputs(model, batch), computed)


# ── full fine-tuning ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("train", ["all", "head"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_full_fine_tuning_is_saved_and_loaded(train, family, tiny, inputs, tmp_path):
    model, config = tiny(family), pt.full.Config(train)
    batch = inputs(model)
    model = pt.full.inject(model, config)
    for _ in pt.train(model, [batch] * 3, lr=1e-2):
        pass
    expected = outputs(model, batch)
    assert not torch.equal(expected, outputs(tiny(family), batch))
    folder = pt.save(model, tmp_path / "full")
    stored = set(load_file(folder / "adapter.safetensors"))
    everything = {n for n, _ in model.named_parameters()}
    assert stored == (everything if train == "all" else set(models.head(model)))
    loaded = pt.load(tiny(family), folder)
    assert_equal(outputs(loaded, batch), expected)
    assert notes.note_of(loaded).config == config
    randomize(loaded, seed=3)
    assert_equal(outputs(pt.store.swap(loaded, folder), batch), expected)


def test_what_full_fine_tuning_counts_is_kept(tmp_path):
    """A BatchNorm's running means are no parameters, and its outputs depend on them."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic")
    plain = ResNetForImageClassification(config)
    model, x = pt.full.inject(copy.deepcopy(plain)), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        model.train()(x)
        loaded = pt.load(plain, pt.save(model, tmp_path))
        assert_equal(loaded.eval()(x).logits, model.eval()(x).logits)


def test_a_failed_load_of_full_fine_tuning(tiny, tmp_path):
    folder = pt.save(pt.full.inject(tiny("bert")), tmp_path / "full")
    edit_tensors(folder, lambda t: t.pop("bert.pooler.dense.bias"))
    model = tiny("bert")
    model.bert.requires_grad_(False)
    before = structure(model)
    with pytest.raises(AdapterFileError, match=r"missing bert\.pooler\.dense\.bias"):
        pt.load(model, folder)
    assert structure(model) == before


def test_full_fine_tuning_after_an_adapter_was_removed(tiny, inputs, tmp_path):
    """GPT-2's layers had been converted: the file still holds them as a fresh model has them."""
    model = pt.remove(pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets=("qkv", "ffn_in"))))
    model = randomize(pt.full.inject(model))
    loaded = pt.load(tiny("gpt2"), pt.save(model, tmp_path / "full"))
    batch = inputs(model)
    assert_equal(outputs(loaded, batch), outputs(model, batch))


def test_full_fine_tuning_frozen_by_hand_is_saved_whole(tiny, batch, tmp_path):
    model = randomize(pt.full.inject(tiny("bert"))).requires_grad_(False)
    loaded = pt.load(tiny("bert"), pt.save(model, tmp_path / "full"))
    assert_equal(outputs(loaded, batch), outputs(model, batch))


@pytest.mark.parametrize("train", ["all", "head"])
def test_what_trains_the_weights_says_how_to_go_on(train, tiny, batch):
    """First the head alone, then LoRA: on a fresh model that takes over what was trained."""
    model = randomize(pt.full.inject(tiny("bert"), pt.full.Config(train)))
    with pytest.raises(AlreadyAdapted, match="nothing to take off") as error:
        pt.lora.inject(model)
    assert "fresh.load_state_dict(model.state_dict())" in error.value.hint
    fresh = tiny("bert")
    fresh.load_state_dict(model.state_dict())
    assert_equal(outputs(pt.lora.inject(fresh), batch), outputs(model, batch))


def test_a_trained_head_on_converted_layers_is_a_plain_checkpoint(tiny, inputs, tmp_path):
    from transformers import GPT2ForSequenceClassification

    model = pt.remove(pt.lora.inject(tiny("gpt2")))
    model = randomize(pt.full.inject(model, pt.full.Config("head")))
    model.save_pretrained(tmp_path)
    plain, batch = GPT2ForSequenceClassification.from_pretrained(tmp_path), inputs(model)
    torch.testing.assert_close(outputs(plain, batch), outputs(model, batch))


def test_swap_between_full_and_an_adapter_is_refused(saved, tiny, batch, tmp_path):
    folder = pt.save(pt.full.inject(tiny("bert")), tmp_path / "full")
    for model, path in ((pt.load(tiny("bert"), saved), folder),
                        (pt.load(tiny("bert"), folder), saved)):
        before, computed = structure(model), outputs(model, batch)
        with pytest.raises(AdapterFileError, match="full fine-tuning"):
            pt.store.swap(model, path)
        assert structure(model) == before
        assert_equal(outputs(model, batch), computed)


# ── list ─────────────────────────────────────────────────────────────────────────────────────


def test_list(saved, tiny, tmp_path):
    assert pt.store.saved(tmp_path / "nowhere") == []
    pt.save(pt.full.inject(tiny("bert"), pt.full.Config("head")), tmp_path / "a-head")
    pt.save(pt.attach(tiny("bert"), "query", Shift), tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    damaged = shutil.copytree(saved, tmp_path / "damaged")
    cut("adapter.safetensors", 0.5)(damaged)
    assert pt.store.list is pt.store.saved
    assert not hasattr(pt.store, "lists")
    assert "list" not in vars(pt.store)    # Python's own stays what it is in there
    found = pt.store.saved(str(tmp_path))
    head = 3 * 32 + 3
    assert [(s.name, s.method, s.parameters) for s in found] == [
        ("a-head", "full", head), ("mine", None, 2 * 32 + head),
        ("saved", "lora", 4 * (32 + 32) + 4 * (32 + 48) + head)]
    for s in found:
        assert s.path == tmp_path / s.name
        assert s.size_bytes == sum(f.stat().st_size for f in s.path.iterdir())
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].name = "x"


def test_what_cannot_be_described_is_not_saved_at_all(saved, tiny):
    @dataclasses.dataclass(frozen=True)
    class Odd(settings.Settings):
        blocks: Annotated[range, lambda value, name: value] = range(3)

    before = {f.name: f.read_bytes() for f in saved.iterdir()}
    model = randomize(pt.lora.inject(tiny("bert"), CONFIG), seed=9)
    notes.put_on(model, dataclasses.replace(notes.written(model), config=Odd()))
    with pytest.raises(TypeError):
        pt.save(model, saved)
    assert {f.name: f.read_bytes() for f in saved.iterdir()} == before


def test_settings_in_any_form_are_the_same_settings(saved, tiny):
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(
        rank=4, alpha=6.0, targets=["query", "ffn_in"], layers=range(1, 2)))
    before = pt.adapters(model)
    pt.store.swap(model, saved)
    assert all(a is b for a, b in zip(pt.adapters(model).values(), before.values()))
    assert pt.lora.Config(targets="query", layers=1) == pt.lora.Config(
        targets=("query",), layers=(1,))


# ── half-precision copies of the base, and other bases ───────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_copy_is_the_same_base(dtype):
    generator = torch.Generator().manual_seed(0)
    sizes = 10 ** torch.linspace(-9, 4, 4000)
    numbers = nn.ParameterList(torch.randn(16, generator=generator) * size for size in sizes)
    here = notes.prepare(numbers)[0].fingerprint

    def check(there, here):
        AdapterFile("file", None, {"base": there}, {}).check_base(here, numbers)

    check(here, notes.prepare(copy.deepcopy(numbers).to(dtype))[0].fingerprint)
    other = nn.ParameterList(torch.randn(16, generator=generator) * size for size in sizes)
    for name, entry in notes.prepare(other)[0].fingerprint.items():
        if sizes[int(name)] > 1e-6:    # below, float16 has no number but zero
            with pytest.raises(AdapterFileError, match="other weights"):
                check({name: here[name]}, {name: entry})


class Mixed(pt.Adapter):
    """base(x) + fixed ⊙ v: an adapter with a frozen parameter of its own."""

    def __init__(self, base):
        super().__init__(base)
        self.v = nn.Parameter(torch.zeros(base.out_features))
        self.fixed = nn.Parameter(torch.randn(base.out_features), requires_grad=False)

    def forward(self, x):
        y = self.base(x)
        return (y + self.fixed * self.v).to(y.dtype)


def test_frozen_own_parameters_are_kept_but_not_trained(tiny, batch, tmp_path):
    model = pt.attach(tiny("bert"), "query", Mixed)
    trained = pt.adapter_parameters(model)
    assert {n.rpartition(".")[2] for n in trained} == {"v"}
    assert all(p.requires_grad for p in trained.values())
    state = pt.adapter_state(model)
    assert {n.rpartition(".")[2] for n in state} == {"v", "fixed"}
    randomize(model)
    expected = outputs(model, batch)
    folder = pt.save(model, tmp_path)
    assert {n.rpartition(".")[2] for n in load_file(folder / "adapter.safetensors")} >= {"fixed"}
    again = pt.attach(tiny("bert"), "query", Mixed)    # draws another `fixed`
    again = pt.store.swap(again, folder)
    assert_equal(outputs(again, batch), expected)
    assert not any(a.fixed.requires_grad for a in pt.adapters(again).values())
    assert pt.account.parameters(model).adapter == sum(p.numel() for p in trained.values())


@pytest.mark.parametrize("method", [pt.lora, pt.full])
def test_what_was_trained_in_shards_is_saved_whole(method, tiny, inputs, tmp_path):
    """FSDP2 shards in place; what would change the modules then is refused."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model, plain = method.inject(tiny("bert")), tiny("bert")
    batch, other = inputs(model), pt.save(model, tmp_path / "other")
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for layer in (*model.bert.encoder.layer, *plain.bert.encoder.layer):
            fully_shard(layer, mesh=mesh)
        with pytest.raises(NotSupported, match="Only a part of what trains"):
            pt.train(model, [batch])    # torch clips no gradients of two kinds at once
        fully_shard(model, mesh=mesh)
        before = outputs(model, batch)    # a forward alone leaves the root's weights whole
        list(pt.train(model, [batch], lr=1e-2))
        trained = outputs(model, batch)
        assert not torch.equal(trained, before)
        pt.save(model, tmp_path / "own")
        for change in (lambda: pt.swap(model, other), lambda: pt.merge(model),
                       lambda: pt.load(plain, other), lambda: method.inject(plain)):
            with pytest.raises(NotSupported, match="sharded over processes"):
                change()
    finally:
        distributed.destroy_process_group()
    assert (trained - outputs(pt.load(tiny("bert"), other), batch)).abs().max() > 1e-3
    assert_equal(outputs(pt.load(tiny("bert"), tmp_path / "own"), batch), trained)


def test_what_is_no_path_is_refused_everywhere(tiny, tmp_path):
    model, plain = pt.lora.inject(tiny("bert")), tiny("bert")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "taken" / pt.store.TENSORS).mkdir(parents=True)
    (tmp_path / "taken" / "adapter_model.safetensors").mkdir()
    before = structure(model), structure(plain)
    none = (None, 5, b"bytes", ["list"], torch.tensor(3), "", "a\0b", "~nobody-here/a",
            tmp_path / ("x" * 300))
    nowhere = (tmp_path / "file", tmp_path / "file" / "a", tmp_path / "loop", tmp_path / "taken")
    for path in (*none, *nowhere):
        uses = [lambda p: pt.save(model, p), lambda p: pt.export.to_peft(model, p),
                model.save_pretrained, lambda p: pt.load(plain, p), lambda p: pt.swap(model, p),
                lambda p: pt.export.from_peft(plain, p)]
        for use in (*uses, *([pt.saved] if path in none else ())):
            with pytest.raises(AdapterFileError) as error:
                use(path)
            assert error.value.expected or error.value.hint
    assert (structure(model), structure(plain)) == before


def test_what_float16_cannot_hold_is_refused(tiny, tmp_path):
    """It ends at 65504; a file of float32, or a merged sum, may be larger, and would be inf."""
    model = pt.lora.inject(tiny("bert"))
    model.classifier.weight.data[0, 0] = 1e5
    pt.save(model, tmp_path / "own")
    pt.export.to_peft(model, tmp_path / "theirs")
    for read, name in ((pt.load, "own"), (pt.export.from_peft, "theirs")):
        half = tiny("bert").half()
        before = structure(half)
        with pytest.raises(AdapterFileError, match=r"classifier\.weight holds 1e\+05, too much"):
            read(half, tmp_path / name)
        assert structure(half) == before
        assert read(tiny("bert").bfloat16(), tmp_path / name).classifier.weight.isfinite().all()
    half = pt.lora.inject(tiny("bert").half())
    query = half.bert.encoder.layer[0].attention.self.query
    query.A.data.fill_(300)
    query.B.data.fill_(300)
    before = structure(half)
    with pytest.raises(pt.errors.NotMergeable, match=r"0\.attention\.self\.query\.weight would"):
        pt.merge(half)
    assert structure(half) == before
    pt.merge(half.float())
