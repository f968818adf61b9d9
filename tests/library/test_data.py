"""The four tasks and their batches: the counts, the fixed splits, and that nothing leaks."""

import copy
import hashlib
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exact import assert_equal

from peft_teach import data, errors, fetch
from peft_teach.data import Example
from peft_teach.data.tasks import _clean

SPLITS = ("train", "validation", "test")

#            train  valid. test  positive  majority  sha256 of all (text, label), in order
FACTS = {
    "movies": (5962, 1516, 2563, 0.496, 0.495, "81460d8438d472e9"),
    "products": (1815, 381, 739, 0.586, 0.549, "aefcc7f62358e20a"),
    "tweets": (2014, 508, 840, 0.684, 0.675, "a88d01fcd897ae78"),
    "news": (1659, 345, 747, 0.395, 0.592, "f8953cecc6c27af1"),
}


@pytest.fixture(scope="module")
def tasks():
    return {domain: data.load(domain) for domain in data.DOMAINS}


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(fetch.path("minilm"))


def everything(task) -> list[Example]:
    return [*task.train, *task.validation, *task.test]


# The tasks.


@pytest.mark.parametrize("domain", data.DOMAINS)
def test_the_splits_are_fixed(tasks, domain):
    task = tasks[domain]
    *sizes, positive, majority, digest = FACTS[domain]
    assert [len(getattr(task, split)) for split in SPLITS] == sizes
    labels = [label for _, label in everything(task)]
    share = sum(labels) / len(labels)
    assert share == pytest.approx(positive, abs=6e-4)
    row, = (line for line in data.__doc__.splitlines() if line.split()[:1] == [domain])
    assert f"{len(labels):,}" in row  # the table in the docstring
    assert f"{share:.0%}".replace("%", " %") in row
    assert task.majority == pytest.approx(majority, abs=5e-4)
    text = "\n".join(f"{text}\t{label}" for text, label in everything(task))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize(("domain", "rated", "repeated"), [
    ("movies", 10_043, 2), ("products", 2_943, 8), ("tweets", 3_362, 0), ("news", 2_788, 37)])
def test_repeated_texts_are_dropped(tasks, domain, rated, repeated):
    texts = [text for _, rating, text in data.lines(domain) if abs(rating) > 0.5]
    assert len(texts) == rated
    assert len(texts) - len(set(texts)) == repeated
    kept = [text for text, _ in everything(tasks[domain])]
    assert len(kept) == len(set(kept)) == rated - repeated
    assert set(kept) == set(texts)


@pytest.mark.parametrize(("domain", "documents"), [("products", 300), ("news", 498)])
def test_no_document_is_in_two_splits(tasks, domain, documents):
    rows = data.lines(domain)
    assert len({name.split("_")[0] for name, _, _ in rows}) == documents
    where = {}
    for name, rating, text in rows:
        if abs(rating) > 0.5:
            where.setdefault(text, name.split("_")[0])  # as in `load`, the first one counts
    found = {split: {where[text] for text, _ in getattr(tasks[domain], split)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert found[one], other
        assert not found[one] & found[other]


def test_labels_are_the_sign_of_the_rating(tasks):
    assert Example("...quite endearing.", 1) in tasks["movies"].train
    ratings = {text: rating for _, rating, text in data.lines("movies")}
    for split in SPLITS:
        for text, label in getattr(tasks["movies"], split):
            assert label == (ratings[text] > 0)


def test_texts_are_clean(tasks):
    assert _clean(" at &amp;#38; t's  R&amp;amp;B &lt;3\t") == "at & t's R&B <3"
    for task in tasks.values():
        for text, _ in everything(task):
            assert text
            assert text == " ".join(text.split())
            assert "&amp;" not in text
            assert "\ufffd" not in text
    assert any("é" in text for text, _ in tasks["movies"].train)  # UTF-8, read as such


def test_a_slice_is_a_fair_sample(tasks):
    movies = tasks["movies"]
    whole = sum(label for _, label in movies.train) / len(movies.train)
    for start in range(0, 5000, 1000):
        part = sum(label for _, label in movies.train[start:start + 1000]) / 1000
        assert part == pytest.approx(whole, abs=0.05)  # three standard errors


def test_majority_is_learned_from_training():
    yes, no = Example("yes", 1), Example("no", 0)
    task = data.Dataset("toy", train=(yes, yes, no), validation=(), test=(yes, no, no, no))
    assert task.majority == 0.25


def test_repr_and_source(tasks):
    assert repr(tasks["movies"]) == (
        "<movies: 5,962 train, 1,516 validation, 2,563 test; majority 49.5%>")
    assert "Hutto" in tasks["movies"].source
    assert "MIT" in tasks["movies"].source


def test_loading_what_is_not_there():
    with pytest.raises(errors.UnknownName, match="did you mean 'movies'"):
        data.load("movie")


# The batches.


def texts_of(batches, tokenizer) -> list[str]:
    return [tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
            for batch in batches
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"])]


def padded_share(batches) -> float:
    masks = [batch["attention_mask"] for batch in batches]
    return 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)


def equal(some, others) -> bool:
    return len(some) == len(others) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(some, others))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_example_once_an_epoch_with_its_label(tokenizer, monkeypatch, shuffle, side):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    examples = [Example(" ".join(["film"] * (1 + n % 7)) + f" {n}", n % 2) for n in range(37)]
    made = data.batches(examples, tokenizer, batch_size=4, shuffle=shuffle, epochs=2)
    assert len(made) == 20
    for epoch in (made[:10], made[10:]):
        assert sorted(len(batch["labels"]) for batch in epoch) == [1] + [4] * 9
        labels = [label for batch in epoch for label in batch["labels"].tolist()]
        seen = list(zip(texts_of(epoch, tokenizer), labels))
        assert (seen == examples) is not shuffle
        assert sorted(seen) == sorted(examples)
    assert equal(made[:10], made[10:]) is not shuffle


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_are_what_the_tokenizer_makes(tokenizer, monkeypatch, tasks, side):
    monkeypatch.setattr(tokenizer, "padding_side", side)
    examples = tasks["tweets"].test[:48]
    for number, batch in enumerate(data.batches(examples, tokenizer, shuffle=False)):
        chosen = examples[16 * number:16 * number + 16]
        expected = tokenizer([text for text, _ in chosen], truncation=True, max_length=32,
                             padding=True, return_tensors="pt")
        assert set(batch) == {"input_ids", "attention_mask", "labels"}
        assert_equal(batch["input_ids"], expected["input_ids"])
        assert_equal(batch["attention_mask"], expected["attention_mask"])
        assert batch["attention_mask"].min() == 0  # there is padding to compare
        assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_texts_are_cut(tokenizer):
    long, = data.batches([Example("film " * 99, 1)], tokenizer, max_tokens=8)
    assert long["input_ids"].shape == (1, 8)
    assert long["input_ids"][0, -1] == tokenizer.sep_token_id


def test_buckets_save_the_padding(tasks, tokenizer):
    examples = tasks["movies"].train[:4000]
    plain = padded_share(data.batches(examples, tokenizer, shuffle=False))
    bucketed = padded_share(data.batches(examples, tokenizer))
    assert plain > 0.2
    assert bucketed < 0.02


def test_every_epoch_brings_other_texts_together(tokenizer):
    examples = [Example("film " * n, n % 2) for n in range(1, 401)]  # no two are equally long
    made = data.batches(examples, tokenizer, batch_size=4, max_tokens=500, epochs=2)
    company = [{tuple(batch["attention_mask"].sum(1).sort().values.tolist()) for batch in epoch}
               for epoch in (made[:100], made[100:])]
    assert len(company[0] & company[1]) < 20


def test_batches_are_in_random_order(tasks, tokenizer):
    lengths = [batch["input_ids"].shape[1]
               for batch in data.batches(tasks["movies"].train[:1600], tokenizer)]
    rises = sum(a < b for a, b in itertools.pairwise(lengths))
    falls = sum(a > b for a, b in itertools.pairwise(lengths))
    assert min(rises, falls) > 20


def test_the_seed_decides_and_nothing_global_moves(tasks, tokenizer):
    examples = tasks["tweets"].train[:200]
    state = torch.get_rng_state()
    first = data.batches(examples, tokenizer, seed=1)
    assert_equal(state, torch.get_rng_state())
    torch.manual_seed(123)
    assert equal(first, data.batches(examples, tokenizer, seed=1))
    assert not equal(first, data.batches(examples, tokenizer, seed=2))


def test_batches_go_to_the_device(tokenizer):
    batch, = data.batches([Example("a film", 1)], tokenizer, device="meta")
    assert {tensor.device.type for tensor in batch.values()} == {"meta"}


@pytest.mark.parametrize(("examples", "settings", "says"), [
    ([], {}, "no examples"),
    (None, {}, "no examples"),
    ([("a", 1)], {"batch_size": 0}, "batch_size is 0"),
    ([("a", 1)], {"batch_size": None}, "batch_size is None"),
    ([("a", 1)], {"max_tokens": 2.5}, "max_tokens is 2.5"),
    ([("a", 1)], {"seed": "x"}, "seed is 'x'"),
    ([("a", 1)], {"tokenizer": None}, "The tokenizer is a NoneType"),
    ([("a", 1)], {"epochs": -1}, "epochs is -1"),
    ([("a", 1)], {"max_tokens": 2}, "max_tokens is 2.\nExpected: at least 3"),
    ([("a", 1), "b"], {}, "Example 1 is 'b'"),
    ([("a", "good")], {}, "label an int"),
    ([("a", True)], {}, "Example 0 is ('a', True)"),
    ([("a", float("nan"))], {}, "Example 0 is ('a', nan)"),
])
def test_what_cannot_be_batched(tokenizer, examples, settings, says):
    with pytest.raises(errors.BadData) as caught:
        data.batches(examples, **{"tokenizer": tokenizer} | settings)
    assert says in str(caught.value)


def test_a_whole_data_set_is_not_a_split(tasks, tokenizer):
    with pytest.raises(errors.BadData, match=r"batches\(dataset.train"):
        data.batches(tasks["tweets"], tokenizer)


def test_a_tokenizer_without_padding(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = None
    with pytest.raises(errors.BadData, match=r"tokenizer.pad_token = tokenizer.eos_token"):
        data.batches([("a", 1)], tokenizer)


def test_a_text_without_tokens():
    class Words(SimpleNamespace):  # as Llama's, it adds nothing of its own
        def num_special_tokens_to_add(self):
            return 0

        def __call__(self, texts, **_):
            return {"input_ids": [[len(word) for word in text.split()] for text in texts]}

    words = Words(pad_token_id=0, padding_side="left")
    batch, = data.batches([("a", 1), ("one two", 0)], words, shuffle=False)
    assert batch["input_ids"].tolist() == [[0, 1], [3, 3]]
    with pytest.raises(errors.BadData, match="1 texts have no tokens"):
        data.batches([("a", 1), ("", 0)], words)


def test_ratings_are_the_task_as_numbers(tokenizer):
    rated, labelled = data.ratings("movies"), data.load("movies")
    assert len(everything(rated)) > len(everything(labelled))    # neutral sentences are here, too
    signs = {text: int(rating > 0) for text, rating in rated.test if abs(rating) > 0.5}
    assert signs == dict(labelled.test)
    batch, = data.batches(rated.test[:3], tokenizer, shuffle=False)
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == pytest.approx([rating for _, rating in rated.test[:3]])
    assert repr(rated).endswith("2,716 test; ratings>")


@pytest.mark.parametrize(("labels", "dtype"), [
    ((np.int64(1), np.uint8(0)), torch.int64), ((np.float64(1), np.float64(0.5)), torch.float32),
    ((1, 0.5), torch.float32), ((-2, 3), torch.int64)])
def test_labels_of_numpy_and_both_kinds_make_one_dtype(tokenizer, labels, dtype):
    made = data.batches([("a", label) for label in labels], tokenizer, 1, shuffle=False)
    assert [batch["labels"].dtype for batch in made] == [dtype, dtype]
    assert [batch["labels"].item() for batch in made] == [float(label) for label in labels]


def test_a_sentence_knows_its_document():
    sentences = data.documents("news")
    assert len(sentences) == len({text for text, _ in sentences}) == 5118    # 72 are repeated
    assert len({document for _, document in sentences}) == 498
    with pytest.raises(errors.UnknownName, match="movies"):
        data.documents("movies")
