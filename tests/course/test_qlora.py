"""Lesson 08: its tables are those of formats in use, its numbers those of closed forms."""

import copy

import pytest
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach import account, nf4, outlines
from peft_teach.course import protocol
from peft_teach.course.lessons.qlora import four_bits, picture_of_memory
from peft_teach.course.lessons.qlora.four_bits import relative

qlora = pt.course.pictures("qlora")
W = torch.randn(384, 384, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tables():
    return qlora.tables(four_bits.levels)


def test_tables_are_those_of_the_formats(tables):
    fp4 = [0, 0.00521, 0.16667, 0.25, 0.33333, 0.5, 0.66667, 1]    # its get_4bit_type("fp4")
    assert tables["FP4 bitsandbytes"].tolist()[7:] == pytest.approx(fp4, abs=1e-5)
    e2m1 = [m / 2 if e == 0 else 2.0 ** (e - 1) * (1 + m / 2) for e in range(4) for m in range(2)]
    assert tables["FP4 e2m1"].tolist()[7:] == pytest.approx([value / 6 for value in e2m1])
    assert tables["int4"].tolist() == pytest.approx([k / 7 for k in range(-7, 8)])
    assert torch.allclose(tables["NF4"], nf4.LEVELS, atol=1e-6)
    assert_equal(four_bits.quantize(W, nf4.LEVELS)[0], nf4.quantize(W).packed)


def test_each_table_is_best_for_the_numbers_that_it_expects(tables, tiny, inputs):
    model = tiny("bert", "classifier")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    matrices = qlora.matrices(model)
    found = qlora.formats(matrices, tables, model, [inputs(model)])
    kept = [(nf4.dequantize(nf4.quantize(w)), w) for w in matrices.values()]
    assert found.loc["NF4", "the model's weights"] == pytest.approx(relative(kept), rel=1e-3)
    assert found["uniform numbers"].idxmin() == "even, 16"
    assert (found["last hidden states"] > found["the model's weights"]).all()
    for name, value in model.state_dict().items():
        assert_equal(value, before[name], name)


def test_beside_a_weight_32_times_as_large_all_others_become_zero():
    explorer = qlora.EXAMPLES["outlier"]()
    explorer.controls["times"].value = 32
    assert "the 63 others share 1 level, 100% off" in explorer.figure.get_label()


def test_a_merged_model_keeps_what_its_weights_have_of_the_update(tiny, inputs):
    """All of ΔW without rounding, half of it where half is added, nothing of another direction."""
    model = pt.qlora.inject(tiny("bert", "classifier"), pt.qlora.Config(rank=2, double=False))
    layers = pt.adapters(model)
    for layer in layers.values():
        torch.nn.init.normal_(layer.B)

    def plain(change):
        merged = copy.deepcopy(model)
        for name, layer in layers.items():
            linear = torch.nn.Linear(layer.base.in_features, layer.base.out_features)
            linear.weight.data = layer.base.weight + change(layer.delta().detach())
            linear.bias.data = layer.base.bias.detach().clone()
            pt.models.replace(merged, name, linear)
        return merged

    def across(delta):    # at a right angle to it
        other = torch.randn_like(delta)
        return other - (other * delta).sum() / delta.square().sum() * delta

    for change, share in ((lambda delta: delta, 1), (lambda delta: delta / 2, 0.5), (across, 0)):
        assert qlora.kept(plain(change), model) == pytest.approx(share, abs=1e-4)
    batch = inputs(model)
    errors = qlora.errors_by_block({"whole": plain(lambda delta: delta), "none": plain(
        torch.zeros_like)}, model, [batch])
    assert errors.loc["whole"].max() < 1e-4
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        one, other = (each.eval().base_model(batch["input_ids"], batch["attention_mask"])
                      .last_hidden_state[mask] for each in (plain(torch.zeros_like), model))
    assert errors.loc["none"].iloc[-1] == pytest.approx(relative([(one, other)]), rel=1e-4)


def test_the_mean_of_a_models_scores_is_its_r2(monkeypatch):
    guess, rating = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(protocol, "predictions", lambda model, test: guess)
    residual, total = ((rating - of).square().sum() for of in (guess, rating.mean()))
    found = qlora.scores(torch.nn.Identity(), [{"labels": rating[:20]}, {"labels": rating[20:]}])
    assert found.mean().item() == pytest.approx(1 - (residual / total).item(), rel=1e-4)


def test_memory_is_that_of_models_and_of_the_paper():
    for name, shape in zip(("tinyllama-1.1b", "llama-2-7b"), picture_of_memory.SHAPES):
        inside, outside, adapters = picture_of_memory.sizes(shape, 32_000)
        counted = outlines.counts(name)
        assert inside + outside == pytest.approx(sum(counted.values()), rel=1e-4)
        assert outside == pytest.approx(counted["embeddings"] + counted["other"], rel=0.002)
    assert adapters == 39_976_960    # as peft counts them
    one, two = (account.activation_law(outlines.outline("tinyllama-1.1b", n, "bfloat16"))[2]
                for n in (1, 2))
    assert picture_of_memory.token_bytes()[0] * 2048 == pytest.approx(two - one, rel=0.02)
    full, lora, four = (of.total.iloc[-2] for of in picture_of_memory.bills(512, 32_000).values())
    assert full - 4 * 65.2 == pytest.approx(780, rel=0.01)    # Dettmers et al. 2023 count no copy
    assert lora > 2 * 65.2
    assert four < 48
    fewer = picture_of_memory.bills(512, 32_000)["QLoRA"].weights.iloc[-1]
    assert qlora.memory(512).weights["QLoRA"] - fewer == pytest.approx(
        2 * (128_256 - 32_000) * 8192 * 4 / 1e9)    # Llama 3 70B; peft holds words in 32 bits
