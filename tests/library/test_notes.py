"""What is noted on a model: one frozen value, replaced, put back, and taken off when empty."""

import dataclasses
import pickle

import pytest

import peft_teach as pt
from peft_teach import core, fingerprints, models, notes
from peft_teach.errors import AdapterFileError, AlreadyAdapted, NoTargets
from peft_teach.methods import METHODS


@pytest.fixture
def taken(monkeypatch):
    """Count how often a base is noted: it reads every tensor."""
    calls, take = [], fingerprints.checksums

    def counted(tensors):
        calls.append(tensors)
        return take(tensors)

    monkeypatch.setattr(fingerprints, "checksums", counted)
    return calls


@pytest.mark.parametrize("method", METHODS)
def test_inject_and_load_take_one_fingerprint(method, tiny, tmp_path, taken):
    model = METHODS[method].inject(tiny("bert"))
    assert len(taken) == 1
    pt.save(model, tmp_path)
    assert len(taken) == 1
    model = pt.load(tiny("bert"), tmp_path)
    assert len(taken) == 2
    assert notes.note_of(model).fingerprint == notes.prepare(tiny("bert"))[0].fingerprint


def test_a_second_inject_is_refused_before_any_fingerprint(tiny, taken):
    model = pt.lora.inject(tiny("bert"))
    taken.clear()
    for method in METHODS:
        with pytest.raises(AlreadyAdapted):
            METHODS[method].inject(model)
    assert not taken


def test_notes_are_replaced_and_never_changed(tiny):
    model = pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets="qkv"))
    first = notes.written(model)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.method = "dora"
    notes.change_settings(model, rank=3)
    assert (first.config.rank, notes.written(model).config.rank) == (8, 3)


def test_conversions_outlive_a_method_and_the_note_is_taken_off(tiny):
    model = pt.remove(pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets="qkv")))
    assert [*models.converted(model)] == [f"transformer.h.{i}.attn.c_attn" for i in range(2)]
    model = models.to_hf(model)
    assert not models.converted(model)
    assert b"peft_teach" not in pickle.dumps(model)
    assert notes.KEY not in vars(pt.merge(pt.lora.inject(tiny("bert"))))


def test_full_fine_tuning_that_fails_turns_no_layer_back(tiny):
    model = pt.remove(pt.lora.inject(tiny("gpt2")))
    with pytest.raises(NoTargets):
        pt.full.inject(model, pt.full.Config("head", also_train="nowhere"))
    assert models.converted(model)


def test_a_wrapped_backbone_keeps_its_mark_while_it_is_wrapped(tiny):
    backbone = tiny("bert", "backbone")
    model = pt.prompt.inject(backbone, pt.prompt.Config(3))
    assert not notes.is_adapted(backbone)
    assert notes.written(model).method == "prompt"
    with pytest.raises(AlreadyAdapted):
        pt.lora.inject(backbone)
    assert pt.remove(model) is backbone
    assert notes.KEY not in vars(backbone)


def test_what_was_converted_in_a_bare_backbone_is_known_through_what_wraps_it(tiny, tmp_path):
    """Or a prompt on a GPT-2 that had carried LoRA was saved as if for another base."""
    backbone = pt.remove(pt.lora.inject(tiny("gpt2", "backbone")))
    model = pt.prompt.inject(backbone, pt.prompt.Config(3))
    pt.load(tiny("gpt2", "backbone"), pt.save(model, tmp_path))
    pt.swap(model, tmp_path)
    assert [*models.converted(pt.remove(model))] == [f"h.{i}.attn.c_attn" for i in range(2)]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_failed_injection_puts_notes_and_save_pretrained_back(family, tiny, tmp_path):
    model = tiny(family)
    if family == "gpt2":    # with notes of its own
        model = pt.remove(pt.lora.inject(model, pt.lora.Config(targets="qkv")))
    before, saver = vars(model).get(notes.KEY), vars(model).get("save_pretrained")

    def fail():
        with core.all_or_nothing(model):
            pt.lora.inject(model, pt.lora.Config(targets="ffn_in"))
            assert notes.written(model)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert vars(model).get(notes.KEY) is before
    assert vars(model).get("save_pretrained") is saver
    folder = pt.save(pt.bitfit.inject(tiny(family)), tmp_path)
    with pytest.raises(AdapterFileError):    # made for another base: nothing was begun
        pt.load(tiny(family, seed=1), folder)
    assert vars(model).get(notes.KEY) is before


def put_in_by_hand(model):
    """Wrap one layer as lesson 02 does, without `attach`."""
    model.requires_grad_(False)
    block = model.bert.encoder.layer[0].attention.self
    block.query = pt.lora.LoRALinear(block.query, rank=2)
    return model


def test_who_only_reads_writes_no_note(tiny):
    model = put_in_by_hand(tiny("bert"))
    assert set(pt.adapter_parameters(model)) == set(pt.adapter_state(model)) == {
        f"bert.encoder.layer.0.attention.self.query.{own}" for own in "AB"}
    with pt.disabled(model):
        assert pt.training.learning_rate(model) == pt.training.DEFAULT_LEARNING_RATE
    assert notes.note_of(model).fingerprint == notes.prepare(tiny("bert"))[0].fingerprint
    assert not vars(model).keys() & {notes.KEY, "save_pretrained"}
    with pytest.raises(AlreadyAdapted):
        pt.lora.inject(model)


@pytest.mark.filterwarnings("ignore:The base stays in 4 bits")
@pytest.mark.parametrize("method", [pt.lora, pt.qlora])
def test_a_converted_or_4_bit_base_is_the_one_that_it_was(method, tiny):
    """Or what was trained by hand on it could be loaded nowhere."""
    model = pt.remove(method.inject(tiny("gpt2", "lm")))
    attention = model.transformer.h[0].attn
    attention.c_attn = pt.lora.LoRALinear(attention.c_attn, rank=2)
    assert notes.note_of(model).fingerprint == notes.prepare(tiny("gpt2", "lm"))[0].fingerprint


@pytest.mark.parametrize("use", ["save", "swap", "train"])
def test_adapters_put_in_by_hand_are_adopted(use, tiny, inputs, tmp_path):
    folder = pt.save(put_in_by_hand(tiny("bert")), tmp_path / "first")
    model = put_in_by_hand(tiny("bert"))
    {"save": lambda: pt.save(model, tmp_path / "second"), "swap": lambda: pt.swap(model, folder),
     "train": lambda: next(pt.train(model, [inputs(model)]))}[use]()
    assert notes.written(model) == notes.note_of(put_in_by_hand(tiny("bert")))
    model.save_pretrained(tmp_path / "third")
    assert (tmp_path / "third" / pt.store.TENSORS).is_file()
    for off in (pt.merge, pt.remove):
        plain = off(put_in_by_hand(tiny("bert")))
        assert vars(plain).keys() & {notes.KEY, "save_pretrained"} == set()
        assert all(p.requires_grad for p in plain.parameters())
