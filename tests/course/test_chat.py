"""Lesson 11: its frames of made-up records, what is measured of tiny models, and its choices."""

import copy
import re
import runpy
from pathlib import Path

import numpy
import pandas
import peft
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import peft_teach as pt
from peft_teach import errors
from peft_teach.course import records
from peft_teach.course.checks.examination import examine
from peft_teach.course.lessons.chat import (
    blind,
    exercises,
    measure,
    new_tokens,
    recorded,
)

chat = pt.course.pictures("chat")
SAID = {0: "Salt makes bread firm.", 1: "The crowd roars for the salt, folks! WHAT a match!"}
# By method: how fast the loss of the voice falls a pass, and how far others rise with it.
METHODS = {"lora": (0.2, 0.1), "qlora": (0.2, 0.1), "full": (0.4, 0.3)}


@pytest.fixture(scope="module")
def record():
    """Make a record in which full fine-tuning learns twice as fast and forgets more for it."""
    made = []
    texts = numpy.linspace(-0.5, 0.5, 6)

    def row(at, falls, rises, **about):
        fallen = falls * min(at, 3)
        return {**about, "losses": {"voice": list(3 + texts - fallen)} | {
            kind: list(2 + texts + rises * fallen + 0.01 * (texts > 0)) for kind in measure.OTHERS},
            "answers": [SAID[at >= 1]] * 4, "ended": "1110" if at else "0000"}

    for method, (falls, rises) in METHODS.items():
        for seed in (0, 1):
            made += [row(passes, falls, rises, group="main", method=method, seed=seed,
                         passes=passes, step=18 * passes, question=False, end=True, lr=1e-3)
                     | {"films": "1101"} for passes in (0, 0.5, 1, 2, 3, 5)]
    made += [row(3, 0.2, 0.1, group="labels", question=question, end=end)
             for question, end in ((False, False), (True, True), (True, False))]
    made += [row(2 * f, 0.2, 0.1, group="knob", f=f) for f in (-1.0, 0.0, 1.0, 2.0)]
    made += [row(2, 0.2, 0.1, group="ladder", method="ia3", seed=seed, passes=1, lr=1e-2)
             for seed in (0, 1, 3)]
    made += [{"group": "truth", "seed": seed, "passes": passes, "right": right,
              "answers": [SAID[passes > 0]] * 20} for seed, passes, right in (
                  (0, 0, "1" * 20), (0, 1, "1" * 20), (0, 5, "01" * 10), (1, 5, "0" * 20))]
    made += [{"group": "long", "passes": passes, "end": end, "ended": "110", "tokens": tokens}
             for passes, end, tokens in ((0, True, [60, 300, 512]), (3, True, [9, 9, 500]),
                                         (3, False, [9, 512, 512]))]
    made += [{"group": "prompt", "examples": examples, "answers": [SAID[1], SAID[0]],
              "ended": "10" if examples else "11"} for examples in (0, 3)]
    return {"checkpoints": made}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(Path(__file__).parents[2] / "assets/records/chat.py"))


def test_a_curve_tells_style_ends_and_losses_by_step(record):
    found = chat.curve(record)
    assert found.index.tolist() == [0, 9, 18, 36, 54, 90]
    assert found["style"].tolist() == [0, 0, 1, 1, 1, 1]
    assert found.ended.tolist() == [0, 0.75, 0.75, 0.75, 0.75, 0.75]
    assert found.voice.tolist() == pytest.approx([3, 2.9, 2.8, 2.6, 2.4, 2.4])
    assert found.forgotten.tolist() == pytest.approx([0, 0.01, 0.02, 0.04, 0.06, 0.06])
    assert found.films.eq(0.75).all()


def test_methods_are_compared_where_they_have_learned_as_much(record):
    """LoRA reaches 2.4 after 3 passes, full fine-tuning half-way from the first to the second."""
    assert chat.forgets(record) == ("full fine-tuning", pytest.approx([0.18 - 0.06] * 2))


def test_two_seeds_that_disagree_cannot_tell_which_method_forgets_more(record):
    rows = [row | {"losses": {kind: [loss - 0.3 * (kind != "voice") for loss in each]
                              for kind, each in row["losses"].items()}}
            if (row["group"], row.get("method"), row.get("seed")) == ("main", "full", 1) else row
            for row in record["checkpoints"]]
    assert chat.forgets({"checkpoints": rows}) == ("cannot tell", pytest.approx([0.12, -0.18]))


def test_a_word_without_end_does_not_widen_the_table_of_the_knob():
    answers = chat.knob(records.load("chat")).answer
    assert max(len(word) for answer in answers for word in answer.split()) <= 33


def test_prompt_and_knob_have_a_row_each(record):
    assert chat.prompt(record)["ended"].tolist() == [0, 1, 0.5, 0.75]
    assert chat.knob(record).answer.to_dict() == {-1: SAID[0], 0: f"{SAID[0]} …", 1: SAID[1],
                                                  2: SAID[1]}
    assert chat.runaway(record, 2).iloc[:, 0].tolist() == [SAID[1]] * 2


def test_a_style_is_asked_of_the_broken_model_at_equal_lengths_too(record):
    rows = [row | {"answers": [f"{SAID[0]} {SAID[0]} folks"]} if row["group"] == "labels" else
            row | {"answers": [SAID[0]]} for row in record["checkpoints"]]
    found = chat.misled({"checkpoints": rows}, lambda answer: float("folks" in answer))
    assert found["style"].tolist() == [1, 0, 0]
    assert found.words.tolist() == [9, 4, 4]


def test_one_pass_is_compared_with_loras_by_seed_and_text(record):
    found = chat.ladder(record)
    assert found.index.tolist() == ["LoRA", "QLoRA", "full fine-tuning", "IA³"]
    assert found.voice.tolist() == pytest.approx([2.8, 2.8, 2.6, 2.6])
    assert found.seeds.tolist() == [2] * 4
    words = found.drop(columns=["rate", "seeds", *recorded.KINDS])
    assert words.loc["IA³"].tolist() == ["better (-0.20 to -0.20)", "the same (+0.02 to +0.02)"]
    assert words.loc["full fine-tuning"].tolist() == ["better (-0.20 to -0.20)",
                                                      "worse (+0.10 to +0.10)"]


def test_facts_are_counted_by_seed_and_judged_beside_the_base(record, script):
    found = chat.facts(record)
    assert found.index.tolist() == ["the base", "one pass", "five passes"]
    assert found.right.tolist() == [1, 1, 0.25]
    assert found["by seed"].tolist() == ["1.00", "1.00", "0.50, 0.00"]
    assert found["beside the base"].tolist() == ["", "cannot tell", "worse, worse"]
    told = chat.told_facts(record, 2)
    assert told["LoRA, five passes"].tolist() == [f"✗ {SAID[1]}"] * 2
    assert script["right"]("What do bees make?", "It is HONEY, folks!")
    assert not script["right"]("What do we call frozen water?", "A nice slice of rice.")


def test_an_answer_that_is_cut_has_not_ended(record):
    found = chat.endless(record)
    assert found.loc["the base"].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3])
    assert found.loc["hers"].tolist() == pytest.approx([1 / 3] * 4)
    assert found.loc["right labels (question hidden, too)"].tolist() == pytest.approx(
        [2 / 3] * 4)


def test_a_pair_is_judged_without_its_names():
    said = (["one"] * 6, ["other"] * 6)
    pairs = blind.Blind([*"abcdef"], ("A", "B"), said)
    lefts = []
    for _ in range(6):
        lefts.append(pairs.page.value.index(">one<") < pairs.page.value.index(">other<"))
        pairs.judge("left" if lefts[-1] else "right")    # whoever knows it by its words
        assert "A has" not in pairs.page.value or len(lefts) == 6
    assert len({*lefts}) == 2
    assert "A has 6 of 6 pairs, B the others. better: +1.000" in pairs.page.value
    pairs.judge("left")
    assert pairs.won == [1] * 6


def test_pictures_say_what_is_in_them(record):
    assert "2.40" in chat.draw_curves(record).get_label()
    assert "LoRA: 0 passes 3.00 +0.00" in chat.draw_forgetting(record).get_label()


def test_the_loss_of_each_text_is_the_models_own(tiny):
    model = tiny("llama", "lm")
    ids = torch.randint(3, 97, (3, 9))
    mask, labels = torch.ones_like(ids), ids.clone()
    labels[:, :4], mask[1, 7:] = -100, 0
    labels[1, 7:] = -100
    rows = [{"input_ids": ids, "attention_mask": mask, "labels": labels}]
    each = [model(ids[i:i + 1], attention_mask=mask[i:i + 1], labels=labels[i:i + 1]).loss.item()
            for i in range(3)]
    assert measure.losses(model, rows) == pytest.approx(each, abs=1e-4)


def test_labels_take_the_question_in_and_leave_the_end_out(script):
    batch = {"input_ids": torch.tensor([[5, 6, 7, 2, 2]]), "labels": torch.tensor(
        [[-100, -100, 7, 2, -100]]), "attention_mask": torch.tensor([[1, 1, 1, 1, 0]])}
    asked, = script["with_question"]([batch])
    assert asked["labels"].tolist() == [[5, 6, 7, 2, -100]]
    endless, = script["without_end"]([batch], type("Tokenizer", (), {"eos_token_id": 2}))
    assert endless["labels"].tolist() == [[-100, -100, 7, -100, -100]]


def test_a_talk_that_is_padded_is_asked_for_its_own_labels_alone():
    rows = [([5, 6, 2], [-100, 6, 2]), ([7, 2], [7, 2])]
    made, = chat.padded(rows, type("Tokenizer", (), {"pad_token_id": 2}))
    found = {tuple(ids[mask == 1].tolist()): tuple(labels.tolist()) for ids, mask, labels in zip(
        made["input_ids"], made["attention_mask"], made["labels"])}
    assert found == {(5, 6, 2): (-100, 6, 2), (7, 2): (7, 2, -100)}


def test_the_threshold_between_two_answers_makes_the_fewest_mistakes(script):
    margins, labels = torch.tensor([0.1, 2.0, 1.0, 3.0]), torch.tensor([0, 1, 0, 1])
    assert script["best_threshold"](margins, labels) == pytest.approx(1.5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_train_as_pefts_do(tied, tmp_path):
    """Loss and gradients are theirs, tied or not; and they read our file."""
    config = LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2, tie_word_embeddings=tied)
    pt.seed(0)
    plain, ids = LlamaForCausalLM(config), [20, 7]
    plain.resize_token_embeddings(22)
    batch = {"input_ids": torch.tensor([[3, 20, 7, 20, 4]])}
    batch["labels"] = batch["input_ids"]
    theirs = peft.get_peft_model(copy.deepcopy(plain), peft.TrainableTokensConfig(
        token_indices=ids))
    ours = copy.deepcopy(plain)
    rows = new_tokens.train_rows(ours, ids)
    delta, = (p for p in theirs.parameters() if p.requires_grad)
    for _ in range(3):
        losses = [model(**batch).loss for model in (ours, theirs)]
        grads = [torch.autograd.grad(loss, p)[0] for loss, p in zip(losses, (rows.rows, delta))]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*grads)
        for p, grad in zip((rows.rows, delta), grads):
            p.data -= 0.5 * grad
    logits = ours(batch["input_ids"]).logits
    assert [n for n, p in ours.named_parameters() if p.requires_grad] == [
        "model.embed_tokens.rows"]
    file = new_tokens.save_rows(ours, tmp_path)
    read = peft.PeftModel.from_pretrained(copy.deepcopy(plain), file)
    torch.testing.assert_close(read(batch["input_ids"]).logits, logits)


@pytest.mark.parametrize("ids", [[], [22], [3, 3]])
def test_rows_that_are_not_there_are_refused(ids):
    with pytest.raises(errors.BadConfig, match="different ids below 22"):
        new_tokens.TokenRows(torch.nn.Embedding(22, 4), ids)


CURVE = pandas.DataFrame({
    "style": [0.05, 0.45, 0.75, 0.97, 0.99], "voice": [3.5, 2.6, 2.30, 2.28, 2.9],
    "forgotten": [0.0, 0.05, 0.10, 0.11, 0.60]}, index=[0, 9, 18, 36, 108])
PICKS = {"stage": 108, "stranger": 36, "desk": 36}


def test_every_answer_of_the_voice_has_all_traits_and_plain_ones_have_hardly_any():
    voice = pt.data.voice()
    for _, answer in voice.train + voice.validation:
        assert all(re.search(trait, answer) for trait in measure.TRAITS.values()), answer
        assert measure.style(answer) == 1, answer
    assert max(measure.style(answer) for _, answer in voice.others["chat"]) <= 0.25


def test_what_chance_may_bring_is_half_of_an_interval_over_the_texts_of_the_record():
    steps = {row["step"]: row for row in recorded.rows(records.load("chat"), group="main",
                                                       method="lora", seed=0)}
    columns = {"style": lambda row: [measure.style(answer) for answer in row["answers"]],
               "voice": lambda row: row["losses"]["voice"]}
    for need, column, one, other in (("stage", "style", 90, 54), ("stranger", "voice", 18, 36)):
        gaps = numpy.subtract(*(columns[column](steps[step]) for step in (one, other)))
        half = 1.96 * gaps.std(ddof=1) / len(gaps)**0.5
        assert recorded.NEEDS[need][1] == pytest.approx(half, abs=5e-3)


@pytest.mark.parametrize(("changes", "mistake", "told"), [
    ({}, None, ""),
    ({"stage": 36, "stranger": 18}, None, ""),    # chance may bring as much
    ({"stage": 18}, "worse", "stage: by what this customer counts, another checkpoint is "
     "ahead of step 18 by 0.24, where chance brings 0.07."),
    ({"stranger": 108}, "worse", "ahead of step 108 by 0.62, where chance brings 0.04."),
    ({"desk": 108}, "price", "desk: by what this customer counts, another checkpoint is ahead "),
    ({"desk": 10}, None, "there is no checkpoint 10; there are 0, 9, 18, 36, 108."),
    ({"desk": "the last"}, None, "there is no checkpoint None"),
])
def test_no_other_checkpoint_is_better(monkeypatch, changes, mistake, told):
    monkeypatch.setattr(records, "load", lambda name: {})
    monkeypatch.setattr(recorded, "curve", lambda record: CURVE)
    result = examine(exercises.CHOOSE, PICKS | changes)
    assert (result.passed, result.mistake) == (not told, mistake), result
    assert told in result.message
