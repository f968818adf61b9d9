"""Lesson 06: the reference answers beside Hugging Face peft, and what the lesson says of it."""

import copy

import peft
import pytest
import torch
from transformers import BertConfig, BertModel

import peft_teach as pt
from peft_teach.course.lessons.ia3.answers import Gains, fold, nearest_gains

# peft asks transformers by a name that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

PAPER = r".*(\.key|\.value|layer\.\d+\.output\.dense)$"
READS = r".*layer\.\d+\.output\.dense$"


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                num_attention_heads=4, vocab_size=50)).eval()


def test_gains_and_fold_are_those_of_peft(bert):
    theirs = peft.get_peft_model(copy.deepcopy(bert), peft.IA3Config(
        target_modules=PAPER, feedforward_modules=READS)).eval()
    inject = pt.course.lessons.find("change.inject").resolve()
    reads = {bert.get_submodule(n) for n in pt.models.find(bert, "ffn_out")}
    ours = inject(bert, tuple(pt.models.find(bert, ("key", "value", "ffn_out"))),
                  lambda base: Gains(base, "input" if base in reads else "output"))
    assert sum(a.l.numel() for a in pt.adapters(ours).values()) == sum(
        p.numel() for n, p in theirs.named_parameters() if "ia3_l" in n)
    ids = torch.arange(10).view(2, 5)
    before = ours(ids).last_hidden_state
    for name, adapter in pt.adapters(ours).items():
        with torch.no_grad():
            adapter.l.copy_(torch.randn_like(adapter.l))
            l = theirs.base_model.model.get_submodule(name).ia3_l["default"]
            l.copy_(adapter.l.view_as(l))
    found = ours(ids).last_hidden_state
    assert not torch.allclose(found, before, atol=1e-2)
    torch.testing.assert_close(found, theirs(ids).last_hidden_state)
    for name, adapter in list(pt.adapters(ours).items()):
        pt.models.replace(ours, name, fold(adapter))
    assert not pt.adapters(ours)
    torch.testing.assert_close(ours(ids).last_hidden_state, found, atol=1e-5, rtol=1e-4)


def test_pefts_default_on_bert_trains_a_fourth_vector(bert):
    theirs = peft.get_peft_model(bert, peft.IA3Config(target_modules=["key", "value",
                                 "output.dense"], feedforward_modules=["output.dense"]))
    fourth = [n for n, _ in theirs.named_parameters() if "attention.output.dense.ia3_l" in n]
    assert len(fourth) == 2
    mapping = peft.utils.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
    assert mapping["bert"] == ["key", "value", "output.dense"]


def test_nothing_near_is_nearer():
    generator = torch.Generator().manual_seed(0)
    W, delta = torch.randn(2, 6, 5, generator=generator)

    def off(l):
        return ((l - 1)[:, None] * W - delta).norm()

    l = nearest_gains(W, delta)
    assert all(off(l) < off(l + 0.1 * torch.randn(6, generator=generator)) for _ in range(20))
