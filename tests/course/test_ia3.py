"""Lesson 06: the answers beside Hugging Face peft, pictures beside the record, and the folds."""

import copy
import itertools

import peft
import pytest
import torch
from transformers import BertConfig, BertModel

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.lessons.ia3 import block, exercises
from peft_teach.course.lessons.ia3.reference import Gains, fold, nearest_gains

ia3 = pt.course.pictures("ia3")


@pytest.fixture(scope="module")
def record():
    return records.load("ia3")


@pytest.fixture(scope="module")
def sentences(record):
    return pt.data.load("movies").test[:record["setting"]["desk"]]


@pytest.mark.parametrize("vector", block.VECTORS)
def test_a_gain_folds_where_the_exercise_says_and_nowhere_else(vector):
    for seed in range(3):
        equal = {fold for fold in block.FOLDS
                 if (off := block.apart(vector, fold, seed)) is not None and off < 1e-9}
        assert equal == exercises.RIGHT[vector]


def test_the_desk_over_its_whole_grid(record, sentences):
    truth = record["desk"]["truth"]
    assert truth == "".join(str(e.label) for e in sentences)
    for t, turned in itertools.product(ia3.TURNS, ia3.TURNED):
        found = ia3.desk(record, sentences, t, turned)
        assert dict(found.curve)[t] == found.accuracy
        if t == 1:
            assert not found.flips
            assert found.accuracy == found.learned
        gained = sum(right for *_, right in found.flips)
        lost = len(found.flips) - gained
        assert round((found.accuracy - found.learned) * len(truth)) == gained - lost


def test_the_gains_are_the_three_vectors_of_the_paper(record):
    gains = [l for name, l in record["gains"].items() if name.endswith(".l")]
    assert len(gains) == 18
    assert sum(map(len, gains)) == pt.ia3.count(6, 384, 384, 1536) == 13824


def test_few_sentences_by_method_and_number(record):
    few = ia3.few(record)
    assert set(few.groupby(["shots", "method"]).size()) == {3}
    assert set(few.groupby("method").size()) == {6}


def test_a_gain_only_stretches_the_row_and_a_push_turns_it():
    found = ia3.rows(2.0, 1.0)
    assert found.gain == pytest.approx((2 * ia3.ROW).tolist())
    assert found.lora == pytest.approx((ia3.ROW + ia3.PUSH).tolist())
    assert found.angle("gain") == "turned by 0°, 2 times as long"
    assert found.angle("lora").startswith("turned by 37°")
    assert ia3.rows(0.0, 0.0).angle("gain") == "silent"


def test_what_is_learned_is_the_matrix_and_gains_end_at_the_nearest():
    W, wanted = torch.tensor([[2.0, 1.0], [0.5, 2.0]]), torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    base = torch.nn.Linear(2, 2, bias=False)
    base.weight.data.copy_(W)
    gains = pt.course.lessons.find("ia3.layer").resolve()(base.requires_grad_(False), "output")
    nearest = (W * wanted).sum(1) / W.square().sum(1)
    assert torch.allclose(ia3.learn(gains, wanted), nearest[:, None] * W, atol=1e-2)
    lora = pt.lora.LoRALinear(base, rank=2, alpha=2)
    assert torch.allclose(ia3.learn(lora, wanted), wanted, atol=1e-2)


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
