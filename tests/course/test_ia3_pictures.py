"""Lesson 06: the numbers in its pictures are those of the record, and folds are what is claimed."""

import itertools

import pytest
import torch

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.lessons.ia3 import block, exercises

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
    size = {"all": 18} | dict.fromkeys(ia3.PLACES, 6) | {str(b): 3 for b in range(6)}
    assert size.keys() == ia3.TURNED.keys()
    for t, turned in itertools.product(ia3.TURNS, size):
        found = ia3.desk(record, sentences, t, turned)
        assert len(found.bars) == 18
        assert sum(meant for _, _, meant, _ in found.bars) == size[turned]
        assert t or all(set(q) == {1.0} for _, _, meant, q in found.bars if meant)
        assert dict(found.curve)[t] == found.accuracy
        if t == 1:
            assert not found.flips
            assert found.accuracy == found.learned
        gained = sum(right for *_, right in found.flips)
        lost = len(found.flips) - gained
        assert round((found.accuracy - found.learned) * len(truth)) == gained - lost


def test_the_gains_are_the_three_vectors_of_the_paper(record):
    gains = ia3.gains_of(record)
    assert len(gains) == 18
    assert sum(len(l) for l in gains.values()) == pt.ia3.count(6, 384, 384, 1536) == 13824


def test_few_sentences_by_method_and_number(record):
    few, untrained = ia3.few(record)
    assert set(few.groupby(["shots", "method"]).size()) == {3}
    assert set(few.groupby("method").size()) == {6}
    drawn = ia3.draw_few(few, untrained).axes[0].get_yticklabels()
    assert {label.get_text() for label in drawn} >= {"IA³, 16 sentences", "LoRA, 64 sentences"}


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
