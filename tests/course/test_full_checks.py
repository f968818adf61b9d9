"""What only the checks of lesson 01 do."""

import pytest
import torch

from peft_teach.course.exercise import examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.full import exercises as full
from peft_teach.course.standin import Output


def test_some_gradients_are_larger_than_one_and_some_smaller():
    """Else clipping, or clipping too often, would not show."""
    for seed in range(8):
        norms = []
        for case in find("full.step").cases(seed):
            model = full._start(case)
            model(**case["batches"][0]).loss.backward()
            norms.append(torch.cat([p.grad.flatten() for p in model.parameters()
                                    if p.grad is not None]).norm().item())
        assert norms[0] > 1 > norms[1], norms


def test_other_crashes_are_not_the_mistake_of_names():
    result = examine(find("full.head_only"), lambda model: model.headless)
    assert result.mistake is None
    assert "headless" in result.traceback


def test_a_count_that_is_none_says_what_it_is():
    """A list is not None, and no article is wrong."""
    head_only = find("full.head_only").resolve()
    for odd, said in (([14], "It returned a list;"), (object(), "It returned an object;")):
        result = examine(find("full.head_only"), lambda model, odd=odd: (head_only(model), odd)[1])
        assert said in result.message


def test_an_output_is_read_as_those_of_transformers():
    from transformers.modeling_outputs import SequenceClassifierOutput

    loss, logits = torch.tensor(0.5), torch.zeros(3, 2)
    for entries in ({"loss": loss, "logits": logits}, {"loss": None, "logits": logits}):
        ours, theirs = Output(**entries), SequenceClassifierOutput(**entries)
        assert list(ours) == list(theirs)
        assert ours.loss is theirs.loss
        assert ours["logits"] is ours.logits is theirs["logits"]
        assert ours.get("loss") is theirs.get("loss")
        for where in (0, -1):
            assert ours[where] is theirs[where]
        for where in (slice(2), slice(1, None)):
            assert list(map(id, ours[where])) == list(map(id, theirs[where]))
        assert list(map(id, ours.to_tuple())) == list(map(id, theirs.to_tuple()))
        for out in (ours, theirs):
            assert ("loss" in out) == (entries["loss"] is not None)
    for out in (ours, theirs):
        with pytest.raises(KeyError):
            out["loss"]
        with pytest.raises(IndexError):
            out[2]
