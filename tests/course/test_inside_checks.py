"""What only the checks of lesson 00 do; and their references against transformers."""

import itertools

import answers
import pytest
import torch

import peft_teach as pt
from peft_teach.course.check.exercise import examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.inside.exercises import PLACES


@pytest.mark.parametrize(("old", "new", "says"), [
    ("softmax(dim=-1)", "softmax(dim=-2)", "each query must read 1, a mean of ones; the output["),
    (", -1e9)", ", 0)", "that no query may read, the output must stay; the output["),
    ("out.transpose(1, 2)", "out", "2 heads: the output[0, 0, 4] is "),
    (".reshape(batch, queries, d)", "", "the output is (1, 2, 2, 3); expected (1, 2, 6)")])
def test_a_first_failure_says_the_property_on_the_smallest_case(old, new, says):
    text = answers.but(answers.right("inside.attention")["all heads at once"], old, new)
    assert says in examine(find("inside.attention"), answers.define("inside.attention", text)).found


def test_shared_keys_and_values_are_as_in_llama():
    """Without biases and with one weight a norm, but of the same widths."""
    counts = pt.outlines.counts("tinyllama-1.1b")
    d, f, heads, shared = 2048, 5632, 32, 4
    with_biases = find("inside.block").resolve()(d, f, heads, shared)
    one = sum(counts[place] for place in (*PLACES, "ffn_in", "ffn_out")) // 22
    assert with_biases == one + 2 * d + 2 * d // heads * shared + f + d + 4 * d


def test_one_order_of_twenty_four_gives_the_block_of_minilm():
    pictures = pt.course.pictures("inside")
    model, tokenizer = pt.models.load("minilm", labels=2, attention="eager")
    batch = tokenizer(["A quiet, funny film.", "Dull."], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model.eval().bert(**batch, output_hidden_states=True).hidden_states
    weights, block = pictures.weights_of(model, 3), find("inside.transformer").resolve()
    attention = find("inside.attention").resolve()
    pieces = pictures.unlabelled(model)
    gaps = {}
    for order in map("".join, itertools.permutations(pieces)):
        W = weights | {f"{place}.{kind}": tensor for place, letter in zip(PLACES, order)
                       for kind, tensor in zip(("weight", "bias"), pieces[letter])}
        y = block(hidden[3], batch["attention_mask"], W, 12, attention)
        gaps[order] = (y - hidden[4]).abs().max()
    near, second = sorted(gaps, key=gaps.get)[:2]
    assert (near, len(gaps)) == (find("inside.order").resolve(), 24)
    assert gaps[near] < 1e-5 < 1e-2 < gaps[second]
    # And the output alone tells: beside the model's own matrices, nothing looks alike.
    for kind in (0, 1):
        theirs = [weights[f"{place}.{('weight', 'bias')[kind]}"] for place in PLACES]
        for each in theirs:
            assert not any((each - piece[kind]).abs().max() < 0.1 for piece in pieces.values())
