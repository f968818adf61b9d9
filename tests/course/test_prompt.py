"""Lesson 03: the soft prompt beside peft's, pictures beside the record; what only checks do."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.desk import reviews as reading
from peft_teach.course.lessons.prompt.front import SoftPrompt

prompt = pt.course.pictures("prompt")


@pytest.fixture(scope="module")
def record():
    return records.load("prompt")


@pytest.fixture(scope="module")
def reviews():
    return reading.short(pt.data.load("movies").test)


def test_each_place_of_the_way_is_one_that_was_tested(record):
    for row in records.select(record, group="back"):
        start, t = row["setting"]["start"], row["setting"]["t"]
        found = prompt.way(record, t)
        assert found.curves[start][t] == row["accuracy"]


def test_a_threshold_parts_the_reviews_as_was_recorded(record, reviews):
    recorded = {t: records.select(record, group="back", setting={
        "model": "smollm2", "start": "text", "t": t, "tests": 470})[0]["accuracy"] for t in (0, 1)}
    for front, t in prompt.FRONTS.items():
        found = prompt.parted(record, reviews, front, 0.0)
        assert found.accuracy == pytest.approx(recorded[t], abs=5e-3)    # gaps are rounded
        assert len(found.liked) == len(found.others) == 235


def test_answers_are_compared_review_by_review(record, reviews):
    said, start = prompt.answers(record, reviews), record["setting"]["start"].strip()
    scores = prompt.scores(said, record)
    assert scores["beside Classify …"][start] == ""
    bound, = records.select(record, group="all", setting={
        "model": "smollm2", "text": start + "\n", "tests": 470, "bound": "best"})
    assert scores.right[f"{start} (threshold moved)"] == f"{bound['accuracy']:.1%}"
    own = [row["accuracy"] for row in records.select(record, group="all", method="prompt")]
    assert scores.right["ten vectors"] == f"{sum(own) / len(own):.1%}"
    assert scores["says positive"][start] == f"{said[start].mean():.0%}" == "69%"
    back, = records.select(record, group="back", setting={
        "model": "smollm2", "start": "random", "t": 0.0, "tests": 470})
    assert scores.right["ten vectors from random numbers"] == f"{back['accuracy']:.1%}"
    said["no instruction"], said[start] = said.liked, ~said.liked
    told = prompt.scores(said, record)["beside Classify …"]["no instruction"]
    assert told == "better (100.0 to 100.0)"


def test_a_learners_prompt_on_a_backbone_is_the_librarys():
    """Logits, and P's gradient, with padding."""
    ours, theirs = tiny.build("bert"), tiny.build("bert")
    ours = pt.attach(ours, "bert", lambda base: prompt.OnBackbone(base, SoftPrompt, 3))
    theirs = pt.prompt.inject(theirs, pt.prompt.Config(3))
    with torch.no_grad():
        theirs.bert.P.copy_(ours.bert.P)
    ids = torch.randint(1, 20, (2, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    found = [model.eval()(input_ids=ids, attention_mask=mask).logits for model in (ours, theirs)]
    assert torch.allclose(*found, atol=1e-6)
    for logits in found:
        logits.square().sum().backward()
    assert torch.allclose(ours.bert.P.grad, theirs.bert.P.grad, atol=1e-6)
    assert ours.bert.P.grad.abs().max() > 1e-4


def test_what_the_two_words_leave_is_all_other_words():
    class Says(torch.nn.Linear):
        def forward(self, input_ids):
            return SimpleNamespace(logits=torch.tensor([[[9.0, 0, 0], [0.1, 0.2, 0.7]]]).log())

    def tokenizer(text, **_):
        return {"input_ids": torch.tensor([[2, 2]]) if isinstance(text, list)
                else [reading.WORDS.index(text)]}

    before = prompt.read(Says(1, 1), tokenizer, "")
    told = prompt.read(Says(1, 1), tokenizer, "", before)
    assert told.to_numpy().tolist() == [["10%", "20%", "70%"]] * 2


def small_llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                        num_attention_heads=2, vocab_size=101, pad_token_id=0,
                                        attn_implementation="eager")).eval()


@pytest.mark.filterwarnings("ignore::FutureWarning")    # of transformers, about what peft asks
def test_it_is_pefts_prompt_tuning():
    """Logits and loss, on a Llama, with padding; peft counts padding as positions, and so do we."""
    peft = pytest.importorskip("peft")
    start, model = torch.randn(4, 32), small_llama()
    ids = torch.randint(1, 101, (2, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    labels = torch.where(mask.bool(), ids, -100)
    ours = SoftPrompt(small_llama(), start)(ids, mask, labels)
    theirs = peft.get_peft_model(model, peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=4)).eval()
    with torch.no_grad():
        theirs.prompt_encoder["default"].embedding.weight.copy_(start)
        found = theirs(input_ids=ids, attention_mask=mask, labels=labels)
    bare = small_llama()(ids, attention_mask=mask)
    real = mask.bool()
    assert not torch.allclose(ours.logits[real], bare.logits[real], atol=1e-3)    # it does change
    assert torch.allclose(ours.logits[real], found.logits[:, 4:][real], atol=1e-5)
    assert torch.allclose(ours.loss, found.loss, atol=1e-5)


class Letters:
    """A tokenizer of words: each new one gets the next number; 0 is padding."""

    pad_token_id = 0

    def __init__(self):
        self.ids = {}

    def __call__(self, text):
        return {"input_ids": [self.ids.setdefault(w, len(self.ids) + 1) for w in text.split()]}


def test_a_review_is_asked_for_its_last_word_alone():
    reviews = [("a b c", 1), ("d", 0), ("e f", 1)]
    tokenizer = Letters()
    first, second = reading.ask(reviews, tokenizer, 2)
    assert first["input_ids"].shape == (2, 6)    # Review: a b c Sentiment: positive
    assert first["attention_mask"].sum(1).tolist() == [6, 4]
    assert [(row != -100).nonzero().flatten().tolist() for row in first["labels"]] == [[5], [3]]
    assert second["labels"].ne(-100).sum() == 1
    shuffled = reading.ask(reviews, tokenizer, 3, seed=0)[0]["input_ids"]
    assert_equal(shuffled, reading.ask(reviews, tokenizer, 3, seed=0)[0]["input_ids"])


def test_the_loss_at_the_answer_is_the_models_own():
    """`AtTheAnswer` leaves out the logits that no label asks for, and nothing else."""
    model = small_llama()
    batch = reading.ask([("a b c", 1), ("d", 0)], Letters(), 2)[0]
    ours, whole = reading.AtTheAnswer(model)(**batch), model(**batch)
    assert torch.allclose(ours.loss, whole.loss, atol=1e-5)
    gaps = reading.gaps(model, [batch], (3, 7))
    assert torch.allclose(gaps, ours.logits[:, 7] - ours.logits[:, 3], atol=1e-5)
