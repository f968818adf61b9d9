"""Three doors: the reader's layer, the library's and peft's, with the same numbers."""

import dataclasses
import math
import sys
import types

import pytest
import torch
from adapted import assert_same, everything_about, randomize
from torch import nn

import peft_teach as pt
from peft_teach.course.desk import doors
from peft_teach.errors import BadConfig, BadData, NoAdapter, UnknownName

OUTPUTS, GRADIENTS, TIMES = doors.COLUMNS
YOURS, LIBRARY, PEFT = doors.YOURS, doors.LIBRARY, doors.PEFT
RANK, ALPHA = 4, 12.0
LORA = pt.lora.Config(RANK, ALPHA)


class Mine(pt.Adapter):
    """A reader's LoRA; with names and a scale of one's own."""

    def __init__(self, base, names=("A", "B"), scale=ALPHA / RANK, rank=RANK):
        super().__init__(base)
        self.names, self.scale = names, scale
        A = torch.randn(rank, base.in_features) / base.in_features**0.5
        for name, start in zip(names, (A, torch.zeros(base.out_features, rank))):
            self.register_parameter(name, nn.Parameter(start))

    def forward(self, x):
        A, B = (getattr(self, name) for name in self.names)
        return self.base(x) + self.scale * (x @ A.T) @ B.T


def wrap(model, **more):
    """Put it on as a reader's own `inject` does."""
    for name, p in model.named_parameters():
        p.requires_grad_(name in pt.models.head(model))
    for name in pt.models.find(model, ("query", "value")):
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, Mine(model.get_submodule(name), **more))
    return model


@pytest.fixture
def opened(tiny, inputs):
    """Give a function: a reader's tiny model, with these names and so on, through the doors."""
    def open_(of=(), config=LORA, names=None):
        model = randomize(wrap(tiny("bert"), **dict(of)))
        return pt.doors("lora", model, config, names=names, batch=inputs(model))
    return open_


def test_a_readers_layer_on_a_fresh_minilm():
    before = torch.get_rng_state()

    def with_another_head(model):
        nn.init.normal_(model.classifier.weight, std=0.1)
        return wrap(model)

    found = pt.doors("lora", with_another_head, LORA)
    assert torch.equal(torch.get_rng_state(), before)
    assert [*found.table.index] == [YOURS, LIBRARY, PEFT]
    assert math.isnan(found.table.loc[YOURS, OUTPUTS])
    assert (found.table.loc[[LIBRARY, PEFT], [OUTPUTS, GRADIENTS]] < 1e-5).all(axis=None)
    assert (found.table[TIMES] > 0).all()
    assert found.table.loc[YOURS, TIMES] == 1
    assert "up to 0;" not in found.remarks[0]
    shown = found._repr_html_()
    assert shown.index("<table") < shown.index("<details><summary>The library")
    for words in ("learn a low-rank correction", "LoRALinear", "</details>", 'style="color'):
        assert words in shown
    assert "<style" not in shown    # a notebook that is not trusted drops it
    assert "The library's page: peft_teach/methods/lora.py" in repr(found)
    assert f"{found.table.loc[LIBRARY, TIMES]:.2f}" in repr(found)


CONFIGS = {"lora": LORA, "dora": pt.dora.Config(RANK), "ia3": pt.ia3.Config(),
           "prompt": pt.prompt.Config(3, pool="first"), "prefix": pt.prefix.Config(3),
           "qlora": pt.qlora.Config(RANK), "bitfit": pt.bitfit.Config(),
           "bottleneck": pt.bottleneck.PFEIFFER}


@pytest.mark.parametrize("method", CONFIGS)
def test_one_layer_behind_all_doors_is_one(method, tiny, inputs):
    """Ours in the reader's place: what is compared is the copy of the numbers, and peft."""
    module, config = getattr(pt, method), CONFIGS[method]
    model = randomize(module.inject(tiny("bert"), config))
    found = pt.doors(method, model, config, batch=inputs(model))
    compared = [LIBRARY, PEFT] if method in pt.export.WRITTEN else [LIBRARY]
    assert (found.table.loc[compared, [OUTPUTS, GRADIENTS]] < 1e-5).all(axis=None), found
    assert (found.table.loc[compared, TIMES] > 0).all()
    same = f"Your layer computes the same as {' and '.join(compared)}, within 1e-5."
    assert found.remarks[1] == same
    if PEFT not in compared:
        assert found.table.loc[PEFT].isna().all()
        assert any("peft has no" in each for each in found.remarks)
    assert "moves the logits by up to 0;" not in found.remarks[0]


def test_a_wrong_layer_is_seen(opened):
    right, wrong = opened(), opened({"scale": 1.0})
    for row in (LIBRARY, PEFT):
        assert right.table.loc[row, OUTPUTS] < 1e-5 < 1e-3 < wrong.table.loc[row, OUTPUTS]
        assert right.table.loc[row, GRADIENTS] < 1e-5 < 1e-3 < wrong.table.loc[row, GRADIENTS]
    assert any("Your layer computes" in each for each in right.remarks)
    assert not any("Your layer computes" in each for each in wrong.remarks)


def test_numbers_that_do_not_fit_are_told_and_time_stays(opened):
    for given, says in (
            ({"of": {"names": ("down", "up")}}, "are called down, up, and the library's A, B"),
            ({"of": {"rank": 2}}, "query.A has the shape (2, 32), the library's (4, 32)"),
            ({"config": dataclasses.replace(LORA, targets=("query", "key"))},
             "yours stands on 4 modules and the library's on 4; ")):
        found = opened(**given)
        assert any(says in each for each in found.remarks), found.remarks
        assert found.table[[OUTPUTS, GRADIENTS]].isna().all(axis=None)
        assert (found.table[TIMES] > 0).all()


def test_other_names_can_be_paired(opened):
    found = opened(of={"names": ("down", "up")}, names={"down": "A", "up": "B"})
    assert (found.table.loc[[LIBRARY, PEFT], [OUTPUTS, GRADIENTS]] < 1e-5).all(axis=None)


def test_a_layer_that_moves_nothing_yet_is_told(tiny, inputs):
    model = wrap(tiny("bert"))    # B is zero
    found = pt.doors("lora", model, LORA, batch=inputs(model))
    assert "equal outputs say little" in found.remarks[0]


@pytest.mark.parametrize(("missing", "says"), [
    ("not installed", "pip install 'peft-teach[lab]'"),
    ("broken", "it raised AttributeError"),
])
def test_where_peft_is_missing_its_row_says_so_and_nothing_else_fails(
        missing, says, opened, monkeypatch):
    broken = types.SimpleNamespace(__spec__="of another version")
    monkeypatch.setitem(sys.modules, "peft", broken if missing == "broken" else None)
    found = opened()
    assert found.table.loc[PEFT].isna().all()
    assert found.table.loc[LIBRARY, OUTPUTS] < 1e-5
    assert any(says in each for each in found.remarks)


def test_nothing_of_the_readers_changes(tiny, inputs):
    model = randomize(wrap(tiny("bert"))).train()
    batch = inputs(model)
    guards = everything_about(model.eval(), batch)
    model.train()
    modes, kept = [m.training for m in model.modules()], {k: v.clone() for k, v in batch.items()}
    pt.doors("lora", model, LORA, batch=batch)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(batch[name], tensor) for name, tensor in kept.items())
    assert all(p.grad is None for p in model.parameters())
    assert_same(everything_about(model.eval(), batch), guards)


@pytest.mark.parametrize(("arguments", "error", "says"), [
    (("lorra", wrap), UnknownName, "There is no method 'lorra'"),
    (("full", wrap), BadConfig, "Full fine-tuning puts no layer on a model"),
    (("lora", Mine), BadConfig, "is the class Mine"),
    (("lora", None), BadConfig, "is a NoneType"),
    (("lora", wrap, pt.dora.Config()), BadConfig, "Expected: a pt.lora.Config, or None"),
    (("lora", lambda model: None), BadConfig, "Your function returned a NoneType"),
    (("lora", lambda model: model), NoAdapter, "There is no pt.Adapter on your model"),
    (("lora", nn.Linear(2, 2)), NoAdapter, "There is no pt.Adapter on your model"),
])
def test_what_is_no_layer_of_a_method_is_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        pt.doors(*arguments)


def test_what_no_batch_fits_is_refused(tiny):
    with pytest.raises(BadData, match="does not classify MiniLM's tokens"):
        pt.doors("lora", wrap(tiny("bert")), LORA)
    with pytest.raises(BadConfig, match="names is"):
        pt.doors("lora", wrap, LORA, names=["A"])
