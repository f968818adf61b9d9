"""What only the checks of lesson 07 do."""

import answers
import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.check.exercise import examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.lora import exercises, recorded


def test_an_unknown_factor_is_told():
    text = answers.but(answers.right("lora.layer")["plain"], "alpha / rank", "0.3 * alpha / rank")
    result = examine(find("lora.layer"), answers.define("lora.layer", text))
    assert (result.passed, result.mistake) == (False, None)
    assert "0.3 times the expected, everywhere" in result.message


def test_our_merge_merges_the_readers_layers(tiny):
    """As where exercise 2 passed and exercise 5 did not: the lesson goes on with our function."""
    reader = answers.define("lora.layer", answers.right("lora.layer")["plain"])
    ours = find("lora.merge").resolve()

    class Mine(reader):
        def merged(self):
            return ours(self)

    model = pt.attach(tiny("bert"), ("query", "value"), lambda base: Mine(base, 2, 4.0)).eval()
    with torch.no_grad():
        for layer in pt.adapters(model).values():
            nn.init.normal_(layer.B)
    inputs = torch.randint(5, 50, (4, 6))
    before = model(inputs).logits
    assert torch.allclose(pt.merge(model)(inputs).logits, before, atol=1e-4)


@pytest.mark.parametrize("line", ["layer.merged()", "pt.lora.LoRALinear.merged(layer)",
                                  "nn.Linear(4, 3) if layer.delta() is None else None"])
def test_no_method_of_the_layer_does_the_merge(line):
    text = f"import peft_teach as pt\n\ndef merged(layer):\n    return {line}\n"
    result = examine(find("lora.merge"), answers.define("lora.merge", text))
    assert not result.passed
    assert "raised" in result.message


def test_at_one_rate_alpha_sorts_the_settings_and_the_size_does_not():
    found = [(alpha, recorded.first_size(rank, alpha), recorded.runs(rank, alpha))
             for rank, alpha in recorded.settings()]
    learning, failing = ([row for row in found if recorded.ends(row[2]) == end]
                         for end in ("learns", "fails"))
    assert (len(learning), len(failing)) == (8, 3)
    assert max(alpha for alpha, *_ in learning) < min(alpha for alpha, *_ in failing)
    assert max(size for _, size, _ in learning) >= min(size for _, size, _ in failing)
    for *_, rows in found:
        assert sorted(row["seed"] for row in rows) == [0, 1, 2]
        assert not any(map(rows[0].get, ("dropout", "plus", "rank_stabilized")))


def test_the_pairs_are_those_that_the_lesson_names():
    def of(rank, alpha, lr):
        return records.load("lora").runs.query(
            f"rank == {rank} and alpha == {alpha} and lr == {lr} and plus == 1 and dropout == 0 "
            "and layers == 'all' and targets == 'query+value' and not rank_stabilized"
        ).accuracy.tolist()

    assert recorded.pairs() == [
        (of(64, 128, 1e-3), of(64, 128, 3e-3)), (of(8, 128, 3.75e-4), of(1, 16, 3e-3)),
        (of(64, 128, 3e-3), of(64, 16, 3e-3))]
    assert pt.lora.scale(64, 16, True) == pt.lora.scale(64, 128)    # the last one's left: rsLoRA


def test_the_verdicts_are_those_of_the_record():
    assert [records.compared(*pair) for pair in recorded.pairs()] == exercises.VERDICTS


def test_a_question_to_the_record_is_answered_or_told_that_it_cannot_be(capsys):
    for setting, said in (((64, 16), "it learns"), ((2, 3), "not recorded"),
                          ((..., ...), "not asked yet")):
        pt.course.pictures("lora").ask(*setting)
        assert said in capsys.readouterr().out
