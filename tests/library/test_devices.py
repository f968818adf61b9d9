"""Tensors of two devices never meet: each method trains, is saved and merges away from the CPU.

The other device is a pretended one, `other_device.py`. No GPU is needed, and none is tested.
"""

from dataclasses import replace

import pytest
import torch
from other_device import THERE, Elsewhere
from prompting import Numbers

import peft_teach as pt
from peft_teach.errors import NotMergeable
from peft_teach.methods import METHODS


def test_the_other_device_has_numbers_and_refuses_the_cpus():
    with Elsewhere():
        x, y = torch.ones(3, device=THERE), torch.arange(3.0)
        for meet in (lambda: x + y, lambda: torch.cat([y, x]), lambda: torch.where(y > 1, x, x),
                     lambda: y[x.long()], lambda: x[[0, 1]], lambda: x.masked_fill_(y > 1, 0.0),
                     lambda: x.index_put_((torch.tensor([0, 1]),), torch.zeros(2)),
                     lambda: torch.rand(3, device=THERE, generator=torch.Generator())):
            with pytest.raises(RuntimeError, match="Expected"):
                meet()
        assert (x + y.to(THERE)).cpu().tolist() == [1, 2, 3]
        assert (2 * x + torch.tensor(1.0))[torch.tensor([1])].item() == 3


# Settings that lead through other lines of a method's file than its defaults do.
WORDS, NUMBERS = ("7 8", "9"), Numbers()
OTHERS = [
    ("prompt", "llama", pt.prompt.Config(5, start="text", words=WORDS)),
    ("prompt", "llama", pt.prompt.Config(5, start="labels", words=WORDS)),
    ("prompt", "bert", pt.prompt.Config(5, pool="first")),
    ("prefix", "llama", pt.prefix.Config(5, start="text", words=WORDS)),
    ("prefix", "bert", pt.prefix.Config(5, projection=8)),
    ("bottleneck", "bert", replace(pt.bottleneck.BAPNA, size=8)),
    ("bottleneck", "bert", replace(pt.bottleneck.PARALLEL, size=8)),
    ("bottleneck", "llama", replace(pt.bottleneck.PARALLEL, size=8)),
    ("ia3", "gpt2", pt.ia3.Config()),
    ("lora", "bert", pt.lora.Config(dropout=0.5, use_bias=True)),
    ("dora", "bert", pt.dora.Config(dropout=0.5)),
    ("qlora", "bert", pt.qlora.Config(double=False, dora=True)),
]
CASES = [(name, "llama" if name in ("prompt", "prefix") else "bert", METHODS[name].Config())
         for name in METHODS] + OTHERS


@pytest.mark.long
@pytest.mark.parametrize(("name", "family", "config"), CASES)
def test_a_method_does_the_same_on_another_device(name, family, config, tiny, inputs, tmp_path):
    """It has a mask, padding and a head; with a cache, where it is the family with one."""
    def everything(device):
        model = tiny(family).to(device)
        batch = inputs(model)
        pt.seed(0)
        with_words = [NUMBERS] if getattr(config, "words", ()) else []
        model = METHODS[name].inject(model, config, *with_words)
        losses = [step.loss for step in pt.train(model, [batch] * 2)]
        pt.save(model, tmp_path / device.type)
        again = pt.swap(pt.load(tiny(family).to(device), tmp_path / device.type),
                        tmp_path / device.type)
        losses.append(pt.evaluate(again, [batch]).loss)
        if name == "prefix":
            losses.append(pt.evaluate(pt.prefix.flatten(again), [batch]).loss)
        if name != "full":
            try:
                losses.append(pt.evaluate(pt.merge(again), [batch]).loss)
            except NotMergeable:
                losses.append(pt.evaluate(pt.remove(again), [batch]).loss)
        assert {p.device for p in again.parameters()} == {device}
        return losses

    with Elsewhere():
        there = everything(THERE)
    assert there == pytest.approx(everything(torch.device("cpu")), rel=1e-4)    # another kernel
