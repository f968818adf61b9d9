"""Lesson 00: the numbers in its pictures are those of the models."""

import itertools

import pytest
import torch

import peft_teach as pt
from peft_teach import outlines, plots
from peft_teach.course.lessons import find

inside = pt.course.pictures("inside")


def test_the_parameters_over_their_whole_grid():
    explorer = inside.explore_parameters()
    for model in outlines.SIZES:
        counts = outlines.counts(model)
        explorer.controls["model"].value = model
        for place, box in explorer.controls["places"].boxes.items():
            found = inside.parameters(model, (place,))
            assert f": {counts.get(place, 0):,} parameters" in found.told
            assert ("it has no" in found.told) == box.disabled == (not counts.get(place))
        total = sum(counts.values())
        assert f"{total:,} parameters, 100.0%" in inside.parameters(model, tuple(counts)).told


def test_areas_are_numbers_of_parameters():
    drawn, = inside.draw_parameters(inside.parameters("minilm", ("query",))).axes[0].collections
    areas = [path.get_extents().width * path.get_extents().height for path in drawn.get_paths()]
    counts = outlines.counts("minilm")
    assert areas[0] == pytest.approx(counts["embeddings"])
    assert sum(areas) == pytest.approx(sum(counts.values()))
    assert sum(area == pytest.approx(384 * 385) for area in areas) == 6 * 4 + 1    # and the pooler


def test_the_memory_over_its_whole_grid(monkeypatch):
    """From records: to measure an outline takes a third of a second, and a choice needs three."""
    monkeypatch.delattr(outlines, "measure")
    grid = itertools.product(outlines.SIZES, outlines.TRAINS, ("adamw", "momentum", "sgd"),
                             (1, 256), (8, 4096), outlines.DTYPES, (False, True))
    for model, trains, optimizer, batch, tokens, dtype, fused in grid:
        held = inside.memory(model, trains, optimizer, batch, tokens, dtype, fused)
        chosen = held.ledgers[trains]
        total = chosen.total_bytes
        assert plots.bytes_text(total) in held.told
        assert held.growth[batch] == chosen
        assert held.tokens == min(tokens, outlines.longest(model))
        assert len({x.weights_bytes for x in held.growth.values()}) == 1
        assert chosen.activations_bytes <= held.ledgers["everything"].activations_bytes
        fits = [name for name, size in inside.GPUS.items() if total <= size]
        assert held.told.endswith(f"fits into {fits[0]}" if fits else "more than 80 GB")


def test_bars_of_the_memory_add_up():
    held = inside.memory("minilm", "everything")
    bars = inside.draw_memory(held).axes[0].patches
    assert sum(bar.get_width() for bar in bars) * 1e6 == pytest.approx(
        sum(ledger.total_bytes for ledger in held.ledgers.values()))


def test_the_block_shows_every_shape():
    places = list(outlines.counts("minilm"))[:8]
    shapes = {place: f"{i} × {i + 1}" for i, place in enumerate(places)}
    figure = inside.draw_block(shapes)
    texts = " ".join(t.get_text() for t in figure.axes[0].texts)
    assert all(shape in texts and shape in figure.get_label() for shape in shapes.values())


# ── what a token reads ───────────────────────────────────────────────────────────────────────


def test_shares_are_those_of_the_words_and_sum_to_one():
    tokens = ("[CLS]", "a", "quiet", "film", "[SEP]")
    weights = torch.zeros(5, 5)
    weights[0, 0] = weights[4, 4] = 1               # not counted
    weights[1] = torch.tensor([0.5, 0.25, 0.25, 0, 0])
    weights[2] = torch.tensor([0, 0, 1.0, 0, 0])
    weights[3] = torch.tensor([0, 0.5, 0.25, 0, 0.25])
    found = inside.shares(weights, tokens)
    assert sum(found.values()) == pytest.approx(1)
    assert [found[where] for where in inside.WHERE] == pytest.approx(
        [1.25 / 3, 0.75 / 3, 0.5 / 3, 0.5 / 3])


def test_the_picture_of_attention_shows_the_head_that_is_chosen():
    explorer = inside.EXAMPLES["attention"]()
    explorer.controls["block"].value, explorer.controls["head"].value = 1, 0
    assert explorer.data.weights[0, 1] == 1
    assert "block 1, head 0" in explorer.figure.get_label()
    assert "a reads quiet (1.00)" in explorer.figure.get_label()


# ── a step, block by block ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trains", ["all", "head"])
def test_a_step_gathers_activations_and_leaves_gradients(trains):
    model, _ = pt.models.load("minilm", labels=2, attention="eager")
    model = pt.full.inject(model, pt.full.Config(trains))
    ids = torch.randint(1000, 3000, (2, 16))
    step = inside.through_a_step(model, {"input_ids": ids, "labels": ids[:, 0] % 2})
    loss = step.moments.index(("loss", ""))
    alone = pt.account.activations(model, {"input_ids": ids, "labels": ids[:, 0] % 2})
    assert step.activations[loss] == max(step.activations) == alone
    assert step.activations[-1] == step.gradients[loss] == 0
    assert step.gradients[-1] == sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert step.peak >= max(a + g for a, g in zip(step.activations, step.gradients))
    there, back = step.activations[:loss], step.activations[loss:]
    assert list(there) == sorted(there)
    assert list(back) == sorted(back, reverse=True)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("make", "moments"), [
    (torch.optim.AdamW, 2), (lambda ps: torch.optim.SGD(ps, lr=0.1), 0),
    (lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9), 1)])
def test_after_a_step_torch_holds_what_the_ledger_says(make, moments, dtype):
    model = pt.full.inject(pt.models.load("minilm", labels=2)[0], pt.full.Config("head")).to(dtype)
    held = inside.held_after_a_step(
        model, {"input_ids": torch.ones(1, 4, dtype=torch.long), "labels": torch.tensor([1])}, make)
    counted = pt.account.parameters(model)
    assert held == find("inside.ledger").resolve()(
        counted.total, counted.head, dtype.itemsize, moments)
    assert not model.training


def test_the_bars_of_a_step_are_what_was_measured():
    explorer = inside.EXAMPLES["step"]()
    figure, found = explorer.figure, explorer.data
    moments = len(found.step.moments)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights) * 1e6 == pytest.approx(
        moments * (found.ledger.weights_bytes + found.ledger.optimizer_bytes)
        + sum(found.step.activations) + sum(found.step.gradients))
    assert found.told.startswith("everything, 1 × 8: at most 324 bytes at once, 78% of")
