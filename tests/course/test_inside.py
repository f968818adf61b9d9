"""Lesson 00: references beside transformers, numbers in pictures beside those of the models."""

import itertools

import answers
import pytest
import torch

import peft_teach as pt
from peft_teach import outlines
from peft_teach.course.checks.examination import examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.inside.exercises import PLACES
from peft_teach.course.publish.authored import but, define

inside = pt.course.pictures("inside")


def test_areas_are_numbers_of_parameters():
    explorer = inside.explore_parameters()
    for model in outlines.SIZES:
        counts = outlines.counts(explorer.controls["model"].value)
        drawn, = explorer.figure.axes[0].collections
        areas = [path.get_extents().width * path.get_extents().height for path in drawn.get_paths()]
        assert areas[0] == pytest.approx(counts["embeddings"])
        assert sum(areas) == pytest.approx(sum(counts.values()))
        explorer.controls["model"].value = model


def by_the_allocator(model, batch) -> int:
    """The most that torch's allocator gives out in AdamW's second step, all that stays included."""
    trained = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0)
    for _ in range(2):    # the first makes the moments
        optimizer.zero_grad()
        with torch.profiler.profile(profile_memory=True) as profile:
            model(**batch).loss.backward()
            optimizer.step()
    given = sorted((event.start_ns(), event.nbytes()) for event in
                   profile.profiler.kineto_results.events() if event.name() == "[memory]")
    return max(itertools.accumulate((size for _, size in given), initial=sum(
        p.nbytes for p in model.parameters()) + sum(2 * p.nbytes for p in trained)))


@pytest.mark.parametrize("trains", ["everything", "LoRA", "classifier"])
def test_a_step_holds_what_torchs_allocator_gives(trains):
    model = inside.prepared(trains)
    before = [p.detach().clone() for p in model.parameters()]
    ids = torch.randint(1000, 3000, (4, 16))
    batch = {"input_ids": ids, "labels": ids[:, 0] % 2}
    step = inside.through_a_step(model, batch)
    assert all(p.grad is None and not p._post_accumulate_grad_hooks for p in model.parameters())
    assert all(map(torch.equal, before, model.parameters()))
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert (step.gradients[-1], step.optimizer) == (trained, 2 * trained)
    assert max(step.activations) == pytest.approx(pt.account.activations(model, batch), abs=1000)
    assert step.activations[-1] == 0
    assert max(step.held) == pytest.approx(by_the_allocator(model, batch), rel=2e-3)
    assert (inside.fullest(step) == "AdamW's step") == (trains == "everything")
    shapes = {name: tensor.to("meta") for name, tensor in batch.items()}    # as the claims count
    assert inside.through_a_step(model.to("meta"), shapes) == step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("make", "moments"), [
    (torch.optim.AdamW, 2), (lambda ps: torch.optim.SGD(ps, lr=0.1), 0),
    (lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9), 1)])
def test_after_a_step_torch_holds_what_the_ledger_says(make, moments, dtype):
    model = inside.prepared("classifier").to(dtype)
    held = inside.held_after_a_step(
        model, {"input_ids": torch.ones(1, 4, dtype=torch.long), "labels": torch.tensor([1])}, make)
    assert held == find("inside.ledger").resolve()(
        model.num_parameters(), 770, dtype.itemsize, moments)


def test_what_is_put_aside_is_named():
    layer, x = torch.nn.Linear(4, 6), torch.randn(3, 4, requires_grad=True)
    assert inside.put_aside(layer, x) == "x and W"
    layer.requires_grad_(False)
    assert inside.put_aside(layer, x) == "W"
    assert inside.put_aside(layer, x.detach()) == "nothing"
    assert inside.put_aside(pt.lora.LoRALinear(layer, 2), x) == "x and W and B and A and 3 × 2"


@pytest.mark.parametrize(("old", "new", "says"), [
    ("softmax(dim=-1)", "softmax(dim=-2)", "each query must read 1, a mean of ones; the output["),
    ("split(q) @", "split(q * 0) @", "2 heads: the output["),
    (", -1e9)", ", 0)", "that no query may read, the output must stay; the output["),
    ("out.transpose(1, 2)", "out", "the first d / heads entries alone, and so on; the output["),
    (".reshape(batch, queries, d)", "", "the output is (1, 2, 2, 3); expected (1, 2, 6)")])
def test_a_first_failure_says_the_property_on_the_smallest_case(old, new, says):
    text = but(answers.right("inside.attention")["all heads at once"], old, new)
    assert says in examine(find("inside.attention"), define("inside.attention", text)).found


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
