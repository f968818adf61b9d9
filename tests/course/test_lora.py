"""Lesson 07: pictures beside the records and the closed form; what only its checks do."""

import itertools
import math

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.checks.examination import examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.lora import live, recorded
from peft_teach.course.lessons.lora import picture_of_rank as rank
from peft_teach.course.lessons.lora import pictures as lora
from peft_teach.course.publish.authored import but, define, solution
from peft_teach.course.verdicts import of_runs
from peft_teach.ink import COLOURS

SUMS = dict(zip(rank.PLACES, (768, 768, 768, 768, 1920, 1920)))    # n_in + n_out in MiniLM
TOTAL = 22_713_986


@pytest.fixture(scope="module")
def record():
    return records.load("lora")


# ── pushes ─────────────────────────────────────────────────────────────────────────────────


def test_pushes_line_up_to_r_and_scatter_to_its_root():
    for r in (1, 2, 8, 64):
        found = lora.pushes(r)
        for points in found.chains.values():
            steps = [math.dist(a, b) for a, b in itertools.pairwise(points)]
            assert steps == pytest.approx([1] * r)
        assert found.lengths == pytest.approx({"line up": r, "scatter": math.sqrt(r)})
        assert [math.hypot(*p) for p in found.chains["scatter"]] == pytest.approx(
            [math.sqrt(k) for k in range(r + 1)])


# ── rank against parameters ──────────────────────────────────────────────────────────────────


def test_counts_over_their_whole_grid():
    subsets = [c for n in range(4) for c in itertools.combinations(rank.PLACES, n)]
    blocks = [c for n in range(7) for c in itertools.combinations(range(6), n)]
    for r, places, layers in itertools.product((1, 8, 192), subsets, blocks[::13]):
        found = rank.Budget(rank.setting(r, places, layers), {}, {}, None, True)
        assert found.chosen.parameters == r * len(layers) * sum(SUMS[p] for p in places)
        assert found.share == found.chosen.parameters / TOTAL
        assert ("head only" in found.told) == (not places or not layers)


def test_a_recorded_setting_is_found_by_its_matrices(record):
    found = rank.measured(record)
    assert sum(map(len, found.values())) == len(record.runs.query(
        "group in ['ranks', 'places', 'layers']"))
    chosen = rank.setting(8, ("value", "query"), range(6))
    assert found[chosen] == record.runs.query("group == 'ranks' and rank == 8").accuracy.tolist()
    assert rank.Budget(chosen, found, {}, None, True).told == "recorded: 80.8%"
    other = rank.setting(7, ("query", "value"), (3, 4, 5))
    assert rank.Budget(other, found, {}, None, True).told.startswith("not recorded")
    assert other.name == "rank 7, query, value, blocks 3, 4, 5"


@pytest.mark.parametrize("places", [("query", "ffn_in"), ()])
def test_guess_setting_and_runs_are_within_the_axis(places):
    """Though nothing is recorded there; and nothing else stretches it."""
    chosen, own = rank.setting(8, places, (0, 1)), {"mine": (900_000, 0.8)}
    low, high = rank.draw_budget(rank.Budget(chosen, {}, own, 4, True)).axes[1].get_xlim()
    drawn = [n for n in (chosen.parameters, 900_000, 4 * 12 * 768) if n]
    assert min(drawn) / 2 < low < min(drawn)
    assert max(drawn) < high < 2 * max(drawn)


def test_the_rank_explorer_shows_its_count():
    widget = lora.EXAMPLES["rank"]()
    for name, value in (("rank", 384), ("layers", (2, 4)), ("places", ())):
        widget.controls[name].value = value
        assert f"{widget.data.chosen.parameters:,} trained parameters" in widget.picture.value
    assert "nothing is adapted: head only" in widget.picture.value


def test_in_the_rank_picture_a_and_b_have_the_colour_of_what_trains():
    """As in every drawing of them; LoRA's own colour is for its results."""
    rank._draw_strips(ax := Figure().add_subplot(), rank.setting(8, ("query", "value"), None))
    w, *strips = (to_hex(patch.get_facecolor()).upper() for patch in ax.patches)
    assert w == COLOURS["frozen"].upper()
    assert strips == [COLOURS["trained"]] * 2


# ── singular values ──────────────────────────────────────────────────────────────────────────


def test_directions_are_counted_by_their_energy(tiny):
    """Of 16 + 1 the first is enough, of 1 + 1 both are; of 4 + 4 + 1, 90 % are all three."""
    record = {"spectra": {run: {"Q": {"sigma": [2, 2, 1]}} for run in live.MATRICES}}
    for strong, count in ((4.0, 1), (1.0, 2)):
        model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=2, alpha=4))
        for layer in pt.adapters(model).values():
            layer.A.data, layer.B.data = (torch.eye(*p.shape) for p in (layer.A, layer.B))
            layer.A.data[0] *= strong
        assert lora.directions(record, model).tolist() == [3] * 4 + [count]


# ── the case of rank 64 ──────────────────────────────────────────────────────────────────────


def test_the_first_step_is_measured_by_its_closed_form(tiny):
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=4, alpha=8))
    batch = {"input_ids": torch.randint(5, 50, (4, 6)), "labels": torch.tensor([0, 1, 0, 1])}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with lora.moving(model, batch) as found:
        for layer in pt.adapters(model).values():
            layer.B.data.fill_(0.1)
    deltas = [(2 * layer.B @ layer.A).norm().item() for layer in pt.adapters(model).values()]
    assert found.size == pytest.approx(sum(deltas) / len(deltas), rel=1e-4)
    assert found.moved > 0
    with lora.moving(model, batch) as still:
        pass
    assert still.moved == 0


def test_the_record_convicts_alpha(record):
    assert lora.culprit() == "alpha"
    ladder = record.runs.query("group == 'ranks'").groupby("rank")
    assert [lora.ends(ladder.get_group(r)) for r in (8, 64)] == ["it learns", "it fails"]
    assert pt.lora.scale(64, 16, True) == pt.lora.scale(64, 128)    # rsLoRA, as the lesson says


def test_of_four_starts_three_gradients_are_zero_and_one_output_moves_at_first():
    starts = lora.first_gradients(torch.nn.Linear(24, 16))
    assert [*starts.zero] == ["AB", "A", "B", ""]
    assert [*(starts["an output moves by"] > 0)] == [False, False, False, True]


def test_the_bill_counts_what_was_saved(tiny, tmp_path):
    saved = pt.save(pt.lora.inject(tiny("bert"), pt.lora.Config(rank=2)), tmp_path)
    found = lora.bill(saved)
    size = (saved / "adapter.safetensors").stat().st_size
    assert found["file of one more task, kB"].tolist() == ["90,889", f"{size / 1000:,.0f}"]


def test_an_unknown_factor_is_told():
    text = but(solution("lora.layer"), "alpha / rank", "0.3 * alpha / rank")
    result = examine(find("lora.layer"), define("lora.layer", text))
    assert (result.passed, result.mistake) == (False, None)
    assert "0.3 times the expected, everywhere" in result.message


def test_our_merge_merges_the_readers_layers(tiny):
    """As where exercise 2 passed and exercise 5 did not: the lesson goes on with our function."""
    reader = define("lora.layer", solution("lora.layer"))
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
    result = examine(find("lora.merge"), define("lora.merge", text))
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


def test_a_verdict_by_seed_is_that_of_a_paired_t_test():
    one, other = [0.80, 0.83, 0.79], [0.79, 0.80, 0.80]
    found = of_runs(one, other)    # gaps of 0.01, 0.03, -0.01; t of two degrees: 4.3027
    assert (found.low, found.high) == pytest.approx((0.01 - 0.04968, 0.01 + 0.04968), rel=1e-3)
    assert (found.word, found.difference) == ("cannot tell", pytest.approx(0.01))
    for one, word in (([0.892, 0.899, 0.901], "better"), ([0.7, 0.71, 0.705], "worse"),
                      ([0.791, 0.801, 0.799], "the same")):
        assert of_runs(one, other).word == word


def test_the_gain_begins_at_the_solved_head_and_ends_at_full_fine_tuning():
    found = lora.share({"r2": 0.4})["share of the gain"]
    assert [found["the head on the pooler"], found["full fine-tuning, ten seeds"]] == ["0%", "100%"]
    full, head = 0.5606, 0.3176
    assert found["your LoRA 8"] == f"{(0.4 - head) / (full - head):.0%}"


def test_a_question_to_the_record_is_answered_or_told_that_it_cannot_be(capsys):
    for setting, said in (((64, 16), "it learns"), ((2, 3), "not recorded"),
                          ((..., ...), "not asked yet")):
        pt.course.pictures("lora").ask(*setting)
        assert said in capsys.readouterr().out
